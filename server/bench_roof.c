// The processor's own speed of multiplying, to state a model's speed as a share of it.
#include "kernels/base/clock.h"
#include "kernels/base/cpu.h"
#include "kernels/base/pool.h"
#include "kernels/base/roof.h"
#include "server/bench.h"

#include <pthread.h>

enum { PASSES = 40 };

// ---- all threads ---------------------------------------------------------------------------

// Bytes count where an instruction multiplies and adds them; else floats do.
static hd_roof fastest(uint32_t features)
{
    return features & HD_CPU_AVX512VNNI ? hd_roof_i8(features) : hd_roof_f32(features);
}

static void run_loop(void *ctx, int task, int worker)
{
    (void)task;
    (void)worker;
    ((const hd_roof *)ctx)->run();
}

typedef struct work {
    const hd_engine_cfg *cfg;
    hd_bench_ops *out;
} work;

static hd_status measure(void *ctx, hd_err *err)
{
    const work *w = ctx;
    hd_roof l = fastest(hd_cpu_detect() & w->cfg->cpu_features);
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
        double rate = l.ops * threads / ((double)(hd_mono_ns() - t0) / 1e9);
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
