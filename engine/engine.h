// The engine: one loaded model, one scheduler thread, many requests. The facade that the server and
// the command line use.
//
// Threads: submit, stats, facts and healthy from any thread; open and close from one. A stream's
// events have one consumer. The scheduler thread alone touches sequences, KV pages, samplers and
// the backend. Nothing here knows of HTTP, JSON or text: requests are token ids.
#ifndef HADAL_ENGINE_ENGINE_H
#define HADAL_ENGINE_ENGINE_H

#include "engine/request.h"
#include "kernels/base/clock.h"
#include "kernels/base/status.h"
#include "kernels/dtype.h"
#include "models/chat/chat.h"
#include "models/config.h"
#include "models/model.h"
#include "models/model_src.h"
#include "models/tokenizer/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_engine hd_engine;
typedef struct hd_stream hd_stream;

typedef enum hd_load_phase {
    HD_LOAD_OPEN,
    HD_LOAD_WEIGHTS,
    HD_LOAD_PLAN,
    HD_LOAD_WARMUP,
    HD_LOAD_DONE
} hd_load_phase;

// AUTO binds when the threads are as many as the processors we may use and no quota cuts them.
typedef enum hd_bind_mode { HD_BIND_AUTO, HD_BIND_ON, HD_BIND_OFF } hd_bind_mode;

typedef struct hd_engine_cfg { // hd_engine_cfg_init gives the defaults
    const char *model;         // folder or GGUF file
    hd_file_access access;     // to the weights' files
    const char *device;        // "auto", "cpu"
    int threads;               // 0: what the machine allows (hd_cpu_budget)
    hd_bind_mode bind;         // bind threads to processors
    uint32_t cpu_features;     // allowed HD_CPU_* bits
    hd_weight_types weights;   // types of matrices in memory
    hd_dtype kv;               // HD_F32, HD_F16, HD_BF16, HD_Q8_0
    int32_t max_context;       // 0: the model's, lowered to what memory allows
    int32_t max_seqs;          // sequences decoded at once
    int32_t max_step_tokens;   // token budget of one step
    int32_t max_prompt_ms;     // of a step that others wait in; as long as their own part at least;
                               // 0: whatever the step's budget allows
    int32_t max_queue;         // waiting requests; more are refused with HD_E_BUSY
    int32_t max_queue_tokens;  // prompt tokens of the waiting; one request may always wait
    int64_t max_queue_bytes;   // memory of the waiting
    int32_t speculate;         // guessed tokens to compute at a time, 0 to HD_DRAFT_MAX; 0: off
    bool prefix_cache;         // keep pages of keys and values for prompts that begin alike
    uint64_t memory;           // bytes for everything; 0: hd_cpu_budget
    bool deterministic;        // own kernels only
    bool need_chat;            // an unknown chat template is an error
    const char *chat_template; // NULL: choose; "none": raw prompts only
    int slow_reader_ms;        // an unread stream gives way to waiting requests after so long
    int stall_ms;              // no scheduler progress for so long is unhealthy
    hd_clock clock;
    // Called from the opening thread while loading; done/total in bytes during HD_LOAD_WEIGHTS.
    void (*progress)(void *ctx, hd_load_phase phase, uint64_t done, uint64_t total);
    void *progress_ctx;
    const volatile int *cancel; // non-zero stops loading with HD_E_CANCELLED; may be NULL
} hd_engine_cfg;

void hd_engine_cfg_init(hd_engine_cfg *cfg);

typedef struct hd_model_facts { // immutable while the engine lives
    const hd_model_src *src;
    hd_model_cfg cfg;
    const hd_tokenizer *tokenizer; // NULL in a runner
    const hd_chat_template *chat;  // NULL: raw prompts only
    const char *chat_why;
    int32_t max_context; // tokens a sequence may have, prompt and answer together
    int32_t threads;
    const char *device, *isa; // "cpu", "avx2+avx512"
    uint64_t weight_bytes, kv_bytes, scratch_bytes;
    int32_t kv_pages;
    hd_sample_params defaults; // from generation_config.json where it says something
} hd_model_facts;

// Returns when a token has been generated for real (warm-up), or failed. Blocking; logs its steps.
hd_status hd_engine_open(const hd_engine_cfg *cfg, hd_engine **out, hd_err *err);
// Lets running requests finish for at most drain_ms, refuses new ones at once, then cancels the
// rest.
void hd_engine_close(hd_engine *e, int drain_ms); // NULL is legal

// Copies rq. HD_E_BUSY: queue full or closing. HD_E_LIMIT: can never fit; HD_E_INVAL: out of range.
hd_status hd_engine_submit(hd_engine *e, const hd_request *rq, hd_stream **out, hd_err *err);

// Waits up to timeout_ms for the next event. After HD_EV_DONE or HD_EV_ERROR no more come.
hd_event_kind hd_stream_next(hd_stream *s, hd_event *ev, int timeout_ms);
void hd_stream_cancel(hd_stream *s); // any thread, idempotent; the stream still ends with an event
void hd_stream_close(hd_stream *s);  // drops the consumer's reference (cancels when still running)

typedef struct hd_engine_stats {
    int32_t running, waiting;
    int32_t pages_used, pages_cached, pages_total; // cached: of ended requests, free when needed
    uint64_t requests, finished, cancelled, failed, refused;
    uint64_t tokens_in, tokens_out, steps;
    uint64_t drafted, accepted;          // guessed tokens computed, and come true
    uint64_t preemptions;                // pages taken away from a running request
    uint64_t prefix_asked, prefix_found; // prompt tokens looked up, and found in the cache
    uint64_t step_allocs; // heap allocations made inside steps: stays 0 unless something is wrong
} hd_engine_stats;
void hd_engine_stats_read(const hd_engine *e, hd_engine_stats *out);
const hd_model_facts *hd_engine_facts(const hd_engine *e);
bool hd_engine_healthy(const hd_engine *e); // scheduler heartbeat and device state

#ifdef __cplusplus
}
#endif

#endif
