// Configuration: which reader serves a model, and the checks that every architecture shares.
// Reads no file itself; config_json.c and config_gguf.c do.
#include "models/config.h"

#include "models/config_read.h"

hd_status hd_config_read(const hd_model_src *src, hd_model_cfg *cfg, hd_err *err)
{
    HD_CHECK(src->gguf || src->config, err, HD_E_NOTFOUND, "%s/config.json: there is no such file",
             src->path);
    hd_status st = src->gguf ? hd_config_from_gguf(src->gguf, cfg, err)
                             : hd_config_from_json(src->config, cfg, err);
    if (st == HD_OK) return HD_OK;
    return hd_err_prefix(err, st, "%s%s", src->path, src->gguf ? "" : "/config.json");
}

static hd_status check_dim(const char *what, int64_t value, int64_t min, int64_t max, hd_err *err)
{
    HD_CHECK(value >= min && value <= max, err, HD_E_LIMIT,
             "%s: found %lld, expected at least %lld and at most %lld", what, (long long)value,
             (long long)min, (long long)max);
    return HD_OK;
}

static hd_status check_rope(const hd_rope_cfg *r, hd_err *err)
{
    HD_CHECK(r->theta >= 1, err, HD_E_INVAL, "rope theta: found %g, expected at least 1", r->theta);
    if (r->scaling == HD_SCALING_NONE || r->scaling == HD_SCALING_FACTORS) return HD_OK;
    HD_CHECK(r->factor > 0, err, HD_E_INVAL, "rope factor: found %g, expected more than 0",
             r->factor);
    if (r->scaling == HD_SCALING_LINEAR) return HD_OK;
    HD_TRY(check_dim("rope original context", r->original_context, 1, HD_MAX_CONTEXT, err));
    if (r->scaling == HD_SCALING_LLAMA3)
        HD_CHECK(r->low_freq_factor > 0 && r->high_freq_factor > r->low_freq_factor, err,
                 HD_E_INVAL,
                 "rope low_freq_factor %g and high_freq_factor %g: expected 0 < low < high",
                 r->low_freq_factor, r->high_freq_factor);
    if (r->scaling == HD_SCALING_YARN)
        HD_CHECK(r->theta > 1 && r->beta_fast > 0 && r->beta_slow > 0, err, HD_E_INVAL,
                 "yarn with theta %g, beta_fast %g, beta_slow %g: expected theta > 1, betas > 0",
                 r->theta, r->beta_fast, r->beta_slow);
    return HD_OK;
}

// ---- attention -----------------------------------------------------------------------------

static hd_status check_grouped(const hd_model_cfg *c, hd_err *err)
{
    HD_TRY(check_dim("key/value heads", c->n_kv_heads, 1, c->n_heads, err));
    HD_TRY(check_dim("head width", c->d_head, 2, HD_MAX_DIM, err));
    HD_CHECK(c->n_heads % c->n_kv_heads == 0, err, HD_E_INVAL,
             "%d attention heads and %d key/value heads: expected a multiple", c->n_heads,
             c->n_kv_heads);
    HD_CHECK(c->d_head % 2 == 0, err, HD_E_INVAL,
             "head width: found %d, expected an even number (it is rotated in pairs)", c->d_head);
    return check_dim("columns of query, key and value together",
                     ((int64_t)c->n_heads + 2 * (int64_t)c->n_kv_heads) * c->d_head, 2, HD_MAX_DIM,
                     err);
}

// The field's name in the kind of file that was read.
static const char *field(const hd_model_cfg *c, const char *json, const char *gguf)
{
    return c->from_gguf ? gguf : json;
}

// Work memory of attention grows with the batch up to fixed numbers of tokens and keys; these
// bounds keep its count of floats an int32.
static hd_status check_latent_work(const hd_model_cfg *c, hd_err *err)
{
    const hd_mla_cfg *a = &c->mla;
    HD_TRY(check_dim("heads times twice the latent and rotated columns",
                     c->n_heads * (2 * (int64_t)a->d_latent + a->d_rope), 2,
                     INT32_MAX / HD_MLA_GROUP_TOKENS, err));
    return check_dim("key and value columns of a head", (int64_t)c->d_head + a->d_v, 2,
                     INT32_MAX / HD_MLA_EXPAND_KEYS, err);
}

