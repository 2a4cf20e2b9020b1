// A conversation out of a JSON literal, for the tests of models/chat.
#ifndef HADAL_TESTS_UNIT_CHAT_KIT_H
#define HADAL_TESTS_UNIT_CHAT_KIT_H

#include "kernels/base/mem.h"
#include "models/chat/chat.h"
#include "tests/harness/test.h"

typedef struct fixture {
    hd_json *doc;
    hd_arena arena;
    hd_conversation c;
    hd_err err;
} fixture;

static inline hd_status load(fixture *f, const char *json)
{
    *f = (fixture){0};
    hd_arena_init(&f->arena, 4096, 1 << 20);
    if (hd_json_parse(hd_slice_str(json), &hd_json_request_limits, &f->doc, &f->err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", json, f->err.msg);
    return hd_conversation_parse(f->doc, 16, &f->arena, &f->c, &f->err);
}

static inline void load_ok(fixture *f, const char *json)
{
    if (load(f, json) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s: %s", json, f->err.msg);
}

static inline void unload(fixture *f)
{
    hd_arena_fini(&f->arena);
    hd_json_free(f->doc);
}

// One user message; and that with an assistant message that makes one call.
#define U "{\"role\":\"user\",\"content\":\"x\"}"
#define CALL(fn)                                                                                   \
    "[" U ",{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","          \
    "\"function\":" fn "}]}]"

#endif
