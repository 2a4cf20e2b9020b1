// Pre-tokenizers: an ordered list of split steps, each run inside the pieces of the one before.
//
// Immutable once built: any thread; the scratch belongs to one.
#ifndef HADAL_MODELS_TOKENIZER_PRETOK_H
#define HADAL_MODELS_TOKENIZER_PRETOK_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "models/tokenizer/regex.h"
#include "models/tokenizer/scan.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_PRETOK_STEPS = 16 };

typedef struct hd_pretok_step { // exactly one of the two is set
    hd_scan_fn scan;
    hd_regex *regex;
} hd_pretok_step;
typedef struct hd_pretok { // a zeroed one leaves text whole
    hd_pretok_step step[HD_PRETOK_STEPS];
    int n;
} hd_pretok;

// The steps of a pre-tokenizer by its name in GGUF files ("deepseek-v3", "qwen2", ...). Sets *name
// to our name for it (aliases have one). HD_E_UNSUPPORTED lists the names there are.
hd_status hd_pretok_named(hd_slice name, hd_pretok *out, const char **our_name, hd_err *err);

// Appends a step. A known pattern text gets its scanner, any other one is compiled.
hd_status hd_pretok_add_scan(hd_pretok *p, hd_scan_fn scan, hd_err *err);
hd_status hd_pretok_add_regex(hd_pretok *p, hd_slice pattern, hd_regex_kind kind, hd_err *err);

// Name of the pre-tokenizer that has exactly these steps, else "regex".
const char *hd_pretok_name(const hd_pretok *p);
void hd_pretok_fini(hd_pretok *p);

typedef struct hd_pretok_sink {
    hd_status (*piece)(void *ctx, hd_slice piece, hd_err *err); // never empty, in order
    void *ctx;
} hd_pretok_sink;
// *scratch starts as NULL, is created when a step needs it, and is freed by the caller with
// hd_regex_scratch_free. A failing sink ends the run with its status.
hd_status hd_pretok_run(const hd_pretok *p, hd_slice text, hd_regex_scratch **scratch,
                        const hd_pretok_sink *sink, hd_err *err);

// For tests: the pattern a scanner stands for, NULL behind the last.
typedef struct hd_pretok_pattern {
    const char *text;
    hd_scan_fn scan;
} hd_pretok_pattern;
extern const hd_pretok_pattern hd_pretok_patterns[];

#ifdef __cplusplus
}
#endif

#endif
