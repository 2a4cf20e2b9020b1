// Routing and the routed feed-forward network of the CPU backend against plain loops.
#include "kernels/cpu/cpu.h"
#include "tests/unit/be_kit.h"

static const kit_cfg three = {"cpu", 3, KIT_ALL_LEVELS, false};
static const kit_cfg deterministic = {"cpu", 3, KIT_ALL_LEVELS, true};
static const kit_cfg ref = {"cpu", 1, 0, false};

// ---- routing -------------------------------------------------------------------------------

enum { MAX_E = 64 };

static double score_of(hd_gate_score kind, const float *logit, int e, int n)
{
    double sum = 0, x = logit[e];
    if (kind == HD_GATE_SIGMOID) return 1 / (1 + exp(-x));
    if (kind == HD_GATE_SQRT_SOFTPLUS) return sqrt(log1p(exp(x)));
    for (int i = 0; i < n; i++)
        sum += exp((double)logit[i] - x);
    return 1 / sum;
}

// Whether a stands before b in a descending order with ties by index.
static bool before(const double *v, int a, int b)
{
    return v[a] > v[b] || (v[a] == v[b] && a < b);
}

static int rank_of(const double *v, int e, int n)
{
    int rank = 0;
    for (int i = 0; i < n; i++)
        rank += i != e && before(v, i, e);
    return rank;
}

static void plain_route(const hd_gate *g, const float *logit, const float *bias, int32_t *ids,
                        double *wts)
{
    double s[MAX_E], choice[MAX_E], group[MAX_E], sum = 0;
    int n = g->n_experts, size = g->group == HD_GROUP_NONE ? n : n / g->n_group;
    for (int e = 0; e < n; e++) {
        s[e] = score_of(g->score, logit, e, n);
        choice[e] = s[e] + (bias ? (double)bias[e] : 0);
    }
    for (int i = 0; i < n / size; i++) {
        double *c = choice + i * size, first = -INFINITY, second = -INFINITY;
        for (int e = 0; e < size; e++)
            if (rank_of(c, e, size) < 2) *(rank_of(c, e, size) ? &second : &first) = c[e];
        group[i] = g->group == HD_GROUP_TOP2 ? first + second : first;
    }
    for (int e = 0; e < n && g->group != HD_GROUP_NONE; e++)
        if (rank_of(group, e / size, g->n_group) >= g->topk_group)
            choice[e] = g->group == HD_GROUP_MAX ? 0 : -INFINITY;
    for (int e = 0; e < n; e++) {
        int rank = rank_of(choice, e, n);
        if (rank >= g->n_active) continue;
        ids[rank] = e;
        wts[rank] = s[e];
        sum += s[e];
    }
    for (int k = 0; k < g->n_active; k++)
        wts[k] = wts[k] / (g->normalize ? sum + 1e-20 : 1) * (double)g->scale;
}

static void route_case(hd_gate g, bool with_bias)
{
    enum { ROWS = 50 };
    kit k;
    kit_open(&k, three);
    float *bias = kit_floats(&k, g.n_experts);
    if (with_bias) g.bias = kit_vector(&k, bias, g.n_experts);
    hd_tensor x = kit_tensor(&k, ROWS, g.n_experts), ids = kit_ints(&k, ROWS, g.n_active);
    hd_tensor wts = kit_tensor(&k, ROWS, g.n_active);
    for (int e = 0; e < g.n_experts; e++)
        kit_row(x, 1)[e] = (float)(e % 3); // ties
    k.ops->moe_route(k.be, ids, wts, x, &g);
    kit_expect_padding(ids);
    kit_expect_padding(wts);
    for (int r = 0; r < ROWS; r++) {
        int32_t want[MAX_E];
        double w[MAX_E];
        plain_route(&g, kit_row(x, r), with_bias ? bias : NULL, want, w);
        for (int i = 0; i < g.n_active; i++) {
            EXPECT_INT(kit_ids(ids, r)[i], want[i]);
            EXPECT_NEAR(kit_row(wts, r)[i], w[i], 2e-6 * (fabs(w[i]) + 0.1));
        }
    }
    kit_close(&k);
}

