// Weights of many matrices: experts one by one or stacked, rows of one tensor, block scales, and
// that filling is shared out in tasks. Checked against a decoder of its own: the sources the binder
// names must hold the right elements.
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "tests/unit/bind_kit.h"
#include "tests/unit/bind_spy.h"

#include <stdio.h>
#include <stdlib.h>

// ---- values --------------------------------------------------------------------------------

// Small whole numbers: exact in every type used here.
static float value(int tensor, int64_t i)
{
    return (float)((tensor * 5 + i * 3 + i / 7) % 13 - 6);
}

static void add_values(files *f, const char *name, hd_dtype t, int tensor, int rank, uint64_t a,
                       uint64_t b, uint64_t c)
{
    const uint64_t shape[] = {a, b, c};
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (size_t)shape[i];
    float *v = hd_calloc(n, sizeof(*v));
    EXPECT(v != NULL);
    for (size_t i = 0; i < n; i++)
        v[i] = value(tensor, (int64_t)i);
    hd_sw_floats(&f->w, name, t, rank, shape, v);
    hd_free(v);
}

static void expect_values(hd_weight *w, int32_t m, int32_t first_row, int32_t rows, int tensor,
                          int64_t offset)
{
    const decoded *d = decoded_of(w);
    const int32_t n_in = d->spec.n_in;
    for (int32_t i = 0; i < rows * n_in; i++) {
        const float got = d->v[((int64_t)m * d->n_out + first_row) * n_in + i];
        if (got != value(tensor, offset + i))
            hd_test_fail(__FILE__, __LINE__, "matrix %d row %d: got %g, want %g", m,
                         first_row + i / n_in, (double)got, (double)value(tensor, offset + i));
    }
    EXPECT_INT(d->filled[m], 1);
}

