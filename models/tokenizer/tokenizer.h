// Tokenizer: text to ids and back, for byte-level BPE (tokenizer.json, GGUF "gpt2") and
// SentencePiece-type vocabularies (GGUF "llama", tokenizer.json BPE with byte fallback).
//
// Trust: only bytes emitted by our own templates may become special (added) tokens. Client text
// that spells one is encoded as ordinary text. Neighbouring trusted and untrusted bytes are
// nevertheless pre-tokenized together, so ids equal the reference's for honest input.
//
// Immutable after opening: any thread, any number at once. hd_detok belongs to one stream.
#ifndef HADAL_MODELS_TOKENIZER_TOKENIZER_H
#define HADAL_MODELS_TOKENIZER_TOKENIZER_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "kernels/base/utf8.h"
#include "models/model_src.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_tokenizer hd_tokenizer;

typedef struct hd_ids { // growable; a zeroed one is empty
    int32_t *v;
    size_t n, cap;
} hd_ids;
bool hd_ids_push(hd_ids *ids, int32_t id); // false: memory
void hd_ids_fini(hd_ids *ids);

// ---- opening -------------------------------------------------------------------------------

hd_status hd_tokenizer_open(const hd_model_src *src, hd_tokenizer **out, hd_err *err);
// From a parsed tokenizer.json (fuzzing, tests); config is tokenizer_config.json or NULL.
hd_status hd_tokenizer_from_json(const hd_json *tokenizer, const hd_json *config,
                                 hd_tokenizer **out, hd_err *err);
hd_status hd_tokenizer_from_gguf(const hd_gguf *g, hd_tokenizer **out, hd_err *err);
void hd_tokenizer_close(hd_tokenizer *t);

typedef struct hd_tokenizer_info {
    const char *kind;      // "bpe", "spm"
    const char *pretok;    // name of the pre-tokenizer: "deepseek-v3", "qwen2", ..., or "regex"
    int32_t n_vocab;       // largest id + 1: logits at and above it are padding
    int32_t n_added;       // added tokens
    int32_t bos, eos, pad; // -1 when the model has none
    bool add_bos;          // raw prompts start with bos
} hd_tokenizer_info;
const hd_tokenizer_info *hd_tokenizer_facts(const hd_tokenizer *t);

// Id of an added (special) token by its exact text, -1 when there is none.
int32_t hd_token_special(const hd_tokenizer *t, hd_slice text);
// Bytes of a token as it is decoded; special tokens spell themselves. Empty for padding ids.
hd_slice hd_token_bytes(const hd_tokenizer *t, int32_t id);
bool hd_token_is_special(const hd_tokenizer *t,
                         int32_t id); // an added token that is hidden in output

// Ids that end a turn: generation_config, tokenizer and GGUF metadata, and well-known texts
// (tokenizers-templates-formats.md 1.8). Borrowed, ascending.
const int32_t *hd_tokenizer_stops(const hd_tokenizer *t, size_t *n);

// ---- encoding ------------------------------------------------------------------------------

enum {
    HD_TOK_SPECIAL = 1, // the whole text is trusted: added tokens spelled in it become themselves
    HD_TOK_BOS = 2,     // bos first, where the model has one
};

// Appends the ids of text. Ill-formed UTF-8 is read as U+FFFD. Errors: HD_E_NOMEM, HD_E_LIMIT (a
// foreign regex hit its match limit).
hd_status hd_tokenize(const hd_tokenizer *t, hd_slice text, unsigned flags, hd_ids *out,
                      hd_err *err);

// Text made of trusted and untrusted pieces, as templates build it.
typedef struct hd_span {
    size_t from, to; // bytes
} hd_span;
typedef struct hd_prompt { // a zeroed one is empty; spans ascending, disjoint, merged when adjacent
    hd_buf text;
    hd_span *trusted;
    size_t n_trusted, cap_trusted;
} hd_prompt;
void hd_prompt_trusted(hd_prompt *p, hd_slice s); // sticky failure: p->text.failed
void hd_prompt_trusted_str(hd_prompt *p, const char *zstr);
void hd_prompt_user(hd_prompt *p, hd_slice s);
void hd_prompt_fini(hd_prompt *p);

// Added tokens match only where they lie wholly in trusted bytes.
hd_status hd_tokenize_prompt(const hd_tokenizer *t, const hd_prompt *p, unsigned flags, hd_ids *out,
                             hd_err *err);

// ---- decoding ------------------------------------------------------------------------------

enum { HD_DETOK_SKIP_SPECIAL = 1 };

// Whole sequence; ill-formed bytes become U+FFFD. Appends to out.
hd_status hd_detokenize(const hd_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                        hd_buf *out, hd_err *err);

// Streaming: push appends the text that is decided by now (complete UTF-8 only, at most 3 bytes are
// kept back), flush the rest. The concatenation equals hd_detokenize.
typedef struct hd_detok {
    const hd_tokenizer *t;
    unsigned flags;
    bool started; // SentencePiece: the first piece loses the prefix blank
    hd_utf8_stream utf8;
} hd_detok;
void hd_detok_init(hd_detok *d, const hd_tokenizer *t, unsigned flags);
void hd_detok_push(hd_detok *d, int32_t id, hd_buf *out);
void hd_detok_flush(hd_detok *d, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
