// Reader of config.json: fields shared by the families, with both spellings of RoPE settings.
// Which fields a family has, and their defaults, stand in its file under arch/.
#include "models/config_read.h"
#include "models/model.h"

#include <stdio.h>

static const double max_theta = 1e15, max_factor = 1e6;

hd_status hd_config_i32(const hd_json *config, const char *key, hd_json_need need, int32_t min,
                        int32_t max, int32_t *out, hd_err *err)
{
    int64_t v = *out;
    HD_TRY(hd_json_field_i64(config, key, need, min, max, &v, err));
    *out = (int32_t)v;
    return HD_OK;
}

hd_status hd_config_nullable_i32(const hd_json *config, const char *key, int32_t min, int32_t max,
                                 int32_t otherwise, int32_t *out, hd_err *err)
{
    *out = hd_json_get(config, key) ? 0 : otherwise;
    return hd_config_i32(config, key, HD_JSON_OPTIONAL, min, max, out, err);
}

hd_status hd_config_sizes_json(const hd_json *config, hd_model_cfg *c, hd_err *err)
{
    const struct {
        const char *key;
        int32_t max, *out;
    } size[] = {
        {"hidden_size", HD_MAX_DIM, &c->d_model},
        {"num_hidden_layers", HD_MAX_LAYERS, &c->n_layers},
        {"num_attention_heads", HD_MAX_DIM, &c->n_heads},
        {"intermediate_size", HD_MAX_DIM, &c->d_ff},
        {"vocab_size", HD_MAX_VOCAB, &c->vocab},
    };
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        HD_TRY(
            hd_config_i32(config, size[i].key, HD_JSON_REQUIRED, 1, size[i].max, size[i].out, err));
    HD_TRY(hd_config_i32(config, "max_position_embeddings", HD_JSON_OPTIONAL, 1, HD_MAX_CONTEXT,
                         &c->max_context, err));
    c->norm_eps = 1e-6;
    HD_TRY(
        hd_json_field_f64(config, "rms_norm_eps", HD_JSON_OPTIONAL, 1e-30, 0.1, &c->norm_eps, err));
    return hd_json_field_bool(config, "tie_word_embeddings", HD_JSON_OPTIONAL, &c->tied, err);
}

hd_status hd_config_refuse_json(const hd_json *config, hd_err *err)
{
    hd_slice text = hd_slice_str("silu");
    double partial = 1;
    HD_TRY(
        hd_json_field_f64(config, "partial_rotary_factor", HD_JSON_OPTIONAL, 0, 1, &partial, err));
    HD_CHECK(partial == 1, err, HD_E_UNSUPPORTED,
             "partial_rotary_factor: found %g, expected 1 for this architecture", partial);
    HD_TRY(hd_json_field_str(config, "hidden_act", HD_JSON_OPTIONAL, &text, err));
    HD_CHECK(hd_slice_eq_str(text, "silu") || hd_slice_eq_str(text, "swish"), err, HD_E_UNSUPPORTED,
             "hidden_act '%.*s' is not supported; supported: silu", (int)text.n, text.p);
    return HD_OK;
}

// ---- quantization_config -------------------------------------------------------------------

// A text field whose value must be one of those given (NULL-terminated); absent is fine.
static hd_status one_of(const hd_json *quant, const char *key, const char *const *known,
                        hd_err *err)
{
    hd_slice s = hd_slice_str(known[0]);
    HD_TRY(hd_json_field_str(quant, key, HD_JSON_OPTIONAL, &s, err));
    for (const char *const *k = known; *k; k++)
        if (hd_slice_eq_str(s, *k)) return HD_OK;
    return HD_FAIL(err, HD_E_UNSUPPORTED,
                   "quantization_config.%s '%.*s' is not supported; supported: %s%s%s", key,
                   (int)(s.n < 64 ? s.n : 64), s.p, known[0], known[1] ? ", " : "",
                   known[1] ? known[1] : "");
}

