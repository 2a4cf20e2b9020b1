// Latent attention: which way each sequence of the batch is computed, and both ways.
//
// Absorbed, some tokens at a time: queries move into the latent space (W_UK^T q_nope beside
// q_rope), attn.c attends over the cached latents as one KV head, and the weighted latents go
// through W_UV. It keeps to the own kernels, so a token's result depends on nothing but the token
// and its sequence. Expanded, one sequence and some heads at a time: keys and values of every head
// are computed from the latents into work memory, on which attn.c runs as on a cache of one page;
// many rows go through BLAS here, which deterministic mode forbids.
//
// W_UK is never multiplied into other weights, and nothing here touches rotation or norms.
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <string.h>

enum {
    QUERY_TOKENS = 16, // tokens of a head that one task moves into the latent space
    KEY_ROWS = 128,    // keys of a head that one task expands
};
static_assert((int)HD_MLA_GROUP_TOKENS <= (int)HD_CPU_ROW_CHUNK, "a group is quantized at once");

typedef struct job { // one call
    hd_cpu *c;
    hd_tensor out, q, work;
    const hd_mla *a;
    const hd_batch *b;
    const hd_cpu_part *uk, *uv;
} job;

static int qk_width(const hd_mla *a)
{
    return a->d_nope + a->d_rope;
}

// A matrix of floats in work memory, `at` floats from its start.
static hd_tensor in_work(const job *j, int64_t at, int rows, int cols)
{
    hd_tensor t = {(float *)j->work.data + at, HD_F32, rows, cols, cols * (int64_t)sizeof(float)};
    HD_DASSERT(at + (int64_t)rows * cols <= j->work.cols);
    return t;
}

// ---- absorbed ------------------------------------------------------------------------------

typedef struct group { // some tokens of the batch, and their queries and results in latent space
    const job *j;
    hd_tensor out, q;
    hd_tensor latent_q; // [n, n_heads * (d_latent + d_rope)]
    hd_tensor latent_o; // [n, n_heads * d_latent]
    hd_cpu_acts acts;   // latent_o as W_UV wants it
} group;

// W_UK^T q_nope is a sum of W_UK's rows weighted by q_nope, as values are by probabilities.
static void query_task(void *ctx, int task, int worker)
{
    const group *g = ctx;
    const hd_mla *a = g->j->a;
    const hd_cpu_part *uk = g->j->uk;
    (void)worker;
    int head = task % a->n_heads, t = task / a->n_heads * QUERY_TOKENS;
    int n = hd_cpu_min(QUERY_TOKENS, g->q.rows - t), width = a->d_latent + a->d_rope;
    float *to = hd_cpu_row(g->latent_q, t) + (int64_t)head * width;
    const float *q = hd_cpu_row(g->q, t) + (int64_t)head * qk_width(a);
    int64_t ld_to = hd_cpu_ld(g->latent_q), ld_q = hd_cpu_ld(g->q);
    for (int i = 0; i < n; i++) {
        memset(to + i * ld_to, 0, (size_t)a->d_latent * sizeof(float));
        memcpy(to + i * ld_to + a->d_latent, q + i * ld_q + a->d_nope,
               (size_t)a->d_rope * sizeof(float));
    }
    g->j->c->fns.pv[uk->dtype](to, ld_to, q, ld_q, n, hd_cpu_weight_row(uk, head, uk->first),
                               uk->row_bytes, a->d_nope, a->d_latent);
}

static void value_task(void *ctx, int task, int worker)
{
    const group *g = ctx;
    const hd_mla *a = g->j->a;
    const hd_cpu_part *uv = g->j->uv;
    (void)worker;
    int tile = hd_cpu_tile_rows(uv), head = task % a->n_heads, row = task / a->n_heads * tile;
    const char *act = g->acts.row[uv->fmt] + (size_t)head * hd_act_row_bytes(uv->fmt, a->d_latent);
    hd_cpu_mm(g->j->c, uv, head, uv->first + row, hd_cpu_min(tile, a->d_v - row), act,
              g->acts.stride[uv->fmt], g->out.rows, a->d_latent,
              hd_cpu_row(g->out, 0) + (int64_t)head * a->d_v + row, hd_cpu_ld(g->out));
}

