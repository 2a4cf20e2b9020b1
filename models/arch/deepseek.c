// DeepSeekMoE-16B: llama's attention over experts that a softmax chooses.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/dense.h"
#include "models/arch/sparse.h"
#include "models/config_read.h"

// As with llama, the GGUF converter makes neighbours of the two halves of a rotated pair.
static const hd_dense_family attention = {
    .max_context = 2048,
    .reads_attn_bias = true,
    .gguf_name = "deepseek",
    .gguf_pairing = HD_ROPE_INTERLEAVED,
    .has_experts = true,
};

static const hd_topk_method methods[] = {{"greedy", HD_GROUP_NONE}, {NULL, HD_GROUP_NONE}};

static const hd_sparse_family family = {
    .moe = {.d_expert = 1407, .every = 1, .score = HD_GATE_SOFTMAX, .scale = 1},
    .method = methods,
};

// The published code normalises only when there is something to share, and has no factor.
static hd_status settle(hd_moe_cfg *m, const char *factor, hd_err *err)
{
    if (m->n_experts == 0) return HD_OK;
    HD_CHECK(m->scale == 1, err, HD_E_UNSUPPORTED, "%s: found %g, expected 1 for this architecture",
             factor, m->scale);
    m->normalize &= m->n_active > 1;
    return HD_OK;
}

static hd_status configure(hd_model_cfg *cfg, const hd_json *config, hd_err *err)
{
    HD_TRY(hd_dense_configure(&attention, cfg, config, err));
    HD_TRY(hd_sparse_moe_json(&family, cfg, config, err));
    return settle(&cfg->moe, "routed_scaling_factor", err);
}

static hd_status configure_gguf(hd_model_cfg *cfg, const hd_gguf *g, hd_err *err)
{
    hd_moe_cfg *m = &cfg->moe;
    HD_TRY(hd_dense_configure_gguf(&attention, cfg, g, err));
    HD_TRY(hd_sparse_moe_gguf("deepseek", cfg, g, err));
    HD_CHECK(m->score == HD_GATE_SOFTMAX && m->group == HD_GROUP_NONE, err, HD_E_UNSUPPORTED,
             "key 'deepseek.%s': expected a softmax over all experts",
             m->score == HD_GATE_SOFTMAX ? "expert_group_count" : "expert_gating_func");
    return settle(m, "key 'deepseek.expert_weights_scale'", err);
}

static const char *const hf_names[] = {"DeepseekForCausalLM", NULL};

const hd_arch hd_arch_deepseek = {
    .name = "deepseek",
    .hf_names = hf_names,
    .gguf_name = "deepseek",
    .configure = configure,
    .configure_gguf = configure_gguf,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
