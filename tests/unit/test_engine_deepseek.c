// The DeepSeek families under the engine: prompts cut anywhere, many sequences in one step, every
// type of cache, loading without memory, and broken checkpoints refused by the name of the tensor.
#include "engine/runner.h"
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/unit/engine_kit.h"
#include "tests/unit/write_files.h"

#include <stdio.h>

static const char *const family_name[] = {"llama", "deepseek", "deepseek_v2", "deepseek_v3"};

static hd_engine_cfg family_cfg(tiny_family f)
{
    static int n; // every call a folder of its own
    char name[32];
    snprintf(name, sizeof(name), "%s_%d", family_name[f], n++);
    return kit_cfg_for(tiny_model_write(name, (tiny_model){.nan_id = -1, .family = f}));
}

// ---- direct stepping -----------------------------------------------------------------------

enum { N = 150 };

typedef struct rows {
    int32_t n;
    float logit[N][TINY_VOCAB];
} rows;

static hd_status keep(void *ctx, int32_t pos, const float *logits, int32_t vocab)
{
    rows *r = ctx;
    EXPECT_INT(vocab, TINY_VOCAB);
    EXPECT_INT(pos, r->n);
    memcpy(r->logit[r->n++], logits, sizeof(r->logit[0]));
    return HD_OK;
}

static void feed(hd_runner *r, int32_t chunk, rows *out)
{
    int32_t ids[N];
    hd_err err = {HD_OK, ""};
    for (int32_t i = 0; i < N; i++)
        ids[i] = i * 37 % 250;
    out->n = 0;
    hd_runner_reset(r);
    hd_runner_feed(r, ids, N, chunk, HD_WANT_ALL, keep, out, &err);
    EXPECT_STR(err.msg, "");
    EXPECT_INT(out->n, N);
}

static void chunks_give_the_same_rows(void)
{
    static const int32_t chunk[] = {1, 7, 64};
    static rows whole, part;
    for (tiny_family f = TINY_MOE; f < TINY_FAMILIES; f++) {
        hd_engine_cfg c = family_cfg(f);
        hd_runner *r = NULL;
        hd_err err = {HD_OK, ""};
        hd_runner_open(&c, &r, &err);
        EXPECT_STR(err.msg, "");
        feed(r, 100000, &whole);
        for (int i = 0; i < 3; i++) {
            feed(r, chunk[i], &part);
            EXPECT(memcmp(whole.logit, part.logit, sizeof(whole.logit)) == 0);
        }
        EXPECT(memcmp(whole.logit[N - 1], whole.logit[N - 2], sizeof(whole.logit[0])) != 0);
        hd_runner_close(r);
    }
}

// ---- the engine ----------------------------------------------------------------------------

static void company_changes_nothing(void)
{
    enum { REQUESTS = 4, LEN = 90, NEW = 24 };
    static kit_answer alone[REQUESTS], together[REQUESTS];
    for (tiny_family f = TINY_MOE; f < TINY_FAMILIES; f++) {
        int32_t prompt[REQUESTS][LEN];
        hd_request rq[REQUESTS];
        hd_stream *s[REQUESTS];
        hd_engine_cfg c = family_cfg(f);
        c.max_step_tokens = 48;
        hd_engine *e = kit_open(&c);
        EXPECT_STR(hd_engine_facts(e)->cfg.arch, family_name[f]);
        for (int i = 0; i < REQUESTS; i++) {
            rq[i] = kit_request(prompt[i], LEN - 13 * i, i, NEW);
            kit_ask(e, &rq[i], &alone[i]);
            EXPECT_INT(alone[i].n, NEW);
        }
        for (int i = 0; i < REQUESTS; i++)
            s[i] = kit_submit(e, &rq[i]);
        for (int i = 0; i < REQUESTS; i++) {
            kit_read(s[i], &together[i]);
            kit_expect_same(&alone[i], &together[i]);
        }
        hd_engine_close(e, 0);
    }
}

// Bytes of a page say what is cached: both keys and values of all heads, or one latent row.
static void cache_sizes(void)
{
    static const int32_t values[] = {2 * 2 * 8, 2 * 2 * 8, 56 + 8, 56 + 8};
    for (tiny_family f = TINY_LLAMA; f < TINY_FAMILIES; f++) {
        hd_engine_cfg c = family_cfg(f);
        c.kv = HD_BF16;
        hd_engine *e = kit_open(&c);
        const hd_model_facts *m = hd_engine_facts(e);
        EXPECT_INT(m->kv_bytes, (int64_t)m->kv_pages * 64 * 2 * values[f] * 2);
        hd_engine_close(e, 0);
    }
}

static void every_cache_type(void)
{
    static const hd_dtype kv[] = {HD_F32, HD_F16, HD_BF16};
    static kit_answer a;
    int32_t prompt[40];
    for (tiny_family f = TINY_V2; f < TINY_FAMILIES; f++) {
        hd_engine_cfg c = family_cfg(f);
        hd_engine *e = NULL;
        hd_err err = {HD_OK, ""};
        for (int i = 0; i < 3; i++) {
            c.kv = kv[i];
            e = kit_open(&c);
            hd_request rq = kit_request(prompt, 40, 1, 4);
            kit_ask(e, &rq, &a);
            EXPECT_INT(a.n, 4);
            hd_engine_close(e, 0);
        }
        c.kv = HD_Q8_0; // blocks of 32
        EXPECT_INT(hd_engine_open(&c, &e, &err), HD_E_UNSUPPORTED);
        EXPECT_CONTAINS(err.msg, "cache of type q8_0: this model caches latents of 56 columns, "
                                 "expected a multiple of 32");
    }
}

