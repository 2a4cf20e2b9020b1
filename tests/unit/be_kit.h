// What the tests of the backends share: a backend with its pool and random numbers, tensors with
// guarded padding, packing of plain matrices. Everything goes away with kit_close.
#ifndef HADAL_TESTS_UNIT_BE_KIT_H
#define HADAL_TESTS_UNIT_BE_KIT_H

#include "kernels/backend.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdlib.h>

enum { KIT_PAD = 3, KIT_ALL_LEVELS = 0x7fffffff };
#define KIT_CANARY 0x7fc0babeu // a NaN, so that reading padding shows as well

typedef struct kit {
    hd_backend *be;
    const hd_backend_ops *ops;
    hd_pool *pool;
    hd_rng rng;
    void *mem[512];
    hd_weight *weight[64];
    int n_mem, n_weight;
} kit;

typedef struct kit_cfg {
    const char *device;
    int threads;
    uint32_t features;
    bool deterministic;
} kit_cfg;

static inline void kit_open(kit *k, kit_cfg cfg)
{
    hd_err err;
    memset(k, 0, sizeof(*k));
    hd_log_set_level(HD_LOG_WARN);
    hd_rng_seed(&k->rng, 20240607);
    if (cfg.threads > 1) EXPECT_INT(hd_pool_create(cfg.threads, &k->pool, &err), HD_OK);
    hd_device_cfg dev = {cfg.device, k->pool, cfg.features, cfg.deterministic, NULL};
    EXPECT_INT(hd_backend_open(&dev, &k->be, &err), HD_OK);
    k->ops = k->be->ops;
}

static inline void kit_close(kit *k)
{
    hd_err err = {HD_OK, ""};
    if (k->ops->sync(k->be, &err) != HD_OK) EXPECT_STR(err.msg, "no device error");
    for (int i = 0; i < k->n_weight; i++)
        k->ops->weight_free(k->be, k->weight[i]);
    for (int i = 0; i < k->n_mem; i++)
        free(k->mem[i]);
    hd_backend_close(k->be);
    hd_pool_destroy(k->pool);
}

static inline void *kit_alloc(kit *k, size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    EXPECT(p != NULL && k->n_mem < 512);
    k->mem[k->n_mem++] = p;
    return p;
}

static inline float *kit_floats(kit *k, int64_t n)
{
    float *p = kit_alloc(k, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++)
        p[i] = hd_rng_normal(&k->rng);
    return p;
}

// Rows with KIT_PAD canaries behind each; contents random.
static inline hd_tensor kit_tensor(kit *k, int rows, int cols)
{
    const uint32_t canary = KIT_CANARY;
    int64_t ld = cols + KIT_PAD;
    float *p = kit_floats(k, rows * ld + KIT_PAD);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < KIT_PAD; c++)
            memcpy(p + r * ld + cols + c, &canary, 4);
    hd_tensor t = {p, HD_F32, rows, cols, ld * 4};
    return t;
}

static inline float *kit_row(hd_tensor t, int r)
{
    return (float *)(void *)((char *)t.data + r * t.stride);
}
static inline int32_t *kit_ids(hd_tensor t, int r)
{
    return (int32_t *)(void *)((char *)t.data + r * t.stride);
}
static inline hd_tensor kit_ints(kit *k, int rows, int cols)
{
    hd_tensor t = kit_tensor(k, rows, cols);
    t.dtype = HD_I32;
    return t;
}
static inline void kit_expect_padding(hd_tensor t)
{
    for (int r = 0; r < t.rows; r++)
        for (int c = 0; c < KIT_PAD; c++)
            EXPECT_INT(hd_f32_bits(kit_row(t, r)[t.cols + c]), KIT_CANARY);
}
static inline void kit_expect_same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        EXPECT_INT(hd_f32_bits(a[i]), hd_f32_bits(b[i]));
}

