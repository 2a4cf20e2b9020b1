// Binder, the requests: checks names, shapes, types and block scales, and notes down what to pack.
// Packing itself is bind_pack.c.
//
// Tensor parallelism is not cut here yet: every rank gets the whole tensor, `how` only records the
// intent.
#include "models/weights/binder.h"

#include "models/weights/binder_impl.h"
#include "models/weights/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_LEN = 256, SHAPE_TEXT = 96, SKIP_MAX = 64 };

hd_status hd_binder_open(const hd_source *src, hd_backend *be, const hd_model_opts *opts,
                         hd_binder **out, hd_err *err)
{
    *out = NULL;
    HD_TRY(hd_policy_check(&opts->weights, err));
    hd_binder *b = hd_calloc(1, sizeof(*b));
    HD_CHECK(b, err, HD_E_NOMEM, "no memory for the binder");
    b->src = src;
    b->be = be;
    b->opts = *opts;
    b->dry = strcmp(be->ops->name, "dry") == 0;
    b->staged = !b->dry && src && !hd_source_in_memory(src);
    hd_arena_init(&b->arena, 64 << 10, (size_t)1 << 30);
    pthread_mutex_init(&b->lock, NULL);
    *out = b;
    return HD_OK;
}

void hd_binder_close(hd_binder *b)
{
    if (!b) return;
    pthread_mutex_destroy(&b->lock);
    hd_map_fini(&b->used);
    hd_arena_fini(&b->arena);
    hd_free(b->tasks);
    hd_free(b->jobs);
    hd_free(b);
}

void hd_binder_fail(hd_binder *b, hd_status code, const char *fmt, ...)
{
    va_list ap;
    if (b->st != HD_OK) return;
    va_start(ap, fmt);
    b->st = hd_vfail(&b->err, code, fmt, ap);
    va_end(ap);
}

static void *no_memory(hd_binder *b)
{
    hd_binder_fail(b, HD_E_NOMEM, "no memory while binding weights");
    return NULL;
}

static void *take(hd_binder *b, size_t n, size_t bytes)
{
    size_t total;
    void *p = hd_mul_size(n, bytes, &total) ? hd_arena_alloc(&b->arena, total) : NULL;
    return p ? p : no_memory(b);
}

static const char *keep_name(hd_binder *b, const char *name)
{
    const char *kept = hd_arena_dup(&b->arena, name, strlen(name));
    return kept ? kept : no_memory(b);
}

void hd_binder_set_fp8(hd_binder *b, int32_t block_rows, int32_t block_cols)
{
    b->fp8_rows = block_rows;
    b->fp8_cols = block_cols;
}

void hd_binder_skip(hd_binder *b, const char *prefix)
{
    if (b->st != HD_OK) return;
    HD_ASSERT(b->n_skip < SKIP_MAX);
    if (!b->skip) b->skip = take(b, SKIP_MAX, sizeof(*b->skip));
    const char *kept = b->skip ? keep_name(b, prefix) : NULL;
    if (kept) b->skip[b->n_skip++] = kept;
}

// ---- tensors -------------------------------------------------------------------------------

typedef struct dims {
    int32_t rank;
    uint64_t v[3];
} dims;

// What PyTorch calls the shape: without a leading 1 and, for vectors, the trailing one.
static dims shape_of(int64_t n_mat, int64_t rows, int64_t cols)
{
    dims d = {0};
    if (n_mat > 1) d.v[d.rank++] = (uint64_t)n_mat;
    d.v[d.rank++] = (uint64_t)rows;
    if (cols > 1) d.v[d.rank++] = (uint64_t)cols;
    return d;
}

static const char *shape_text(char out[SHAPE_TEXT], const uint64_t *dim, int32_t rank)
{
    size_t n = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < rank && n < SHAPE_TEXT - 24; i++)
        n += (size_t)snprintf(out + n, SHAPE_TEXT - n, "%s%" PRIu64, i ? ", " : "", dim[i]);
    return out;
}

