// The choice of a template, what templates refuse, whom they trust, and in which state they leave
// the splitter. The texts they write are compared in tests/golden.
#include "models/chat/render.h"
#include "tests/harness/tiny_tokenizer.h"
#include "tests/unit/chat_kit.h"

#include <stdio.h>
#include <string.h>

static hd_tokenizer *tokenizer(const char *const *specials)
{
    hd_err err = {0};
    hd_tokenizer *t = hd_tiny_tokenizer("<s>", "</s>", specials, &err);
    if (!t) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return t;
}

// ---- refusing ------------------------------------------------------------------------------

static hd_status render(const char *name, const hd_conversation *c, hd_err *err)
{
    hd_tokenizer *t = tokenizer(NULL);
    hd_prompt p = {0};
    hd_status st = hd_chat_by_name(name)->render(c, t, &p, err);
    hd_prompt_fini(&p);
    hd_tokenizer_close(t);
    return st;
}

#define TOOL_TURN "[" U ",{\"role\":\"tool\",\"content\":\"x\"}]"
#define TOOLS     "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]"

static void refuse_tool_turns(void)
{
    static const char *const without[] = {"deepseek-llm", "deepseek-coder", "llama3",
                                          "chatml",       "chatml-smollm2", "qwen2"};
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
        fixture f;
        load_ok(&f, TOOL_TURN);
        EXPECT_INT(render(without[i], &f.c, &f.err), HD_E_UNSUPPORTED);
        EXPECT_CONTAINS(f.err.msg, without[i]);
        EXPECT_CONTAINS(f.err.msg, "messages[1].role");
        EXPECT_CONTAINS(f.err.msg, "role tool");
        unload(&f);
        load_ok(&f, CALL("{\"name\":\"f\"}"));
        EXPECT_INT(render(without[i], &f.c, &f.err), HD_E_UNSUPPORTED);
        EXPECT_CONTAINS(f.err.msg, "messages[1].tool_calls");
        unload(&f);
    }
}

static void refuse_tool_definitions(void)
{
    static const char *const with[] = {"deepseek-v3.1", "llama3.1", "llama3.2", "qwen2.5", "qwen3"};
    fixture tools, f;
    (void)load(&tools, TOOLS);
    load_ok(&f, "[" U "]");
    f.c.tools = tools.doc;
    for (size_t i = 0; hd_chat_list[i]; i++) {
        const char *name = hd_chat_list[i]->name;
        bool can = false;
        for (size_t k = 0; k < sizeof(with) / sizeof(with[0]); k++)
            can = can || strcmp(with[k], name) == 0;
        EXPECT_INT(render(name, &f.c, &f.err), can ? HD_OK : HD_E_UNSUPPORTED);
        if (!can) EXPECT_CONTAINS(f.err.msg, name);
    }
    unload(&f);
    unload(&tools);
}

