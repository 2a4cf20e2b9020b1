// Chat templates: render a conversation into a prompt, split the model's text into reasoning and
// content.
//
// Templates are C per family, chosen by a documented rule (chat_list.c): an explicit name; else the
// fingerprint of the model's own template text; else the family's special tokens. What matches none
// is a start-up error naming the option. Templates are immutable and stateless: any thread.
#ifndef HADAL_MODELS_CHAT_CHAT_H
#define HADAL_MODELS_CHAT_CHAT_H

#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "models/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_role { HD_ROLE_SYSTEM, HD_ROLE_USER, HD_ROLE_ASSISTANT, HD_ROLE_TOOL } hd_role;

typedef struct hd_tool_call {
    hd_slice id, name;
    hd_slice arguments; // JSON text, Python json.dumps spelling when it came as an object
} hd_tool_call;

typedef struct hd_message { // everything borrowed
    hd_role role;
    hd_slice content;
    bool has_content; // false: null or absent
    hd_slice reasoning;
    bool has_reasoning;
    const hd_tool_call *calls;
    size_t n_calls;
    hd_slice tool_call_id, name;
    bool prefix; // assistant: to be continued
} hd_message;

typedef enum hd_tristate { HD_UNSET = -1, HD_NO = 0, HD_YES = 1 } hd_tristate;

typedef struct hd_conversation {
    const hd_message *messages;
    size_t n_messages;
    const hd_json *tools;       // array, or NULL
    bool add_generation_prompt; // open an assistant turn at the end
    bool continue_final;        // leave the last assistant message open; no turn is opened then
    hd_tristate thinking;       // enable_thinking / thinking
    const hd_json *vars;        // further template variables, or NULL
    const char *date;           // "26 Jul 2024" for templates that print one; NULL: today
} hd_conversation;

typedef enum hd_piece_kind {
    HD_PIECE_CONTENT,
    HD_PIECE_REASONING,
    HD_PIECE_TOOL_CALL
} hd_piece_kind;
typedef struct hd_piece {
    hd_piece_kind kind;
    hd_slice text; // borrowed from the splitter until the next push
} hd_piece;

// How a template's model marks its reasoning.
typedef enum hd_think_start {
    HD_THINK_NONE,   // no reasoning markup: all is content
    HD_THINK_OPEN,   // the prompt ended inside the reasoning (template wrote <think>)
    HD_THINK_DETECT, // reasoning only if the output begins with <think>
} hd_think_start;

// Splitter of streamed text. Chunk boundaries never change what comes out; newlines around the
// markers are dropped. Zero bytes are lost except the markers. When memory runs out, held.failed
// is set for good and nothing more comes out.
typedef struct hd_split {
    hd_think_start start;
    int state;
    size_t matched; // length of the marker's beginning that `held` ends in
    hd_buf held, out;
} hd_split;
void hd_split_init(hd_split *s, hd_think_start start);
// At most 2 pieces per call; returns how many. hd_split_end gives what was held back.
size_t hd_split_push(hd_split *s, hd_slice text, hd_piece out[2]);
size_t hd_split_end(hd_split *s, hd_piece out[2]);
void hd_split_fini(hd_split *s);

typedef struct hd_chat_template {
    const char *name;    // value of --chat-template
    const char *summary; // one line for --help
    hd_status (*render)(const hd_conversation *c, const hd_tokenizer *t, hd_prompt *out,
                        hd_err *err);
    // State of the splitter after this prompt.
    hd_think_start (*think)(const hd_conversation *c);
} hd_chat_template;

extern const hd_chat_template *const hd_chat_list[]; // NULL-terminated
const hd_chat_template *hd_chat_by_name(const char *name);
// why receives how the choice was made, for the start-up log ("name", "template hash", "template
// structure", "special tokens"); may be NULL. HD_E_UNSUPPORTED when nothing matches; the message
// names --chat-template and its values.
hd_status hd_chat_select(const hd_model_src *src, const hd_tokenizer *t, const char *wanted,
                         const hd_chat_template **out, const char **why, hd_err *err);

// ---- conversations from JSON ---------------------------------------------------------------

// Reads OpenAI-style "messages" (strings, null or text parts; tool_calls with arguments as string
// or object; reasoning_content or reasoning). Messages and derived text live in a, the rest is
// borrowed from the document. limit: most messages. Errors name the field
// ("messages[2].tool_calls[0].function.name: ...").
//
// Sets every field of *out: a turn is to be opened (add_generation_prompt), or the last message to
// be continued when it carries prefix: true; no tools, no variables, thinking unset.
hd_status hd_conversation_parse(const hd_json *messages, size_t limit, hd_arena *a,
                                hd_conversation *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