// A tensor of one matrix may also be stored with the leading 1.
static bool has_shape(const hd_source_tensor *t, dims want)
{
    const int32_t lead = t->rank == want.rank + 1 && want.rank == 2 && t->shape[0] == 1;
    return t->rank == want.rank + lead &&
           memcmp(t->shape + lead, want.v, (size_t)want.rank * sizeof(want.v[0])) == 0;
}

static bool check_shape(hd_binder *b, const hd_source_tensor *t, dims want)
{
    char found[SHAPE_TEXT], expected[SHAPE_TEXT];
    if (has_shape(t, want)) return true;
    hd_binder_fail(b, HD_E_CORRUPT, "tensor %.*s: shape [%s], expected [%s]", (int)t->name.n,
                   t->name.p, shape_text(found, t->shape, t->rank),
                   shape_text(expected, want.v, want.rank));
    return false;
}

static bool mark_used(hd_binder *b, const hd_source_tensor *t)
{
    if (hd_map_put(&b->used, t->name, 0) != HD_MAP_NOMEM) return true;
    no_memory(b);
    return false;
}

static const hd_source_tensor *find(hd_binder *b, const char *name)
{
    const hd_source_tensor *t = hd_source_find(b->src, hd_slice_str(name));
    if (!t) {
        hd_binder_fail(b, HD_E_NOTFOUND,
                       "tensor %s: missing from the %" PRIu64 " tensors of the "
                       "model",
                       name, (uint64_t)hd_source_count(b->src));
        return NULL;
    }
    if (!hd_dtype_get(t->dtype)->is_float) {
        hd_binder_fail(b, HD_E_UNSUPPORTED,
                       "tensor %s: type %s, expected a floating-point or quantized one", name,
                       hd_dtype_name(t->dtype));
        return NULL;
    }
    return mark_used(b, t) ? t : NULL;
}

// ---- block scales --------------------------------------------------------------------------

typedef struct located { // a tensor that holds one or more matrices of a request
    const char *name;
    const hd_source_tensor *t; // NULL without a source
    hd_dtype dtype;
    const hd_source_tensor *scale;
    int32_t scale_rows, scale_cols; // of one matrix; 0: none
} located;

static bool is_scale_type(hd_dtype t)
{
    return t == HD_F32 || t == HD_BF16 || t == HD_F16 || t == HD_F8_E8M0;
}

static bool check_scale(hd_binder *b, const located *at, const char *name, dims want)
{
    const hd_source_tensor *s = at->scale;
    char expected[SHAPE_TEXT];
    const bool fp8 = at->dtype == HD_F8_E4M3;
    if (s && !fp8)
        hd_binder_fail(b, HD_E_CORRUPT, "tensor %s: block scales beside type %s, expected f8_e4m3",
                       name, hd_dtype_name(at->dtype));
    else if (s && b->fp8_rows == 0)
        hd_binder_fail(b, HD_E_UNSUPPORTED,
                       "tensor %s: block scales, but config.json has no quantization_config that "
                       "says the size of the blocks",
                       name);
    else if (!s && fp8 && b->fp8_rows > 0)
        hd_binder_fail(b, HD_E_NOTFOUND, "tensor %s: missing, expected block scales [%s]", name,
                       shape_text(expected, want.v, want.rank));
    else if (s && !is_scale_type(s->dtype))
        hd_binder_fail(b, HD_E_UNSUPPORTED,
                       "tensor %s: type %s, expected f32, bf16, f16 or f8_e8m0", name,
                       hd_dtype_name(s->dtype));
    else
        return !s || (check_shape(b, s, want) && mark_used(b, s));
    return false;
}

static int32_t blocks(int64_t n, int32_t block)
{
    return (int32_t)((n + block - 1) / block);
}

