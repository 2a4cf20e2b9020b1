// Scalar truth of the attention kernels: scores, weighted sums of values, writing cached rows.
//
// Scores accumulate in double and are rounded once. pv adds in float, key by key in ascending
// order, without fusing, so splitting a run of keys into several calls changes nothing.
#include "kernels/cpu/ref/quant.h"
#include "kernels/cpu/ref/ref.h"

#include <string.h>

typedef float load_fn(const uint8_t *row, int i);

static float load_f32(const uint8_t *row, int i)
{
    float f;
    memcpy(&f, row + 4 * (size_t)i, 4);
    return f;
}
static float load_f16(const uint8_t *row, int i)
{
    hd_f16 h;
    memcpy(&h, row + 2 * (size_t)i, 2);
    return hd_f16_f32(h);
}
static float load_bf16(const uint8_t *row, int i)
{
    hd_bf16 h;
    memcpy(&h, row + 2 * (size_t)i, 2);
    return hd_bf16_f32(h);
}
static float load_q8_0(const uint8_t *row, int i)
{
    hd_block_q8_0 b;
    memcpy(&b, row + (size_t)(i / HD_QK) * sizeof(b), sizeof(b));
    return hd_f16_f32(b.d) * (float)b.qs[i % HD_QK];
}
static float load_f8_b128(const uint8_t *row, int i)
{
    const uint8_t *b = row + (size_t)(i / 128) * sizeof(hd_block_f8_b128);
    return load_f32(b, 0) * hd_e4m3_f32(b[offsetof(hd_block_f8_b128, q) + (size_t)(i % 128)]);
}

// ---- scores --------------------------------------------------------------------------------

static float dot(const uint8_t *q, const uint8_t *k, int d, load_fn *load)
{
    double acc = 0.0;
    for (int c = 0; c < d; c++)
        acc += (double)load_f32(q, c) * (double)load(k, c);
    return (float)acc;
}

#define QK(name, load)                                                                             \
    static void name(float *restrict score, int64_t score_stride, const float *restrict q,         \
                     size_t q_stride, int n_q, const void *restrict k, size_t k_stride,            \
                     int n_keys, int d)                                                            \
    {                                                                                              \
        for (int i = 0; i < n_q; i++)                                                              \
            for (int j = 0; j < n_keys; j++)                                                       \
                score[i * score_stride + j] =                                                      \
                    dot((const uint8_t *)q + (size_t)i * q_stride,                                 \
                        (const uint8_t *)k + (size_t)j * k_stride, d, load);                       \
    }

QK(qk_f32, load_f32)
QK(qk_f16, load_f16)
QK(qk_bf16, load_bf16)
QK(qk_q8_0, load_q8_0)

// ---- values --------------------------------------------------------------------------------

static void add_values(float *acc, const float *p, const uint8_t *v, size_t v_stride, int n_keys,
                       int d, load_fn *load)
{
    for (int j = 0; j < n_keys; j++)
        for (int c = 0; c < d; c++)
            acc[c] += p[j] * load(v + (size_t)j * v_stride, c);
}

#define PV(name, load)                                                                             \
    static void name(float *restrict acc, int64_t acc_stride, const float *restrict p,             \
                     int64_t p_stride, int n_q, const void *restrict v, size_t v_stride,           \
                     int n_keys, int d)                                                            \
    {                                                                                              \
        for (int i = 0; i < n_q; i++)                                                              \
            add_values(acc + i * acc_stride, p + i * p_stride, v, v_stride, n_keys, d, load);      \
    }

PV(pv_f32, load_f32)
PV(pv_f16, load_f16)
PV(pv_bf16, load_bf16)
PV(pv_q8_0, load_q8_0)
PV(pv_f8_b128, load_f8_b128)

// ---- cached rows ---------------------------------------------------------------------------

static void kv_write_f32(void *restrict dst, const float *restrict src, int n)
{
    memcpy(dst, src, (size_t)n * sizeof(float));
}

static void kv_write_f16(void *restrict dst, const float *restrict src, int n)
{
    hd_f16 *h = dst;
    for (int i = 0; i < n; i++)
        h[i] = hd_f32_f16(src[i]);
}

static void kv_write_bf16(void *restrict dst, const float *restrict src, int n)
{
    hd_bf16 *h = dst;
    for (int i = 0; i < n; i++)
        h[i] = hd_f32_bf16(src[i]);
}

static void kv_write_q8_0(void *restrict dst, const float *restrict src, int n)
{
    hd_ref_encode_q8_0(src, dst, n);
}

void hd_ref_attn_fill(hd_cpu_fns *f)
{
    f->qk[HD_F32] = qk_f32;
    f->qk[HD_F16] = qk_f16;
    f->qk[HD_BF16] = qk_bf16;
    f->qk[HD_Q8_0] = qk_q8_0;
    f->pv[HD_F32] = pv_f32;
    f->pv[HD_F16] = pv_f16;
    f->pv[HD_BF16] = pv_bf16;
    f->pv[HD_Q8_0] = pv_q8_0;
    f->pv[HD_F8_B128] = pv_f8_b128;
    f->kv_write[HD_F32] = kv_write_f32;
    f->kv_write[HD_F16] = kv_write_f16;
    f->kv_write[HD_BF16] = kv_write_bf16;
    f->kv_write[HD_Q8_0] = kv_write_q8_0;
}
