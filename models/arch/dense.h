// Configuration of llama, qwen2 and qwen3, and of deepseek without its experts: one reader, a row
// of differences each. Private to models/arch.
#ifndef HADAL_MODELS_ARCH_DENSE_H
#define HADAL_MODELS_ARCH_DENSE_H

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_dense_family {
    // config.json: what an absent field means
    int32_t n_kv_heads; // 0: as many as there are heads
    int32_t d_head;     // 0: d_model / n_heads
    int32_t max_context;
    bool bias_qkv;        // q, k and v have biases whatever the file says
    bool reads_attn_bias; // "attention_bias" decides over biases of q, k, v and o
    bool reads_mlp_bias;  // "mlp_bias"
    bool reads_window;    // "use_sliding_window" and its companions
    bool qk_norm;
    // GGUF
    const char *gguf_name; // prefix of its keys
    hd_rope_pairing gguf_pairing;
    bool has_experts; // expert keys are for the family's own reader
} hd_dense_family;

hd_status hd_dense_configure(const hd_dense_family *f, hd_model_cfg *cfg, const hd_json *config,
                             hd_err *err);
hd_status hd_dense_configure_gguf(const hd_dense_family *f, hd_model_cfg *cfg, const hd_gguf *g,
                                  hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
