// Inside of the sampler, shared by sampler.c and sampler_pick.c alone.
#ifndef HADAL_ENGINE_SAMPLER_IMPL_H
#define HADAL_ENGINE_SAMPLER_IMPL_H

#include "engine/sampler.h"

typedef struct hd_sample_entry { // a token whose logit is edited
    int32_t id;
    float bias;
    int32_t n_out; // times sampled
    bool in_prompt, barred;
    uint64_t seen; // last row in which it was a candidate
} hd_sample_entry;

struct hd_sampler {
    hd_sample_params p;
    int32_t vocab;
    hd_rng rng;
    double draw;
    bool drawn; // `draw` is kept until its token is found
    bool penalties;
    int32_t n_done; // tokens sampled
    uint64_t row;   // rows seen, from 1

    int32_t *stop; // ascending
    int32_t n_stop, n_barred;

    hd_sample_entry *entry;
    int32_t n_entry, cap_entry;
    int32_t *slot; // open addressing: index into entry, or -1
    uint32_t mask;

    hd_ranked known[HD_SAMPLE_MAX_K]; // candidates after edits
    double weight[HD_SAMPLE_MAX_K];
};

// What the candidates tell.
typedef struct hd_sample_view {
    int32_t n;      // known tokens after edits, in rank order: s->known
    int32_t n_sure; // the first so many are the first ranks of the vocabulary
    bool complete;  // there are no others
    float bound;    // no other token's y is above
} hd_sample_view;

static inline bool hd_sample_is_greedy(const hd_sampler *s)
{
    return s->p.temperature == 0;
}

static inline bool hd_sample_bars(const hd_sampler *s, const hd_sample_entry *e)
{
    return e->barred && s->n_done < s->p.min_tokens;
}

// Non-decreasing in the logit, whatever the parameters: that is what bounds unknown tokens.
static inline float hd_sample_edit(const hd_sampler *s, const hd_sample_entry *e, float logit)
{
    float y = logit + e->bias;
    if (e->in_prompt || e->n_out > 0)
        y = y > 0 ? y / s->p.repetition_penalty : y * s->p.repetition_penalty;
    if (e->n_out > 0) y -= s->p.presence_penalty + s->p.frequency_penalty * (float)e->n_out;
    return y;
}

static inline bool hd_sample_before(hd_ranked a, hd_ranked b)
{
    return a.y > b.y || (a.y == b.y && a.id < b.id);
}

// Index into s->known, HD_SAMPLE_NEEDS_ROW or HD_SAMPLE_NO_LOGITS.
int32_t hd_sample_from_candidates(hd_sampler *s, const hd_candidates *c, const hd_sample_view *v);
// A token, or HD_SAMPLE_NO_LOGITS; c has its row.
int32_t hd_sample_from_row(hd_sampler *s, const hd_candidates *c, const hd_sample_view *v);

#endif
