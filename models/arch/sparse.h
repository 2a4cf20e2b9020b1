// Configuration of the mixture-of-experts families: deepseek's experts, and all of deepseek_v2 and
// deepseek_v3, whose attention is latent. Private to models/arch.
#ifndef HADAL_MODELS_ARCH_SPARSE_H
#define HADAL_MODELS_ARCH_SPARSE_H

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_topk_method { // a value of "topk_method"
    const char *name;
    hd_gate_group group;
} hd_topk_method;

typedef struct hd_sparse_family { // config.json: what an absent field means
    hd_moe_cfg moe;               // n_active, n_group, topk_group 0: must be there when needed.
                                  // score is the only one the family has; bias, whether it has one
    const hd_topk_method *method; // accepted ones, the first is the default; name NULL ends
    hd_mla_cfg mla;
    int32_t max_context;
    bool reads_interleave; // "rope_interleave"; without it pairs are always neighbours
} hd_sparse_family;

// The routed experts alone.
hd_status hd_sparse_moe_json(const hd_sparse_family *f, hd_model_cfg *cfg, const hd_json *config,
                             hd_err *err);
// The whole of a family with latent attention.
hd_status hd_sparse_configure(const hd_sparse_family *f, hd_model_cfg *cfg, const hd_json *config,
                              hd_err *err);

// The same from GGUF, with "arch." in front of the keys. The gating function in the file tells the
// generation: softmax (deepseek, V2) or sigmoid (V3).
hd_status hd_sparse_moe_gguf(const char *arch, hd_model_cfg *cfg, const hd_gguf *g, hd_err *err);
hd_status hd_sparse_configure_gguf(const char *arch, hd_model_cfg *cfg, const hd_gguf *g,
                                   hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
