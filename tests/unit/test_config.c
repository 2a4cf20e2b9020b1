// Configurations: defaults of each family, every spelling of RoPE settings, refusals with their
// messages, and frequencies against transformers.
#include "tests/unit/config_kit.h"

#include <math.h>

// Later fields win, so tests append theirs.
#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"                         \
    "\"num_attention_heads\":4,\"vocab_size\":100"
#define LLAMA "{\"architectures\":[\"LlamaForCausalLM\"]," SIZES
#define QWEN2 "{\"architectures\":[\"Qwen2ForCausalLM\"]," SIZES
#define QWEN3 "{\"architectures\":[\"Qwen3ForCausalLM\"]," SIZES

// ---- defaults ------------------------------------------------------------------------------

static void llama_defaults(void)
{
    hd_model_cfg c = good(LLAMA, "");
    EXPECT_STR(c.arch, "llama");
    EXPECT_INT(c.d_model, 64);
    EXPECT_INT(c.n_layers, 2);
    EXPECT_INT(c.n_heads, 4);
    EXPECT_INT(c.n_kv_heads, 4);
    EXPECT_INT(c.d_head, 16);
    EXPECT_INT(c.d_ff, 96);
    EXPECT_INT(c.vocab, 100);
    EXPECT_INT(c.max_context, 2048);
    EXPECT_NEAR(c.norm_eps, 1e-6, 0);
    EXPECT(!c.tied && !c.bias_qkv && !c.bias_o && !c.bias_mlp && !c.qk_norm && !c.from_gguf);
    EXPECT_NEAR(c.rope.theta, 10000, 0);
    EXPECT_INT(c.rope.scaling, HD_SCALING_NONE);
    EXPECT_INT(c.rope.pairing, HD_ROPE_HALF);
    c = good(LLAMA, ",\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":true,"
                    "\"num_key_value_heads\":2,\"head_dim\":24,\"rms_norm_eps\":1e-5,"
                    "\"max_position_embeddings\":4096,\"sliding_window\":8");
    EXPECT(c.tied && c.bias_qkv && c.bias_o && c.bias_mlp);
    EXPECT_INT(c.n_kv_heads, 2);
    EXPECT_INT(c.d_head, 24);
    EXPECT_INT(c.max_context, 4096);
    EXPECT_NEAR(c.norm_eps, 1e-5, 0);
    EXPECT_INT(good(LLAMA, ",\"num_key_value_heads\":null,\"head_dim\":null").n_kv_heads, 4);
}

static void qwen_defaults(void)
{
    hd_model_cfg c = good(QWEN2, ",\"num_attention_heads\":32,\"hidden_size\":512");
    EXPECT_STR(c.arch, "qwen2");
    EXPECT_INT(c.n_kv_heads, 32);
    EXPECT_INT(c.d_head, 16);
    EXPECT_INT(c.max_context, 32768);
    EXPECT(c.bias_qkv && !c.bias_o && !c.bias_mlp && !c.qk_norm);
    // An explicit null is as many as there are heads, an absent field is 32.
    EXPECT_INT(good(QWEN2, ",\"num_key_value_heads\":null").n_kv_heads, 4);
    // Fields of other families mean nothing here.
    c = good(QWEN2, ",\"num_key_value_heads\":2,\"attention_bias\":false,\"mlp_bias\":true");
    EXPECT(c.bias_qkv && !c.bias_o && !c.bias_mlp);

    c = good(QWEN3, ",\"num_key_value_heads\":2");
    EXPECT_STR(c.arch, "qwen3");
    EXPECT_INT(c.d_head, 128);
    EXPECT_INT(c.max_context, 32768);
    EXPECT(c.qk_norm && !c.bias_qkv && !c.bias_o);
    c = good(QWEN3, ",\"num_key_value_heads\":2,\"attention_bias\":true");
    EXPECT(c.bias_qkv && c.bias_o);
}

