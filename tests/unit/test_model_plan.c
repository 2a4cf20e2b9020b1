// Planning on the dry backend: sizes and costs of published models against their published numbers,
// and that the plan covers every smaller step.
#include "models/model.h"
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

// ---- published models ----------------------------------------------------------------------

typedef struct published {
    const char *name, *config;
    double params;        // billions, three decimals
    double gigabytes;     // in bf16
    int64_t kv_per_token; // bytes in bf16
} published;

static const published models[] = {
    {"R1-Distill-Qwen-1.5B",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_hidden_layers\":28,\"hidden_size\":1536,"
     "\"num_attention_heads\":12,\"num_key_value_heads\":2,\"intermediate_size\":8960,"
     "\"vocab_size\":151936,\"max_position_embeddings\":131072,\"use_sliding_window\":false}",
     1.777, 3.55, 28672},
    {"R1-Distill-Qwen-7B",
     "{\"architectures\":[\"Qwen2ForCausalLM\"],\"num_hidden_layers\":28,\"hidden_size\":3584,"
     "\"num_attention_heads\":28,\"num_key_value_heads\":4,\"intermediate_size\":18944,"
     "\"vocab_size\":152064,\"max_position_embeddings\":131072}",
     7.616, 15.23, 57344},
    {"R1-Distill-Llama-8B",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":32,\"hidden_size\":4096,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"intermediate_size\":14336,"
     "\"vocab_size\":128256,\"max_position_embeddings\":131072,\"rope_theta\":500000,"
     "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
     "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}}",
     8.030, 16.06, 131072},
    {"deepseek-llm-67b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":95,\"hidden_size\":8192,"
     "\"num_attention_heads\":64,\"num_key_value_heads\":8,\"intermediate_size\":22016,"
     "\"vocab_size\":102400,\"max_position_embeddings\":4096}",
     67.425, 134.85, 389120},
    {"deepseek-coder-33b",
     "{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":62,\"hidden_size\":7168,"
     "\"num_attention_heads\":56,\"num_key_value_heads\":8,\"intermediate_size\":19200,"
     "\"vocab_size\":32256,\"max_position_embeddings\":16384,\"rope_theta\":100000,"
     "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}",
     33.343, 66.69, 253952},
    {"R1-0528-Qwen3-8B",
     "{\"architectures\":[\"Qwen3ForCausalLM\"],\"num_hidden_layers\":36,\"hidden_size\":4096,"
     "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"head_dim\":128,"
     "\"intermediate_size\":12288,\"vocab_size\":151936,\"max_position_embeddings\":131072,"
     "\"rope_theta\":1000000,\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,"
     "\"original_max_position_embeddings\":32768,\"attn_factor\":0.8782488562869419}}",
     8.191, 16.38, 147456},
};

// Elements of norms and biases: they are kept as F32, everything else counts as BF16 here.
static double vector_elements(const hd_model_cfg *c)
{
    double layer = 2.0 * c->d_model;
    if (c->bias_qkv) layer += (double)(c->n_heads + 2 * c->n_kv_heads) * c->d_head;
    if (c->qk_norm) layer += 2.0 * c->d_head;
    return layer * c->n_layers + c->d_model;
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
    EXPECT_INT(hd_model_open_dry(&c, be, &m, &err), HD_OK);
    double vectors = vector_elements(&c);
    double params = ((double)m->weight_bytes - 4 * vectors) / 2 + vectors;
    EXPECT_NEAR(params / 1e9, p->params, 0.0005);
    EXPECT_NEAR(2 * params / 1e9, p->gigabytes, 0.005);

    if (hd_model_plan(&c, &caps, &cost, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", p->name, err.msg);
    EXPECT_INT(cost.kv_bytes_per_token, p->kv_per_token);
    // One token reads every weight once, but of the table of embeddings a single row.
    double table = 2.0 * c.vocab * c.d_model, row = 2.0 * c.d_model;
    EXPECT_NEAR(cost.decode.weight_bytes, (double)m->weight_bytes - table + row, 1);
    // Its key/value traffic: the whole context, and its own row.
    EXPECT_NEAR(cost.decode.kv_bytes, (double)p->kv_per_token * (4096 + 1), 1);
    // Two operations per element of the matrices used, and attention over the context.
    double dot = 2 * (params - vectors - (double)c.vocab * c.d_model);
    double attn = 4.0 * 4096 * c.n_heads * c.d_head * c.n_layers;
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
    if (hd_model_plan(c, &caps, &cost, &err) != HD_OK)
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
    EXPECT_INT(hd_model_plan(&c, &caps, &cost, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "plan for 0 tokens");
}

HD_TEST_MAIN("model_plan", {"published_sizes", published_sizes},
             {"smaller_steps_need_less", smaller_steps_need_less},
             {"plan_refuses_nothing", plan_refuses_nothing})