static void routes(void)
{
    hd_gate v2 = {64, 6, 1, 1, HD_GATE_SOFTMAX, HD_GROUP_NONE, false, 1.0f, NULL};
    hd_gate v2_groups = {64, 6, 8, 3, HD_GATE_SOFTMAX, HD_GROUP_MAX, false, 16.0f, NULL};
    hd_gate v3 = {64, 8, 8, 4, HD_GATE_SIGMOID, HD_GROUP_TOP2, true, 2.5f, NULL};
    hd_gate v4 = {48, 6, 1, 1, HD_GATE_SQRT_SOFTPLUS, HD_GROUP_NONE, true, 1.5f, NULL};
    hd_gate qwen = {32, 4, 1, 1, HD_GATE_SOFTMAX, HD_GROUP_NONE, true, 1.0f, NULL};
    route_case(v2, false);
    route_case(v2_groups, false);
    route_case(v3, true);
    route_case(v3, false);
    route_case(v4, true);
    route_case(qwen, false);
}

static void routes_not_a_number(void)
{
    hd_gate g = {16, 4, 4, 2, HD_GATE_SIGMOID, HD_GROUP_TOP2, true, 1.0f, NULL};
    kit k;
    kit_open(&k, three);
    hd_tensor x = kit_tensor(&k, 2, 16), ids = kit_ints(&k, 2, 4), wts = kit_tensor(&k, 2, 4);
    for (int e = 0; e < 16; e++) {
        kit_row(x, 0)[e] = NAN;
        if (e % 2) kit_row(x, 1)[e] = NAN;
    }
    k.ops->moe_route(k.be, ids, wts, x, &g);
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 4; i++) { // whatever is chosen names an expert, once
            EXPECT(kit_ids(ids, r)[i] >= 0 && kit_ids(ids, r)[i] < 16);
            for (int j = 0; j < i; j++)
                EXPECT(kit_ids(ids, r)[i] != kit_ids(ids, r)[j]);
        }
    kit_close(&k);
}

// ---- the routing of three generations ------------------------------------------------------

// Written from the models' definitions, in floats as they are run: transformers' classes of
// deepseek_v2 and deepseek_v3, and the gate of DeepSeekMoE-16B. Nothing is shared with plain_route.
typedef enum generation { GREEDY, GROUP_LIMITED, NOAUX } generation;

typedef struct gen_gate {
    generation gen;
    int n_experts, n_active, n_group, topk_group;
    float scale;
} gen_gate;

typedef struct ranked {
    float score;
    int index;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->index - y->index;
}

// The indices of the k largest, best first; of equals the lower index.
static void top_k(const float *v, int n, int k, int *out)
{
    ranked r[256];
    for (int i = 0; i < n; i++)
        r[i] = (ranked){v[i], i};
    qsort(r, (size_t)n, sizeof(r[0]), by_rank);
    for (int i = 0; i < k; i++)
        out[i] = r[i].index;
}

static void softmax_of(const float *logit, int n, float *s)
{
    float top = logit[0];
    double sum = 0;
    for (int i = 1; i < n; i++)
        top = fmaxf(top, logit[i]);
    for (int i = 0; i < n; i++)
        sum += (double)(s[i] = expf(logit[i] - top));
    for (int i = 0; i < n; i++)
        s[i] = (float)((double)s[i] / sum);
}

// Scores of experts outside the best groups become `masked`.
static void mask_groups(const gen_gate *g, float *s, bool two, float masked)
{
    int size = g->n_experts / g->n_group, best[2], kept[8];
    float score[8];
    for (int i = 0; i < g->n_group; i++) {
        top_k(s + i * size, size, 2, best);
        score[i] = s[i * size + best[0]] + (two ? s[i * size + best[1]] : 0);
    }
    top_k(score, g->n_group, g->topk_group, kept);
    for (int i = 0; i < g->n_group; i++) {
        bool in = false;
        for (int j = 0; j < g->topk_group; j++)
            in = in || kept[j] == i;
        for (int e = i * size; !in && e < (i + 1) * size; e++)
            s[e] = masked;
    }
}