static void harmless_windows(void)
{
    static const char *const more[] = {
        ",\"num_key_value_heads\":2,\"use_sliding_window\":false,\"sliding_window\":8",
        ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"sliding_window\":null",
        ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"max_window_layers\":2,"
        "\"sliding_window\":8",
        // The default of max_window_layers is 28, more than these two layers.
        ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"sliding_window\":8",
        ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"max_window_layers\":0,"
        "\"sliding_window\":4096,\"max_position_embeddings\":4096",
        ",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\",\"full_attention\"]",
    };
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        good(QWEN2, more[i]);
}

// ---- RoPE settings -------------------------------------------------------------------------

static void rope_spellings(void)
{
    static const struct {
        const char *more;
        hd_rope_scaling scaling;
        double theta, factor;
        int32_t original;
    } row[] = {
        {",\"rope_scaling\":null", HD_SCALING_NONE, 1e4, 1, 0},
        {",\"rope_scaling\":{},\"rope_theta\":5e5", HD_SCALING_NONE, 5e5, 1, 0},
        {",\"rope_scaling\":{\"type\":\"default\"}", HD_SCALING_NONE, 1e4, 1, 0},
        {",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":7e4}", HD_SCALING_NONE,
         7e4, 1, 0},
        {",\"rope_theta\":1e5,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}",
         HD_SCALING_LINEAR, 1e5, 4, 0},
        {",\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":0.5}", HD_SCALING_LINEAR, 1e4, 0.5,
         0},
        // rope_scaling wins over rope_parameters, rope_type over type, inner theta over outer.
        {",\"rope_theta\":2e4,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"
         "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":3,\"rope_theta\":3e4}",
         HD_SCALING_LINEAR, 2e4, 2, 0},
        {",\"rope_theta\":2e4,\"rope_parameters\":{\"rope_type\":\"linear\",\"type\":\"yarn\","
         "\"factor\":3,\"rope_theta\":3e4}",
         HD_SCALING_LINEAR, 3e4, 3, 0},
        {",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
         "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}",
         HD_SCALING_LLAMA3, 1e4, 8, 8192},
        {",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,"
         "\"original_max_position_embeddings\":64}",
         HD_SCALING_YARN, 1e4, 4, 64},
        // Without an original context length it is the model's.
        {",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", HD_SCALING_YARN, 1e4, 4, 2048},
        // An explicit null factor is the ratio; the outer original length wins.
        {",\"original_max_position_embeddings\":512,\"rope_scaling\":{\"type\":\"yarn\","
         "\"factor\":null,\"original_max_position_embeddings\":64}",
         HD_SCALING_YARN, 1e4, 4, 512},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        hd_model_cfg c = good(LLAMA, row[i].more);
        if (c.rope.scaling != row[i].scaling || c.rope.theta != row[i].theta ||
            c.rope.factor != row[i].factor || c.rope.original_context != row[i].original)
            hd_test_fail(__FILE__, __LINE__, "%s: got scaling %d theta %g factor %g original %d",
                         row[i].more, (int)c.rope.scaling, c.rope.theta, c.rope.factor,
                         c.rope.original_context);
    }
}

static void yarn_options(void)
{
    hd_rope_cfg r = good(LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}").rope;
    EXPECT(r.truncate && r.beta_fast == 32 && r.beta_slow == 1);
    EXPECT(r.attention_factor == 0 && r.mscale == 0 && r.mscale_all_dim == 0);
    r = good(LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16,"
                    "\"beta_slow\":2,\"attention_factor\":1.5,\"mscale\":0.5,"
                    "\"mscale_all_dim\":0.25,\"truncate\":false}")
            .rope;
    EXPECT(!r.truncate && r.beta_fast == 16 && r.beta_slow == 2);
    EXPECT(r.attention_factor == 1.5 && r.mscale == 0.5 && r.mscale_all_dim == 0.25);
    // null and 0 are the defaults again.
    r = good(LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":0,"
                    "\"beta_slow\":null,\"attention_factor\":null}")
            .rope;
    EXPECT(r.beta_fast == 32 && r.beta_slow == 1 && r.attention_factor == 0);
}

