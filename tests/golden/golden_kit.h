// What the golden tests share: the reference's logits, a model open on a backend of some level,
// ways of feeding a prompt, and the comparison. Programs are run in the root of the repository.
//
// Any failure fails the test. One thread. Which checkpoints there are, and how near they must come,
// is the tests' business.
#ifndef HADAL_TESTS_GOLDEN_GOLDEN_KIT_H
#define HADAL_TESTS_GOLDEN_GOLDEN_KIT_H

#include "kernels/base/buf.h"
#include "models/model.h"
#include "tests/golden/stepper.h"

enum { GOLDEN_PROMPTS = 2, GOLDEN_PAGE = 16, GOLDEN_CONTEXT = 96 };

// ---- what the reference said ---------------------------------------------------------------

typedef struct golden_prompt {
    int32_t n;
    const int32_t *ids;
    const float *logits; // [n, vocab]
} golden_prompt;

typedef struct golden {
    hd_buf file;
    int32_t vocab;
    golden_prompt prompt[GOLDEN_PROMPTS];
    double spread; // root mean square of the first prompt's logits
} golden;

void golden_open(golden *g, const char *name); // tests/golden/<name>/golden.bin
void golden_close(golden *g);
// Largest difference over tokens [from, from + n) of a prompt; NaN counts as infinite.
double golden_worst(const golden *g, int which, int32_t from, int32_t n, const float *got);
// Root mean square of the differences over the first prompt, relative to its spread.
double golden_relative(const golden *g, const float *got);

// ---- levels and models ---------------------------------------------------------------------

typedef struct golden_setup {
    const char *name;
    uint32_t features;
    bool deterministic;
    int threads;
    hd_file_access access;
} golden_setup;

extern const golden_setup golden_setups[]; // ends with a NULL name
bool golden_can_run(const golden_setup *u);

typedef struct golden_bench { // one model open on one backend
    const char *name;
    hd_pool *pool;
    hd_backend *be;
    hd_model_src *src;
    hd_model *m;
    stepper s;
    float *logits, *first; // [GOLDEN_CONTEXT, vocab]; first: of the whole prompt, by golden_run
} golden_bench;

// Opens tests/golden/<name>; weights HD_DTYPE_NONE: as they are in the file.
void golden_bench_open(golden_bench *b, const char *name, const golden *g, const golden_setup *u,
                       hd_dtype weights, hd_dtype kv);
void golden_bench_close(golden_bench *b);

// ---- ways of feeding a prompt --------------------------------------------------------------

// Each leaves the logits of the first prompt in `logits` (mixed: scraps of several) and returns the
// worst difference to the reference.
typedef double golden_feed(stepper *s, const golden *g, float *logits);
golden_feed golden_whole, golden_decode, golden_chunked, golden_mixed;

// Feeds in all four ways, prints a line, and expects every difference within the tolerance. With
// same_bits the logits of a prompt may not depend on how it was cut.
void golden_run(golden_bench *b, const golden *g, const char *label, bool same_bits,
                double tolerance);

#endif
