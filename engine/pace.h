// How long steps take: measured all the time, and asked before the next one is planned. Pure.
//
// Two questions rest on it: whether guessed tokens are worth their rows (engine/spec.h), and how
// much of a prompt fits beside the tokens of those who are being answered.
#ifndef HADAL_ENGINE_PACE_H
#define HADAL_ENGINE_PACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_PACE_ROWS = 16,        // up to here every number of rows has a time of its own,
    HD_PACE_BUCKETS = 16 + 9, // then they double: 17..32, 33..64, up to 4096 and more
    HD_PACE_PROMPT_MIN =
        16, // tokens of a prompt that go along in any case: weights are read anyway
};

typedef struct hd_pace {            // zeroed: nothing was measured yet
    double row_ns[HD_PACE_BUCKETS]; // of a step that computes so many tokens of answers alone
    double prompt_ns;               // of a prompt's token
} hd_pace;

// A step of `rows` answer tokens and `prompt` prompt tokens took so long.
void hd_pace_measured(hd_pace *p, int32_t rows, int32_t prompt, double ns);
// The time of a step of so many answer tokens: measured, or what those nearby suggest.
double hd_pace_time(const hd_pace *p, int32_t rows);
// How many prompt tokens to compute beside `rows` answer tokens: as many as take the time of those,
// or min_ns if that is longer. So a prompt at most doubles the time between tokens, or adds min_ns.
int32_t hd_pace_prompt(const hd_pace *p, int32_t rows, double min_ns);

#ifdef __cplusplus
}
#endif

#endif