static void route_as_generation(const gen_gate *g, const float *logit, const float *bias, int *ids,
                                float *wts)
{
    float s[256], choice[256], sum = 1e-20f;
    if (g->gen == NOAUX)
        for (int e = 0; e < g->n_experts; e++)
            s[e] = 1 / (1 + expf(-logit[e]));
    else
        softmax_of(logit, g->n_experts, s);
    for (int e = 0; e < g->n_experts; e++)
        choice[e] = g->gen == NOAUX ? s[e] + bias[e] : s[e];
    if (g->gen == GROUP_LIMITED) mask_groups(g, choice, false, 0);
    if (g->gen == NOAUX) mask_groups(g, choice, true, -INFINITY);
    top_k(choice, g->n_experts, g->n_active, ids);
    for (int k = 0; k < g->n_active; k++)
        sum += s[ids[k]];
    for (int k = 0; k < g->n_active; k++)
        wts[k] = (g->gen == NOAUX ? s[ids[k]] / sum : s[ids[k]]) * g->scale;
}

// Logits on a grid, so that scores are either equal or apart by more than the rounding of exp:
// every fourth row so coarse that most scores are tied, some so spread out that scores vanish.
static void fill_logits(kit *k, float *row, int n, int kind)
{
    const float grid = kind == 0 ? 2 : kind == 1 ? 16 : 4096;
    const float spread = kind == 2 ? 60 : 2;
    for (int e = 0; e < n; e++)
        row[e] = roundf(spread * hd_rng_normal(&k->rng) * grid) / grid;
}

static void generation_case(gen_gate g, float bias_size, float bias_mean)
{
    enum { ROWS = 10000, PIECE = 100 };
    hd_gate gate = {g.n_experts,   g.n_active,     g.n_group, g.topk_group, HD_GATE_SOFTMAX,
                    HD_GROUP_NONE, g.gen == NOAUX, g.scale,   NULL};
    if (g.gen == GROUP_LIMITED) gate.group = HD_GROUP_MAX;
    if (g.gen == NOAUX) gate.group = HD_GROUP_TOP2, gate.score = HD_GATE_SIGMOID;
    kit k;
    kit_open(&k, three);
    float *bias = kit_floats(&k, g.n_experts), w[8];
    int want[8];
    for (int e = 0; e < g.n_experts; e++) // on a grid too: sums of tied scores are tied
        bias[e] = roundf(bias[e] * 4) / 4 * bias_size + bias_mean;
    if (g.gen == NOAUX) gate.bias = kit_vector(&k, bias, g.n_experts);
    hd_tensor x = kit_tensor(&k, PIECE, g.n_experts), ids = kit_ints(&k, PIECE, g.n_active);
    hd_tensor wts = kit_tensor(&k, PIECE, g.n_active);
    for (int first = 0; first < ROWS; first += PIECE) {
        for (int r = 0; r < PIECE; r++)
            fill_logits(&k, kit_row(x, r), g.n_experts, (first + r) % 8);
        k.ops->moe_route(k.be, ids, wts, x, &gate);
        for (int r = 0; r < PIECE; r++) {
            route_as_generation(&g, kit_row(x, r), bias, want, w);
            for (int i = 0; i < g.n_active; i++) {
                EXPECT_INT(kit_ids(ids, r)[i], want[i]);
                EXPECT_NEAR(kit_row(wts, r)[i], w[i], 1e-6 * (double)fmaxf(w[i], 1e-6f));
            }
        }
    }
    kit_close(&k);
}

static void routes_as_moe_16b(void)
{
    generation_case((gen_gate){GREEDY, 64, 6, 1, 1, 1.0f}, 0, 0);
}
static void routes_as_v2(void)
{
    generation_case((gen_gate){GROUP_LIMITED, 160, 6, 8, 3, 16.0f}, 0, 0);
}
static void routes_as_v3(void)
{
    const gen_gate v3 = {NOAUX, 256, 8, 8, 4, 2.5f};
    generation_case(v3, 0, 0);
    generation_case(v3, 0.25f, 0);
    generation_case(v3, 0.25f, -3); // all negative: masked groups must not look better
}

// ---- the routed network --------------------------------------------------------------------

typedef struct net {
    int n_experts, n_active, d, f;
    hd_dtype type;
    bool split; // gate and up as two parts
    float limit;
} net;

typedef struct weights {
    hd_weight *gate_up, *down;
    float *gate_up_f, *down_f; // what the kernels see
} weights;

static float *decoded(kit *k, const void *data, hd_dtype t, int64_t n)
{
    float *f = kit_floats(k, n);
    hd_dtype_get(t)->to_f32(data, f, n);
    return f;
}