static hd_status check_latent(const hd_model_cfg *c, hd_err *err)
{
    const hd_mla_cfg *a = &c->mla;
    const char *rope = field(c, "qk_rope_head_dim", "rope.dimension_count");
    HD_TRY(check_dim(field(c, "kv_lora_rank", "attention.kv_lora_rank"), a->d_latent, 2, HD_MAX_DIM,
                     err));
    if (a->q_lora > 0)
        HD_TRY(check_dim(field(c, "q_lora_rank", "attention.q_lora_rank"), a->q_lora, 2, HD_MAX_DIM,
                         err));
    HD_TRY(check_dim(field(c, "qk_nope_head_dim", "key length without rope.dimension_count"),
                     a->d_nope, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim(rope, a->d_rope, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim(field(c, "v_head_dim", "value length"), a->d_v, 2, HD_MAX_DIM, err));
    HD_CHECK(a->d_rope % 2 == 0, err, HD_E_INVAL,
             "%s: found %d, expected an even number (it is rotated in pairs)", rope, a->d_rope);
    HD_TRY(
        check_dim("columns of all queries", (int64_t)c->n_heads * c->d_head, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("keys and values of all heads",
                     (int64_t)c->n_heads * ((int64_t)a->d_nope + a->d_v), 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("latent and rotated columns", (int64_t)a->d_latent + a->d_rope, 2, HD_MAX_DIM,
                     err));
    HD_CHECK(a->norm_eps > 0 && a->norm_eps < 1, err, HD_E_INVAL,
             "norm epsilon inside attention: found %g, expected more than 0 and less than 1",
             a->norm_eps);
    return check_latent_work(c, err);
}

// ---- experts -------------------------------------------------------------------------------

static hd_status check_groups(const hd_model_cfg *c, hd_err *err)
{
    const hd_moe_cfg *m = &c->moe;
    const char *groups = field(c, "n_group", "expert_group_count");
    const char *used = field(c, "topk_group", "expert_group_used_count");
    if (m->group == HD_GROUP_NONE) return HD_OK;
    HD_TRY(check_dim(groups, m->n_group, 1, m->n_experts, err));
    HD_CHECK(m->n_experts % m->n_group == 0, err, HD_E_INVAL,
             "%s: found %d, expected a divisor of %s %d", groups, m->n_group,
             field(c, "n_routed_experts", "expert_count"), m->n_experts);
    const int32_t size = m->n_experts / m->n_group;
    HD_CHECK(m->group != HD_GROUP_TOP2 || size >= 2, err, HD_E_INVAL,
             "%s: found %d, expected at least two of the %d experts in a group", groups, m->n_group,
             m->n_experts);
    HD_TRY(check_dim(used, m->topk_group, 1, m->n_group, err));
    HD_CHECK(m->n_active <= m->topk_group * size, err, HD_E_INVAL,
             "%s: found %d, expected at most the %d experts of %d groups",
             field(c, "num_experts_per_tok", "expert_used_count"), m->n_active,
             m->topk_group * size, m->topk_group);
    return HD_OK;
}

static hd_status check_experts(const hd_model_cfg *c, hd_err *err)
{
    const hd_moe_cfg *m = &c->moe;
    HD_TRY(check_dim(field(c, "n_routed_experts", "expert_count"), m->n_experts, 2, HD_MAX_EXPERTS,
                     err));
    HD_TRY(check_dim(field(c, "num_experts_per_tok", "expert_used_count"), m->n_active, 1,
                     m->n_experts, err));
    HD_TRY(check_dim(field(c, "moe_intermediate_size", "expert_feed_forward_length"), m->d_expert,
                     2, HD_MAX_DIM, err));
    HD_TRY(check_dim(field(c, "n_shared_experts times moe_intermediate_size",
                           "expert_shared_count times expert_feed_forward_length"),
                     (int64_t)m->n_shared * m->d_expert, 0, HD_MAX_DIM, err));
    HD_CHECK(m->scale > 0 && m->scale <= 1e6, err, HD_E_INVAL,
             "%s: found %g, expected more than 0 and at most 1e6",
             field(c, "routed_scaling_factor", "expert_weights_scale"), m->scale);
    return check_groups(c, err);
}

// ---- all -----------------------------------------------------------------------------------

// Widths are at least 2: a matrix of one column would be taken for a vector.
hd_status hd_config_check(const hd_model_cfg *c, hd_err *err)
{
    HD_TRY(check_dim("model width", c->d_model, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("layers", c->n_layers, 1, HD_MAX_LAYERS, err));
    HD_TRY(check_dim("attention heads", c->n_heads, 1, HD_MAX_DIM, err));
    HD_TRY(check_dim("feed-forward width", c->d_ff, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("vocabulary", c->vocab, 1, HD_MAX_VOCAB, err));
    HD_TRY(check_dim("context", c->max_context, 1, HD_MAX_CONTEXT, err));
    HD_TRY(c->mla.d_latent > 0 ? check_latent(c, err) : check_grouped(c, err));
    if (c->moe.n_experts > 0) HD_TRY(check_experts(c, err));
    HD_CHECK(c->norm_eps > 0 && c->norm_eps < 1, err, HD_E_INVAL,
             "norm epsilon: found %g, expected more than 0 and less than 1", c->norm_eps);
    return check_rope(&c->rope, err);
}
