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

// Values of hd_sample that are no ids.
enum {
    HD_SAMPLE_NO_LOGITS = -1, // the row is not finite, or every token in it is barred
    HD_SAMPLE_NEEDS_ROW = -2, // the candidates do not settle it: call again with row and work
};

// Most candidates a sampler ever looks at.
enum { HD_SAMPLE_MAX_K = 256 };

typedef struct hd_ranked {
    float y;
    int32_t id;
} hd_ranked;

typedef struct hd_candidates { // one row, host memory
    const int32_t *id;         // [n] best first, ties by lower id, all below vocab
    const float *logit;        // [n]
    int32_t n;                 // at most HD_SAMPLE_MAX_K
    int32_t vocab;             // padding rows behind it are neither here nor in lse
    float lse;                 // log sum exp over [0, vocab)
    const float *row;          // [vocab] all logits, or NULL
    hd_ranked *work;           // [vocab] scratch, given together with row
} hd_candidates;

typedef struct hd_sampler hd_sampler;

// Copies what it needs from rq, whose stop_ids are all that shall count. vocab bounds ids.
// Allocation happens here, never in hd_sample.
hd_status hd_sampler_create(const hd_request *rq, int32_t vocab, hd_sampler **out, hd_err *err);
void hd_sampler_destroy(hd_sampler *s);         // NULL is legal
int64_t hd_sampler_bytes(const hd_request *rq); // memory one will take, about
// How many candidates it wants: fixed by the request, so company never changes it.
int32_t hd_sampler_k(const hd_sampler *s);
// Whether the parameters can need logits beyond the best K candidates.
bool hd_sampler_needs_row(const hd_sampler *s, int32_t k);
// Chooses the next token and records it for the penalties. A negative value is no token, and then
// nothing was recorded.
int32_t hd_sample(hd_sampler *s, const hd_candidates *c, hd_token_out *out);
bool hd_sampler_is_stop(const hd_sampler *s, int32_t id);

// Log-probability of id, whose logit is given, and the n_top best candidates.
void hd_candidates_report(const hd_candidates *c, int32_t id, float logit, int32_t n_top,
                          hd_token_out *out);

#ifdef __cplusplus
}
#endif

#endif
