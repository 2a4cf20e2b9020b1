// --bench-moe: one token through the routed network of real models, whole operations with threads:
// gigabytes of expert weights per second next to what reading memory alone reaches.
#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/pool.h"
#include "tests/kern/checkkern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOF_BYTES = 64 << 20, MAX_THREADS = 16, MAX_ACTIVE = 8, CALLS = 60 };

typedef struct shape {
    const char *name;
    int n_experts, n_active, d, f;
    hd_dtype gate_up, down;
} shape;

// ---- what memory gives ---------------------------------------------------------------------

typedef struct readers {
    char *p[MAX_THREADS];
    double gbs[MAX_THREADS];
} readers;

static void read_task(void *ctx, int task, int worker)
{
    readers *r = ctx;
    (void)worker;
    r->gbs[task] = roof_read(r->p[task], ROOF_BYTES);
}

// All threads together, each reading its own block.
static double roof_of(hd_pool *pool, int threads)
{
    readers r;
    double sum = 0;
    for (int i = 0; i < threads; i++) {
        r.p[i] = hd_alloc_big(ROOF_BYTES);
        if (!r.p[i]) return 0;
        memset(r.p[i], 1, ROOF_BYTES);
    }
    hd_pool_run(pool, read_task, &r, threads);
    for (int i = 0; i < threads; i++) {
        sum += r.gbs[i];
        hd_free_big(r.p[i], ROOF_BYTES);
    }
    return sum;
}

// ---- the network ---------------------------------------------------------------------------

// All experts have the same values: they do not matter to time.
static hd_weight *stack(kern *k, hd_backend *be, hd_dtype type, int n_mat, int n_out, int n_in)
{
    hd_err err;
    hd_weight *w = NULL;
    uint8_t *data = malloc(hd_row_bytes(type, n_in) * (size_t)n_out);
    hd_weight_src *src = calloc((size_t)n_mat, sizeof(*src));
    if (!data || !src) return NULL;
    fill_weights(k, type, data, (int64_t)n_in * n_out, B_RANDOM);
    if (type == HD_F8_B128) fill_f8_normal(k, data, (int64_t)n_in * n_out);
    for (int i = 0; i < n_mat; i++)
        src[i] =
            (hd_weight_src){.name = "w", .data = data, .dtype = type, .n_out = n_out, .n_in = n_in};
    hd_weight_spec spec = {"w", src, n_mat, 1, n_in, HD_DTYPE_NONE};
    if (hd_backend_pack(be, &spec, &w, &err) != HD_OK) printf("%s\n", err.msg);
    free(data);
    free(src);
    return w;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Of one thread alone its processor time counts: the machine may be shared, and calls are long.
static double now(int threads)
{
    struct timespec t;
    if (threads > 1) return kern_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// Seconds of a call: the lower octile. Chosen experts change from call to call.
static double time_calls(kern *k, hd_backend *be, const shape *s, const hd_weight *gate_up,
                         const hd_weight *down, int threads)
{
    static float x[8192], out[8192], wts[MAX_ACTIVE];
    static int32_t ids[MAX_ACTIVE];
    double t[CALLS];
    hd_act act = {HD_ACT_SILU, 0};
    hd_tensor xt = {x, HD_F32, 1, s->d, s->d * 4}, ot = {out, HD_F32, 1, s->d, s->d * 4};
    hd_tensor it = {ids, HD_I32, 1, s->n_active, 4 * s->n_active};
    hd_tensor wt = {wts, HD_F32, 1, s->n_active, 4 * s->n_active};
    fill_floats(k, x, s->d, P_UNIFORM);
    be->ops->step_begin(be, 1);
    for (int i = 0; i < CALLS; i++) {
        int first = (int)hd_rng_below(&k->rng, (uint32_t)s->n_experts);
        for (int a = 0; a < s->n_active; a++) {
            ids[a] = (first + a * (s->n_experts / s->n_active)) % s->n_experts;
            wts[a] = 0.125f;
        }
        double start = now(threads);
        be->ops->moe_ffn(be, ot, xt, it, wt, gate_up, down, act);
        t[i] = now(threads) - start;
    }
    be->ops->step_end(be);
    qsort(t, CALLS, sizeof(t[0]), by_size);
    return t[CALLS / 8];
}

static void bench_shape(kern *k, const shape *s, int threads)
{
    hd_err err;
    hd_pool *pool = NULL;
    hd_backend *be = NULL;
    if (hd_pool_create(threads, &pool, &err) != HD_OK) return;
    hd_pool_bind(pool);
    hd_device_cfg cfg = {"cpu", pool, 0x7fffffff, false, NULL};
    if (hd_backend_open(&cfg, &be, &err) == HD_OK) {
        hd_weight *gate_up = stack(k, be, s->gate_up, s->n_experts, 2 * s->f, s->d);
        hd_weight *down = stack(k, be, s->down, s->n_experts, s->d, s->f);
        if (gate_up && down) {
            double bytes = s->n_active * (2.0 * s->f * (double)hd_row_bytes(s->gate_up, s->d) +
                                          s->d * (double)hd_row_bytes(s->down, s->f));
            double top = roof_of(pool, threads),
                   took = time_calls(k, be, s, gate_up, down, threads);
            printf("%-26s %d thread(s): %7.1f us, %5.1f GB/s of %5.1f (%.0f%%)\n", s->name, threads,
                   took * 1e6, bytes / took * 1e-9, top, bytes / took * 1e-7 / top);
            fflush(stdout);
        }
        be->ops->weight_free(be, gate_up);
        be->ops->weight_free(be, down);
    }
    hd_backend_close(be);
    hd_pool_destroy(pool);
}

int kern_bench_moe(uint64_t seed)
{
    static const shape shapes[] = {
        {"V2-Lite q4_k, down q4_1", 64, 6, 2048, 1408, HD_Q4_K, HD_Q4_1},
        {"V2-Lite q4_k, down q5_0", 64, 6, 2048, 1408, HD_Q4_K, HD_Q5_0},
        {"V2-Lite q8_0", 64, 6, 2048, 1408, HD_Q8_0, HD_Q8_0},
        {"V2-Lite bf16", 64, 6, 2048, 1408, HD_BF16, HD_BF16},
        {"V3 f8_b128", 12, 8, 7168, 2048, HD_F8_B128, HD_F8_B128},
        {"V3 q4_k", 12, 8, 7168, 2048, HD_Q4_K, HD_Q4_K},
    };
    kern k = {0};
    hd_rng_seed(&k.rng, seed);
    hd_log_set_level(HD_LOG_WARN);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (int threads = 1; threads <= 2; threads++)
            bench_shape(&k, &shapes[i], threads);
    return 0;
}
