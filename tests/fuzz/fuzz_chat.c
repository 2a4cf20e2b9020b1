// Any bytes as a model's template text, which is recognised or not. Any JSON as "messages", or as
// {"messages", "tools", "vars"}: parsed, then rendered with every template in every mode.
//   - what is recognised has a name of the list;
//   - trusted spans are ordered, inside the text, and all of them come from the template: none
//     holds the DEL that replaces every 'X' of the input;
//   - a refusal comes with a message, and the splitter state is one of the three.
#include "models/chat/chat.h"
#include "models/chat/render.h"
#include "tests/harness/tiny_tokenizer.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const hd_json_limits limits = {1 << 16, 2000, 32};

static void check(const hd_prompt *p)
{
    size_t at = 0;
    for (size_t i = 0; i < p->n_trusted; i++) {
        hd_span s = p->trusted[i];
        HD_ASSERT(s.from >= at && s.to > s.from && s.to <= p->text.len);
        HD_ASSERT(!memchr(p->text.data + s.from, '\x7F', s.to - s.from));
        at = s.to;
    }
}

static void render_all(const hd_conversation *c, const hd_tokenizer *t)
{
    for (size_t i = 0; hd_chat_list[i]; i++) {
        hd_prompt p = {0};
        hd_err err = {0};
        hd_status st = hd_chat_list[i]->render(c, t, &p, &err);
        HD_ASSERT((st != HD_OK) == (err.msg[0] != '\0'));
        HD_ASSERT(st == HD_OK || st == HD_E_INVAL || st == HD_E_UNSUPPORTED);
        hd_think_start start = hd_chat_list[i]->think(c);
        HD_ASSERT(start == HD_THINK_NONE || start == HD_THINK_OPEN || start == HD_THINK_DETECT);
        if (st == HD_OK) check(&p);
        hd_prompt_fini(&p);
    }
}

static void use(const hd_json *doc, const hd_tokenizer *t)
{
    bool object = hd_json_type(doc) == HD_JSON_OBJECT;
    const hd_json *messages = object ? hd_json_get(doc, "messages") : doc;
    const hd_json *tools = hd_json_get(doc, "tools");
    hd_arena a;
    hd_conversation c;
    hd_err err = {0};
    hd_arena_init(&a, 1024, 1 << 20);
    hd_status st = hd_conversation_parse(messages, 64, &a, &c, &err);
    HD_ASSERT((st != HD_OK) == (err.msg[0] != '\0'));
    if (st == HD_OK) {
        if (hd_json_type(tools) == HD_JSON_ARRAY) c.tools = tools;
        c.vars = hd_json_get(doc, "vars");
        for (int mode = 0; mode < 12; mode++) {
            c.thinking = (hd_tristate)(mode % 3 - 1);
            c.add_generation_prompt = mode / 3 % 2;
            c.continue_final = mode / 6;
            render_all(&c, t);
        }
    }
    hd_arena_fini(&a);
}

static void recognise(hd_slice text)
{
    bool failed;
    const char *by_hash = hd_chat_match_hash(text), *by_text = hd_chat_match_text(text, &failed);
    HD_ASSERT(!failed);
    HD_ASSERT(!by_hash || hd_chat_by_name(by_hash));
    HD_ASSERT(!by_text || hd_chat_by_name(by_text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hd_tokenizer *t;
    hd_json *doc = NULL;
    hd_buf text = {0};
    if (size > limits.max_bytes) return 0;
    if (!t) t = hd_tiny_tokenizer("<s>", "</s>", NULL, NULL);
    HD_ASSERT(t);
    recognise(hd_slice_of((const char *)data, size));
    // No template writes DEL, so a trusted span that holds one holds client text.
    for (size_t i = 0; i < size; i++)
        hd_buf_putc(&text, data[i] == 'X' ? '\x7F' : (char)data[i]);
    if (hd_json_parse(hd_buf_slice(&text), &limits, &doc, NULL) == HD_OK) use(doc, t);
    hd_json_free(doc);
    hd_buf_fini(&text);
    return 0;
}
