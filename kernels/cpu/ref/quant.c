// Scalar decoders of every block format and the activation quantizers: the published formulas, in
// their published order of operations, one rounding per operator (the build forbids contraction).
//
// Clarity is the only aim: speed lives in x86/ and arm/. Encoders are in encode.c.
#include "kernels/cpu/ref/quant.h"

#include "kernels/cpu/fns.h"

#include <math.h>
#include <string.h>

// Copies block number i out of an array that may have any alignment.
#define LOAD_BLOCK(b, src, i) memcpy(&(b), (const char *)(src) + (size_t)(i) * sizeof(b), sizeof(b))

// ---- scalars -------------------------------------------------------------------------------

void hd_ref_decode_f32(const void *src, float *dst, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof(float));
}

void hd_ref_decode_f16(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hd_f16 h;
        LOAD_BLOCK(h, src, i);
        dst[i] = hd_f16_f32(h);
    }
}

void hd_ref_decode_bf16(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        hd_bf16 h;
        LOAD_BLOCK(h, src, i);
        dst[i] = hd_bf16_f32(h);
    }
}

void hd_ref_decode_f64(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x;
        LOAD_BLOCK(x, src, i);
        dst[i] = (float)x;
    }
}

void hd_ref_decode_e4m3(const void *src, float *dst, int64_t n)
{
    const uint8_t *s = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = hd_e4m3_f32(s[i]);
}

void hd_ref_decode_e5m2(const void *src, float *dst, int64_t n)
{
    const uint8_t *s = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = hd_e5m2_f32(s[i]);
}

void hd_ref_decode_e8m0(const void *src, float *dst, int64_t n)
{
    const uint8_t *s = src;
    for (int64_t i = 0; i < n; i++)
        dst[i] = hd_e8m0_f32(s[i]);
}

// ---- codes and scales ----------------------------------------------------------------------

// Element j < 16 is the low nibble of byte j, element j + 16 its high nibble.
static void nibbles(const uint8_t qs[16], int8_t code[32])
{
    for (int j = 0; j < 16; j++) {
        code[j] = (int8_t)(qs[j] & 15);
        code[j + 16] = (int8_t)(qs[j] >> 4);
    }
}

static void add_fifth_bits(const uint8_t qh[4], int8_t code[32])
{
    for (int j = 0; j < 32; j++)
        code[j] = (int8_t)(code[j] | ((qh[j / 8] >> (j % 8)) & 1) << 4);
}

void hd_codes_q4_0(const hd_block_q4_0 *b, int8_t code[32])
{
    nibbles(b->qs, code);
    for (int j = 0; j < 32; j++)
        code[j] = (int8_t)(code[j] - 8);
}

void hd_codes_q4_1(const hd_block_q4_1 *b, int8_t code[32])
{
    nibbles(b->qs, code);
}

void hd_codes_q5_0(const hd_block_q5_0 *b, int8_t code[32])
{
    nibbles(b->qs, code);
    add_fifth_bits(b->qh, code);
    for (int j = 0; j < 32; j++)
        code[j] = (int8_t)(code[j] - 16);
}

void hd_codes_q5_1(const hd_block_q5_1 *b, int8_t code[32])
{
    nibbles(b->qs, code);
    add_fifth_bits(b->qh, code);
}

// Two-bit fields of Q2_K and Q3_K: 128 elements from 32 bytes, 32 of them per shift.
static void two_bits(const uint8_t qs[64], int8_t code[256])
{
    for (int i = 0; i < 256; i++) {
        int half = i / 128, shift = i / 32 % 4 * 2;
        code[i] = (int8_t)((qs[half * 32 + i % 32] >> shift) & 3);
    }
}

void hd_codes_q2_k(const hd_block_q2_k *b, int8_t code[256])
{
    two_bits(b->qs, code);
}

void hd_codes_q3_k(const hd_block_q3_k *b, int8_t code[256])
{
    two_bits(b->qs, code);
    for (int i = 0; i < 256; i++) {
        bool set = (b->hmask[i % 32] >> (i / 32)) & 1;
        code[i] = (int8_t)(code[i] - (set ? 0 : 4));
    }
}

// 64 elements from 32 bytes: low nibbles, then high ones.
static void k_nibbles(const uint8_t qs[128], int8_t code[256])
{
    for (int i = 0; i < 256; i++) {
        uint8_t byte = qs[i / 64 * 32 + i % 32];
        code[i] = (int8_t)(i / 32 % 2 ? byte >> 4 : byte & 15);
    }
}

