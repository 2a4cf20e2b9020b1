// DeepSeek V3.1, V3.1-Terminus and V3.2-Exp: one model that reasons on request.
//
//   BOS system | <User>q | <Assistant></think>a EOS | ... | <Assistant> (<think> or </think>)
//
// History never reasons: each turn that follows a user message carries </think>, and of its text
// only what follows the first </think> is kept. Tool definitions are written as the model card
// shows them. The assistant goes on after tool results without any token.
#include "models/chat/deepseek.h"

static const char name[] = "deepseek-v3.1";

// Model card of DeepSeek V3.1 (MIT), braces included. tests/tools/make_chat_golden.py knows its
// SHA-256.
static const char tool_rules[] =
    "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n" HD_DS_CALLS_BEGIN
        HD_DS_CALL_BEGIN "tool_call_name" HD_DS_SEP "tool_call_arguments" HD_DS_CALL_END
    "{{additional_tool_calls}}" HD_DS_CALLS_END "\n\nWhere:\n\n"
    "- `tool_call_name` must be an exact match to one of the available tools\n"
    "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters "
    "Schema\n"
    "- For multiple tool calls, chain them directly without separators or spaces\n";

static hd_status put_tools(hd_prompt *p, const hd_json *tools, hd_err *err)
{
    size_t i = 0;
    hd_prompt_trusted_str(p, "\n\n## Tools\nYou have access to the following tools:\n");
    for (const hd_json *v = hd_json_first(tools); v; v = hd_json_next(v), i++) {
        const hd_json *fn = hd_json_get(v, "function"), *params = hd_json_get(fn, "parameters");
        hd_slice fn_name, about = {"", 0};
        HD_CHECK(hd_json_str(hd_json_get(fn, "name"), &fn_name), err, HD_E_INVAL,
                 "tools[%zu].function.name: found %s, expected a string", i,
                 hd_json_type_name(hd_json_get(fn, "name")));
        (void)hd_json_str(hd_json_get(fn, "description"), &about);
        hd_prompt_trusted_str(p, "\n### ");
        hd_prompt_user(p, fn_name);
        hd_prompt_trusted_str(p, "\nDescription: ");
        hd_prompt_user(p, about);
        hd_prompt_trusted_str(p, "\n\nParameters: ");
        if (params)
            hd_chat_put_json(p, params);
        else
            hd_prompt_trusted_str(p, "{}");
        hd_prompt_trusted_str(p, "\n");
    }
    hd_prompt_trusted_str(p, tool_rules);
    return HD_OK;
}

static void put_calls(hd_prompt *p, const hd_message *m)
{
    hd_prompt_trusted_str(p, HD_DS_CALLS_BEGIN);
    for (size_t i = 0; i < m->n_calls; i++) {
        hd_prompt_trusted_str(p, HD_DS_CALL_BEGIN);
        hd_prompt_user(p, m->calls[i].name);
        hd_prompt_trusted_str(p, HD_DS_SEP);
        hd_prompt_user(p, m->calls[i].arguments);
        hd_prompt_trusted_str(p, HD_DS_CALL_END);
    }
    hd_prompt_trusted_str(p, HD_DS_CALLS_END);
}

// An open message in thinking mode is the beginning of the reasoning itself, unless the client
// gave reasoning and content apart.
static void put_open(const hd_conversation *c, hd_prompt *p, const hd_message *m, bool after_user)
{
    if (after_user) hd_prompt_trusted_str(p, HD_DS_ASSISTANT);
    if (after_user && !m->has_reasoning)
        hd_prompt_trusted_str(p, c->thinking == HD_YES ? HD_DS_THINK : HD_DS_THINK_END);
    hd_chat_put_open(p, m, HD_DS_THINK, HD_DS_THINK_END);
}

static void put_assistant(hd_prompt *p, const hd_message *m, bool after_user)
{
    if (after_user) hd_prompt_trusted_str(p, HD_DS_ASSISTANT HD_DS_THINK_END);
    hd_prompt_user(p, hd_text_after_first(m->content, HD_DS_THINK_END));
    if (m->n_calls > 0) put_calls(p, m);
    hd_prompt_trusted_str(p, HD_DS_EOS);
}

static hd_status render(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, name, HD_CHAT_TOOL_DEFS | HD_CHAT_TOOL_TURNS, err));
    bool after_user = false;
    hd_chat_put_bos(p, t);
    hd_ds_put_system(p, c, false);
    if (hd_chat_has_tools(c)) HD_TRY(put_tools(p, c->tools, err));
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        switch (m->role) {
        case HD_ROLE_SYSTEM:
            continue;
        case HD_ROLE_USER:
            hd_prompt_trusted_str(p, HD_DS_USER);
            hd_prompt_user(p, m->content);
            break;
        case HD_ROLE_ASSISTANT:
            if (hd_chat_is_open(c, i))
                put_open(c, p, m, after_user);
            else
                put_assistant(p, m, after_user);
            break;
        case HD_ROLE_TOOL:
            hd_prompt_trusted_str(p, HD_DS_OUTPUT_BEGIN);
            hd_prompt_user(p, m->content);
            hd_prompt_trusted_str(p, HD_DS_OUTPUT_END);
            break;
        }
        after_user = m->role == HD_ROLE_USER;
    }
    if (after_user && hd_chat_wants_turn(c)) {
        hd_prompt_trusted_str(p, HD_DS_ASSISTANT);
        hd_prompt_trusted_str(p, c->thinking == HD_YES ? HD_DS_THINK : HD_DS_THINK_END);
    }
    return hd_chat_done(p, err);
}

// The message before `end`, system messages left out; NULL when there is none.
static const hd_message *spoken_before(const hd_conversation *c, size_t end)
{
    while (end-- > 0)
        if (c->messages[end].role != HD_ROLE_SYSTEM) return &c->messages[end];
    return NULL;
}

static hd_think_start think(const hd_conversation *c)
{
    if (hd_chat_ends_in_reasoning(c)) return HD_THINK_OPEN;
    if (c->thinking != HD_YES || c->n_messages == 0) return HD_THINK_NONE;
    size_t end = c->n_messages - (c->continue_final ? 1 : 0);
    const hd_message *before = spoken_before(c, end), *open = &c->messages[c->n_messages - 1];
    bool after_user = before && before->role == HD_ROLE_USER;
    if (!c->continue_final)
        return after_user && c->add_generation_prompt ? HD_THINK_OPEN : HD_THINK_NONE;
    bool closed =
        open->has_reasoning || hd_slice_find(open->content, hd_slice_str(HD_DS_THINK_END), 0) >= 0;
    return after_user && !closed ? HD_THINK_OPEN : HD_THINK_NONE;
}

const hd_chat_template hd_chat_deepseek_v31 = {
    name, "DeepSeek V3.1 and V3.2-Exp; reasons when thinking is asked for", render, think};
