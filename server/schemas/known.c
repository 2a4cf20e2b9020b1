// Strict mode: the fields that each dialect knows, including those that are accepted and mean
// nothing here. Without strict mode unknown fields are never looked at.
#include "server/schema.h"

#include <stdio.h>
#include <string.h>

#define SAMPLING                                                                                   \
    "model", "max_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p",                  \
        "frequency_penalty", "presence_penalty", "repetition_penalty", "stop", "stop_token_ids",   \
        "seed", "n", "best_of", "logprobs", "logit_bias", "stream", "stream_options",              \
        "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",    \
        "grammar", "response_format", "echo", "add_special_tokens", "ignore_eos", "min_tokens",    \
        "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output",      \
        "truncate_prompt_tokens", "user", "metadata", "store", "service_tier", "request_id",       \
        "session_id", "priority", "cache_salt", "speculate", "adapters", "use_beam_search",        \
        "length_penalty", "prompt_logprobs", "logits_processors", "prompt_embeds",                 \
        "allowed_token_ids", "bad_words", "custom_id", "id", "return_token_ids",                   \
        "return_tokens_as_token_ids"

static const char *const chat[] = {"messages",
                                   "max_completion_tokens",
                                   "top_logprobs",
                                   "tools",
                                   "tool_choice",
                                   "parallel_tool_calls",
                                   "tool_prompt",
                                   "functions",
                                   "function_call",
                                   "chat_template",
                                   "chat_template_kwargs",
                                   "reasoning_effort",
                                   "thinking",
                                   "include_reasoning",
                                   "thinking_token_budget",
                                   "add_generation_prompt",
                                   "continue_final_message",
                                   "documents",
                                   "audio",
                                   "modalities",
                                   "prediction",
                                   "safety_identifier",
                                   "prompt_cache_key",
                                   "verbosity",
                                   "web_search_options",
                                   SAMPLING,
                                   NULL};
static const char *const completions[] = {"prompt", "suffix", SAMPLING, NULL};
static const char *const options[] = {"include_usage", "continuous_usage_stats",
                                      "include_obfuscation", NULL};
static const char *const inputs[] = {"inputs",   "parameters", "stream", "options", "model",
                                     "adapters", "custom_id",  "id",     NULL};
static const char *const parameters[] = {"max_new_tokens",
                                         "do_sample",
                                         "temperature",
                                         "top_k",
                                         "top_p",
                                         "min_p",
                                         "typical_p",
                                         "repetition_penalty",
                                         "frequency_penalty",
                                         "presence_penalty",
                                         "seed",
                                         "stop",
                                         "stop_sequences",
                                         "stop_token_ids",
                                         "return_full_text",
                                         "truncate",
                                         "watermark",
                                         "details",
                                         "decoder_input_details",
                                         "best_of",
                                         "n",
                                         "num_beams",
                                         "length_penalty",
                                         "early_stopping",
                                         "top_n_tokens",
                                         "grammar",
                                         "adapter_id",
                                         "adapters",
                                         "include_stop_str_in_output",
                                         "ignore_eos_token",
                                         "priority",
                                         "cache_salt",
                                         "speculate",
                                         "logprobs",
                                         "prompt_logprobs",
                                         "skip_special_tokens",
                                         "spaces_between_special_tokens",
                                         NULL};

static hd_status check(const hd_json *o, const char *const *known, const char *path, hd_err *err)
{
    size_t n = 0;
    while (known[n])
        n++;
    for (const hd_json *c = hd_json_first(o); c; c = hd_json_next(c)) {
        char word[64];
        hd_slice key = hd_json_key(c);
        bool found = false;
        for (size_t i = 0; i < n && !found; i++)
            found = hd_slice_eq_str(key, known[i]);
        if (found) continue;
        snprintf(word, sizeof(word), "%.*s", (int)(key.n < 40 ? key.n : 40), key.p);
        const char *near = hd_config_nearest(word, known, n);
        if (near)
            return HD_FAIL(err, HD_E_INVAL, "%s%s: unknown field; did you mean '%s'?", path, word,
                           near);
        return HD_FAIL(err, HD_E_INVAL, "%s%s: unknown field", path, word);
    }
    return HD_OK;
}

hd_status hd_schema_strict(const hd_schema *s, const hd_json *body, hd_err *err)
{
    bool is_chat = s == &hd_schema_openai_chat;
    if (is_chat || s == &hd_schema_openai_completions) {
        HD_TRY(check(body, is_chat ? chat : completions, "", err));
        return check(hd_json_get(body, "stream_options"), options, "stream_options.", err);
    }
    HD_TRY(check(body, inputs, "", err));
    return check(hd_json_get(body, "parameters"), parameters, "parameters.", err);
}