static void finish_ok(hd_binder *b)
{
    uint64_t bytes;
    hd_err err = {0};
    if (hd_binder_finish(b, &bytes, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

// ---- stacks --------------------------------------------------------------------------------

enum { E = 5, FF = 6, D = 32 };

static void one_tensor_per_matrix(void)
{
    static const hd_bind_part parts[] = {{"l.experts.#.gate.weight", FF, false},
                                         {"l.experts.#.up.weight", FF, false}};
    files f = {0};
    spy s;
    char name[64];
    hd_weight *w = NULL;
    hd_weight_totals sum;
    spy_open(&s);
    hd_st_writer_init(&f.w);
    for (int e = E - 1; e >= 0; e--) { // not in order
        snprintf(name, sizeof(name), "l.experts.%d.up.weight", e);
        add_values(&f, name, HD_F32, 10 + e, 2, FF, D, 0);
        snprintf(name, sizeof(name), "l.experts.%d.gate.weight", e);
        add_values(&f, name, e == 3 ? HD_F16 : HD_BF16, e, 2, FF, D, 0);
    }
    files_open(&f);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_bind_stack(b, &w, HD_USE_EXPERT, HD_SHARD_EXPERTS, E, parts, 2, D);
    finish_ok(b);
    for (int e = 0; e < E; e++) {
        expect_values(w, e, 0, FF, e, 0);
        expect_values(w, e, FF, FF, 10 + e, 0);
    }
    EXPECT_STR(decoded_of(w)->src[2 * 3].name, "l.experts.3.gate.weight");
    hd_binder_totals(b, &sum);
    EXPECT_INT(sum.params, E * 2 * FF * D);
    EXPECT_INT(sum.expert_params, E * 2 * FF * D);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_close(&s);
    files_close(&f);
}

static void one_tensor_for_all(void)
{
    static const hd_bind_part parts[] = {{"k_b", FF, true}, {"v_b", 4, false}};
    static const hd_bind_part alone[] = {{"lone", FF, false}};
    files f = {0};
    spy s;
    hd_weight *w = NULL, *one = NULL;
    hd_weight_totals sum;
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add_values(&f, "k_b", HD_F16, 1, 3, E, D, FF);
    add_values(&f, "v_b", HD_BF16, 2, 3, E, 4, D);
    add_values(&f, "lone", HD_BF16, 3, 3, 1, FF, D);
    files_open(&f);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_bind_stack(b, &w, HD_USE_LATENT, HD_SHARD_ROWS, E, parts, 2, D);
    hd_bind_stack(b, &one, HD_USE_EXPERT, HD_SHARD_ROWS, 1, alone, 1, D);
    finish_ok(b);
    const decoded *d = decoded_of(w);
    EXPECT_INT(d->n_out, FF + 4);
    for (int e = 0; e < E; e++) {
        expect_values(w, e, FF, 4, 2, (int64_t)e * 4 * D);
        for (int r = 0; r < FF; r++)
            for (int c = 0; c < D; c++)
                EXPECT(d->v[(e * (FF + 4) + r) * D + c] == value(1, (e * D + c) * FF + r));
    }
    expect_values(one, 0, 0, FF, 3, 0);
    hd_binder_totals(b, &sum);
    EXPECT_INT(sum.params, E * (FF + 4) * D + FF * D);
    EXPECT_INT(sum.expert_params, FF * D);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_free(&s.base, one);
    spy_close(&s);
    files_close(&f);
}

// Blocks that run across the rows cannot be kept.
static void transposed_blocks_are_decoded(void)
{
    static const hd_bind_part parts[] = {{"k_b", 64, true}, {"v_b", 4, false}};
    const uint64_t k[] = {2, D, 64}, v[] = {2, 4, D};
    hd_gguf_writer g;
    hd_gguf *file;
    hd_source *src;
    hd_err err = {0};
    spy s;
    hd_weight *w = NULL;
    spy_open(&s);
    hd_gguf_writer_init(&g);
    hd_gw_str(&g, "general.architecture", "deepseek2");
    hd_gw_tensor(&g, "k_b", HD_Q8_0, 3, k, NULL);
    hd_gw_tensor(&g, "v_b", HD_Q8_0, 3, v, NULL);
    EXPECT_INT(hd_gguf_open_mem(hd_gw_finish(&g), &file, &err), HD_OK);
    EXPECT_INT(hd_source_open_gguf(file, &src, &err), HD_OK);
    hd_binder *b = binder(src, &s.base, &keep);
    hd_bind_stack(b, &w, HD_USE_LATENT, HD_SHARD_ROWS, 2, parts, 2, D);
    finish_ok(b);
    EXPECT_INT(decoded_of(w)->spec.want, HD_F16);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_close(&s);
    hd_source_close(src);
    hd_gguf_close(file);
    hd_gguf_writer_fini(&g);
}

static void rows_of_one_tensor(void)
{
    static const int32_t rows[] = {3, 2};
    files f = {0};
    spy s;
    hd_weight *w = NULL, *q = NULL;
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add_values(&f, "kv_b", HD_BF16, 1, 2, E * 5, D, 0);
    files_open(&f);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_bind_rows(b, &w, HD_USE_LATENT, HD_SHARD_ROWS, E, rows, 2, D, "kv_b");
    hd_bind_rows(b, &q, HD_USE_MATRIX, HD_SHARD_ROWS, 1, (const int32_t[]){25}, 1, D, "kv_b");
    finish_ok(b);
    for (int e = 0; e < E; e++)
        expect_values(w, e, 0, 5, 1, (int64_t)e * 5 * D);
    expect_values(q, 0, 0, 25, 1, 0);
    EXPECT_INT(decoded_of(w)->src[3].n_out, 2);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_free(&s.base, q);
    spy_close(&s);
    files_close(&f);
}

// Quantized rows are whole blocks.
static void rows_of_blocks(void)
{
    static const int32_t rows[] = {2, 1};
    const uint64_t shape[] = {6, 64};
    float v[6 * 64];
    hd_gguf_writer g;
    hd_gguf *file;
    hd_source *src;
    hd_err err = {0};
    spy s;
    hd_weight *w = NULL;
    for (int i = 0; i < 6 * 64; i++)
        v[i] = (float)(i / 64 + 1) * (i % 2 ? 1 : -1);
    spy_open(&s);
    hd_gguf_writer_init(&g);
    hd_gw_str(&g, "general.architecture", "deepseek2");
    hd_gw_floats(&g, "kv_b", HD_Q8_0, 2, shape, v);
    EXPECT_INT(hd_gguf_open_mem(hd_gw_finish(&g), &file, &err), HD_OK);
    EXPECT_INT(hd_source_open_gguf(file, &src, &err), HD_OK);
    hd_binder *b = binder(src, &s.base, &keep);
    hd_bind_rows(b, &w, HD_USE_LATENT, HD_SHARD_ROWS, 2, rows, 2, 64, "kv_b");
    finish_ok(b);
    for (int i = 0; i < 6 * 64; i++)
        EXPECT_NEAR(decoded_of(w)->v[i], v[i], 0.02);
    EXPECT_INT(decoded_of(w)->spec.want, HD_DTYPE_NONE);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_close(&s);
    hd_source_close(src);
    hd_gguf_close(file);
    hd_gguf_writer_fini(&g);
}

// ---- block scales --------------------------------------------------------------------------

// The scales of tensor X of rows x cols in blocks of 4 x 8.
static void add_scaled(files *f, const char *name, int tensor, hd_dtype scale_type, int32_t rows,
                       int32_t cols)
{
    char scale[64];
    add_values(f, name, HD_F8_E4M3, tensor, 2, (uint64_t)rows, (uint64_t)cols, 0);
    snprintf(scale, sizeof(scale), "%s_scale_inv", name);
    const uint64_t shape[] = {(uint64_t)(rows + 3) / 4, (uint64_t)(cols + 7) / 8};
    float v[64];
    EXPECT(shape[0] * shape[1] <= 64);
    for (size_t i = 0; i < shape[0] * shape[1]; i++)
        v[i] = (float)(1 << i % 5);
    if (scale_type == HD_F8_E8M0) {
        uint8_t e[64];
        for (int i = 0; i < 64; i++)
            e[i] = (uint8_t)(127 + i % 5);
        hd_sw_tensor(&f->w, scale, scale_type, 2, shape, e);
    } else {
        hd_sw_floats(&f->w, scale, scale_type, 2, shape, v);
    }
}

static void expect_scaled(hd_weight *w, int32_t m, int tensor, int32_t first_row)
{
    const decoded *d = decoded_of(w);
    const int32_t n_in = d->spec.n_in, cols = (n_in + 7) / 8;
    for (int32_t i = 0; i < d->n_out * n_in; i++) {
        const int32_t r = first_row + i / n_in, c = i % n_in;
        const float want =
            value(tensor, (int64_t)r * n_in + c) * (float)(1 << (r / 4 * cols + c / 8) % 5);
        EXPECT(d->v[m * d->n_out * n_in + i] == want);
    }
}

static void fp8_with_scales(void)
{
    static const int32_t rows[] = {3, 4}; // of 7 a matrix: blocks of 4 rows do not divide them
    static const hd_bind_part part[] = {{"e.#.weight", 6, false}};
    files f = {0};
    spy s;
    hd_weight *w[5] = {0};
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add_scaled(&f, "ragged.weight", 1, HD_F32, 9, 12);
    add_scaled(&f, "kv_b.weight", 2, HD_BF16, 14, 12);
    add_scaled(&f, "e.0.weight", 3, HD_F16, 6, 12);
    add_scaled(&f, "e.1.weight", 4, HD_F8_E8M0, 6, 12);
    add_scaled(&f, "thin.weight", 5, HD_F32, 3, 8); // one block: shape [1, 1]
    add_values(&f, "plain.weight", HD_BF16, 6, 2, 4, 12, 0);
    files_open(&f);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_binder_set_fp8(b, 4, 8);
    hd_bind(b, &w[0], HD_USE_MATRIX, HD_SHARD_NONE, 1, 9, 12, "ragged.weight");
    hd_bind_rows(b, &w[1], HD_USE_LATENT, HD_SHARD_NONE, 2, rows, 2, 12, "kv_b.weight");
    hd_bind_stack(b, &w[2], HD_USE_EXPERT, HD_SHARD_NONE, 2, part, 1, 12);
    hd_bind(b, &w[3], HD_USE_ATTENTION, HD_SHARD_NONE, 1, 3, 8, "thin.weight");
    hd_bind(b, &w[4], HD_USE_MATRIX, HD_SHARD_NONE, 1, 4, 12, "plain.weight");
    finish_ok(b);
    expect_scaled(w[0], 0, 1, 0);
    expect_scaled(w[1], 0, 2, 0);
    expect_scaled(w[1], 1, 2, 7);
    expect_scaled(w[2], 0, 3, 0);
    expect_scaled(w[2], 1, 4, 0);
    expect_scaled(w[3], 0, 5, 0);
    expect_values(w[4], 0, 0, 4, 6, 0);
    const hd_weight_src *second = &decoded_of(w[1])->src[3];
    EXPECT_INT(second->scale_first_row, 10);
    EXPECT_INT(second->scale_rows, 4); // of the whole tensor
    hd_binder_close(b);
    for (int i = 0; i < 5; i++)
        spy_free(&s.base, w[i]);
    spy_close(&s);
    files_close(&f);
}

static void expect_scale_refusal(bool quantized, const char *name, hd_status st,
                                 const char *message)
{
    files f = {0};
    spy s;
    hd_err err = {0};
    uint64_t bytes;
    hd_weight *w = NULL;
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add_scaled(&f, "good.weight", 1, HD_F32, 9, 12);
    add_values(&f, "lost.weight", HD_F8_E4M3, 1, 2, 9, 12, 0);
    add_values(&f, "flat.weight", HD_F8_E4M3, 1, 2, 9, 12, 0);
    add_values(&f, "flat.weight_scale_inv", HD_F32, 1, 1, 6, 0, 0);
    add_values(&f, "floor.weight", HD_F8_E4M3, 1, 2, 9, 12, 0);
    add_values(&f, "floor.weight_scale_inv", HD_F32, 1, 2, 2, 1, 0);
    add_values(&f, "wide.weight", HD_BF16, 1, 2, 9, 12, 0);
    add_values(&f, "wide.weight_scale_inv", HD_F32, 1, 2, 3, 2, 0);
    add_values(&f, "odd.weight", HD_F8_E4M3, 1, 2, 9, 12, 0);
    add(&f, "odd.weight_scale_inv", HD_I32, 2, 3, 2, 0);
    files_open(&f);
    hd_binder *b = binder(f.src, &s.base, &keep);
    if (quantized) hd_binder_set_fp8(b, 4, 8);
    hd_bind(b, &w, HD_USE_MATRIX, HD_SHARD_NONE, 1, 9, 12, "%s", name);
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), st);
    if (st != HD_OK) EXPECT_STR(err.msg, message);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_close(&s);
    files_close(&f);
}

static void scales_that_are_wrong(void)
{
    expect_scale_refusal(true, "good.weight", HD_OK, "");
    expect_scale_refusal(true, "lost.weight", HD_E_NOTFOUND,
                         "tensor lost.weight_scale_inv: missing, expected block scales [3, 2]");
    expect_scale_refusal(true, "flat.weight", HD_E_CORRUPT,
                         "tensor flat.weight_scale_inv: shape [6], expected [3, 2]");
    expect_scale_refusal(true, "floor.weight", HD_E_CORRUPT,
                         "tensor floor.weight_scale_inv: shape [2, 1], expected [3, 2]");
    expect_scale_refusal(true, "wide.weight", HD_E_CORRUPT,
                         "tensor wide.weight_scale_inv: block scales beside type bf16, expected "
                         "f8_e4m3");
    expect_scale_refusal(true, "odd.weight", HD_E_UNSUPPORTED,
                         "tensor odd.weight_scale_inv: type i32, expected f32, bf16, f16 or "
                         "f8_e8m0");
    // Without block sizes FP8 is plain, and scales cannot be read.
    expect_scale_refusal(false, "lost.weight", HD_OK, "");
    expect_scale_refusal(false, "good.weight", HD_E_UNSUPPORTED,
                         "tensor good.weight_scale_inv: block scales, but config.json has no "
                         "quantization_config that says the size of the blocks");
}

static void dry_takes_published_types(void)
{
    static const hd_bind_part part[] = {{"e.#", 256, false}};
    static const int32_t rows[] = {128, 128};
    const hd_device_cfg cfg = {.device = "dry"};
    hd_backend *be;
    hd_err err = {0};
    hd_weight *w[6] = {0};
    uint64_t bytes;
    EXPECT_INT(hd_backend_open(&cfg, &be, &err), HD_OK);
    for (int quantized = 0; quantized < 2; quantized++) {
        hd_weight_totals sum;
        hd_binder *b = binder(NULL, be, &keep);
        if (quantized) hd_binder_set_fp8(b, 128, 128);
        hd_bind_stack(b, &w[0], HD_USE_EXPERT, HD_SHARD_NONE, 3, part, 1, 512);
        hd_bind_rows(b, &w[1], HD_USE_LATENT, HD_SHARD_NONE, 2, rows, 2, 512, "kv_b");
        hd_bind(b, &w[2], HD_USE_EMBEDDING, HD_SHARD_NONE, 1, 100, 512, "embed");
        hd_bind(b, &w[3], HD_USE_HEAD, HD_SHARD_NONE, 1, 100, 512, "head");
        hd_bind(b, &w[4], HD_USE_ROUTER, HD_SHARD_NONE, 1, 3, 512, "router");
        hd_bind(b, &w[5], HD_USE_VECTOR, HD_SHARD_NONE, 1, 512, 1, "norm");
        EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
        hd_binder_totals(b, &sum);
        const uint64_t matrices = 5 * 256 * 512, kept = 203 * 512;
        EXPECT_INT(sum.params, matrices + kept + 512);
        EXPECT_INT(sum.bytes[HD_BF16], 2 * (kept + (quantized ? 0 : matrices)));
        EXPECT_INT(sum.bytes[HD_F8_B128], quantized ? matrices / 128 * 132 : 0);
        EXPECT_INT(sum.bytes[HD_F32], 4 * 512);
        EXPECT_INT(sum.expert_params, 3 * 256 * 512);
        for (int i = 0; i < 6; i++)
            be->ops->weight_free(be, w[i]);
        hd_binder_close(b);
    }
    hd_backend_close(be);
}

// ---- skipping ------------------------------------------------------------------------------

static void catch_log(void *ctx, hd_slice line)
{
    hd_buf_put_slice(ctx, line);
}

static void skipped_is_not_unused(void)
{
    files f = {0};
    spy s;
    hd_weight *w = NULL;
    hd_buf log = {0};
    char prefix[] = "model.layers.61.";
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add(&f, "used", HD_F32, 2, 4, 8, 0);
    add(&f, "model.layers.61.enorm.weight", HD_F32, 1, 8, 0, 0);
    add(&f, "model.layers.61.eh_proj.weight", HD_F32, 2, 8, 16, 0);
    add(&f, "model.layers.6.other", HD_F32, 1, 8, 0, 0);
    files_open(&f);
    hd_log_set_sink(catch_log, &log);
    hd_log_set_level(HD_LOG_DEBUG);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_binder_skip(b, prefix);
    memset(prefix, 'x', sizeof(prefix) - 1); // it was copied
    hd_bind(b, &w, HD_USE_MATRIX, HD_SHARD_NONE, 1, 4, 8, "used");
    finish_ok(b);
    hd_log_set_sink(NULL, NULL);
    EXPECT_CONTAINS(log.data, "tensors skipped");
    EXPECT_CONTAINS(log.data, "count=2");
    EXPECT_CONTAINS(log.data, "name=model.layers.6.other");
    EXPECT_CONTAINS(log.data, "count=1");
    EXPECT(!strstr(log.data, "name=model.layers.61"));
    hd_buf_fini(&log);
    hd_binder_close(b);
    spy_free(&s.base, w);
    spy_close(&s);
    files_close(&f);
}

// ---- tasks ---------------------------------------------------------------------------------

enum { BIG_E = 60, BIG_ROWS = 1024, BIG_COLS = 1024 }; // 2 MiB a matrix in BF16

// A file of 2 x 120 MiB that nobody fills: a hole on disk.
static const char *sparse_file(void)
{
    const char *dir = hd_test_tmpdir(), *path = hd_test_path(dir, "model.safetensors");
    const uint64_t one = (uint64_t)BIG_E * BIG_ROWS * BIG_COLS * 2;
    char header[512];
    int n =
        snprintf(header + 8, sizeof(header) - 8,
                 "{\"gate\":{\"dtype\":\"BF16\",\"shape\":[%d,%d,%d],\"data_offsets\":[0,%llu]},"
                 "\"up\":{\"dtype\":\"BF16\",\"shape\":[%d,%d,%d],\"data_offsets\":[%llu,%llu]}}",
                 BIG_E, BIG_ROWS, BIG_COLS, (unsigned long long)one, BIG_E, BIG_ROWS, BIG_COLS,
                 (unsigned long long)one, (unsigned long long)(2 * one));
    for (int i = 0; i < 8; i++)
        header[i] = (char)((uint64_t)n >> 8 * i & 0xFF);
    FILE *out = fopen(path, "wb");
    EXPECT(out && fwrite(header, 1, (size_t)n + 8, out) == (size_t)n + 8);
    EXPECT_INT(fseek(out, (long)(2 * one) + n + 8 - 1, SEEK_SET), 0);
    EXPECT(fputc(0, out) == 0 && fclose(out) == 0);
    return dir;
}

static void fills_in_tasks(void)
{
    static const hd_bind_part parts[] = {{"gate", BIG_ROWS, false}, {"up", BIG_ROWS, false}};
    hd_source *src;
    hd_pool *pool;
    spy s;
    hd_err err = {0};
    hd_weight *w = NULL;
    progress p = {0};
    EXPECT_INT(hd_source_open_safetensors(sparse_file(), HD_FILE_MAP, &src, &err), HD_OK);
    EXPECT_INT(hd_pool_create(3, &pool, &err), HD_OK);
    spy_open(&s);
    s.untouched = true;
    const hd_model_opts opts = {HD_WEIGHTS_ALL(HD_DTYPE_NONE), pool, on_progress, &p, NULL};
    hd_binder *b = binder(src, &s.base, &opts);
    hd_bind_stack(b, &w, HD_USE_EXPERT, HD_SHARD_EXPERTS, BIG_E, parts, 2, BIG_COLS);
    finish_ok(b);
    for (int m = 0; m < BIG_E; m++)
        EXPECT_INT(decoded_of(w)->filled[m], 1);
    EXPECT(s.n_fills >= 240 / 64 && s.n_fills <= 240 / 32);
    for (int i = 0; i < s.n_fills; i++)
        EXPECT(s.fill[i].n * 4 <= 64);
    EXPECT_INT(p.done, hd_source_bytes(src));
    EXPECT_INT(p.total, hd_source_bytes(src));
    hd_binder_close(b);
    spy_free(&s.base, w);

    // In the middle: the weight is there, half filled, and goes.
    for (int fail_at = 1; fail_at <= s.n_fills; fail_at++) {
        uint64_t bytes;
        spy t;
        spy_open(&t);
        t.untouched = true;
        t.fail_at = fail_at;
        b = binder(src, &t.base, &opts);
        p = (progress){0};
        hd_bind_stack(b, &w, HD_USE_EXPERT, HD_SHARD_EXPERTS, BIG_E, parts, 2, BIG_COLS);
        EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_E_DEVICE);
        EXPECT_STR(err.msg, "gate: out of luck");
        EXPECT(w == NULL);
        hd_binder_close(b);
        spy_close(&t);
    }
    spy_close(&s);
    hd_pool_destroy(pool);
    hd_source_close(src);
}

