// What the two halves of `hadal bench` share.
#ifndef HADAL_SERVER_BENCH_H
#define HADAL_SERVER_BENCH_H

#include "kernels/base/status.h"
#include "server/config.h"

#include <stdint.h>

enum { HD_BENCH_CASES = 16 };

typedef struct hd_bench_list {
    int32_t v[HD_BENCH_CASES];
    int n;
} hd_bench_list;

// "128,512": numbers in [min, max]. The flag is named when there is something else.
hd_status hd_bench_parse(const char *flag, const char *text, int32_t min, int32_t max,
                         hd_bench_list *out, hd_err *err);
int32_t hd_bench_longest(const hd_bench_list *l); // 0 when empty
void hd_bench_random_ids(int32_t *ids, int32_t n, int32_t vocab, uint64_t seed);
int hd_bench_by_value(const void *a, const void *b); // for qsort of doubles

// Many clients at once against the whole engine: --concurrency.
hd_status hd_bench_clients(const hd_config *c, hd_engine_cfg *cfg, hd_err *err);

// What all threads together multiply and add per second at best, two operations per multiply-add:
// the fastest instruction the processor has for it, on registers alone. No memory is touched, so
// nothing that computes with that instruction is faster.
typedef struct hd_bench_ops {
    double per_s;
    const char *how; // "8-bit products (VNNI)"
} hd_bench_ops;
hd_status hd_bench_measure_ops(const hd_engine_cfg *cfg, hd_bench_ops *out, hd_err *err);

// Runs fn(ctx) on a thread of its own and waits: whoever leads a pool may be bound to a processor,
// which must not become the mask of threads that are started later.
hd_status hd_bench_apart(hd_status (*fn)(void *ctx, hd_err *err), void *ctx, hd_err *err);

#endif
