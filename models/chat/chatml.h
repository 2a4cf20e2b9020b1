// ChatML turns and the tool layout of Qwen2.5 and Qwen3. Private to models/chat.
#ifndef HADAL_MODELS_CHAT_CHATML_H
#define HADAL_MODELS_CHAT_CHATML_H

#include "models/chat/render.h"

const char *hd_chatml_role(hd_role r); // not for tool results
void hd_chatml_put_head(hd_prompt *p, const char *role);
void hd_chatml_put_end(hd_prompt *p);
void hd_chatml_put_turn(hd_prompt *p, const hd_message *m, bool open);
// The "# Tools" section up to the end of the system turn.
void hd_chatml_put_tools(hd_prompt *p, const hd_json *tools);
void hd_chatml_put_call(hd_prompt *p, const hd_tool_call *call);
// Tool result i; neighbouring results share one user turn.
void hd_chatml_put_result(hd_prompt *p, const hd_conversation *c, size_t i);

#endif
