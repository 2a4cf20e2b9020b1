// Routing tokens to experts, and the routed feed-forward network.
//
// (token, choice) pairs are sorted by expert, so that an expert's rows lie side by side and each
// weight tile is read once for all of them. One flat list of (expert, tile) tasks computes
// act(gate) * up; a second list over tiles of the output computes every expert's part and adds them
// up token by token in the order of its choices. Only chosen experts are touched.
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum {
    MAX_EXPERTS = 1024,
    ROUTE_ROWS = 16,      // rows a routing task takes
    TOKENS = 512,         // tokens worked on at once, fewer when PAIRS says so
    PAIRS = 4096,         // (token, choice) pairs worked on at once
    F_TILE = 64,          // columns of the hidden layer, of the output, that a task takes: so many,
    F_TILE_MIN = 16,      // or a multiple of this that makes
    TASKS_PER_WORKER = 4, // so many tasks
    TILE_FLOATS = 16384,  // of so many results at most, which stay in a core's own cache
    GEMM_TOKENS = 128     // rows a task multiplies at once when it goes through BLAS
};

// ---- routing -------------------------------------------------------------------------------

typedef struct route_job {
    const hd_gate *g;
    const float *bias;
    hd_tensor ids, wts, scores;
    const hd_cpu_fns *f;
} route_job;

static float softplus(float x)
{
    return x > 20.0f ? x : log1pf(expf(x));
}

static void score_experts(const route_job *j, float *s, int n)
{
    switch (j->g->score) {
    case HD_GATE_SOFTMAX: {
        float sum = j->f->exp_sum(s, j->f->max(s, n), n);
        for (int i = 0; i < n; i++)
            s[i] /= sum;
        break;
    }
    case HD_GATE_SIGMOID:
        for (int i = 0; i < n; i++)
            s[i] = 1.0f / (1.0f + expf(-s[i]));
        break;
    case HD_GATE_SQRT_SOFTPLUS:
        for (int i = 0; i < n; i++)
            s[i] = sqrtf(softplus(s[i]));
        break;
    }
}

// Index of the largest value that is not taken; ties and NaN: the lowest index.
static int best_of(const float *v, const bool *taken, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!taken[i] && (best < 0 || v[i] > v[best] || (v[best] != v[best] && v[i] == v[i])))
            best = i;
    return best;
}

static float group_score(hd_gate_group kind, const float *v, int n)
{
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (v[i] > first) {
            second = first;
            first = v[i];
        } else if (v[i] > second) {
            second = v[i];
        }
    }
    return kind == HD_GROUP_MAX || n == 1 ? first : first + second;
}

// Overwrites the values of groups that do not make it.
static void drop_groups(const hd_gate *g, float *v)
{
    float score[MAX_EXPERTS];
    bool kept[MAX_EXPERTS] = {false};
    if (g->group == HD_GROUP_NONE) return;
    int size = g->n_experts / g->n_group;
    for (int i = 0; i < g->n_group; i++)
        score[i] = group_score(g->group, v + i * size, size);
    for (int i = 0; i < g->topk_group; i++)
        kept[best_of(score, kept, g->n_group)] = true;
    for (int i = 0; i < g->n_experts; i++)
        if (!kept[i / size]) v[i] = g->group == HD_GROUP_MAX ? 0.0f : -INFINITY;
}

static void route_row(const route_job *j, int row)
{
    const hd_gate *g = j->g;
    float score[MAX_EXPERTS], choice[MAX_EXPERTS];
    bool taken[MAX_EXPERTS] = {false};
    int32_t *ids = (int32_t *)(void *)hd_cpu_row(j->ids, row);
    float *wts = hd_cpu_row(j->wts, row), sum = 0.0f;
    memcpy(score, hd_cpu_row(j->scores, row), (size_t)g->n_experts * sizeof(float));
    score_experts(j, score, g->n_experts);
    for (int i = 0; i < g->n_experts; i++)
        choice[i] = j->bias ? score[i] + j->bias[i] : score[i];
    drop_groups(g, choice);
    for (int k = 0; k < g->n_active; k++) {
        int e = best_of(choice, taken, g->n_experts);
        taken[e] = true;
        ids[k] = e;
        wts[k] = score[e];
        sum += score[e];
    }
    for (int k = 0; k < g->n_active; k++) {
        if (g->normalize) wts[k] /= sum + 1e-20f;
        wts[k] *= g->scale;
    }
}

