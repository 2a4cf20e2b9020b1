// Llama 3, and 3.1 to 3.3 with their preamble of dates and tools.
//
//   BOS | <start_header>role<end_header> LF LF text <eot> | ... | <start_header>assistant...
//
// Texts are stripped of white space on both sides, as the shipped templates do. From 3.1 on the
// system turn always exists; tool definitions go into the first user message (or the system turn
// when the variable tools_in_user_message is false), a turn holds one tool call and no text beside
// it, and results are turns of role ipython. Built-in tools (brave_search, ...) are not known here.
#include "kernels/base/clock.h"
#include "models/chat/render.h"

#include <stdio.h>

#define EOT "<|eot_id|>"

static void put_header(hd_prompt *p, const char *role)
{
    hd_prompt_trusted_str(p, "<|start_header_id|>");
    hd_prompt_trusted_str(p, role);
    hd_prompt_trusted_str(p, "<|end_header_id|>\n\n");
}

static const char *role_text(hd_role r)
{
    return r == HD_ROLE_SYSTEM ? "system" : r == HD_ROLE_USER ? "user" : "assistant";
}

// A turn of plain text; an open one lacks its end.
static void put_turn(hd_prompt *p, const hd_message *m, bool open)
{
    put_header(p, role_text(m->role));
    hd_prompt_user(p, hd_text_strip(m->content));
    if (!open) hd_prompt_trusted_str(p, EOT);
}

static hd_status render_3(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                          hd_err *err)
{
    HD_TRY(hd_chat_check(c, "llama3", 0, err));
    hd_chat_put_bos(p, t);
    for (size_t i = 0; i < c->n_messages; i++)
        put_turn(p, &c->messages[i], hd_chat_is_open(c, i));
    if (hd_chat_wants_turn(c)) put_header(p, "assistant");
    return hd_chat_done(p, err);
}

// ---- 3.1 and later -------------------------------------------------------------------------

// "26 Jul 2024" out of "2024-07-26T...".
static void date_of(const char *rfc3339, char out[16])
{
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int month = (rfc3339[5] - '0') * 10 + rfc3339[6] - '0';
    HD_ASSERT(month >= 1 && month <= 12);
    snprintf(out, 16, "%.2s %s %.4s", rfc3339 + 8, months[month - 1], rfc3339);
}

// The conversation's date; else the variable date_string; else `fallback`, or today (UTC) if NULL.
static void put_date(hd_prompt *p, const hd_conversation *c, const char *fallback)
{
    hd_slice var;
    if (c->date) {
        hd_prompt_user(p, hd_slice_str(c->date));
    } else if (hd_json_str(hd_json_get(c->vars, "date_string"), &var)) {
        hd_prompt_user(p, var);
    } else if (fallback) {
        hd_prompt_trusted_str(p, fallback);
    } else {
        char now[32], date[16];
        hd_wall_text(now);
        date_of(now, date);
        hd_prompt_trusted_str(p, date);
    }
}

static void put_tools(hd_prompt *p, const hd_json *tools)
{
    hd_prompt_trusted_str(p, "Respond in the format {\"name\": function name, \"parameters\": "
                             "dictionary of argument name and its value}.Do not use "
                             "variables.\n\n");
    for (const hd_json *v = hd_json_first(tools); v; v = hd_json_next(v)) {
        hd_chat_put_json_indent(p, v, 4);
        hd_prompt_trusted_str(p, "\n\n");
    }
}

static void put_system(hd_prompt *p, const hd_conversation *c, const char *fallback_date,
                       bool tools_here)
{
    put_header(p, "system");
    if (hd_chat_has_tools(c)) hd_prompt_trusted_str(p, "Environment: ipython\n");
    hd_prompt_trusted_str(p, "Cutting Knowledge Date: December 2023\nToday Date: ");
    put_date(p, c, fallback_date);
    hd_prompt_trusted_str(p, "\n\n");
    if (tools_here) {
        hd_prompt_trusted_str(p, "You have access to the following functions. To call a function, "
                                 "please respond with JSON for a function call.");
        put_tools(p, c->tools);
    }
    if (c->messages[0].role == HD_ROLE_SYSTEM)
        hd_prompt_user(p, hd_text_strip(c->messages[0].content));
    hd_prompt_trusted_str(p, EOT);
}

