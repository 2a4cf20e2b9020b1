// Writing number formats: every code is the nearest one that the block's scale allows, judged
// through the decoders that test_dtype.c checks; and activations as the kernels multiply them.
#include "kernels/base/rng.h"
#include "kernels/cpu/fns.h"
#include "kernels/cpu/ref/quant.h"
#include "kernels/dtype.h"
#include "tests/unit/dtype_kit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

// ---- encoders ------------------------------------------------------------------------------

static void fill(float *x, int n, hd_rng *rng, float size)
{
    for (int i = 0; i < n; i++)
        x[i] = size * hd_rng_normal(rng);
}

// No other code of the block's 16 or 256 may come closer to x than the one chosen, given the scale
// that was stored: checked by trying all of them through the decoder.
static void expect_nearest(hd_dtype t, const float *x, const uint8_t *block, int first, int bits)
{
    const hd_dtype_traits *r = hd_dtype_get(t);
    float got[32], other[32];
    uint8_t copy[64];
    r->to_f32(block, got, 32);
    for (unsigned c = 0; c < 1u << bits; c++) {
        if (bits == 8 && c == 128) continue; // -128 is never written
        memcpy(copy, block, (size_t)r->block_bytes);
        memset(copy + first, (int)(bits == 8 ? c : c * 17), (size_t)(r->block_bytes - first));
        r->to_f32(copy, other, 32);
        for (int i = 0; i < 32; i++) {
            double best = fabs((double)x[i] - (double)other[i]);
            double ours = fabs((double)x[i] - (double)got[i]);
            // The quotient x / d is rounded, which can flip an exact tie of distances.
            EXPECT(ours <= best * (1 + 1e-5) + 1e-7 * fabs((double)x[i]));
        }
    }
}

static void encode_small_blocks(void)
{
    hd_rng rng;
    hd_rng_seed(&rng, 7);
    for (int round = 0; round < 200; round++) {
        float x[32], y[32], top = 0, lo = INFINITY, hi = -INFINITY;
        fill(x, 32, &rng, ldexpf(1, round % 20 - 10));
        for (int i = 0; i < 32; i++) {
            top = fmaxf(top, fabsf(x[i]));
            lo = fminf(lo, x[i]);
            hi = fmaxf(hi, x[i]);
        }
        uint8_t b[64];
        hd_dtype_get(HD_Q8_0)->from_f32(x, b, 32);
        hd_dtype_get(HD_Q8_0)->to_f32(b, y, 32);
        float d = half_at(b);
        for (int i = 0; i < 32; i++) // half a step, and what rounding the scale can clip
            EXPECT(fabsf(x[i] - y[i]) <= d * 0.5001f + top * 0x1p-11f);
        if (round < 20) expect_nearest(HD_Q8_0, x, b, 2, 8);

        hd_dtype_get(HD_Q4_0)->from_f32(x, b, 32);
        hd_dtype_get(HD_Q4_0)->to_f32(b, y, 32);
        d = fabsf(half_at(b));
        for (int i = 0; i < 32; i++) // a whole step at the end that has only 7 of them
            EXPECT(fabsf(x[i] - y[i]) <= d * 1.001f);
        expect_nearest(HD_Q4_0, x, b, 2, 4);

        hd_dtype_get(HD_Q4_1)->from_f32(x, b, 32);
        hd_dtype_get(HD_Q4_1)->to_f32(b, y, 32);
        d = half_at(b);
        for (int i = 0; i < 32; i++) // half a step and the rounding of scale and minimum
            EXPECT(fabsf(x[i] - y[i]) <= d * 0.5001f + (hi - lo + top) * 0x1p-11f);
        expect_nearest(HD_Q4_1, x, b, 4, 4);
    }
}