// ---- bad checkpoints -----------------------------------------------------------------------

static void replace(const char *path, const char *from, const char *to)
{
    hd_buf text = {0}, out = {0};
    hd_err err = {HD_OK, ""};
    EXPECT_INT(hd_file_read(path, 1 << 16, &text, &err), HD_OK);
    const hd_slice s = hd_buf_slice(&text);
    const ptrdiff_t at = hd_slice_find(s, hd_slice_str(from), 0);
    EXPECT(at >= 0);
    const size_t rest = (size_t)at + strlen(from);
    hd_buf_put(&out, s.p, (size_t)at);
    hd_buf_puts(&out, to);
    hd_buf_put(&out, s.p + rest, s.n - rest);
    hd_test_write(path, hd_buf_slice(&out));
    hd_buf_fini(&text);
    hd_buf_fini(&out);
}

static void expect_refused(tiny_family f, const char *config_from, const char *config_to,
                           const char *message)
{
    hd_engine_cfg c = family_cfg(f);
    hd_engine *e = NULL;
    hd_err err = {HD_OK, ""};
    replace(hd_test_path(c.model, "config.json"), config_from, config_to);
    EXPECT(hd_engine_open(&c, &e, &err) != HD_OK);
    EXPECT(e == NULL);
    EXPECT_CONTAINS(err.msg, message);
}

static void what_does_not_fit_is_named(void)
{
    expect_refused(TINY_V3, "\"n_routed_experts\":8", "\"n_routed_experts\":12",
                   "tensor model.layers.1.mlp.gate.weight: shape [8, 32], expected [12, 32]");
    expect_refused(TINY_V3, "\"n_routed_experts\":8", "\"n_routed_experts\":9",
                   "config.json: n_group: found 4, expected a divisor of n_routed_experts 9");
    expect_refused(TINY_V2, "\"first_k_dense_replace\":1", "\"first_k_dense_replace\":0",
                   "model.layers.0.mlp.gate.weight");
    expect_refused(TINY_V2, "\"moe_intermediate_size\":20", "\"moe_intermediate_size\":21",
                   "tensor model.layers.1.mlp.");
    expect_refused(TINY_V2, "\"q_lora_rank\":null", "\"q_lora_rank\":20",
                   "tensor model.layers.0.self_attn.q_a_proj.weight: missing");
    expect_refused(TINY_V2, "\"v_head_dim\":10", "\"v_head_dim\":12",
                   "tensor model.layers.0.self_attn.kv_b_proj.weight: shape [88, 56]");
    expect_refused(TINY_MOE, "\"n_shared_experts\":2", "\"n_shared_experts\":3",
                   "tensor model.layers.1.mlp.shared_experts.gate_proj.weight: shape [40, 32]");
}

// ---- no memory -----------------------------------------------------------------------------

// Loading fails cleanly at every allocation, until there are none left to fail.
static void loading_survives_no_memory(void)
{
    for (tiny_family f = TINY_MOE; f < TINY_FAMILIES; f++) {
        const hd_model_opts opts = {.weights = {HD_DTYPE_NONE, HD_DTYPE_NONE, HD_DTYPE_NONE}};
        const hd_device_cfg cpu = {.device = "cpu"};
        const hd_engine_cfg c = family_cfg(f);
        hd_model_src *src;
        hd_backend *be;
        hd_model *m = NULL;
        hd_err err = {HD_OK, ""};
        hd_status st = HD_E_NOMEM;
        int n = 0;
        EXPECT_INT(hd_model_src_open(c.model, HD_FILE_MAP, &src, &err), HD_OK);
        EXPECT_INT(hd_backend_open(&cpu, &be, &err), HD_OK);
        const size_t before = hd_mem_big_bytes();
        for (; st != HD_OK; n++) {
            hd_mem_fail_at(n + 1, false);
            st = hd_model_open(src, be, &opts, &m, &err);
            hd_mem_fail_at(0, false);
            if (st == HD_OK) break;
            EXPECT_INT(st, HD_E_NOMEM);
            EXPECT(m == NULL);
            EXPECT_INT(hd_mem_big_bytes(), before);
        }
        EXPECT(n > 50);
        hd_model_close(m);
        hd_backend_close(be);
        hd_model_src_close(src);
    }
}

HD_TEST_MAIN("engine_deepseek", {"chunks_give_the_same_rows", chunks_give_the_same_rows},
             {"company_changes_nothing", company_changes_nothing}, {"cache_sizes", cache_sizes},
             {"every_cache_type", every_cache_type},
             {"what_does_not_fit_is_named", what_does_not_fit_is_named},
             {"loading_survives_no_memory", loading_survives_no_memory})
