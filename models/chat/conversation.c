// Conversations out of OpenAI-style JSON. The one place where messages from outside are checked:
// templates may rely on what is accepted here.
//
// - content: a string; or parts of type text, joined by line feeds; or null beside tool_calls or
//   reasoning, read as empty. Other parts (images, audio) are refused by name.
// - arguments: a string stays as it is; an object becomes the text that json.dumps would give;
//   absent, null and "" become {}.
// - developer is read as system. Fields not named in OpenAI's shape are ignored.
//
// Texts are borrowed from the document where they stand in it whole. Nothing here knows a template.
#include "models/chat/chat.h"

#include <stdio.h>

enum { MAX_CALLS = 256 }; // per message

typedef struct reader {
    hd_arena *a;
    hd_err *err;
    size_t at; // index of the message being read
} reader;

static hd_status no_memory(const reader *r)
{
    return HD_FAIL(r->err, HD_E_NOMEM, "messages[%zu]: out of memory", r->at);
}

// ---- fields --------------------------------------------------------------------------------

// An optional string of the message; *has says whether it is there.
static hd_status optional_str(const reader *r, const hd_json *msg, const char *key, bool *has,
                              hd_slice *out)
{
    const hd_json *v = hd_json_get(msg, key);
    *has = !hd_json_is_null(v);
    if (!*has) return HD_OK;
    HD_CHECK(hd_json_str(v, out), r->err, HD_E_INVAL,
             "messages[%zu].%s: found %s, expected a string", r->at, key, hd_json_type_name(v));
    return HD_OK;
}

static hd_status read_role(const reader *r, const hd_json *msg, hd_role *out)
{
    static const struct {
        const char *name;
        hd_role role;
    } roles[] = {{"system", HD_ROLE_SYSTEM},
                 {"developer", HD_ROLE_SYSTEM},
                 {"user", HD_ROLE_USER},
                 {"assistant", HD_ROLE_ASSISTANT},
                 {"tool", HD_ROLE_TOOL}};
    const hd_json *v = hd_json_get(msg, "role");
    hd_slice s;
    HD_CHECK(v, r->err, HD_E_INVAL,
             "messages[%zu].role: missing, expected system, developer, user, assistant or tool",
             r->at);
    HD_CHECK(hd_json_str(v, &s), r->err, HD_E_INVAL,
             "messages[%zu].role: found %s, expected a string", r->at, hd_json_type_name(v));
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (!hd_slice_eq_str(s, roles[i].name)) continue;
        *out = roles[i].role;
        return HD_OK;
    }
    return HD_FAIL(r->err, HD_E_INVAL,
                   "messages[%zu].role: found '%.*s', expected system, developer, user, assistant "
                   "or tool",
                   r->at, (int)(s.n < 40 ? s.n : 40), s.p);
}

// ---- content -------------------------------------------------------------------------------

static hd_status read_part(const reader *r, const hd_json *part, size_t k, hd_slice *out)
{
    hd_slice type = {"", 0};
    const hd_json *text = hd_json_get(part, "text");
    HD_CHECK(hd_json_type(part) == HD_JSON_OBJECT, r->err, HD_E_INVAL,
             "messages[%zu].content[%zu]: found %s, expected an object", r->at, k,
             hd_json_type_name(part));
    HD_CHECK(hd_json_str(hd_json_get(part, "type"), &type), r->err, HD_E_INVAL,
             "messages[%zu].content[%zu].type: found %s, expected \"text\"", r->at, k,
             hd_json_type_name(hd_json_get(part, "type")));
    HD_CHECK(hd_slice_eq_str(type, "text"), r->err, HD_E_UNSUPPORTED,
             "messages[%zu].content[%zu]: parts of type '%.*s' are not supported, only text", r->at,
             k, (int)(type.n < 40 ? type.n : 40), type.p);
    HD_CHECK(hd_json_str(text, out), r->err, HD_E_INVAL,
             "messages[%zu].content[%zu].text: found %s, expected a string", r->at, k,
             hd_json_type_name(text));
    return HD_OK;
}

