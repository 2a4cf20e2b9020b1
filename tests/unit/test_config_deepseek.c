// Configurations of the DeepSeek families: every field with its default, refusals by the name of
// the field, the published files, GGUF keys old and new, and the factors attention takes from YaRN.
#include "tests/unit/config_kit.h"

#include <math.h>

// Later fields win, so tests append theirs.
#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":4,"                         \
    "\"num_attention_heads\":4,\"vocab_size\":100"
#define EXPERTS ",\"n_routed_experts\":16,\"num_experts_per_tok\":4,\"moe_intermediate_size\":24"
#define MOE                                                                                        \
    "{\"architectures\":[\"DeepseekForCausalLM\"],\"model_type\":\"deepseek\"," SIZES EXPERTS
#define V2 "{\"architectures\":[\"DeepseekV2ForCausalLM\"]," SIZES EXPERTS
#define V3 "{\"architectures\":[\"DeepseekV3ForCausalLM\"]," SIZES EXPERTS

// ---- defaults ------------------------------------------------------------------------------

static void moe_defaults(void)
{
    hd_model_cfg c = good("{\"architectures\":[\"DeepseekForCausalLM\"]," SIZES, "");
    EXPECT_STR(c.arch, "deepseek");
    EXPECT_INT(c.moe.n_experts, 0); // n_routed_experts: null
    EXPECT_INT(c.mla.d_latent, 0);
    EXPECT_INT(c.n_kv_heads, 4);
    EXPECT_INT(c.d_head, 16);
    EXPECT_INT(c.max_context, 2048);
    EXPECT_INT(c.rope.pairing, HD_ROPE_HALF);
    EXPECT(!c.bias_qkv && !c.bias_o && !c.tied);
    for (int l = 0; l < 4; l++)
        EXPECT(!hd_cfg_is_sparse(&c, l));

    c = good("{\"architectures\":[\"DeepseekForCausalLM\"]," SIZES,
             ",\"n_routed_experts\":64,\"num_experts_per_tok\":6");
    EXPECT_INT(c.moe.n_experts, 64);
    EXPECT_INT(c.moe.n_active, 6);
    EXPECT_INT(c.moe.d_expert, 1407);
    EXPECT_INT(c.moe.n_shared, 0);
    EXPECT_INT(c.moe.first, 0);
    EXPECT_INT(c.moe.every, 1);
    EXPECT_INT(c.moe.score, HD_GATE_SOFTMAX);
    EXPECT_INT(c.moe.group, HD_GROUP_NONE);
    EXPECT(!c.moe.normalize && !c.moe.bias && c.moe.scale == 1);
    EXPECT_INT(hd_cfg_n_rot(&c), 16);
}

static void v2_defaults(void)
{
    hd_model_cfg c = good("{\"architectures\":[\"DeepseekV2ForCausalLM\"]," SIZES, "");
    EXPECT_STR(c.arch, "deepseek_v2");
    EXPECT_INT(c.moe.n_experts, 0);
    EXPECT_INT(c.mla.d_latent, 512);
    EXPECT_INT(c.mla.q_lora, 1536);
    EXPECT_INT(c.mla.d_nope, 128);
    EXPECT_INT(c.mla.d_rope, 64);
    EXPECT_INT(c.mla.d_v, 128);
    EXPECT_INT(c.d_head, 192);
    EXPECT_INT(c.n_kv_heads, 4);
    EXPECT_INT(hd_cfg_n_rot(&c), 64);
    EXPECT_INT(c.max_context, 2048);
    EXPECT_NEAR(c.norm_eps, 1e-6, 0);
    EXPECT_NEAR(c.mla.norm_eps, 1e-6, 0);
    EXPECT_INT(c.rope.pairing, HD_ROPE_INTERLEAVED);
    EXPECT_INT(c.n_mtp, 0);
    EXPECT_INT(c.fp8_rows, 0);
    c = good(V2, "");
    EXPECT_INT(c.moe.n_shared, 0);
    EXPECT_INT(c.moe.first, 0);
    EXPECT_INT(c.moe.group, HD_GROUP_NONE);
    EXPECT_INT(c.moe.score, HD_GATE_SOFTMAX);
    EXPECT(!c.moe.normalize && !c.moe.bias && c.moe.scale == 1);
    EXPECT_INT(good("{\"architectures\":[\"DeepseekV2ForCausalLM\"]," SIZES,
                    ",\"n_routed_experts\":8,\"num_experts_per_tok\":2")
                   .moe.d_expert,
               1407);
}

