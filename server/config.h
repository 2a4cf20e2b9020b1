// Settings: one table row gives flag, environment variable, type, bounds, default and help.
//
// Precedence: flag > HADAL_* variable > other servers' variables (config_alias.h, serve only) >
// serving.properties > default. --help, validation, the start-up line and `hadal
// inspect --config` all read the table (config.c). Unknown flags and unknown HADAL_* variables are
// errors that name the nearest valid name.
#ifndef HADAL_SERVER_CONFIG_H
#define HADAL_SERVER_CONFIG_H

#include "engine/engine.h"
#include "kernels/base/buf.h"
#include "kernels/base/log.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { // which commands a setting belongs to
    HD_CMD_SERVE = 1 << 0,
    HD_CMD_RUN = 1 << 1,
    HD_CMD_CHAT = 1 << 2,
    HD_CMD_INSPECT = 1 << 3,
    HD_CMD_TOKENIZE = 1 << 4,
    HD_CMD_SCORE = 1 << 5,
    HD_CMD_BENCH = 1 << 6,
};

enum { HD_MAX_OPTS = 128 }; // rows the table may have

typedef enum hd_formatter { HD_FMT_AUTO, HD_FMT_JSON, HD_FMT_JSONL, HD_FMT_SSE } hd_formatter;
enum { HD_KEY_SCOPE_V1, HD_KEY_SCOPE_ALL };                  // hd_config.api_key_scope
enum { HD_METRICS_VLLM, HD_METRICS_OWN };                    // hd_config.metrics_compat
enum { HD_REASON_BOTH, HD_REASON_CONTENT, HD_REASON_PLAIN }; // hd_config.reasoning_field

typedef enum hd_inputs_profile {
    HD_PROFILE_AUTO,
    HD_PROFILE_TGI,
    HD_PROFILE_LMI
} hd_inputs_profile;

// Text values are borrowed from argv, the environment or the table.
typedef struct hd_config {
    // model and engine
    const char *model, *device, *chat_template, *served_name;
    int64_t threads, max_context, max_seqs, max_step_tokens, max_queue, max_queue_tokens,
        max_queue_bytes, max_prompt_ms, speculate, memory_bytes, stall_seconds;
    const char *weights, *weights_experts, *weights_attention, *kv; // names of types
    const char *cpu;                                                // levels mask
    int64_t startup_seconds;
    const char *plugin_dir;
    bool deterministic, prefix_cache, mmap;
    int64_t bind; // hd_bind_mode
    // server
    const char *host;
    int64_t port, max_connections, max_body_bytes, max_answer_bytes, max_header_bytes, max_headers;
    int64_t header_seconds, body_idle_seconds, idle_seconds, drain_seconds,
        keepalive_comment_seconds;
    int64_t max_stop, max_messages, default_max_new_tokens;
    int64_t inputs_profile;   // hd_inputs_profile
    int64_t output_formatter; // hd_formatter
    const char *api_key, *cors_origin;
    int64_t api_key_scope, metrics_compat, reasoning_field, max_best_of, fail_linger_seconds;
    int64_t deadline_sync_seconds, deadline_stream_seconds, request_seconds;
    bool strict, strict_model_name, force_unary, batch_multi, batch_strict, echo_attributes;
    bool exit_on_device_failure;
    // log
    int64_t log_level, log_format; // hd_log_level, hd_log_format
    bool log_content;
    // run, chat
    const char *prompt, *system;
    int64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p, repetition_penalty;
    bool raw, special;
    // inspect
    const char *render, *plan;
    bool show_config, tensors, json;
    // tokenize
    bool decode;
    // score
    const char *ids, *logits;
    int64_t chunk;
    // bench
    const char *bench_prompt, *bench_gen, *bench_depth; // "128,512" lists
    int64_t repeat;
    const char *bench_clients; // "1,4,16"; NULL: one sequence, without a scheduler
    int64_t bench_requests, bench_prompt_tokens, bench_answer_tokens, bench_intrude;
    // what the command line left over, and whether a value was given at all
    const char *const *rest;
    int n_rest;
    uint64_t given[2]; // bit per table row: set by flag or environment
    // Per table row: the flag or variable that set it; empty: the default. Borrowed.
    hd_slice origin[HD_MAX_OPTS];
} hd_config;

// argv without the program and command names. Handles --help (prints, *stop = true). HD_E_INVAL
// with one clear line on a bad setting.
hd_status hd_config_load(hd_config *c, unsigned command, int argc, char **argv, bool *stop,
                         hd_err *err);
bool hd_config_given(const hd_config *c, const void *member); // was this member set explicitly?
void hd_config_help(FILE *to, unsigned command);              // usage, settings, examples
// One log line with every effective setting of the command and where it came from; secrets masked.
void hd_config_log(const hd_config *c, unsigned command);
void hd_config_json(const hd_config *c, unsigned command, hd_buf *out);

// Types of weights and cache; what is not set follows --weights.
hd_status hd_config_types(const hd_config *c, hd_weight_types *weights, hd_dtype *kv, hd_err *err);
// Engine part of the settings; checks names of types, devices and levels.
hd_status hd_config_engine(const hd_config *c, hd_engine_cfg *out, hd_err *err);

// Nearest of n names to `word` by edit distance, or NULL when nothing is near.
const char *hd_config_nearest(const char *word, const char *const *names, size_t n);

#ifdef __cplusplus
}
#endif

#endif
