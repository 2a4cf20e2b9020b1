// A model's facts and a call to parse into, for tests of schemas: a byte tokenizer, the ChatML
// template, 64 tokens of context.
#ifndef HADAL_TESTS_HARNESS_SCHEMA_KIT_H
#define HADAL_TESTS_HARNESS_SCHEMA_KIT_H

#include "server/schema.h"

enum { KIT_EOS = 256, KIT_CONTEXT = 64 }; // ids 0..255 are bytes

typedef struct hd_schema_kit {
    hd_config cfg;
    hd_tokenizer *tokenizer;
    hd_model_facts facts;
    hd_arena arena;
    hd_json *doc;
    hd_call call;
    hd_err err;
} hd_schema_kit;

// False: err filled.
bool hd_schema_kit_open(hd_schema_kit *k);
void hd_schema_kit_close(hd_schema_kit *k);
// Parses body as JSON and then as a call; the previous call is gone. What the JSON parser refuses
// is its status.
hd_status hd_schema_kit_parse(hd_schema_kit *k, const hd_schema *s, hd_slice body);

#endif