static weights make_weights(kit *k, const net *n)
{
    weights w;
    int64_t half = (int64_t)n->f * n->d, all = n->n_experts * half;
    size_t half_bytes = hd_row_bytes(n->type, half);
    char *gu = kit_blocks(k, n->type, 2 * all), *down = kit_blocks(k, n->type, all);
    hd_weight_src *src = kit_alloc(k, 2 * (size_t)n->n_experts * sizeof(*src));
    for (int i = 0; i < 2 * n->n_experts; i++)
        src[i] = kit_src("e", gu + (size_t)i * half_bytes, n->type, n->f, n->d);
    hd_weight_spec spec = {"gate_up", src, n->n_experts, 2, n->d, HD_DTYPE_NONE};
    w.gate_up = n->split ? kit_pack(k, &spec)
                         : kit_matrix(k, gu, n->type, n->n_experts, 2 * n->f, n->d, HD_DTYPE_NONE);
    w.down = kit_matrix(k, down, n->type, n->n_experts, n->d, n->f, HD_DTYPE_NONE);
    w.gate_up_f = decoded(k, gu, n->type, 2 * all);
    w.down_f = decoded(k, down, n->type, all);
    return w;
}

// What is left of n activations after the blocks that go with weights of type t.
static void quantize(hd_dtype t, float *x, int n)
{
    hd_cpu_fns f;
    hd_act_q8_32 b32[16];
    hd_act_q8_256 b256[2];
    hd_fill_ref(&f);
    if (f.act_fmt[t] == HD_ACT_Q8_32) {
        f.quant_act[HD_ACT_Q8_32](b32, x, n);
        for (int i = 0; i < n; i++)
            x[i] = b32[i / 32].d * (float)b32[i / 32].q[i % 32];
    } else if (f.act_fmt[t] == HD_ACT_Q8_256) {
        f.quant_act[HD_ACT_Q8_256](b256, x, n);
        for (int i = 0; i < n; i++)
            x[i] = b256[i / 256].d * (float)b256[i / 256].q[i % 256];
    }
}

static void plain_ffn(const net *n, const weights *w, const float *x_row, bool own,
                      const int32_t *ids, const float *wts, double *out)
{
    float h[512], x[512];
    memcpy(x, x_row, (size_t)n->d * sizeof(float));
    if (own) quantize(n->type, x, n->d);
    for (int c = 0; c < n->d; c++)
        out[c] = 0;
    for (int k = 0; k < n->n_active; k++) {
        const float *gu = w->gate_up_f + (int64_t)ids[k] * 2 * n->f * n->d;
        const float *down = w->down_f + (int64_t)ids[k] * n->f * n->d;
        for (int i = 0; i < n->f; i++) {
            double g = kit_dot(gu + (int64_t)i * n->d, x, n->d);
            double u = kit_dot(gu + (int64_t)(n->f + i) * n->d, x, n->d);
            if (n->limit > 0) g = fmin(g, n->limit), u = fmax(fmin(u, n->limit), -n->limit);
            h[i] = (float)(g / (1 + exp(-g)) * u);
        }
        if (own) quantize(n->type, h, n->f);
        for (int c = 0; c < n->d; c++)
            out[c] += (double)wts[k] * kit_dot(down + (int64_t)c * n->f, h, n->f);
    }
}

static void choose(kit *k, const net *n, hd_tensor ids, hd_tensor wts)
{
    for (int r = 0; r < ids.rows; r++)
        for (int i = 0; i < n->n_active; i++) {
            // Distinct experts, crowded on the first ones so that some get many rows.
            int most = r % 2 ? n->n_experts : n->n_active + 1;
            bool again = true;
            while (again) {
                kit_ids(ids, r)[i] = (int32_t)hd_rng_below(&k->rng, (uint32_t)most);
                again = false;
                for (int j = 0; j < i; j++)
                    again = again || kit_ids(ids, r)[i] == kit_ids(ids, r)[j];
            }
            kit_row(wts, r)[i] = (float)hd_rng_unit(&k->rng);
        }
}