static hd_status read_parts(const reader *r, const hd_json *parts, hd_slice *out)
{
    hd_buf b = {0};
    hd_slice text = {"", 0};
    hd_status st = HD_OK;
    size_t k = 0;
    for (const hd_json *v = hd_json_first(parts); v && st == HD_OK; v = hd_json_next(v), k++) {
        st = read_part(r, v, k, &text);
        if (k > 0) hd_buf_putc(&b, '\n');
        if (st == HD_OK) hd_buf_put_slice(&b, text);
    }
    if (st == HD_OK && k > 1) {
        text.n = b.len;
        text.p = b.failed ? NULL : hd_arena_dup(r->a, b.data ? b.data : "", b.len);
        if (!text.p) st = no_memory(r);
    }
    hd_buf_fini(&b);
    if (st == HD_OK) *out = text;
    return st;
}

static hd_status read_content(const reader *r, const hd_json *msg, hd_message *m)
{
    const hd_json *v = hd_json_get(msg, "content");
    m->content = hd_slice_of("", 0);
    if (hd_json_is_null(v)) {
        HD_CHECK(m->n_calls > 0 || m->has_reasoning, r->err, HD_E_INVAL,
                 "messages[%zu].content: %s, expected a string or text parts (null is for "
                 "assistant messages with tool_calls)",
                 r->at, v ? "found null" : "missing");
        return HD_OK;
    }
    m->has_content = true;
    if (hd_json_type(v) == HD_JSON_ARRAY) return read_parts(r, v, &m->content);
    HD_CHECK(hd_json_str(v, &m->content), r->err, HD_E_INVAL,
             "messages[%zu].content: found %s, expected a string, an array of text parts or null",
             r->at, hd_json_type_name(v));
    return HD_OK;
}

// ---- tool calls ----------------------------------------------------------------------------

static hd_status read_arguments(const reader *r, const hd_json *v, size_t k, hd_slice *out)
{
    hd_slice s = {"{}", 2};
    if (hd_json_type(v) == HD_JSON_OBJECT) {
        hd_buf b = {0};
        hd_json_put(&b, v, HD_JSON_PYTHON);
        s.n = b.len;
        s.p = b.failed ? NULL : hd_arena_dup(r->a, b.data, b.len);
        hd_buf_fini(&b);
        if (!s.p) return no_memory(r);
    } else if (!hd_json_is_null(v)) {
        hd_slice text;
        HD_CHECK(hd_json_str(v, &text), r->err, HD_E_INVAL,
                 "messages[%zu].tool_calls[%zu].function.arguments: found %s, expected a string or "
                 "an object",
                 r->at, k, hd_json_type_name(v));
        if (text.n > 0) s = text;
    }
    *out = s;
    return HD_OK;
}

static hd_status read_call(const reader *r, const hd_json *v, size_t k, hd_tool_call *out)
{
    const hd_json *fn = hd_json_get(v, "function"), *name = hd_json_get(fn, "name");
    const hd_json *type = hd_json_get(v, "type"), *id = hd_json_get(v, "id");
    hd_slice s;
    HD_CHECK(hd_json_type(v) == HD_JSON_OBJECT, r->err, HD_E_INVAL,
             "messages[%zu].tool_calls[%zu]: found %s, expected an object", r->at, k,
             hd_json_type_name(v));
    HD_CHECK(hd_json_is_null(type) || (hd_json_str(type, &s) && hd_slice_eq_str(s, "function")),
             r->err, HD_E_INVAL, "messages[%zu].tool_calls[%zu].type: expected \"function\"", r->at,
             k);
    HD_CHECK(hd_json_is_null(id) || hd_json_str(id, &out->id), r->err, HD_E_INVAL,
             "messages[%zu].tool_calls[%zu].id: found %s, expected a string", r->at, k,
             hd_json_type_name(id));
    HD_CHECK(hd_json_type(fn) == HD_JSON_OBJECT, r->err, HD_E_INVAL,
             "messages[%zu].tool_calls[%zu].function: %s%s, expected an object", r->at, k,
             fn ? "found " : "missing", fn ? hd_json_type_name(fn) : "");
    HD_CHECK(hd_json_str(name, &out->name) && out->name.n > 0, r->err, HD_E_INVAL,
             "messages[%zu].tool_calls[%zu].function.name: %s%s, expected a name", r->at, k,
             name ? "found " : "missing",
             !name         ? ""
             : out->name.p ? "an empty string"
                           : hd_json_type_name(name));
    return read_arguments(r, hd_json_get(fn, "arguments"), k, &out->arguments);
}

