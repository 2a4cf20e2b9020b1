// Hyper-parameters of a model, one vocabulary for all architectures.
//
// Filled by the readers (config_json.c, config_gguf.c) from the files and checked there once:
// ranges, divisibility, products. No number of any checkpoint stands in code; unknown values of
// enum-like fields are refused by name.
//
//   ours            config.json                     GGUF (after "{arch}.")
//   d_model         hidden_size                     embedding_length
//   n_layers        num_hidden_layers               block_count
//   n_heads         num_attention_heads             attention.head_count
//   n_kv_heads      num_key_value_heads             attention.head_count_kv
//   d_head          head_dim                        attention.key_length
//   d_ff            intermediate_size               feed_forward_length
//   vocab           vocab_size                      rows of token_embd
//   max_context     max_position_embeddings         context_length
//   norm_eps        rms_norm_eps                    attention.layer_norm_rms_epsilon
//   rope.theta      rope_theta                      rope.freq_base
#ifndef HADAL_MODELS_CONFIG_H
#define HADAL_MODELS_CONFIG_H

#include "kernels/backend.h"
#include "kernels/base/status.h"
#include "models/model_src.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_rope_scaling {
    HD_SCALING_NONE,
    HD_SCALING_LINEAR,
    HD_SCALING_LLAMA3,
    HD_SCALING_YARN,
    HD_SCALING_FACTORS, // GGUF rope_freqs.weight: divisors of the base frequencies
} hd_rope_scaling;

typedef struct hd_rope_cfg {
    double theta;
    hd_rope_scaling scaling;
    double factor;
    int32_t original_context;                 // llama3 and yarn
    double low_freq_factor, high_freq_factor; // llama3
    double beta_fast, beta_slow;              // yarn
    double attention_factor;                  // yarn: > 0 when given explicitly
    double mscale, mscale_all_dim;            // yarn: 0 when absent
    bool truncate;                            // yarn: floor/ceil the correction range (default)
    hd_rope_pairing pairing;                  // as the weights are stored
} hd_rope_cfg;

typedef struct hd_model_cfg {
    const char *arch; // canonical name of the architecture row
    int32_t d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, vocab, max_context;
    double norm_eps;
    bool tied; // the head is the embedding matrix
    bool bias_qkv, bias_o, bias_mlp;
    bool qk_norm; // RMSNorm per head of q and k before RoPE
    hd_rope_cfg rope;
    bool from_gguf; // selects tensor names
} hd_model_cfg;

enum {
    HD_MAX_LAYERS = 512,
    HD_MAX_VOCAB = 1 << 20,
    HD_MAX_DIM = 1 << 18,
    HD_MAX_CONTEXT = 1 << 22
};

// Finds the architecture and fills cfg. The message names the field, what was found and expected.
hd_status hd_config_read(const hd_model_src *src, hd_model_cfg *cfg, hd_err *err);
// From a parsed config.json alone (inspect --plan, fuzzing).
hd_status hd_config_from_json(const hd_json *config, hd_model_cfg *cfg, hd_err *err);
hd_status hd_config_from_gguf(const hd_gguf *g, hd_model_cfg *cfg, hd_err *err);

// inv_freq [n_rot / 2] and the magnitude for these settings (deepseek-architectures.md 2.2).
// factors: GGUF divisors [n_rot / 2] or NULL.
void hd_rope_frequencies(const hd_rope_cfg *r, int32_t n_rot, const float *factors, float *inv_freq,
                         float *magnitude);

#ifdef __cplusplus
}
#endif

#endif