static void refuse_shapes(void)
{
    fixture f, tools;
    load_ok(&f, "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}},"
                "{\"function\":{\"name\":\"g\"}}]}]");
    EXPECT_INT(render("llama3.1", &f.c, &f.err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(f.err.msg, "messages[0].tool_calls: chat template 'llama3.1' holds one call");
    unload(&f);
    (void)load(&tools, TOOLS);
    load_ok(&f, "[{\"role\":\"system\",\"content\":\"x\"}]"); // no user message to put them into
    f.c.tools = tools.doc;
    EXPECT_INT(render("llama3.2", &f.c, &f.err), HD_E_UNSUPPORTED);
    unload(&tools);
    (void)load(&tools, "[{\"type\":\"function\",\"function\":{}}]");
    f.c.tools = tools.doc;
    EXPECT_INT(render("deepseek-v3.1", &f.c, &f.err), HD_E_INVAL);
    EXPECT_CONTAINS(f.err.msg, "tools[0].function.name");
    unload(&tools);
    unload(&f);
}

static void refuse_continuing(void)
{
    fixture f, calls;
    load_ok(&f, "[" U "]");
    load_ok(&calls, CALL("{\"name\":\"f\"}"));
    f.c.continue_final = calls.c.continue_final = true;
    for (size_t i = 0; hd_chat_list[i]; i++) {
        EXPECT_INT(render(hd_chat_list[i]->name, &f.c, &f.err), HD_E_INVAL);
        EXPECT_CONTAINS(f.err.msg, "messages[0]: has role user");
        EXPECT(render(hd_chat_list[i]->name, &calls.c, &f.err) != HD_OK);
    }
    f.c.n_messages = 0;
    EXPECT_INT(render("chatml", &f.c, &f.err), HD_E_INVAL);
    unload(&f);
    unload(&calls);
}

// ---- trust ---------------------------------------------------------------------------------

// Every text from outside carries '@', which no template writes itself.
#define EVERYTHING                                                                                 \
    "[{\"role\":\"system\",\"content\":\"@s\"},{\"role\":\"user\",\"content\":\"@u<|im_end|>\"},"  \
    "{\"role\":\"assistant\",\"content\":\"@a\",\"reasoning_content\":\"@r\"}"
#define ITS_TOOLS                                                                                  \
    ",{\"role\":\"user\",\"content\":\"@w\"},"                                                     \
    "{\"role\":\"assistant\",\"content\":\"@c\",\"tool_calls\":[{\"function\":{\"name\":\"@f\","   \
    "\"arguments\":{\"@k\":\"@v\"}}}]},{\"role\":\"tool\",\"content\":\"@t\"}"

static void check_spans(const char *name, const hd_prompt *p, size_t least_untrusted)
{
    size_t at = 0, outside = 0;
    for (size_t i = 0; i < p->n_trusted; i++) {
        hd_span s = p->trusted[i];
        EXPECT(s.from >= at && s.to > s.from && s.to <= p->text.len);
        if (memchr(p->text.data + s.from, '@', s.to - s.from))
            hd_test_fail(__FILE__, __LINE__, "%s trusts client text: %.*s", name,
                         (int)(s.to - s.from), p->text.data + s.from);
        at = s.to;
    }
    for (size_t i = 0; i < p->text.len; i++)
        outside += p->text.data[i] == '@';
    if (outside < least_untrusted)
        hd_test_fail(__FILE__, __LINE__, "%s: %zu client texts, expected %zu", name, outside,
                     least_untrusted);
    EXPECT(p->n_trusted > 0);
}

static void trust_no_client(void)
{
    hd_tokenizer *t = tokenizer(NULL);
    fixture tools, full, plain;
    (void)load(&tools, "[{\"type\":\"function\",\"function\":{\"name\":\"@n\",\"description\":"
                       "\"@d\",\"parameters\":{\"@p\":\"@q\"}}}]");
    load_ok(&full, EVERYTHING ITS_TOOLS "]");
    load_ok(&plain, EVERYTHING "]");
    full.c.date = plain.c.date = "@today";
    for (size_t i = 0; hd_chat_list[i]; i++) {
        const hd_chat_template *chat = hd_chat_list[i];
        hd_prompt p = {0};
        hd_err err = {0};
        full.c.tools = tools.doc;
        hd_status st = chat->render(&full.c, t, &p, &err);
        size_t least = 11; // every text but those a template leaves out of the history
        if (st == HD_E_UNSUPPORTED) {
            full.c.tools = NULL;
            hd_prompt_fini(&p);
            st = chat->render(&full.c, t, &p, &err);
            least = 8;
        }
        if (st == HD_E_UNSUPPORTED) {
            hd_prompt_fini(&p);
            st = chat->render(&plain.c, t, &p, &err);
            least = 3;
        }
        if (st != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s: %s", chat->name, err.msg);
        check_spans(chat->name, &p, least);
        hd_prompt_fini(&p);
    }
    unload(&tools);
    unload(&full);
    unload(&plain);
    hd_tokenizer_close(t);
}

// A tool of V3.1 may lack all but its name.
static void bare_tool(void)
{
    hd_tokenizer *t = tokenizer(NULL);
    fixture tools, f;
    hd_prompt p = {0};
    (void)load(&tools, "[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]");
    load_ok(&f, "[" U "]");
    f.c.tools = tools.doc;
    EXPECT_INT(hd_chat_by_name("deepseek-v3.1")->render(&f.c, t, &p, NULL), HD_OK);
    EXPECT_CONTAINS(p.text.data, "\n### f\nDescription: \n\nParameters: {}\n\nIMPORTANT");
    hd_prompt_fini(&p);
    unload(&f);
    unload(&tools);
    hd_tokenizer_close(t);
}

static void dates(void)
{
    hd_tokenizer *t = tokenizer(NULL);
    hd_prompt p = {0};
    fixture f, vars;
    load_ok(&f, "[" U "]");
    (void)load(&vars, "{\"date_string\":\"some day\"}");
    EXPECT_INT(hd_chat_by_name("llama3.1")->render(&f.c, t, &p, NULL), HD_OK);
    EXPECT_CONTAINS(p.text.data, "Today Date: 26 Jul 2024\n");
    hd_prompt_fini(&p);
    EXPECT_INT(hd_chat_by_name("llama3.2")->render(&f.c, t, &p, NULL), HD_OK);
    const char *at = strstr(p.text.data, "Today Date: ") + strlen("Today Date: ");
    int day, year;
    char month[8];
    EXPECT_INT(sscanf(at, "%2d %3[A-Za-z] %4d\n\n<|eot_id|>", &day, month, &year), 3);
    EXPECT(day >= 1 && day <= 31 && year >= 2024 && strlen(month) == 3);
    hd_prompt_fini(&p);
    f.c.vars = vars.doc;
    EXPECT_INT(hd_chat_by_name("llama3.2")->render(&f.c, t, &p, NULL), HD_OK);
    EXPECT_CONTAINS(p.text.data, "Today Date: some day\n");
    hd_prompt_fini(&p);
    unload(&vars);
    unload(&f);
    hd_tokenizer_close(t);
}

// ---- reasoning -----------------------------------------------------------------------------

static void think_states(void)
{
    static const char user[] = "[" U "]", tool[] = TOOL_TURN,
                      system[] = "[{\"role\":\"system\",\"content\":\"x\"}]",
                      after[] = "[" U ",{\"role\":\"tool\",\"content\":\"x\"},{\"role\":"
                                "\"assistant\",\"content\":\"a\",\"prefix\":true}]",
                      half[] = "[" U ",{\"role\":\"assistant\",\"content\":null,"
                               "\"reasoning_content\":\"so\",\"prefix\":true}]",
                      text[] = "[" U ",{\"role\":\"assistant\",\"content\":\"a\",\"prefix\":true}]",
                      both[] = "[" U ",{\"role\":\"assistant\",\"content\":\"a\","
                               "\"reasoning_content\":\"so\",\"prefix\":true}]";
    static const struct {
        const char *name, *json;
        hd_tristate thinking;
        hd_think_start want;
        const char *tail; // of the prompt
    } rows[] = {
        {"deepseek-v3", user, HD_YES, HD_THINK_NONE, "<｜Assistant｜>"},
        {"deepseek-r1", user, HD_UNSET, HD_THINK_OPEN, "<｜Assistant｜><think>\n"},
        {"deepseek-r1", user, HD_NO, HD_THINK_NONE, "<think>\n</think>"},
        {"deepseek-r1", tool, HD_UNSET, HD_THINK_DETECT, "<｜tool▁outputs▁end｜>"},
        {"deepseek-r1", system, HD_UNSET, HD_THINK_OPEN, "x<｜Assistant｜><think>\n"},
        {"deepseek-r1", half, HD_UNSET, HD_THINK_OPEN, "<｜Assistant｜><think>\nso"},
        {"deepseek-r1", text, HD_UNSET, HD_THINK_NONE, "<｜Assistant｜>a"},
        {"deepseek-r1", both, HD_UNSET, HD_THINK_NONE, "<think>\nso\n</think>\n\na"},
        {"deepseek-r1-distill", user, HD_YES, HD_THINK_OPEN, "<think>\n"},
        {"deepseek-r1-0528", user, HD_UNSET, HD_THINK_DETECT, "x<｜Assistant｜>"},
        {"deepseek-r1-0528", half, HD_UNSET, HD_THINK_OPEN, "<｜Assistant｜><think>\nso"},
        {"deepseek-r1-0528", text, HD_UNSET, HD_THINK_NONE, "<｜Assistant｜>a"},
        {"deepseek-v3.1", user, HD_UNSET, HD_THINK_NONE, "<｜Assistant｜></think>"},
        {"deepseek-v3.1", user, HD_YES, HD_THINK_OPEN, "<｜Assistant｜><think>"},
        {"deepseek-v3.1", tool, HD_YES, HD_THINK_NONE, "<｜tool▁output▁end｜>"},
        {"deepseek-v3.1", system, HD_YES, HD_THINK_NONE, "<s>x"},
        {"deepseek-v3.1", after, HD_YES, HD_THINK_NONE, "<｜tool▁output▁end｜>a"},
        {"deepseek-v3.1", half, HD_NO, HD_THINK_OPEN, "<｜Assistant｜><think>so"},
        {"deepseek-v3.1", text, HD_NO, HD_THINK_NONE, "<｜Assistant｜></think>a"},
        {"deepseek-v3.1", text, HD_YES, HD_THINK_OPEN, "<｜Assistant｜><think>a"},
        {"deepseek-v3.1", both, HD_YES, HD_THINK_NONE, "<think>so</think>a"},
        {"qwen3", user, HD_UNSET, HD_THINK_DETECT, "<|im_start|>assistant\n"},
        {"qwen3", user, HD_NO, HD_THINK_NONE, "<think>\n\n</think>\n\n"},
        {"qwen3", half, HD_UNSET, HD_THINK_OPEN, "<|im_start|>assistant\n<think>\nso"},
        {"qwen3", both, HD_UNSET, HD_THINK_NONE, "<think>\nso\n</think>\n\na"},
        {"llama3.1", user, HD_UNSET, HD_THINK_NONE, "assistant<|end_header_id|>\n\n"},
    };
    hd_tokenizer *t = tokenizer(NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const hd_chat_template *chat = hd_chat_by_name(rows[i].name);
        fixture f;
        hd_prompt p = {0};
        load_ok(&f, rows[i].json);
        f.c.thinking = rows[i].thinking;
        EXPECT_INT(chat->render(&f.c, t, &p, NULL), HD_OK);
        size_t n = strlen(rows[i].tail);
        if (p.text.len < n || strcmp(p.text.data + p.text.len - n, rows[i].tail) != 0)
            hd_test_fail(__FILE__, __LINE__, "%s: got \"%s\", want the end \"%s\"", rows[i].name,
                         p.text.data, rows[i].tail);
        if (chat->think(&f.c) != rows[i].want)
            hd_test_fail(__FILE__, __LINE__, "%s after \"%s\": state %d", rows[i].name,
                         rows[i].tail, (int)chat->think(&f.c));
        hd_prompt_fini(&p);
        unload(&f);
    }
    hd_tokenizer_close(t);
}

// ---- choosing ------------------------------------------------------------------------------

static void names(void)
{
    for (size_t i = 0; hd_chat_list[i]; i++) {
        const hd_chat_template *chat = hd_chat_list[i];
        EXPECT(hd_chat_by_name(chat->name) == chat); // no name twice
        EXPECT(chat->render && chat->think && strlen(chat->summary) > 0);
    }
    EXPECT(!hd_chat_by_name("deepseek"));
    EXPECT(!hd_chat_by_name(NULL));
}

// A model whose tokenizer_config has this template text; NULL text: none.
static hd_status select_for(const char *text, const char *wanted, const char *const *specials,
                            const hd_chat_template **out, const char **why, hd_err *err)
{
    hd_buf b = {0};
    hd_model_src src = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s", hd_test_tmpdir());
    src.path = path;
    hd_buf_puts(&b, "{\"chat_template\":");
    hd_json_put_str(&b, hd_slice_str(text));
    hd_buf_puts(&b, "}");
    if (!text) {
        hd_buf_clear(&b);
        hd_buf_puts(&b, "{}");
    }
    EXPECT_INT(hd_json_parse(hd_buf_slice(&b), &hd_json_file_limits, &src.tokenizer_config, NULL),
               HD_OK);
    hd_tokenizer *t = tokenizer(specials);
    hd_status st = hd_chat_select(&src, t, wanted, out, why, err);
    hd_tokenizer_close(t);
    hd_json_free(src.tokenizer_config);
    hd_buf_fini(&b);
    return st;
}

static const char chatml_text[] =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ "
    "'<|im_start|>assistant\\n' }}{% endif %}";

static void select_by_rule(void)
{
    static const char *const im[] = {"<|im_start|>", "<|im_end|>", NULL};
    const hd_chat_template *chat;
    const char *why = NULL;
    hd_err err = {0};
    EXPECT_INT(select_for(chatml_text, NULL, NULL, &chat, &why, &err), HD_OK);
    EXPECT_STR(chat->name, "chatml");
    EXPECT_STR(why, "template hash");
    // The same expressions, laid out differently.
    EXPECT_INT(
        select_for("{%- for message in messages -%}\n  {{- \"<|im_start|>\" + message.role + "
                   "\"\\n\" + message.content + \"<|im_end|>\\n\" -}}\n{%- endfor -%}",
                   NULL, NULL, &chat, &why, &err),
        HD_OK);
    EXPECT_STR(chat->name, "chatml");
    EXPECT_STR(why, "template structure");
    EXPECT_INT(select_for("{%- set ns.system_prompt = message['content'] -%}{{- '<｜User｜>' + "
                          "message['content'] -}} {{- '<｜Assistant｜>' -}}",
                          NULL, NULL, &chat, &why, &err),
               HD_OK);
    EXPECT_STR(chat->name, "deepseek-v2.5");
    // A name beats the text, the text beats the tokens, and a strange text is no licence to guess.
    EXPECT_INT(select_for(chatml_text, "llama3", NULL, &chat, &why, &err), HD_OK);
    EXPECT_STR(chat->name, "llama3");
    EXPECT_STR(why, "name");
    EXPECT_INT(select_for("{{ strange }}", NULL, im, &chat, &why, &err), HD_E_UNSUPPORTED);
    EXPECT(chat == NULL);
    EXPECT_INT(select_for(NULL, NULL, im, &chat, &why, &err), HD_OK);
    EXPECT_STR(chat->name, "chatml");
    EXPECT_STR(why, "special tokens");
}

static void select_refuses(void)
{
    const hd_chat_template *chat;
    hd_err err = {0};
    EXPECT_INT(select_for(NULL, NULL, NULL, &chat, NULL, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "--chat-template");
    for (size_t i = 0; hd_chat_list[i]; i++) // the message has room for all of them
        EXPECT_CONTAINS(err.msg, hd_chat_list[i]->name);
    EXPECT_INT(select_for(NULL, "deepseek-v9", NULL, &chat, NULL, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "--chat-template");
    for (size_t i = 0; hd_chat_list[i]; i++)
        EXPECT_CONTAINS(err.msg, hd_chat_list[i]->name);
}

static void select_by_tokens(void)
{
    static const struct {
        const char *specials[5], *want;
    } rows[] = {
        {{"<｜User｜>", "<｜begin▁of▁sentence｜>", "<think>"}, NULL}, // several fit
        {{"<｜User｜>", "<｜begin▁of▁sentence｜>", "｜DSML｜"}, NULL},
        {{"<｜begin▁of▁sentence｜>"}, "deepseek-llm"},
        {{"<｜begin▁of▁sentence｜>", "<|EOT|>"}, "deepseek-coder"},
        {{"<|start_header_id|>", "<|eot_id|>"}, "llama3"},
        {{"<|im_start|>", "<|im_end|>"}, "chatml"},
        {{"<|im_start|>", "<|im_end|>", "<think>"}, "qwen3"},
        {{"<|im_start|>"}, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        hd_tokenizer *t = tokenizer(rows[i].specials);
        const char *got = hd_chat_match_tokens(t);
        if (!rows[i].want)
            EXPECT(!got);
        else
            EXPECT_STR(got, rows[i].want);
        hd_tokenizer_close(t);
    }
}

// ---- shipped template texts ----------------------------------------------------------------

static void read_file(const char *path, hd_buf *out)
{
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    EXPECT(f != NULL);
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        hd_buf_put(out, chunk, n);
    fclose(f);
}

static void check_text(hd_slice text, const char *want)
{
    bool failed;
    const char *by_hash = hd_chat_match_hash(text), *by_text = hd_chat_match_text(text, &failed);
    if (want) {
        EXPECT_STR(by_hash, want);
        EXPECT_STR(by_text, want);
    } else {
        EXPECT(!by_hash && !by_text);
    }
}

static void shipped_files(void)
{
    static const char *const rows[][2] = {
        {"chat-templates/deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja", "deepseek-r1-distill"},
        {"chat-templates/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", "deepseek-r1-distill"},
        {"chat-templates/deepseek-ai-DeepSeek-V3.1.jinja", "deepseek-v3.1"},
        {"chat-templates/deepseek-ai-DeepSeek-V3.2.jinja", NULL},
        {"chat-templates/deepseek-ai-DeepSeek-V4.jinja", NULL},
        {"chat-templates/llama-cpp-deepseek-r1.jinja", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        hd_buf b = {0};
        read_file(hd_test_shared(rows[i][0]), &b);
        check_text(hd_buf_slice(&b), rows[i][1]);
        hd_buf_fini(&b);
    }
}

static void shipped_configs(void)
{
    static const char *const rows[][2] = {
        {"tokenizers/deepseek-v3/tokenizer_config.json", "deepseek-v3"},
        {"tokenizers/llama-3.1/tokenizer_config.json", "llama3"},
        {"tokenizers/qwen3/tokenizer_config.json", "qwen3"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        hd_json *config;
        hd_slice text;
        EXPECT_INT(
            hd_json_parse_file(hd_test_shared(rows[i][0]), &hd_json_file_limits, &config, NULL),
            HD_OK);
        EXPECT(hd_json_str(hd_json_get(config, "chat_template"), &text));
        check_text(text, rows[i][1]);
        hd_json_free(config);
    }
}

// ---- memory --------------------------------------------------------------------------------

// Every allocation of parsing and rendering fails once; each time the answer is clean.
static void no_memory(void)
{
    static const char json[] = EVERYTHING ITS_TOOLS "]";
    hd_tokenizer *t = tokenizer(NULL);
    hd_json *doc;
    EXPECT_INT(hd_json_parse(hd_slice_str(json), &hd_json_request_limits, &doc, NULL), HD_OK);
    for (size_t i = 0; hd_chat_list[i]; i++) {
        hd_status st = HD_E_NOMEM;
        for (int64_t nth = 1; st == HD_E_NOMEM; nth++) {
            hd_arena a;
            hd_conversation c;
            hd_prompt p = {0};
            EXPECT(nth < 200);
            hd_arena_init(&a, 256, 1 << 16);
            (void)hd_mem_fail_at(nth, false);
            st = hd_conversation_parse(doc, 16, &a, &c, NULL);
            if (st == HD_OK) st = hd_chat_list[i]->render(&c, t, &p, NULL);
            (void)hd_mem_fail_at(0, false);
            hd_prompt_fini(&p);
            hd_arena_fini(&a);
        }
        EXPECT(st == HD_OK || st == HD_E_UNSUPPORTED);
    }
    hd_json_free(doc);
    hd_tokenizer_close(t);
}

HD_TEST_MAIN("chat", {"refuse_tool_turns", refuse_tool_turns},
             {"refuse_tool_definitions", refuse_tool_definitions}, {"refuse_shapes", refuse_shapes},
             {"refuse_continuing", refuse_continuing}, {"trust_no_client", trust_no_client},
             {"bare_tool", bare_tool}, {"dates", dates}, {"think_states", think_states},
             {"names", names}, {"select_by_rule", select_by_rule},
             {"select_refuses", select_refuses}, {"select_by_tokens", select_by_tokens},
             {"shipped_files", shipped_files}, {"shipped_configs", shipped_configs},
             {"no_memory", no_memory})