static float magnitude(hd_rope_cfg r)
{
    float f[32], m;
    r.theta = 10000;
    r.scaling = HD_SCALING_YARN;
    r.original_context = 4096;
    r.beta_fast = 32;
    r.beta_slow = 1;
    hd_rope_frequencies(&r, 64, NULL, f, &m);
    return m;
}

static void yarn_magnitudes(void)
{
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 4}), 1.138629436, 1e-6);
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 4, .attention_factor = 0.7}), 0.7, 1e-7);
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 40, .mscale = 1, .mscale_all_dim = 1}), 1, 1e-7);
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 40, .mscale = 1, .mscale_all_dim = 0.707}),
                1.3688879 / 1.2608038, 1e-6);
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 40, .mscale = 0.707}), 1.3688879, 1e-6);
    EXPECT_NEAR(magnitude((hd_rope_cfg){.factor = 0.5}), 1, 0);
}

// What transformers 5.23 computes (tests/tools/make_golden.py --rope), heads of 128 columns.
typedef struct known_freq {
    int i;
    float f;
} known_freq;
enum { N_KNOWN = 12 };

static void expect_freqs(const char *what, const hd_rope_cfg *r, const known_freq *k)
{
    float f[64], m;
    hd_rope_frequencies(r, 128, NULL, f, &m);
    for (int i = 0; i < N_KNOWN; i++) // two units in the last place
        if (!(fabsf(f[k[i].i] - k[i].f) <= 2.4e-7f * k[i].f))
            hd_test_fail(__FILE__, __LINE__, "%s: pair %d: got %a, want %a", what, k[i].i,
                         (double)f[k[i].i], (double)k[i].f);
}

static void frequencies_match_transformers(void)
{
    static const known_freq plain[N_KNOWN] = {
        {0, 0x1.0p+0f},       {1, 0x1.bb5faep-1f},  {7, 0x1.75f036p-2f},   {22, 0x1.59742ap-5f},
        {23, 0x1.2b2690p-5f}, {28, 0x1.235a72p-6f}, {31, 0x1.7a6622p-7f},  {35, 0x1.a9942ap-8f},
        {39, 0x1.dea41cp-9f}, {40, 0x1.9e7c70p-9f}, {50, 0x1.892918p-11f}, {63, 0x1.e459c4p-14f}};
    static const known_freq linear[N_KNOWN] = {
        {0, 0x1.0p-2f},        {1, 0x1.abb4a4p-3f},   {7, 0x1.22afc2p-4f},   {22, 0x1.39172ep-8f},
        {23, 0x1.058b4ap-8f},  {28, 0x1.a9942ap-10f}, {31, 0x1.f02cd2p-11f}, {35, 0x1.e33e04p-12f},
        {39, 0x1.d6a586p-13f}, {40, 0x1.892918p-13f}, {50, 0x1.043e56p-15f}, {63, 0x1.91acd2p-19f}};
    static const known_freq llama3[N_KNOWN] = {
        {0, 0x1.0p+0f},        {1, 0x1.a11582p-1f},   {7, 0x1.e788c2p-3f},   {22, 0x1.681adap-7f},
        {23, 0x1.2558fep-7f},  {28, 0x1.a4ee40p-9f},  {31, 0x1.c12f3cp-11f}, {35, 0x1.90d10cp-14f},
        {39, 0x1.610332p-15f}, {40, 0x1.1f91f0p-15f}, {50, 0x1.280d96p-18f}, {63, 0x1.4985fep-22f}};
    static const known_freq yarn[N_KNOWN] = {
        {0, 0x1.0p+0f},        {1, 0x1.9c975ap-1f},   {7, 0x1.c3f06ap-3f},   {22, 0x1.1bc25ap-7f},
        {23, 0x1.c9548cp-8f},  {28, 0x1.e483bep-10f}, {31, 0x1.a4fb70p-11f}, {35, 0x1.02387cp-12f},
        {39, 0x1.103a14p-14f}, {40, 0x1.74eea6p-15f}, {50, 0x1.58863ap-18f}, {63, 0x1.4d1c98p-22f}};
    expect_freqs("plain", &(hd_rope_cfg){.theta = 1e4}, plain);
    expect_freqs("linear", &(hd_rope_cfg){.theta = 1e5, .scaling = HD_SCALING_LINEAR, .factor = 4},
                 linear);
    expect_freqs("llama3",
                 &(hd_rope_cfg){.theta = 5e5,
                                .scaling = HD_SCALING_LLAMA3,
                                .factor = 8,
                                .low_freq_factor = 1,
                                .high_freq_factor = 4,
                                .original_context = 8192},
                 llama3);
    expect_freqs("yarn",
                 &(hd_rope_cfg){.theta = 1e6,
                                .scaling = HD_SCALING_YARN,
                                .factor = 4,
                                .beta_fast = 32,
                                .beta_slow = 1,
                                .original_context = 32768,
                                .truncate = true},
                 yarn);
}