static void route_task(void *ctx, int task, int worker)
{
    const route_job *j = ctx;
    (void)worker;
    for (int r = task * ROUTE_ROWS; r < hd_cpu_min((task + 1) * ROUTE_ROWS, j->scores.rows); r++)
        route_row(j, r);
}

void hd_cpu_moe_route(hd_backend *be, hd_tensor ids, hd_tensor wts, hd_tensor scores,
                      const hd_gate *g)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_ASSERT(g->n_experts <= MAX_EXPERTS && g->n_active <= g->n_experts);
    HD_ASSERT(g->group == HD_GROUP_NONE ||
              (g->n_group > 0 && g->n_experts % g->n_group == 0 && g->topk_group <= g->n_group));
    HD_DASSERT(scores.cols == g->n_experts && ids.cols == g->n_active && wts.cols == g->n_active);
    route_job j = {g, g->bias ? hd_cpu_vector(g->bias) : NULL, ids, wts, scores, &c->fns};
    hd_cpu_run(c, route_task, &j, hd_cpu_tiles(scores.rows, ROUTE_ROWS),
               (double)scores.rows * g->n_experts * (16 + g->n_active));
}

// ---- the plan of a chunk of tokens ---------------------------------------------------------

typedef struct moe_job {
    hd_cpu *c;
    hd_tensor out, x, ids, wts; // rows of this chunk
    const hd_weight *gate_up, *down;
    hd_act act;
    int f, n_active, n_pairs;
    int tile;        // columns a task takes: the stride of its results
    int32_t *token;  // [pair] row of x
    int32_t *pair;   // [token * n_active + k] pair
    int32_t *first;  // [expert + 1] its pairs are first[e] .. first[e + 1]
    int32_t *chosen; // experts with pairs
    int n_chosen;
    // Rows per pair, in the formats the weights want. A single token has one row, 0 bytes apart.
    char *x_rows[HD_ACT_FMT_COUNT], *h_rows[HD_ACT_FMT_COUNT];
    size_t x_bytes[HD_ACT_FMT_COUNT], h_bytes[HD_ACT_FMT_COUNT];
    char *tmp; // per worker
    size_t tmp_bytes;
} moe_job;

static const int32_t *ids_row(const moe_job *j, int t)
{
    return (const int32_t *)(const void *)hd_cpu_row(j->ids, t);
}

static void plan(moe_job *j)
{
    int n_mat = j->gate_up->n_mat, n = 0;
    memset(j->first, 0, (size_t)(n_mat + 1) * sizeof(int32_t));
    for (int t = 0; t < j->x.rows; t++)
        for (int k = 0; k < j->n_active; k++) {
            HD_ASSERT(ids_row(j, t)[k] >= 0 && ids_row(j, t)[k] < n_mat);
            j->first[ids_row(j, t)[k] + 1]++;
        }
    j->n_chosen = 0;
    for (int e = 0; e < n_mat; e++) {
        if (j->first[e + 1]) j->chosen[j->n_chosen++] = e;
        j->first[e + 1] += j->first[e];
    }
    for (int t = 0; t < j->x.rows; t++)
        for (int k = 0; k < j->n_active; k++) {
            n = j->first[ids_row(j, t)[k]]++; // each start moves to the next expert's
            j->token[n] = t;
            j->pair[t * j->n_active + k] = n;
        }
    memmove(j->first + 1, j->first, (size_t)n_mat * sizeof(int32_t));
    j->first[0] = 0;
    j->n_pairs = j->x.rows * j->n_active;
}

