// Conversations from JSON: every accepted form, and the field that each error names.
#include "tests/unit/chat_kit.h"

static void expect_text(hd_slice got, const char *want)
{
    if (!hd_slice_eq_str(got, want))
        hd_test_fail(__FILE__, __LINE__, "got \"%.*s\", want \"%s\"", (int)got.n, got.p, want);
}

static void parse_fields(void)
{
    fixture f;
    load_ok(&f,
            "[{\"role\":\"developer\",\"content\":\"s\"},{\"role\":\"user\",\"name\":\"ann\","
            "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]},"
            "{\"role\":\"assistant\",\"content\":null,\"reasoning\":\"r\",\"tool_calls\":["
            "{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
            "{\"k\":[1,2.0],\"\xC3\xBC\":\"\xE4\xBD\xA0\"}}},"
            "{\"function\":{\"name\":\"g\",\"arguments\":\" raw text\"}},"
            "{\"function\":{\"name\":\"h\"}}]},"
            "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"t\"}]");
    const hd_message *m = f.c.messages;
    EXPECT_INT(f.c.n_messages, 4);
    EXPECT_INT(m[0].role, HD_ROLE_SYSTEM);
    EXPECT(m[0].has_content && !m[0].has_reasoning);
    expect_text(m[1].content, "a\nb");
    expect_text(m[1].name, "ann");
    EXPECT(!m[2].has_content && m[2].has_reasoning && m[2].content.n == 0);
    expect_text(m[2].reasoning, "r");
    EXPECT_INT(m[2].n_calls, 3);
    expect_text(m[2].calls[0].id, "c1");
    expect_text(m[2].calls[0].name, "f");
    expect_text(m[2].calls[0].arguments, "{\"k\": [1, 2.0], \"\xC3\xBC\": \"\xE4\xBD\xA0\"}");
    expect_text(m[2].calls[1].arguments, " raw text");
    expect_text(m[2].calls[2].arguments, "{}");
    EXPECT_INT(m[3].role, HD_ROLE_TOOL);
    expect_text(m[3].tool_call_id, "c1");
    EXPECT(f.c.add_generation_prompt && !f.c.continue_final && f.c.thinking == HD_UNSET);
    EXPECT(!f.c.tools && !f.c.vars && !f.c.date);
    unload(&f);
}

static void parse_prefix(void)
{
    fixture f;
    load_ok(&f, "[" U ",{\"role\":\"assistant\",\"content\":\"one\",\"prefix\":true}]");
    EXPECT(f.c.continue_final && !f.c.add_generation_prompt && f.c.messages[1].prefix);
    unload(&f);
    load_ok(&f, "[" U ",{\"role\":\"assistant\",\"content\":\"one\",\"prefix\":false}]");
    EXPECT(!f.c.continue_final && f.c.add_generation_prompt);
    unload(&f);
}

// Things that are absent in more than one way.
static void parse_lenient(void)
{
    static const char *const good[] = {
        "[{\"role\":\"user\",\"content\":\"\"}]",
        "[{\"role\":\"user\",\"content\":[]}]",
        "[{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[]}]",
        "[{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":null,\"name\":null,\"extra\":1}]",
        "[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"r\"}]",
        CALL("{\"name\":\"f\",\"arguments\":null}"),
        CALL("{\"name\":\"f\",\"arguments\":\"\"}"),
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        fixture f;
        load_ok(&f, good[i]);
        const hd_message *last = &f.c.messages[f.c.n_messages - 1];
        if (last->n_calls == 1) expect_text(last->calls[0].arguments, "{}");
        unload(&f);
    }
}