// ---- lack of memory ------------------------------------------------------------------------

static hd_status bind_all(files *f, spy *s, hd_weight **w, hd_err *err)
{
    static const hd_bind_part part[] = {{"e.#.weight", 6, false}};
    static const int32_t rows[] = {3, 4};
    hd_binder *b;
    uint64_t bytes;
    HD_TRY(hd_binder_open(f->src, &s->base, &keep, &b, err));
    hd_binder_set_fp8(b, 4, 8);
    hd_binder_skip(b, "model.mtp.");
    hd_bind_stack(b, &w[0], HD_USE_EXPERT, HD_SHARD_NONE, 2, part, 1, 12);
    hd_bind_rows(b, &w[1], HD_USE_LATENT, HD_SHARD_NONE, 2, rows, 2, 12, "kv_b.weight");
    hd_status st = hd_binder_finish(b, &bytes, err);
    hd_binder_close(b);
    return st;
}

static void survives_lack_of_memory(void)
{
    files f = {0};
    spy s;
    int64_t nth = 0;
    hd_status st;
    spy_open(&s);
    hd_st_writer_init(&f.w);
    add_scaled(&f, "kv_b.weight", 2, HD_BF16, 14, 12);
    add_scaled(&f, "e.0.weight", 3, HD_F32, 6, 12);
    add_scaled(&f, "e.1.weight", 4, HD_F32, 6, 12);
    files_open(&f);
    do {
        hd_weight *w[2] = {0};
        hd_err err = {0};
        hd_mem_fail_at(++nth, false);
        st = bind_all(&f, &s, w, &err);
        hd_mem_fail_at(0, false);
        if (st != HD_OK && st != HD_E_NOMEM)
            hd_test_fail(__FILE__, __LINE__, "allocation %lld: %s: %s", (long long)nth,
                         hd_status_name(st), err.msg);
        EXPECT((w[0] != NULL) == (st == HD_OK) && (w[1] != NULL) == (st == HD_OK));
        spy_free(&s.base, w[0]);
        spy_free(&s.base, w[1]);
        EXPECT_INT(s.live, 0);
    } while (st != HD_OK);
    EXPECT(nth > 8);
    spy_close(&s);
    files_close(&f);
}

