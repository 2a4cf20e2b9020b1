// Generic split patterns of foreign tokenizer.json files, by PCRE2.
//
// The dialect is what such files are written in (Oniguruma's Ruby syntax) as far as both engines
// agree; what they read differently, and what could run away (back-references, recursion, nested
// unbounded repeats), is refused at load with HD_E_UNSUPPORTED. Character classes follow the
// Unicode version of the PCRE2 library at hand. Compiled patterns are immutable: any thread; a
// scratch belongs to one.
#ifndef HADAL_MODELS_TOKENIZER_REGEX_H
#define HADAL_MODELS_TOKENIZER_REGEX_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_regex hd_regex;
typedef struct hd_regex_scratch hd_regex_scratch;

typedef enum hd_regex_kind { HD_REGEX_PATTERN, HD_REGEX_LITERAL } hd_regex_kind;

hd_status hd_regex_compile(hd_slice pattern, hd_regex_kind kind, hd_regex **out, hd_err *err);
void hd_regex_free(hd_regex *r);

hd_status hd_regex_scratch_create(hd_regex_scratch **out, hd_err *err);
void hd_regex_scratch_free(hd_regex_scratch *s);

// First match in text at or after `from`; text is well-formed and is all the pattern sees. Without
// one, *begin = *end = text.n. HD_E_LIMIT when the match would take too long.
hd_status hd_regex_find(const hd_regex *r, hd_regex_scratch *s, hd_slice text, size_t from,
                        size_t *begin, size_t *end, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
