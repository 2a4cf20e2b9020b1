// Schemas: JSON dialects of generation requests. A schema parses a body into hd_gen_request and
// writes answers; it owns no connection and calls no engine. One row each in schemas/list.c.
#ifndef HADAL_SERVER_SCHEMA_H
#define HADAL_SERVER_SCHEMA_H

#include "kernels/base/json.h"
#include "server/config.h"
#include "server/gen.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_schema hd_schema;

typedef struct hd_call { // one request being answered; filled by parse, read by the writers
    const hd_schema *schema;
    const hd_config *cfg;
    const hd_model_facts *facts;
    const char *served_name;
    hd_gen_request rq;
    void *extra;     // the schema's own fields (details, best_of, ...), in the arena
    char id[80];     // "chatcmpl-..." where the dialect has ids
    int64_t created; // Unix seconds
} hd_call;

typedef struct hd_choice { // a finished choice, for answers in one piece
    hd_slice content, reasoning, stop;
    hd_finish finish;
    const hd_gen_delta *token; // per token, when the schema asked for them
    size_t n_tokens;
    const hd_token_out *prompt;
    size_t n_prompt;
    const int32_t *prompt_ids;
    hd_usage usage;
    uint64_t seed;
} hd_choice;

struct hd_schema {
    const char *name; // "openai_chat"
    const char *key;  // top-level key that selects it: "messages", "prompt", "inputs"
    bool keep_tokens; // choices carry per-token deltas
    // Errors are in the dialect's words; the message names the field, found and expected.
    hd_status (*parse)(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err);
    // Whole answer. n choices in order.
    void (*answer)(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
    // Streaming: before the first token (may write nothing), for each delta, at the end.
    void (*begin)(hd_buf *w, const hd_call *c, int32_t choice);
    void (*delta)(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d);
    void (*end)(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
    // Error object; in_stream: after the first byte, with the dialect's terminator (SM-123).
    void (*error)(hd_buf *w, const hd_err *e, int status, bool in_stream, hd_framing framing);
    int (*status)(const hd_err *e); // HTTP status of an error in this dialect (422 against 400)
};

extern const hd_schema *const hd_schema_list[]; // NULL-terminated, in order of precedence

// The default mapping (D3): hd_status to HTTP status and exit code.
int hd_http_status_of(hd_status s);
int hd_exit_code_of(hd_status s);

#ifdef __cplusplus
}
#endif

#endif