void hd_codes_q4_k(const hd_block_q4_k *b, int8_t code[256])
{
    k_nibbles(b->qs, code);
}

void hd_codes_q5_k(const hd_block_q5_k *b, int8_t code[256])
{
    k_nibbles(b->qs, code);
    for (int i = 0; i < 256; i++)
        code[i] = (int8_t)(code[i] | ((b->qh[i % 32] >> (i / 32)) & 1) << 4);
}

void hd_codes_q6_k(const hd_block_q6_k *b, int8_t code[256])
{
    for (int i = 0; i < 256; i++) {
        int half = i / 128, quarter = i / 32 % 4, l = i % 32;
        uint8_t low = b->ql[half * 64 + quarter % 2 * 32 + l];
        uint8_t high = b->qh[half * 32 + l];
        int q = (quarter < 2 ? low & 15 : low >> 4) | ((high >> (2 * quarter)) & 3) << 4;
        code[i] = (int8_t)(q - 32);
    }
}

void hd_codes_iq4(const uint8_t qs[16], const int8_t levels[16], int8_t code[32])
{
    nibbles(qs, code);
    for (int j = 0; j < 32; j++)
        code[j] = levels[code[j]];
}

void hd_k4_scales(const uint8_t packed[12], uint8_t scale[8], uint8_t min[8])
{
    for (int j = 0; j < 4; j++) {
        scale[j] = packed[j] & 63;
        min[j] = packed[j + 4] & 63;
        scale[j + 4] = (uint8_t)((packed[j + 8] & 15) | (packed[j] >> 6) << 4);
        min[j + 4] = (uint8_t)((packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4);
    }
}

void hd_q3k_scales(const uint8_t packed[12], int8_t scale[16])
{
    for (int k = 0; k < 16; k++) {
        int low = k < 8 ? packed[k] & 15 : packed[k - 8] >> 4;
        int high = (packed[8 + k % 4] >> (2 * (k / 4))) & 3;
        scale[k] = (int8_t)((low | high << 4) - 32);
    }
}

void hd_iq4xs_scales(const hd_block_iq4_xs *b, int8_t scale[8])
{
    for (int k = 0; k < 8; k++) {
        int low = (b->scales_l[k / 2] >> (4 * (k % 2))) & 15;
        int high = (b->scales_h >> (2 * k)) & 3;
        scale[k] = (int8_t)((low | high << 4) - 32);
    }
}

float hd_mxfp4_scale(uint8_t e)
{
    return hd_f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

// ---- blocks of 32 --------------------------------------------------------------------------

void hd_ref_decode_q4_0(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_q4_0 b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_q4_0(&b, code);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j];
    }
}

void hd_ref_decode_q4_1(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_q4_1 b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_q4_1(&b, code);
        float d = hd_f16_f32(b.d), m = hd_f16_f32(b.m);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j] + m;
    }
}

void hd_ref_decode_q5_0(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_q5_0 b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_q5_0(&b, code);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j];
    }
}

void hd_ref_decode_q5_1(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_q5_1 b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_q5_1(&b, code);
        float d = hd_f16_f32(b.d), m = hd_f16_f32(b.m);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j] + m;
    }
}

void hd_ref_decode_q8_0(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_q8_0 b;
        LOAD_BLOCK(b, src, i);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)b.qs[j];
    }
}

void hd_ref_decode_iq4_nl(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_iq4_nl b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_iq4(b.qs, hd_iq4_levels, code);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j];
    }
}

void hd_ref_decode_mxfp4(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 32; i++) {
        hd_block_mxfp4 b;
        int8_t code[32];
        LOAD_BLOCK(b, src, i);
        hd_codes_iq4(b.qs, hd_mxfp4_levels, code);
        float d = hd_mxfp4_scale(b.e);
        for (int j = 0; j < 32; j++)
            dst[32 * i + j] = d * (float)code[j];
    }
}

// ---- blocks of 128 -------------------------------------------------------------------------

void hd_ref_decode_f8_b128(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 128; i++) {
        hd_block_f8_b128 b;
        LOAD_BLOCK(b, src, i);
        for (int j = 0; j < 128; j++)
            dst[128 * i + j] = hd_e4m3_f32(b.q[j]) * b.d;
    }
}

// ---- super-blocks of 256 -------------------------------------------------------------------

void hd_ref_decode_q2_k(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q2_k b;
        int8_t code[256];
        LOAD_BLOCK(b, src, i);
        hd_codes_q2_k(&b, code);
        float d = hd_f16_f32(b.d), dmin = hd_f16_f32(b.dmin);
        for (int j = 0; j < 256; j++) {
            uint8_t sc = b.scales[j / 16];
            dst[256 * i + j] = (d * (float)(sc & 15)) * (float)code[j] - dmin * (float)(sc >> 4);
        }
    }
}

