// Scalar truth of the matrix kernels: weights times activations. The formats are quant.c's.
//
// Order of arithmetic, the same for every token and row of a call:
//   float weights       sum over i of (double)w[i] * (double)x[i] in ascending i, rounded once;
//                       w = e4m3 * d, rounded to float first, in blocks of 128.
//   32-element blocks   isum = sum of the integer products of the block, exact in int32;
//                       t = d * (float)isum, and + m * (float)sum(q) where the type has a minimum;
//                       acc = acc + act.d * t, blocks in ascending order, acc and t in float.
//   256-element blocks  isum = sum over sub-blocks of scale * dot, imin = sum of min * bsum, both
//                       exact in int32; t = d * (float)isum, and - dmin * (float)imin;
//                       acc = acc + act.d * t as above.
// No product is fused with a sum. Speed is of no concern here.
#include "kernels/cpu/ref/quant.h"
#include "kernels/cpu/ref/ref.h"

#include <string.h>

// ---- float weights -------------------------------------------------------------------------

typedef float load_fn(const uint8_t *row, int i); // element i of a row of any alignment

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
static float load_e4m3(const uint8_t *row, int i)
{
    return hd_e4m3_f32(row[i]);
}
static float load_f8_b128(const uint8_t *row, int i)
{
    const uint8_t *block = row + (size_t)(i / 128) * sizeof(hd_block_f8_b128);
    return load_e4m3(block + offsetof(hd_block_f8_b128, q), i % 128) * load_f32(block, 0);
}

// What hd_mm_fn gets, in one struct.
typedef struct mm_call {
    float *out;
    int64_t out_stride;
    const uint8_t *w;
    size_t w_stride;
    int n_rows;
    const uint8_t *act;
    size_t act_stride;
    int n_tok, n_in;
} mm_call;

static void mm_float(const mm_call *c, load_fn *load)
{
    for (int t = 0; t < c->n_tok; t++) {
        const uint8_t *x = c->act + (size_t)t * c->act_stride;
        for (int r = 0; r < c->n_rows; r++) {
            const uint8_t *w = c->w + (size_t)r * c->w_stride;
            double acc = 0.0;
            for (int i = 0; i < c->n_in; i++)
                acc += (double)load(w, i) * (double)load_f32(x, i);
            c->out[t * c->out_stride + r] = (float)acc;
        }
    }
}

// ---- 32-element blocks ---------------------------------------------------------------------

typedef struct block32 { // value = d * q + m
    float d, m;
    bool has_min;
    int8_t q[HD_QK];
} block32;

typedef void unpack32_fn(const uint8_t *src, block32 *b);

static void unpack_q4_0(const uint8_t *src, block32 *b)
{
    hd_block_q4_0 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    hd_codes_q4_0(&s, b->q);
}

static void unpack_q4_1(const uint8_t *src, block32 *b)
{
    hd_block_q4_1 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    b->m = hd_f16_f32(s.m);
    b->has_min = true;
    hd_codes_q4_1(&s, b->q);
}

static void unpack_q5_0(const uint8_t *src, block32 *b)
{
    hd_block_q5_0 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    hd_codes_q5_0(&s, b->q);
}

static void unpack_q5_1(const uint8_t *src, block32 *b)
{
    hd_block_q5_1 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    b->m = hd_f16_f32(s.m);
    b->has_min = true;
    hd_codes_q5_1(&s, b->q);
}

static void unpack_q8_0(const uint8_t *src, block32 *b)
{
    hd_block_q8_0 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    memcpy(b->q, s.qs, sizeof(b->q));
}

static void unpack_iq4_nl(const uint8_t *src, block32 *b)
{
    hd_block_iq4_nl s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    hd_codes_iq4(s.qs, hd_iq4_levels, b->q);
}

static void unpack_mxfp4(const uint8_t *src, block32 *b)
{
    hd_block_mxfp4 s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_mxfp4_scale(s.e);
    hd_codes_iq4(s.qs, hd_mxfp4_levels, b->q);
}

static float dot_32(const uint8_t *w, size_t block_bytes, const uint8_t *act, int n_in,
                    unpack32_fn *unpack)
{
    float acc = 0.0f;
    for (int i = 0; i < n_in / HD_QK; i++) {
        hd_act_q8_32 a;
        block32 b = {.has_min = false};
        memcpy(&a, act + (size_t)i * sizeof(a), sizeof(a));
        unpack(w + (size_t)i * block_bytes, &b);
        int32_t isum = 0;
        for (int j = 0; j < HD_QK; j++)
            isum += b.q[j] * a.q[j];
        float t = b.d * (float)isum;
        if (b.has_min) t += b.m * (float)a.sum;
        acc += a.d * t;
    }
    return acc;
}