static void factors_divide(void)
{
    const float by[] = {1, 2, 4, 8};
    float f[4], plain[4], m;
    hd_rope_cfg r = {.theta = 1e4};
    hd_rope_frequencies(&r, 8, NULL, plain, &m);
    r.scaling = HD_SCALING_FACTORS;
    hd_rope_frequencies(&r, 8, by, f, &m);
    for (int i = 0; i < 4; i++)
        EXPECT_NEAR(f[i], plain[i] / by[i], 0);
    EXPECT_NEAR(m, 1, 0);
}

// ---- refusals ------------------------------------------------------------------------------

static void refuses(void)
{
    static const refusal row[] = {
        {"{\"x\":1", "", HD_E_NOTFOUND, "missing field 'architectures'"},
        {"{\"architectures\":[]", "", HD_E_INVAL,
         "field 'architectures': found an empty array, expected an array of names"},
        {"{\"architectures\":\"LlamaForCausalLM\"", "", HD_E_INVAL,
         "field 'architectures': found a string, expected an array of names"},
        {"{\"architectures\":[7]", "", HD_E_INVAL, "found a number inside, expected a string"},
        {"{\"architectures\":[\"GPT2LMHeadModel\"]", "", HD_E_UNSUPPORTED,
         "architecture 'GPT2LMHeadModel' is not supported; supported: LlamaForCausalLM, "},
        {"{\"architectures\":[\"LlamaForCausalLM\"]", "", HD_E_NOTFOUND,
         "missing field 'hidden_size'"},
        {LLAMA, ",\"vocab_size\":null", HD_E_NOTFOUND, "missing field 'vocab_size'"},
        {LLAMA, ",\"hidden_size\":0", HD_E_INVAL, "field 'hidden_size': found 0, expected"},
        {LLAMA, ",\"hidden_size\":64.5", HD_E_INVAL, "field 'hidden_size'"},
        {LLAMA, ",\"hidden_size\":\"64\"", HD_E_INVAL, "field 'hidden_size': found a string"},
        {LLAMA, ",\"hidden_size\":300000", HD_E_INVAL, "[1, 262144]"},
        {LLAMA, ",\"hidden_size\":1,\"head_dim\":2", HD_E_LIMIT, "model width: found 1, expected"},
        {LLAMA, ",\"intermediate_size\":1", HD_E_LIMIT, "feed-forward width: found 1"},
        {LLAMA, ",\"num_hidden_layers\":513", HD_E_INVAL, "[1, 512]"},
        {LLAMA, ",\"vocab_size\":1048577", HD_E_INVAL, "field 'vocab_size'"},
        {LLAMA, ",\"max_position_embeddings\":-1", HD_E_INVAL, "field 'max_position_embeddings'"},
        {LLAMA, ",\"num_key_value_heads\":3", HD_E_INVAL,
         "4 attention heads and 3 key/value heads: expected a multiple"},
        {LLAMA, ",\"num_key_value_heads\":8", HD_E_LIMIT,
         "key/value heads: found 8, expected at least 1 and at most 4"},
        {QWEN2, "", HD_E_LIMIT, "key/value heads: found 32"},
        {LLAMA, ",\"head_dim\":15", HD_E_INVAL, "head width: found 15, expected an even number"},
        {LLAMA, ",\"hidden_size\":2", HD_E_LIMIT, "head width: found 0"},
        {LLAMA, ",\"num_attention_heads\":262144,\"num_key_value_heads\":1,\"head_dim\":262144",
         HD_E_LIMIT, "columns of query, key and value together: found 68720001024"},
        {LLAMA, ",\"rms_norm_eps\":0", HD_E_INVAL, "field 'rms_norm_eps'"},
        {LLAMA, ",\"rms_norm_eps\":1", HD_E_INVAL, "field 'rms_norm_eps'"},
        {LLAMA, ",\"tie_word_embeddings\":1", HD_E_INVAL,
         "field 'tie_word_embeddings': found a number"},
        {LLAMA, ",\"hidden_act\":\"gelu\"", HD_E_UNSUPPORTED,
         "hidden_act 'gelu' is not supported; supported: silu"},
        {LLAMA, ",\"quantization_config\":{\"quant_method\":\"gptq\"}", HD_E_UNSUPPORTED,
         "quantization_config with quant_method 'gptq' is not supported"},
        {QWEN3, ",\"num_key_value_heads\":2,\"quantization_config\":{}", HD_E_UNSUPPORTED,
         "quant_method 'unnamed'"},
        {LLAMA, ",\"partial_rotary_factor\":0.5", HD_E_UNSUPPORTED,
         "partial_rotary_factor: found 0.5, expected 1"},
        {LLAMA, ",\"rope_parameters\":{\"partial_rotary_factor\":0.25}", HD_E_UNSUPPORTED,
         "partial_rotary_factor: found 0.25, expected 1"},
        {LLAMA, ",\"rope_theta\":0", HD_E_INVAL, "field 'rope_theta': found 0"},
        {LLAMA, ",\"rope_scaling\":\"linear\"", HD_E_INVAL,
         "field 'rope_scaling': found a string, expected an object or null"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", HD_E_UNSUPPORTED,
         "rope type 'dynamic' is not supported; supported: default, linear, llama3, yarn"},
        {LLAMA, ",\"rope_scaling\":{\"rope_type\":5}", HD_E_INVAL, "field 'rope_type'"},
        {LLAMA, ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}",
         HD_E_UNSUPPORTED, "RoPE settings per layer type ('full_attention')"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"linear\"}", HD_E_NOTFOUND, "missing field 'factor'"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", HD_E_INVAL,
         "field 'factor': found 0"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\"}", HD_E_NOTFOUND, "missing field 'factor'"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":0}", HD_E_INVAL, "field 'factor'"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"attention_factor\":0}",
         HD_E_INVAL, "field 'attention_factor'"},
        {LLAMA, ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":-4}", HD_E_INVAL,
         "field 'factor': found -4"},
        {LLAMA, ",\"rope_theta\":1,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", HD_E_INVAL,
         "yarn with theta 1"},
        {LLAMA, ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4}",
         HD_E_NOTFOUND, "missing field 'high_freq_factor'"},
        {LLAMA,
         ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,"
         "\"high_freq_factor\":4}",
         HD_E_INVAL, "rope low_freq_factor 4 and high_freq_factor 4: expected 0 < low < high"},
        {QWEN2,
         ",\"num_key_value_heads\":2,\"use_sliding_window\":true,\"sliding_window\":8,"
         "\"max_window_layers\":1",
         HD_E_UNSUPPORTED,
         "use_sliding_window with sliding_window 8 below max_position_embeddings 32768"},
        {QWEN3,
         ",\"num_key_value_heads\":2,\"layer_types\":[\"full_attention\","
         "\"sliding_attention\"]",
         HD_E_UNSUPPORTED, "sliding_window 4096 below max_position_embeddings 32768"},
        {QWEN3, ",\"num_key_value_heads\":2,\"layer_types\":[\"linear_attention\"]",
         HD_E_UNSUPPORTED, "layer_types: 'linear_attention' is not supported"},
        {QWEN3, ",\"num_key_value_heads\":2,\"layer_types\":3", HD_E_INVAL, "field 'layer_types'"},
    };
    expect_refusals(row, sizeof(row) / sizeof(row[0]));
    hd_model_cfg cfg;
    hd_err err = {0};
    EXPECT_INT(hd_config_from_json(NULL, &cfg, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "expected an object");
}

