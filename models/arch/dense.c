// How files describe the dense families llama, qwen2 and qwen3, and the attention of deepseek.
// What differs between them is in hd_dense_family and, from then on, in hd_model_cfg.
#include "models/arch/dense.h"

#include "models/config_read.h"

static int32_t or_else(int32_t v, int32_t otherwise)
{
    return v > 0 ? v : otherwise;
}

hd_status hd_dense_configure(const hd_dense_family *f, hd_model_cfg *c, const hd_json *j,
                             hd_err *err)
{
    bool attn_bias = false;
    HD_TRY(hd_config_refuse_json(j, err));
    HD_TRY(hd_config_quant_json(j, false, c, err));
    c->max_context = f->max_context;
    HD_TRY(hd_config_sizes_json(j, c, err));
    // An absent field means the family's default, an explicit null as many as there are heads.
    c->n_kv_heads =
        hd_json_get(j, "num_key_value_heads") ? c->n_heads : or_else(f->n_kv_heads, c->n_heads);
    HD_TRY(hd_config_i32(j, "num_key_value_heads", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &c->n_kv_heads,
                         err));
    c->d_head = or_else(f->d_head, c->d_model / c->n_heads);
    HD_TRY(hd_config_i32(j, "head_dim", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &c->d_head, err));
    if (f->reads_attn_bias)
        HD_TRY(hd_json_field_bool(j, "attention_bias", HD_JSON_OPTIONAL, &attn_bias, err));
    if (f->reads_mlp_bias)
        HD_TRY(hd_json_field_bool(j, "mlp_bias", HD_JSON_OPTIONAL, &c->bias_mlp, err));
    c->bias_qkv = f->bias_qkv || attn_bias;
    c->bias_o = attn_bias;
    c->qk_norm = f->qk_norm;
    if (f->reads_window) HD_TRY(hd_config_window_json(j, c->n_layers, c->max_context, err));
    return hd_config_rope_json(j, c->max_context, &c->rope, err);
}

// Things some writers put under the same architecture name and that this recipe does not compute.
static hd_status refuse_gguf(const hd_dense_family *f, const hd_model_cfg *c, const hd_gguf *g,
                             hd_err *err)
{
    const char *arch = f->gguf_name;
    int32_t experts = 0, d_v = c->d_head, n_rot = c->d_head, window = 0;
    if (!f->has_experts)
        HD_TRY(hd_config_gguf_i32(g, arch, "expert_count", HD_JSON_OPTIONAL, 0, INT32_MAX, &experts,
                                  err));
    HD_CHECK(experts == 0, err, HD_E_UNSUPPORTED,
             "key '%s.expert_count': found %d, expected 0: mixture-of-experts models of this "
             "architecture are not supported",
             arch, experts);
    HD_TRY(hd_config_gguf_i32(g, arch, "attention.value_length", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &d_v, err));
    HD_CHECK(d_v == c->d_head, err, HD_E_UNSUPPORTED,
             "key '%s.attention.value_length': found %d, expected the key length %d", arch, d_v,
             c->d_head);
    HD_TRY(hd_config_gguf_i32(g, arch, "rope.dimension_count", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &n_rot, err));
    HD_CHECK(n_rot == c->d_head, err, HD_E_UNSUPPORTED,
             "key '%s.rope.dimension_count': found %d, expected the head width %d", arch, n_rot,
             c->d_head);
    HD_TRY(hd_config_gguf_i32(g, arch, "attention.sliding_window", HD_JSON_OPTIONAL, 0, INT32_MAX,
                              &window, err));
    HD_CHECK(window == 0 || window >= c->max_context, err, HD_E_UNSUPPORTED,
             "key '%s.attention.sliding_window': found %d, expected none below the context of %d",
             arch, window, c->max_context);
    return HD_OK;
}

hd_status hd_dense_configure_gguf(const hd_dense_family *f, hd_model_cfg *c, const hd_gguf *g,
                                  hd_err *err)
{
    const char *a = f->gguf_name;
    HD_TRY(hd_config_sizes_gguf(g, a, c, err));
    c->n_kv_heads = c->n_heads;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.head_count_kv", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &c->n_kv_heads, err));
    c->d_head = c->d_model / c->n_heads;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.key_length", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &c->d_head, err));
    HD_TRY(refuse_gguf(f, c, g, err));
    HD_TRY(hd_config_rope_gguf(g, a, c->max_context, &c->rope, err));
    c->rope.pairing = f->gguf_pairing;
    c->bias_qkv = f->bias_qkv;
    c->qk_norm = f->qk_norm;
    return HD_OK;
}
