// One generation as the user sees it: text in, text pieces out.
//
// This is where a request meets the engine: rendering, encoding, submit, detokenizing, stop
// strings, splitting off reasoning. Used by HTTP handlers and by the command line alike. A hd_gen
// belongs to one thread (the connection's); hd_gen_cancel may come from any.
#ifndef HADAL_SERVER_GEN_H
#define HADAL_SERVER_GEN_H

#include "engine/engine.h"
#include "kernels/base/mem.h"
#include "models/chat/chat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_input_kind { HD_INPUT_TEXT, HD_INPUT_IDS, HD_INPUT_CHAT } hd_input_kind;
typedef enum hd_framing { HD_FRAME_DEFAULT, HD_FRAME_SSE, HD_FRAME_JSONL } hd_framing;
// Callers shorten prompts by parsing the message of a length error, so it comes in known words.
typedef enum hd_length_words { HD_WORDS_OPENAI, HD_WORDS_TGI } hd_length_words;

typedef struct hd_gen_request { // what a schema parses a body into; everything borrowed
    hd_input_kind kind;
    hd_slice text;
    const int32_t *ids;
    size_t n_ids;
    hd_conversation chat;
    bool parse_special;     // text: added tokens spelled in it become themselves
    int32_t max_new_tokens; // 0: as many as fit
    int32_t truncate;       // keep the last N prompt tokens; 0: off
    hd_sample_params sample;
    bool has_seed; // otherwise one is drawn and reported
    const hd_logit_bias *bias;
    size_t n_bias;
    const hd_slice *stop;
    size_t n_stop;
    bool keep_stop; // the stop string stays in the text
    const int32_t *stop_ids;
    size_t n_stop_ids;
    bool show_special;    // special tokens appear in the text
    bool split_reasoning; // chat: separate <think> from content
    int32_t n;            // choices
    bool stream;
    hd_framing framing;
    bool prompt_logprobs;
    bool echo;          // the prompt's text comes first
    bool include_usage; // streams: one more event with usage
    hd_slice model;     // as the caller spelled it; echoed
    int64_t deadline_ns;
    int32_t priority;    // higher first
    uint64_t cache_salt; // the prompt is shared with requests of the same salt alone
    bool no_speculation;
    hd_length_words words;
    const char *id; // request id
} hd_gen_request;

void hd_gen_request_init(hd_gen_request *rq, const hd_model_facts *facts); // the model's defaults

typedef struct hd_gen hd_gen;

typedef enum hd_gen_kind {
    HD_GEN_WAIT,  // nothing yet
    HD_GEN_TOKEN, // one token: text may be empty (held back: UTF-8, stop string, marker)
    HD_GEN_TEXT,  // text that was held back, without a token of its own (only behind the last)
    HD_GEN_DONE,
    HD_GEN_ERROR
} hd_gen_kind;

typedef struct hd_gen_delta { // slices live until the next call
    hd_gen_kind kind;
    hd_token_out token;  // HD_GEN_TOKEN
    hd_slice token_text; // the token's own bytes, lossy UTF-8
    bool special;
    bool last;         // no token follows: HD_GEN_TEXT or the end comes next
    bool ends;         // a stop id: it ends the answer and is not part of its text
    hd_piece piece[3]; // what became visible with it, in order
    size_t n_pieces;
    hd_finish finish; // HD_GEN_DONE
    hd_slice stop;    // the stop string that matched, or empty
    int32_t stop_id;  // the request's own stop id that ended it, or -1
    hd_usage usage;   // tokens so far; times at the end
    uint64_t seed;
    hd_err error; // HD_GEN_ERROR
} hd_gen_delta;

// The ids of a request's prompt, as hd_gen_start would submit them. Appends to out.
hd_status hd_gen_encode(const hd_model_facts *f, const hd_gen_request *rq, hd_ids *out,
                        hd_err *err);

// Encodes and submits choice number `choice` (its seed is seed + choice). Blocking only for text
// work. HD_E_LIMIT messages give the prompt's length and the limit.
hd_status hd_gen_start(hd_engine *e, const hd_gen_request *rq, int32_t choice, hd_gen **out,
                       hd_err *err);
hd_gen_kind hd_gen_next(hd_gen *g, hd_gen_delta *d, int timeout_ms);
void hd_gen_cancel(hd_gen *g);
void hd_gen_close(hd_gen *g); // NULL is legal; cancels what still runs

const int32_t *hd_gen_prompt(const hd_gen *g, size_t *n);               // ids as submitted
const hd_token_out *hd_gen_prompt_logprobs(const hd_gen *g, size_t *n); // when asked, after DONE

#ifdef __cplusplus
}
#endif

#endif