static int n_rows(const moe_job *j, int e)
{
    return j->first[e + 1] - j->first[e];
}

// Whether some expert's rows go through BLAS.
static bool any_by_gemm(const moe_job *j, const hd_weight *w)
{
    for (int i = 0; i < j->n_chosen; i++)
        for (int p = 0; p < w->n_part; p++)
            if (hd_cpu_by_gemm(j->c, &w->part[p], n_rows(j, j->chosen[i]))) return true;
    return false;
}

static unsigned formats(const moe_job *j, const hd_weight *w)
{
    return any_by_gemm(j, w) ? w->fmts | 1u << HD_ACT_F32 : w->fmts;
}

// ---- rows of pairs -------------------------------------------------------------------------

typedef struct rows_job {
    const moe_job *m;
    unsigned fmts;
    bool hidden;
} rows_job;

static void rows_task(void *ctx, int pair, int worker)
{
    const rows_job *r = ctx;
    const moe_job *j = r->m;
    (void)worker;
    const float *src =
        r->hidden
            ? (const float *)(void *)(j->h_rows[HD_ACT_F32] + (size_t)pair * j->h_bytes[HD_ACT_F32])
            : hd_cpu_row(j->x, j->token[pair]);
    int n = r->hidden ? j->f : j->x.cols;
    for (int f = 0; f < HD_ACT_FMT_COUNT; f++) {
        if (!(r->fmts >> f & 1) || (r->hidden && f == HD_ACT_F32)) continue;
        char *dst = r->hidden ? j->h_rows[f] + (size_t)pair * j->h_bytes[f]
                              : j->x_rows[f] + (size_t)pair * j->x_bytes[f];
        if (f == HD_ACT_F32)
            memcpy(dst, src, (size_t)n * sizeof(float));
        else
            j->c->fns.quant_act[f](dst, src, n);
    }
}

// A single token has the same row for every expert: quantized once, or read where it is.
static void make_one_row(moe_job *j)
{
    unsigned fmts = formats(j, j->gate_up);
    float *x = hd_cpu_row(j->x, 0);
    for (int f = 0; f < HD_ACT_FMT_COUNT; f++) {
        j->x_bytes[f] = 0;
        if (f == HD_ACT_F32)
            j->x_rows[f] = (char *)x;
        else if (fmts >> f & 1)
            j->c->fns.quant_act[f](j->x_rows[f], x, j->x.cols);
    }
}

static void make_rows(const moe_job *j, const hd_weight *w, bool hidden)
{
    rows_job r = {j, formats(j, w), hidden};
    hd_cpu_run(j->c, rows_task, &r, j->n_pairs, (double)j->n_pairs * w->n_in);
}

// ---- the two layers ------------------------------------------------------------------------

// Rows [row, row + n) of expert e's matrix times n_tok rows of pairs from `pair` on.
static void multiply(const moe_job *j, int worker, const hd_weight *w, int e, int row, int n,
                     char *const *rows, const size_t *bytes, int pair, int n_tok, float *out)
{
    const hd_cpu_part *p = hd_cpu_part_of(w, row);
    if (hd_cpu_by_gemm(j->c, p, n_rows(j, e))) {
        size_t stride = bytes[HD_ACT_F32];
        const float *x = (const float *)(void *)(rows[HD_ACT_F32] + (size_t)pair * stride);
        hd_cpu_gemm_tile(j->c, worker, p, e, row, n, x, (int64_t)(stride / sizeof(float)), n_tok,
                         w->n_in, out, j->tile);
        return;
    }
    hd_cpu_mm(j->c, p, e, row, n, rows[p->fmt] + (size_t)pair * bytes[p->fmt], bytes[p->fmt], n_tok,
              w->n_in, out, j->tile);
}

static float *tmp_of(const moe_job *j, int worker)
{
    return (float *)(void *)(j->tmp + (size_t)worker * j->tmp_bytes);
}

