// The binder: what it refuses and how it says so, types chosen by policy, packing in parallel,
// progress, cancelling, and that no failure leaves a weight behind.
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "models/weights/policy.h"
#include "tests/unit/bind_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// ---- refusals ------------------------------------------------------------------------------

static void expect_refusal(hd_status st, const char *message, const char *name, int32_t n_mat,
                           int32_t n_out, int32_t n_in)
{
    files f = {0};
    counting c;
    hd_err err = {0};
    uint64_t bytes;
    hd_weight *good = NULL, *bad = NULL, *later = NULL;
    hd_st_writer_init(&f.w);
    add(&f, "good", HD_F32, 2, 4, 8, 0);
    add(&f, "model.layers.3.self_attn.k_proj.weight", HD_BF16, 2, 64, 48, 0);
    add(&f, "ints", HD_I32, 2, 4, 8, 0);
    add(&f, "cube", HD_F16, 3, 2, 4, 8);
    add(&f, "norm", HD_F16, 1, 8, 0, 0);
    files_open(&f);
    counting_open(&c);
    hd_binder *b = binder(f.src, &c.base, &keep);
    hd_bind(b, &good, HD_USE_MATRIX, HD_SHARD_NONE, 1, 4, 8, "good");
    hd_bind(b, &bad, HD_USE_MATRIX, HD_SHARD_NONE, n_mat, n_out, n_in, "%s", name);
    hd_bind(b, &later, HD_USE_MATRIX, HD_SHARD_NONE, 1, 4, 8, "also missing");
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), st);
    EXPECT_STR(err.msg, message);
    EXPECT(!good && !bad && !later);
    EXPECT_INT(bytes, 0);
    EXPECT_INT(c.packed, 0);
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

static void names_what_is_wrong(void)
{
    expect_refusal(HD_E_CORRUPT,
                   "tensor model.layers.3.self_attn.k_proj.weight: shape [64, 48], expected "
                   "[32, 48]",
                   "model.layers.3.self_attn.k_proj.weight", 1, 32, 48);
    expect_refusal(HD_E_CORRUPT, "tensor good: shape [4, 8], expected [8, 4]", "good", 1, 8, 4);
    expect_refusal(HD_E_CORRUPT, "tensor good: shape [4, 8], expected [32]", "good", 1, 32, 1);
    expect_refusal(HD_E_CORRUPT, "tensor norm: shape [8], expected [1, 8]", "norm", 1, 1, 8);
    expect_refusal(HD_E_CORRUPT, "tensor cube: shape [2, 4, 8], expected [3, 4, 8]", "cube", 3, 4,
                   8);
    expect_refusal(HD_E_CORRUPT, "tensor cube: shape [2, 4, 8], expected [8, 8]", "cube", 1, 8, 8);
    expect_refusal(HD_E_UNSUPPORTED,
                   "tensor ints: type i32, expected a floating-point or quantized one", "ints", 1,
                   4, 8);
    expect_refusal(HD_E_NOTFOUND, "tensor absent: missing from the 5 tensors of the model",
                   "absent", 1, 4, 8);
}

