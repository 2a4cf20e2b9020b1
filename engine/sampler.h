// Sampler: candidates to a token, one per sequence.
//
// Belongs to the scheduler thread. Exact: what top_k, top_p, min_p and the penalties promise holds
// over the whole vocabulary; the K candidates are only a shortcut that is taken when it provably
// cannot change the result. Its randomness is its own seeded generator: one draw per token, so
// tokens do not depend on anything but the request.
#ifndef HADAL_ENGINE_SAMPLER_H
#define HADAL_ENGINE_SAMPLER_H

#include "engine/request.h"
#include "kernels/base/rng.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_candidates { // one row, host memory
    const int32_t *id;         // [n] best first
    const float *logit;        // [n]
    int32_t n;
    float lse;        // log sum exp over the whole row
    const float *row; // [vocab] all logits, or NULL when hd_sampler_needs_row said no
    int32_t vocab;    // ids at and above it do not exist (padding rows are not sampled)
} hd_candidates;

typedef struct hd_sampler hd_sampler;

// Copies what it needs from rq; vocab bounds ids. Allocation happens here, never in hd_sample.
hd_status hd_sampler_create(const hd_request *rq, int32_t vocab, hd_sampler **out, hd_err *err);
void hd_sampler_destroy(hd_sampler *s);
// Whether the parameters can need logits beyond the best K candidates.
bool hd_sampler_needs_row(const hd_sampler *s, int32_t k);
// Chooses the next token and records it for the penalties.
int32_t hd_sample(hd_sampler *s, const hd_candidates *c, hd_token_out *out);
bool hd_sampler_is_stop(const hd_sampler *s, int32_t id);

#ifdef __cplusplus
}
#endif

#endif