static void encode_super_blocks(void)
{
    hd_rng rng;
    hd_rng_seed(&rng, 8);
    for (int round = 0; round < 100; round++) {
        float x[256], y[256];
        fill(x, 256, &rng, ldexpf(1, round % 16 - 8));
        uint8_t b[256];
        hd_dtype_get(HD_Q4_K)->from_f32(x, b, 256);
        hd_dtype_get(HD_Q4_K)->to_f32(b, y, 256);
        for (int i = 0; i < 256; i++) {
            // Half a code step, the scale's own step over up to 15 codes, and the minimum's step.
            float d = half_at(b), dmin = half_at(b + 2);
            float step = d * (float)six_bit_scale(b + 4, (unsigned)i / 32, false);
            EXPECT(fabsf(x[i] - y[i]) <= 0.51f * step + 7.6f * d + 0.51f * dmin);
        }
        hd_dtype_get(HD_Q6_K)->from_f32(x, b, 256);
        hd_dtype_get(HD_Q6_K)->to_f32(b, y, 256);
        for (int i = 0; i < 256; i++) {
            float d = half_at(b + 208);
            float step = fabsf(d * (float)signed8(b[192 + i / 16]));
            // A whole step at the end with 31 codes, and half the scale's step over 32 codes.
            EXPECT(fabsf(x[i] - y[i]) <= 1.01f * step + 16.1f * d);
        }
    }
}

// E4M3 in blocks of 128: d is the largest magnitude over 448, codes are the nearest: within 2^-4 of
// the value, or half the smallest step.
static void encode_f8_blocks(void)
{
    const hd_dtype_traits *r = hd_dtype_get(HD_F8_B128);
    hd_rng rng;
    hd_rng_seed(&rng, 11);
    for (int round = 0; round < 200; round++) {
        float x[256], y[256], top[2] = {0, 0};
        uint8_t b[264];
        fill(x, 256, &rng, ldexpf(1, round % 60 - 30));
        for (int i = 0; i < 256; i++)
            top[i / 128] = fmaxf(top[i / 128], fabsf(x[i]));
        r->from_f32(x, b, 256);
        r->to_f32(b, y, 256);
        for (int i = 0; i < 256; i++) {
            const uint8_t *p = b + i / 128 * 132;
            float d = hd_f32_from_bits(bits_at(p, 0, 32));
            EXPECT(d == top[i / 128] / 448);
            EXPECT_INT(p[4 + i % 128], hd_f32_e4m3(x[i] / d));
            EXPECT((double)fabsf(x[i] - y[i]) <=
                   fmax(0x1.0001p-4 * (double)fabsf(x[i]), 0x1.0001p-10 * (double)d));
        }
    }
    float tiny[128] = {100 * FLT_TRUE_MIN}, y[128]; // d rounds to 0
    uint8_t b[132];
    r->from_f32(tiny, b, 128);
    r->to_f32(b, y, 128);
    EXPECT(y[0] == 0 && bits_at(b, 0, 32) == 0 && b[4] == 0);
}

static void encode_edges(void)
{
    static const hd_dtype types[] = {HD_Q8_0, HD_Q4_0, HD_Q4_1, HD_Q4_K, HD_Q6_K, HD_F8_B128};
    for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
        const hd_dtype_traits *r = hd_dtype_get(types[k]);
        float x[256] = {0}, y[256];
        uint8_t b[256];
        r->from_f32(x, b, r->block);
        r->to_f32(b, y, r->block);
        for (int i = 0; i < r->block; i++)
            EXPECT(y[i] == 0);
        x[5] = NAN;
        r->from_f32(x, b, r->block);
        r->to_f32(b, y, r->block);
        for (int i = 0; i < r->block; i++)
            EXPECT(isnan(y[i]));
        x[5] = -INFINITY;
        r->from_f32(x, b, r->block);
        r->to_f32(b, y, r->block);
        EXPECT(isnan(y[5]) && isnan(y[0]));
        // Beyond half precision's range the scale saturates; the result stays finite.
        for (int i = 0; i < r->block; i++)
            x[i] = i % 2 ? FLT_MAX : -FLT_MAX;
        r->from_f32(x, b, r->block);
        r->to_f32(b, y, r->block);
        for (int i = 0; i < r->block; i++)
            EXPECT(isfinite(y[i]));
    }
}

