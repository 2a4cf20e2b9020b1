// Builds tokenizers from fragments of tokenizer.json: a test states only what differs from the
// base, which is a vocabulary of all bytes without merges.
#ifndef HADAL_TESTS_UNIT_TOK_PARTS_H
#define HADAL_TESTS_UNIT_TOK_PARTS_H

#include "kernels/base/json.h"
#include "models/tokenizer/tokenizer.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"

typedef struct hd_tok_parts { // JSON fragments; NULL takes the default
    const char *normalizer, *pre, *post, *decoder;
    const char *settings; // further model fields, each with a comma in front
    const char *entries;  // further vocabulary, each with a comma in front
    const char *merges;   // the array's inside
    const char *added;    // the array's inside
    const char *config;   // tokenizer_config.json, absent by default
    const char *vocab;    // replaces the vocabulary of bytes
} hd_tok_parts;

// The JSON trees; *config stays NULL when there is none.
hd_status hd_tok_parts_parse(const hd_tok_parts *p, hd_json **json, hd_json **config, hd_err *err);
hd_status hd_tok_parts_try(const hd_tok_parts *p, hd_tokenizer **out, hd_err *err);
hd_tokenizer *hd_tok_parts_open(const hd_tok_parts *p); // ends the test on failure

// Ids against a blank-separated list of them; the second encodes text first.
void hd_expect_id_list(const hd_ids *ids, const char *want);
void hd_expect_ids(const hd_tokenizer *t, hd_slice text, unsigned flags, const char *want);
void hd_expect_text(const hd_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                    const char *want);

// Fragments.
#define ADDED(id, text, rest) "{\"id\":" #id ",\"content\":\"" text "\"" rest "}"
#define SPECIAL               ",\"special\":true"
#define NFC_JSON              "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"
#define TEMPLATE(id)                                                                               \
    "{\"type\":\"Sequence\",\"processors\":[" BYTE_LEVEL                                           \
    ",{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"" id                \
    "\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}]}"
#define LLAMA_NORM                                                                                 \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},"       \
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]}"
#define SPLIT(rest)                                                                                \
    "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\"," rest "}," BYTE_LEVEL "]}"

#endif
