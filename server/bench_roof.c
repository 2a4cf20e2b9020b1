// The processor's own speed of multiplying, to state a model's speed as a share of it.
#include "kernels/base/clock.h"
#include "kernels/base/cpu.h"
#include "kernels/base/pool.h"
#include "server/bench.h"

#include <pthread.h>

enum { ROUNDS = 200000, CHAINS = 12, PASSES = 20 };

// ---- loops on registers --------------------------------------------------------------------

#ifdef __x86_64__
#include <immintrin.h>

// Twelve chains hide the latency of four cycles on two pipes; as separate variables they stay in
// registers. The empty asm keeps the compiler from folding the loop.
#define EACH(M) M(a) M(b) M(c) M(d) M(e) M(f) M(g) M(h) M(i) M(j) M(k) M(l)
#define KEEP(v) __asm__ volatile("" : "+x"(v));
#define LOOP()                                                                                     \
    EACH(START)                                                                                    \
    for (int r = 0; r < ROUNDS; r++) {                                                             \
        EACH(STEP)                                                                                 \
        EACH(KEEP)                                                                                 \
    }

__attribute__((target("avx512f,avx512vnni"))) static void bytes_512(void)
{
    const __m512i x = _mm512_set1_epi32(0x01010101);
#define START(v) __m512i v = x;
#define STEP(v)  v = _mm512_dpbusd_epi32(v, x, x);
    LOOP()
#undef START
#undef STEP
}

__attribute__((target("avx512f"))) static void floats_512(void)
{
    const __m512 x = _mm512_set1_ps(0.5f);
#define START(v) __m512 v = x;
#define STEP(v)  v = _mm512_fmadd_ps(v, x, x);
    LOOP()
#undef START
#undef STEP
}

__attribute__((target("avx2,fma"))) static void floats_256(void)
{
    const __m256 x = _mm256_set1_ps(0.5f);
#define START(v) __m256 v = x;
#define STEP(v)  v = _mm256_fmadd_ps(v, x, x);
    LOOP()
#undef START
#undef STEP
}
#endif

// What the compiler makes of it for the least processor of its kind.
static void floats_plain(void)
{
    volatile float x = 0.5f;
    float v[CHAINS], f = x;
    for (int k = 0; k < CHAINS; k++)
        v[k] = f;
    for (int r = 0; r < ROUNDS; r++)
        for (int k = 0; k < CHAINS; k++)
            v[k] = v[k] * f + f;
    for (int k = 0; k < CHAINS; k++)
        x = v[k];
}

typedef struct loop {
    void (*run)(void);
    double ops; // of one instruction of the loop
    const char *how;
} loop;

static loop fastest(uint32_t features)
{
#ifdef __x86_64__
    if (features & HD_CPU_AVX512VNNI) return (loop){bytes_512, 128, "8-bit products, AVX-512 VNNI"};
    if (features & HD_CPU_AVX512) return (loop){floats_512, 32, "float products, AVX-512"};
    if (features & HD_CPU_AVX2) return (loop){floats_256, 16, "float products, AVX2"};
#else
    (void)features;
#endif
    return (loop){floats_plain, 2, "float products, plain C"};
}

// ---- all threads ---------------------------------------------------------------------------

static void run_loop(void *ctx, int task, int worker)
{
    (void)task;
    (void)worker;
    ((const loop *)ctx)->run();
}

typedef struct work {
    const hd_engine_cfg *cfg;
    hd_bench_ops *out;
} work;

static hd_status measure(void *ctx, hd_err *err)
{
    const work *w = ctx;
    loop l = fastest(hd_cpu_detect() & w->cfg->cpu_features);
    hd_cpu_budget b;
    hd_pool *pool = NULL;
    hd_cpu_budget_read("/", &b);
    const int threads = w->cfg->threads ? w->cfg->threads : b.threads;
    HD_TRY(hd_pool_create(threads, &pool, err));
    if (w->cfg->bind != HD_BIND_OFF && threads == b.affinity) hd_pool_bind(pool);
    hd_pool_begin(pool);
    *w->out = (hd_bench_ops){.how = l.how};
    for (int i = 0; i < PASSES; i++) {
        int64_t t0 = hd_mono_ns();
        hd_pool_run(pool, run_loop, &l, threads);
        double rate = l.ops * ROUNDS * CHAINS * threads / ((double)(hd_mono_ns() - t0) / 1e9);
        if (rate > w->out->per_s) w->out->per_s = rate;
    }
    hd_pool_end(pool);
    hd_pool_destroy(pool);
    return HD_OK;
}

hd_status hd_bench_measure_ops(const hd_engine_cfg *cfg, hd_bench_ops *out, hd_err *err)
{
    work w = {cfg, out};
    return hd_bench_apart(measure, &w, err);
}

// ---- threads apart -------------------------------------------------------------------------

typedef struct apart {
    hd_status (*fn)(void *ctx, hd_err *err);
    void *ctx;
    hd_err *err;
    hd_status st;
} apart;

static void *apart_main(void *arg)
{
    apart *a = arg;
    a->st = a->fn(a->ctx, a->err);
    return NULL;
}

hd_status hd_bench_apart(hd_status (*fn)(void *ctx, hd_err *err), void *ctx, hd_err *err)
{
    apart a = {fn, ctx, err, HD_OK};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, apart_main, &a);
    HD_CHECK(rc == 0, err, HD_E_IO, "cannot start a thread: error %d", rc);
    pthread_join(thread, NULL);
    return a.st;
}
