// Guessing the next tokens of a sequence without a model: where the last few tokens stood before,
// what followed then may follow now (prompt lookup).
//
// Texts that quote, translate, correct or continue code repeat themselves; a step that computes a
// token and eight guesses reads the weights once. Guesses are only ever compared with what was
// sampled, so they change no answer.
#ifndef HADAL_ENGINE_DRAFT_H
#define HADAL_ENGINE_DRAFT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_DRAFT_MAX = 8,  // guesses at a time
    HD_DRAFT_GRAM = 3, // tokens that must agree at least
};

typedef struct hd_draft { // of one sequence; a zeroed one guesses nothing
    int32_t *newest;      // [mask + 1] by hash: the last end of such a run of tokens, or -1
    int32_t *older;       // [max_tokens + 1] by end: the one before it
    uint32_t mask;
    int32_t n_known; // runs that end up to here are in
} hd_draft;

bool hd_draft_init(hd_draft *d, int32_t max_tokens); // false: memory
void hd_draft_fini(hd_draft *d);
int64_t hd_draft_bytes(int64_t max_tokens);

typedef struct hd_guess {
    int32_t n;       // tokens guessed
    int32_t matched; // tokens before them that agreed, at least HD_DRAFT_GRAM
} hd_guess;

// At most n tokens that may follow ids[0..n_ids), written to out, which may lie behind ids. ids are
// those of earlier calls and more.
hd_guess hd_draft_guess(hd_draft *d, const int32_t *ids, int32_t n_ids, int32_t n, int32_t *out);

#ifdef __cplusplus
}
#endif

#endif
