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
//
//   moe.n_experts   n_routed_experts                expert_count
//   moe.n_active    num_experts_per_tok             expert_used_count
//   moe.n_shared    n_shared_experts                expert_shared_count
//   moe.d_expert    moe_intermediate_size           expert_feed_forward_length
//   moe.first       first_k_dense_replace           leading_dense_block_count
//   moe.every       moe_layer_freq                  -
//   moe.score       scoring_func                    expert_gating_func
//   moe.group       topk_method                     -
//   moe.n_group     n_group                         expert_group_count
//   moe.topk_group  topk_group                      expert_group_used_count
//   moe.normalize   norm_topk_prob                  expert_weights_norm
//   moe.scale       routed_scaling_factor           expert_weights_scale
//   mla.d_latent    kv_lora_rank                    attention.kv_lora_rank
//   mla.q_lora      q_lora_rank                     attention.q_lora_rank
//   mla.d_nope      qk_nope_head_dim                key_length_mla - rope.dimension_count
//   mla.d_rope      qk_rope_head_dim                rope.dimension_count
//   mla.d_v         v_head_dim                      attention.value_length_mla
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

typedef struct hd_moe_cfg { // n_experts 0: every layer is dense
    int32_t n_experts, n_active, d_expert;
    int32_t n_shared;     // the shared expert is one FFN of n_shared * d_expert columns; 0: none
    int32_t first, every; // layer l is sparse when l >= first and l % every == 0
    hd_gate_score score;
    hd_gate_group group;
    int32_t n_group, topk_group; // with group other than HD_GROUP_NONE
    bool normalize;
    double scale;
    bool bias; // a correction bias per expert, for choosing only
} hd_moe_cfg;

typedef struct hd_mla_cfg {   // d_latent 0: attention is grouped-query
    int32_t d_latent, q_lora; // q_lora 0: one query projection instead of two
    int32_t d_nope, d_rope, d_v;
    double norm_eps; // of the norms inside attention
} hd_mla_cfg;

typedef struct hd_model_cfg {
    const char *arch; // canonical name of the architecture row
    int32_t d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, vocab, max_context;
    double norm_eps;
    bool tied; // the head is the embedding matrix
    bool bias_qkv, bias_o, bias_mlp;
    bool qk_norm; // RMSNorm per head of q and k before RoPE
    hd_rope_cfg rope;
    hd_moe_cfg moe;
    hd_mla_cfg mla; // then d_head = d_nope + d_rope and n_kv_heads = n_heads
    int32_t n_mtp;  // layers behind the last one that only predict further ahead; skipped
    int32_t fp8_rows, fp8_cols; // block of FP8 scales (quantization_config), 0: none
    bool from_gguf;             // selects tensor names
} hd_model_cfg;

static inline bool hd_cfg_is_sparse(const hd_model_cfg *c, int32_t layer)
{
    return c->moe.n_experts > 0 && layer >= c->moe.first && layer % c->moe.every == 0;
}
// Rotated columns of a head, and where they begin.
static inline int32_t hd_cfg_n_rot(const hd_model_cfg *c)
{
    return c->mla.d_latent > 0 ? c->mla.d_rope : c->d_head;
}

enum {
    HD_MAX_LAYERS = 512,
    HD_MAX_EXPERTS = 1024,
    HD_MAX_MTP_LAYERS = 16,
    HD_MAX_VOCAB = 1 << 20,
    HD_MAX_DIM = 1 << 18,
    HD_MAX_CONTEXT = 1 << 22
};

// Finds the architecture and fills cfg. The message names the field, what was found and expected.
hd_status hd_config_read(const hd_model_src *src, hd_model_cfg *cfg, hd_err *err);
// From a parsed config.json alone (inspect --plan, fuzzing).
hd_status hd_config_from_json(const hd_json *config, hd_model_cfg *cfg, hd_err *err);
hd_status hd_config_from_gguf(const hd_gguf *g, hd_model_cfg *cfg, hd_err *err);

// Factor of q.k before the softmax: 1 / sqrt(d_head), for MLA times YaRN's mscale_all_dim term
// squared (deepseek-architectures.md 2.2).
double hd_cfg_attn_scale(const hd_model_cfg *c);

// inv_freq [n_rot / 2] and the magnitude for these settings (deepseek-architectures.md 2.2).
// factors: GGUF divisors [n_rot / 2] or NULL.
void hd_rope_frequencies(const hd_rope_cfg *r, int32_t n_rot, const float *factors, float *inv_freq,
                         float *magnitude);

#ifdef __cplusplus
}
#endif

#endif