// Runs an operation with ever later allocations failing: each failure reaches sync, and the first
// run that needs no more memory succeeds.
static inline void kit_expect_survives(kit *k, void (*run)(void *), void *ctx)
{
    for (int n = 1;; n++) {
        hd_err err = {HD_OK, ""};
        hd_mem_fail_at(n, false);
        run(ctx);
        hd_mem_fail_at(0, false);
        if (k->ops->sync(k->be, &err) == HD_OK) {
            EXPECT(n > 1);
            return;
        }
        EXPECT_INT(err.code, HD_E_NOMEM);
    }
}

// ---- weights -------------------------------------------------------------------------------

static inline hd_weight *kit_pack(kit *k, const hd_weight_spec *spec)
{
    hd_err err = {HD_OK, ""};
    EXPECT(k->n_weight < 64);
    hd_status st = hd_backend_pack(k->be, spec, &k->weight[k->n_weight], &err);
    if (st != HD_OK) EXPECT_STR(err.msg, "packed");
    return k->weight[k->n_weight++];
}

// Random blocks of any float type that decode to moderate values.
static inline void *kit_blocks(kit *k, hd_dtype t, int64_t n)
{
    const hd_dtype_traits *tr = hd_dtype_get(t);
    size_t bytes = hd_row_bytes(t, n);
    uint8_t *p = kit_alloc(k, bytes);
    if (tr->from_f32) {
        float *f = kit_floats(k, n);
        tr->from_f32(f, p, n);
        return p;
    }
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)hd_rng_u64(&k->rng);
    hd_f16 d = hd_f32_f16(0.01f);
    for (int64_t b = 0; b < n / tr->block; b++) {
        uint8_t *at = p + b * tr->block_bytes;
        if (t == HD_MXFP4) *at = 124;
        if (t == HD_Q5_0 || t == HD_Q5_1 || t == HD_Q5_K || t == HD_IQ4_NL || t == HD_IQ4_XS)
            memcpy(at, &d, 2);
        if (t == HD_Q5_1 || t == HD_Q5_K) memcpy(at + 2, &d, 2);
        if (t == HD_Q2_K) memcpy(at + 80, &d, 2), memcpy(at + 82, &d, 2);
        if (t == HD_Q3_K) memcpy(at + 108, &d, 2);
        if (t == HD_F8_E5M2) *at &= 0xbf;
    }
    return p;
}

static inline hd_weight_src kit_src(const char *name, const void *data, hd_dtype t, int n_out,
                                    int n_in)
{
    hd_weight_src s = {.name = name, .data = data, .dtype = t, .n_out = n_out, .n_in = n_in};
    return s;
}

// n_mat matrices of one part, one after another in data.
static inline hd_weight *kit_matrix(kit *k, const void *data, hd_dtype t, int n_mat, int n_out,
                                    int n_in, hd_dtype want)
{
    hd_weight_src *src = kit_alloc(k, (size_t)n_mat * sizeof(*src));
    size_t bytes = hd_row_bytes(t, n_in) * (size_t)n_out;
    for (int m = 0; m < n_mat; m++)
        src[m] = kit_src("test.weight", (const char *)data + (size_t)m * bytes, t, n_out, n_in);
    hd_weight_spec spec = {"test.weight", src, n_mat, 1, n_in, want};
    return kit_pack(k, &spec);
}

static inline hd_weight *kit_vector(kit *k, const float *v, int n)
{
    return kit_matrix(k, v, HD_F32, 1, n, 1, HD_DTYPE_NONE);
}

// Rows of w as embed gives them.
static inline hd_tensor kit_rows_of(kit *k, const hd_weight *w)
{
    hd_weight_info info;
    k->ops->weight_info(k->be, w, &info);
    hd_tensor t = kit_tensor(k, info.n_out, info.n_in);
    int32_t *ids = kit_alloc(k, (size_t)info.n_out * sizeof(*ids));
    for (int i = 0; i < info.n_out; i++)
        ids[i] = i;
    k->ops->embed(k->be, t, w, ids);
    kit_expect_padding(t);
    return t;
}

static inline double kit_dot(const float *a, const float *b, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++)
        s += (double)a[i] * (double)b[i];
    return s;
}

#endif
