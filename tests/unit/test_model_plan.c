// Planning on the dry backend: sizes and costs of published models against their published numbers,
// and that the plan covers every smaller step.
#include "models/model.h"
#include "tests/harness/plan_dry.h"
#include "tests/harness/test.h"

#include <stdio.h>

static hd_model_cfg config(const char *text)
{
    hd_model_cfg cfg;
    hd_json *j;
    hd_err err = {0};
    if (hd_json_parse(hd_slice_str(text), &hd_json_file_limits, &j, &err) != HD_OK ||
        hd_config_from_json(j, &cfg, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", text, err.msg);
    hd_json_free(j);
    return cfg;
}

static const hd_weight_types as_stored = {HD_DTYPE_NONE, HD_DTYPE_NONE, HD_DTYPE_NONE};

// ---- published models ----------------------------------------------------------------------

typedef struct published {
    const char *name, *config;
    double params;        // billions, three decimals
    double gigabytes;     // in bf16
    int64_t kv_per_token; // bytes in bf16
    double active;        // billions a token reads, embedding included; 0: all
} published;

#define YARN(m)                                                                                    \
    ",\"max_position_embeddings\":163840,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,"       \
    "\"original_max_position_embeddings\":4096,\"mscale\":" m ",\"mscale_all_dim\":" m "}}"

static const published models[] = {
    {"R1-Distill-Qwen-1.5B",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_hidden_layers\":28,\"hidden_size\":1536,"
     "\"num_attention_heads\":12,\"num_key_value_heads\":2,\"intermediate_size\":8960,"
     "\"vocab_size\":151936,\"max_position_embeddings\":131072,\"use_sliding_window\":false}",
     1.777, 3.55, 28672, 0},
    {"R1-Distill-Qwen-7B",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_hidden_layers\":28,\"hidden_size\":3584,"
     "\"num_attention_heads\":28,\"num_key_value_heads\":4,\"intermediate_size\":18944,"
     "\"vocab_size\":152064,\"max_position_embeddings\":131072}",
     7.616, 15.23, 57344, 0},
    {"R1-Distill-Llama-8B",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":32,\"hidden_size\":4096,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"intermediate_size\":14336,"
     "\"vocab_size\":128256,\"max_position_embeddings\":131072,\"rope_theta\":500000,"
     "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
     8.030, 16.06, 131072, 0},
    {"deepseek-llm-67b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":95,\"hidden_size\":8192,"
     "\"num_attention_heads\":64,\"num_key_value_heads\":8,\"intermediate_size\":22016,"
     "\"vocab_size\":102400,\"max_position_embeddings\":4096}",
     67.425, 134.85, 389120, 0},
    {"deepseek-coder-33b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":62,\"hidden_size\":7168,"
     "\"num_attention_heads\":56,\"num_key_value_heads\":8,\"intermediate_size\":19200,"
     "\"vocab_size\":32256,\"max_position_embeddings\":16384,\"rope_theta\":100000,"
     "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}",
     33.343, 66.69, 253952, 0},
    {"R1-0528-Qwen3-8B",
     "{\"architectures\":[\"Qwen3ForCausalLM\"],\"num_hidden_layers\":36,\"hidden_size\":4096,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"head_dim\":128,"
     "\"intermediate_size\":12288,\"vocab_size\":151936,\"max_position_embeddings\":131072,"
     "\"rope_theta\":1000000,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
     "\"original_max_position_embeddings\":32768,\"attn_factor\":0.8782488562869419}}",
     8.191, 16.38, 147456, 0},
    {"deepseek-moe-16b",
     "{\"architectures\":[\"DeepseekForCausalLM\"],\"num_hidden_layers\":28,\"hidden_size\":2048,"
     "\"num_attention_heads\":16,\"num_key_value_heads\":16,\"intermediate_size\":10944,"
     "\"vocab_size\":102400,\"max_position_embeddings\":4096,\"moe_intermediate_size\":1408,"
     "\"n_routed_experts\":64,\"n_shared_experts\":2,\"num_experts_per_tok\":6,"
     "\"first_k_dense_replace\":1,\"moe_layer_freq\":1,\"norm_topk_prob\":false,"
     "\"scoring_func\":\"softmax\"}",
     16.376, 32.75, 229376, 2.83},
    {"DeepSeek-V2-Lite",
     "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"num_hidden_layers\":27,"
     "\"hidden_size\":2048,\"num_attention_heads\":16,\"num_key_value_heads\":16,"
     "\"intermediate_size\":10944,\"vocab_size\":102400,\"moe_intermediate_size\":1408,"
     "\"q_lora_rank\":null,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,"
     "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_experts\":64,\"n_shared_experts\":2,"
     "\"num_experts_per_tok\":6,\"first_k_dense_replace\":1,\"topk_method\":\"greedy\","
     "\"n_group\":1,\"topk_group\":1" YARN("0.707"),
     15.706, 31.41, 31104, 2.66},
    {"DeepSeek-V2.5",
     "{\"architectures\":[\"DeepseekV2ForCausalLM\"],\"num_hidden_layers\":60,"
     "\"hidden_size\":5120,\"num_attention_heads\":128,\"num_key_value_heads\":128,"
     "\"intermediate_size\":12288,\"vocab_size\":102400,\"moe_intermediate_size\":1536,"
     "\"q_lora_rank\":1536,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,"
     "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_experts\":160,"
     "\"n_shared_experts\":2,\"num_experts_per_tok\":6,\"first_k_dense_replace\":1,"
     "\"topk_method\":\"group_limited_greedy\",\"n_group\":8,\"topk_group\":3,"
     "\"routed_scaling_factor\":16.0" YARN("1.0"),
     235.741, 471.5, 69120, 21.4},
    {"DeepSeek-V3",
     "{\"architectures\":[\"DeepseekV3ForCausalLM\"],\"num_hidden_layers\":61,"
     "\"hidden_size\":7168,\"num_attention_heads\":128,\"num_key_value_heads\":128,"
     "\"intermediate_size\":18432,\"vocab_size\":129280,\"moe_intermediate_size\":2048,"
     "\"q_lora_rank\":1536,\"kv_lora_rank\":512,\"qk_nope_head_dim\":128,"
     "\"qk_rope_head_dim\":64,\"v_head_dim\":128,\"n_routed_experts\":256,"
     "\"n_shared_experts\":1,\"num_experts_per_tok\":8,\"first_k_dense_replace\":3,"
     "\"topk_method\":\"noaux_tc\",\"scoring_func\":\"sigmoid\",\"n_group\":8,\"topk_group\":4,"
     "\"routed_scaling_factor\":2.5,\"norm_topk_prob\":true,\"num_nextn_predict_layers\":1" YARN(
         "1.0"),
     671.026, 1342.05, 70272, 37.6},
};

static int32_t sparse_layers(const hd_model_cfg *c)
{
    int32_t n = 0;
    for (int32_t l = 0; l < c->n_layers; l++)
        n += hd_cfg_is_sparse(c, l);
    return n;
}

// Elements of norms and biases: they are kept as F32, everything else counts as BF16 here.
static double vector_elements(const hd_model_cfg *c)
{
    double layer = 2.0 * c->d_model + c->mla.q_lora + c->mla.d_latent;
    if (c->bias_qkv) layer += (double)(c->n_heads + 2 * c->n_kv_heads) * c->d_head;
    if (c->qk_norm) layer += 2.0 * c->d_head;
    double routing = c->moe.bias ? (double)sparse_layers(c) * c->moe.n_experts : 0;
    return layer * c->n_layers + routing + c->d_model;
}

// Elements of the experts that one token leaves alone.
static double idle_elements(const hd_model_cfg *c)
{
    const hd_moe_cfg *m = &c->moe;
    return 3.0 * sparse_layers(c) * (m->n_experts - m->n_active) * c->d_model * m->d_expert;
}

// Multiply-adds of attention itself for one token over `keys`, all layers.
static double attention_macs(const hd_model_cfg *c, double keys)
{
    const hd_mla_cfg *a = &c->mla;
    double pair = a->d_latent > 0 ? 2.0 * a->d_latent + a->d_rope : 2.0 * c->d_head;
    return pair * keys * c->n_heads * c->n_layers;
}

static void check_published(const published *p)
{
    const hd_device_cfg dry = {.device = "dry"};
    const hd_plan_caps caps = {512, 16, 16, 4096, HD_BF16};
    hd_model_cfg c = config(p->config);
    hd_backend *be;
    hd_model *m;
    hd_plan_cost cost;
    hd_err err = {0};
    EXPECT_INT(hd_backend_open(&dry, &be, &err), HD_OK);
    EXPECT_INT(hd_model_open_dry(&c, as_stored, be, &m, &err), HD_OK);
    double vectors = vector_elements(&c);
    double params = ((double)m->weight_bytes - 4 * vectors) / 2 + vectors;
    EXPECT_NEAR(params / 1e9, p->params, 0.0005);
    EXPECT_NEAR(2 * params / 1e9, p->gigabytes, p->gigabytes < 200 ? 0.005 : 0.05);
    double idle = idle_elements(&c);
    EXPECT_NEAR((params - idle) / 1e9, p->active > 0 ? p->active : params / 1e9, 0.05);

    if (hd_test_plan(&c, &caps, &cost, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", p->name, err.msg);
    EXPECT_INT(cost.kv_bytes_per_token, p->kv_per_token);
    // One token reads every weight once, but of the table of embeddings a single row, and only the
    // experts chosen for it.
    double table = 2.0 * c.vocab * c.d_model, row = 2.0 * c.d_model;
    EXPECT_NEAR(cost.decode.weight_bytes, (double)m->weight_bytes - table + row - 2 * idle, 1);
    // Its key/value traffic: the whole context, and its own row.
    EXPECT_NEAR(cost.decode.kv_bytes, (double)p->kv_per_token * (4096 + 1), 1);
    // Two operations per element of the matrices used, and attention over the context.
    double dot = 2 * (params - vectors - (double)c.vocab * c.d_model - idle);
    double attn = 2 * attention_macs(&c, 4096);
    EXPECT(cost.decode.flops >= dot + attn && cost.decode.flops < (dot + attn) * 1.001);
    EXPECT(cost.step.flops > 300 * cost.decode.flops / 2);
    hd_model_close(m);
    hd_backend_close(be);
}

static void published_sizes(void)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        check_published(&models[i]);
}

// A narrow feed-forward, so that the head's rows are not hidden by the layers' scratch.
static const char narrow[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":512,"
                             "\"intermediate_size\":2,\"num_hidden_layers\":2,"
                             "\"num_attention_heads\":4,\"head_dim\":2,\"vocab_size\":100}";

static size_t scratch(const hd_model_cfg *c, int32_t tokens, int32_t seqs, int32_t out)
{
    const hd_plan_caps caps = {tokens, seqs, out, 64, HD_F16};
    hd_plan_cost cost;
    hd_err err = {0};
    if (hd_test_plan(c, &caps, &cost, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return cost.scratch_bytes;
}

static void smaller_steps_need_less(void)
{
    hd_model_cfg c = config(narrow);
    for (int32_t tokens = 1; tokens <= 40; tokens += 3)
        for (int32_t out = 1; out <= tokens; out++) {
            EXPECT(scratch(&c, tokens, 4, out) <= scratch(&c, tokens, 4, out + 1));
            EXPECT(scratch(&c, tokens, 4, out) <= scratch(&c, tokens + 1, 4, out));
        }
    // More tokens than the sequences can hold are not planned for.
    EXPECT_INT(scratch(&c, 1000, 2, 1000), scratch(&c, 128, 2, 128));
}

static void plan_refuses_nothing(void)
{
    hd_model_cfg c = config(narrow);
    const hd_plan_caps caps = {0, 1, 1, 1, HD_F32};
    hd_plan_cost cost;
    hd_err err = {0};
    EXPECT_INT(hd_test_plan(&c, &caps, &cost, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "plan for 0 tokens");
}

HD_TEST_MAIN("model_plan", {"published_sizes", published_sizes},
             {"smaller_steps_need_less", smaller_steps_need_less},
             {"plan_refuses_nothing", plan_refuses_nothing})