// ---- GGUF ----------------------------------------------------------------------------------

// The keys of a small model; `more` adds or, with the same key twice, would clash.
static hd_status from_gguf(const char *arch, void (*more)(hd_gguf_writer *w), hd_model_cfg *cfg,
                           hd_err *err)
{
    static const gguf_int ints[] = {{"block_count", 2},          {"context_length", 512},
                                    {"embedding_length", 64},    {"feed_forward_length", 96},
                                    {"attention.head_count", 4}, {"vocab_size", 100}};
    return read_gguf(arch, ints, sizeof(ints) / sizeof(ints[0]), more, cfg, err);
}

static void gguf_defaults(void)
{
    static const char *const archs[] = {"llama", "qwen2", "qwen3"};
    for (int i = 0; i < 3; i++) {
        hd_model_cfg c;
        hd_err err = {0};
        EXPECT_INT(from_gguf(archs[i], NULL, &c, &err), HD_OK);
        EXPECT_STR(c.arch, archs[i]);
        EXPECT(c.from_gguf);
        EXPECT_INT(c.n_layers, 2);
        EXPECT_INT(c.n_kv_heads, 4);
        EXPECT_INT(c.d_head, 16);
        EXPECT_INT(c.d_ff, 96);
        EXPECT_INT(c.vocab, 100);
        EXPECT_INT(c.max_context, 512);
        EXPECT_NEAR(c.norm_eps, 1e-5, 1e-9);
        EXPECT_NEAR(c.rope.theta, 10000, 0);
        EXPECT_INT(c.rope.pairing, i == 0 ? HD_ROPE_INTERLEAVED : HD_ROPE_HALF);
        EXPECT_INT(c.qk_norm, i == 2);
        EXPECT_INT(c.bias_qkv, i == 1);
    }
}

