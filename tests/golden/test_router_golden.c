// Routing of tokens to experts against PyTorch: 10,000 rows of scores for each of three
// generations, every id and every weight, among them many rows with equal scores. Needs the files
// router_*.bin in tests/golden; how their inputs are made is told in
// tests/tools/make_router_golden.py.
#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "tests/unit/be_kit.h"

#include <stdio.h>

enum { HEAD = 44, MOST_EXPERTS = 256, MOST_CHOSEN = 8 };

typedef struct routes {
    hd_buf file;
    int32_t rows, experts, chosen, has_bias;
    hd_gate gate; // but for the bias
    const uint8_t *salt, *ids, *weights;
} routes;

static void routes_open(routes *r, const char *name)
{
    char path[256];
    int32_t head[9];
    hd_err err = {0};
    *r = (routes){0};
    snprintf(path, sizeof(path), "tests/golden/router_%s.bin", name);
    if (hd_file_read(path, 1 << 20, &r->file, &err) != HD_OK) EXPECT_STR(err.msg, "read");
    const uint8_t *p = (const uint8_t *)r->file.data;
    EXPECT(r->file.len > HEAD && memcmp(p, "HDR1", 4) == 0);
    memcpy(head, p + 4, sizeof(head));
    r->rows = head[0], r->experts = head[1], r->chosen = head[2], r->has_bias = head[8];
    EXPECT(r->experts <= MOST_EXPERTS && r->chosen <= MOST_CHOSEN);
    r->gate = (hd_gate){.n_experts = head[1],
                        .n_active = head[2],
                        .n_group = head[3],
                        .topk_group = head[4],
                        .score = head[5] ? HD_GATE_SIGMOID : HD_GATE_SOFTMAX,
                        .group = (hd_gate_group)head[6],
                        .normalize = head[7] != 0};
    memcpy(&r->gate.scale, p + 40, sizeof(float));
    r->salt = p + HEAD;
    r->ids = r->salt + r->rows;
    r->weights = r->ids + (size_t)r->rows * (size_t)r->chosen;
    EXPECT_INT(r->file.len, HEAD + (size_t)r->rows * (1 + (size_t)r->chosen * 4));
}

// ---- the inputs ----------------------------------------------------------------------------

static int32_t next_value(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return (int32_t)(*state >> 8);
}

static void make_row(const routes *r, int row, float *out)
{
    uint32_t state = (uint32_t)row * 2654435761u + r->salt[row] * 2246822519u + 1;
    if (state == 0) state = 1;
    for (int e = 0; e < r->experts; e++) {
        int32_t v = next_value(&state);
        out[e] = row % 4 == 2 ? (float)(v % 17 - 8) / 2 : (float)(v % 2048 - 1024) / 256;
    }
    for (int e = r->experts / 8; row % 4 == 3 && e < r->experts; e++)
        out[e] = out[e % (r->experts / 8)];
}

static const hd_weight *make_bias(const routes *r, kit *k)
{
    float bias[MOST_EXPERTS];
    uint32_t state = 12345;
    for (int e = 0; e < r->experts / 2; e++)
        bias[e] = bias[e + r->experts / 2] = (float)(next_value(&state) % 65 - 32) / 64;
    return r->has_bias ? kit_vector(k, bias, r->experts) : NULL;
}

// ---- the comparison ------------------------------------------------------------------------

static uint32_t u24(const uint8_t *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

// Worst difference of a weight, before the factor scale.
static double compare(const routes *r, hd_tensor ids, hd_tensor wts, int first)
{
    double worst = 0;
    for (int i = 0; i < ids.rows; i++)
        for (int k = 0; k < r->chosen; k++) {
            size_t at = (size_t)(first + i) * (size_t)r->chosen + (size_t)k;
            double want = u24(r->weights + 3 * at) / 16777216.0;
            double got = (double)kit_row(wts, i)[k] / (double)r->gate.scale;
            if (kit_ids(ids, i)[k] != r->ids[at])
                hd_test_fail(__FILE__, __LINE__, "row %d, choice %d: expert %d, want %d", first + i,
                             k, (int)kit_ids(ids, i)[k], r->ids[at]);
            EXPECT(fabs(got - want) <= 1e-6); // false for NaN
            worst = fmax(worst, fabs(got - want));
        }
    return worst;
}

// All rows in steps of n at a level.
static double route_all(const routes *r, kit *k, int n)
{
    hd_gate g = r->gate;
    double worst = 0;
    hd_tensor x = kit_tensor(k, n, r->experts), wts = kit_tensor(k, n, r->chosen);
    hd_tensor ids = kit_ints(k, n, r->chosen);
    g.bias = make_bias(r, k);
    for (int first = 0, m; first < r->rows; first += m) {
        hd_err err = {0};
        m = n < r->rows - first ? n : r->rows - first;
        for (int i = 0; i < m; i++)
            make_row(r, first + i, kit_row(x, i));
        hd_tensor some_ids = hd_tensor_rows(ids, 0, m), some_wts = hd_tensor_rows(wts, 0, m);
        k->ops->moe_route(k->be, some_ids, some_wts, hd_tensor_rows(x, 0, m), &g);
        EXPECT_INT(k->ops->sync(k->be, &err), HD_OK);
        worst = fmax(worst, compare(r, some_ids, some_wts, first));
    }
    kit_expect_padding(ids);
    kit_expect_padding(wts);
    return worst;
}

static void check(const char *name)
{
    static const struct {
        const char *name;
        uint32_t features;
        int threads, rows;
    } way[] = {{"ref", 0, 1, 10000},
               {"avx2", HD_CPU_AVX2, 2, 10000},
               {"avx2", HD_CPU_AVX2, 1, 1},
               {"avx512", HD_CPU_AVX2 | HD_CPU_AVX512, 2, 10000},
               {"avx512", HD_CPU_AVX2 | HD_CPU_AVX512, 1, 37}};
    routes r;
    routes_open(&r, name);
    for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        kit k;
        if ((way[i].features & hd_cpu_detect()) != way[i].features) {
            printf("%-10s %s: not on this machine\n", name, way[i].name);
            continue;
        }
        kit_open(&k, (kit_cfg){"cpu", way[i].threads, way[i].features, false});
        printf("%-10s %-6s %5d rows at once: weights within %.1e\n", name, way[i].name, way[i].rows,
               route_all(&r, &k, way[i].rows));
        kit_close(&k);
    }
    hd_buf_fini(&r.file);
}

static void greedy(void)
{
    check("greedy");
}

static void group_max(void)
{
    check("group_max");
}

static void group_top2(void)
{
    check("group_top2");
}

HD_TEST_MAIN("router_golden", {"greedy", greedy}, {"group_max", group_max},
             {"group_top2", group_top2})
