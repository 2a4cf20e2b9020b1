// --bench: attention of some query heads over a cache, one thread, no softmax. First over the
// latents of one sequence, as DeepSeek's models decode: scores of 576 elements, sums of the first
// 512. Then the scores and the sums of query heads that share a key head, as other models decode.
#include "kernels/base/mem.h"
#include "tests/kern/checkkern.h"

#include <stdio.h>
#include <string.h>

enum { KEYS = 4096, D_QK = 576, D_V = 512, HEADS = 32, BLOCK = 64, REPEATS = 7 };

typedef struct cache {
    uint8_t *rows;
    size_t stride;
    float *q, *acc, *score;
} cache;

// Seconds for all keys, the best of some runs: the machine may be shared.
static double time_heads(const cache *c, const hd_cpu_fns *f, hd_dtype t, int heads)
{
    double best = 1e9;
    for (int i = 0; i < REPEATS; i++) {
        memset(c->acc, 0, (size_t)heads * D_V * sizeof(float));
        double start = kern_now();
        for (int k = 0; k < KEYS; k += BLOCK) {
            const uint8_t *rows = c->rows + (size_t)k * c->stride;
            f->qk[t](c->score, BLOCK, c->q, D_QK * sizeof(float), heads, rows, c->stride, BLOCK,
                     D_QK);
            f->pv[t](c->acc, D_V, c->score, BLOCK, heads, rows, c->stride, BLOCK, D_V);
        }
        double s = kern_now() - start;
        if (s < best) best = s;
    }
    return best;
}

// Billions of operations per second of one step, the best of some runs; n keys at a time.
static double rate_shared(const cache *c, const hd_cpu_fns *f, hd_dtype t, int d, int heads,
                          bool qk)
{
    double best = 1e9;
    const size_t q = (size_t)d * sizeof(float);
    memset(c->acc, 0, (size_t)heads * q);
    for (int i = 0; i < REPEATS; i++) {
        double start = kern_now();
        for (int k = 0; k < KEYS; k += BLOCK) {
            const uint8_t *rows = c->rows + (size_t)k * c->stride;
            if (qk)
                f->qk[t](c->score, BLOCK, c->q, q, heads, rows, c->stride, BLOCK, d);
            else
                f->pv[t](c->acc, d, c->score, BLOCK, heads, rows, c->stride, BLOCK, d);
        }
        double s = kern_now() - start;
        if (s < best) best = s;
    }
    return 2.0 * KEYS * d * heads / best * 1e-9;
}

static void bench_shared(const cache *c, const hd_cpu_fns *f, hd_dtype t)
{
    static const int shape[][2] = {{64, 1},  {64, 3},  {64, 8},  {128, 1},
                                   {128, 6}, {128, 7}, {128, 32}};
    memset(c->score, 0, HEADS * BLOCK * sizeof(float));
    printf("%-8s %-24s GOP/s of scores and sums, heads x elements:", hd_dtype_name(t), f->level);
    for (size_t i = 0; i < sizeof(shape) / sizeof(shape[0]); i++)
        printf(" %dx%d %.1f %.1f", shape[i][1], shape[i][0],
               rate_shared(c, f, t, shape[i][0], shape[i][1], true),
               rate_shared(c, f, t, shape[i][0], shape[i][1], false));
    printf("\n");
}

void kern_bench_attn(kern *k, const hd_cpu_fns *f, hd_dtype t)
{
    const size_t q = HEADS * D_QK * sizeof(float), acc = HEADS * D_V * sizeof(float);
    const size_t row = hd_row_bytes(t, D_QK), score = HEADS * BLOCK * sizeof(float);
    cache c = {hd_alloc_big(KEYS * row), row, hd_alloc_big(q), hd_alloc_big(acc),
               hd_alloc_big(score)};
    if (c.rows && c.q && c.acc && c.score) {
        float x[D_QK];
        fill_floats(k, c.q, HEADS * D_QK, P_UNIFORM);
        for (int i = 0; i < KEYS; i++) {
            fill_floats(k, x, D_QK, P_UNIFORM);
            f->kv_write[t](c.rows + (size_t)i * row, x, D_QK);
        }
        const double ops = 2.0 * KEYS * (D_QK + D_V) * 1e-9, bytes = (double)row * KEYS * 1e-9;
        double one = time_heads(&c, f, t, 1);
        printf("%-8s %-24s latent cache, GOP/s with 1 head: %6.1f (%.1f GB/s) 4: %6.1f 8: %6.1f "
               "16: %6.1f 32: %6.1f\n",
               hd_dtype_name(t), f->level, ops / one, bytes / one,
               4 * ops / time_heads(&c, f, t, 4), 8 * ops / time_heads(&c, f, t, 8),
               16 * ops / time_heads(&c, f, t, 16), 32 * ops / time_heads(&c, f, t, 32));
        bench_shared(&c, f, t);
        fflush(stdout);
    }
    hd_free_big(c.rows, KEYS * row);
    hd_free_big(c.q, q);
    hd_free_big(c.acc, acc);
    hd_free_big(c.score, score);
}