static void mm_32(const mm_call *c, hd_dtype type, unpack32_fn *unpack)
{
    size_t block_bytes = (size_t)hd_dtype_get(type)->block_bytes;
    for (int t = 0; t < c->n_tok; t++)
        for (int r = 0; r < c->n_rows; r++)
            c->out[t * c->out_stride + r] =
                dot_32(c->w + (size_t)r * c->w_stride, block_bytes,
                       c->act + (size_t)t * c->act_stride, c->n_in, unpack);
}

// ---- 256-element super-blocks --------------------------------------------------------------

typedef struct block256 { // value = d * scale[s] * q - dmin * min[s], s = index / 16
    float d, dmin;
    bool has_min;
    int16_t scale[16], min[16]; // types with sub-blocks of 32 fill pairs
    int8_t q[HD_QK_K];
} block256;

typedef void unpack256_fn(const uint8_t *src, block256 *b);

static void unpack_q2_k(const uint8_t *src, block256 *b)
{
    hd_block_q2_k s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    b->dmin = hd_f16_f32(s.dmin);
    b->has_min = true;
    for (int i = 0; i < 16; i++) {
        b->scale[i] = s.scales[i] & 15;
        b->min[i] = s.scales[i] >> 4;
    }
    hd_codes_q2_k(&s, b->q);
}

static void unpack_q3_k(const uint8_t *src, block256 *b)
{
    hd_block_q3_k s;
    int8_t scale[16];
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    hd_q3k_scales(s.scales, scale);
    for (int i = 0; i < 16; i++)
        b->scale[i] = scale[i];
    hd_codes_q3_k(&s, b->q);
}

static void unpack_scales_k4(const uint8_t *packed, block256 *b)
{
    uint8_t scale[8], min[8];
    hd_k4_scales(packed, scale, min);
    for (int i = 0; i < 16; i++) {
        b->scale[i] = scale[i / 2];
        b->min[i] = min[i / 2];
    }
    b->has_min = true;
}

static void unpack_q4_k(const uint8_t *src, block256 *b)
{
    hd_block_q4_k s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    b->dmin = hd_f16_f32(s.dmin);
    unpack_scales_k4(s.scales, b);
    hd_codes_q4_k(&s, b->q);
}

static void unpack_q5_k(const uint8_t *src, block256 *b)
{
    hd_block_q5_k s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    b->dmin = hd_f16_f32(s.dmin);
    unpack_scales_k4(s.scales, b);
    hd_codes_q5_k(&s, b->q);
}

static void unpack_q6_k(const uint8_t *src, block256 *b)
{
    hd_block_q6_k s;
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    for (int i = 0; i < 16; i++)
        b->scale[i] = s.scales[i];
    hd_codes_q6_k(&s, b->q);
}

static void unpack_iq4_xs(const uint8_t *src, block256 *b)
{
    hd_block_iq4_xs s;
    int8_t scale[8];
    memcpy(&s, src, sizeof(s));
    b->d = hd_f16_f32(s.d);
    hd_iq4xs_scales(&s, scale);
    for (int i = 0; i < 16; i++)
        b->scale[i] = scale[i / 2];
    for (int i = 0; i < 8; i++)
        hd_codes_iq4(s.qs + 16 * i, hd_iq4_levels, b->q + 32 * i);
}

static float dot_256(const uint8_t *w, size_t block_bytes, const uint8_t *act, int n_in,
                     unpack256_fn *unpack)
{
    float acc = 0.0f;
    for (int i = 0; i < n_in / HD_QK_K; i++) {
        hd_act_q8_256 a;
        block256 b = {.has_min = false};
        memcpy(&a, act + (size_t)i * sizeof(a), sizeof(a));
        unpack(w + (size_t)i * block_bytes, &b);
        int32_t isum = 0, imin = 0;
        for (int s = 0; s < 16; s++) {
            int32_t dot = 0;
            for (int j = 16 * s; j < 16 * s + 16; j++)
                dot += b.q[j] * a.q[j];
            isum += b.scale[s] * dot;
            imin += b.min[s] * a.bsum[s];
        }
        float t = b.d * (float)isum;
        if (b.has_min) t -= b.dmin * (float)imin;
        acc += a.d * t;
    }
    return acc;
}