static void refuses_targets(void)
{
    counting c;
    hd_binder *b;
    hd_err err = {0};
    const hd_model_opts q2 = {.weights = HD_WEIGHTS_ALL(HD_Q2_K)};
    const hd_model_opts i8 = {.weights = {HD_DTYPE_NONE, HD_I8, HD_F32}};
    const hd_model_opts odd = {.weights = {HD_DTYPE_NONE, HD_F32, HD_DTYPE_COUNT}};
    counting_open(&c);
    EXPECT_INT(hd_binder_open(NULL, &c.base, &i8, &b, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "experts as i8");
    EXPECT(b == NULL);
    EXPECT_INT(hd_binder_open(NULL, &c.base, &odd, &b, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "attention as type number");
    if (!hd_dtype_get(HD_Q2_K)->from_f32) {
        EXPECT_INT(hd_binder_open(NULL, &c.base, &q2, &b, &err), HD_E_UNSUPPORTED);
        EXPECT_CONTAINS(err.msg,
                        "weights as q2_k: this type can not be written; use f32, f16, bf16, q8_0 "
                        "or q4_k");
    }
    counting_close(&c);
}

// ---- policy --------------------------------------------------------------------------------

static void policy_rows(void)
{
    static const struct {
        hd_dtype weights;
        hd_weight_use use;
        hd_dtype stored;
        int32_t n_in;
        hd_dtype want;
    } row[] = {
        {HD_DTYPE_NONE, HD_USE_MATRIX, HD_BF16, 64, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_EMBEDDING, HD_Q8_0, 64, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_VECTOR, HD_BF16, 1, HD_F32},
        {HD_DTYPE_NONE, HD_USE_MATRIX, HD_F64, 64, HD_F32},
        {HD_F32, HD_USE_EMBEDDING, HD_BF16, 48, HD_F32},
        {HD_BF16, HD_USE_HEAD, HD_F32, 48, HD_BF16},
        {HD_F16, HD_USE_VECTOR, HD_F16, 1, HD_F32},
        {HD_Q8_0, HD_USE_MATRIX, HD_F16, 64, HD_Q8_0},
        {HD_Q8_0, HD_USE_EMBEDDING, HD_F16, 64, HD_Q8_0},
        {HD_Q8_0, HD_USE_MATRIX, HD_F16, 48, HD_DTYPE_NONE}, // 48 is no multiple of 32
        {HD_Q8_0, HD_USE_MATRIX, HD_F64, 48, HD_F32},
        {HD_Q4_0, HD_USE_MATRIX, HD_F16, 64, HD_Q4_0},
        {HD_Q4_0, HD_USE_EMBEDDING, HD_F16, 64, HD_Q8_0},
        {HD_Q4_0, HD_USE_HEAD, HD_F16, 64, HD_Q4_0},
        {HD_Q4_K, HD_USE_MATRIX, HD_BF16, 512, HD_Q4_K},
        {HD_Q4_K, HD_USE_MATRIX, HD_BF16, 96, HD_Q4_1}, // of the same width
        {HD_Q4_K, HD_USE_MATRIX, HD_BF16, 48, HD_DTYPE_NONE},
        {HD_Q6_K, HD_USE_EXPERT, HD_BF16, 1408, HD_Q8_0},
        {HD_Q4_K, HD_USE_EMBEDDING, HD_BF16, 96, HD_Q8_0},
        {HD_F8_B128, HD_USE_MATRIX, HD_BF16, 96, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_EXPERT, HD_F8_B128, 256, HD_DTYPE_NONE},
        {HD_BF16, HD_USE_EXPERT, HD_F8_B128, 256, HD_BF16},
        {HD_Q4_K, HD_USE_ROUTER, HD_BF16, 256, HD_DTYPE_NONE}, // whatever is wanted
        {HD_Q4_K, HD_USE_ROUTER, HD_F16, 256, HD_DTYPE_NONE},
        {HD_F16, HD_USE_ROUTER, HD_F32, 256, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_ROUTER, HD_Q8_0, 256, HD_F32},
        {HD_DTYPE_NONE, HD_USE_LATENT, HD_BF16, 512, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_LATENT, HD_Q8_0, 512, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_LATENT, HD_F8_B128, 512, HD_DTYPE_NONE},
        {HD_DTYPE_NONE, HD_USE_LATENT, HD_F8_E4M3, 512, HD_F16}, // attention cannot read it
        {HD_DTYPE_NONE, HD_USE_LATENT, HD_Q4_K, 512, HD_F16},
        {HD_Q8_0, HD_USE_LATENT, HD_BF16, 512, HD_Q8_0},
        {HD_Q8_0, HD_USE_LATENT, HD_BF16, 48, HD_DTYPE_NONE},
        {HD_Q8_0, HD_USE_LATENT, HD_Q4_0, 48, HD_F16},
        {HD_Q4_K, HD_USE_LATENT, HD_BF16, 512, HD_F16},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        const hd_weight_types all = HD_WEIGHTS_ALL(row[i].weights);
        hd_dtype got = hd_policy_want(&all, row[i].use, row[i].stored, row[i].n_in);
        if (got != row[i].want)
            hd_test_fail(__FILE__, __LINE__, "row %zu: got %s, want %s", i, hd_dtype_name(got),
                         hd_dtype_name(row[i].want));
    }
}

static void uses_have_targets_of_their_own(void)
{
    const hd_weight_types w = {.all = HD_BF16, .experts = HD_Q4_K, .attention = HD_Q8_0};
    static const struct {
        hd_weight_use use;
        hd_dtype target;
    } row[] = {
        {HD_USE_MATRIX, HD_BF16},       {HD_USE_EMBEDDING, HD_BF16},    {HD_USE_HEAD, HD_BF16},
        {HD_USE_ATTENTION, HD_Q8_0},    {HD_USE_LATENT, HD_Q8_0},       {HD_USE_EXPERT, HD_Q4_K},
        {HD_USE_ROUTER, HD_DTYPE_NONE}, {HD_USE_VECTOR, HD_DTYPE_NONE},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        EXPECT_INT(hd_policy_target(&w, row[i].use), row[i].target);
        if (row[i].target == HD_DTYPE_NONE) continue;
        EXPECT_INT(hd_policy_want(&w, row[i].use, HD_F32, 512), row[i].target);
    }
}

// ---- binding -------------------------------------------------------------------------------

static void binds_all_kinds(void)
{
    static const hd_bind_part qkv[] = {{"q", 6, false}, {"k", 2, false}, {"v", 2, false}};
    static const hd_bind_part bias[] = {{"q.bias", 6, false}, {"k.bias", 2, false}};
    files f = {0};
    counting c;
    hd_weight *w[5] = {0};
    hd_weight_info info;
    hd_err err = {0};
    uint64_t bytes;
    hd_st_writer_init(&f.w);
    add(&f, "q", HD_BF16, 2, 6, 8, 0);
    add(&f, "k", HD_F32, 2, 2, 8, 0);
    add(&f, "v", HD_F16, 2, 2, 8, 0);
    add(&f, "q.bias", HD_F16, 1, 6, 0, 0);
    add(&f, "k.bias", HD_F32, 1, 2, 0, 0);
    add(&f, "experts", HD_BF16, 3, 3, 4, 8);
    add(&f, "norm", HD_BF16, 1, 8, 0, 0);
    add(&f, "wide", HD_F64, 2, 2, 8, 0);
    files_open(&f);
    counting_open(&c);
    hd_binder *b = binder(f.src, &c.base, &keep);
    hd_bind_parts(b, &w[0], HD_USE_MATRIX, HD_SHARD_ROWS, qkv, 3, 8);
    hd_bind_parts(b, &w[1], HD_USE_VECTOR, HD_SHARD_ROWS, bias, 2, 1);
    hd_bind(b, &w[2], HD_USE_MATRIX, HD_SHARD_EXPERTS, 3, 4, 8, "%s", "experts");
    hd_bind(b, &w[3], HD_USE_VECTOR, HD_SHARD_NONE, 1, 8, 1, "norm");
    hd_bind(b, &w[4], HD_USE_MATRIX, HD_SHARD_NONE, 1, 2, 8, "wide");
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
    static const hd_weight_info want[5] = {
        {1, 10, 8, HD_BF16, 0}, {1, 8, 1, HD_F32, 0}, {3, 4, 8, HD_BF16, 0},
        {1, 8, 1, HD_F32, 0},   {1, 2, 8, HD_F32, 0},
    };
    uint64_t sum = 0;
    for (int i = 0; i < 5; i++) {
        c.base.ops->weight_info(&c.base, w[i], &info);
        EXPECT_INT(info.n_mat, want[i].n_mat);
        EXPECT_INT(info.n_out, want[i].n_out);
        EXPECT_INT(info.n_in, want[i].n_in);
        EXPECT_INT(info.dtype, want[i].dtype);
        sum += info.bytes;
        c.base.ops->weight_free(&c.base, w[i]);
    }
    EXPECT_INT(bytes, sum);
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

static void reads_vectors(void)
{
    const float v[3] = {1.5f, -2, 0.25f};
    const uint64_t shape[] = {3};
    files f = {0};
    counting c;
    hd_err err = {0};
    float out[4];
    uint64_t bytes;
    hd_st_writer_init(&f.w);
    hd_sw_floats(&f.w, "f32", HD_F32, 1, shape, v);
    hd_sw_floats(&f.w, "bf16", HD_BF16, 1, shape, v);
    hd_sw_floats(&f.w, "f16", HD_F16, 1, shape, v);
    files_open(&f);
    counting_open(&c);
    hd_binder *b = binder(f.src, &c.base, &keep);
    static const char *const names[] = {"f32", "bf16", "f16"};
    for (int i = 0; i < 3; i++) {
        EXPECT_INT(hd_binder_vector(b, names[i], 3, out, &err), HD_OK);
        EXPECT(memcmp(out, v, sizeof(v)) == 0);
    }
    EXPECT(hd_binder_has(b, false, "f16") && !hd_binder_has(b, true, "f8"));
    EXPECT_INT(hd_binder_vector(b, "f8", 3, out, &err), HD_E_NOTFOUND);
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK); // being absent is no failure
    EXPECT_INT(hd_binder_vector(b, "f32", 4, out, &err), HD_E_CORRUPT);
    EXPECT_STR(err.msg, "tensor f32: shape [3], expected [4]");
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

static void is_dry_without_source(void)
{
    const hd_device_cfg cfg = {.device = "dry"};
    hd_backend *be;
    hd_err err = {0};
    hd_weight *w = NULL, *gain = NULL;
    uint64_t bytes;
    EXPECT_INT(hd_backend_open(&cfg, &be, &err), HD_OK);
    hd_binder *b = binder(NULL, be, &keep);
    EXPECT(hd_binder_has(b, true, "anything") && !hd_binder_has(b, false, "anything"));
    hd_bind(b, &w, HD_USE_MATRIX, HD_SHARD_NONE, 4, 16, 32, "anything");
    hd_bind(b, &gain, HD_USE_VECTOR, HD_SHARD_NONE, 1, 16, 1, "gain");
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
    EXPECT_INT(bytes, 4 * 16 * 32 * 2 + 16 * 4);
    be->ops->weight_free(be, w);
    be->ops->weight_free(be, gain);
    hd_binder_close(b);
    hd_backend_close(be);
}

// ---- packing -------------------------------------------------------------------------------

enum { MANY = 60 };

static void add_many(files *f)
{
    char name[16];
    hd_st_writer_init(&f->w);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "w%d", i);
        add(f, name, HD_BF16, 2, (uint64_t)(1 + i % 7) * 8, 64, 0);
    }
    files_open(f);
}

static void bind_many(hd_binder *b, hd_weight **w)
{
    for (int i = 0; i < MANY; i++)
        hd_bind(b, &w[i], HD_USE_MATRIX, HD_SHARD_NONE, 1, (1 + i % 7) * 8, 64, "w%d", i);
}

static void packs_in_parallel(void)
{
    files f = {0};
    hd_pool *pool;
    hd_backend *be;
    hd_err err = {0};
    hd_weight *w[MANY] = {0};
    progress p = {0};
    uint64_t bytes;
    add_many(&f);
    EXPECT_INT(hd_pool_create(4, &pool, &err), HD_OK);
    const hd_device_cfg cfg = {.device = "cpu", .pool = pool, .cpu_features = ~0u};
    EXPECT_INT(hd_backend_open(&cfg, &be, &err), HD_OK);
    const hd_model_opts opts = {HD_WEIGHTS_ALL(HD_F32), pool, on_progress, &p, NULL};
    hd_binder *b = binder(f.src, be, &opts);
    bind_many(b, w);
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
    EXPECT(p.calls >= 1);
    EXPECT_INT(p.done, hd_source_bytes(f.src));
    EXPECT_INT(p.total, hd_source_bytes(f.src));
    EXPECT(bytes >= 2 * hd_source_bytes(f.src)); // F32 from BF16
    for (int i = 0; i < MANY; i++) {
        hd_weight_info info;
        be->ops->weight_info(be, w[i], &info);
        EXPECT_INT(info.n_out, (1 + i % 7) * 8);
        be->ops->weight_free(be, w[i]);
    }
    hd_binder_close(b);
    hd_backend_close(be);
    hd_pool_destroy(pool);
    files_close(&f);
}

static void failure_frees_all(void)
{
    files f = {0};
    add_many(&f);
    for (int fail_at = 1; fail_at <= MANY; fail_at += 13) {
        counting c;
        hd_err err = {0};
        hd_weight *w[MANY] = {0};
        uint64_t bytes;
        counting_open(&c);
        c.fail_at = fail_at;
        hd_binder *b = binder(f.src, &c.base, &keep);
        bind_many(b, w);
        EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_E_DEVICE);
        EXPECT_CONTAINS(err.msg, ": out of luck");
        EXPECT_INT(c.packed, fail_at); // nothing is packed after the failure
        for (int i = 0; i < MANY; i++)
            EXPECT(w[i] == NULL);
        hd_binder_close(b);
        counting_close(&c);
    }
    files_close(&f);
}

