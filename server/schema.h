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

typedef struct hd_prompt_in { // one of several prompts
    hd_input_kind kind;       // HD_INPUT_TEXT or HD_INPUT_IDS
    hd_slice text;
    const int32_t *ids;
    size_t n_ids;
} hd_prompt_in;

#define HD_NO_SESSIONS "Invalid payload. stateful sessions not enabled"

enum { HD_MAX_CHOICES = 128 }; // prompts times n

typedef enum hd_call_shape { // what a route or a batch wants of the answer
    HD_SHAPE_ASKED,          // as the body says
    HD_SHAPE_UNARY,          // one piece, whatever the body says
    HD_SHAPE_OBJECT,         // one piece, never wrapped in an array (TGI's /generate)
    HD_SHAPE_STREAM,         // a stream, whatever the body says (TGI's /generate_stream)
} hd_call_shape;

typedef struct hd_call { // one request being answered; filled by parse, read by the writers
    // set before parse
    const hd_schema *schema;
    const hd_config *cfg;
    const hd_model_facts *facts;
    const char *served_name;
    const char *request_id;
    int64_t created; // Unix seconds
    hd_call_shape shape;
    bool quiet; // no comments on its stream: LMI's callers have not met them
    // set by parse
    hd_gen_request rq;
    const hd_prompt_in *prompts; // choice k answers prompts[k / rq.n]; NULL: all answer rq's own
    size_t n_prompts;
    bool keep_tokens; // choices carry per-token deltas
    void *extra;      // the schema's own fields (details, best_of, ...), in the arena
    char id[96];      // "chatcmpl-..." where the dialect has ids
} hd_call;

typedef struct hd_choice { // a finished choice, for answers in one piece
    hd_slice content, reasoning, stop;
    hd_finish finish;
    int32_t stop_id;           // the request's own stop id that ended it, or -1
    const hd_gen_delta *token; // per token, when parse asked for them (keep_tokens)
    size_t n_tokens;
    int32_t reasoning_tokens;
    const hd_token_out *prompt;
    size_t n_prompt;
    const int32_t *prompt_ids;
    hd_usage usage;
    uint64_t seed;
} hd_choice;

struct hd_schema {
    const char *name; // "openai_chat"
    const char *key;  // top-level key that selects it: "messages", "prompt", "inputs"
    // Errors are in the dialect's words; the message names the field, found and expected.
    hd_status (*parse)(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err);
    // Whole answer. n choices in order.
    void (*answer)(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
    // Streaming: before the first token (may write nothing), for each delta (tokens, text and the
    // end of a choice), when all choices are done.
    void (*begin)(hd_buf *w, const hd_call *c, int32_t choice);
    void (*delta)(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d);
    void (*end)(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
    // Error object; in_stream: after the first byte, with the dialect's terminator (SM-123).
    void (*error)(hd_buf *w, const hd_err *e, int status, bool in_stream, hd_framing framing);
    int (*status)(const hd_err *e); // HTTP status of an error in this dialect (422 against 400)
};

// Strict mode: HD_E_INVAL names the first field that the schema does not know, and the nearest one.
hd_status hd_schema_strict(const hd_schema *s, const hd_json *body, hd_err *err);

extern const hd_schema *const hd_schema_list[]; // NULL-terminated, in order of precedence
extern const hd_schema hd_schema_openai_chat, hd_schema_openai_completions, hd_schema_tgi,
    hd_schema_lmi;

// The schema of a body by its top-level keys (SM-93). HD_E_INVAL names what is accepted.
hd_status hd_schema_pick(const hd_json *body, hd_inputs_profile profile, const hd_schema **out,
                         hd_err *err);

// The default mapping (D3): hd_status to HTTP status and exit code.
int hd_http_status_of(hd_status s);
int hd_exit_code_of(hd_status s);

#ifdef __cplusplus
}
#endif

#endif
