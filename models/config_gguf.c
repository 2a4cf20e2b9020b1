// Reader of GGUF metadata. Tensors are not looked at: what only they can tell (a tied head, biases,
// rope_freqs.weight) is found when binding.
#include "kernels/base/log.h"
#include "models/config_read.h"
#include "models/model.h"

#include <inttypes.h>
#include <stdio.h>

enum { KEY_MAX = 128 };

static const double max_theta = 1e15, max_factor = 1e6;

static void full_key(char out[KEY_MAX], const char *arch, const char *key)
{
    snprintf(out, KEY_MAX, "%s.%s", arch, key);
}

static hd_status missing(hd_status st, hd_json_need need, const char *key, hd_err *err)
{
    if (st != HD_E_NOTFOUND) return st;
    if (need == HD_JSON_OPTIONAL) return HD_OK;
    return HD_FAIL(err, HD_E_NOTFOUND, "missing key '%s'", key);
}

hd_status hd_config_gguf_i32(const hd_gguf *g, const char *arch, const char *key, hd_json_need need,
                             int32_t min, int32_t max, int32_t *out, hd_err *err)
{
    char k[KEY_MAX];
    int64_t v = *out;
    full_key(k, arch, key);
    HD_TRY(missing(hd_gguf_get_i64(g, k, min, max, &v, err), need, k, err));
    *out = (int32_t)v;
    return HD_OK;
}

hd_status hd_config_gguf_f64(const hd_gguf *g, const char *arch, const char *key, hd_json_need need,
                             double min, double max, double *out, hd_err *err)
{
    char k[KEY_MAX];
    double v = *out;
    full_key(k, arch, key);
    hd_status st = hd_gguf_get_f64(g, k, &v, err);
    if (st != HD_OK) return missing(st, need, k, err);
    HD_CHECK(v >= min && v <= max, err, HD_E_INVAL, // also false for NaN
             "key '%s': found %g, expected a number in [%g, %g]", k, v, min, max);
    *out = v;
    return HD_OK;
}

hd_status hd_config_gguf_bool(const hd_gguf *g, const char *arch, const char *key, bool *out,
                              hd_err *err)
{
    char k[KEY_MAX];
    full_key(k, arch, key);
    return missing(hd_gguf_get_bool(g, k, out, err), HD_JSON_OPTIONAL, k, err);
}

hd_status hd_config_sizes_gguf(const hd_gguf *g, const char *arch, hd_model_cfg *c, hd_err *err)
{
    const struct {
        const char *key;
        int32_t max, *out;
    } size[] = {
        {"embedding_length", HD_MAX_DIM, &c->d_model},
        {"block_count", HD_MAX_LAYERS, &c->n_layers},
        {"feed_forward_length", HD_MAX_DIM, &c->d_ff},
        {"context_length", HD_MAX_CONTEXT, &c->max_context},
        {"attention.head_count", HD_MAX_DIM, &c->n_heads},
    };
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        HD_TRY(hd_config_gguf_i32(g, arch, size[i].key, HD_JSON_REQUIRED, 1, size[i].max,
                                  size[i].out, err));
    HD_TRY(hd_config_gguf_f64(g, arch, "attention.layer_norm_rms_epsilon", HD_JSON_REQUIRED, 1e-30,
                              0.1, &c->norm_eps, err));
    return hd_config_gguf_vocab(g, arch, &c->vocab, err);
}

hd_status hd_config_gguf_vocab(const hd_gguf *g, const char *arch, int32_t *out, hd_err *err)
{
    hd_gguf_array tokens;
    hd_status st = hd_gguf_get_array(g, "tokenizer.ggml.tokens", HD_GGUF_STRING, &tokens, err);
    if (st == HD_E_NOTFOUND)
        return hd_config_gguf_i32(g, arch, "vocab_size", HD_JSON_REQUIRED, 1, HD_MAX_VOCAB, out,
                                  err);
    HD_TRY(st);
    HD_CHECK(tokens.n >= 1 && tokens.n <= HD_MAX_VOCAB, err, HD_E_LIMIT,
             "key 'tokenizer.ggml.tokens': found %" PRIu64 " pieces, expected 1 to %d", tokens.n,
             HD_MAX_VOCAB);
    *out = (int32_t)tokens.n;
    return HD_OK;
}