static void gate_up_task(void *ctx, int task, int worker)
{
    const moe_job *j = ctx;
    int tiles = hd_cpu_tiles(j->f, j->tile), e = j->chosen[task / tiles];
    int row = task % tiles * j->tile, n = hd_cpu_min(j->tile, j->f - row);
    float *gate = tmp_of(j, worker), *up = gate + j->tmp_bytes / sizeof(*up) / 2;
    for (int pair = j->first[e]; pair < j->first[e + 1]; pair += GEMM_TOKENS) {
        int n_tok = hd_cpu_min(GEMM_TOKENS, j->first[e + 1] - pair);
        multiply(j, worker, j->gate_up, e, row, n, j->x_rows, j->x_bytes, pair, n_tok, gate);
        multiply(j, worker, j->gate_up, e, j->f + row, n, j->x_rows, j->x_bytes, pair, n_tok, up);
        for (int t = 0; t < n_tok; t++) {
            char *h = j->h_rows[HD_ACT_F32] + (size_t)(pair + t) * j->h_bytes[HD_ACT_F32];
            j->c->fns.silu_mul((float *)(void *)h + row, gate + t * j->tile, up + t * j->tile,
                               j->act.limit, n);
        }
    }
}

static void down_task(void *ctx, int task, int worker)
{
    const moe_job *j = ctx;
    int row = task * j->tile, n = hd_cpu_min(j->tile, j->out.cols - row);
    float *y = tmp_of(j, worker); // [pair][tile]
    for (int i = 0; i < j->n_chosen; i++) {
        int e = j->chosen[i], pair = j->first[e], n_tok = j->first[e + 1] - pair;
        multiply(j, worker, j->down, e, row, n, j->h_rows, j->h_bytes, pair, n_tok,
                 y + (int64_t)pair * j->tile);
    }
    for (int t = 0; t < j->out.rows; t++) {
        float *out = hd_cpu_row(j->out, t) + row;
        const float *wts = hd_cpu_row(j->wts, t);
        memset(out, 0, (size_t)n * sizeof(float));
        for (int k = 0; k < j->n_active; k++)
            j->c->fns.axpy(out, y + (int64_t)j->pair[t * j->n_active + k] * j->tile, wts[k], n);
    }
}

static int most_rows(const moe_job *j)
{
    int most = 0;
    for (int i = 0; i < j->n_chosen; i++)
        most = hd_cpu_max(most, n_rows(j, j->chosen[i]));
    return hd_cpu_min(most, GEMM_TOKENS);
}

// Columns of a tile when every tile of n columns makes per_tile tasks, each with so many results a
// column. Long tiles, because a kernel asks for the bytes behind those it multiplies, and at the
// end of a tile another worker needs them; but enough of them to occupy all. A result does not
// depend on them, except through BLAS.
static int tile_columns(const moe_job *j, const hd_weight *w, int per_tile, int n, int results)
{
    if (any_by_gemm(j, w)) return F_TILE;
    const int tiles = hd_cpu_tiles(TASKS_PER_WORKER * j->c->n_workers, per_tile);
    const int even = hd_cpu_tiles(hd_cpu_tiles(n, tiles), F_TILE_MIN) * F_TILE_MIN;
    const int most = hd_cpu_max(TILE_FLOATS / results / F_TILE_MIN * F_TILE_MIN, F_TILE);
    return hd_cpu_min(even, most);
}

static void run_tiles(moe_job *j, hd_pool_fn fn, const hd_weight *w, int per_tile, int n,
                      int results, double work)
{
    j->tile = tile_columns(j, w, per_tile, n, results);
    hd_cpu_run(j->c, fn, j, per_tile * hd_cpu_tiles(n, j->tile), work);
}

