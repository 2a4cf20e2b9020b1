// Binder: checks names, shapes and types, then packs everything in parallel.
//
// Tensor parallelism is not cut here yet: every rank gets the whole tensor, `how` only records the
// intent. Packing order is by size, largest first, so that no worker is left with a giant at the
// end.
#include "models/weights/binder.h"

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "models/weights/policy.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 256, REPORT_NS = 100 * 1000 * 1000 };

typedef struct job { // one weight to pack
    hd_weight **slot;
    hd_weight_spec spec;
    const hd_source_tensor **tensor; // [spec.n_part]; NULL entries on the dry backend
    uint64_t bytes;                  // of the sources
    size_t order;                    // of the hd_bind call
} job;

struct hd_binder {
    const hd_source *src; // NULL: shapes come from the requests (dry backend)
    hd_backend *be;
    hd_model_opts opts;
    hd_arena arena; // specs, names
    job *jobs;
    size_t n_jobs, cap_jobs;
    hd_map used; // names asked for
    int32_t n_kept;
    hd_status st; // sticky
    hd_err err;

    // While packing; under the lock from `stop` on.
    pthread_mutex_t lock;
    bool stop;
    uint64_t done_bytes, total_bytes;
    int64_t reported_ns; // the loading thread's alone
};

hd_status hd_binder_open(const hd_source *src, hd_backend *be, const hd_model_opts *opts,
                         hd_binder **out, hd_err *err)
{
    *out = NULL;
    HD_TRY(hd_policy_check(opts->weights, err));
    hd_binder *b = hd_calloc(1, sizeof(*b));
    HD_CHECK(b, err, HD_E_NOMEM, "no memory for the binder");
    b->src = src;
    b->be = be;
    b->opts = *opts;
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
    hd_free(b->jobs);
    hd_free(b);
}

// ---- requests ------------------------------------------------------------------------------

