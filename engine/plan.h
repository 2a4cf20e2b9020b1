// Planning one step: a pure function from queues and budgets to a batch.
//
// Every decoding sequence gets its token first (so inter-token latency is bounded by the budget),
// the rest of the budget, or what may go along with answers, goes to prefill chunks by priority,
// then arrival, with ageing so that nothing starves; what is left after that to drafted tokens. KV
// pages are shared out by rank; when one is missing, the plan names a sequence of lower rank to
// take pages from. No memory, no clock, no model: unit-tested alone.
#ifndef HADAL_ENGINE_PLAN_H
#define HADAL_ENGINE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Who comes before whom where not all can have what they want.
typedef struct hd_rank {
    bool urgent; // waited or gave way too often: before every priority
    int32_t priority;
    uint64_t arrival; // order of submission
} hd_rank;

static inline bool hd_rank_before(const hd_rank *a, const hd_rank *b)
{
    if (a->urgent != b->urgent) return a->urgent;
    if (a->priority != b->priority) return a->priority > b->priority;
    return a->arrival < b->arrival;
}

typedef struct hd_plan_seq {
    int32_t todo;  // tokens known but not yet computed: prompt remainder, or 1 when decoding
    int32_t draft; // guessed tokens behind todo that may be computed as well; 0 unless decoding
    bool decoding; // todo is the token sampled last
    bool blocked;  // its reader is slow: skip
    hd_rank rank;
    uint64_t waited; // steps since it was last served
    int32_t stored;  // tokens in its pages
    int32_t pages;   // it holds
} hd_plan_seq;

typedef struct hd_plan_in {
    const hd_plan_seq *seq;
    int32_t n_seqs;
    int32_t max_tokens, max_seqs; // of one step
    int32_t max_prompt;           // prompt tokens of a step in which others decode
    int32_t max_draft;            // guessed tokens, of all sequences together
    int32_t free_pages;
} hd_plan_in;

typedef enum hd_plan_verdict {
    HD_PLAN_NOTHING, // can be done: all are blocked, or there is nothing to do
    HD_PLAN_STEP,    // take says what
    HD_PLAN_PREEMPT, // victim's pages must be taken away first; then plan again
} hd_plan_verdict;

typedef struct hd_plan { // arrays owned by the caller, [n_seqs] each
    int32_t *take;       // tokens of each sequence in this step, drafts included; 0: not in it
    int32_t n_tokens, n_in_step, n_pages; // pages: new ones
    int32_t victim;
} hd_plan;

// As long as every sequence alone fits the whole pool, the one of highest rank is never a victim
// and never waits for pages.
hd_plan_verdict hd_plan_step(const hd_plan_in *in, hd_plan *out);

#ifdef __cplusplus
}
#endif

#endif