static void run_chunk(moe_job *j)
{
    plan(j);
    double work = (double)j->n_pairs * j->f * j->x.cols;
    if (j->x.rows == 1)
        make_one_row(j);
    else
        make_rows(j, j->gate_up, false);
    run_tiles(j, gate_up_task, j->gate_up, j->n_chosen, j->f, 2 * most_rows(j), 2 * work);
    if (j->down->fmts & ~(1u << HD_ACT_F32)) make_rows(j, j->down, true);
    run_tiles(j, down_task, j->down, 1, j->out.cols, j->n_pairs, work);
}

// ---- the operation -------------------------------------------------------------------------

// Lays the rows of every format one after another in a block for `pairs` pairs.
static bool lay_rows(hd_cpu *c, hd_cpu_block *b, int n_in, int pairs, char **rows, size_t *bytes)
{
    size_t all = 0;
    for (int f = 0; f < HD_ACT_FMT_COUNT; f++) {
        bytes[f] = hd_act_row_bytes((hd_act_fmt)f, n_in);
        all += bytes[f] * (size_t)pairs;
    }
    char *p = hd_cpu_reserve(c, b, all);
    if (!p) return false;
    for (int f = 0; f < HD_ACT_FMT_COUNT; f++) {
        rows[f] = p;
        p += bytes[f] * (size_t)pairs;
    }
    return true;
}

// Memory for the largest chunk, so that it does not grow with the batch. Untouched pages cost
// nothing.
static bool reserve(moe_job *j, int max_tokens)
{
    hd_cpu *c = j->c;
    int pairs = max_tokens * j->n_active, n_mat = j->gate_up->n_mat;
    _Static_assert(2 * GEMM_TOKENS * F_TILE >= TILE_FLOATS, "long tiles have room");
    size_t tmp = (size_t)hd_cpu_max(pairs, 2 * GEMM_TOKENS) * F_TILE * sizeof(float);
    int32_t *p = hd_cpu_reserve(c, &c->moe_plan,
                                (2 * (size_t)pairs + 2 * (size_t)n_mat + 1) * sizeof(int32_t));
    j->tmp_bytes = tmp;
    j->tmp = hd_cpu_reserve(c, &c->moe_tmp, tmp * (size_t)c->n_workers);
    if (!p || !j->tmp) return false;
    j->token = p;
    j->pair = p + pairs;
    j->first = j->pair + pairs;
    j->chosen = j->first + n_mat + 1;
    return lay_rows(c, &c->moe_x, j->gate_up->n_in, pairs, j->x_rows, j->x_bytes) &&
           lay_rows(c, &c->moe_h, j->f, pairs, j->h_rows, j->h_bytes);
}

void hd_cpu_moe_ffn(hd_backend *be, hd_tensor out, hd_tensor x, hd_tensor ids, hd_tensor wts,
                    const hd_weight *gate_up, const hd_weight *down, hd_act act)
{
    moe_job j = {.c = hd_cpu_of(be), .gate_up = gate_up, .down = down, .act = act};
    j.f = down->n_in;
    j.n_active = ids.cols;
    HD_DASSERT(gate_up->n_out == 2 * j.f && gate_up->n_in == x.cols && down->n_out == out.cols);
    HD_DASSERT(gate_up->n_mat == down->n_mat && ids.rows == x.rows && wts.cols == ids.cols);
    // Gate and up are tiled side by side, so no tile may cross a border between parts.
    HD_ASSERT(gate_up->n_part == 1 || (gate_up->n_part == 2 && gate_up->part[0].n_out == j.f));
    HD_ASSERT(down->n_part == 1 && j.n_active <= PAIRS);
    int max_tokens = hd_cpu_min(TOKENS, PAIRS / j.n_active);
    if (x.rows == 0 || !reserve(&j, max_tokens)) return;
    for (int t = 0; t < x.rows; t += max_tokens) {
        int n = hd_cpu_min(max_tokens, x.rows - t);
        j.out = hd_tensor_rows(out, t, n);
        j.x = hd_tensor_rows(x, t, n);
        j.ids = hd_tensor_rows(ids, t, n);
        j.wts = hd_tensor_rows(wts, t, n);
        run_chunk(&j);
    }
}