static void mm_256(const mm_call *c, hd_dtype type, unpack256_fn *unpack)
{
    size_t block_bytes = (size_t)hd_dtype_get(type)->block_bytes;
    for (int t = 0; t < c->n_tok; t++)
        for (int r = 0; r < c->n_rows; r++)
            c->out[t * c->out_stride + r] =
                dot_256(c->w + (size_t)r * c->w_stride, block_bytes,
                        c->act + (size_t)t * c->act_stride, c->n_in, unpack);
}

// ---- the table -----------------------------------------------------------------------------

// One function of type hd_mm_fn around a call that gets its arguments as `c`.
#define MM(name, call)                                                                             \
    static void name(float *restrict out, int64_t out_stride, const void *restrict w,              \
                     size_t w_stride, int n_rows, const void *restrict act, size_t act_stride,     \
                     int n_tok, int n_in)                                                          \
    {                                                                                              \
        const mm_call c = {out, out_stride, w, w_stride, n_rows, act, act_stride, n_tok, n_in};    \
        call;                                                                                      \
    }

MM(mm_f32, mm_float(&c, load_f32))
MM(mm_f16, mm_float(&c, load_f16))
MM(mm_bf16, mm_float(&c, load_bf16))
MM(mm_f8_e4m3, mm_float(&c, load_e4m3))
MM(mm_f8_b128, mm_float(&c, load_f8_b128))
MM(mm_q4_0, mm_32(&c, HD_Q4_0, unpack_q4_0))
MM(mm_q4_1, mm_32(&c, HD_Q4_1, unpack_q4_1))
MM(mm_q5_0, mm_32(&c, HD_Q5_0, unpack_q5_0))
MM(mm_q5_1, mm_32(&c, HD_Q5_1, unpack_q5_1))
MM(mm_q8_0, mm_32(&c, HD_Q8_0, unpack_q8_0))
MM(mm_iq4_nl, mm_32(&c, HD_IQ4_NL, unpack_iq4_nl))
MM(mm_mxfp4, mm_32(&c, HD_MXFP4, unpack_mxfp4))
MM(mm_q2_k, mm_256(&c, HD_Q2_K, unpack_q2_k))
MM(mm_q3_k, mm_256(&c, HD_Q3_K, unpack_q3_k))
MM(mm_q4_k, mm_256(&c, HD_Q4_K, unpack_q4_k))
MM(mm_q5_k, mm_256(&c, HD_Q5_K, unpack_q5_k))
MM(mm_q6_k, mm_256(&c, HD_Q6_K, unpack_q6_k))
MM(mm_iq4_xs, mm_256(&c, HD_IQ4_XS, unpack_iq4_xs))

void hd_ref_dot_fill(hd_cpu_fns *f)
{
    static hd_mm_fn *const mm[HD_DTYPE_COUNT] = {
        [HD_F32] = mm_f32,         [HD_F16] = mm_f16,     [HD_BF16] = mm_bf16,
        [HD_F8_E4M3] = mm_f8_e4m3, [HD_Q4_0] = mm_q4_0,   [HD_Q4_1] = mm_q4_1,
        [HD_Q5_0] = mm_q5_0,       [HD_Q5_1] = mm_q5_1,   [HD_Q8_0] = mm_q8_0,
        [HD_Q2_K] = mm_q2_k,       [HD_Q3_K] = mm_q3_k,   [HD_Q4_K] = mm_q4_k,
        [HD_Q5_K] = mm_q5_k,       [HD_Q6_K] = mm_q6_k,   [HD_IQ4_NL] = mm_iq4_nl,
        [HD_IQ4_XS] = mm_iq4_xs,   [HD_MXFP4] = mm_mxfp4, [HD_F8_B128] = mm_f8_b128,
    };
    for (int t = 0; t < HD_DTYPE_COUNT; t++) {
        const hd_dtype_traits *tr = hd_dtype_get((hd_dtype)t);
        f->mm[t] = mm[t];
        f->decode[t] = tr->is_float ? tr->to_f32 : NULL;
        f->encode[t] = tr->from_f32;
        f->act_fmt[t] = tr->block == HD_QK     ? HD_ACT_Q8_32
                        : tr->block == HD_QK_K ? HD_ACT_Q8_256
                                               : HD_ACT_F32;
    }
    f->quant_act[HD_ACT_F32] = NULL;
    f->quant_act[HD_ACT_Q8_32] = hd_ref_quant_q8_32;
    f->quant_act[HD_ACT_Q8_256] = hd_ref_quant_q8_256;
}
