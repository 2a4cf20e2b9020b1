// DeepSeek Coder v1 instruct: sections under "### Instruction:" and "### Response:".
//
// Without a system message the model's own system sentence is written. A system message stands
// where the conversation has it, with nothing behind it. Tools do not exist here.
#include "models/chat/render.h"

// From the model's template (DeepSeek licence).
static const char default_system[] =
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by "
    "Deepseek Company, and you only answer questions related to computer science. For politically "
    "sensitive questions, security and privacy issues, and other non-computer science questions, "
    "you will refuse to answer\n";

static hd_status render(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, "deepseek-coder", 0, err));
    bool has_system = false;
    for (size_t i = 0; i < c->n_messages; i++)
        has_system = has_system || c->messages[i].role == HD_ROLE_SYSTEM;
    hd_chat_put_bos(p, t);
    if (!has_system) hd_prompt_trusted_str(p, default_system);
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        if (m->role == HD_ROLE_USER) hd_prompt_trusted_str(p, "### Instruction:\n");
        if (m->role == HD_ROLE_ASSISTANT) hd_prompt_trusted_str(p, "### Response:\n");
        hd_prompt_user(p, m->content);
        if (hd_chat_is_open(c, i)) break;
        if (m->role == HD_ROLE_USER) hd_prompt_trusted_str(p, "\n");
        if (m->role == HD_ROLE_ASSISTANT) hd_prompt_trusted_str(p, "\n<|EOT|>\n");
    }
    if (hd_chat_wants_turn(c)) hd_prompt_trusted_str(p, "### Response:\n");
    return hd_chat_done(p, err);
}

const hd_chat_template hd_chat_deepseek_coder = {
    "deepseek-coder", "DeepSeek Coder v1 instruct (### Instruction: ... ### Response: ...)", render,
    hd_chat_think_none};