static void put_first_user(hd_prompt *p, const hd_conversation *c, const hd_message *m)
{
    put_header(p, "user");
    hd_prompt_trusted_str(p, "Given the following functions, please respond with a JSON for a "
                             "function call with its proper arguments that best answers the given "
                             "prompt.\n\n");
    put_tools(p, c->tools);
    hd_prompt_user(p, hd_text_strip(m->content));
    hd_prompt_trusted_str(p, EOT);
}

static void put_call(hd_prompt *p, const hd_tool_call *call)
{
    put_header(p, "assistant");
    hd_prompt_trusted_str(p, "{\"name\": \"");
    hd_prompt_user(p, call->name);
    hd_prompt_trusted_str(p, "\", \"parameters\": ");
    hd_prompt_user(p, call->arguments);
    hd_prompt_trusted_str(p, "}" EOT);
}

static hd_status put_message(hd_prompt *p, const hd_conversation *c, size_t i, const char *name,
                             hd_err *err)
{
    const hd_message *m = &c->messages[i];
    HD_CHECK(m->n_calls <= 1, err, HD_E_UNSUPPORTED,
             "messages[%zu].tool_calls: chat template '%s' holds one call per message, found %zu",
             i, name, m->n_calls);
    if (m->n_calls == 1) {
        put_call(p, m->calls);
    } else if (m->role == HD_ROLE_TOOL) {
        put_header(p, "ipython");
        hd_chat_put_json_str(p, m->content);
        hd_prompt_trusted_str(p, EOT);
    } else {
        put_turn(p, m, hd_chat_is_open(c, i));
    }
    return HD_OK;
}

static hd_status render_31(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                           const char *name, const char *fallback_date, hd_err *err)
{
    HD_TRY(hd_chat_check(c, name, HD_CHAT_TOOL_DEFS | HD_CHAT_TOOL_TURNS, err));
    bool in_user = true, tools = hd_chat_has_tools(c);
    (void)hd_json_bool(hd_json_get(c->vars, "tools_in_user_message"), &in_user);
    size_t i = c->messages[0].role == HD_ROLE_SYSTEM ? 1 : 0;
    hd_chat_put_bos(p, t);
    put_system(p, c, fallback_date, tools && !in_user);
    if (tools && in_user) {
        HD_CHECK(i < c->n_messages && c->messages[i].role == HD_ROLE_USER, err, HD_E_UNSUPPORTED,
                 "tools: chat template '%s' writes them into the first message after the system "
                 "message, which must have role user",
                 name);
        put_first_user(p, c, &c->messages[i++]);
    }
    for (; i < c->n_messages; i++)
        HD_TRY(put_message(p, c, i, name, err));
    if (hd_chat_wants_turn(c)) put_header(p, "assistant");
    return hd_chat_done(p, err);
}

static hd_status render_llama31(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                                hd_err *err)
{
    return render_31(c, t, p, "llama3.1", "26 Jul 2024", err);
}

static hd_status render_llama32(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                                hd_err *err)
{
    return render_31(c, t, p, "llama3.2", NULL, err);
}

const hd_chat_template hd_chat_llama3 = {"llama3", "Llama 3: turns without preamble", render_3,
                                         hd_chat_think_none};
const hd_chat_template hd_chat_llama31 = {
    "llama3.1", "Llama 3.1 and 3.3: preamble with tools and the date 26 Jul 2024", render_llama31,
    hd_chat_think_none};
const hd_chat_template hd_chat_llama32 = {"llama3.2",
                                          "Llama 3.2: as llama3.1 with today's date (UTC)",
                                          render_llama32, hd_chat_think_none};
