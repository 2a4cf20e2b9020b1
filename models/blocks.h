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

// delta = Attention(norm(x += delta)); add_delta false in the first layer, where delta holds
// nothing yet. kv points at the layer's planes {k, v}.
void hd_block_gqa(const hd_model *m, hd_step *s, const hd_gqa *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta);
// delta = FFN(norm(x += delta)).
void hd_block_ffn(const hd_model *m, hd_step *s, const hd_ffn *w, hd_tensor x, hd_tensor delta);
// Final norm of the wanted rows and the head: fills s->hidden (when wanted) and s->logits.
void hd_block_head(const hd_model *m, hd_step *s, const hd_weight *norm, const hd_weight *head,
                   hd_tensor x, hd_tensor delta);

#ifdef __cplusplus
}
#endif

#endif