// A mapped file would end the process here.
static void a_file_cut_while_it_is_read_is_an_error(void)
{
    files f = {0};
    counting c;
    hd_err err = {0};
    hd_weight *w[MANY] = {0};
    uint64_t bytes;
    files_access = HD_FILE_READ;
    add_many(&f);
    const char *path = hd_test_path(hd_test_tmpdir(), "model.safetensors");
    uint64_t size;
    EXPECT_INT(hd_path_stat(path, &size), HD_PATH_FILE);
    EXPECT_INT(truncate(path, (off_t)size - 1), 0);
    counting_open(&c);
    hd_binder *b = binder(f.src, &c.base, &keep);
    bind_many(b, w);
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_E_CORRUPT);
    EXPECT_CONTAINS(err.msg, "tensor ");
    EXPECT_CONTAINS(err.msg, "model.safetensors: found the end of the file at byte ");
    for (int i = 0; i < MANY; i++)
        EXPECT(w[i] == NULL);
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

static void cancels(void)
{
    files f = {0};
    counting c;
    hd_err err = {0};
    hd_weight *w[MANY] = {0};
    const volatile int stop = 1;
    uint64_t bytes;
    add_many(&f);
    counting_open(&c);
    const hd_model_opts opts = {.weights = HD_WEIGHTS_ALL(HD_DTYPE_NONE), .cancel = &stop};
    hd_binder *b = binder(f.src, &c.base, &opts);
    bind_many(b, w);
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_E_CANCELLED);
    EXPECT_STR(err.msg, "loading was cancelled");
    EXPECT_INT(c.packed, 0);
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