static void v3_defaults(void)
{
    hd_model_cfg c = good("{\"architectures\":[\"DeepseekV3ForCausalLM\"]," SIZES, "");
    EXPECT_STR(c.arch, "deepseek_v3");
    EXPECT_INT(c.moe.n_experts, 256);
    EXPECT_INT(c.moe.n_active, 8);
    EXPECT_INT(c.moe.n_shared, 1);
    EXPECT_INT(c.moe.d_expert, 2048);
    EXPECT_INT(c.moe.first, 3);
    EXPECT_INT(c.moe.every, 1);
    EXPECT_INT(c.moe.n_group, 8);
    EXPECT_INT(c.moe.topk_group, 4);
    EXPECT_INT(c.moe.score, HD_GATE_SIGMOID);
    EXPECT_INT(c.moe.group, HD_GROUP_TOP2);
    EXPECT(c.moe.normalize && c.moe.bias && c.moe.scale == 2.5);
    EXPECT_INT(c.mla.q_lora, 1536);
    EXPECT_INT(c.max_context, 4096);
    EXPECT_INT(c.rope.pairing, HD_ROPE_INTERLEAVED);
    EXPECT_INT(good(V3, ",\"rope_interleave\":false").rope.pairing, HD_ROPE_HALF);
    EXPECT_INT(good(V3, ",\"rope_interleave\":null").rope.pairing, HD_ROPE_INTERLEAVED);
    // The other generation's field means nothing here.
    EXPECT_INT(good(V2, ",\"rope_interleave\":false").rope.pairing, HD_ROPE_INTERLEAVED);
    // One group is no limit.
    EXPECT_INT(good(V3, ",\"n_group\":1,\"topk_group\":1").moe.group, HD_GROUP_NONE);
}

// ---- fields --------------------------------------------------------------------------------

static void layers_of_experts(void)
{
    hd_model_cfg c = good(V2, ",\"first_k_dense_replace\":1,\"moe_layer_freq\":2,"
                              "\"n_shared_experts\":2");
    const bool sparse[] = {false, false, true, false};
    for (int l = 0; l < 4; l++)
        EXPECT_INT(hd_cfg_is_sparse(&c, l), sparse[l]);
    EXPECT_INT(c.moe.n_shared, 2);
    EXPECT_INT(good(V2, ",\"n_shared_experts\":null").moe.n_shared, 0);
    EXPECT_INT(good(V3, ",\"n_shared_experts\":null").moe.n_shared, 0);
    EXPECT_INT(good(V3, ",\"n_routed_experts\":null").moe.n_experts, 0);
    EXPECT_INT(good(MOE, ",\"first_k_dense_replace\":9").moe.first, 9);
}

static void attention_fields(void)
{
    hd_model_cfg c = good(V2, ",\"q_lora_rank\":null,\"kv_lora_rank\":32,\"qk_nope_head_dim\":16,"
                              "\"qk_rope_head_dim\":8,\"v_head_dim\":12,\"attention_bias\":true,"
                              "\"rms_norm_eps\":1e-5,\"tie_word_embeddings\":true");
    EXPECT_INT(c.mla.q_lora, 0);
    EXPECT_INT(c.mla.d_latent, 32);
    EXPECT_INT(c.d_head, 24);
    EXPECT_INT(c.mla.d_v, 12);
    EXPECT_INT(hd_cfg_n_rot(&c), 8);
    EXPECT(c.bias_qkv && c.bias_o && c.tied);
    EXPECT_NEAR(c.norm_eps, 1e-5, 0);
    EXPECT_NEAR(c.mla.norm_eps, 1e-6, 0); // the published class ignores rms_norm_eps there
    EXPECT_INT(good(V2, ",\"q_lora_rank\":20").mla.q_lora, 20);
    // What transformers writes for this family: the rotated part of a head; others: the whole.
    EXPECT_INT(good(V3, ",\"head_dim\":64,\"qk_head_dim\":192,\"num_key_value_heads\":4").d_head,
               192);
    EXPECT_INT(good(V3, ",\"head_dim\":192").d_head, 192);
    EXPECT_INT(good(V3, ",\"head_dim\":null,\"num_key_value_heads\":null").d_head, 192);
    EXPECT_INT(good(V3, ",\"num_nextn_predict_layers\":1").n_mtp, 1);
    EXPECT_INT(good(V3, ",\"num_mtp_layers\":2").n_mtp, 2);
}

