// Direct stepping of a model without a scheduler: scoring, benchmarks, warm-up.
//
// One sequence at a time, on the caller's thread. Uses the same model, kernels and KV pool as the
// engine, so what it measures is what serving runs. Reads ids alone: needs no tokenizer.
#ifndef HADAL_ENGINE_RUNNER_H
#define HADAL_ENGINE_RUNNER_H

#include "engine/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_runner hd_runner;

hd_status hd_runner_open(const hd_engine_cfg *cfg, hd_runner **out, hd_err *err);
void hd_runner_close(hd_runner *r);
const hd_model_facts *hd_runner_facts(const hd_runner *r);

void hd_runner_reset(hd_runner *r); // forgets the sequence
int32_t hd_runner_len(const hd_runner *r);

typedef enum hd_runner_want { HD_WANT_NONE, HD_WANT_LAST, HD_WANT_ALL } hd_runner_want;
// logits [vocab] of the token at position pos of the sequence; valid during the call.
typedef hd_status (*hd_logits_fn)(void *ctx, int32_t pos, const float *logits, int32_t vocab);

// Appends ids in chunks of at most `chunk` tokens (0: the configured step size). The wanted logits
// are computed in any case; with fn NULL nobody reads them.
hd_status hd_runner_feed(hd_runner *r, const int32_t *ids, int32_t n, int32_t chunk,
                         hd_runner_want want, hd_logits_fn fn, void *ctx, hd_err *err);

// Bytes and operations that feeding n tokens at the current length costs (from the dry plan).
void hd_runner_cost(const hd_runner *r, int32_t n, int32_t depth, hd_dry_cost *out);

// What the runner's own threads read from memory, in bytes per second (engine/probe.h).
double hd_runner_read_bandwidth(hd_runner *r);

#ifdef __cplusplus
}
#endif

#endif