static void add_yarn(hd_gguf_writer *w)
{
    static const char *const tokens[] = {"a", "b", "c"};
    hd_gw_u32(w, "qwen3.attention.head_count_kv", 2);
    hd_gw_u32(w, "qwen3.attention.key_length", 32);
    hd_gw_u32(w, "qwen3.attention.value_length", 32);
    hd_gw_f32(w, "qwen3.rope.freq_base", 1e6f);
    hd_gw_str(w, "qwen3.rope.scaling.type", "yarn");
    hd_gw_f32(w, "qwen3.rope.scaling.factor", 4);
    hd_gw_u32(w, "qwen3.rope.scaling.original_context_length", 128);
    hd_gw_f32(w, "qwen3.rope.scaling.attn_factor", 0.878f);
    hd_gw_strs(w, "tokenizer.ggml.tokens", tokens, 3);
}

static void gguf_yarn_and_tokens(void)
{
    hd_model_cfg c;
    hd_err err = {0};
    EXPECT_INT(from_gguf("qwen3", add_yarn, &c, &err), HD_OK);
    EXPECT_INT(c.n_kv_heads, 2);
    EXPECT_INT(c.d_head, 32);
    EXPECT_INT(c.vocab, 3); // the pieces, not vocab_size
    EXPECT_INT(c.rope.scaling, HD_SCALING_YARN);
    EXPECT_INT(c.rope.original_context, 128);
    EXPECT_NEAR(c.rope.factor, 4, 0);
    EXPECT(c.rope.attention_factor == 0 && c.rope.truncate);
}

