// GGUF metadata of the mixture-of-experts families. Which layout the key/value up-projections have
// is found when binding.
#include "models/arch/sparse.h"
#include "models/config_read.h"

// As in sparse.c; writers put rms_norm_eps into the file, which is the same number.
static const double inner_norm_eps = 1e-6;

// ---- experts -------------------------------------------------------------------------------

static hd_status gating(const char *a, hd_moe_cfg *m, const hd_gguf *g, hd_err *err)
{
    enum { NONE, SOFTMAX, SIGMOID };
    int32_t func = NONE; // files older than the key hold V2 models
    HD_TRY(
        hd_config_gguf_i32(g, a, "expert_gating_func", HD_JSON_OPTIONAL, 0, INT32_MAX, &func, err));
    HD_CHECK(func <= SIGMOID, err, HD_E_UNSUPPORTED,
             "key '%s.expert_gating_func': found %d, expected 1 (softmax) or 2 (sigmoid)", a, func);
    m->score = func == SIGMOID ? HD_GATE_SIGMOID : HD_GATE_SOFTMAX;
    m->bias = func == SIGMOID;
    m->n_group = m->topk_group = 1;
    HD_TRY(hd_config_gguf_i32(g, a, "expert_group_count", HD_JSON_OPTIONAL, 0, HD_MAX_EXPERTS,
                              &m->n_group, err));
    if (m->n_group <= 1) return HD_OK;
    m->group = func == SIGMOID ? HD_GROUP_TOP2 : HD_GROUP_MAX;
    return hd_config_gguf_i32(g, a, "expert_group_used_count", HD_JSON_REQUIRED, 1, HD_MAX_EXPERTS,
                              &m->topk_group, err);
}

hd_status hd_sparse_moe_gguf(const char *a, hd_model_cfg *c, const hd_gguf *g, hd_err *err)
{
    hd_moe_cfg *m = &c->moe;
    *m = (hd_moe_cfg){.every = 1};
    HD_TRY(hd_config_gguf_i32(g, a, "expert_count", HD_JSON_OPTIONAL, 0, HD_MAX_EXPERTS,
                              &m->n_experts, err));
    if (m->n_experts == 0) {
        *m = (hd_moe_cfg){0};
        return HD_OK;
    }
    HD_TRY(hd_config_gguf_i32(g, a, "expert_used_count", HD_JSON_REQUIRED, 1, HD_MAX_EXPERTS,
                              &m->n_active, err));
    HD_TRY(hd_config_gguf_i32(g, a, "expert_feed_forward_length", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &m->d_expert, err));
    HD_TRY(hd_config_gguf_i32(g, a, "expert_shared_count", HD_JSON_OPTIONAL, 0, HD_MAX_EXPERTS,
                              &m->n_shared, err));
    HD_TRY(hd_config_gguf_i32(g, a, "leading_dense_block_count", HD_JSON_OPTIONAL, 0, HD_MAX_LAYERS,
                              &m->first, err));
    HD_TRY(hd_config_gguf_bool(g, a, "expert_weights_norm", &m->normalize, err));
    HD_TRY(
        hd_config_gguf_f64(g, a, "expert_weights_scale", HD_JSON_OPTIONAL, 0, 1e6, &m->scale, err));
    if (m->scale == 0) m->scale = 1; // absent, or written as "none"
    return gating(a, m, g, err);
}

// ---- latent attention ----------------------------------------------------------------------