void hd_ref_decode_q3_k(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q3_k b;
        int8_t code[256], sc[16];
        LOAD_BLOCK(b, src, i);
        hd_codes_q3_k(&b, code);
        hd_q3k_scales(b.scales, sc);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 256; j++)
            dst[256 * i + j] = (d * (float)sc[j / 16]) * (float)code[j];
    }
}

// The common part of Q4_K and Q5_K.
static void decode_scale_min(float d, float dmin, const uint8_t packed[12], const int8_t code[256],
                             float *dst)
{
    uint8_t sc[8], mn[8];
    hd_k4_scales(packed, sc, mn);
    for (int j = 0; j < 256; j++)
        dst[j] = (d * (float)sc[j / 32]) * (float)code[j] - dmin * (float)mn[j / 32];
}

void hd_ref_decode_q4_k(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q4_k b;
        int8_t code[256];
        LOAD_BLOCK(b, src, i);
        hd_codes_q4_k(&b, code);
        decode_scale_min(hd_f16_f32(b.d), hd_f16_f32(b.dmin), b.scales, code, dst + 256 * i);
    }
}

void hd_ref_decode_q5_k(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q5_k b;
        int8_t code[256];
        LOAD_BLOCK(b, src, i);
        hd_codes_q5_k(&b, code);
        decode_scale_min(hd_f16_f32(b.d), hd_f16_f32(b.dmin), b.scales, code, dst + 256 * i);
    }
}

void hd_ref_decode_q6_k(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_q6_k b;
        int8_t code[256];
        LOAD_BLOCK(b, src, i);
        hd_codes_q6_k(&b, code);
        float d = hd_f16_f32(b.d);
        for (int j = 0; j < 256; j++)
            dst[256 * i + j] = (d * (float)b.scales[j / 16]) * (float)code[j];
    }
}

void hd_ref_decode_iq4_xs(const void *src, float *dst, int64_t n)
{
    for (int64_t i = 0; i < n / 256; i++) {
        hd_block_iq4_xs b;
        int8_t sc[8];
        LOAD_BLOCK(b, src, i);
        hd_iq4xs_scales(&b, sc);
        float d = hd_f16_f32(b.d);
        for (int k = 0; k < 8; k++) {
            int8_t code[32];
            hd_codes_iq4(b.qs + 16 * k, hd_iq4_levels, code);
            float dl = d * (float)sc[k];
            for (int j = 0; j < 32; j++)
                dst[256 * i + 32 * k + j] = dl * (float)code[j];
        }
    }
}

// ---- activations ---------------------------------------------------------------------------

// Quantizes n elements to q and returns d. The clamp matters only where max|x| / 127 is a
// subnormal number, rounded so coarsely that x / d may pass 127.
static float quant_block(const float *x, int n, int8_t *q)
{
    uint32_t top = 0; // magnitudes as integers: they order like the floats, NaN above all
    for (int i = 0; i < n; i++) {
        uint32_t u = hd_f32_bits(x[i]) & 0x7fffffffu;
        if (u > top) top = u;
    }
    bool finite = top < 0x7f800000u;
    float d = finite ? hd_f32_from_bits(top) / 127.0f : NAN;
    for (int i = 0; i < n; i++) {
        if (!finite || d == 0) {
            q[i] = 0;
            continue;
        }
        float t = x[i] / d;
        t = t > 127.0f ? 127.0f : t < -127.0f ? -127.0f : t;
        q[i] = (int8_t)lrintf(t);
    }
    return d;
}

void hd_ref_quant_q8_32(void *restrict dst, const float *restrict x, int n)
{
    hd_act_q8_32 *b = dst;
    for (int i = 0; i < n / 32; i++) {
        b[i].d = quant_block(x + 32 * i, 32, b[i].q);
        b[i].sum = 0;
        for (int j = 0; j < 32; j++)
            b[i].sum += b[i].q[j];
    }
}

void hd_ref_quant_q8_256(void *restrict dst, const float *restrict x, int n)
{
    hd_act_q8_256 *b = dst;
    for (int i = 0; i < n / 256; i++) {
        b[i].d = quant_block(x + 256 * i, 256, b[i].q);
        for (int k = 0; k < 16; k++) {
            int sum = 0;
            for (int j = 0; j < 16; j++)
                sum += b[i].q[16 * k + j];
            b[i].bsum[k] = (int16_t)sum;
        }
    }
}
