// A tokenizer of 256 bytes and a few special tokens, for tests of what needs a tokenizer but not
// its merges.
#ifndef HADAL_TESTS_HARNESS_TINY_TOKENIZER_H
#define HADAL_TESTS_HARNESS_TINY_TOKENIZER_H

#include "models/tokenizer/tokenizer.h"

// specials: NULL-terminated list, or NULL; bos and eos may be NULL and are added to it. Returned
// new; NULL with err filled on failure.
hd_tokenizer *hd_tiny_tokenizer(const char *bos, const char *eos, const char *const *specials,
                                hd_err *err);

#endif
