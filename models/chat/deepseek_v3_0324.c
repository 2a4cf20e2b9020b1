// DeepSeek V3-0324 and R1-0528: the assistant token closes the user turn.
//
//   BOS system | <User>q<Assistant> | a EOS | ...
//
// So nothing is to be added for generation after a user message, and a turn after tool results has
// no token of its own. R1-0528 writes <think> itself. Tool definitions have no place here.
#include "models/chat/deepseek.h"

static void put_assistant(hd_prompt *p, const hd_message *m, bool open, bool reasons)
{
    if (open && reasons) {
        hd_chat_put_open(p, m, HD_DS_THINK "\n", "\n" HD_DS_THINK_END "\n\n");
        return;
    }
    hd_prompt_user(p, reasons ? hd_text_after_last(m->content, HD_DS_THINK_END) : m->content);
    if (open) return;
    if (m->n_calls > 0) hd_ds_put_calls(p, m);
    hd_prompt_trusted_str(p, HD_DS_EOS);
}

static hd_status render(const char *name, bool reasons, const hd_conversation *c,
                        const hd_tokenizer *t, hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, name, HD_CHAT_TOOL_TURNS, err));
    bool in_tool = false, after_user = false;
    hd_chat_put_bos(p, t);
    hd_ds_put_system(p, c, false);
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        switch (m->role) {
        case HD_ROLE_SYSTEM:
            continue;
        case HD_ROLE_USER:
            hd_prompt_trusted_str(p, HD_DS_USER);
            hd_prompt_user(p, m->content);
            hd_prompt_trusted_str(p, HD_DS_ASSISTANT);
            break;
        case HD_ROLE_ASSISTANT:
            if (in_tool) hd_prompt_trusted_str(p, HD_DS_OUTPUTS_END);
            put_assistant(p, m, hd_chat_is_open(c, i), reasons);
            break;
        case HD_ROLE_TOOL:
            hd_ds_put_output(p, m, !in_tool);
            break;
        }
        in_tool = m->role == HD_ROLE_TOOL;
        after_user = m->role == HD_ROLE_USER;
    }
    if (in_tool)
        hd_prompt_trusted_str(p, HD_DS_OUTPUTS_END);
    else if (hd_chat_wants_turn(c) && !after_user)
        hd_prompt_trusted_str(p, HD_DS_ASSISTANT);
    return hd_chat_done(p, err);
}

static hd_think_start think_r1(const hd_conversation *c)
{
    if (c->continue_final) return hd_chat_ends_in_reasoning(c) ? HD_THINK_OPEN : HD_THINK_NONE;
    return HD_THINK_DETECT;
}

static hd_status render_v3(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                           hd_err *err)
{
    return render("deepseek-v3-0324", false, c, t, p, err);
}

static hd_status render_r1(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p,
                           hd_err *err)
{
    return render("deepseek-r1-0528", true, c, t, p, err);
}

const hd_chat_template hd_chat_deepseek_v3_0324 = {"deepseek-v3-0324", "DeepSeek V3-0324",
                                                   render_v3, hd_chat_think_none};
const hd_chat_template hd_chat_deepseek_r1_0528 = {
    "deepseek-r1-0528", "DeepSeek R1-0528 and R1-0528-Qwen3-8B; the model writes <think>",
    render_r1, think_r1};
