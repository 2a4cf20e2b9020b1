// Scalar encoders of the formats we write: scale from the block's extremes, nearest code for every
// element under the scale as stored.
//
// No search for better scales and no importance weights: that would be policy, and the same input
// must give the same bytes everywhere.
#include "kernels/cpu/ref/quant.h"

#include <math.h>
#include <string.h>

#define STORE_BLOCK(dst, i, b) memcpy((char *)(dst) + (size_t)(i) * sizeof(b), &(b), sizeof(b))

static const hd_f16 f16_nan = {0x7e00};

// ---- scalars -------------------------------------------------------------------------------

void hd_ref_encode_f32(const float *src, void *dst, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof(float));
}

void hd_ref_encode_f16(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hd_f16 h = hd_f32_f16(src[i]);
        STORE_BLOCK(dst, i, h);
    }
}

void hd_ref_encode_bf16(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hd_bf16 h = hd_f32_bf16(src[i]);
        STORE_BLOCK(dst, i, h);
    }
}

void hd_ref_encode_e4m3(const float *src, void *dst, int64_t n)
{
    uint8_t *d = dst;
    for (int64_t i = 0; i < n; i++)
        d[i] = hd_f32_e4m3(src[i]);
}

// ---- helpers -------------------------------------------------------------------------------

// Half precision nearest to x, kept finite.
static hd_f16 finite_f16(float x)
{
    float top = 65504.0f;
    return hd_f32_f16(x > top ? top : x < -top ? -top : x);
}

// Integer nearest to x / d within lo..hi; 0 (moved into the range) when d is 0.
static int nearest(float x, float d, int lo, int hi)
{
    float t = d == 0 ? 0 : x / d;
    if (t < (float)lo) return lo;
    if (t > (float)hi) return hi;
    return (int)lrintf(t);
}

static bool all_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

// The element of largest magnitude, with its sign.
static float extreme(const float *x, int n)
{
    float e = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(e)) e = x[i];
    return e;
}

static void range(const float *x, int n, float *lo, float *hi)
{
    *lo = *hi = x[0];
    for (int i = 1; i < n; i++) {
        if (x[i] < *lo) *lo = x[i];
        if (x[i] > *hi) *hi = x[i];
    }
}

// ---- blocks of 32 --------------------------------------------------------------------------

void hd_ref_encode_q8_0(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        hd_block_q8_0 b = {.d = f16_nan};
        if (all_finite(x, 32)) {
            b.d = finite_f16(fabsf(extreme(x, 32)) / 127.0f);
            float d = hd_f16_f32(b.d);
            for (int j = 0; j < 32; j++)
                b.qs[j] = (int8_t)nearest(x[j], d, -127, 127);
        }
        STORE_BLOCK(dst, i, b);
    }
}

// The scale is signed so that the extreme element falls on -8, the end with the longer reach.
void hd_ref_encode_q4_0(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        hd_block_q4_0 b = {.d = f16_nan};
        if (all_finite(x, 32)) {
            b.d = finite_f16(extreme(x, 32) / -8.0f);
            float d = hd_f16_f32(b.d);
            for (int j = 0; j < 16; j++) {
                int lo = nearest(x[j], d, -8, 7) + 8, hi = nearest(x[j + 16], d, -8, 7) + 8;
                b.qs[j] = (uint8_t)(lo | hi << 4);
            }
        }
        STORE_BLOCK(dst, i, b);
    }
}

void hd_q4_1_scale(float lo, float hi, hd_block_q4_1 *b)
{
    lo += 0.0f; // which of two zeros was met first does not matter
    hi += 0.0f;
    b->d = finite_f16(hi / 15.0f - lo / 15.0f);
    b->m = finite_f16(lo);
}

void hd_ref_encode_q4_1(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        const float *x = src + 32 * i;
        hd_block_q4_1 b = {.d = f16_nan, .m = f16_nan};
        if (all_finite(x, 32)) {
            float lo, hi;
            range(x, 32, &lo, &hi);
            hd_q4_1_scale(lo, hi, &b);
            float d = hd_f16_f32(b.d), m = hd_f16_f32(b.m);
            for (int j = 0; j < 16; j++) {
                int a = nearest(x[j] - m, d, 0, 15), c = nearest(x[j + 16] - m, d, 0, 15);
                b.qs[j] = (uint8_t)(a | c << 4);
            }
        }
        STORE_BLOCK(dst, i, b);
    }
}

// ---- blocks of 128 -------------------------------------------------------------------------

