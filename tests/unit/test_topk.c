// The K largest logits against a sort, with everything a row may contain.
#include "tests/unit/be_kit.h"

typedef enum content { NORMAL, TIES, EQUAL, WITH_NAN, WITH_INF, ASCENDING, CONTENTS } content;

static void fill(kit *k, float *x, int n, content c)
{
    for (int i = 0; i < n; i++) {
        x[i] = hd_rng_normal(&k->rng);
        if (c == TIES) x[i] = (float)(int)(3 * x[i]);
        if (c == EQUAL) x[i] = 1.5f;
        if (c == WITH_NAN && hd_rng_below(&k->rng, 3) == 0) x[i] = NAN;
        if (c == WITH_INF && hd_rng_below(&k->rng, 3) == 0) x[i] = -INFINITY;
        if (c == ASCENDING) x[i] = (float)i / 1000;
    }
}

static const float *sorting;

// Descending, ties by lower id, NaN last.
static int by_value(const void *pa, const void *pb)
{
    int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
    float va = sorting[a], vb = sorting[b];
    bool na = va != va, nb = vb != vb;
    if (na != nb) return na ? 1 : -1;
    if (!na && va != vb) return va > vb ? -1 : 1;
    return a < b ? -1 : a > b;
}

static double plain_lse(const float *x, int n)
{
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if (x[i] > max) max = x[i];
    for (int i = 0; i < n; i++)
        if (x[i] == x[i]) sum += exp((double)x[i] - max);
    return max + log(sum);
}

static bool has_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) return true;
    return false;
}

static void expect_row(const float *x, int n, const int32_t *ids, const float *vals, int top,
                       float lse)
{
    int32_t *order = malloc((size_t)n * sizeof(*order));
    EXPECT(order != NULL);
    for (int i = 0; i < n; i++)
        order[i] = i;
    sorting = x;
    qsort(order, (size_t)n, sizeof(*order), by_value);
    bool any = has_finite(x, n);
    for (int i = 0; i < top; i++) {
        EXPECT_INT(ids[i], any && i < n ? order[i] : -1);
        if (ids[i] < 0)
            EXPECT(vals[i] == -INFINITY);
        else
            EXPECT_INT(hd_f32_bits(vals[i]), hd_f32_bits(x[ids[i]]));
    }
    if (any && plain_lse(x, n) < INFINITY) EXPECT_NEAR(lse, plain_lse(x, n), 1e-5);
    free(order);
}

static void topk_case(kit *k, int n, int top, content c)
{
    enum { ROWS = 3 };
    hd_tensor x = kit_tensor(k, ROWS, n), ids = kit_ints(k, ROWS, top);
    hd_tensor vals = kit_tensor(k, ROWS, top), lse = kit_tensor(k, ROWS, 1);
    for (int r = 0; r < ROWS; r++)
        fill(k, kit_row(x, r), n, c);
    k->ops->topk(k->be, ids, vals, lse, x);
    kit_expect_padding(ids);
    kit_expect_padding(vals);
    kit_expect_padding(lse);
    for (int r = 0; r < ROWS; r++)
        expect_row(kit_row(x, r), n, kit_ids(ids, r), kit_row(vals, r), top, *kit_row(lse, r));
}

static void sweep(kit_cfg cfg)
{
    static const int sizes[] = {1, 2, 63, 64, 65, 1000, 4096, 4097, 20000};
    static const int tops[] = {1, 2, 20, 64, 65, 1024};
    for (int i = 0; i < 9; i++) {
        kit k;
        kit_open(&k, cfg);
        for (int j = 0; j < 6; j++)
            for (int c = 0; c < CONTENTS; c++)
                topk_case(&k, sizes[i], tops[j], (content)c);
        kit_close(&k);
    }
}
static void equals_sort_best(void)
{
    kit_cfg cfg = {"cpu", 3, KIT_ALL_LEVELS, false};
    sweep(cfg);
}
static void equals_sort_ref(void)
{
    kit_cfg cfg = {"cpu", 1, 0, false};
    sweep(cfg);
}

static void real_vocabulary(void)
{
    kit k;
    kit_cfg cfg = {"cpu", 3, KIT_ALL_LEVELS, false};
    kit_open(&k, cfg);
    topk_case(&k, 129280, 40, NORMAL);
    topk_case(&k, 151936, 1024, TIES);
    kit_close(&k);
}