static void routing_fields(void)
{
    hd_model_cfg c = good(V2, ",\"topk_method\":\"group_limited_greedy\",\"n_group\":4,"
                              "\"topk_group\":2,\"routed_scaling_factor\":16");
    EXPECT_INT(c.moe.group, HD_GROUP_MAX);
    EXPECT_INT(c.moe.n_group, 4);
    EXPECT_INT(c.moe.topk_group, 2);
    EXPECT_NEAR(c.moe.scale, 16, 0);
    EXPECT_INT(good(V2, ",\"topk_method\":\"gready\",\"n_group\":3").moe.group, HD_GROUP_NONE);
    EXPECT_INT(good(V2, ",\"topk_method\":null").moe.group, HD_GROUP_NONE);
    EXPECT(good(V2, ",\"norm_topk_prob\":true").moe.normalize);
    // With one expert the older code does not normalise, V3 does.
    EXPECT(!good(V2, ",\"norm_topk_prob\":true,\"num_experts_per_tok\":1").moe.normalize);
    EXPECT(!good(MOE, ",\"norm_topk_prob\":true,\"num_experts_per_tok\":1").moe.normalize);
    EXPECT(good(MOE, ",\"norm_topk_prob\":true").moe.normalize);
    EXPECT(good(V3, ",\"num_experts_per_tok\":1").moe.normalize);
    c = good(V2, ",\"norm_topk_prob\":true,\"num_experts_per_tok\":1,\"routed_scaling_factor\":16");
    EXPECT(!c.moe.normalize && c.moe.scale == 16);
    c = good(V3, ",\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\",\"n_group\":4,"
                 "\"topk_group\":1,\"norm_topk_prob\":false,\"routed_scaling_factor\":1");
    EXPECT(c.moe.group == HD_GROUP_TOP2 && c.moe.topk_group == 1);
    EXPECT(!c.moe.normalize && c.moe.scale == 1);
}

static void fp8_fields(void)
{
    hd_model_cfg c =
        good(V3, ",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\","
                 "\"activation_scheme\":\"dynamic\",\"scale_fmt\":\"ue8m0\","
                 "\"weight_block_size\":[128,64],\"modules_to_not_convert\":[\"lm_head\"]}");
    EXPECT_INT(c.fp8_rows, 128);
    EXPECT_INT(c.fp8_cols, 64);
    c = good(V2, ",\"quantization_config\":{\"quant_method\":\"fp8\",\"scale_fmt\":null,"
                 "\"weight_block_size\":[128,128]}");
    EXPECT_INT(c.fp8_rows, 128);
    EXPECT_INT(good(V3, ",\"quantization_config\":null").fp8_rows, 0);
}

// ---- YaRN ----------------------------------------------------------------------------------

#define YARN(rest)                                                                                 \
    "{\"type\":\"yarn\",\"factor\":40,\"original_max_position_embeddings\":4096" rest "}"

static void expect_scale(const char *more, double scale, double magnitude)
{
    hd_model_cfg c = good(V2, more);
    float f[32], m;
    hd_rope_frequencies(&c.rope, 64, NULL, f, &m);
    if (fabs(hd_cfg_attn_scale(&c) - scale) > 1e-8 || fabs((double)m - magnitude) > 1e-6)
        hd_test_fail(__FILE__, __LINE__, "%s: scale %.9g magnitude %.7g, expected %.9g %.7g", more,
                     hd_cfg_attn_scale(&c), (double)m, scale, magnitude);
}