static void parse_errors(void)
{
    static const struct {
        const char *json, *part;
        hd_status st;
    } bad[] = {
        {"{}", "messages: found an object, expected an array", HD_E_INVAL},
        {"[]", "messages: empty", HD_E_INVAL},
        {"[1]", "messages[0]: found a number, expected an object", HD_E_INVAL},
        {"[{\"content\":\"x\"}]", "messages[0].role: missing", HD_E_INVAL},
        {"[{\"role\":3}]", "messages[0].role: found a number", HD_E_INVAL},
        {"[" U ",{\"role\":\"robot\"}]", "messages[1].role: found 'robot', expected", HD_E_INVAL},
        {"[{\"role\":\"user\"}]", "messages[0].content: missing", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":null}]", "messages[0].content: found null", HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]}]",
         "messages[0].content: found null", HD_E_INVAL},
        {"[{\"role\":\"tool\",\"content\":null}]", "messages[0].content", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":3}]", "messages[0].content: found a number", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":[3]}]", "messages[0].content[0]: found a number",
         HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":[{\"text\":\"x\"}]}]", "messages[0].content[0].type",
         HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":"
         "\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]",
         "messages[0].content[1]: parts of type 'image_url' are not supported", HD_E_UNSUPPORTED},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":1}]}]",
         "messages[0].content[0].text: found a number", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"tool_calls\":[{}]}]",
         "messages[0].tool_calls: only assistant", HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"tool_calls\":{}}]", "messages[0].tool_calls: found an object",
         HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[1]}]", "messages[0].tool_calls[0]: found",
         HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"type\":\"code\"}]}]",
         "messages[0].tool_calls[0].type", HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":1}]}]", "messages[0].tool_calls[0].id",
         HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"tool_calls\":[{}]}]",
         "messages[0].tool_calls[0].function: missing", HD_E_INVAL},
        {CALL("[]"), "messages[1].tool_calls[0].function: found an array", HD_E_INVAL},
        {CALL("{}"), "messages[1].tool_calls[0].function.name: missing", HD_E_INVAL},
        {CALL("{\"name\":1}"), "messages[1].tool_calls[0].function.name: found a number",
         HD_E_INVAL},
        {CALL("{\"name\":\"\"}"), "messages[1].tool_calls[0].function.name: found an empty string",
         HD_E_INVAL},
        {CALL("{\"name\":\"f\",\"arguments\":[1]}"),
         "messages[1].tool_calls[0].function.arguments: found an array", HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning_content\":[]}]",
         "messages[0].reasoning_content: found an array", HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"reasoning\":1}]",
         "messages[0].reasoning:", HD_E_INVAL},
        {"[{\"role\":\"tool\",\"content\":\"x\",\"tool_call_id\":7}]",
         "messages[0].tool_call_id:", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"name\":7}]", "messages[0].name:", HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"prefix\":1}]", "messages[0].prefix: found",
         HD_E_INVAL},
        {"[{\"role\":\"user\",\"content\":\"x\",\"prefix\":true}]", "messages[0].prefix: only",
         HD_E_INVAL},
        {"[{\"role\":\"assistant\",\"content\":\"x\",\"prefix\":true}," U "]",
         "messages[0].prefix: only", HD_E_INVAL},
        {"[" U "," U "," U "," U "," U "," U "," U "," U "," U "," U "," U "," U "," U "," U "," U
         "," U "," U "]",
         "messages: found 17, expected at most 16", HD_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture f;
        hd_status st = load(&f, bad[i].json);
        if (st != bad[i].st)
            hd_test_fail(__FILE__, __LINE__, "%s: status %s: %s", bad[i].json, hd_status_name(st),
                         f.err.msg);
        EXPECT_CONTAINS(f.err.msg, bad[i].part);
        unload(&f);
    }
    hd_conversation c;
    hd_err err = {0};
    EXPECT_INT(hd_conversation_parse(NULL, 16, NULL, &c, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "messages: missing");
}

static void parse_call_limit(void)
{
    hd_buf b = {0};
    fixture f;
    hd_buf_puts(&b, "[{\"role\":\"assistant\",\"tool_calls\":[");
    for (int i = 0; i < 257; i++)
        hd_buf_printf(&b, "%s{\"function\":{\"name\":\"f\"}}", i ? "," : "");
    hd_buf_puts(&b, "]}]");
    EXPECT_INT(load(&f, b.data), HD_E_LIMIT);
    EXPECT_CONTAINS(f.err.msg, "messages[0].tool_calls: found 257");
    unload(&f);
    hd_buf_fini(&b);
}

HD_TEST_MAIN("conversation", {"parse_fields", parse_fields}, {"parse_prefix", parse_prefix},
             {"parse_lenient", parse_lenient}, {"parse_errors", parse_errors},
             {"parse_call_limit", parse_call_limit})
