// A backend without data: checks the shapes of every operation and counts what it would cost.
//
// It holds no memory: alloc answers NULL and pack needs no data. Arrays of a batch may be NULL;
// then every token is taken to see max_pages whole pages. Where they are given they are read, as
// host memory. The first wrong shape is kept for sync; counting goes on.
#include "kernels/dry/dry_backend.h"

#include "kernels/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct reads { // what one step read of a weight
    uint64_t step;
    double bytes;
} reads;

struct hd_weight {
    char *name;
    int32_t n_mat, n_out, n_in;
    hd_dtype dtype;
    double bytes;
    reads *last; // own allocation, because operations see weights as const
};

typedef struct dry {
    hd_backend base;
    hd_dry_cost cost;
    uint64_t step;
    hd_err err; // first shape error; code HD_OK: none
} dry;

static dry *dry_of(hd_backend *be)
{
    return (dry *)be;
}

// ---- checking ------------------------------------------------------------------------------

// Reports op and operand with the shape that was found and the one expected.
static void expect_shape(dry *d, const char *op, const char *operand, int64_t rows, int64_t cols,
                         int64_t want_rows, int64_t want_cols)
{
    if (d->err.code != HD_OK || (rows == want_rows && cols == want_cols)) return;
    hd_fail(&d->err, HD_E_INVAL, "%s: %s: shape [%lld, %lld], expected [%lld, %lld]", op, operand,
            (long long)rows, (long long)cols, (long long)want_rows, (long long)want_cols);
}

static void expect_tensor(dry *d, const char *op, const char *operand, hd_tensor t, hd_dtype dtype,
                          int64_t rows, int64_t cols)
{
    expect_shape(d, op, operand, t.rows, t.cols, rows, cols);
    if (d->err.code != HD_OK) return;
    if (t.dtype != dtype)
        hd_fail(&d->err, HD_E_INVAL, "%s: %s: type %s, expected %s", op, operand,
                hd_dtype_name(t.dtype), hd_dtype_name(dtype));
    else if (t.rows > 1 && t.stride < (int64_t)hd_row_bytes(t.dtype, t.cols))
        hd_fail(&d->err, HD_E_INVAL, "%s: %s: rows of %zu bytes lie %lld bytes apart", op, operand,
                hd_row_bytes(t.dtype, t.cols), (long long)t.stride);
}

static void expect_weight(dry *d, const char *op, const char *operand, const hd_weight *w,
                          int64_t n_mat, int64_t n_out, int64_t n_in)
{
    if (d->err.code != HD_OK) return;
    if (!w)
        hd_fail(&d->err, HD_E_INVAL, "%s: %s: no weight", op, operand);
    else if (w->n_mat != n_mat || w->n_out != n_out || w->n_in != n_in)
        hd_fail(&d->err, HD_E_INVAL, "%s: %s (%s): shape [%d, %d, %d], expected [%lld, %lld, %lld]",
                op, operand, w->name, (int)w->n_mat, (int)w->n_out, (int)w->n_in, (long long)n_mat,
                (long long)n_out, (long long)n_in);
}

