// One forward pass: staging of a ragged batch, the model, the best candidates of each wanted row.
//
// Serving and direct stepping both go through here. Belongs to the thread that owns the backend.
// Everything is allocated at creation; a step allocates nothing.
//
//   begin, add (each sequence once), run; then candidates, row and logit until the next begin
#ifndef HADAL_ENGINE_STEP_H
#define HADAL_ENGINE_STEP_H

#include "engine/kvpool.h"
#include "engine/sampler.h"
#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_stepper_caps { // of one step
    int32_t max_tokens, max_seqs, max_out, max_context;
    int32_t vocab;        // rows of logits are cut here; <= the model's
    size_t scratch_bytes; // from hd_model_plan
} hd_stepper_caps;

typedef struct hd_stepper hd_stepper;

// Memory a stepper takes besides the scratch.
uint64_t hd_stepper_bytes(const hd_model_cfg *cfg, const hd_stepper_caps *caps);
// Borrows the model and the pool.
hd_status hd_stepper_create(hd_model *m, hd_kvpool *kv, const hd_stepper_caps *caps,
                            hd_stepper **out, hd_err *err);
void hd_stepper_destroy(hd_stepper *st); // NULL is legal

int32_t hd_stepper_max_out(const hd_stepper *st);

void hd_stepper_begin(hd_stepper *st, int32_t max_pages); // longest page table of this step
// Tokens ids[0..n) of a sequence at positions kv->n_tokens on; the pages are there. The last n_out
// of them get logits. Returns the first of their rows.
int32_t hd_stepper_add(hd_stepper *st, const hd_kvseq *kv, const int32_t *ids, int32_t n,
                       int32_t n_out);
// Computes logits, and for every row the k best (k <= HD_SAMPLE_MAX_K; 0: none).
hd_status hd_stepper_run(hd_stepper *st, int32_t k, hd_err *err);

// The k best of a row; k at most that of run. Without row and work.
void hd_stepper_candidates(const hd_stepper *st, int32_t row, int32_t k, hd_candidates *out);
// Adds the whole row and work space; valid until the next call.
void hd_stepper_whole_row(hd_stepper *st, int32_t row, hd_candidates *out);
float hd_stepper_logit(hd_stepper *st, int32_t row, int32_t id);
// All logits of a row, the model's whole vocabulary; valid until the next call.
const float *hd_stepper_logits(hd_stepper *st, int32_t row);

#ifdef __cplusplus
}
#endif

#endif