// The tokens of sub, which begins at token `tok` of the batch.
static void run_group(const job *j, const hd_batch *sub, int tok)
{
    const hd_mla *a = j->a;
    int n = sub->n_tokens, width = a->d_latent + a->d_rope;
    group g = {.j = j, .out = hd_tensor_rows(j->out, tok, n), .q = hd_tensor_rows(j->q, tok, n)};
    g.latent_q = in_work(j, 0, n, a->n_heads * width);
    g.latent_o = in_work(j, (int64_t)n * a->n_heads * width, n, a->n_heads * a->d_latent);
    double rows = (double)n * a->n_heads;
    hd_cpu_run(j->c, query_task, &g, a->n_heads * hd_cpu_tiles(n, QUERY_TOKENS),
               rows * a->d_nope * a->d_latent);
    hd_attn attn = {.n_heads = a->n_heads,
                    .n_kv = 1,
                    .d_qk = width,
                    .d_v = a->d_latent,
                    .scale = a->scale,
                    .k_plane = a->plane};
    hd_cpu_attn(&j->c->base, g.latent_o, g.latent_q, &attn, sub);
    if (j->c->err.code != HD_OK) return;
    if (!hd_cpu_quantize(j->c, 1u << j->uv->fmt, g.latent_o, &g.acts)) return;
    hd_cpu_run(j->c, value_task, &g, a->n_heads * hd_cpu_tiles(a->d_v, hd_cpu_tile_rows(j->uv)),
               rows * a->d_v * a->d_latent);
}

// All tokens of sequences [seq, end).
static void absorb(const job *j, int seq, int end)
{
    const int32_t *start = j->b->q_start;
    for (int t = start[seq], n; t < start[end]; t += n) {
        int most = hd_cpu_min(HD_MLA_GROUP_TOKENS, start[end] - t);
        int32_t from[HD_MLA_GROUP_TOKENS + 1] = {0};
        hd_batch sub = *j->b;
        while (start[seq + 1] <= t)
            seq++;
        sub.n_seqs = 0;
        for (n = 0; n < most && sub.n_seqs < HD_MLA_GROUP_TOKENS; from[++sub.n_seqs] = n)
            n = hd_cpu_min(most, start[seq + sub.n_seqs + 1] - t);
        sub.n_tokens = n;
        sub.pos += t;
        sub.q_start = from;
        sub.kv_len += seq;
        sub.page += (int64_t)seq * sub.max_pages;
        run_group(j, &sub, t);
    }
}

// ---- expanded ------------------------------------------------------------------------------

typedef struct slice { // heads [head, head + n_heads) of one sequence
    const job *j;
    const int32_t *page;
    int keys, head, n_heads;
    hd_tensor k, v; // [keys, n_heads * (d_nope + d_rope)], [keys, n_heads * d_v]
    char *block;    // per worker: latents of KEY_ROWS keys as floats, then quantized
    size_t block_bytes;
} slice;

// Latents of keys first .. first + n as floats; their rotated parts go straight into the head's
// keys.
static void load_latents(const slice *s, int first, int n, int col, float *x)
{
    const hd_mla *a = s->j->a;
    const hd_kv_plane *p = a->plane;
    hd_decode_fn *decode = s->j->c->fns.decode[p->dtype];
    size_t row = hd_row_bytes(p->dtype, p->width), skip = hd_row_bytes(p->dtype, a->d_latent);
    for (int i = 0; i < n; i++) {
        int key = first + i;
        int64_t at = (int64_t)s->page[key / p->page_rows] * p->page_rows + key % p->page_rows;
        const char *from = (const char *)p->base + (size_t)at * row;
        decode(from, x + (int64_t)i * a->d_latent, a->d_latent);
        decode(from + skip, hd_cpu_row(s->k, key) + col + a->d_nope, a->d_rope);
    }
}

