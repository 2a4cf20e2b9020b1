// Checks, text cuts and writers shared by the templates. Knows no template.
#include "models/chat/render.h"

#include "kernels/base/utf8.h"

#include <string.h>

// ---- checks --------------------------------------------------------------------------------

static const char *role_name(hd_role r)
{
    static const char *const names[] = {"system", "user", "assistant", "tool"};
    return names[r];
}

hd_status hd_chat_check(const hd_conversation *c, const char *name, unsigned can, hd_err *err)
{
    HD_CHECK(c->n_messages > 0, err, HD_E_INVAL, "messages: empty, expected at least one");
    HD_CHECK(can & HD_CHAT_TOOL_DEFS || !hd_chat_has_tools(c), err, HD_E_UNSUPPORTED,
             "tools: chat template '%s' has no place for tool definitions", name);
    for (size_t i = 0; i < c->n_messages && !(can & HD_CHAT_TOOL_TURNS); i++) {
        const hd_message *m = &c->messages[i];
        HD_CHECK(m->role != HD_ROLE_TOOL, err, HD_E_UNSUPPORTED,
                 "messages[%zu].role: chat template '%s' cannot express role %s", i, name,
                 role_name(m->role));
        HD_CHECK(m->n_calls == 0, err, HD_E_UNSUPPORTED,
                 "messages[%zu].tool_calls: chat template '%s' cannot express tool calls", i, name);
    }
    if (!c->continue_final) return HD_OK;
    const hd_message *last = &c->messages[c->n_messages - 1];
    HD_CHECK(last->role == HD_ROLE_ASSISTANT, err, HD_E_INVAL,
             "messages[%zu]: has role %s, only a final assistant message can be continued",
             c->n_messages - 1, role_name(last->role));
    HD_CHECK(last->n_calls == 0, err, HD_E_INVAL,
             "messages[%zu]: a message with tool_calls cannot be continued", c->n_messages - 1);
    return HD_OK;
}

bool hd_chat_ends_in_reasoning(const hd_conversation *c)
{
    if (!c->continue_final || c->n_messages == 0) return false;
    const hd_message *m = &c->messages[c->n_messages - 1];
    return m->has_reasoning && m->content.n == 0;
}

hd_think_start hd_chat_think_none(const hd_conversation *c)
{
    (void)c;
    return HD_THINK_NONE;
}

// ---- writing -------------------------------------------------------------------------------

static void put_token(hd_prompt *p, const hd_tokenizer *t, int32_t id)
{
    if (id >= 0) hd_prompt_trusted(p, hd_token_bytes(t, id));
}

void hd_chat_put_bos(hd_prompt *p, const hd_tokenizer *t)
{
    put_token(p, t, hd_tokenizer_facts(t)->bos);
}

void hd_chat_put_eos(hd_prompt *p, const hd_tokenizer *t)
{
    put_token(p, t, hd_tokenizer_facts(t)->eos);
}

static void put_buf(hd_prompt *p, hd_buf *b)
{
    if (b->failed)
        p->text.failed = true;
    else
        hd_prompt_user(p, hd_buf_slice(b));
    hd_buf_fini(b);
}

void hd_chat_put_json(hd_prompt *p, const hd_json *v)
{
    hd_buf b = {0};
    hd_json_put(&b, v, HD_JSON_PYTHON);
    put_buf(p, &b);
}

void hd_chat_put_json_indent(hd_prompt *p, const hd_json *v, int n)
{
    hd_buf b = {0};
    hd_json_put_indent(&b, v, n);
    put_buf(p, &b);
}

void hd_chat_put_json_str(hd_prompt *p, hd_slice s)
{
    hd_buf b = {0};
    hd_json_put_str(&b, s);
    put_buf(p, &b);
}

void hd_chat_put_open(hd_prompt *p, const hd_message *m, const char *open, const char *close)
{
    if (m->has_reasoning) {
        hd_prompt_trusted_str(p, open);
        hd_prompt_user(p, m->reasoning);
        if (m->content.n > 0) hd_prompt_trusted_str(p, close);
    }
    hd_prompt_user(p, m->content);
}

hd_status hd_chat_done(const hd_prompt *p, hd_err *err)
{
    HD_CHECK(!p->text.failed, err, HD_E_NOMEM, "out of memory while rendering the prompt");
    return HD_OK;
}

// ---- text ----------------------------------------------------------------------------------

static hd_slice drop(hd_slice s, size_t n)
{
    return hd_slice_of(s.p + n, s.n - n);
}

hd_slice hd_text_after_first(hd_slice s, const char *marker)
{
    hd_slice m = hd_slice_str(marker);
    ptrdiff_t at = hd_slice_find(s, m, 0);
    return at < 0 ? s : drop(s, (size_t)at + m.n);
}

hd_slice hd_text_after_last(hd_slice s, const char *marker)
{
    hd_slice m = hd_slice_str(marker);
    size_t start = 0;
    for (ptrdiff_t at; (at = hd_slice_find(s, m, start)) >= 0;)
        start = (size_t)at + m.n;
    return start == 0 ? s : drop(s, start);
}

hd_slice hd_text_lstrip_lf(hd_slice s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] == '\n')
        i++;
    return i == 0 ? s : drop(s, i);
}

hd_slice hd_text_rstrip_lf(hd_slice s)
{
    while (s.n > 0 && s.p[s.n - 1] == '\n')
        s.n--;
    return s;
}

// What Python's str.isspace accepts.
static bool is_space(uint32_t cp)
{
    return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

// Length of the white space character at p[0..n), 0 when it is something else.
static size_t space_len(const char *p, size_t n)
{
    uint32_t cp = 0;
    int len = n > 0 ? hd_utf8_decode(p, n, &cp) : 0;
    return len > 0 && is_space(cp) ? (size_t)len : 0;
}

hd_slice hd_text_strip(hd_slice s)
{
    for (size_t k; (k = space_len(s.p, s.n)) > 0;)
        s = drop(s, k);
    while (s.n > 0) {
        size_t k = 1; // the last character begins k bytes before the end
        while (k < 4 && k < s.n && ((unsigned char)s.p[s.n - k] & 0xC0) == 0x80)
            k++;
        if (space_len(s.p + s.n - k, k) != k) break;
        s.n -= k;
    }
    return s;
}