static void rows_without_a_finite_value(void)
{
    enum { N = 200, TOP = 5 };
    kit k;
    kit_cfg cfg = {"cpu", 1, KIT_ALL_LEVELS, false};
    kit_open(&k, cfg);
    hd_tensor x = kit_tensor(&k, 5, N), ids = kit_ints(&k, 5, TOP), vals = kit_tensor(&k, 5, TOP);
    hd_tensor lse = kit_tensor(&k, 5, 1);
    for (int i = 0; i < N; i++) {
        kit_row(x, 0)[i] = NAN;
        kit_row(x, 1)[i] = -INFINITY;
        kit_row(x, 2)[i] = i % 2 ? INFINITY : NAN;
        kit_row(x, 3)[i] = i == 77 ? 0.0f : -INFINITY;
        kit_row(x, 4)[i] = i == 77 ? 0.0f : i == 5 ? INFINITY : NAN;
    }
    k.ops->topk(k.be, ids, vals, lse, x);
    for (int r = 0; r < 5; r++)
        expect_row(kit_row(x, r), N, kit_ids(ids, r), kit_row(vals, r), TOP, *kit_row(lse, r));
    EXPECT_INT(kit_ids(ids, 3)[0], 77);
    EXPECT_INT(kit_ids(ids, 3)[1], 0);
    EXPECT(*kit_row(lse, 3) == 0.0f);
    EXPECT_INT(kit_ids(ids, 4)[0], 5);
    EXPECT_INT(kit_ids(ids, 4)[1], 77);
    EXPECT(*kit_row(lse, 4) == INFINITY);
    EXPECT(*kit_row(lse, 1) == -INFINITY);
    kit_close(&k);
}

typedef struct call {
    kit *k;
    hd_tensor x, ids, vals, lse;
} call;

static void run_call(void *ctx)
{
    call *c = ctx;
    c->k->ops->topk(c->k->be, c->ids, c->vals, c->lse, c->x);
}

static void survives_no_memory(void)
{
    kit k;
    kit_cfg cfg = {"cpu", 3, KIT_ALL_LEVELS, false};
    kit_open(&k, cfg);
    call c = {&k, kit_tensor(&k, 2, 500), kit_ints(&k, 2, 5), kit_tensor(&k, 2, 5),
              kit_tensor(&k, 2, 1)};
    kit_expect_survives(&k, run_call, &c);
    for (int r = 0; r < 2; r++)
        expect_row(kit_row(c.x, r), 500, kit_ids(c.ids, r), kit_row(c.vals, r), 5,
                   *kit_row(c.lse, r));
    kit_close(&k);
}

static void rows_ignore_company(void)
{
    enum { ROWS = 70, N = 5000, TOP = 20 };
    kit k, m;
    kit_cfg cfg = {"cpu", 3, KIT_ALL_LEVELS, false}, one = {"cpu", 1, KIT_ALL_LEVELS, false};
    kit_open(&k, cfg);
    kit_open(&m, one);
    hd_tensor x = kit_tensor(&k, ROWS, N), ids = kit_ints(&k, ROWS, TOP), id = kit_ints(&k, 1, TOP);
    hd_tensor vals = kit_tensor(&k, ROWS, TOP), lse = kit_tensor(&k, ROWS, 1);
    hd_tensor val = kit_tensor(&k, 1, TOP), l = kit_tensor(&k, 1, 1);
    k.ops->topk(k.be, ids, vals, lse, x);
    for (int r = 0; r < ROWS; r++) {
        m.ops->topk(m.be, id, val, l, hd_tensor_rows(x, r, 1));
        kit_expect_same(kit_row(vals, r), kit_row(val, 0), TOP);
        kit_expect_same(kit_row(ids, r), kit_row(id, 0), TOP);
        kit_expect_same(kit_row(lse, r), kit_row(l, 0), 1);
    }
    kit_close(&m);
    kit_close(&k);
}

HD_TEST_MAIN("topk", {"equals_sort_best", equals_sort_best}, {"equals_sort_ref", equals_sort_ref},
             {"real_vocabulary", real_vocabulary},
             {"rows_without_a_finite_value", rows_without_a_finite_value},
             {"survives_no_memory", survives_no_memory},
             {"rows_ignore_company", rows_ignore_company})