static void catch_log(void *ctx, hd_slice line)
{
    hd_buf_put_slice(ctx, line);
}

static void lists_unused(void)
{
    files f = {0};
    counting c;
    hd_err err = {0};
    hd_weight *w = NULL;
    hd_buf log = {0};
    uint64_t bytes;
    hd_st_writer_init(&f.w);
    add(&f, "used", HD_F32, 2, 4, 8, 0);
    add(&f, "model.mtp.weight", HD_F32, 2, 4, 8, 0);
    add(&f, "other", HD_I64, 1, 4, 0, 0);
    add(&f, "model.layers.0.self_attn.rotary_emb.inv_freq", HD_F32, 1, 4, 0, 0);
    files_open(&f);
    counting_open(&c);
    hd_log_set_sink(catch_log, &log);
    hd_log_set_level(HD_LOG_DEBUG);
    hd_binder *b = binder(f.src, &c.base, &keep);
    hd_bind(b, &w, HD_USE_MATRIX, HD_SHARD_NONE, 1, 4, 8, "used");
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
    hd_log_set_sink(NULL, NULL);
    EXPECT_CONTAINS(log.data, "name=model.mtp.weight");
    EXPECT_CONTAINS(log.data, "name=other");
    EXPECT_CONTAINS(log.data, "count=2");
    EXPECT(!strstr(log.data, "inv_freq") && !strstr(log.data, "name=used"));
    c.base.ops->weight_free(&c.base, w);
    hd_buf_fini(&log);
    hd_binder_close(b);
    counting_close(&c);
    files_close(&f);
}