static hd_status fp8_block(const hd_json *quant, hd_model_cfg *c, hd_err *err)
{
    const hd_json *block = hd_json_get(quant, "weight_block_size");
    const hd_json *rows = hd_json_first(block), *cols = hd_json_next(rows);
    int64_t r = 0, n = 0;
    HD_CHECK(!hd_json_is_null(block), err, HD_E_NOTFOUND,
             "quantization_config: missing field 'weight_block_size'");
    HD_CHECK(hd_json_type(block) == HD_JSON_ARRAY && hd_json_len(block) == 2 &&
                 hd_json_i64(rows, &r) && hd_json_i64(cols, &n) && r >= 1 && r <= HD_MAX_DIM &&
                 n >= 1 && n <= HD_MAX_DIM,
             err, HD_E_INVAL,
             "quantization_config: field 'weight_block_size': expected two integers in [1, %d]",
             HD_MAX_DIM);
    c->fp8_rows = (int32_t)r;
    c->fp8_cols = (int32_t)n;
    return HD_OK;
}

// activation_scheme says how activations were quantized in training; ours are not. Scales are read
// as what their tensors say, so scale_fmt only has to be known. modules_to_not_convert: likewise,
// each tensor's own type decides.
hd_status hd_config_quant_json(const hd_json *config, bool may_be_fp8, hd_model_cfg *c, hd_err *err)
{
    static const char *const fmt[] = {"e4m3", NULL}, *const scale_fmt[] = {"float", "ue8m0", NULL};
    hd_slice method = hd_slice_str("unnamed");
    const hd_json *quant = hd_json_get(config, "quantization_config");
    if (hd_json_is_null(quant)) return HD_OK;
    HD_CHECK(hd_json_type(quant) == HD_JSON_OBJECT, err, HD_E_INVAL,
             "field 'quantization_config': found %s, expected an object or null",
             hd_json_type_name(quant));
    HD_TRY(hd_json_field_str(quant, "quant_method", HD_JSON_OPTIONAL, &method, err));
    HD_CHECK(may_be_fp8 && hd_slice_eq_str(method, "fp8"), err, HD_E_UNSUPPORTED,
             "quantization_config with quant_method '%.*s' is not supported for this "
             "architecture; use the unquantized checkpoint or a GGUF file",
             (int)(method.n < 64 ? method.n : 64), method.p);
    HD_TRY(one_of(quant, "fmt", fmt, err));
    HD_TRY(one_of(quant, "scale_fmt", scale_fmt, err));
    return fp8_block(quant, c, err);
}

// ---- sliding window ------------------------------------------------------------------------

// Layers from max_window_layers on use the window unless layer_types lists them one by one.
static hd_status any_windowed(const hd_json *config, int32_t n_layers, bool use, bool *any,
                              hd_err *err)
{
    int32_t full_layers = 28; // the families' common default
    HD_TRY(hd_config_i32(config, "max_window_layers", HD_JSON_OPTIONAL, 0, INT32_MAX, &full_layers,
                         err));
    *any = use && full_layers < n_layers;
    const hd_json *types = hd_json_get(config, "layer_types");
    if (hd_json_is_null(types)) return HD_OK;
    HD_CHECK(hd_json_type(types) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "field 'layer_types': found %s, expected an array", hd_json_type_name(types));
    *any = false;
    for (const hd_json *t = hd_json_first(types); t; t = hd_json_next(t)) {
        hd_slice s = {"", 0};
        hd_json_str(t, &s);
        bool windowed = hd_slice_eq_str(s, "sliding_attention");
        HD_CHECK(windowed || hd_slice_eq_str(s, "full_attention"), err, HD_E_UNSUPPORTED,
                 "layer_types: '%.*s' is not supported; supported: full_attention", (int)s.n, s.p);
        *any |= windowed;
    }
    return HD_OK;
}

hd_status hd_config_window_json(const hd_json *config, int32_t n_layers, int32_t max_context,
                                hd_err *err)
{
    bool use = false, any;
    int32_t window = 4096; // the families' common default
    HD_TRY(hd_json_field_bool(config, "use_sliding_window", HD_JSON_OPTIONAL, &use, err));
    HD_TRY(hd_config_i32(config, "sliding_window", HD_JSON_OPTIONAL, 1, INT32_MAX, &window, err));
    const hd_json *given = hd_json_get(config, "sliding_window");
    bool none = given && hd_json_is_null(given);
    HD_TRY(any_windowed(config, n_layers, use && !none, &any, err));
    HD_CHECK(!any || window >= max_context, err, HD_E_UNSUPPORTED,
             "use_sliding_window with sliding_window %d below max_position_embeddings %d is not "
             "supported",
             window, max_context);
    return HD_OK;
}

