// A model folder made on the spot: two layers of random weights with a byte tokenizer, for tests of
// what runs models but does not care what they say.
#ifndef HADAL_TESTS_UNIT_TINY_MODEL_H
#define HADAL_TESTS_UNIT_TINY_MODEL_H

#include <stdint.h>

enum {
    TINY_VOCAB = 272, // rows of the head
    TINY_KNOWN = 258, // ids the tokenizer has: 256 bytes, bos, eos; the rest is padding
    TINY_BOS = 256,
    TINY_EOS = 257,
    TINY_CONTEXT = 512,
};

typedef enum tiny_family { // the second layer of all but the first has experts
    TINY_LLAMA,
    TINY_MOE, // deepseek
    TINY_V2,  // deepseek_v2 as V2-Lite: one query projection, greedy choice
    TINY_V3,  // deepseek_v3: two query projections, grouped choice with a bias
    TINY_FAMILIES
} tiny_family;

typedef struct tiny_model {
    int32_t nan_id;         // >= 0: this token's embedding is NaN
    const char *generation; // generation_config.json, or NULL
    tiny_family family;
} tiny_model;

// Writes the folder `name` in the test's own folder; returns its path. Padding rows of the head are
// the largest of all: whoever looks at them samples nothing else.
const char *tiny_model_write(const char *name, tiny_model m);

#endif
