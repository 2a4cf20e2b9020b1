// config.json of the mixture-of-experts families. Ranges and divisibility that hold for every file
// format are checked by hd_config_check; here only what the fields themselves say.
#include "models/arch/sparse.h"

#include "models/config_read.h"

#include <stdio.h>

// The class of these norms in the published code takes its own default, not rms_norm_eps.
static const double inner_norm_eps = 1e-6;

// ---- experts -------------------------------------------------------------------------------

static const char *score_name(hd_gate_score score)
{
    return score == HD_GATE_SIGMOID ? "sigmoid" : "softmax";
}

static hd_status unknown_method(const hd_sparse_family *f, hd_slice found, hd_err *err)
{
    char known[120] = "";
    size_t n = 0;
    for (const hd_topk_method *m = f->method; m->name && n < sizeof(known); m++)
        n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", m->name);
    return HD_FAIL(err, HD_E_UNSUPPORTED, "topk_method '%.*s' is not supported; supported: %s",
                   (int)(found.n < 64 ? found.n : 64), found.p, known);
}

static hd_status groups_json(const hd_sparse_family *f, hd_moe_cfg *m, const hd_json *j,
                             hd_err *err)
{
    const struct {
        const char *key;
        int32_t otherwise, *out;
    } count[] = {{"n_group", f->moe.n_group, &m->n_group},
                 {"topk_group", f->moe.topk_group, &m->topk_group}};
    for (int i = 0; i < 2; i++) {
        HD_TRY(hd_config_nullable_i32(j, count[i].key, 1, HD_MAX_EXPERTS, count[i].otherwise,
                                      count[i].out, err));
        HD_CHECK(*count[i].out > 0, err, HD_E_NOTFOUND, "missing field '%s'", count[i].key);
    }
    return HD_OK;
}

static hd_status routing_json(const hd_sparse_family *f, hd_moe_cfg *m, const hd_json *j,
                              hd_err *err)
{
    const char *score = score_name(f->moe.score);
    const hd_topk_method *method = f->method;
    hd_slice text = hd_slice_str(score);
    HD_TRY(hd_json_field_str(j, "scoring_func", HD_JSON_OPTIONAL, &text, err));
    HD_CHECK(hd_slice_eq_str(text, score), err, HD_E_UNSUPPORTED,
             "scoring_func '%.*s' is not supported; supported: %s",
             (int)(text.n < 64 ? text.n : 64), text.p, score);
    text = hd_slice_str(method->name);
    HD_TRY(hd_json_field_str(j, "topk_method", HD_JSON_OPTIONAL, &text, err));
    while (method->name && !hd_slice_eq_str(text, method->name))
        method++;
    if (!method->name) return unknown_method(f, text, err);
    m->group = method->group;
    if (m->group == HD_GROUP_NONE) return HD_OK;
    HD_TRY(groups_json(f, m, j, err));
    if (m->n_group == 1 && m->topk_group == 1) m->group = HD_GROUP_NONE;
    return HD_OK;
}

hd_status hd_sparse_moe_json(const hd_sparse_family *f, hd_model_cfg *c, const hd_json *j,
                             hd_err *err)
{
    hd_moe_cfg *m = &c->moe;
    *m = f->moe;
    HD_TRY(hd_config_nullable_i32(j, "n_routed_experts", 1, HD_MAX_EXPERTS, f->moe.n_experts,
                                  &m->n_experts, err));
    if (m->n_experts == 0) {
        *m = (hd_moe_cfg){0};
        return HD_OK;
    }
    HD_TRY(hd_config_nullable_i32(j, "n_shared_experts", 0, HD_MAX_EXPERTS, f->moe.n_shared,
                                  &m->n_shared, err));
    HD_TRY(hd_config_i32(j, "num_experts_per_tok",
                         m->n_active > 0 ? HD_JSON_OPTIONAL : HD_JSON_REQUIRED, 1, HD_MAX_EXPERTS,
                         &m->n_active, err));
    HD_TRY(hd_config_i32(j, "moe_intermediate_size", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &m->d_expert,
                         err));
    HD_TRY(hd_config_i32(j, "first_k_dense_replace", HD_JSON_OPTIONAL, 0, HD_MAX_LAYERS, &m->first,
                         err));
    HD_TRY(hd_config_i32(j, "moe_layer_freq", HD_JSON_OPTIONAL, 1, HD_MAX_LAYERS, &m->every, err));
    HD_TRY(hd_json_field_bool(j, "norm_topk_prob", HD_JSON_OPTIONAL, &m->normalize, err));
    HD_TRY(
        hd_json_field_f64(j, "routed_scaling_factor", HD_JSON_OPTIONAL, 1e-6, 1e6, &m->scale, err));
    return routing_json(f, m, j, err);
}

// ---- latent attention ----------------------------------------------------------------------

