// Runs steps of a model for tests, as the engine would: paged cache, fixed buffers in the backend's
// memory, scratch of exactly the planned size. Pages are dealt out in a shuffled order.
//
// Any failure fails the test. One thread.
#ifndef HADAL_TESTS_GOLDEN_STEPPER_H
#define HADAL_TESTS_GOLDEN_STEPPER_H

#include "models/model.h"

enum { STEPPER_MAX_SEQS = 4 };

typedef struct stepper_seq {
    int32_t n_tokens; // stored so far
    int32_t *page;    // [max_pages]
} stepper_seq;

typedef struct stepper {
    hd_model *m;
    hd_backend *be;
    int32_t max_tokens, max_context, page_tokens, max_pages;
    hd_kv_plane *kv; // [n_layers][n_planes]
    int32_t n_planes;
    hd_scratch tmp;
    int32_t *host, *dev; // batch arrays, filled here and copied there
    size_t host_ints;
    void *logits, *hidden; // [max_tokens, vocab], [max_tokens, d_model]
    stepper_seq seq[STEPPER_MAX_SEQS];
} stepper;

typedef struct stepper_part { // what one sequence does in a step
    int seq;
    const int32_t *ids;
    int32_t n;
    float *logits; // [n, vocab], or NULL: not wanted
} stepper_part;

// Borrows m. max_tokens and max_context bound what run is given.
void stepper_open(stepper *s, hd_model *m, hd_dtype kv_dtype, int32_t page_tokens,
                  int32_t max_tokens, int32_t max_context);
void stepper_close(stepper *s);
void stepper_run(stepper *s, const stepper_part *parts, int n_parts);
void stepper_reset(stepper *s); // forgets all sequences

#endif
