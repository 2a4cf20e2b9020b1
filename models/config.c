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

// Widths are at least 2: a matrix of one column would be taken for a vector.
hd_status hd_config_check(const hd_model_cfg *c, hd_err *err)
{
    HD_TRY(check_dim("model width", c->d_model, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("layers", c->n_layers, 1, HD_MAX_LAYERS, err));
    HD_TRY(check_dim("attention heads", c->n_heads, 1, HD_MAX_DIM, err));
    HD_TRY(check_dim("key/value heads", c->n_kv_heads, 1, c->n_heads, err));
    HD_TRY(check_dim("head width", c->d_head, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("feed-forward width", c->d_ff, 2, HD_MAX_DIM, err));
    HD_TRY(check_dim("vocabulary", c->vocab, 1, HD_MAX_VOCAB, err));
    HD_TRY(check_dim("context", c->max_context, 1, HD_MAX_CONTEXT, err));
    HD_CHECK(c->n_heads % c->n_kv_heads == 0, err, HD_E_INVAL,
             "%d attention heads and %d key/value heads: expected a multiple", c->n_heads,
             c->n_kv_heads);
    HD_CHECK(c->d_head % 2 == 0, err, HD_E_INVAL,
             "head width: found %d, expected an even number (it is rotated in pairs)", c->d_head);
    HD_TRY(check_dim("columns of query, key and value together",
                     ((int64_t)c->n_heads + 2 * (int64_t)c->n_kv_heads) * c->d_head, 2, HD_MAX_DIM,
                     err));
    HD_CHECK(c->norm_eps > 0 && c->norm_eps < 1, err, HD_E_INVAL,
             "norm epsilon: found %g, expected more than 0 and less than 1", c->norm_eps);
    return check_rope(&c->rope, err);
}
