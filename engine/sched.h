// The scheduler: one thread that admits, plans, steps and delivers.
//
// It alone touches sequences, KV pages, samplers and the backend of the loaded model. Others hand
// it sequences and read counters; both go through one mutex that is never held while computing.
#ifndef HADAL_ENGINE_SCHED_H
#define HADAL_ENGINE_SCHED_H

#include "engine/load.h"
#include "engine/seq.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_sched hd_sched;

// Borrows l, whose model and backend belong to the new thread until stop.
hd_status hd_sched_start(hd_loaded *l, hd_sched **out, hd_err *err);
// Refuses new requests at once, lets the others run for drain_ms, cancels what is left, ends the
// thread and frees. NULL is legal.
void hd_sched_stop(hd_sched *s, int drain_ms);

// See hd_engine_submit.
hd_status hd_sched_submit(hd_sched *s, const hd_request *rq, hd_stream **out, hd_err *err);
void hd_sched_stats(hd_sched *s, hd_engine_stats *out);
void hd_sched_reset_stats(hd_sched *s); // after warm-up
bool hd_sched_healthy(hd_sched *s);

#ifdef __cplusplus
}
#endif

#endif