// out [n, rows of the part] = x [n, d_latent] times the head's matrix.
static void project(const slice *s, int worker, const hd_cpu_part *p, int head, const float *x,
                    int n, float *out, int64_t ldo)
{
    hd_cpu *c = s->j->c;
    int d = s->j->a->d_latent;
    if (hd_cpu_by_gemm(c, p, s->keys)) {
        for (int r = 0; r < p->n_out; r += HD_CPU_GEMM_ROWS)
            hd_cpu_gemm_tile(c, worker, p, head, p->first + r,
                             hd_cpu_min(HD_CPU_GEMM_ROWS, p->n_out - r), x, d, n, d, out + r, ldo);
        return;
    }
    const char *act = (const char *)x;
    size_t stride = hd_act_row_bytes(p->fmt, d);
    if (p->fmt != HD_ACT_F32) {
        char *quant = s->block + (size_t)worker * s->block_bytes;
        quant += (size_t)KEY_ROWS * (size_t)d * sizeof(float);
        for (int i = 0; i < n; i++)
            c->fns.quant_act[p->fmt](quant + (size_t)i * stride, x + (int64_t)i * d, d);
        act = quant;
    }
    hd_cpu_mm(c, p, head, p->first, p->n_out, act, stride, n, d, out, ldo);
}

static void expand_task(void *ctx, int task, int worker)
{
    const slice *s = ctx;
    const hd_mla *a = s->j->a;
    int h = task % s->n_heads, first = task / s->n_heads * KEY_ROWS;
    int n = hd_cpu_min(KEY_ROWS, s->keys - first), col = h * qk_width(a);
    float *x = (float *)(void *)(s->block + (size_t)worker * s->block_bytes);
    load_latents(s, first, n, col, x);
    project(s, worker, s->j->uk, s->head + h, x, n, hd_cpu_row(s->k, first) + col, hd_cpu_ld(s->k));
    project(s, worker, s->j->uv, s->head + h, x, n, hd_cpu_row(s->v, first) + h * a->d_v,
            hd_cpu_ld(s->v));
}

// Attention of the sequence's queries over the expanded keys and values.
static void attend(const slice *s, int seq)
{
    const job *j = s->j;
    const hd_mla *a = j->a;
    int tok = j->b->q_start[seq], n = j->b->q_start[seq + 1] - tok;
    const int32_t start[2] = {0, n}, page = 0;
    hd_batch sub = *j->b;
    sub.n_tokens = n;
    sub.n_seqs = sub.max_pages = 1;
    sub.pos += tok;
    sub.q_start = start;
    sub.kv_len += seq;
    sub.page = &page;
    hd_kv_plane k = {s->k.data, HD_F32, s->k.cols, s->keys};
    hd_kv_plane v = {s->v.data, HD_F32, s->v.cols, s->keys};
    hd_attn attn = {.n_heads = s->n_heads,
                    .n_kv = s->n_heads,
                    .d_qk = qk_width(a),
                    .d_v = a->d_v,
                    .scale = a->scale,
                    .k_plane = &k,
                    .v_plane = &v};
    hd_tensor q = hd_tensor_cols(j->q, s->head * qk_width(a), s->n_heads * qk_width(a));
    hd_tensor out = hd_tensor_cols(j->out, s->head * a->d_v, s->n_heads * a->d_v);
    hd_cpu_attn(&j->c->base, hd_tensor_rows(out, tok, n), hd_tensor_rows(q, tok, n), &attn, &sub);
}

// False: no memory.
static bool reserve_blocks(slice *s)
{
    const job *j = s->j;
    size_t uk = hd_act_row_bytes(j->uk->fmt, j->a->d_latent);
    size_t uv = hd_act_row_bytes(j->uv->fmt, j->a->d_latent);
    size_t row = (size_t)j->a->d_latent * sizeof(float) + (uk > uv ? uk : uv);
    s->block_bytes = (KEY_ROWS * row + 63) / 64 * 64;
    s->block = hd_cpu_reserve(j->c, &j->c->mla, s->block_bytes * (size_t)j->c->n_workers);
    return s->block;
}

