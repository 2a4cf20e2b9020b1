// Qwen3 (the hybrid models of April 2025): ChatML, tools, reasoning that lives as long as the
// question.
//
// Assistant turns after the last real question keep their reasoning, earlier ones lose it. A
// message gives its reasoning apart, or in its content before </think>. With thinking switched off
// the prompt ends in an empty reasoning block; otherwise the model writes <think> itself.
#include "models/chat/chatml.h"

#define THINK     "<think>"
#define THINK_END "</think>"

static void put_system(hd_prompt *p, const hd_conversation *c)
{
    bool own = c->messages[0].role == HD_ROLE_SYSTEM, tools = hd_chat_has_tools(c);
    if (!own && !tools) return;
    hd_chatml_put_head(p, "system");
    if (own) hd_prompt_user(p, c->messages[0].content);
    if (own && tools) hd_prompt_trusted_str(p, "\n\n");
    if (tools)
        hd_chatml_put_tools(p, c->tools);
    else
        hd_chatml_put_end(p);
}

static bool ends_with(hd_slice s, const char *suffix)
{
    hd_slice x = hd_slice_str(suffix);
    return s.n >= x.n && hd_slice_eq(hd_slice_of(s.p + s.n - x.n, x.n), x);
}

// Index of the last user message that is not a tool result in disguise; the last index when there
// is none.
static size_t last_query(const hd_conversation *c)
{
    for (size_t i = c->n_messages; i-- > 0;) {
        const hd_message *m = &c->messages[i];
        if (m->role != HD_ROLE_USER) continue;
        if (hd_slice_starts(m->content, hd_slice_str("<tool_response>")) &&
            ends_with(m->content, "</tool_response>"))
            continue;
        return i;
    }
    return c->n_messages - 1;
}

typedef struct parts {
    hd_slice reasoning, content;
} parts;

// Reasoning inside the content stands between the last <think> before the first </think> and that.
static parts parts_of(const hd_message *m)
{
    parts r = {hd_slice_of("", 0), m->content};
    if (m->has_reasoning) {
        r.reasoning = m->reasoning;
        return r;
    }
    ptrdiff_t end = hd_slice_find(m->content, hd_slice_str(THINK_END), 0);
    if (end < 0) return r;
    hd_slice before = hd_text_rstrip_lf(hd_slice_of(m->content.p, (size_t)end));
    r.reasoning = hd_text_lstrip_lf(hd_text_after_last(before, THINK));
    r.content = hd_text_lstrip_lf(hd_text_after_last(m->content, THINK_END));
    return r;
}

static void put_reasoning(hd_prompt *p, hd_slice reasoning)
{
    hd_prompt_trusted_str(p, THINK "\n");
    hd_prompt_user(p, hd_text_rstrip_lf(hd_text_lstrip_lf(reasoning)));
}

static void put_assistant(hd_prompt *p, const hd_conversation *c, size_t i, bool after_query)
{
    const hd_message *m = &c->messages[i];
    bool last = i + 1 == c->n_messages;
    parts r = parts_of(m);
    hd_chatml_put_head(p, "assistant");
    if (last && hd_chat_ends_in_reasoning(c)) {
        put_reasoning(p, r.reasoning);
        return;
    }
    if (after_query && (last || r.reasoning.n > 0)) {
        put_reasoning(p, r.reasoning);
        hd_prompt_trusted_str(p, "\n" THINK_END "\n\n");
        hd_prompt_user(p, hd_text_lstrip_lf(r.content));
    } else {
        hd_prompt_user(p, r.content);
    }
    for (size_t k = 0; k < m->n_calls; k++) {
        if (k > 0 || r.content.n > 0) hd_prompt_trusted_str(p, "\n");
        hd_chatml_put_call(p, &m->calls[k]);
    }
    if (!hd_chat_is_open(c, i)) hd_chatml_put_end(p);
}

static hd_status render(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p, hd_err *err)
{
    (void)t;
    HD_TRY(hd_chat_check(c, "qwen3", HD_CHAT_TOOL_DEFS | HD_CHAT_TOOL_TURNS, err));
    size_t query = last_query(c);
    put_system(p, c);
    for (size_t i = c->messages[0].role == HD_ROLE_SYSTEM ? 1 : 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        if (m->role == HD_ROLE_TOOL)
            hd_chatml_put_result(p, c, i);
        else if (m->role == HD_ROLE_ASSISTANT)
            put_assistant(p, c, i, i > query);
        else
            hd_chatml_put_turn(p, m, false);
    }
    if (hd_chat_wants_turn(c)) {
        hd_chatml_put_head(p, "assistant");
        if (c->thinking == HD_NO) hd_prompt_trusted_str(p, THINK "\n\n" THINK_END "\n\n");
    }
    return hd_chat_done(p, err);
}

static hd_think_start think(const hd_conversation *c)
{
    if (c->continue_final) return hd_chat_ends_in_reasoning(c) ? HD_THINK_OPEN : HD_THINK_NONE;
    return c->add_generation_prompt && c->thinking == HD_NO ? HD_THINK_NONE : HD_THINK_DETECT;
}

const hd_chat_template hd_chat_qwen3 = {
    "qwen3", "Qwen3 hybrid models: tools, reasoning on unless switched off", render, think};
