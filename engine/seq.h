// A sequence: one request while it waits and runs.
//
//   ids: [ prompt (n_prompt) | answer so far ]      n_ids of them known
//   kv.n_tokens of them are computed and stored; n_ids - kv.n_tokens are to be done: the rest of
//   the prompt, or the one token sampled last. Nothing else tells prefill from decoding, so a
//   sequence whose pages were taken away just starts over: prompt and answer so far are its prompt.
//
// Made by the submitting thread, which copies everything it needs; from then on the scheduler's.
// All memory is taken at creation.
#ifndef HADAL_ENGINE_SEQ_H
#define HADAL_ENGINE_SEQ_H

#include "engine/kvpool.h"
#include "engine/plan.h"
#include "engine/sampler.h"
#include "engine/spec.h"
#include "engine/stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_seq_limits { // what this engine can serve
    int32_t vocab_in;          // prompt ids are below
    int32_t vocab_out;         // sampled ids are below
    int32_t max_context;
    int32_t pages; // in the pool
    const int32_t *stop_ids;
    size_t n_stop_ids; // the model's own
    bool speculate;
} hd_seq_limits;

enum { HD_SEQ_NEVER = -1 }; // a time that has not come yet

typedef struct hd_seq hd_seq;
struct hd_seq {
    hd_seq *next; // in the inbox or among the waiting
    hd_stream *stream;
    hd_sampler *sampler;
    hd_kvseq kv;
    int32_t *ids;
    int32_t n_ids, n_prompt, max_new_tokens;

    bool prompt_logprobs;
    int32_t n_prompt_reported;
    int32_t n_prompt_done; // most prompt tokens ever computed or found
    int32_t n_cached;      // of them found when it first ran
    int32_t n_logprobs;
    int32_t k; // candidates it wants

    hd_rank rank;
    uint64_t waited;     // steps since it was last in one; while waiting: times it was overtaken
    int32_t n_preempted; // times its pages were taken away
    bool running, held_back;
    uint64_t leader;       // arrival of a running sequence that it lets go first,
    int32_t leader_tokens; // until that has computed so many; 0: none
    int64_t deadline_ns;
    int64_t submit_ns, admit_ns, first_ns; // engine clock; admit: when it first ran
    int64_t blocked_ns;                    // since when its reader has been in the way, or NEVER
    int64_t bytes;                         // as hd_seq_bytes said
    char id[65];                           // for the log

    hd_draft draft;
    hd_spec_odds odds;

    // In the current step: its tokens and its first row of logits; guesses stand in ids behind the
    // known ones. Set by the scheduler.
    int32_t take, row, n_rows;
    hd_guess guess;
    hd_finish finish; // not NONE: ends after this step
    hd_err error;     // with HD_FINISH_ERROR
};

// Memory a sequence takes besides its pages, about. rq need not be checked yet.
int64_t hd_seq_bytes(const hd_request *rq, bool speculate);
// Checks rq against the limits and copies it. The stream has two references: the caller's, handed
// out by seq->stream, and the sequence's, which hd_seq_destroy does not drop: hd_stream_end does.
// HD_E_LIMIT: can never fit; HD_E_INVAL: out of range; HD_E_NOMEM.
hd_status hd_seq_create(const hd_request *rq, const hd_seq_limits *lim, hd_bell *bell, hd_seq **out,
                        hd_err *err);
// Pages must have been released, and the stream ended.
void hd_seq_destroy(hd_seq *q);

// Tokens that are known but not computed.
static inline int32_t hd_seq_todo(const hd_seq *q)
{
    return q->n_ids - q->kv.n_tokens;
}
static inline bool hd_seq_reports_prompt(const hd_seq *q) // prompt log-probabilities are due
{
    return q->prompt_logprobs && q->n_prompt_reported < q->n_prompt;
}
static inline bool hd_seq_decodes(const hd_seq *q) // its next token is the one sampled last
{
    return q->n_ids > q->n_prompt && hd_seq_todo(q) == 1;
}
// Tokens whose keys are stored when the request has run its full length (the last is not fed).
static inline int32_t hd_seq_full_len(const hd_seq *q)
{
    return q->n_prompt + q->max_new_tokens - 1;
}
void hd_seq_usage(const hd_seq *q, int64_t now_ns, hd_usage *out);

#ifdef __cplusplus
}
#endif

#endif