static hd_status rope_type(const hd_gguf *g, const char *arch, hd_rope_scaling *out, hd_err *err)
{
    char k[KEY_MAX];
    hd_slice s = hd_slice_str("none");
    full_key(k, arch, "rope.scaling.type");
    HD_TRY(missing(hd_gguf_get_str(g, k, &s, err), HD_JSON_OPTIONAL, k, err));
    if (hd_slice_eq_str(s, "none"))
        *out = HD_SCALING_NONE;
    else if (hd_slice_eq_str(s, "linear"))
        *out = HD_SCALING_LINEAR;
    else if (hd_slice_eq_str(s, "yarn"))
        *out = HD_SCALING_YARN;
    else
        return HD_FAIL(err, HD_E_UNSUPPORTED,
                       "key '%s': '%.*s' is not supported; supported: none, linear, yarn", k,
                       (int)(s.n < 64 ? s.n : 64), s.p);
    return HD_OK;
}

static hd_status yarn_gguf(const hd_gguf *g, const char *arch, int32_t max_context, hd_rope_cfg *r,
                           hd_err *err)
{
    char k[KEY_MAX];
    r->original_context = max_context;
    HD_TRY(hd_config_gguf_i32(g, arch, "rope.scaling.original_context_length", HD_JSON_OPTIONAL, 1,
                              HD_MAX_CONTEXT, &r->original_context, err));
    HD_TRY(hd_config_gguf_f64(g, arch, "rope.scaling.yarn_beta_fast", HD_JSON_OPTIONAL, 1e-6,
                              max_factor, &r->beta_fast, err));
    HD_TRY(hd_config_gguf_f64(g, arch, "rope.scaling.yarn_beta_slow", HD_JSON_OPTIONAL, 1e-6,
                              max_factor, &r->beta_slow, err));
    full_key(k, arch, "rope.scaling.attn_factor");
    if (hd_gguf_has(g, k))
        HD_LOG(HD_LOG_INFO, "load", "rope.scaling.attn_factor is not used, as in transformers",
               hd_f_str("key", k));
    return HD_OK;
}

hd_status hd_config_rope_gguf(const hd_gguf *g, const char *arch, int32_t max_context,
                              hd_rope_cfg *r, hd_err *err)
{
    *r = (hd_rope_cfg){.theta = 10000,
                       .factor = 1,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .truncate = true,
                       .pairing = HD_ROPE_HALF};
    HD_TRY(hd_config_gguf_f64(g, arch, "rope.freq_base", HD_JSON_OPTIONAL, 1, max_theta, &r->theta,
                              err));
    HD_TRY(rope_type(g, arch, &r->scaling, err));
    if (r->scaling == HD_SCALING_NONE) return HD_OK;
    HD_TRY(hd_config_gguf_f64(g, arch, "rope.scaling.factor", HD_JSON_REQUIRED, 1e-6, max_factor,
                              &r->factor, err));
    return r->scaling == HD_SCALING_YARN ? yarn_gguf(g, arch, max_context, r, err) : HD_OK;
}

static hd_status unknown_arch(hd_slice name, hd_err *err)
{
    char known[200] = "";
    size_t n = 0;
    for (int i = 0; hd_arch_list[i]; i++)
        if (hd_arch_list[i]->gguf_name && n < sizeof(known))
            n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "",
                                  hd_arch_list[i]->gguf_name);
    return HD_FAIL(err, HD_E_UNSUPPORTED,
                   "general.architecture '%.*s' is not supported; supported: %s",
                   (int)(name.n < 64 ? name.n : 64), name.p, known);
}

hd_status hd_config_from_gguf(const hd_gguf *g, hd_model_cfg *cfg, hd_err *err)
{
    static const char key[] = "general.architecture";
    hd_slice name;
    *cfg = (hd_model_cfg){0};
    HD_TRY(missing(hd_gguf_get_str(g, key, &name, err), HD_JSON_REQUIRED, key, err));
    const hd_arch *arch = hd_arch_by_gguf_name(name);
    if (!arch) return unknown_arch(name, err);
    cfg->arch = arch->name;
    cfg->from_gguf = true;
    HD_TRY(arch->configure_gguf(cfg, g, err));
    return hd_config_check(cfg, err);
}