void hd_ref_encode_f8_b128(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 128; i++) {
        const float *x = src + 128 * i;
        hd_block_f8_b128 b = {.d = NAN};
        if (all_finite(x, 128)) {
            b.d = fabsf(extreme(x, 128)) / 448.0f;
            for (int j = 0; j < 128; j++)
                b.q[j] = b.d == 0 ? 0 : hd_f32_e4m3(x[j] / b.d);
        }
        STORE_BLOCK(dst, i, b);
    }
}

// ---- super-blocks --------------------------------------------------------------------------

static void pack_k4_scales(const uint8_t scale[8], const uint8_t min[8], uint8_t packed[12])
{
    for (int j = 0; j < 4; j++) {
        packed[j] = (uint8_t)(scale[j] | scale[j + 4] >> 4 << 6);
        packed[j + 4] = (uint8_t)(min[j] | min[j + 4] >> 4 << 6);
        packed[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

// Sub-block k covers lowest..highest with w = scale * q - min, q in 0..15; both scale and min are
// 6-bit multiples of the super-block's d and dmin. min >= 0, so 0 is always within reach.
void hd_q4_k_scales(const float lo[8], const float hi[8], hd_block_q4_k *b, float scale[8],
                    float min[8])
{
    float top_scale = 0, top_min = 0;
    for (int k = 0; k < 8; k++) {
        float low = lo[k] < 0 ? lo[k] : 0;
        min[k] = 0 - low;
        scale[k] = hi[k] > low ? hi[k] / 15.0f - low / 15.0f : 0;
        if (scale[k] > top_scale) top_scale = scale[k];
        if (min[k] > top_min) top_min = min[k];
    }
    b->d = finite_f16(top_scale / 63.0f);
    b->dmin = finite_f16(top_min / 63.0f);
    float d = hd_f16_f32(b->d), dmin = hd_f16_f32(b->dmin);
    uint8_t sc[8], mn[8];
    for (int k = 0; k < 8; k++) {
        sc[k] = (uint8_t)nearest(scale[k], d, 0, 63);
        mn[k] = (uint8_t)nearest(min[k], dmin, 0, 63);
        scale[k] = d * (float)sc[k];
        min[k] = dmin * (float)mn[k];
    }
    pack_k4_scales(sc, mn, b->scales);
}

static void encode_q4_k_block(const float *x, hd_block_q4_k *b)
{
    float lo[8], hi[8], scale[8], min[8];
    uint8_t q[256];
    for (int k = 0; k < 8; k++)
        range(x + 32 * k, 32, &lo[k], &hi[k]);
    hd_q4_k_scales(lo, hi, b, scale, min);
    for (int j = 0; j < 256; j++)
        q[j] = (uint8_t)nearest(x[j] + min[j / 32], scale[j / 32], 0, 15);
    for (int i = 0; i < 128; i++) {
        int j = i / 32 * 64 + i % 32;
        b->qs[i] = (uint8_t)(q[j] | q[j + 32] << 4);
    }
}

void hd_ref_encode_q4_k(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q4_k b = {.d = f16_nan, .dmin = f16_nan};
        if (all_finite(src + 256 * i, 256)) encode_q4_k_block(src + 256 * i, &b);
        STORE_BLOCK(dst, i, b);
    }
}

// Sub-block scales are signed (the extreme falls on -32) and 8-bit multiples of d.
static void encode_q6_k_block(const float *x, hd_block_q6_k *b)
{
    float scale[16];
    for (int k = 0; k < 16; k++)
        scale[k] = extreme(x + 16 * k, 16) / -32.0f;
    b->d = finite_f16(fabsf(extreme(scale, 16)) / 127.0f);
    float d = hd_f16_f32(b->d);
    uint8_t q[256];
    for (int k = 0; k < 16; k++) {
        b->scales[k] = (int8_t)nearest(scale[k], d, -127, 127);
        float ds = d * (float)b->scales[k];
        for (int j = 16 * k; j < 16 * k + 16; j++)
            q[j] = (uint8_t)(nearest(x[j], ds, -32, 31) + 32);
    }
    for (int half = 0; half < 2; half++) {
        for (int l = 0; l < 32; l++) {
            const uint8_t *p = q + 128 * half + l;
            b->ql[64 * half + l] = (uint8_t)((p[0] & 15) | (p[64] & 15) << 4);
            b->ql[64 * half + 32 + l] = (uint8_t)((p[32] & 15) | (p[96] & 15) << 4);
            b->qh[32 * half + l] =
                (uint8_t)(p[0] >> 4 | p[32] >> 4 << 2 | p[64] >> 4 << 4 | p[96] >> 4 << 6);
        }
    }
}

void hd_ref_encode_q6_k(const float *src, void *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q6_k b = {.d = f16_nan};
        if (all_finite(src + 256 * i, 256)) encode_q6_k_block(src + 256 * i, &b);
        STORE_BLOCK(dst, i, b);
    }
}