// ---- whole models --------------------------------------------------------------------------

static const char tiny[] = "{\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":16,"
                           "\"intermediate_size\":24,\"num_hidden_layers\":2,"
                           "\"num_attention_heads\":2,\"num_key_value_heads\":1,"
                           "\"vocab_size\":32,\"max_position_embeddings\":64";

// Writes the tiny model without tensor `leave_out`; `more` is appended to its config.
static const char *write_tiny(const char *more, const char *leave_out)
{
    static const struct {
        const char *name;
        uint64_t rows, cols;
    } t[] = {
        {"input_layernorm", 16, 0},   {"post_attention_layernorm", 16, 0},
        {"self_attn.q_proj", 16, 16}, {"self_attn.k_proj", 8, 16},
        {"self_attn.v_proj", 8, 16},  {"self_attn.o_proj", 16, 16},
        {"mlp.gate_proj", 24, 16},    {"mlp.up_proj", 24, 16},
        {"mlp.down_proj", 16, 24},
    };
    const char *dir = hd_test_tmpdir();
    char name[96], config[1024];
    files f = {0};
    hd_st_writer_init(&f.w);
    add(&f, "model.embed_tokens.weight", HD_BF16, 2, 32, 16, 0);
    for (int l = 0; l < 2; l++)
        for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
            snprintf(name, sizeof(name), "model.layers.%d.%s.weight", l, t[i].name);
            if (strcmp(name, leave_out) == 0) continue;
            add(&f, name, HD_BF16, t[i].cols ? 2 : 1, t[i].rows, t[i].cols, 0);
        }
    add(&f, "model.norm.weight", HD_F32, 1, 16, 0, 0);
    if (strcmp("lm_head.weight", leave_out) != 0) add(&f, "lm_head.weight", HD_F16, 2, 32, 16, 0);
    hd_sw_save(&f.w, hd_test_path(dir, "model.safetensors"));
    hd_st_writer_fini(&f.w);
    snprintf(config, sizeof(config), "%s%s}", tiny, more);
    hd_test_write_str(hd_test_path(dir, "config.json"), config);
    return dir;
}

