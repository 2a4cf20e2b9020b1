// What chat and text completions share: sampling fields, envelopes, usage, log-probabilities,
// errors.
#ifndef HADAL_SERVER_SCHEMAS_OPENAI_H
#define HADAL_SERVER_SCHEMAS_OPENAI_H

#include "server/schemas/common.h"

typedef struct hd_openai { // hd_call.extra of both
    bool logprobs;
    bool include_usage, continuous_usage;
    bool echo;
    hd_slice *echo_text; // what echo puts first, one per prompt
    bool drop_reasoning; // include_reasoning: false
    size_t *offset;      // completions: characters written so far, one per choice
} hd_openai;

// Allocates call->extra and reads everything but the prompt, the length and log-probabilities.
hd_status hd_openai_common(const hd_fields *f, hd_call *call, const char *id_prefix);

// {"id":...,"object":...,"created":...,"model":...,"system_fingerprint":...,"choices":[
void hd_openai_open(hd_buf *w, const hd_call *c, const char *object);
// "prompt_tokens":..., of n choices together; answers to one prompt count it once
void hd_openai_usage(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n);
// Ends a chunk behind its choices: the usage member where the stream has one, and the frame.
void hd_openai_chunk_close(hd_buf *w, const hd_call *c, const hd_gen_delta *d);
// Usage chunk where asked for, and the terminator.
void hd_openai_stream_end(hd_buf *w, const hd_call *c, const char *object, const hd_choice *choice,
                          size_t n);
// ,"finish_reason":"stop","stop_reason":null
void hd_openai_finish(hd_buf *w, hd_finish finish, hd_slice stop, int32_t stop_id);

void hd_openai_error(hd_buf *w, const hd_err *e, int status, bool in_stream, hd_framing framing);
int hd_openai_status(const hd_err *e);

#endif
