// Every prompt of tests/golden/chat.json (tests/tools/make_chat_golden.py): byte for byte what the
// reference template made of the same conversation.
#include "kernels/base/json.h"
#include "models/chat/chat.h"
#include "tests/harness/test.h"
#include "tests/harness/tiny_tokenizer.h"

#include <string.h>

// The value as text; NULL when it is absent or null.
static const char *text_of(const hd_json *v, const char *key)
{
    hd_slice s;
    return hd_json_str(hd_json_get(v, key), &s) ? s.p : NULL;
}

static bool flag_of(const hd_json *v, const char *key)
{
    bool b = false;
    (void)hd_json_bool(hd_json_get(v, key), &b);
    return b;
}

static void parse_conversation(const hd_json *golden, const hd_json *kase, hd_arena *a,
                               hd_conversation *c)
{
    const hd_json *src =
        hd_json_get(hd_json_get(golden, "conversations"), text_of(kase, "conversation"));
    hd_err err = {0};
    hd_status st = hd_conversation_parse(hd_json_get(src, "messages"), 100, a, c, &err);
    if (st != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    c->tools = hd_json_get(src, "tools");
    c->add_generation_prompt = flag_of(kase, "add_generation_prompt");
    c->continue_final = flag_of(kase, "continue");
    c->date = text_of(kase, "date");
    bool thinking;
    if (hd_json_bool(hd_json_get(kase, "thinking"), &thinking))
        c->thinking = thinking ? HD_YES : HD_NO;
}

// Where two texts part, with a little of both.
static void compare(const hd_json *kase, hd_slice got, hd_slice want)
{
    if (hd_slice_eq(got, want)) return;
    size_t i = 0;
    while (i < got.n && i < want.n && got.p[i] == want.p[i])
        i++;
    hd_test_fail(
        __FILE__, __LINE__, "%s, conversation '%s': byte %zu: got \"%.60s\", want \"%.60s\"",
        text_of(kase, "template"), text_of(kase, "conversation"), i, got.p + i, want.p + i);
}

static void check_case(const hd_json *golden, const hd_json *kase)
{
    hd_err err = {0};
    hd_arena arena;
    hd_conversation c;
    hd_prompt p = {0};
    hd_slice want;
    const hd_chat_template *chat = hd_chat_by_name(text_of(kase, "template"));
    hd_tokenizer *t = hd_tiny_tokenizer(text_of(kase, "bos"), text_of(kase, "eos"), NULL, &err);
    if (!t) hd_test_fail(__FILE__, __LINE__, "tokenizer: %s", err.msg);
    EXPECT(chat && hd_json_str(hd_json_get(kase, "text"), &want));
    hd_arena_init(&arena, 4096, 1 << 20);
    parse_conversation(golden, kase, &arena, &c);
    if (chat->render(&c, t, &p, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s, conversation '%s': %s", chat->name,
                     text_of(kase, "conversation"), err.msg);
    compare(kase, hd_buf_slice(&p.text), want);
    hd_prompt_fini(&p);
    hd_arena_fini(&arena);
    hd_tokenizer_close(t);
}

static void equal_reference(void)
{
    hd_err err = {0};
    hd_json *golden;
    if (hd_json_parse_file("tests/golden/chat.json", &hd_json_file_limits, &golden, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    const hd_json *cases = hd_json_get(golden, "cases");
    EXPECT(hd_json_len(cases) > 500);
    for (const hd_json *v = hd_json_first(cases); v; v = hd_json_next(v))
        check_case(golden, v);
    hd_json_free(golden);
}

static void cover_every_template(void)
{
    hd_json *golden;
    EXPECT_INT(hd_json_parse_file("tests/golden/chat.json", &hd_json_file_limits, &golden, NULL),
               HD_OK);
    for (size_t i = 0; hd_chat_list[i]; i++) {
        const hd_json *v = hd_json_first(hd_json_get(golden, "cases"));
        while (v && strcmp(text_of(v, "template"), hd_chat_list[i]->name) != 0)
            v = hd_json_next(v);
        if (!v) hd_test_fail(__FILE__, __LINE__, "no case for %s", hd_chat_list[i]->name);
    }
    hd_json_free(golden);
}

HD_TEST_MAIN("chat_golden", {"equal_reference", equal_reference},
             {"cover_every_template", cover_every_template})