// Fields that say again what others say: a contradiction would mean another computation.
static hd_status check_repeated(const hd_model_cfg *c, const hd_json *j, hd_err *err)
{
    const hd_mla_cfg *a = &c->mla;
    int32_t kv_heads = c->n_heads, qk = c->d_head, head = a->d_rope;
    bool use_mla = true;
    HD_TRY(hd_json_field_bool(j, "use_mla", HD_JSON_OPTIONAL, &use_mla, err));
    HD_CHECK(use_mla, err, HD_E_UNSUPPORTED,
             "use_mla: found false, expected true for this architecture");
    HD_TRY(
        hd_config_i32(j, "num_key_value_heads", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &kv_heads, err));
    HD_CHECK(kv_heads == c->n_heads, err, HD_E_INVAL,
             "num_key_value_heads: found %d, expected num_attention_heads %d", kv_heads,
             c->n_heads);
    HD_TRY(hd_config_i32(j, "qk_head_dim", HD_JSON_OPTIONAL, 1, 2 * HD_MAX_DIM, &qk, err));
    HD_CHECK(qk == c->d_head, err, HD_E_INVAL,
             "qk_head_dim: found %d, expected qk_nope_head_dim + qk_rope_head_dim = %d", qk,
             c->d_head);
    // transformers calls the rotated part of a head by this name.
    HD_TRY(hd_config_i32(j, "head_dim", HD_JSON_OPTIONAL, 1, 2 * HD_MAX_DIM, &head, err));
    HD_CHECK(head == a->d_rope || head == c->d_head, err, HD_E_INVAL,
             "head_dim: found %d, expected qk_rope_head_dim %d or the whole head's %d", head,
             a->d_rope, c->d_head);
    return HD_OK;
}

static hd_status mla_json(const hd_sparse_family *f, hd_model_cfg *c, const hd_json *j, hd_err *err)
{
    hd_mla_cfg *a = &c->mla;
    *a = f->mla;
    a->norm_eps = inner_norm_eps;
    const struct {
        const char *key;
        int32_t *out;
    } size[] = {{"kv_lora_rank", &a->d_latent},
                {"qk_nope_head_dim", &a->d_nope},
                {"qk_rope_head_dim", &a->d_rope},
                {"v_head_dim", &a->d_v}};
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        HD_TRY(hd_config_i32(j, size[i].key, HD_JSON_OPTIONAL, 1, HD_MAX_DIM, size[i].out, err));
    HD_TRY(hd_config_nullable_i32(j, "q_lora_rank", 1, HD_MAX_DIM, f->mla.q_lora, &a->q_lora, err));
    c->n_kv_heads = c->n_heads;
    c->d_head = a->d_nope + a->d_rope;
    return check_repeated(c, j, err);
}

static hd_status rope_json(const hd_sparse_family *f, hd_model_cfg *c, const hd_json *j,
                           hd_err *err)
{
    bool interleave = true;
    HD_TRY(hd_config_rope_json(j, c->max_context, &c->rope, err));
    if (f->reads_interleave)
        HD_TRY(hd_json_field_bool(j, "rope_interleave", HD_JSON_OPTIONAL, &interleave, err));
    c->rope.pairing = interleave ? HD_ROPE_INTERLEAVED : HD_ROPE_HALF;
    return HD_OK;
}

hd_status hd_sparse_configure(const hd_sparse_family *f, hd_model_cfg *c, const hd_json *j,
                              hd_err *err)
{
    bool bias = false, mlp_bias = false;
    HD_TRY(hd_config_refuse_json(j, err));
    HD_TRY(hd_config_quant_json(j, true, c, err));
    c->max_context = f->max_context;
    HD_TRY(hd_config_sizes_json(j, c, err));
    HD_TRY(mla_json(f, c, j, err));
    HD_TRY(hd_json_field_bool(j, "attention_bias", HD_JSON_OPTIONAL, &bias, err));
    c->bias_qkv = c->bias_o = bias;
    HD_TRY(hd_json_field_bool(j, "mlp_bias", HD_JSON_OPTIONAL, &mlp_bias, err));
    HD_CHECK(!mlp_bias, err, HD_E_UNSUPPORTED,
             "mlp_bias: found true, expected false for this architecture");
    HD_TRY(rope_json(f, c, j, err));
    HD_TRY(hd_sparse_moe_json(f, c, j, err));
    // Two spellings, the first of newer transformers.
    HD_TRY(
        hd_config_i32(j, "num_mtp_layers", HD_JSON_OPTIONAL, 0, HD_MAX_MTP_LAYERS, &c->n_mtp, err));
    return hd_config_i32(j, "num_nextn_predict_layers", HD_JSON_OPTIONAL, 0, HD_MAX_MTP_LAYERS,
                         &c->n_mtp, err);
}
