// Shared recipes of transformer layers over the backend's operations; the only callers of
// ops->linear, so that adapters and tensor parallelism have one place to live.
//
// All shapes row-major, F32. x is the residual stream [n_tokens, d_model]; `delta` is the output of
// the previous block, not yet added to x: the next norm adds it (one pass over memory less).
#ifndef HADAL_MODELS_BLOCKS_H
#define HADAL_MODELS_BLOCKS_H

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_gqa {
    hd_weight *norm;            // [d_model]
    hd_weight *qkv, *qkv_bias;  // [(H + 2 Hk) * d_head, d_model]; bias may be NULL
    hd_weight *q_norm, *k_norm; // [d_head] or NULL
    hd_weight *o, *o_bias;      // [d_model, H * d_head]; bias may be NULL
} hd_gqa;

typedef struct hd_ffn {
    hd_weight *norm;                   // [d_model]
    hd_weight *gate_up, *gate_up_bias; // [2 d_ff, d_model]
    hd_weight *down, *down_bias;       // [d_model, d_ff]
} hd_ffn;

typedef struct hd_latent_attn {               // multi-head latent attention
    hd_weight *norm;                          // [d_model]
    hd_weight *q;                             // q_lora 0: [H * d_head, d_model], else NULL
    hd_weight *q_a, *q_norm, *q_b;            // [q_lora, d_model], [q_lora], [H * d_head, q_lora]
    hd_weight *kv_a, *kv_norm;                // [d_latent + d_rope, d_model], [d_latent]
    hd_weight *kv_b;                          // H matrices of d_nope | d_v rows, [., d_latent]
    hd_weight *o;                             // [d_model, H * d_v]
    hd_weight *q_a_bias, *kv_a_bias, *o_bias; // with bias_qkv, bias_o; else NULL
} hd_latent_attn;

typedef struct hd_moe {
    hd_weight *norm;                 // [d_model]
    hd_weight *router, *router_bias; // [n_experts, d_model], [n_experts] or NULL
    hd_weight *gate_up, *down;       // n_experts of [2 d_expert, d_model], [d_model, d_expert]
    hd_weight *shared_gate_up, *shared_down; // NULL without a shared expert
} hd_moe;

// delta = Attention(norm(x += delta)); add_delta false in the first layer, where delta holds
// nothing yet. kv points at the layer's planes {k, v}.
void hd_block_gqa(const hd_model *m, hd_step *s, const hd_gqa *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta);
// The same with latent attention; kv points at the layer's one plane [latent | rotated key].
void hd_block_mla(const hd_model *m, hd_step *s, const hd_latent_attn *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta);
// delta = routed and shared experts of norm(x += delta).
void hd_block_moe(const hd_model *m, hd_step *s, const hd_moe *w, hd_tensor x, hd_tensor delta);
// delta = FFN(norm(x += delta)).
void hd_block_ffn(const hd_model *m, hd_step *s, const hd_ffn *w, hd_tensor x, hd_tensor delta);
// Final norm of the wanted rows and the head: fills s->hidden (when wanted) and s->logits.
void hd_block_head(const hd_model *m, hd_step *s, const hd_weight *norm, const hd_weight *head,
                   hd_tensor x, hd_tensor delta);

#ifdef __cplusplus
}
#endif

#endif