// ---- RoPE ----------------------------------------------------------------------------------

// The dictionary of settings: rope_scaling when it holds something (it wins in transformers too),
// else rope_parameters; NULL when there is neither.
static hd_status rope_dict(const hd_json *config, const hd_json **out, hd_err *err)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    *out = NULL;
    for (int i = 0; i < 2 && !*out; i++) {
        const hd_json *d = hd_json_get(config, keys[i]);
        if (hd_json_is_null(d)) continue;
        HD_CHECK(hd_json_type(d) == HD_JSON_OBJECT, err, HD_E_INVAL,
                 "field '%s': found %s, expected an object or null", keys[i], hd_json_type_name(d));
        if (hd_json_len(d) > 0) *out = d;
    }
    for (const hd_json *v = hd_json_first(*out); v; v = hd_json_next(v)) {
        hd_slice key = hd_json_key(v);
        HD_CHECK(hd_json_type(v) != HD_JSON_OBJECT, err, HD_E_UNSUPPORTED,
                 "RoPE settings per layer type ('%.*s') are not supported", (int)key.n, key.p);
    }
    return HD_OK;
}

static hd_status rope_type(const hd_json *dict, hd_rope_scaling *out, hd_err *err)
{
    hd_slice s = hd_slice_str("default");
    HD_TRY(hd_json_field_str(dict, "type", HD_JSON_OPTIONAL, &s, err));
    HD_TRY(hd_json_field_str(dict, "rope_type", HD_JSON_OPTIONAL, &s, err));
    if (hd_slice_eq_str(s, "default"))
        *out = HD_SCALING_NONE;
    else if (hd_slice_eq_str(s, "linear"))
        *out = HD_SCALING_LINEAR;
    else if (hd_slice_eq_str(s, "llama3"))
        *out = HD_SCALING_LLAMA3;
    else if (hd_slice_eq_str(s, "yarn"))
        *out = HD_SCALING_YARN;
    else
        return HD_FAIL(err, HD_E_UNSUPPORTED,
                       "rope type '%.*s' is not supported; supported: default, linear, llama3, "
                       "yarn",
                       (int)s.n, s.p);
    return HD_OK;
}

// A positive number; absent, null and 0 all mean "not given" and keep *out.
static hd_status positive(const hd_json *dict, const char *key, double max, double *out,
                          hd_err *err)
{
    double v = 0;
    HD_TRY(hd_json_field_f64(dict, key, HD_JSON_OPTIONAL, 0, max, &v, err));
    if (v > 0) *out = v;
    return HD_OK;
}

static hd_status original_context(const hd_json *config, const hd_json *dict, int32_t max_context,
                                  hd_rope_cfg *r, hd_err *err)
{
    static const char key[] = "original_max_position_embeddings";
    r->original_context = max_context;
    HD_TRY(
        hd_config_i32(dict, key, HD_JSON_OPTIONAL, 1, HD_MAX_CONTEXT, &r->original_context, err));
    return hd_config_i32(config, key, HD_JSON_OPTIONAL, 1, HD_MAX_CONTEXT, &r->original_context,
                         err);
}

static hd_status yarn_json(const hd_json *dict, int32_t max_context, hd_rope_cfg *r, hd_err *err)
{
    r->factor = (double)max_context / r->original_context; // an explicit null means the ratio
    if (!hd_json_get(dict, "factor"))
        return HD_FAIL(err, HD_E_NOTFOUND, "rope type yarn: missing field 'factor'");
    HD_TRY(hd_json_field_f64(dict, "factor", HD_JSON_OPTIONAL, 1e-6, max_factor, &r->factor, err));
    HD_TRY(positive(dict, "beta_fast", max_factor, &r->beta_fast, err));
    HD_TRY(positive(dict, "beta_slow", max_factor, &r->beta_slow, err));
    HD_TRY(hd_json_field_f64(dict, "attention_factor", HD_JSON_OPTIONAL, 1e-6, max_factor,
                             &r->attention_factor, err));
    HD_TRY(positive(dict, "mscale", max_factor, &r->mscale, err));
    HD_TRY(positive(dict, "mscale_all_dim", max_factor, &r->mscale_all_dim, err));
    return hd_json_field_bool(dict, "truncate", HD_JSON_OPTIONAL, &r->truncate, err);
}

