// Planning one step: a pure function from queues and budgets to a batch.
//
// Every decoding sequence gets its token first (so inter-token latency is bounded by the budget),
// the rest of the budget goes to prefill chunks by priority, then arrival, with ageing so that
// nothing starves. No memory, no clock, no model: unit-tested alone.
#ifndef HADAL_ENGINE_PLAN_H
#define HADAL_ENGINE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_plan_seq {
    int32_t todo;  // tokens known but not yet computed: prompt remainder, or 1 when decoding
    bool decoding; // todo is the token sampled last
    bool blocked;  // its reader is slow: skip
    int32_t priority;
    uint64_t arrival; // order of submission
    uint64_t waited;  // steps since it was last served
} hd_plan_seq;

typedef struct hd_plan_in {
    const hd_plan_seq *seq;
    int32_t n_seqs;
    int32_t max_tokens, max_seqs; // of one step
} hd_plan_in;

typedef struct hd_plan { // arrays owned by the caller, [n_seqs] each
    int32_t *take;       // tokens of each sequence in this step; 0: not in it
    int32_t n_tokens, n_in_step;
} hd_plan;

// False when nothing can be done (all blocked or nothing to do).
bool hd_plan_step(const hd_plan_in *in, hd_plan *out);

#ifdef __cplusplus
}
#endif

#endif