static hd_status open_tiny(const char *dir, hd_backend *be, hd_model **m, hd_err *err)
{
    hd_model_src *src;
    *m = NULL;
    HD_TRY(hd_model_src_open(dir, HD_FILE_MAP, &src, err));
    hd_status st = hd_model_open(src, be, &keep, m, err);
    hd_model_src_close(src);
    return st;
}

static void opens_models(void)
{
    static const struct {
        const char *more, *leave_out;
        hd_status st;
        const char *message;
    } row[] = {
        {"", "", HD_OK, NULL},
        {",\"tie_word_embeddings\":true", "", HD_OK, NULL}, // a stored head is then not looked at
        {",\"tie_word_embeddings\":true", "lm_head.weight", HD_OK, NULL},
        {"", "lm_head.weight", HD_E_NOTFOUND, "tensor lm_head.weight: missing"},
        {"", "model.layers.1.mlp.up_proj.weight", HD_E_NOTFOUND,
         "tensor model.layers.1.mlp.up_proj.weight: missing"},
        {",\"num_hidden_layers\":3", "", HD_E_NOTFOUND,
         "tensor model.layers.2.input_layernorm.weight: missing"},
        {",\"attention_bias\":true", "", HD_E_NOTFOUND,
         "tensor model.layers.0.self_attn.q_proj.bias: missing"},
        {",\"num_key_value_heads\":2", "", HD_E_CORRUPT,
         "tensor model.layers.0.self_attn.k_proj.weight: shape [8, 16], expected [16, 16]"},
        {",\"intermediate_size\":32", "", HD_E_CORRUPT,
         "tensor model.layers.0.mlp.gate_proj.weight: shape [24, 16], expected [32, 16]"},
        {",\"vocab_size\":31", "", HD_E_CORRUPT,
         "tensor model.embed_tokens.weight: shape [32, 16], expected [31, 16]"},
        {",\"head_dim\":15", "", HD_E_INVAL, "config.json: head width: found 15"},
    };
    counting c;
    counting_open(&c);
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        hd_model *m;
        hd_err err = {0};
        EXPECT_INT(open_tiny(write_tiny(row[i].more, row[i].leave_out), &c.base, &m, &err),
                   row[i].st);
        EXPECT((m != NULL) == (row[i].st == HD_OK));
        if (row[i].message) EXPECT_CONTAINS(err.msg, row[i].message);
        // Two layers of six weights, table, norm, and a head unless tied.
        if (m) EXPECT_INT(c.live, 2 * 6 + 2 + (m->cfg.tied ? 0 : 1));
        hd_model_close(m);
        EXPECT_INT(c.live, 0);
    }
    counting_close(&c);
}