hd_status hd_config_rope_json(const hd_json *config, int32_t max_context, hd_rope_cfg *r,
                              hd_err *err)
{
    const hd_json *dict;
    double partial = 1;
    *r = (hd_rope_cfg){.theta = 10000,
                       .factor = 1,
                       .beta_fast = 32,
                       .beta_slow = 1,
                       .truncate = true,
                       .pairing = HD_ROPE_HALF};
    HD_TRY(rope_dict(config, &dict, err));
    HD_TRY(hd_json_field_f64(config, "rope_theta", HD_JSON_OPTIONAL, 1, max_theta, &r->theta, err));
    if (!dict) return HD_OK;
    HD_TRY(hd_json_field_f64(dict, "rope_theta", HD_JSON_OPTIONAL, 1, max_theta, &r->theta, err));
    HD_TRY(hd_json_field_f64(dict, "partial_rotary_factor", HD_JSON_OPTIONAL, 0, 1, &partial, err));
    HD_CHECK(partial == 1, err, HD_E_UNSUPPORTED,
             "partial_rotary_factor: found %g, expected 1 for this architecture", partial);
    HD_TRY(rope_type(dict, &r->scaling, err));
    if (r->scaling == HD_SCALING_NONE) return HD_OK;
    if (r->scaling != HD_SCALING_LINEAR)
        HD_TRY(original_context(config, dict, max_context, r, err));
    if (r->scaling == HD_SCALING_YARN) return yarn_json(dict, max_context, r, err);
    HD_TRY(hd_json_field_f64(dict, "factor", HD_JSON_REQUIRED, 1e-6, max_factor, &r->factor, err));
    if (r->scaling == HD_SCALING_LINEAR) return HD_OK;
    HD_TRY(hd_json_field_f64(dict, "low_freq_factor", HD_JSON_REQUIRED, 1e-6, max_factor,
                             &r->low_freq_factor, err));
    return hd_json_field_f64(dict, "high_freq_factor", HD_JSON_REQUIRED, 1e-6, max_factor,
                             &r->high_freq_factor, err);
}

// ---- architecture --------------------------------------------------------------------------

static hd_status unknown_arch(hd_slice name, hd_err *err)
{
    char known[400] = "";
    size_t n = 0;
    for (int i = 0; hd_arch_list[i]; i++)
        for (const char *const *h = hd_arch_list[i]->hf_names; *h && n < sizeof(known); h++)
            n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", *h);
    return HD_FAIL(err, HD_E_UNSUPPORTED, "architecture '%.*s' is not supported; supported: %s",
                   (int)(name.n < 64 ? name.n : 64), name.p, known);
}

static hd_status find_arch(const hd_json *config, const hd_arch **out, hd_err *err)
{
    const hd_json *list = hd_json_get(config, "architectures");
    HD_CHECK(!hd_json_is_null(list), err, HD_E_NOTFOUND, "missing field 'architectures'");
    HD_CHECK(hd_json_type(list) == HD_JSON_ARRAY && hd_json_len(list) > 0, err, HD_E_INVAL,
             "field 'architectures': found %s, expected an array of names",
             hd_json_len(list) > 0 || hd_json_type(list) != HD_JSON_ARRAY ? hd_json_type_name(list)
                                                                          : "an empty array");
    for (const hd_json *v = hd_json_first(list); v; v = hd_json_next(v)) {
        hd_slice name;
        HD_CHECK(hd_json_str(v, &name), err, HD_E_INVAL,
                 "field 'architectures': found %s inside, expected a string", hd_json_type_name(v));
        *out = hd_arch_by_hf_name(name);
        if (*out) return HD_OK;
    }
    hd_slice first = {"", 0};
    hd_json_str(hd_json_first(list), &first);
    return unknown_arch(first, err);
}

hd_status hd_config_from_json(const hd_json *config, hd_model_cfg *cfg, hd_err *err)
{
    const hd_arch *arch = NULL;
    *cfg = (hd_model_cfg){0};
    HD_CHECK(hd_json_type(config) == HD_JSON_OBJECT, err, HD_E_INVAL,
             "found %s, expected an object", hd_json_type_name(config));
    HD_TRY(find_arch(config, &arch, err));
    cfg->arch = arch->name;
    HD_TRY(arch->configure(cfg, config, err));
    return hd_config_check(cfg, err);
}