// Scales of n_mat matrices of rows x cols each.
static bool find_scale(hd_binder *b, located *at, int32_t n_mat, int32_t rows, int32_t cols)
{
    char name[NAME_MAX_LEN + 16];
    dims want = {0};
    if (at->dtype == HD_F8_E4M3 && b->fp8_rows > 0) {
        at->scale_rows = blocks(rows, b->fp8_rows);
        at->scale_cols = blocks(cols, b->fp8_cols);
    }
    if (!b->src) return true;
    snprintf(name, sizeof(name), "%s_scale_inv", at->name);
    at->scale = hd_source_find(b->src, hd_slice_str(name));
    if (n_mat > 1) want.v[want.rank++] = (uint64_t)n_mat;
    want.v[want.rank++] = (uint64_t)at->scale_rows;
    want.v[want.rank++] = (uint64_t)at->scale_cols;
    return check_scale(b, at, name, want);
}

// ---- requests ------------------------------------------------------------------------------

// What a tensor is when only the configuration is there: as the makers publish it.
static hd_dtype published_type(const hd_binder *b, hd_weight_use use)
{
    switch (use) {
    case HD_USE_VECTOR:
        return HD_F32;
    case HD_USE_EMBEDDING:
    case HD_USE_HEAD:
    case HD_USE_ROUTER:
        break;
    case HD_USE_MATRIX:
    case HD_USE_ATTENTION:
    case HD_USE_LATENT:
    case HD_USE_EXPERT:
        return b->fp8_rows > 0 ? HD_F8_E4M3 : HD_BF16;
    }
    return HD_BF16;
}

// Finds the tensor that holds n_mat matrices of rows x cols and checks what is known of it.
static bool locate(hd_binder *b, const hd_bind_job *j, const char *name, int32_t n_mat,
                   int32_t rows, int32_t cols, located *out)
{
    *out = (located){.dtype = published_type(b, j->use)};
    if (b->src) {
        out->t = find(b, name);
        if (!out->t || !check_shape(b, out->t, shape_of(n_mat, rows, cols))) return false;
        out->dtype = out->t->dtype;
    }
    const hd_dtype_traits *traits = hd_dtype_get(out->dtype);
    if (cols % traits->block != 0) {
        hd_binder_fail(b, HD_E_CORRUPT,
                       "tensor %s: type %s has blocks of %d, rows have %d elements", name,
                       traits->name, traits->block, cols);
        return false;
    }
    out->name = keep_name(b, name);
    if (!out->name) return false;
    return j->use == HD_USE_VECTOR || find_scale(b, out, n_mat, rows, cols);
}

typedef struct place { // of one matrix inside its tensor
    int32_t index;     // in a tensor of several matrices
    int32_t row;       // its first row
    int32_t n_out;
    bool transposed;
} place;

// Source part p of matrix m lies at `where` in `at`.
static void put(hd_binder *b, hd_bind_job *j, int32_t m, int32_t p, const located *at, place where)
{
    const int64_t i = (int64_t)m * j->spec.n_part + p;
    const int32_t n_in = j->spec.n_in;
    const size_t row = hd_row_bytes(at->dtype, where.transposed ? where.n_out : n_in);
    hd_weight_src *src = &j->src[i];
    *src = (hd_weight_src){
        .name = at->name,
        .dtype = at->dtype,
        .n_out = where.n_out,
        .n_in = n_in,
        .transposed = where.transposed,
    };
    if (at->scale_rows > 0) {
        src->scale_rows = at->scale_rows;
        src->scale_cols = at->scale_cols;
        src->scale_block_rows = b->fp8_rows;
        src->scale_block_cols = b->fp8_cols;
        src->scale_first_row = where.row;
    }
    if (at->scale) {
        const size_t one = hd_row_bytes(at->scale->dtype, at->scale_cols) * (size_t)at->scale_rows;
        src->scale = (const char *)at->scale->data + (size_t)where.index * one;
        src->scale_dtype = at->scale->dtype;
    }
    if (!at->t) return;
    const size_t bytes = hd_bind_src_bytes(src);
    src->data = (const char *)at->t->data + (size_t)where.index * bytes + (size_t)where.row * row;
    j->tensor[i] = at->t;
    j->bytes += bytes;
}