static void fail(hd_binder *b, hd_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void fail(hd_binder *b, hd_status code, const char *fmt, ...)
{
    va_list ap;
    if (b->st != HD_OK) return;
    va_start(ap, fmt);
    b->st = hd_vfail(&b->err, code, fmt, ap);
    va_end(ap);
}

static void *take(hd_binder *b, size_t n, size_t bytes)
{
    size_t total;
    void *p = hd_mul_size(n, bytes, &total) ? hd_arena_alloc(&b->arena, total) : NULL;
    if (!p) fail(b, HD_E_NOMEM, "no memory while binding weights");
    return p;
}

// The next job; NULL (and sticky failure) without memory.
static job *new_job(hd_binder *b, int n_part)
{
    if (b->n_jobs == b->cap_jobs) {
        size_t cap = b->cap_jobs ? 2 * b->cap_jobs : 256;
        job *grown = hd_reallocarray(b->jobs, cap, sizeof(job));
        if (!grown) {
            fail(b, HD_E_NOMEM, "no memory while binding weights");
            return NULL;
        }
        b->jobs = grown;
        b->cap_jobs = cap;
    }
    job *j = &b->jobs[b->n_jobs];
    *j = (job){.order = b->n_jobs, .tensor = take(b, (size_t)n_part, sizeof(*j->tensor))};
    if (!j->tensor) return NULL;
    b->n_jobs++;
    return j;
}

static void shape_text(char out[160], const uint64_t *dim, int32_t rank)
{
    size_t n = 0;
    for (int32_t i = 0; i < rank && n < 120; i++)
        n += (size_t)snprintf(out + n, 160 - n, "%s%" PRIu64, i ? ", " : "", dim[i]);
    out[n] = '\0';
}

// What PyTorch calls the shape: [n_mat, n_out, n_in] without the leading one and, for vectors, the
// trailing one.
static bool check_shape(hd_binder *b, const hd_source_tensor *t, int32_t n_mat, int32_t n_out,
                        int32_t n_in)
{
    uint64_t want[3];
    int32_t rank = 0;
    if (n_mat > 1) want[rank++] = (uint64_t)n_mat;
    want[rank++] = (uint64_t)n_out;
    if (n_in > 1) want[rank++] = (uint64_t)n_in;
    if (t->rank == rank && memcmp(t->shape, want, (size_t)rank * sizeof(want[0])) == 0) return true;
    char found[160], expected[160];
    shape_text(found, t->shape, t->rank);
    shape_text(expected, want, rank);
    fail(b, HD_E_CORRUPT, "tensor %.*s: shape [%s], expected [%s]", (int)t->name.n, t->name.p,
         found, expected);
    return false;
}

static const hd_source_tensor *find(hd_binder *b, const char *name)
{
    const hd_source_tensor *t = hd_source_find(b->src, hd_slice_str(name));
    if (!t) {
        fail(b, HD_E_NOTFOUND, "tensor %s: missing from the %" PRIu64 " tensors of the model", name,
             (uint64_t)hd_source_count(b->src));
        return NULL;
    }
    if (!hd_dtype_get(t->dtype)->is_float) {
        fail(b, HD_E_UNSUPPORTED, "tensor %s: type %s, expected a floating-point or quantized one",
             name, hd_dtype_name(t->dtype));
        return NULL;
    }
    if (hd_map_put(&b->used, t->name, 0) == HD_MAP_NOMEM) {
        fail(b, HD_E_NOMEM, "no memory while binding weights");
        return NULL;
    }
    return t;
}

// Fills part p of every matrix of j. On the dry backend sources have no data; matrices count as
// BF16, the type of published dense checkpoints.
static bool fill_part(hd_binder *b, job *j, hd_weight_src *src, int p, const char *name,
                      int32_t n_out, hd_weight_use use)
{
    const int32_t n_mat = j->spec.n_mat, n_in = j->spec.n_in;
    hd_dtype dtype = use == HD_USE_VECTOR ? HD_F32 : HD_BF16;
    const char *data = NULL;
    if (b->src) {
        const hd_source_tensor *t = find(b, name);
        if (!t || !check_shape(b, t, n_mat, n_out, n_in)) return false;
        dtype = t->dtype;
        data = t->data;
        j->tensor[p] = t;
        j->bytes += t->bytes;
    }
    const hd_dtype_traits *traits = hd_dtype_get(dtype);
    if (n_in % traits->block != 0) {
        fail(b, HD_E_CORRUPT, "tensor %s: type %s has blocks of %d, rows have %d elements", name,
             traits->name, traits->block, n_in);
        return false;
    }
    char *kept = hd_arena_dup(&b->arena, name, strlen(name));
    if (!kept) {
        fail(b, HD_E_NOMEM, "no memory while binding weights");
        return false;
    }
    if (p == 0) j->spec.name = kept;
    size_t mat_bytes = (size_t)n_out * hd_row_bytes(dtype, n_in);
    for (int32_t i = 0; i < n_mat; i++)
        src[i * j->spec.n_part + p] = (hd_weight_src){
            .name = kept,
            .data = data ? data + (size_t)i * mat_bytes : NULL,
            .dtype = dtype,
            .n_out = n_out,
            .n_in = n_in,
        };
    return true;
}

// One type for all parts: if any part has to change, the weight changes as a whole.
static hd_dtype choose(hd_binder *b, const job *j, hd_weight_use use)
{
    hd_dtype want = HD_DTYPE_NONE;
    for (int32_t p = 0; p < j->spec.n_part; p++) {
        hd_dtype w = hd_policy_want(b->opts.weights, use, j->spec.src[p].dtype, j->spec.n_in);
        if (w != HD_DTYPE_NONE) want = w;
    }
    if (want == HD_DTYPE_NONE && b->opts.weights != HD_DTYPE_NONE) b->n_kept++;
    return want;
}

static void bind_parts(hd_binder *b, hd_weight **slot, hd_weight_use use, int32_t n_mat,
                       const hd_bind_part *parts, int n_parts, int32_t n_in)
{
    *slot = NULL;
    if (b->st != HD_OK) return;
    job *j = new_job(b, n_parts);
    if (!j) return;
    hd_weight_src *src = take(b, (size_t)n_mat * (size_t)n_parts, sizeof(*src));
    if (!src) return;
    j->slot = slot;
    j->spec = (hd_weight_spec){.src = src, .n_mat = n_mat, .n_part = n_parts, .n_in = n_in};
    for (int p = 0; p < n_parts; p++)
        if (!fill_part(b, j, src, p, parts[p].name, parts[p].n_out, use)) return;
    j->spec.want = choose(b, j, use);
    b->total_bytes += j->bytes;
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
    hd_bind_part part = {name, n_out};
    bind_parts(b, slot, use, n_mat, &part, 1, n_in);
}

void hd_bind_parts(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how,
                   const hd_bind_part *parts, int n_parts, int32_t n_in)
{
    (void)how;
    bind_parts(b, slot, use, 1, parts, n_parts, n_in);
}

bool hd_binder_has(const hd_binder *b, bool want_dry, const char *name)
{
    return b->src ? hd_source_find(b->src, hd_slice_str(name)) != NULL : want_dry;
}

hd_status hd_binder_vector(hd_binder *b, const char *name, int32_t n, float *out, hd_err *err)
{
    const hd_source_tensor *t = b->src ? hd_source_find(b->src, hd_slice_str(name)) : NULL;
    HD_CHECK(t, err, HD_E_NOTFOUND, "tensor %s: missing", name);
    t = find(b, name); // also checks the type and remembers that it is used
    if (t && check_shape(b, t, 1, n, 1)) {
        const hd_dtype_traits *traits = hd_dtype_get(t->dtype);
        if (traits->block == 1) {
            traits->to_f32(t->data, out, n);
            return HD_OK;
        }
        fail(b, HD_E_UNSUPPORTED, "tensor %s: type %s, expected f32, f16 or bf16", name,
             traits->name);
    }
    return hd_fail(err, b->err.code, "%s", b->err.msg);
}

// ---- packing -------------------------------------------------------------------------------

static int larger_first(const void *a, const void *b)
{
    const job *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void hint(const hd_binder *b, const job *j,
                 void (*fn)(const hd_source *, const hd_source_tensor *))
{
    for (int32_t p = 0; b->src && p < j->spec.n_part; p++)
        fn(b->src, j->tensor[p]);
}

static bool stopped(hd_binder *b)
{
    pthread_mutex_lock(&b->lock);
    bool stop = b->stop;
    pthread_mutex_unlock(&b->lock);
    return stop;
}

static void stop(hd_binder *b, hd_status st, const hd_err *why)
{
    pthread_mutex_lock(&b->lock);
    if (!b->stop) {
        b->stop = true;
        b->st = st;
        b->err = *why;
    }
    pthread_mutex_unlock(&b->lock);
}

// Cancelling and progress belong to the loading thread, which is worker 0.
static void poll_cancel(hd_binder *b)
{
    hd_err err;
    if (b->opts.cancel && __atomic_load_n(b->opts.cancel, __ATOMIC_RELAXED))
        stop(b, hd_fail(&err, HD_E_CANCELLED, "loading was cancelled"), &err);
}

static void report(hd_binder *b, bool always)
{
    if (!b->opts.progress) return;
    int64_t now = hd_mono_ns();
    if (!always && now - b->reported_ns < REPORT_NS) return;
    b->reported_ns = now;
    pthread_mutex_lock(&b->lock);
    uint64_t done = b->done_bytes;
    pthread_mutex_unlock(&b->lock);
    b->opts.progress(b->opts.progress_ctx, done, b->total_bytes);
}

static void pack_task(void *ctx, int task, int worker)
{
    hd_binder *b = ctx;
    job *j = &b->jobs[task];
    size_t ahead = (size_t)task + (size_t)hd_pool_size(b->opts.pool);
    hd_err err;
    if (worker == 0) poll_cancel(b);
    if (stopped(b)) return;
    if (ahead < b->n_jobs) hint(b, &b->jobs[ahead], hd_source_want);
    hd_status st = b->be->ops->pack(b->be, &j->spec, j->slot, &err);
    if (st != HD_OK) {
        stop(b, st, &err);
        return;
    }
    hint(b, j, hd_source_drop);
    pthread_mutex_lock(&b->lock);
    b->done_bytes += j->bytes;
    pthread_mutex_unlock(&b->lock);
    if (worker == 0) report(b, false);
}

// Buffers that old Llama exports kept; they are recomputed.
static bool is_rotary_buffer(hd_slice name)
{
    static const char tail[] = "rotary_emb.inv_freq";
    size_t n = sizeof(tail) - 1;
    return name.n >= n && memcmp(name.p + name.n - n, tail, n) == 0;
}

static void log_unused(const hd_binder *b)
{
    int64_t unused = 0;
    for (size_t i = 0; b->src && i < hd_source_count(b->src); i++) {
        const hd_source_tensor *t = hd_source_at(b->src, i);
        if (hd_map_get(&b->used, t->name, NULL) || is_rotary_buffer(t->name)) continue;
        unused++;
        HD_LOG(HD_LOG_DEBUG, "load", "tensor is not used", hd_f_slice("name", t->name));
    }
    if (unused)
        HD_LOG(HD_LOG_INFO, "load", "tensors in the files that this architecture does not use",
               hd_f_int("count", unused));
    if (b->n_kept)
        HD_LOG(HD_LOG_INFO, "load", "weights kept as stored: rows are no multiple of the block",
               hd_f_int("count", b->n_kept), hd_f_str("wanted", hd_dtype_name(b->opts.weights)));
}

static void release_all(hd_binder *b)
{
    for (size_t i = 0; i < b->n_jobs; i++) {
        if (!b->jobs[i].slot) continue;
        b->be->ops->weight_free(b->be, *b->jobs[i].slot);
        *b->jobs[i].slot = NULL;
    }
}

hd_status hd_binder_finish(hd_binder *b, uint64_t *weight_bytes, hd_err *err)
{
    *weight_bytes = 0;
    if (b->st == HD_OK) {
        if (b->n_jobs > 0) qsort(b->jobs, b->n_jobs, sizeof(job), larger_first);
        size_t first = (size_t)hd_pool_size(b->opts.pool);
        for (size_t i = 0; i < first && i < b->n_jobs; i++)
            hint(b, &b->jobs[i], hd_source_want);
        b->reported_ns = hd_mono_ns();
        hd_pool_run(b->opts.pool, pack_task, b, (int)b->n_jobs);
        poll_cancel(b);
    }
    if (b->st != HD_OK) {
        release_all(b);
        return hd_fail(err, b->st, "%s", b->err.msg);
    }
    report(b, true);
    for (size_t i = 0; i < b->n_jobs; i++) {
        hd_weight_info info;
        b->be->ops->weight_info(b->be, *b->jobs[i].slot, &info);
        *weight_bytes += info.bytes;
    }
    log_unused(b);
    return HD_OK;
}