static void add_experts(hd_gguf_writer *w)
{
    hd_gw_u32(w, "llama.expert_count", 8);
}

static void add_value_length(hd_gguf_writer *w)
{
    hd_gw_u32(w, "llama.attention.value_length", 8);
}

static void add_partial_rope(hd_gguf_writer *w)
{
    hd_gw_u32(w, "llama.rope.dimension_count", 8);
}

static void add_window(hd_gguf_writer *w)
{
    hd_gw_u32(w, "llama.attention.sliding_window", 64);
}

static void add_longrope(hd_gguf_writer *w)
{
    hd_gw_str(w, "llama.rope.scaling.type", "longrope");
}

static void add_linear_without_factor(hd_gguf_writer *w)
{
    hd_gw_str(w, "llama.rope.scaling.type", "linear");
}

static void add_nan_theta(hd_gguf_writer *w)
{
    hd_gw_f32(w, "llama.rope.freq_base", NAN);
}

static void add_text_heads(hd_gguf_writer *w)
{
    hd_gw_str(w, "llama.attention.head_count_kv", "two");
}

static void gguf_refuses(void)
{
    static const gguf_refusal row[] = {
        {"mamba", NULL,
         "general.architecture 'mamba' is not supported; supported: llama, qwen2, qwen3"},
        {"llama", add_experts, "key 'llama.expert_count': found 8, expected 0"},
        {"llama", add_value_length,
         "key 'llama.attention.value_length': found 8, expected the key"},
        {"llama", add_partial_rope, "key 'llama.rope.dimension_count': found 8, expected the head"},
        {"llama", add_window, "key 'llama.attention.sliding_window': found 64"},
        {"llama", add_longrope, "'longrope' is not supported; supported: none, linear, yarn"},
        {"llama", add_linear_without_factor, "missing key 'llama.rope.scaling.factor'"},
        {"llama", add_nan_theta, "key 'llama.rope.freq_base': found nan, expected a"},
        {"llama", add_text_heads, "llama.attention.head_count_kv"},
    };
    expect_gguf_refusals(from_gguf, row, sizeof(row) / sizeof(row[0]));
}

static void gguf_without_keys(void)
{
    hd_gguf_writer w;
    hd_gguf *g;
    hd_model_cfg cfg;
    hd_err err = {0};
    hd_gguf_writer_init(&w);
    hd_gw_u32(&w, "x", 1);
    EXPECT_INT(hd_gguf_open_mem(hd_gw_finish(&w), &g, &err), HD_OK);
    EXPECT_INT(hd_config_from_gguf(g, &cfg, &err), HD_E_NOTFOUND);
    EXPECT_STR(err.msg, "missing key 'general.architecture'");
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

HD_TEST_MAIN("config", {"llama_defaults", llama_defaults}, {"qwen_defaults", qwen_defaults},
             {"harmless_windows", harmless_windows}, {"rope_spellings", rope_spellings},
             {"yarn_options", yarn_options}, {"yarn_magnitudes", yarn_magnitudes},
             {"frequencies_match_transformers", frequencies_match_transformers},
             {"factors_divide", factors_divide}, {"refuses", refuses},
             {"gguf_defaults", gguf_defaults}, {"gguf_yarn_and_tokens", gguf_yarn_and_tokens},
             {"gguf_refuses", gguf_refuses}, {"gguf_without_keys", gguf_without_keys})
