// What a schema's parse needs, without an engine.
#include "tests/harness/schema_kit.h"

#include "tests/harness/tiny_tokenizer.h"

#include <string.h>

bool hd_schema_kit_open(hd_schema_kit *k)
{
    static const char *const specials[] = {"<|im_start|>", NULL};
    bool stop;
    memset(k, 0, sizeof(*k));
    if (hd_config_load(&k->cfg, HD_CMD_SERVE, 0, NULL, &stop, &k->err) != HD_OK) return false;
    k->facts.tokenizer = k->tokenizer = hd_tiny_tokenizer(NULL, "<|im_end|>", specials, &k->err);
    k->facts.chat = hd_chat_by_name("chatml");
    k->facts.max_context = KIT_CONTEXT;
    hd_sample_params_init(&k->facts.defaults);
    hd_arena_init(&k->arena, 4096, 1 << 24);
    return k->facts.tokenizer && k->facts.chat;
}

static void forget(hd_schema_kit *k)
{
    hd_json_free(k->doc);
    k->doc = NULL;
    hd_arena_reset(&k->arena);
    memset(&k->call, 0, sizeof(k->call));
    memset(&k->err, 0, sizeof(k->err));
}

void hd_schema_kit_close(hd_schema_kit *k)
{
    forget(k);
    hd_tokenizer_close(k->tokenizer);
    hd_arena_fini(&k->arena);
}

hd_status hd_schema_kit_parse(hd_schema_kit *k, const hd_schema *s, hd_slice body)
{
    forget(k);
    hd_status st = hd_json_parse(body, &hd_json_request_limits, &k->doc, &k->err);
    if (st != HD_OK) return st;
    k->call = (hd_call){.schema = s,
                        .cfg = &k->cfg,
                        .facts = &k->facts,
                        .served_name = "served",
                        .request_id = "r1",
                        .created = 1700000000};
    return s->parse(k->doc, &k->arena, &k->call, &k->err);
}
