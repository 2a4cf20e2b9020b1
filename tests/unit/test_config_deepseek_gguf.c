// GGUF keys of the DeepSeek families, in the layouts of old and new files.
#include "tests/unit/config_kit.h"

#include <math.h>

// A small model's keys behind a prefix; `more` adds the rest.
static hd_status from_gguf(const char *arch, void (*more)(hd_gguf_writer *w), hd_model_cfg *cfg,
                           hd_err *err)
{
    static const gguf_int ints[] = {
        {"block_count", 4},
        {"context_length", 512},
        {"embedding_length", 64},
        {"feed_forward_length", 96},
        {"attention.head_count", 4},
        {"vocab_size", 100},
        {"expert_count", 16},
        {"expert_used_count", 4},
        {"leading_dense_block_count", 1},
        {"expert_shared_count", 2},
        {"expert_feed_forward_length", 24},
    };
    return read_gguf(arch, ints, sizeof(ints) / sizeof(ints[0]), more, cfg, err);
}

static hd_model_cfg good_gguf(const char *arch, void (*more)(hd_gguf_writer *w))
{
    hd_model_cfg c;
    hd_err err = {0};
    if (from_gguf(arch, more, &c, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", arch, err.msg);
    return c;
}

static void gguf_moe(void)
{
    hd_model_cfg c = good_gguf("deepseek", NULL);
    EXPECT_STR(c.arch, "deepseek");
    EXPECT_INT(c.rope.pairing, HD_ROPE_INTERLEAVED); // the converter permutes q and k
    EXPECT_INT(c.moe.n_experts, 16);
    EXPECT_INT(c.moe.n_active, 4);
    EXPECT_INT(c.moe.n_shared, 2);
    EXPECT_INT(c.moe.d_expert, 24);
    EXPECT_INT(c.moe.first, 1);
    EXPECT_INT(c.moe.every, 1);
    EXPECT(!c.moe.normalize && !c.moe.bias && c.moe.scale == 1);
    EXPECT_INT(c.mla.d_latent, 0);
}

// ---- latent attention ----------------------------------------------------------------------

static void put_latent(hd_gguf_writer *w)
{
    hd_gw_u32(w, "deepseek2.attention.kv_lora_rank", 32);
    hd_gw_u32(w, "deepseek2.rope.dimension_count", 8);
}

static void put_legacy(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.head_count_kv", 4);
    hd_gw_u32(w, "deepseek2.attention.key_length", 24);
    hd_gw_u32(w, "deepseek2.attention.value_length", 12);
}

static void put_current(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.head_count_kv", 1);
    hd_gw_u32(w, "deepseek2.attention.key_length", 40);
    hd_gw_u32(w, "deepseek2.attention.value_length", 32);
    hd_gw_u32(w, "deepseek2.attention.key_length_mla", 24);
    hd_gw_u32(w, "deepseek2.attention.value_length_mla", 12);
    hd_gw_u32(w, "deepseek2.attention.q_lora_rank", 20);
}

static void put_v2_big(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.expert_group_count", 4);
    hd_gw_u32(w, "deepseek2.expert_group_used_count", 2);
    hd_gw_u32(w, "deepseek2.expert_gating_func", 1);
    hd_gw_f32(w, "deepseek2.expert_weights_scale", 16);
    hd_gw_bool(w, "deepseek2.expert_weights_norm", false);
}

static void put_v3(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.expert_group_count", 4);
    hd_gw_u32(w, "deepseek2.expert_group_used_count", 2);
    hd_gw_u32(w, "deepseek2.expert_gating_func", 2);
    hd_gw_f32(w, "deepseek2.expert_weights_scale", 2.5f);
    hd_gw_bool(w, "deepseek2.expert_weights_norm", true);
    hd_gw_u32(w, "deepseek2.nextn_predict_layers", 1);
    hd_gw_str(w, "deepseek2.rope.scaling.type", "yarn");
    hd_gw_f32(w, "deepseek2.rope.scaling.factor", 40);
    hd_gw_u32(w, "deepseek2.rope.scaling.original_context_length", 64);
    hd_gw_f32(w, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
}

static void gguf_latent(void)
{
    hd_model_cfg c = good_gguf("deepseek2", put_legacy);
    EXPECT_STR(c.arch, "deepseek_v2");
    EXPECT_INT(c.mla.d_latent, 32);
    EXPECT_INT(c.mla.q_lora, 0);
    EXPECT_INT(c.mla.d_rope, 8);
    EXPECT_INT(c.mla.d_nope, 16);
    EXPECT_INT(c.mla.d_v, 12);
    EXPECT_INT(c.d_head, 24);
    EXPECT_INT(c.n_kv_heads, 4);
    EXPECT_NEAR(c.norm_eps, 1e-5, 1e-9);
    EXPECT_NEAR(c.mla.norm_eps, 1e-6, 0);
    EXPECT_INT(c.rope.pairing, HD_ROPE_INTERLEAVED);
    EXPECT_INT(c.moe.group, HD_GROUP_NONE);
    EXPECT_INT(c.moe.score, HD_GATE_SOFTMAX);

    c = good_gguf("deepseek2", put_current);
    EXPECT(c.d_head == 24 && c.mla.d_nope == 16 && c.mla.d_v == 12 && c.n_kv_heads == 4);
    EXPECT_INT(c.mla.q_lora, 20);

    c = good_gguf("deepseek2", put_v2_big);
    EXPECT_STR(c.arch, "deepseek_v2");
    EXPECT_INT(c.moe.group, HD_GROUP_MAX);
    EXPECT(c.moe.n_group == 4 && c.moe.topk_group == 2 && c.moe.scale == 16);
    EXPECT(!c.moe.normalize && !c.moe.bias);
}

static void gguf_v3(void)
{
    float f[4], magnitude;
    hd_model_cfg c = good_gguf("deepseek2", put_v3);
    EXPECT_STR(c.arch, "deepseek_v3");
    EXPECT_INT(c.moe.score, HD_GATE_SIGMOID);
    EXPECT_INT(c.moe.group, HD_GROUP_TOP2);
    EXPECT(c.moe.normalize && c.moe.bias && c.moe.scale == 2.5);
    EXPECT_INT(c.n_mtp, 1);
    EXPECT_INT(c.n_layers, 3); // of four blocks
    hd_rope_frequencies(&c.rope, 8, NULL, f, &magnitude);
    EXPECT_NEAR(magnitude, 1, 0);
    EXPECT_NEAR(hd_cfg_attn_scale(&c), 1.8738542 / sqrt(24), 1e-7);
}

static void put_yarn_only(hd_gguf_writer *w)
{
    put_legacy(w);
    hd_gw_str(w, "deepseek2.rope.scaling.type", "yarn");
    hd_gw_f32(w, "deepseek2.rope.scaling.factor", 40);
}

static void gguf_yarn_without_multiplier(void)
{
    float f[4], magnitude;
    hd_model_cfg c = good_gguf("deepseek2", put_yarn_only);
    hd_rope_frequencies(&c.rope, 8, NULL, f, &magnitude);
    EXPECT_NEAR(magnitude, 1, 0);
    EXPECT_NEAR(hd_cfg_attn_scale(&c), 1 / sqrt(24), 1e-12);
}

// ---- refusals ------------------------------------------------------------------------------

static void bad_gating(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.expert_gating_func", 3);
}

static void bad_groups(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.expert_group_count", 5);
    hd_gw_u32(w, "deepseek2.expert_group_used_count", 2);
}

static void lone_group_count(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.expert_group_count", 4);
}

static void bad_cached(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.key_length", 24);
    hd_gw_u32(w, "deepseek2.attention.key_length_mla", 24);
}

static void no_value_length(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.key_length", 24);
}

static void short_key(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.key_length", 8);
    hd_gw_u32(w, "deepseek2.attention.value_length", 12);
}

static void bad_kv_heads(hd_gguf_writer *w)
{
    put_latent(w);
    hd_gw_u32(w, "deepseek2.attention.key_length", 24);
    hd_gw_u32(w, "deepseek2.attention.value_length", 12);
    hd_gw_u32(w, "deepseek2.attention.head_count_kv", 2);
}

static void both_factors(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_f32(w, "deepseek2.expert_weights_scale", 16);
    hd_gw_bool(w, "deepseek2.expert_weights_norm", true);
}

static void all_predict(hd_gguf_writer *w)
{
    put_current(w);
    hd_gw_u32(w, "deepseek2.nextn_predict_layers", 4);
}

static void moe_sigmoid(hd_gguf_writer *w)
{
    hd_gw_u32(w, "deepseek.expert_gating_func", 2);
}

static void moe_scaled(hd_gguf_writer *w)
{
    hd_gw_f32(w, "deepseek.expert_weights_scale", 2);
}

static void gguf_refuses(void)
{
    static const gguf_refusal row[] = {
        {"deepseek2", NULL, "missing key 'deepseek2.attention.kv_lora_rank'"},
        {"deepseek2", put_latent, "missing key 'deepseek2.attention.key_length'"},
        {"deepseek2", no_value_length, "missing key 'deepseek2.attention.value_length'"},
        {"deepseek2", bad_cached,
         "key 'deepseek2.attention.key_length': found 24, expected kv_lora_rank + "
         "rope.dimension_count = 40"},
        {"deepseek2", short_key, "key 'deepseek2.attention.key_length': found 8, expected more"},
        {"deepseek2", bad_kv_heads, "key 'deepseek2.attention.head_count_kv': found 2, expected 1"},
        {"deepseek2", bad_gating, "key 'deepseek2.expert_gating_func': found 3, expected 1"},
        {"deepseek2", bad_groups,
         "expert_group_count: found 5, expected a divisor of expert_count"},
        {"deepseek2", lone_group_count, "missing key 'deepseek2.expert_group_used_count'"},
        {"deepseek2", both_factors,
         "key 'deepseek2.expert_weights_norm' true together with expert_weights_scale 16"},
        {"deepseek2", all_predict, "deepseek2.nextn_predict_layers"},
        {"deepseek", moe_sigmoid, "key 'deepseek.expert_gating_func': expected a softmax"},
        {"deepseek", moe_scaled, "key 'deepseek.expert_weights_scale': found 2, expected 1"},
        {"deepseek32", NULL, "general.architecture 'deepseek32' is not supported; supported: "},
    };
    expect_gguf_refusals(from_gguf, row, sizeof(row) / sizeof(row[0]));
}

HD_TEST_MAIN("config_deepseek_gguf", {"gguf_moe", gguf_moe}, {"gguf_latent", gguf_latent},
             {"gguf_v3", gguf_v3}, {"gguf_yarn_without_multiplier", gguf_yarn_without_multiplier},
             {"gguf_refuses", gguf_refuses})