// The next job; NULL (and sticky failure) without memory. Its sources are still to be put.
static hd_bind_job *new_job(hd_binder *b, hd_weight **slot, hd_weight_use use, int32_t n_mat,
                            int32_t n_part, int32_t n_in)
{
    *slot = NULL;
    if (b->st != HD_OK) return NULL;
    HD_ASSERT(n_mat > 0 && n_part > 0 && n_in > 0);
    if (b->n_jobs == b->cap_jobs) {
        size_t cap = b->cap_jobs ? 2 * b->cap_jobs : 256;
        hd_bind_job *grown = hd_reallocarray(b->jobs, cap, sizeof(*grown));
        if (!grown) return no_memory(b);
        b->jobs = grown;
        b->cap_jobs = cap;
    }
    const size_t n = (size_t)n_mat * (size_t)n_part;
    hd_bind_job *j = &b->jobs[b->n_jobs];
    *j = (hd_bind_job){.slot = slot, .use = use};
    j->src = take(b, n, sizeof(*j->src));
    j->tensor = j->src ? take(b, n, sizeof(*j->tensor)) : NULL;
    if (!j->tensor) return NULL;
    j->spec = (hd_weight_spec){.src = j->src, .n_mat = n_mat, .n_part = n_part, .n_in = n_in};
    b->n_jobs++;
    return j;
}

// One source's type in memory by the rules.
static hd_dtype choose_one(hd_binder *b, const hd_bind_job *j, const hd_weight_src *s)
{
    const hd_dtype stored = s->scale_rows > 0 ? HD_F8_B128 : s->dtype;
    hd_dtype want = hd_policy_want(&b->opts.weights, j->use, stored, j->spec.n_in);
    // Blocks that run across the rows cannot be kept.
    if (want == HD_DTYPE_NONE && s->transposed && hd_dtype_get(s->dtype)->block > 1) return HD_F16;
    return want;
}

// One type for all parts: if any part has to change, the weight changes as a whole.
static void settle(hd_binder *b, hd_bind_job *j)
{
    const hd_dtype target = hd_policy_target(&b->opts.weights, j->use);
    const bool plain = j->use != HD_USE_LATENT && j->use != HD_USE_EMBEDDING;
    hd_dtype want = HD_DTYPE_NONE;
    if (b->st != HD_OK) return;
    for (int64_t i = 0; i < (int64_t)j->spec.n_mat * j->spec.n_part; i++) {
        hd_dtype w = choose_one(b, j, &j->src[i]);
        if (w != HD_DTYPE_NONE) want = w;
    }
    j->spec.want = want;
    j->spec.name = j->src[0].name;
    b->total_bytes += j->bytes;
    if (target == HD_DTYPE_NONE || !plain || want == target) return;
    if (want == HD_DTYPE_NONE || want == HD_F32)
        b->n_kept++;
    else
        b->n_neighbour++;
}

// Part p from one tensor that holds all matrices.
static bool put_whole(hd_binder *b, hd_bind_job *j, int32_t p, const hd_bind_part *part)
{
    const int32_t n_in = j->spec.n_in, n_mat = j->spec.n_mat;
    const int32_t rows = part->transposed ? n_in : part->n_out;
    const int32_t cols = part->transposed ? part->n_out : n_in;
    located at;
    if (!locate(b, j, part->name, n_mat, rows, cols, &at)) return false;
    if (part->transposed && at.scale_rows > 0) {
        hd_binder_fail(b, HD_E_UNSUPPORTED, "tensor %s: transposed with block scales", part->name);
        return false;
    }
    for (int32_t m = 0; m < n_mat; m++)
        put(b, j, m, p, &at, (place){m, 0, part->n_out, part->transposed});
    return true;
}

// Part p from one tensor for each matrix, with the matrix number in place of '#'.
static bool put_each(hd_binder *b, hd_bind_job *j, int32_t p, const hd_bind_part *part)
{
    const char *hash = strchr(part->name, '#');
    char name[NAME_MAX_LEN];
    located at;
    HD_ASSERT(!part->transposed);
    for (int32_t m = 0; m < j->spec.n_mat; m++) {
        snprintf(name, sizeof(name), "%.*s%d%s", (int)(hash - part->name), part->name, m, hash + 1);
        if (!locate(b, j, name, 1, part->n_out, j->spec.n_in, &at)) return false;
        put(b, j, m, p, &at, (place){0, 0, part->n_out, false});
    }
    return true;
}