FROM_READ_FILES(one_tensor_per_matrix)
FROM_READ_FILES(one_tensor_for_all)
FROM_READ_FILES(transposed_blocks_are_decoded)
FROM_READ_FILES(rows_of_one_tensor)
FROM_READ_FILES(rows_of_blocks)
FROM_READ_FILES(fp8_with_scales)
FROM_READ_FILES(fills_in_tasks)
FROM_READ_FILES(survives_lack_of_memory)

HD_TEST_MAIN("bind_stack", {"one_tensor_per_matrix", one_tensor_per_matrix},
             {"one_tensor_for_all", one_tensor_for_all},
             {"transposed_blocks_are_decoded", transposed_blocks_are_decoded},
             {"rows_of_one_tensor", rows_of_one_tensor}, {"rows_of_blocks", rows_of_blocks},
             {"fp8_with_scales", fp8_with_scales}, {"scales_that_are_wrong", scales_that_are_wrong},
             {"dry_takes_published_types", dry_takes_published_types},
             {"skipped_is_not_unused", skipped_is_not_unused}, {"fills_in_tasks", fills_in_tasks},
             {"survives_lack_of_memory", survives_lack_of_memory},
             {"one_tensor_per_matrix_from_read_files", one_tensor_per_matrix_from_read_files},
             {"one_tensor_for_all_from_read_files", one_tensor_for_all_from_read_files},
             {"transposed_blocks_are_decoded_from_read_files",
              transposed_blocks_are_decoded_from_read_files},
             {"rows_of_one_tensor_from_read_files", rows_of_one_tensor_from_read_files},
             {"rows_of_blocks_from_read_files", rows_of_blocks_from_read_files},
             {"fp8_with_scales_from_read_files", fp8_with_scales_from_read_files},
             {"fills_in_tasks_from_read_files", fills_in_tasks_from_read_files},
             {"survives_lack_of_memory_from_read_files", survives_lack_of_memory_from_read_files})
