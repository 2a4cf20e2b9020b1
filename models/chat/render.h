// What the templates of this folder share: checks, small text cuts, and writing into a prompt.
// Private to models/chat.
//
// Bytes that a template writes itself are trusted (hd_prompt_trusted*); every byte that came from a
// client goes through hd_prompt_user, tool definitions and arguments included.
#ifndef HADAL_MODELS_CHAT_RENDER_H
#define HADAL_MODELS_CHAT_RENDER_H

#include "models/chat/chat.h"

// ---- checks --------------------------------------------------------------------------------

enum {
    HD_CHAT_TOOL_DEFS = 1,  // the template has a place for tool definitions
    HD_CHAT_TOOL_TURNS = 2, // it can write tool calls and tool results of the history
};
// Refuses what the template could only drop, and a final message that cannot be continued.
hd_status hd_chat_check(const hd_conversation *c, const char *name, unsigned can, hd_err *err);

static inline bool hd_chat_has_tools(const hd_conversation *c)
{
    return hd_json_len(c->tools) > 0;
}
// True when message i stays open at its end, so that the model continues it.
static inline bool hd_chat_is_open(const hd_conversation *c, size_t i)
{
    return c->continue_final && i + 1 == c->n_messages;
}
static inline bool hd_chat_wants_turn(const hd_conversation *c)
{
    return c->add_generation_prompt && !c->continue_final;
}
// True when the last message is continued in the middle of its reasoning.
bool hd_chat_ends_in_reasoning(const hd_conversation *c);

hd_think_start hd_chat_think_none(const hd_conversation *c); // for templates without reasoning

// ---- writing -------------------------------------------------------------------------------

// The model's own bos or eos as text; nothing when it has none.
void hd_chat_put_bos(hd_prompt *p, const hd_tokenizer *t);
void hd_chat_put_eos(hd_prompt *p, const hd_tokenizer *t);
void hd_chat_put_json(hd_prompt *p, const hd_json *v);               // as json.dumps
void hd_chat_put_json_indent(hd_prompt *p, const hd_json *v, int n); // as json.dumps(indent=n)
void hd_chat_put_json_str(hd_prompt *p, hd_slice s);                 // quoted and escaped
// The body of an open message. Reasoning, where there is some, stands between open and close; the
// closing marker follows only when there is content too.
void hd_chat_put_open(hd_prompt *p, const hd_message *m, const char *open, const char *close);
// HD_E_NOMEM when any write failed.
hd_status hd_chat_done(const hd_prompt *p, hd_err *err);

// ---- text ----------------------------------------------------------------------------------

// What follows the last (first) occurrence of the marker; all of s when there is none.
hd_slice hd_text_after_last(hd_slice s, const char *marker);
hd_slice hd_text_after_first(hd_slice s, const char *marker);
hd_slice hd_text_lstrip_lf(hd_slice s); // str.lstrip('\n')
hd_slice hd_text_rstrip_lf(hd_slice s);
hd_slice hd_text_strip(hd_slice s); // str.strip(): Unicode white space; s is valid UTF-8

// ---- the templates (listed in chat_list.c) -------------------------------------------------

extern const hd_chat_template hd_chat_deepseek_v25, hd_chat_deepseek_v3, hd_chat_deepseek_r1,
    hd_chat_deepseek_r1_distill;                                                  // deepseek_v3.c
extern const hd_chat_template hd_chat_deepseek_v3_0324, hd_chat_deepseek_r1_0528; // ..._0324.c
extern const hd_chat_template hd_chat_deepseek_v31, hd_chat_deepseek_llm, hd_chat_deepseek_coder;
extern const hd_chat_template hd_chat_llama3, hd_chat_llama31, hd_chat_llama32;
extern const hd_chat_template hd_chat_chatml, hd_chat_chatml_smollm2, hd_chat_qwen2, hd_chat_qwen25,
    hd_chat_qwen3;

// ---- choosing (chat_match.c) ---------------------------------------------------------------

// Names, so that the table of templates is known to chat_list.c alone; NULL when nothing fits.
// By the exact bytes of a known template text, and by the expressions that decide its layout
// (`failed` is set when memory ran out), and by the special tokens of a model without a text.
const char *hd_chat_match_hash(hd_slice text);
const char *hd_chat_match_text(hd_slice text, bool *failed);
const char *hd_chat_match_tokens(const hd_tokenizer *t);

#endif