static void bind_parts(hd_binder *b, hd_weight **slot, hd_weight_use use, int32_t n_mat,
                       const hd_bind_part *parts, int n_parts, int32_t n_in)
{
    hd_bind_job *j = new_job(b, slot, use, n_mat, n_parts, n_in);
    if (!j) return;
    for (int p = 0; p < n_parts; p++) {
        const bool each = strchr(parts[p].name, '#') != NULL;
        if (!(each ? put_each : put_whole)(b, j, p, &parts[p])) return;
    }
    settle(b, j);
}

void hd_bind(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
             int32_t n_out, int32_t n_in, const char *fmt, ...)
{
    char name[NAME_MAX_LEN];
    va_list ap;
    (void)how;
    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    const hd_bind_part part = {.name = name, .n_out = n_out};
    bind_parts(b, slot, use, n_mat, &part, 1, n_in);
}

void hd_bind_parts(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how,
                   const hd_bind_part *parts, int n_parts, int32_t n_in)
{
    (void)how;
    bind_parts(b, slot, use, 1, parts, n_parts, n_in);
}

void hd_bind_stack(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
                   const hd_bind_part *parts, int n_parts, int32_t n_in)
{
    (void)how;
    bind_parts(b, slot, use, n_mat, parts, n_parts, n_in);
}

void hd_bind_rows(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
                  const int32_t *rows, int n_parts, int32_t n_in, const char *name)
{
    located at;
    int64_t sum = 0;
    (void)how;
    hd_bind_job *j = new_job(b, slot, use, n_mat, n_parts, n_in);
    if (!j) return;
    for (int p = 0; p < n_parts; p++)
        sum += rows[p];
    if (sum * n_mat > INT32_MAX) {
        hd_binder_fail(b, HD_E_LIMIT, "tensor %s: %lld rows, expected at most %d", name,
                       (long long)(sum * n_mat), INT32_MAX);
        return;
    }
    if (!locate(b, j, name, 1, (int32_t)sum * n_mat, n_in, &at)) return;
    int32_t row = 0;
    for (int32_t m = 0; m < n_mat; m++)
        for (int p = 0; p < n_parts; row += rows[p++])
            put(b, j, m, p, &at, (place){0, row, rows[p], false});
    settle(b, j);
}

// ---- questions -----------------------------------------------------------------------------

bool hd_binder_has(const hd_binder *b, bool want_dry, const char *name)
{
    return b->src ? hd_source_find(b->src, hd_slice_str(name)) != NULL : want_dry;
}

static hd_status vector_values(const hd_binder *b, const hd_source_tensor *t, int32_t n, float *out,
                               hd_err *err)
{
    const size_t bytes = hd_row_bytes(t->dtype, n);
    void *raw = hd_alloc(bytes);
    HD_CHECK(raw, err, HD_E_NOMEM, "no memory for a vector of %d elements", n);
    hd_status st = hd_source_copy(b->src, t->data, bytes, raw, err);
    if (st == HD_OK) hd_dtype_get(t->dtype)->to_f32(raw, out, n);
    hd_free(raw);
    return st;
}

hd_status hd_binder_vector(hd_binder *b, const char *name, int32_t n, float *out, hd_err *err)
{
    const hd_source_tensor *t = b->src ? hd_source_find(b->src, hd_slice_str(name)) : NULL;
    HD_CHECK(t, err, HD_E_NOTFOUND, "tensor %s: missing", name);
    t = find(b, name); // also checks the type and remembers that it is used
    if (t && check_shape(b, t, shape_of(1, n, 1))) {
        const hd_dtype_traits *traits = hd_dtype_get(t->dtype);
        if (traits->block == 1) {
            return vector_values(b, t, n, out, err);
        }
        hd_binder_fail(b, HD_E_UNSUPPORTED, "tensor %s: type %s, expected f32, f16 or bf16", name,
                       traits->name);
    }
    return hd_fail(err, b->err.code, "%s", b->err.msg);
}