// Two layouts: with "_mla" keys the plain lengths are those of the cached latent, as the one
// key/value head of absorbed attention; without, they are those of a head.
static hd_status head_lengths(const char *a, hd_model_cfg *c, const hd_gguf *g, hd_err *err)
{
    hd_mla_cfg *m = &c->mla;
    int32_t latent = m->d_latent + m->d_rope, cached = latent, kv_heads = c->n_heads;
    const char *key = "attention.key_length_mla";
    HD_TRY(hd_config_gguf_i32(g, a, key, HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &c->d_head, err));
    bool absorbed = c->d_head > 0;
    if (!absorbed) {
        key = "attention.key_length";
        HD_TRY(hd_config_gguf_i32(g, a, key, HD_JSON_REQUIRED, 1, HD_MAX_DIM, &c->d_head, err));
    } else {
        HD_TRY(hd_config_gguf_i32(g, a, "attention.key_length", HD_JSON_OPTIONAL, 1, 2 * HD_MAX_DIM,
                                  &cached, err));
        HD_CHECK(cached == latent, err, HD_E_INVAL,
                 "key '%s.attention.key_length': found %d, expected kv_lora_rank + "
                 "rope.dimension_count = %d",
                 a, cached, latent);
    }
    HD_TRY(hd_config_gguf_i32(g, a,
                              absorbed ? "attention.value_length_mla" : "attention.value_length",
                              HD_JSON_REQUIRED, 1, HD_MAX_DIM, &m->d_v, err));
    HD_CHECK(c->d_head > m->d_rope, err, HD_E_INVAL,
             "key '%s.%s': found %d, expected more than rope.dimension_count %d", a, key, c->d_head,
             m->d_rope);
    m->d_nope = c->d_head - m->d_rope;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.head_count_kv", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &kv_heads, err));
    HD_CHECK(kv_heads == c->n_heads || kv_heads == 1, err, HD_E_INVAL,
             "key '%s.attention.head_count_kv': found %d, expected 1 or head_count %d", a, kv_heads,
             c->n_heads);
    return HD_OK;
}

static hd_status mla_gguf(const char *a, hd_model_cfg *c, const hd_gguf *g, hd_err *err)
{
    hd_mla_cfg *m = &c->mla;
    m->norm_eps = inner_norm_eps;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.kv_lora_rank", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &m->d_latent, err));
    HD_TRY(hd_config_gguf_i32(g, a, "attention.q_lora_rank", HD_JSON_OPTIONAL, 0, HD_MAX_DIM,
                              &m->q_lora, err));
    HD_TRY(hd_config_gguf_i32(g, a, "rope.dimension_count", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &m->d_rope, err));
    c->n_kv_heads = c->n_heads;
    return head_lengths(a, c, g, err);
}

// The factor of the softmax is stored as 0.1 * mscale_all_dim; absent in old files, which then have
// none. The factor of cos and sin is 1 in every published model, and files do not tell another.
static hd_status rope_gguf(const char *a, hd_model_cfg *c, const hd_gguf *g, hd_err *err)
{
    double multiplier = 0;
    HD_TRY(hd_config_rope_gguf(g, a, c->max_context, &c->rope, err));
    c->rope.pairing = HD_ROPE_INTERLEAVED;
    if (c->rope.scaling != HD_SCALING_YARN) return HD_OK;
    HD_TRY(hd_config_gguf_f64(g, a, "rope.scaling.yarn_log_multiplier", HD_JSON_OPTIONAL, 0, 1e3,
                              &multiplier, err));
    c->rope.mscale = c->rope.mscale_all_dim = multiplier / 0.1;
    c->rope.attention_factor = 1;
    return HD_OK;
}

hd_status hd_sparse_configure_gguf(const char *a, hd_model_cfg *c, const hd_gguf *g, hd_err *err)
{
    HD_TRY(hd_config_sizes_gguf(g, a, c, err));
    // Writers that keep these layers count them among the blocks.
    const int32_t most = c->n_layers <= HD_MAX_MTP_LAYERS ? c->n_layers - 1 : HD_MAX_MTP_LAYERS;
    HD_TRY(hd_config_gguf_i32(g, a, "nextn_predict_layers", HD_JSON_OPTIONAL, 0, most, &c->n_mtp,
                              err));
    c->n_layers -= c->n_mtp;
    HD_TRY(mla_gguf(a, c, g, err));
    HD_TRY(rope_gguf(a, c, g, err));
    return hd_sparse_moe_gguf(a, c, g, err);
}