static void factors_of_attention(void)
{
    const double plain = 1 / sqrt(192);
    expect_scale("", plain, 1);
    expect_scale(",\"rope_scaling\":" YARN(",\"mscale\":1.0,\"mscale_all_dim\":1.0"), 0.13523378,
                 1);
    expect_scale(",\"rope_scaling\":" YARN(",\"mscale\":0.707,\"mscale_all_dim\":0.707"),
                 0.11472139, 1);
    // The two factors are two things: attention follows mscale_all_dim alone.
    expect_scale(",\"rope_scaling\":" YARN(",\"mscale\":1.0,\"mscale_all_dim\":0.707"), 0.11472139,
                 1.0857264);
    expect_scale(",\"rope_scaling\":" YARN(""), plain, 1.3688879);
    expect_scale(",\"rope_scaling\":" YARN(",\"mscale_all_dim\":0"), plain, 1.3688879);
    expect_scale(",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":40,\"rope_theta\":10000,"
                 "\"original_max_position_embeddings\":4096,\"mscale\":1.0,\"mscale_all_dim\":1.0}",
                 0.13523378, 1);
    expect_scale(",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}", plain, 1);
    // Grouped-query attention knows no such factor.
    hd_model_cfg c = good(MOE, ",\"rope_scaling\":" YARN(",\"mscale_all_dim\":1.0"));
    EXPECT_NEAR(hd_cfg_attn_scale(&c), 0.25, 1e-12);
}

// ---- refusals ------------------------------------------------------------------------------

static void refuses_experts(void)
{
    static const refusal row[] = {
        {V2, ",\"num_experts_per_tok\":null", HD_E_NOTFOUND, "missing field 'num_experts_per_tok'"},
        {V2, ",\"num_experts_per_tok\":17", HD_E_LIMIT,
         "num_experts_per_tok: found 17, expected at least 1 and at most 16"},
        {MOE, ",\"num_experts_per_tok\":0", HD_E_INVAL, "field 'num_experts_per_tok': found 0"},
        {V3, ",\"n_routed_experts\":2048", HD_E_INVAL, "field 'n_routed_experts': found 2048"},
        {V3, ",\"n_routed_experts\":\"all\"", HD_E_INVAL, "field 'n_routed_experts'"},
        {MOE, ",\"n_routed_experts\":1,\"num_experts_per_tok\":1", HD_E_LIMIT,
         "n_routed_experts: found 1, expected at least 2"},
        {V2, ",\"n_shared_experts\":-1", HD_E_INVAL, "field 'n_shared_experts': found -1"},
        {V2, ",\"n_shared_experts\":1024,\"moe_intermediate_size\":1024", HD_E_LIMIT,
         "n_shared_experts times moe_intermediate_size: found 1048576"},
        {V2, ",\"moe_intermediate_size\":1", HD_E_LIMIT, "moe_intermediate_size: found 1"},
        {V2, ",\"first_k_dense_replace\":-1", HD_E_INVAL, "field 'first_k_dense_replace'"},
        {V2, ",\"moe_layer_freq\":0", HD_E_INVAL, "field 'moe_layer_freq': found 0"},
        {V2, ",\"moe_layer_freq\":[0,1,1,1]", HD_E_INVAL, "field 'moe_layer_freq'"},
        {V2, ",\"routed_scaling_factor\":0", HD_E_INVAL, "field 'routed_scaling_factor'"},
        {V2, ",\"norm_topk_prob\":true,\"routed_scaling_factor\":16", HD_E_UNSUPPORTED,
         "norm_topk_prob true together with routed_scaling_factor 16 is not supported"},
        {MOE, ",\"routed_scaling_factor\":2", HD_E_UNSUPPORTED,
         "routed_scaling_factor: found 2, expected 1"},
        {V2, ",\"scoring_func\":\"sigmoid\"", HD_E_UNSUPPORTED,
         "scoring_func 'sigmoid' is not supported; supported: softmax"},
        {V3, ",\"scoring_func\":\"sqrtsoftplus\"", HD_E_UNSUPPORTED,
         "scoring_func 'sqrtsoftplus' is not supported; supported: sigmoid"},
        {MOE, ",\"scoring_func\":3", HD_E_INVAL, "field 'scoring_func': found a number"},
        {V2, ",\"topk_method\":\"noaux_tc\"", HD_E_UNSUPPORTED,
         "topk_method 'noaux_tc' is not supported; supported: greedy, gready, "
         "group_limited_greedy"},
        {V3, ",\"topk_method\":\"greedy\"", HD_E_UNSUPPORTED,
         "topk_method 'greedy' is not supported; supported: noaux_tc"},
        {V2, ",\"topk_method\":\"group_limited_greedy\"", HD_E_NOTFOUND, "missing field 'n_group'"},
        {V2, ",\"topk_method\":\"group_limited_greedy\",\"n_group\":4", HD_E_NOTFOUND,
         "missing field 'topk_group'"},
        {V3, ",\"n_group\":null", HD_E_NOTFOUND, "missing field 'n_group'"},
        {V3, ",\"n_group\":3", HD_E_INVAL,
         "n_group: found 3, expected a divisor of n_routed_experts 16"},
        {V3, ",\"n_group\":32", HD_E_LIMIT,
         "n_group: found 32, expected at least 1 and at most 16"},
        {V3, ",\"n_group\":16,\"num_experts_per_tok\":1", HD_E_INVAL,
         "n_group: found 16, expected at least two of the 16 experts in a group"},
        {V3, ",\"topk_group\":9", HD_E_LIMIT, "topk_group: found 9, expected at least 1"},
        {V3, ",\"topk_group\":1", HD_E_INVAL,
         "num_experts_per_tok: found 4, expected at most the 2 experts of 1 groups"},
    };
    expect_refusals(row, sizeof(row) / sizeof(row[0]));
}