// rtol: relative to the length of the exact row. Where activations are quantized, a value on the
// border of two codes may fall to either side: one step of 1/127 in one of many elements.
// Experts have at most 16 rows, or all of them more.
static void ffn_case(kit_cfg cfg, net n, int rows, double rtol)
{
    kit k;
    kit_open(&k, cfg);
    weights w = make_weights(&k, &n);
    hd_tensor x = kit_tensor(&k, rows, n.d), out = kit_tensor(&k, rows, n.d);
    hd_tensor ids = kit_ints(&k, rows, n.n_active), wts = kit_tensor(&k, rows, n.n_active);
    hd_act act = {HD_ACT_SILU, n.limit};
    bool own = !hd_cpu_by_gemm(hd_cpu_of(k.be), w.down->part, rows);
    choose(&k, &n, ids, wts);
    k.ops->moe_ffn(k.be, out, x, ids, wts, w.gate_up, w.down, act);
    kit_expect_padding(out);
    for (int r = 0; r<rows; r += rows> 100 ? 37 : 1) {
        double want[512], norm = 0, diff = 0;
        plain_ffn(&n, &w, kit_row(x, r), own, kit_ids(ids, r), kit_row(wts, r), want);
        for (int c = 0; c < n.d; c++) {
            norm += want[c] * want[c];
            diff += pow((double)kit_row(out, r)[c] - want[c], 2);
        }
        EXPECT_NEAR(sqrt(diff / norm), 0, rtol);
    }
    kit_close(&k);
}

static const net small_f32 = {9, 3, 96, 40, HD_F32, true, 0};
static const net q8 = {8, 4, 128, 96, HD_Q8_0, true, 0};
static const net bf16 = {3, 2, 256, 256, HD_BF16, true, 0};
static const net f8 = {5, 3, 256, 128, HD_F8_B128, true, 0};
static const net q4_k = {3, 2, 256, 256, HD_Q4_K, false, 3.0f};

static void ffn_equals_loops(void)
{
    ffn_case(ref, small_f32, 5, 1e-6);
    ffn_case(three, small_f32, 1, 1e-6);
    ffn_case(three, small_f32, 60, 1e-6); // some experts through BLAS
    ffn_case(three, q8, 7, 1e-3);
    ffn_case(deterministic, q8, 60, 1e-3);
    ffn_case(three, q4_k, 7, 1e-3);
    ffn_case(ref, q4_k, 3, 1e-3);
    ffn_case(three, q4_k, 60, 1e-3); // 40 rows for each expert
    ffn_case(three, q4_k, 300, 1e-3);
    ffn_case(ref, q4_k, 300, hd_cpu_gemm_built() ? 1e-5 : 1e-3);
    ffn_case(three, bf16, 300, 1e-5);
    ffn_case(three, f8, 1, 1e-6);
    ffn_case(ref, f8, 7, 1e-6);
    ffn_case(three, f8, 60, 1e-5);
}

// Experts kept in blocks of FP8 give the bits of the same experts as floats.
static void fp8_experts_equal_floats(void)
{
    static const kit_cfg cfgs[] = {{"cpu", 3, KIT_ALL_LEVELS, false}, {"cpu", 1, 0, true}};
    const net n = {5, 3, 256, 128, HD_F32, false, 0};
    for (int i = 0; i < 2; i++)
        for (int rows = 1; rows <= 61; rows += 20) {
            kit k;
            kit_open(&k, cfgs[i]);
            void *gu = kit_blocks(&k, HD_F8_B128, 5 * 256 * 256);
            void *dn = kit_blocks(&k, HD_F8_B128, 5 * 256 * 128);
            hd_tensor x = kit_tensor(&k, rows, n.d), ids = kit_ints(&k, rows, n.n_active);
            hd_tensor wts = kit_tensor(&k, rows, n.n_active), out[2];
            hd_act act = {HD_ACT_SILU, 0};
            choose(&k, &n, ids, wts);
            for (int v = 0; v < 2; v++) {
                hd_dtype want = v ? HD_F32 : HD_DTYPE_NONE;
                out[v] = kit_tensor(&k, rows, n.d);
                k.ops->moe_ffn(k.be, out[v], x, ids, wts,
                               kit_matrix(&k, gu, HD_F8_B128, 5, 256, 256, want),
                               kit_matrix(&k, dn, HD_F8_B128, 5, 256, 128, want), act);
            }
            for (int r = 0; r < rows; r++)
                kit_expect_same(kit_row(out[0], r), kit_row(out[1], r), n.d);
            kit_close(&k);
        }
}

static void ffn_in_many_chunks(void)
{
    static const net n = {16, 8, 64, 32, HD_F32, false, 0};
    ffn_case(three, n, 1100, 1e-6);
}

