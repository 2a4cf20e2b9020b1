// How many guessed tokens are worth computing: chances against measured costs. Pure.
//
// A step of more rows takes longer; how much longer is measured (engine/pace.h). How often guesses
// come true is counted for each sequence, by how many tokens agreed before them, and also for those
// that were not computed: the token sampled in their place tells. So nothing is ever tried at a
// loss to find out.
#ifndef HADAL_ENGINE_SPEC_H
#define HADAL_ENGINE_SPEC_H

#include "engine/draft.h"
#include "engine/pace.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_SPEC_ROWS = HD_PACE_ROWS, // tokens of a step with guesses: few enough for the kernels of few
                                 // rows, whose rounding does not depend on how many there are
    HD_SPEC_CLASSES = 3,
};

typedef struct hd_spec_odds { // of one sequence; zeroed: as in most texts
    float hit[HD_SPEC_CLASSES], seen[HD_SPEC_CLASSES];
} hd_spec_odds;

typedef struct hd_spec_cost {    // of one engine; zeroed: nothing was measured yet
    double ns[HD_SPEC_ROWS + 1]; // time of a step by its rows; 0: unknown
} hd_spec_cost;

void hd_spec_measured(hd_pace *pace, int32_t rows, double ns);
// n guesses behind `matched` tokens were compared, the first n_true of them came true.
void hd_spec_learn(hd_spec_odds *o, int32_t matched, int32_t n, int32_t n_true);

// Of a step that has `rows` rows and is expected to yield `tokens` so far: how many of g's guesses
// to add. expected: tokens these will yield.
int32_t hd_spec_choose(const hd_pace *pace, const hd_spec_odds *o, int32_t rows, double tokens,
                       hd_guess g, double *expected);

#ifdef __cplusplus
}
#endif

#endif
