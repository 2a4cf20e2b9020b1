// Forecasts of every published model that is supported, through the dry backend: parameters and
// cache against published numbers, costs against formulas, and what a given memory holds.
#include "engine/forecast.h"
#include "engine/runner.h"
#include "kernels/base/json.h"
#include "kernels/base/log.h"
#include "tests/harness/test.h"
#include "tests/unit/tiny_model.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLDER "tests/data/configs"

static hd_engine_cfg settings(void)
{
    hd_engine_cfg c;
    hd_engine_cfg_init(&c);
    c.memory = (uint64_t)24 << 30;
    c.threads = 1;
    return c;
}

static hd_status read_config(const char *name, hd_model_cfg *cfg, hd_err *err)
{
    char path[128];
    hd_json *j = NULL;
    snprintf(path, sizeof(path), FOLDER "/%s.json", name);
    if (hd_json_parse_file(path, &hd_json_file_limits, &j, err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err->msg);
    hd_status st = hd_config_from_json(j, cfg, err);
    hd_json_free(j);
    return st;
}

static hd_forecast forecast(const char *name, const hd_engine_cfg *c)
{
    hd_model_cfg cfg;
    hd_forecast f;
    hd_err err = {0};
    if (read_config(name, &cfg, &err) != HD_OK ||
        hd_forecast_make(c, NULL, &cfg, &f, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", name, err.msg);
    return f;
}

// ---- published models ----------------------------------------------------------------------

typedef struct published {
    const char *name;
    double params, active; // billions; three and two decimals
    int64_t kv_per_token;  // bytes in bf16
    double gigabytes;      // of the files; 0: FP8
} published;

static const published models[] = {
    {"deepseek-llm-7b", 6.910, 6.91, 491520, 13.82},
    {"deepseek-llm-67b", 67.425, 67.43, 389120, 134.85},
    {"deepseek-coder-1.3b", 1.346, 1.35, 196608, 2.69},
    {"deepseek-coder-5.7bmqa", 5.700, 5.70, 16384, 11.40},
    {"deepseek-coder-6.7b", 6.741, 6.74, 524288, 13.48},
    {"deepseek-coder-33b", 33.343, 33.34, 253952, 66.69},
    {"r1-distill-qwen-1.5b", 1.777, 1.78, 28672, 3.55},
    {"r1-distill-qwen-7b", 7.616, 7.62, 57344, 15.23},
    {"r1-distill-qwen-14b", 14.770, 14.77, 196608, 29.54},
    {"r1-distill-qwen-32b", 32.764, 32.76, 262144, 65.53},
    {"r1-distill-llama-8b", 8.030, 8.03, 131072, 16.06},
    {"r1-distill-llama-70b", 70.554, 70.55, 327680, 141.11},
    {"r1-0528-qwen3-8b", 8.191, 8.19, 147456, 16.38},
    {"deepseek-moe-16b", 16.376, 2.83, 229376, 32.75},
    {"deepseek-v2-lite", 15.706, 2.66, 31104, 31.41},
    {"deepseek-v2", 235.741, 21.38, 69120, 471.48},
    {"deepseek-v2.5", 235.741, 21.38, 69120, 471.48},
    {"deepseek-v3", 671.026, 37.55, 70272, 0},
    {"deepseek-v3.1", 671.026, 37.55, 70272, 0},
};
enum { N_MODELS = sizeof(models) / sizeof(models[0]) };

static const struct {
    const char *name, *architecture;
} refused[] = {
    {"deepseek-v3.2", "DeepseekV32ForCausalLM"},
    {"deepseek-v4-flash", "DeepseekV4ForCausalLM"},
};
enum { N_REFUSED = sizeof(refused) / sizeof(refused[0]) };

// Operations of attention for one query and `context` keys, in one layer.
static double attention_flops(const hd_model_cfg *c, double context)
{
    const hd_mla_cfg *a = &c->mla;
    if (a->d_latent == 0) return 4.0 * context * c->n_heads * c->d_head;
    return 2.0 * c->n_heads * context * (2.0 * a->d_latent + a->d_rope);
}

static void check_published(const published *p)
{
    const hd_engine_cfg s = settings();
    const hd_forecast f = forecast(p->name, &s);
    const hd_model_cfg *c = &f.cfg;
    EXPECT_NEAR((double)f.weights.params / 1e9, p->params, 0.0005);
    EXPECT_NEAR(f.active_params / 1e9, p->active, 0.005);
    EXPECT_INT(f.kv_bytes_per_token, p->kv_per_token);
    // Vectors are F32 here, but two bytes an element in the files.
    const double vectors = (double)f.weights.bytes[HD_F32] / 4;
    if (p->gigabytes > 0)
        EXPECT_NEAR(((double)f.weight_bytes - 2 * vectors) / 1e9, p->gigabytes, 0.005);
    EXPECT_INT(f.at[f.n_at - 1].context, c->max_context);
    for (int i = 0; i < f.n_at; i++) {
        const hd_forecast_at *at = &f.at[i];
        // Its cache traffic: the whole context, and its own row.
        EXPECT_NEAR(at->decode.kv_bytes, (double)p->kv_per_token * (at->context + 1), 1);
        // Two operations an element of the matrices it meets (of the table one row), and attention.
        const double table = (double)c->vocab * c->d_model;
        const double want =
            2 * (f.active_params - vectors - table) + attention_flops(c, at->context) * c->n_layers;
        EXPECT(at->decode.flops >= want * 0.999 && at->decode.flops < want * 1.002);
        EXPECT(i == 0 || at->sequences <= f.at[i - 1].sequences);
    }
    if (p->gigabytes > 0) {
        const double read = 2 * (f.active_params - (double)c->vocab * c->d_model);
        EXPECT(f.at[0].decode.weight_bytes >= read && f.at[0].decode.weight_bytes < read * 1.001);
    }
}

static void published_models(void)
{
    hd_log_set_level(HD_LOG_OFF);
    for (int i = 0; i < N_MODELS; i++)
        check_published(&models[i]);
}

static void other_architectures_are_named(void)
{
    for (int i = 0; i < N_REFUSED; i++) {
        hd_model_cfg cfg;
        hd_err err = {0};
        EXPECT_INT(read_config(refused[i].name, &cfg, &err), HD_E_UNSUPPORTED);
        EXPECT_CONTAINS(err.msg, refused[i].architecture);
    }
}

// A new file needs its row.
static void every_file_has_a_row(void)
{
    DIR *d = opendir(FOLDER);
    const struct dirent *e;
    int n = 0;
    EXPECT(d != NULL);
    while ((e = readdir(d)))
        n += strstr(e->d_name, ".json") != NULL;
    closedir(d);
    EXPECT_INT(n, N_MODELS + N_REFUSED);
}

// ---- types ---------------------------------------------------------------------------------

static void fp8_is_stored_with_its_scales(void)
{
    hd_engine_cfg s = settings();
    const hd_forecast f = forecast("deepseek-v3", &s);
    const hd_model_cfg *c = &f.cfg;
    const double routers = 58.0 * 256 * 7168, tables = 2.0 * 129280 * 7168;
    EXPECT_NEAR((double)f.weights.bytes[HD_BF16], 2 * (routers + tables), 1);
    const double matrices =
        (double)f.weights.params - routers - tables - (double)f.weights.bytes[HD_F32] / 4;
    EXPECT_NEAR((double)f.weights.bytes[HD_F8_B128], matrices / 128 * 132, 1);
    EXPECT_INT(c->n_mtp, 1);
    EXPECT_INT(f.context, 0);
    EXPECT(f.weight_bytes > f.memory);
    EXPECT_INT(f.at[0].sequences, 0);
    // Everything else follows what is asked for; routers and vectors stay.
    s.weights = (hd_weight_types)HD_WEIGHTS_ALL(HD_BF16);
    const hd_forecast wide = forecast("deepseek-v3", &s);
    EXPECT_INT(wide.weights.bytes[HD_F8_B128], 0);
    EXPECT_INT(wide.weights.bytes[HD_F32], f.weights.bytes[HD_F32]);
}

static void types_go_by_use(void)
{
    hd_engine_cfg s = settings();
    s.weights = (hd_weight_types){.all = HD_Q8_0, .experts = HD_Q4_K, .attention = HD_BF16};
    const hd_forecast f = forecast("deepseek-v2-lite", &s);
    const uint64_t *bytes = f.weights.bytes;
    // 1408 columns are no multiple of 256: a third of the experts' elements becomes q4_1.
    const double experts = (double)f.weights.expert_params;
    EXPECT_NEAR(experts, 26.0 * 64 * 3 * 2048 * 1408, 0.5);
    EXPECT_NEAR((double)bytes[HD_Q4_K], experts * 2 / 3 / 256 * 144, 1);
    EXPECT_NEAR((double)bytes[HD_Q4_1], experts / 3 / 32 * 20, 1);
    // Attention, and the routers that are never re-quantized.
    const double attention = 27.0 * (2048 * 3072 + 2048 * 576 + 4096 * 512 + 2048 * 2048);
    EXPECT_NEAR((double)bytes[HD_BF16], 2 * (attention + 26.0 * 64 * 2048), 1);
    EXPECT(bytes[HD_Q8_0] > 0 && bytes[HD_F8_B128] == 0);
}

// ---- memory --------------------------------------------------------------------------------

static void memory_is_filled(void)
{
    hd_engine_cfg s = settings();
    const hd_forecast f = forecast("deepseek-llm-7b", &s);
    EXPECT_INT(f.context, 4096);
    const double left = (double)f.memory - (double)f.weight_bytes - (double)f.buffer_bytes;
    for (int i = 0; i < f.n_at; i++) {
        const double one = (double)f.kv_bytes_per_token * f.at[i].context; // whole pages here
        EXPECT(one * (double)f.at[i].sequences <= left);
        EXPECT(one * (double)(f.at[i].sequences + 1) > left - 64 * (double)f.kv_bytes_per_token);
    }
    s.memory = f.weight_bytes + f.buffer_bytes + f.kv_bytes_per_token * 1024;
    const hd_forecast less = forecast("deepseek-llm-7b", &s);
    EXPECT_INT(less.context, 1024);
    s.max_context = 2048;
    const hd_forecast asked = forecast("deepseek-llm-7b", &s);
    EXPECT_INT(asked.wanted_context, 2048);
    EXPECT_INT(asked.context, 0); // what was asked for is not lowered
}

static void cache_of_blocks(void)
{
    hd_engine_cfg s = settings();
    hd_model_cfg cfg;
    hd_forecast f;
    hd_err err = {0};
    s.kv = HD_Q8_0;
    f = forecast("deepseek-v2-lite", &s);
    EXPECT_INT(f.kv_bytes_per_token, 27 * 576 / 32 * 34);
    EXPECT_INT(read_config("deepseek-v2-lite", &cfg, &err), HD_OK);
    cfg.mla.d_latent = 520;
    EXPECT_INT(hd_forecast_make(&s, NULL, &cfg, &f, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "cache of type q8_0: this model caches latents of 520 columns, "
                             "expected a multiple of 32");
}

// ---- files ---------------------------------------------------------------------------------

// What is forecast from files is what loading them takes, up to the padding of parts.
static void files_are_forecast_as_loaded(void)
{
    static const hd_dtype types[] = {HD_DTYPE_NONE, HD_F32, HD_BF16, HD_Q8_0};
    hd_engine_cfg s = settings();
    hd_model_src *src = NULL;
    hd_err err = {0};
    hd_log_set_level(HD_LOG_OFF);
    s.model = tiny_model_write("tiny", (tiny_model){.nan_id = -1});
    s.device = "cpu";
    s.bind = HD_BIND_OFF;
    EXPECT_INT(hd_model_src_open(s.model, HD_FILE_MAP, &src, &err), HD_OK);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        hd_forecast f;
        hd_runner *r = NULL;
        s.weights = (hd_weight_types)HD_WEIGHTS_ALL(types[i]);
        EXPECT_INT(hd_forecast_make(&s, src, NULL, &f, &err), HD_OK);
        EXPECT_INT(hd_runner_open(&s, &r, &err), HD_OK);
        const uint64_t loaded = hd_runner_facts(r)->weight_bytes;
        EXPECT(loaded >= f.weight_bytes && loaded - f.weight_bytes < 64 * 64);
        hd_runner_close(r);
    }
    hd_model_src_close(src);
}

HD_TEST_MAIN("forecast", {"published_models", published_models},
             {"other_architectures_are_named", other_architectures_are_named},
             {"every_file_has_a_row", every_file_has_a_row},
             {"fp8_is_stored_with_its_scales", fp8_is_stored_with_its_scales},
             {"types_go_by_use", types_go_by_use}, {"memory_is_filled", memory_is_filled},
             {"cache_of_blocks", cache_of_blocks},
             {"files_are_forecast_as_loaded", files_are_forecast_as_loaded})