// With the own kernels a token's result is the same alone and in company, on any number of threads.
static void ffn_ignores_company(void)
{
    const net nets[] = {small_f32, q8, q4_k, f8};
    for (int i = 0; i < 4; i++) {
        kit_cfg det = {"cpu", i == 0 ? 1 : 3, KIT_ALL_LEVELS, i != 1};
        int rows = i == 1 ? 16 : 40;
        kit k, m;
        kit_cfg single = det;
        single.threads = 1;
        kit_open(&k, det);
        kit_open(&m, single);
        net n = nets[i];
        weights w = make_weights(&k, &n), w1 = make_weights(&m, &n);
        hd_tensor x = kit_tensor(&k, rows, n.d), out = kit_tensor(&k, rows, n.d);
        hd_tensor alone = kit_tensor(&k, 1, n.d), ids = kit_ints(&k, rows, n.n_active);
        hd_tensor wts = kit_tensor(&k, rows, n.n_active);
        hd_act act = {HD_ACT_SILU, n.limit};
        choose(&k, &n, ids, wts);
        k.ops->moe_ffn(k.be, out, x, ids, wts, w.gate_up, w.down, act);
        for (int r = 0; r < rows; r++) {
            m.ops->moe_ffn(m.be, alone, hd_tensor_rows(x, r, 1), hd_tensor_rows(ids, r, 1),
                           hd_tensor_rows(wts, r, 1), w1.gate_up, w1.down, act);
            kit_expect_same(kit_row(out, r), kit_row(alone, 0), n.d);
        }
        kit_close(&m);
        kit_close(&k);
    }
}

typedef struct call {
    kit *k;
    hd_tensor out, x, ids, wts;
    weights w;
} call;

static void run_call(void *ctx)
{
    call *c = ctx;
    hd_act act = {HD_ACT_SILU, 0};
    c->k->ops->moe_ffn(c->k->be, c->out, c->x, c->ids, c->wts, c->w.gate_up, c->w.down, act);
}

static void survives_no_memory(void)
{
    enum { ROWS = 3 };
    kit k;
    net n = q8;
    kit_open(&k, three);
    call c = {.k = &k, .w = make_weights(&k, &n)};
    c.x = kit_tensor(&k, ROWS, n.d);
    c.out = kit_tensor(&k, ROWS, n.d);
    c.ids = kit_ints(&k, ROWS, n.n_active);
    c.wts = kit_tensor(&k, ROWS, n.n_active);
    choose(&k, &n, c.ids, c.wts);
    kit_expect_survives(&k, run_call, &c);
    kit_close(&k);
}

static void second_ffn_allocates_nothing(void)
{
    kit k;
    net n = q8;
    kit_open(&k, three);
    weights w = make_weights(&k, &n);
    hd_tensor x = kit_tensor(&k, 50, n.d), out = kit_tensor(&k, 50, n.d);
    hd_tensor ids = kit_ints(&k, 50, n.n_active), wts = kit_tensor(&k, 50, n.n_active);
    hd_act act = {HD_ACT_SILU, 0};
    choose(&k, &n, ids, wts);
    uint64_t before = 0;
    for (int rows = 1; rows <= 50; rows += 49) {
        k.ops->moe_ffn(k.be, hd_tensor_rows(out, 0, rows), hd_tensor_rows(x, 0, rows),
                       hd_tensor_rows(ids, 0, rows), hd_tensor_rows(wts, 0, rows), w.gate_up,
                       w.down, act);
        if (rows == 1) before = hd_mem_thread_allocs();
    }
    EXPECT_INT(hd_mem_thread_allocs(), before);
    kit_close(&k);
}

HD_TEST_MAIN("moe", {"routes", routes}, {"routes_not_a_number", routes_not_a_number},
             {"routes_as_moe_16b", routes_as_moe_16b}, {"routes_as_v2", routes_as_v2},
             {"routes_as_v3", routes_as_v3}, {"ffn_equals_loops", ffn_equals_loops},
             {"fp8_experts_equal_floats", fp8_experts_equal_floats},
             {"ffn_in_many_chunks", ffn_in_many_chunks},
             {"ffn_ignores_company", ffn_ignores_company},
             {"survives_no_memory", survives_no_memory},
             {"second_ffn_allocates_nothing", second_ffn_allocates_nothing})
