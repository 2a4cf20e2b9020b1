// ChatML: plain, with a default system turn (SmolLM2, Qwen2), and with tools (Qwen2.5).
//
//   <|im_start|>role LF text <|im_end|> LF | ... | <|im_start|>assistant LF
//
// Qwen3 is in qwen3.c; what both share of the tool layout is here. The plain forms have no place
// for tools and refuse them.
#include "models/chat/chatml.h"

// ---- shared with qwen3.c -------------------------------------------------------------------

void hd_chatml_put_head(hd_prompt *p, const char *role)
{
    hd_prompt_trusted_str(p, "<|im_start|>");
    hd_prompt_trusted_str(p, role);
    hd_prompt_trusted_str(p, "\n");
}

void hd_chatml_put_end(hd_prompt *p)
{
    hd_prompt_trusted_str(p, "<|im_end|>\n");
}

const char *hd_chatml_role(hd_role r)
{
    return r == HD_ROLE_SYSTEM ? "system" : r == HD_ROLE_USER ? "user" : "assistant";
}

void hd_chatml_put_tools(hd_prompt *p, const hd_json *tools)
{
    hd_prompt_trusted_str(p, "# Tools\n\nYou may call one or more functions to assist with the "
                             "user query.\n\nYou are provided with function signatures within "
                             "<tools></tools> XML tags:\n<tools>");
    for (const hd_json *v = hd_json_first(tools); v; v = hd_json_next(v)) {
        hd_prompt_trusted_str(p, "\n");
        hd_chat_put_json(p, v);
    }
    hd_prompt_trusted_str(p, "\n</tools>\n\nFor each function call, return a json object with "
                             "function name and arguments within <tool_call></tool_call> XML "
                             "tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
                             "<args-json-object>}\n</tool_call>");
    hd_chatml_put_end(p);
}

void hd_chatml_put_call(hd_prompt *p, const hd_tool_call *call)
{
    hd_prompt_trusted_str(p, "<tool_call>\n{\"name\": \"");
    hd_prompt_user(p, call->name);
    hd_prompt_trusted_str(p, "\", \"arguments\": ");
    hd_prompt_user(p, call->arguments);
    hd_prompt_trusted_str(p, "}\n</tool_call>");
}

static bool is_tool(const hd_conversation *c, size_t i)
{
    return i < c->n_messages && c->messages[i].role == HD_ROLE_TOOL;
}

void hd_chatml_put_result(hd_prompt *p, const hd_conversation *c, size_t i)
{
    if (i == 0 || !is_tool(c, i - 1)) hd_prompt_trusted_str(p, "<|im_start|>user");
    hd_prompt_trusted_str(p, "\n<tool_response>\n");
    hd_prompt_user(p, c->messages[i].content);
    hd_prompt_trusted_str(p, "\n</tool_response>");
    if (!is_tool(c, i + 1)) hd_chatml_put_end(p);
}

void hd_chatml_put_turn(hd_prompt *p, const hd_message *m, bool open)
{
    hd_chatml_put_head(p, hd_chatml_role(m->role));
    hd_prompt_user(p, m->content);
    if (!open) hd_chatml_put_end(p);
}

// ---- without tools -------------------------------------------------------------------------

static hd_status render_plain(const char *name, const char *default_system,
                              const hd_conversation *c, hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, name, 0, err));
    if (default_system && c->messages[0].role != HD_ROLE_SYSTEM) {
        hd_chatml_put_head(p, "system");
        hd_prompt_trusted_str(p, default_system);
        hd_chatml_put_end(p);
    }
    for (size_t i = 0; i < c->n_messages; i++)
        hd_chatml_put_turn(p, &c->messages[i], hd_chat_is_open(c, i));
    if (hd_chat_wants_turn(c)) hd_chatml_put_head(p, "assistant");
    return hd_chat_done(p, err);
}

static hd_status render_chatml(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                               hd_err *err)
{
    (void)t;
    return render_plain("chatml", NULL, c, p, err);
}

static hd_status render_smollm2(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                                hd_err *err)
{
    (void)t;
    return render_plain("chatml-smollm2",
                        "You are a helpful AI assistant named SmolLM, trained by Hugging Face", c,
                        p, err);
}

static hd_status render_qwen2(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                              hd_err *err)
{
    (void)t;
    return render_plain("qwen2", "You are a helpful assistant.", c, p, err);
}

// ---- Qwen2.5 -------------------------------------------------------------------------------

static void put_qwen25_system(hd_prompt *p, const hd_conversation *c)
{
    hd_chatml_put_head(p, "system");
    if (c->messages[0].role == HD_ROLE_SYSTEM)
        hd_prompt_user(p, c->messages[0].content);
    else
        hd_prompt_trusted_str(
            p, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    if (!hd_chat_has_tools(c)) {
        hd_chatml_put_end(p);
        return;
    }
    hd_prompt_trusted_str(p, "\n\n");
    hd_chatml_put_tools(p, c->tools);
}

static void put_qwen25_calls(hd_prompt *p, const hd_message *m)
{
    hd_prompt_trusted_str(p, "<|im_start|>assistant");
    if (m->content.n > 0) {
        hd_prompt_trusted_str(p, "\n");
        hd_prompt_user(p, m->content);
    }
    for (size_t i = 0; i < m->n_calls; i++) {
        hd_prompt_trusted_str(p, "\n");
        hd_chatml_put_call(p, &m->calls[i]);
    }
    hd_chatml_put_end(p);
}

static hd_status render_qwen25(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                               hd_err *err)
{
    (void)t;
    HD_TRY(hd_chat_check(c, "qwen2.5", HD_CHAT_TOOL_DEFS | HD_CHAT_TOOL_TURNS, err));
    put_qwen25_system(p, c);
    for (size_t i = c->messages[0].role == HD_ROLE_SYSTEM ? 1 : 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        if (m->role == HD_ROLE_TOOL)
            hd_chatml_put_result(p, c, i);
        else if (m->n_calls > 0)
            put_qwen25_calls(p, m);
        else
            hd_chatml_put_turn(p, m, hd_chat_is_open(c, i));
    }
    if (hd_chat_wants_turn(c)) hd_chatml_put_head(p, "assistant");
    return hd_chat_done(p, err);
}

const hd_chat_template hd_chat_chatml = {"chatml", "plain ChatML without a default system turn",
                                         render_chatml, hd_chat_think_none};
const hd_chat_template hd_chat_chatml_smollm2 = {"chatml-smollm2",
                                                 "ChatML with SmolLM2's default system turn",
                                                 render_smollm2, hd_chat_think_none};
const hd_chat_template hd_chat_qwen2 = {"qwen2", "ChatML with Qwen2's default system turn",
                                        render_qwen2, hd_chat_think_none};
const hd_chat_template hd_chat_qwen25 = {"qwen2.5",
                                         "ChatML with Qwen2.5's default system turn and tools",
                                         render_qwen25, hd_chat_think_none};