static void expand(const job *j, int seq)
{
    const hd_mla *a = j->a;
    slice s = {.j = j, .keys = j->b->kv_len[seq]};
    int64_t per_head = (int64_t)s.keys * (qk_width(a) + a->d_v);
    int most = (int)(j->work.cols / per_head);
    HD_ASSERT(most > 0);
    if (!reserve_blocks(&s)) return;
    s.page = j->b->page + (int64_t)seq * j->b->max_pages;
    for (; s.head < a->n_heads; s.head += s.n_heads) {
        s.n_heads = hd_cpu_min(most, a->n_heads - s.head);
        s.k = in_work(j, 0, s.keys, s.n_heads * qk_width(a));
        s.v = in_work(j, (int64_t)s.keys * s.k.cols, s.keys, s.n_heads * a->d_v);
        hd_cpu_run(j->c, expand_task, &s, s.n_heads * hd_cpu_tiles(s.keys, KEY_ROWS),
                   (double)s.n_heads * s.keys * (a->d_nope + a->d_v) * a->d_latent);
        attend(&s, seq);
        if (j->c->err.code != HD_OK) return;
    }
}

// ---- the operation -------------------------------------------------------------------------

// Multiply-adds of one head, with `pairs` of a query and a key it sees:
//   absorbed   n (d_nope + d_v) d_latent + pairs (2 d_latent + d_rope)
//   expanded   keys (d_nope + d_v) d_latent + pairs (d_nope + d_rope + d_v)
// With V2's and V3's dimensions (128, 64, 128, 512) that alone would expand n queries far behind
// their first key when n > 256 * 512 / (1024 - 256), about 171. But measured on
// Zen 4 (16 heads, 4096 keys, AVX-512, one thread) one costs about a fifth more when expanded, and
// the ways meet near 210 queries; the factor puts it at 220.
static bool pays_to_expand(const hd_mla *a, double n, double keys)
{
    double pairs = n * keys - n * (n - 1) / 2, row = (double)(a->d_nope + a->d_v) * a->d_latent;
    double absorbed = n * row + pairs * (2 * a->d_latent + a->d_rope);
    double expanded = keys * row + pairs * (qk_width(a) + a->d_v);
    return absorbed > 1.2 * expanded;
}

// Few queries are always absorbed, like all in deterministic mode: as in linear, their results then
// ignore their company.
static bool expands(const job *j, int seq)
{
    int n = j->b->q_start[seq + 1] - j->b->q_start[seq], keys = j->b->kv_len[seq];
    if (n == 0 || keys > HD_MLA_EXPAND_KEYS || j->a->path == HD_MLA_ABSORBED) return false;
    if (j->a->path == HD_MLA_EXPANDED) return true;
    return n > HD_CPU_OWN_ROWS && !j->c->own_only && pays_to_expand(j->a, n, keys);
}

void hd_cpu_mla(hd_backend *be, hd_tensor out, hd_tensor q, const hd_mla *a, const hd_batch *b,
                hd_tensor work)
{
    const hd_weight *w = a->kv_b;
    job j = {hd_cpu_of(be), out, q, work, a, b, &w->part[0], &w->part[1]};
    HD_DASSERT(w->n_mat == a->n_heads && w->n_part == 2 && w->n_in == a->d_latent);
    HD_DASSERT(j.uk->n_out == a->d_nope && j.uv->n_out == a->d_v);
    HD_DASSERT(a->plane->width == a->d_latent + a->d_rope);
    HD_DASSERT(q.cols == a->n_heads * qk_width(a) && q.rows == b->n_tokens);
    HD_DASSERT(out.cols == a->n_heads * a->d_v && out.rows == b->n_tokens);
    HD_ASSERT(j.c->fns.pv[j.uk->dtype] && j.c->fns.decode[a->plane->dtype]);
    HD_ASSERT(a->d_latent % hd_dtype_get(a->plane->dtype)->block == 0);
    HD_ASSERT(work.dtype == HD_F32 && work.cols >= hd_mla_work_floats(a, b));
    for (int seq = 0, end; seq < b->n_seqs && j.c->err.code == HD_OK; seq = end) {
        end = seq;
        while (end < b->n_seqs && !expands(&j, end))
            end++;
        if (end > seq)
            absorb(&j, seq, end);
        else
            expand(&j, end++);
    }
}
