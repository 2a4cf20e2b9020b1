// DeepSeek LLM and MoE chat, V2 chat, Coder-V2 instruct: plain words instead of role tokens.
//
//   BOS | system LF LF | User: q LF LF | Assistant: a EOS | ... | Assistant:
//
// No blank after the last colon: with one, the small models answer in the wrong language. Tools do
// not exist here.
#include "models/chat/render.h"

static hd_status render(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *p, hd_err *err)
{
    HD_TRY(hd_chat_check(c, "deepseek-llm", 0, err));
    hd_chat_put_bos(p, t);
    for (size_t i = 0; i < c->n_messages; i++) {
        const hd_message *m = &c->messages[i];
        if (m->role == HD_ROLE_USER) hd_prompt_trusted_str(p, "User: ");
        if (m->role == HD_ROLE_ASSISTANT) hd_prompt_trusted_str(p, "Assistant: ");
        hd_prompt_user(p, m->content);
        if (hd_chat_is_open(c, i)) break;
        if (m->role == HD_ROLE_ASSISTANT)
            hd_chat_put_eos(p, t);
        else
            hd_prompt_trusted_str(p, "\n\n");
    }
    if (hd_chat_wants_turn(c)) hd_prompt_trusted_str(p, "Assistant:");
    return hd_chat_done(p, err);
}

const hd_chat_template hd_chat_deepseek_llm = {
    "deepseek-llm", "DeepSeek LLM and MoE chat, V2 chat, Coder-V2 (User: ... Assistant: ...)",
    render, hd_chat_think_none};
