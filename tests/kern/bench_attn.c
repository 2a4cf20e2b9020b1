// --bench: attention of some query heads over the cached latents of one sequence, as DeepSeek's
// models decode: scores of 576 elements, sums of the first 512. One thread, no softmax.
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
        fflush(stdout);
    }
    hd_free_big(c.rows, KEYS * row);
    hd_free_big(c.q, q);
    hd_free_big(c.acc, acc);
    hd_free_big(c.score, score);
}
