// Numbers for Prometheus: counters and histograms of requests, gauges of the engine.
//
// Writers are the connections' threads, one relaxed atomic addition per number; the reader is
// whoever asks for /metrics. Nobody waits for anybody, least of all for the model.
#ifndef HADAL_SERVER_METRICS_H
#define HADAL_SERVER_METRICS_H

#include "engine/engine.h"
#include "kernels/base/buf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_HIST_BUCKETS = 24, HD_METRIC_STATUSES = 16, HD_LOAD_PHASES = 4 };

typedef struct hd_hist { // zeroed: empty; the last bucket is everything above the bounds
    _Atomic uint64_t bucket[HD_HIST_BUCKETS + 1];
    _Atomic uint64_t sum; // nanoseconds or tokens
} hd_hist;

typedef struct hd_metrics { // zeroed: nothing has happened
    hd_hist ttft, gap, per_token, e2e, queue, prefill, decode, inference; // nanoseconds
    hd_hist tokens_in, tokens_out;                                        // tokens
    _Atomic uint64_t finished[6];                                         // by hd_finish
    _Atomic uint64_t refused[HD_METRIC_STATUSES + 1]; // by HTTP status, see metrics.c
    _Atomic uint64_t n_tokens_in, n_tokens_out;
    _Atomic uint64_t requests, cancelled, failed, deadline;
    _Atomic uint64_t load_ns[HD_LOAD_PHASES + 1]; // open, weights, plan, warm-up; all of it
} hd_metrics;

// A token that is not the first of its answer came so long after the one before.
void hd_metrics_gap(hd_metrics *m, int64_t ns);
// The first token of a request.
void hd_metrics_first(hd_metrics *m, int64_t ns);
// A choice has ended.
void hd_metrics_choice(hd_metrics *m, const hd_usage *u, hd_finish finish);
// A request has ended. code: HD_OK, or why it did not succeed; first: its answer had begun.
void hd_metrics_request(hd_metrics *m, int64_t total_ns, hd_status code);
void hd_metrics_refused(hd_metrics *m, int status);

// How long a request that comes now would wait behind `waiting` others, from what requests took
// so far; 0 while nothing is known.
int64_t hd_metrics_wait_ns(const hd_metrics *m, int32_t waiting, int32_t at_once);

typedef struct hd_metrics_view { // what is not counted here
    const char *model;           // served name
    const hd_engine *engine;     // NULL while loading
    bool healthy;
    double progress;   // of loading, 0..1
    int active, slots; // HTTP requests; their limit
    bool vllm;         // vLLM's names too
} hd_metrics_view;

// Text format 0.0.4.
void hd_metrics_write(hd_metrics *m, const hd_metrics_view *v, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
