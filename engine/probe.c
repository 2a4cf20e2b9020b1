// Read bandwidth of the machine, measured by reading.
#include "engine/probe.h"

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

#include <stdint.h>
#include <string.h>

// 256 MiB: eight times the largest last-level cache one would expect per thread pair.
enum { PROBE_BYTES = 256 << 20, PROBE_TASKS = 64, PROBE_PASSES = 16 };

typedef struct probe {
    const uint64_t *data;
    uint64_t sum[PROBE_TASKS]; // keeps the compiler from dropping the reads
} probe;

static void read_part(void *ctx, int task, int worker)
{
    (void)worker;
    probe *p = ctx;
    const size_t n = PROBE_BYTES / sizeof(uint64_t) / PROBE_TASKS;
    const uint64_t *d = p->data + (size_t)task * n;
    uint64_t s[8] = {0}; // independent sums: the loop is bound by loads, not by one addition chain
    for (size_t i = 0; i < n; i += 8)
        for (int j = 0; j < 8; j++)
            s[j] += d[i + (size_t)j];
    for (int j = 1; j < 8; j++)
        s[0] += s[j];
    p->sum[task] = s[0];
}

double hd_probe_read_bandwidth(hd_pool *pool)
{
    probe p = {0};
    double best = 0;
    uint64_t *data = hd_alloc_big(PROBE_BYTES);
    if (!data) return 0;
    memset(data, 1, PROBE_BYTES);
    p.data = data;
    hd_pool_begin(pool);
    for (int i = 0; i < PROBE_PASSES; i++) {
        int64_t t0 = hd_mono_ns();
        hd_pool_run(pool, read_part, &p, PROBE_TASKS);
        double rate = PROBE_BYTES / ((double)(hd_mono_ns() - t0) / 1e9);
        if (rate > best) best = rate;
    }
    hd_pool_end(pool);
    hd_free_big(data, PROBE_BYTES);
    return best;
}
