// Values that cross between the engine and its users: requests, sampling parameters, events.
#ifndef HADAL_ENGINE_REQUEST_H
#define HADAL_ENGINE_REQUEST_H

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_MAX_LOGPROBS = 20, HD_MAX_LOGIT_BIAS = 1024, HD_MAX_STOP_IDS = 64, HD_EVENT_TOKENS = 16 };

typedef struct hd_logit_bias {
    int32_t id;
    float bias;
} hd_logit_bias;

// Order of application: logit_bias, repetition, presence and frequency penalties, temperature,
// top_k, top_p, min_p. temperature 0 is greedy (argmax after bias and penalties).
typedef struct hd_sample_params {
    float temperature;        // >= 0
    int32_t top_k;            // 0: off
    float top_p;              // (0, 1]
    float min_p;              // [0, 1]
    float repetition_penalty; // > 0; over prompt and answer; 1: off
    float presence_penalty;   // over the answer; 0: off
    float frequency_penalty;
    uint64_t seed;
    int32_t n_logprobs; // alternatives to report per token, 0..HD_MAX_LOGPROBS
    int32_t min_tokens; // stop ids are barred before so many tokens
    bool ignore_eos;    // stop ids do not end the request (they are still reported)
    bool want_logprob;  // fill hd_token_out.logprob (implied by n_logprobs > 0)
} hd_sample_params;

void hd_sample_params_init(hd_sample_params *p); // greedy off: temperature 1, everything else off

typedef struct hd_request {
    const int32_t *prompt;
    int32_t n_prompt;       // >= 1
    int32_t max_new_tokens; // >= 1; prompt + answer must fit the context
    hd_sample_params sample;
    const hd_logit_bias *bias;
    int32_t n_bias;
    const int32_t *stop_ids;
    int32_t n_stop_ids;
    bool prompt_logprobs; // report the log-probability of every prompt token too
    int64_t deadline_ns;  // engine clock; 0: none. Then HD_FINISH_DEADLINE
    int32_t priority;     // higher first
    bool no_speculation;  // compute token by token
    uint64_t cache_salt;  // tenants never share cached prefixes across salts
    const char *id;       // for the log, <= 64 bytes; copied
} hd_request;

typedef enum hd_finish {
    HD_FINISH_NONE,
    HD_FINISH_STOP,   // a stop id was sampled (it is the last reported token)
    HD_FINISH_LENGTH, // max_new_tokens or the context is full
    HD_FINISH_CANCELLED,
    HD_FINISH_DEADLINE,
    HD_FINISH_ERROR
} hd_finish;

typedef struct hd_alt { // an alternative at one position
    int32_t id;
    float logprob;
} hd_alt;

typedef struct hd_token_out {
    int32_t id;
    float logprob; // natural log of the model's own distribution (before temperature and penalties)
    int32_t n_top; // alternatives, most likely first; n_top <= hd_sample_params.n_logprobs
    hd_alt top[HD_MAX_LOGPROBS];
} hd_token_out;

typedef struct hd_usage {
    int32_t prompt_tokens, cached_tokens, completion_tokens;
    int64_t queue_ns, prefill_ns, decode_ns; // waiting; until the first token; after it
} hd_usage;

typedef enum hd_event_kind {
    HD_EV_TIMEOUT, // nothing yet
    HD_EV_PROMPT,  // every prompt token, in order (only when asked); the first one's logprob is NaN
    HD_EV_TOKENS,  // one or more new tokens
    HD_EV_DONE,
    HD_EV_ERROR
} hd_event_kind;

typedef struct hd_event {
    hd_event_kind kind;
    int32_t n; // tokens in this event
    hd_token_out token[HD_EVENT_TOKENS];
    hd_finish finish; // HD_EV_DONE
    hd_usage usage;   // HD_EV_DONE, HD_EV_ERROR
    hd_err error;     // HD_EV_ERROR
} hd_event;

#ifdef __cplusplus
}
#endif

#endif