static void refuses_attention(void)
{
    static const refusal row[] = {
        {V2, ",\"kv_lora_rank\":0", HD_E_INVAL, "field 'kv_lora_rank': found 0"},
        {V2, ",\"kv_lora_rank\":1", HD_E_LIMIT, "kv_lora_rank: found 1, expected at least 2"},
        {V2, ",\"q_lora_rank\":0", HD_E_INVAL, "field 'q_lora_rank': found 0"},
        {V2, ",\"q_lora_rank\":1", HD_E_LIMIT, "q_lora_rank: found 1"},
        {V2, ",\"qk_rope_head_dim\":7", HD_E_INVAL,
         "qk_rope_head_dim: found 7, expected an even number"},
        {V2, ",\"qk_nope_head_dim\":1", HD_E_LIMIT, "qk_nope_head_dim: found 1"},
        {V2, ",\"v_head_dim\":1", HD_E_LIMIT, "v_head_dim: found 1"},
        {V2, ",\"num_attention_heads\":4096", HD_E_LIMIT, "columns of all queries: found 786432"},
        {V2, ",\"num_attention_heads\":1024,\"v_head_dim\":256", HD_E_LIMIT,
         "keys and values of all heads: found 393216"},
        {V2, ",\"kv_lora_rank\":262144", HD_E_LIMIT, "latent and rotated columns: found 262208"},
        {V2, ",\"num_attention_heads\":512,\"kv_lora_rank\":65536", HD_E_LIMIT,
         "heads times twice the latent and rotated columns: found 67141632"},
        {V2, ",\"num_attention_heads\":1,\"v_head_dim\":131072", HD_E_LIMIT,
         "key and value columns of a head: found 131264"},
        {V3, ",\"num_key_value_heads\":2", HD_E_INVAL,
         "num_key_value_heads: found 2, expected num_attention_heads 4"},
        {V3, ",\"head_dim\":128", HD_E_INVAL,
         "head_dim: found 128, expected qk_rope_head_dim 64 or the whole head's 192"},
        {V3, ",\"qk_head_dim\":128", HD_E_INVAL, "qk_head_dim: found 128, expected"},
        {V2, ",\"use_mla\":false", HD_E_UNSUPPORTED, "use_mla: found false"},
        {V2, ",\"mlp_bias\":true", HD_E_UNSUPPORTED, "mlp_bias: found true"},
        {V2, ",\"attention_bias\":1", HD_E_INVAL, "field 'attention_bias': found a number"},
        {V3, ",\"hidden_act\":\"gelu\"", HD_E_UNSUPPORTED, "hidden_act 'gelu'"},
        {V3, ",\"num_nextn_predict_layers\":-1", HD_E_INVAL, "field 'num_nextn_predict_layers'"},
        {V3, ",\"num_mtp_layers\":17", HD_E_INVAL, "field 'num_mtp_layers': found 17"},
        {V3, ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", HD_E_UNSUPPORTED,
         "rope type 'dynamic'"},
        {V3, ",\"hidden_size\":null", HD_E_NOTFOUND, "missing field 'hidden_size'"},
        {"{\"architectures\":[\"DeepseekV32ForCausalLM\"]", "", HD_E_UNSUPPORTED,
         "architecture 'DeepseekV32ForCausalLM' is not supported; supported: "},
    };
    expect_refusals(row, sizeof(row) / sizeof(row[0]));
}