// Encoding what a decoder produced from our own encoder's blocks changes nothing.
static void encode_is_stable(void)
{
    static const hd_dtype types[] = {HD_F32, HD_F16, HD_BF16, HD_F8_E4M3, HD_Q4_0};
    hd_rng rng;
    hd_rng_seed(&rng, 9);
    for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
        const hd_dtype_traits *r = hd_dtype_get(types[k]);
        float x[256], y[256], z[256];
        uint8_t b[1024];
        fill(x, 256, &rng, 1);
        r->from_f32(x, b, 256);
        r->to_f32(b, y, 256);
        r->from_f32(y, b, 256);
        r->to_f32(b, z, 256);
        EXPECT(memcmp(y, z, sizeof(y)) == 0);
    }
}

// ---- activations ---------------------------------------------------------------------------

static void check_act(const float *x, int n, float d, const int8_t *q)
{
    double top = 0;
    for (int i = 0; i < n; i++)
        top = fmax(top, fabs((double)x[i]));
    EXPECT(d == (float)top / 127.0f);
    for (int i = 0; i < n; i++) {
        EXPECT(q[i] >= -127);
        if (d > 0) EXPECT(fabs((double)x[i] - (double)d * q[i]) <= 0.5001 * (double)d);
        if (d > 0) EXPECT_INT(q[i], (int)nearbyint((double)(x[i] / d)));
    }
}

static void activations(void)
{
    hd_rng rng;
    hd_rng_seed(&rng, 10);
    for (int round = 0; round < 60; round++) {
        float x[512];
        fill(x, 512, &rng, ldexpf(1, round - 30));
        x[round] *= 50;
        hd_act_q8_32 a[16];
        hd_ref_quant_q8_32(a, x, 512);
        for (int k = 0; k < 16; k++) {
            int sum = 0;
            check_act(x + 32 * k, 32, a[k].d, a[k].q);
            for (int j = 0; j < 32; j++)
                sum += a[k].q[j];
            EXPECT_INT(a[k].sum, sum);
        }
        hd_act_q8_256 c[2];
        hd_ref_quant_q8_256(c, x, 512);
        for (int k = 0; k < 2; k++) {
            check_act(x + 256 * k, 256, c[k].d, c[k].q);
            for (int s = 0; s < 16; s++) {
                int sum = 0;
                for (int j = 0; j < 16; j++)
                    sum += c[k].q[16 * s + j];
                EXPECT_INT(c[k].bsum[s], sum);
            }
        }
    }
}

static void activation_edges(void)
{
    float x[32] = {0};
    hd_act_q8_32 a;
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT(a.d == 0 && a.sum == 0);
    x[31] = FLT_MAX;
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT_INT(a.q[31], 127);
    x[31] = 190 * FLT_TRUE_MIN; // d is 1 * 2^-149: the quotient 190 is clamped
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT(a.d == FLT_TRUE_MIN);
    EXPECT_INT(a.q[31], 127);
    x[31] = 60 * FLT_TRUE_MIN; // d rounds to 0
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT(a.d == 0);
    EXPECT_INT(a.q[31], 0);
    x[0] = -INFINITY;
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT(isnan(a.d));
    EXPECT_INT(a.q[0], 0);
    x[0] = NAN;
    hd_ref_quant_q8_32(&a, x, 32);
    EXPECT(isnan(a.d));
}

HD_TEST_MAIN("encode", {"encode_small_blocks", encode_small_blocks},
             {"encode_super_blocks", encode_super_blocks}, {"encode_f8_blocks", encode_f8_blocks},
             {"encode_edges", encode_edges}, {"encode_is_stable", encode_is_stable},
             {"activations", activations}, {"activation_edges", activation_edges})