static void expect(dry *d, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void expect(dry *d, bool ok, const char *fmt, ...)
{
    if (ok || d->err.code != HD_OK) return;
    va_list ap;
    va_start(ap, fmt);
    hd_vfail(&d->err, HD_E_INVAL, fmt, ap);
    va_end(ap);
}

// ---- counting ------------------------------------------------------------------------------

static double tensor_bytes(hd_tensor t)
{
    return (double)t.rows * (double)hd_row_bytes(t.dtype, t.cols);
}

static void count(dry *d, double flops, double act_bytes)
{
    d->cost.flops += flops;
    d->cost.act_bytes += act_bytes;
    d->cost.n_ops++;
}

// Counts `bytes` of w, but in one step no more than all of it.
static void count_weight(dry *d, const hd_weight *w, double bytes)
{
    if (!w) return;
    if (w->last->step != d->step) {
        w->last->step = d->step;
        w->last->bytes = 0;
    }
    if (bytes > w->bytes - w->last->bytes) bytes = w->bytes - w->last->bytes;
    w->last->bytes += bytes;
    d->cost.weight_bytes += bytes;
}

// Keys seen by all tokens of the batch, and keys of all its sequences.
static void count_keys(const hd_attn *a, const hd_batch *b, double *per_token, double *per_seq)
{
    int64_t most = (int64_t)b->max_pages * a->k_plane->page_rows;
    *per_token = *per_seq = 0;
    for (int t = 0; t < b->n_tokens; t++) {
        int64_t keys = b->pos ? (int64_t)b->pos[t] + 1 : most;
        if (a->window > 0 && keys > a->window) keys = a->window;
        if (a->topk && keys > a->topk->cols) keys = a->topk->cols;
        *per_token += (double)keys;
    }
    for (int s = 0; s < b->n_seqs; s++) {
        int64_t keys = b->kv_len ? b->kv_len[s] : most;
        int64_t queries = b->q_start ? b->q_start[s + 1] - b->q_start[s] : b->max_q;
        if (a->window > 0 && keys > a->window + queries - 1) keys = a->window + queries - 1;
        if (a->topk && keys > a->topk->cols * queries) keys = a->topk->cols * queries;
        *per_seq += (double)keys;
    }
}

// ---- life and memory -----------------------------------------------------------------------

static hd_status dry_open(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    (void)cfg;
    dry *d = hd_calloc(1, sizeof(*d));
    *out = NULL;
    HD_CHECK(d, err, HD_E_NOMEM, "dry: no memory for the backend");
    d->base.ops = &hd_dry_ops;
    *out = &d->base;
    return HD_OK;
}

static void dry_close(hd_backend *be)
{
    hd_free(be);
}

static hd_status dry_alloc(hd_backend *be, size_t bytes, hd_mem_use use, void **out, hd_err *err)
{
    (void)be, (void)bytes, (void)use, (void)err;
    *out = NULL;
    return HD_OK;
}

static void dry_release(hd_backend *be, void *p)
{
    (void)be, (void)p;
}

static void dry_copy(hd_backend *be, void *dst, const void *src, size_t bytes)
{
    (void)be, (void)dst, (void)src, (void)bytes;
}

static hd_status dry_sync(hd_backend *be, hd_err *err)
{
    const dry *d = dry_of(be);
    if (d->err.code != HD_OK && err) *err = d->err;
    return d->err.code;
}

// ---- weights -------------------------------------------------------------------------------

static void dry_weight_free(hd_backend *be, hd_weight *w)
{
    (void)be;
    if (!w) return;
    hd_free(w->last);
    hd_free(w->name);
    hd_free(w);
}

static hd_status add_part(hd_weight *w, const hd_weight_spec *spec, int32_t p, hd_err *err)
{
    const hd_weight_src *s = &spec->src[p];
    hd_dtype to = hd_weight_stored_as(spec, s);
    for (int32_t m = 0; m < spec->n_mat; m++)
        HD_TRY(hd_weight_src_check(&spec->src[(int64_t)m * spec->n_part + p], spec, s->n_out, to,
                                   err));
    if (p == 0) w->dtype = to;
    w->n_out += s->n_out;
    w->bytes += (double)hd_row_bytes(to, spec->n_in) * s->n_out * spec->n_mat;
    return HD_OK;
}

static hd_status dry_weight_new(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                                hd_err *err)
{
    hd_status st = HD_OK;
    *out = NULL;
    HD_CHECK(spec->n_mat > 0 && spec->n_part > 0 && spec->n_in > 0, err, HD_E_INVAL,
             "%s: %d matrices of %d parts with rows of %d, expected at least one of each",
             spec->name, (int)spec->n_mat, (int)spec->n_part, (int)spec->n_in);
    HD_CHECK(spec->want == HD_DTYPE_NONE || (unsigned)spec->want < HD_DTYPE_COUNT, err, HD_E_INVAL,
             "%s: unknown target type %d", spec->name, (int)spec->want);
    hd_weight *w = hd_calloc(1, sizeof(*w));
    if (w) {
        w->name = hd_strdup(spec->name);
        w->last = hd_calloc(1, sizeof(*w->last));
    }
    if (!w || !w->name || !w->last)
        st = HD_FAIL(err, HD_E_NOMEM, "%s: no memory for a weight", spec->name);
    for (int32_t p = 0; st == HD_OK && p < spec->n_part; p++)
        st = add_part(w, spec, p, err);
    if (st != HD_OK) {
        dry_weight_free(be, w);
        return st;
    }
    w->n_mat = spec->n_mat;
    w->n_in = spec->n_in;
    *out = w;
    return HD_OK;
}

static hd_status dry_weight_fill(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                                 int32_t first, int32_t n, hd_err *err)
{
    (void)be, (void)w, (void)spec, (void)first, (void)n, (void)err;
    return HD_OK;
}

static void dry_weight_info(const hd_backend *be, const hd_weight *w, hd_weight_info *out)
{
    (void)be;
    out->n_mat = w->n_mat;
    out->n_out = w->n_out;
    out->n_in = w->n_in;
    out->dtype = w->dtype;
    out->bytes = (size_t)w->bytes;
}

// ---- steps ---------------------------------------------------------------------------------

static bool dry_step_begin(hd_backend *be, uint64_t shape)
{
    (void)shape;
    dry *d = dry_of(be);
    memset(&d->cost, 0, sizeof(d->cost));
    d->step++;
    return false;
}

static void dry_step_end(hd_backend *be)
{
    (void)be;
}

void hd_dry_get_cost(const hd_backend *be, hd_dry_cost *out)
{
    *out = ((const dry *)be)->cost;
}

// ---- operations ----------------------------------------------------------------------------

static void dry_embed(hd_backend *be, hd_tensor out, const hd_weight *table, const int32_t *ids)
{
    dry *d = dry_of(be);
    (void)ids;
    expect_weight(d, "embed", "table", table, 1, table ? table->n_out : 0, out.cols);
    expect_tensor(d, "embed", "out", out, HD_F32, out.rows, out.cols);
    count(d, 0, tensor_bytes(out));
    if (table) count_weight(d, table, table->bytes / table->n_out * out.rows);
}

static void dry_rmsnorm(hd_backend *be, hd_tensor out, hd_tensor x, const hd_tensor *add,
                        const hd_weight *gain, float eps)
{
    dry *d = dry_of(be);
    int32_t n = gain ? gain->n_out : 0;
    (void)eps;
    expect_weight(d, "rmsnorm", "gain", gain, 1, n, 1);
    expect(d, n > 0 && x.cols % n == 0, "rmsnorm: x: %d columns, expected a multiple of %d (gain)",
           (int)x.cols, (int)n);
    expect_tensor(d, "rmsnorm", "x", x, HD_F32, x.rows, x.cols);
    expect_tensor(d, "rmsnorm", "out", out, HD_F32, x.rows, x.cols);
    if (add) expect_tensor(d, "rmsnorm", "add", *add, HD_F32, x.rows, x.cols);
    count(d, 4.0 * x.rows * x.cols, tensor_bytes(x) * (add ? 4 : 2));
    count_weight(d, gain, gain ? gain->bytes : 0);
}

static void dry_linear(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w,
                       const hd_weight *bias)
{
    dry *d = dry_of(be);
    expect_tensor(d, "linear", "x", x, HD_F32, x.rows, x.cols);
    expect_weight(d, "linear", "w", w, 1, out.cols, x.cols);
    expect_tensor(d, "linear", "out", out, HD_F32, x.rows, out.cols);
    if (bias) expect_weight(d, "linear", "bias", bias, 1, out.cols, 1);
    count(d, 2.0 * x.rows * x.cols * out.cols, tensor_bytes(x) + tensor_bytes(out));
    if (x.rows == 0) return;
    count_weight(d, w, w ? w->bytes : 0);
    count_weight(d, bias, bias ? bias->bytes : 0);
}

static void dry_linear_heads(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w)
{
    dry *d = dry_of(be);
    expect(d, w != NULL, "linear_heads: w: no weight");
    if (!w) return;
    expect_tensor(d, "linear_heads", "x", x, HD_F32, x.rows, (int64_t)w->n_mat * w->n_in);
    expect_tensor(d, "linear_heads", "out", out, HD_F32, x.rows, (int64_t)w->n_mat * w->n_out);
    count(d, 2.0 * x.rows * w->n_mat * w->n_in * w->n_out, tensor_bytes(x) + tensor_bytes(out));
    if (x.rows > 0) count_weight(d, w, w->bytes);
}

static void dry_rope(hd_backend *be, hd_tensor x, const int32_t *pos, const hd_rope *r)
{
    dry *d = dry_of(be);
    (void)pos;
    expect_tensor(d, "rope", "x", x, HD_F32, x.rows, x.cols);
    expect(d, r->d_head > 0 && x.cols % r->d_head == 0,
           "rope: x: %d columns, expected a multiple of %d (d_head)", (int)x.cols, (int)r->d_head);
    expect(d, r->n_rot % 2 == 0 && r->first >= 0 && r->first + r->n_rot <= r->d_head,
           "rope: slice [%d, %d) of heads of %d columns, expected an even slice inside",
           (int)r->first, (int)(r->first + r->n_rot), (int)r->d_head);
    double rotated = r->d_head > 0 ? (double)x.rows * (x.cols / r->d_head) * r->n_rot : 0;
    count(d, 3 * rotated, 2 * rotated * sizeof(float));
}

static void dry_kv_store(hd_backend *be, const hd_kv_plane *dst, hd_tensor src, const hd_batch *b)
{
    dry *d = dry_of(be);
    expect_tensor(d, "kv_store", "src", src, HD_F32, b->n_tokens, dst->width);
    count(d, 0, tensor_bytes(src));
    d->cost.kv_bytes += (double)b->n_tokens * (double)hd_row_bytes(dst->dtype, dst->width);
}

static void expect_plane(dry *d, const char *op, const char *name, const hd_kv_plane *p,
                         int64_t width)
{
    expect(d, p->width == width, "%s: %s: width %d, expected %lld", op, name, (int)p->width,
           (long long)width);
    expect(d, p->page_rows > 0, "%s: %s: pages of %d rows, expected at least 1", op, name,
           (int)p->page_rows);
}

static void dry_attn(hd_backend *be, hd_tensor out, hd_tensor q, const hd_attn *a,
                     const hd_batch *b)
{
    dry *d = dry_of(be);
    double per_token, per_seq;
    expect(d, a->n_kv > 0 && a->n_heads % a->n_kv == 0,
           "attn: %d heads over %d KV heads, expected a multiple", (int)a->n_heads, (int)a->n_kv);
    expect_tensor(d, "attn", "q", q, HD_F32, b->n_tokens, (int64_t)a->n_heads * a->d_qk);
    expect_tensor(d, "attn", "out", out, HD_F32, b->n_tokens, (int64_t)a->n_heads * a->d_v);
    expect_plane(d, "attn", "k_plane", a->k_plane, (int64_t)a->n_kv * a->d_qk);
    if (a->v_plane) expect_plane(d, "attn", "v_plane", a->v_plane, (int64_t)a->n_kv * a->d_v);
    expect(d, a->v_plane || a->d_v <= a->d_qk, "attn: d_v %d inside keys of %d columns",
           (int)a->d_v, (int)a->d_qk);
    if (a->topk) expect_tensor(d, "attn", "topk", *a->topk, HD_I32, b->n_tokens, a->topk->cols);
    if (a->sink) expect_tensor(d, "attn", "sink", *a->sink, HD_F32, 1, a->n_heads);
    count_keys(a, b, &per_token, &per_seq);
    count(d, 2.0 * per_token * a->n_heads * (a->d_qk + a->d_v),
          tensor_bytes(q) + tensor_bytes(out));
    size_t row = hd_row_bytes(a->k_plane->dtype, a->k_plane->width);
    if (a->v_plane) row += hd_row_bytes(a->v_plane->dtype, a->v_plane->width);
    d->cost.kv_bytes += per_seq * (double)row;
}

// Counted as absorbed: what decoding costs. Long prompts take fewer operations expanded.
static void dry_mla(hd_backend *be, hd_tensor out, hd_tensor q, const hd_mla *a, const hd_batch *b,
                    hd_tensor work)
{
    dry *d = dry_of(be);
    double per_token, per_seq;
    const hd_attn keys = {.k_plane = a->plane};
    expect_tensor(d, "mla", "q", q, HD_F32, b->n_tokens,
                  (int64_t)a->n_heads * (a->d_nope + a->d_rope));
    expect_tensor(d, "mla", "out", out, HD_F32, b->n_tokens, (int64_t)a->n_heads * a->d_v);
    expect_plane(d, "mla", "plane", a->plane, (int64_t)a->d_latent + a->d_rope);
    expect_weight(d, "mla", "kv_b", a->kv_b, a->n_heads, (int64_t)a->d_nope + a->d_v, a->d_latent);
    expect_tensor(d, "mla", "work", work, HD_F32, 1, hd_mla_work_floats(a, b));
    count_keys(&keys, b, &per_token, &per_seq);
    double absorb = (double)b->n_tokens * a->d_latent * (a->d_nope + a->d_v);
    count(d, 2.0 * a->n_heads * (absorb + per_token * (2.0 * a->d_latent + a->d_rope)),
          tensor_bytes(q) + tensor_bytes(out));
    if (b->n_tokens > 0 && a->kv_b) count_weight(d, a->kv_b, a->kv_b->bytes);
    d->cost.kv_bytes += per_seq * (double)hd_row_bytes(a->plane->dtype, a->plane->width);
}

static void dry_moe_route(hd_backend *be, hd_tensor ids, hd_tensor wts, hd_tensor scores,
                          const hd_gate *g)
{
    dry *d = dry_of(be);
    expect_tensor(d, "moe_route", "scores", scores, HD_F32, scores.rows, g->n_experts);
    expect_tensor(d, "moe_route", "ids", ids, HD_I32, scores.rows, g->n_active);
    expect_tensor(d, "moe_route", "wts", wts, HD_F32, scores.rows, g->n_active);
    if (g->bias) expect_weight(d, "moe_route", "bias", g->bias, 1, g->n_experts, 1);
    expect(d, g->n_active <= g->n_experts, "moe_route: %d of %d experts", (int)g->n_active,
           (int)g->n_experts);
    if (g->group != HD_GROUP_NONE)
        expect(d, g->n_group > 0 && g->n_experts % g->n_group == 0 && g->topk_group <= g->n_group,
               "moe_route: %d of %d groups over %d experts", (int)g->topk_group, (int)g->n_group,
               (int)g->n_experts);
    count(d, 0, tensor_bytes(scores) + tensor_bytes(ids) + tensor_bytes(wts));
    if (scores.rows > 0) count_weight(d, g->bias, g->bias ? g->bias->bytes : 0);
}

static void dry_moe_ffn(hd_backend *be, hd_tensor out, hd_tensor x, hd_tensor ids, hd_tensor wts,
                        const hd_weight *gate_up, const hd_weight *down, hd_act act)
{
    dry *d = dry_of(be);
    (void)act;
    expect(d, gate_up && down, "moe_ffn: gate_up or down: no weight");
    if (!gate_up || !down) return;
    expect_tensor(d, "moe_ffn", "x", x, HD_F32, x.rows, x.cols);
    expect_weight(d, "moe_ffn", "gate_up", gate_up, gate_up->n_mat, 2 * (int64_t)down->n_in,
                  x.cols);
    expect_weight(d, "moe_ffn", "down", down, gate_up->n_mat, out.cols, down->n_in);
    expect_tensor(d, "moe_ffn", "out", out, HD_F32, x.rows, out.cols);
    expect_tensor(d, "moe_ffn", "ids", ids, HD_I32, x.rows, ids.cols);
    expect_tensor(d, "moe_ffn", "wts", wts, HD_F32, x.rows, ids.cols);
    double pairs = (double)x.rows * ids.cols;
    double experts = pairs < gate_up->n_mat ? pairs : gate_up->n_mat; // at most this many are read
    count(d, 2.0 * pairs * down->n_in * (2.0 * x.cols + out.cols),
          tensor_bytes(x) + tensor_bytes(out));
    count_weight(d, gate_up, gate_up->bytes / gate_up->n_mat * experts);
    count_weight(d, down, down->bytes / down->n_mat * experts);
}

static void dry_glu(hd_backend *be, hd_tensor out, hd_tensor gate_up, hd_act act)
{
    dry *d = dry_of(be);
    (void)act;
    expect_tensor(d, "glu", "out", out, HD_F32, gate_up.rows, out.cols);
    expect_tensor(d, "glu", "gate_up", gate_up, HD_F32, gate_up.rows, 2 * (int64_t)out.cols);
    count(d, 4.0 * out.rows * out.cols, tensor_bytes(out) + tensor_bytes(gate_up));
}

static void dry_add(hd_backend *be, hd_tensor x, hd_tensor y, float scale)
{
    dry *d = dry_of(be);
    (void)scale;
    expect_tensor(d, "add", "x", x, HD_F32, x.rows, x.cols);
    expect_tensor(d, "add", "y", y, HD_F32, x.rows, x.cols);
    count(d, 2.0 * x.rows * x.cols, 3 * tensor_bytes(x));
}

static void dry_gather(hd_backend *be, hd_tensor out, hd_tensor x, const int32_t *rows)
{
    dry *d = dry_of(be);
    (void)rows;
    expect_tensor(d, "gather", "out", out, x.dtype, out.rows, x.cols);
    count(d, 0, 2 * tensor_bytes(out));
}

static void dry_topk(hd_backend *be, hd_tensor ids, hd_tensor vals, hd_tensor lse, hd_tensor logits)
{
    dry *d = dry_of(be);
    expect_tensor(d, "topk", "logits", logits, HD_F32, logits.rows, logits.cols);
    expect_tensor(d, "topk", "ids", ids, HD_I32, logits.rows, ids.cols);
    expect_tensor(d, "topk", "vals", vals, HD_F32, logits.rows, ids.cols);
    expect_tensor(d, "topk", "lse", lse, HD_F32, logits.rows, 1);
    count(d, 0, tensor_bytes(logits) + tensor_bytes(ids) + tensor_bytes(vals) + tensor_bytes(lse));
}

static void dry_all_reduce(hd_backend *be, hd_tensor x, hd_comm *comm)
{
    dry *d = dry_of(be);
    (void)comm;
    expect_tensor(d, "all_reduce", "x", x, HD_F32, x.rows, x.cols);
    count(d, 0, 2 * tensor_bytes(x));
}

const hd_backend_ops hd_dry_ops = {
    .abi = HD_BACKEND_ABI,
    .size = sizeof(hd_backend_ops),
    .name = "dry",
    .open = dry_open,
    .close = dry_close,
    .alloc = dry_alloc,
    .release = dry_release,
    .upload = dry_copy,
    .download = dry_copy,
    .sync = dry_sync,
    .weight_new = dry_weight_new,
    .weight_fill = dry_weight_fill,
    .weight_free = dry_weight_free,
    .weight_info = dry_weight_info,
    .step_begin = dry_step_begin,
    .step_end = dry_step_end,
    .embed = dry_embed,
    .rmsnorm = dry_rmsnorm,
    .linear = dry_linear,
    .linear_heads = dry_linear_heads,
    .rope = dry_rope,
    .kv_store = dry_kv_store,
    .attn = dry_attn,
    .mla = dry_mla,
    .moe_route = dry_moe_route,
    .moe_ffn = dry_moe_ffn,
    .glu = dry_glu,
    .add = dry_add,
    .gather = dry_gather,
    .topk = dry_topk,
    .all_reduce = dry_all_reduce,
};