#define QUANT(fields) ",\"quantization_config\":{" fields "}"
#define FP8           "\"quant_method\":\"fp8\""

static void refuses_quantization(void)
{
    static const refusal row[] = {
        {V3, QUANT("\"quant_method\":\"awq\""), HD_E_UNSUPPORTED,
         "quantization_config with quant_method 'awq' is not supported"},
        {V3, QUANT(""), HD_E_UNSUPPORTED, "quant_method 'unnamed'"},
        {V3, ",\"quantization_config\":\"fp8\"", HD_E_INVAL,
         "field 'quantization_config': found a string"},
        {MOE, QUANT(FP8 ",\"weight_block_size\":[128,128]"), HD_E_UNSUPPORTED,
         "quant_method 'fp8' is not supported for this architecture"},
        {V3, QUANT(FP8), HD_E_NOTFOUND, "quantization_config: missing field 'weight_block_size'"},
        {V3, QUANT(FP8 ",\"weight_block_size\":[128]"), HD_E_INVAL, "field 'weight_block_size'"},
        {V3, QUANT(FP8 ",\"weight_block_size\":[128,0]"), HD_E_INVAL, "field 'weight_block_size'"},
        {V3, QUANT(FP8 ",\"weight_block_size\":[1.5,128]"), HD_E_INVAL, "'weight_block_size'"},
        {V3, QUANT(FP8 ",\"weight_block_size\":128"), HD_E_INVAL, "field 'weight_block_size'"},
        {V3, QUANT(FP8 ",\"fmt\":\"e5m2\",\"weight_block_size\":[128,128]"), HD_E_UNSUPPORTED,
         "quantization_config.fmt 'e5m2' is not supported; supported: e4m3"},
        {V3, QUANT(FP8 ",\"scale_fmt\":\"e3m4\",\"weight_block_size\":[128,128]"), HD_E_UNSUPPORTED,
         "quantization_config.scale_fmt 'e3m4' is not supported; supported: float, ue8m0"},
    };
    expect_refusals(row, sizeof(row) / sizeof(row[0]));
}

HD_TEST_MAIN("config_deepseek", {"moe_defaults", moe_defaults}, {"v2_defaults", v2_defaults},
             {"v3_defaults", v3_defaults}, {"layers_of_experts", layers_of_experts},
             {"attention_fields", attention_fields}, {"routing_fields", routing_fields},
             {"fp8_fields", fp8_fields}, {"factors_of_attention", factors_of_attention},
             {"refuses_experts", refuses_experts}, {"refuses_attention", refuses_attention},
             {"refuses_quantization", refuses_quantization})
