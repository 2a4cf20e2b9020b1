// Markup of the DeepSeek families V2.5 to V3.1. Private to models/chat. The bars are U+FF5C, the
// low lines U+2581.
#ifndef HADAL_MODELS_CHAT_DEEPSEEK_H
#define HADAL_MODELS_CHAT_DEEPSEEK_H

#include "models/chat/render.h"

#define HD_DS_USER          "<｜User｜>"
#define HD_DS_ASSISTANT     "<｜Assistant｜>"
#define HD_DS_EOS           "<｜end▁of▁sentence｜>"
#define HD_DS_CALLS_BEGIN   "<｜tool▁calls▁begin｜>"
#define HD_DS_CALLS_END     "<｜tool▁calls▁end｜>"
#define HD_DS_CALL_BEGIN    "<｜tool▁call▁begin｜>"
#define HD_DS_CALL_END      "<｜tool▁call▁end｜>"
#define HD_DS_SEP           "<｜tool▁sep｜>"
#define HD_DS_OUTPUTS_BEGIN "<｜tool▁outputs▁begin｜>"
#define HD_DS_OUTPUTS_END   "<｜tool▁outputs▁end｜>"
#define HD_DS_OUTPUT_BEGIN  "<｜tool▁output▁begin｜>"
#define HD_DS_OUTPUT_END    "<｜tool▁output▁end｜>"
#define HD_DS_THINK         "<think>"
#define HD_DS_THINK_END     "</think>"

// All system messages joined by blank lines, or only the last one. They stand before everything
// else wherever the conversation has them.
void hd_ds_put_system(hd_prompt *p, const hd_conversation *c, bool only_last);
// V3 style: calls with type and fenced JSON, joined by line feeds, between begin and end.
void hd_ds_put_calls(hd_prompt *p, const hd_message *m);
// V3 style tool result; `first` opens the block of results.
void hd_ds_put_output(hd_prompt *p, const hd_message *m, bool first);

#endif