static hd_status read_calls(const reader *r, const hd_json *msg, hd_message *m)
{
    const hd_json *v = hd_json_get(msg, "tool_calls");
    if (hd_json_is_null(v)) return HD_OK;
    HD_CHECK(hd_json_type(v) == HD_JSON_ARRAY, r->err, HD_E_INVAL,
             "messages[%zu].tool_calls: found %s, expected an array", r->at, hd_json_type_name(v));
    size_t n = hd_json_len(v), k = 0;
    if (n == 0) return HD_OK;
    HD_CHECK(m->role == HD_ROLE_ASSISTANT, r->err, HD_E_INVAL,
             "messages[%zu].tool_calls: only assistant messages have tool calls", r->at);
    HD_CHECK(n <= MAX_CALLS, r->err, HD_E_LIMIT,
             "messages[%zu].tool_calls: found %zu calls, expected at most %d", r->at, n, MAX_CALLS);
    hd_tool_call *calls = hd_arena_alloc(r->a, n * sizeof(*calls));
    if (!calls) return no_memory(r);
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), k++)
        HD_TRY(read_call(r, c, k, &calls[k]));
    m->calls = calls;
    m->n_calls = n;
    return HD_OK;
}

// ---- messages ------------------------------------------------------------------------------

static hd_status read_prefix(const reader *r, const hd_json *msg, bool last, hd_message *m)
{
    const hd_json *v = hd_json_get(msg, "prefix");
    if (hd_json_is_null(v)) return HD_OK;
    HD_CHECK(hd_json_bool(v, &m->prefix), r->err, HD_E_INVAL,
             "messages[%zu].prefix: found %s, expected a boolean", r->at, hd_json_type_name(v));
    HD_CHECK(!m->prefix || (last && m->role == HD_ROLE_ASSISTANT), r->err, HD_E_INVAL,
             "messages[%zu].prefix: only a final assistant message can be continued", r->at);
    return HD_OK;
}

static hd_status read_message(const reader *r, const hd_json *msg, bool last, hd_message *m)
{
    bool has;
    HD_CHECK(hd_json_type(msg) == HD_JSON_OBJECT, r->err, HD_E_INVAL,
             "messages[%zu]: found %s, expected an object", r->at, hd_json_type_name(msg));
    HD_TRY(read_role(r, msg, &m->role));
    HD_TRY(read_calls(r, msg, m));
    if (m->role == HD_ROLE_ASSISTANT) {
        HD_TRY(optional_str(r, msg, "reasoning_content", &m->has_reasoning, &m->reasoning));
        if (!m->has_reasoning)
            HD_TRY(optional_str(r, msg, "reasoning", &m->has_reasoning, &m->reasoning));
    }
    HD_TRY(read_content(r, msg, m));
    HD_TRY(optional_str(r, msg, "tool_call_id", &has, &m->tool_call_id));
    HD_TRY(optional_str(r, msg, "name", &has, &m->name));
    return read_prefix(r, msg, last, m);
}

hd_status hd_conversation_parse(const hd_json *messages, size_t limit, hd_arena *a,
                                hd_conversation *out, hd_err *err)
{
    *out = (hd_conversation){.add_generation_prompt = true, .thinking = HD_UNSET};
    HD_CHECK(hd_json_type(messages) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "messages: %s%s, expected an array", messages ? "found " : "missing",
             messages ? hd_json_type_name(messages) : "");
    size_t n = hd_json_len(messages);
    HD_CHECK(n > 0, err, HD_E_INVAL, "messages: empty, expected at least one");
    HD_CHECK(n <= limit, err, HD_E_LIMIT, "messages: found %zu, expected at most %zu", n, limit);
    reader r = {a, err, 0};
    hd_message *list = hd_arena_alloc(a, n * sizeof(*list)); // n nodes exist: no overflow
    if (!list) return no_memory(&r);
    for (const hd_json *v = hd_json_first(messages); v; v = hd_json_next(v), r.at++)
        HD_TRY(read_message(&r, v, r.at + 1 == n, &list[r.at]));
    out->messages = list;
    out->n_messages = n;
    out->continue_final = list[n - 1].prefix;
    out->add_generation_prompt = !out->continue_final;
    return HD_OK;
}