// Every allocation on the way fails once.
static void survives_lack_of_memory(void)
{
    const char *dir = write_tiny("", "");
    counting c;
    int64_t nth = 0;
    hd_status st;
    counting_open(&c);
    do {
        hd_model *m;
        hd_err err = {0};
        hd_mem_fail_at(++nth, false);
        st = open_tiny(dir, &c.base, &m, &err);
        hd_mem_fail_at(0, false);
        if (st != HD_OK && st != HD_E_NOMEM)
            hd_test_fail(__FILE__, __LINE__, "allocation %lld: %s: %s", (long long)nth,
                         hd_status_name(st), err.msg);
        EXPECT((m != NULL) == (st == HD_OK));
        hd_model_close(m);
        EXPECT_INT(c.live, 0);
    } while (st != HD_OK);
    EXPECT(nth > 30);
    counting_close(&c);
}

FROM_READ_FILES(binds_all_kinds)
FROM_READ_FILES(reads_vectors)
FROM_READ_FILES(packs_in_parallel)
FROM_READ_FILES(failure_frees_all)

HD_TEST_MAIN("binder", {"names_what_is_wrong", names_what_is_wrong},
             {"refuses_targets", refuses_targets}, {"policy_rows", policy_rows},
             {"uses_have_targets_of_their_own", uses_have_targets_of_their_own},
             {"binds_all_kinds", binds_all_kinds}, {"reads_vectors", reads_vectors},
             {"is_dry_without_source", is_dry_without_source},
             {"packs_in_parallel", packs_in_parallel}, {"failure_frees_all", failure_frees_all},
             {"cancels", cancels}, {"lists_unused", lists_unused}, {"opens_models", opens_models},
             {"survives_lack_of_memory", survives_lack_of_memory},
             {"a_file_cut_while_it_is_read_is_an_error", a_file_cut_while_it_is_read_is_an_error},
             {"binds_all_kinds_from_read_files", binds_all_kinds_from_read_files},
             {"reads_vectors_from_read_files", reads_vectors_from_read_files},
             {"packs_in_parallel_from_read_files", packs_in_parallel_from_read_files},
             {"failure_frees_all_from_read_files", failure_frees_all_from_read_files})
