// Number formats against a second implementation of the published formulas, written the other way
// round: from an element's index to its bits and value, on raw bytes, without the block structs.
#include "kernels/base/rng.h"
#include "kernels/cpu/fns.h"
#include "kernels/cpu/ref/quant.h"
#include "kernels/dtype.h"
#include "tests/harness/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// ---- helpers -------------------------------------------------------------------------------

// Bits first..first+n-1 of a little-endian bit string.
static unsigned bits_at(const uint8_t *p, unsigned first, unsigned n)
{
    unsigned v = 0;
    for (unsigned k = 0; k < n; k++)
        v |= (unsigned)((p[(first + k) / 8] >> ((first + k) % 8)) & 1) << k;
    return v;
}

// A sign, exponent, mantissa format evaluated in double: exact for everything up to 32 bits.
static double minifloat(unsigned code, int exp_bits, int man_bits, int bias)
{
    int man = (int)(code & ((1u << man_bits) - 1));
    int exp = (int)((code >> man_bits) & ((1u << exp_bits) - 1));
    double sign = (code >> (man_bits + exp_bits)) & 1 ? -1 : 1;
    if (exp == 0) return sign * ldexp(man, 1 - bias - man_bits);
    return sign * ldexp(man + (1 << man_bits), exp - bias - man_bits);
}

static float half_at(const uint8_t *p)
{
    unsigned code = p[0] | (unsigned)p[1] << 8;
    if ((code & 0x7c00) == 0x7c00) {
        if (code & 0x3ff) return NAN;
        return code & 0x8000 ? -INFINITY : INFINITY;
    }
    return (float)minifloat(code, 5, 10, 15);
}

// Equal bits; any NaN equals any NaN, because which operand's payload survives is not specified.
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || hd_f32_bits(a) == hd_f32_bits(b);
}

// ---- element i of the block at p -------------------------------------------------------------

static float slow_q4_0(const uint8_t *p, int i)
{
    return half_at(p) * (float)((int)bits_at(p + 2, (unsigned)(i % 16 * 8 + i / 16 * 4), 4) - 8);
}

static float slow_q4_1(const uint8_t *p, int i)
{
    float scaled = half_at(p) * (float)bits_at(p + 4, (unsigned)(i % 16 * 8 + i / 16 * 4), 4);
    return scaled + half_at(p + 2);
}

static float slow_q5_0(const uint8_t *p, int i)
{
    int q = (int)bits_at(p + 6, (unsigned)(i % 16 * 8 + i / 16 * 4), 4);
    q += 16 * (int)bits_at(p + 2, (unsigned)i, 1);
    return half_at(p) * (float)(q - 16);
}

static float slow_q5_1(const uint8_t *p, int i)
{
    int q = (int)bits_at(p + 8, (unsigned)(i % 16 * 8 + i / 16 * 4), 4);
    q += 16 * (int)bits_at(p + 4, (unsigned)i, 1);
    float scaled = half_at(p) * (float)q;
    return scaled + half_at(p + 2);
}

static int signed8(uint8_t b)
{
    return b < 128 ? b : b - 256;
}

static float slow_q8_0(const uint8_t *p, int i)
{
    return half_at(p) * (float)signed8(p[2 + i]);
}

// Two-bit code of element i = 128 n + 32 s + 16 h + l: bits 2s, 2s + 1 of byte 32 n + 16 h + l.
static int two_bit(const uint8_t *qs, int i)
{
    int n = i / 128, s = i % 128 / 32, byte = 32 * n + i % 32;
    return (int)bits_at(qs, (unsigned)(8 * byte + 2 * s), 2);
}

static float slow_q2_k(const uint8_t *p, int i)
{
    float d = half_at(p + 80), dmin = half_at(p + 82);
    int sc = p[i / 16];
    float scale = d * (float)(sc % 16), offset = dmin * (float)(sc / 16);
    float scaled = scale * (float)two_bit(p + 16, i);
    return scaled - offset;
}

static float slow_q3_k(const uint8_t *p, int i)
{
    const uint8_t *scales = p + 96;
    unsigned k = (unsigned)i / 16;
    unsigned low = bits_at(scales, k < 8 ? 8 * k : 8 * (k - 8) + 4, 4);
    unsigned high = bits_at(scales + 8, 8 * (k % 4) + 2 * (k / 4), 2);
    float scale = half_at(p + 108) * (float)((int)(low + 16 * high) - 32);
    int q = two_bit(p + 32, i);
    if (bits_at(p, (unsigned)(8 * (i % 32) + i / 32), 1) == 0) q -= 4;
    return scale * (float)q;
}

static unsigned six_bit_scale(const uint8_t *b, unsigned j, bool want_min)
{
    if (j < 4) return bits_at(b, 8 * (want_min ? j + 4 : j), 6);
    unsigned low = bits_at(b, 8 * (j + 4) + (want_min ? 4 : 0), 4);
    return low + 16 * bits_at(b, 8 * (want_min ? j : j - 4) + 6, 2);
}

static float scale_min(const uint8_t *p, int i, unsigned q)
{
    unsigned j = (unsigned)i / 32;
    float scale = half_at(p) * (float)six_bit_scale(p + 4, j, false);
    float offset = half_at(p + 2) * (float)six_bit_scale(p + 4, j, true);
    float scaled = scale * (float)q;
    return scaled - offset;
}

static unsigned k_nibble(const uint8_t *qs, int i)
{
    int pair = i / 64, second = i % 64 / 32, l = i % 32;
    return bits_at(qs, (unsigned)(8 * (32 * pair + l) + 4 * second), 4);
}

static float slow_q4_k(const uint8_t *p, int i)
{
    return scale_min(p, i, k_nibble(p + 16, i));
}

static float slow_q5_k(const uint8_t *p, int i)
{
    unsigned fifth = bits_at(p + 16, (unsigned)(8 * (i % 32) + i / 32), 1);
    return scale_min(p, i, k_nibble(p + 48, i) + 16 * fifth);
}

static float slow_q6_k(const uint8_t *p, int i)
{
    int n = i / 128, t = i % 128 / 32, l = i % 32;
    unsigned low = bits_at(p + 64 * n, (unsigned)(8 * (l + 32 * (t % 2)) + 4 * (t / 2)), 4);
    unsigned high = bits_at(p + 128 + 32 * n, (unsigned)(8 * l + 2 * t), 2);
    float scale = half_at(p + 208) * (float)signed8(p[192 + 8 * n + l / 16 + 2 * t]);
    return scale * (float)((int)(low + 16 * high) - 32);
}

static int iq4_level(unsigned code)
{
    static const int k[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
    return k[code];
}

static float slow_iq4_nl(const uint8_t *p, int i)
{
    unsigned code = bits_at(p + 2, (unsigned)(i % 16 * 8 + i / 16 * 4), 4);
    return half_at(p) * (float)iq4_level(code);
}

static float slow_iq4_xs(const uint8_t *p, int i)
{
    unsigned b = (unsigned)i / 32, j = (unsigned)i % 32;
    unsigned ls = bits_at(p + 4, 4 * b, 4) + 16 * bits_at(p + 2, 2 * b, 2);
    float scale = half_at(p) * (float)((int)ls - 32);
    unsigned code = bits_at(p + 8 + 16 * b, j % 16 * 8 + j / 16 * 4, 4);
    return scale * (float)iq4_level(code);
}

static float slow_mxfp4(const uint8_t *p, int i)
{
    unsigned code = bits_at(p + 1, (unsigned)(i % 16 * 8 + i / 16 * 4), 4);
    double e2m1 = minifloat(code, 2, 1, 1);
    if (code == 8) e2m1 = 0; // the table has no negative zero
    return (float)ldexp(e2m1, (int)p[0] - 127);
}

static float slow_f8_b128(const uint8_t *p, int i)
{
    float value = p[4 + i] % 128 == 127 ? NAN : (float)minifloat(p[4 + i], 4, 3, 7);
    return hd_f32_from_bits(bits_at(p, 0, 32)) * value;
}

static float slow_f32(const uint8_t *p, int i)
{
    (void)i;
    return hd_f32_from_bits(bits_at(p, 0, 32));
}
static float slow_f16(const uint8_t *p, int i)
{
    (void)i;
    return half_at(p);
}
static float slow_bf16(const uint8_t *p, int i)
{
    (void)i;
    return hd_f32_from_bits(bits_at(p, 0, 16) * 65536u);
}
static float slow_e4m3(const uint8_t *p, int i)
{
    (void)i;
    return *p % 128 == 127 ? NAN : (float)minifloat(*p, 4, 3, 7);
}
static float slow_e5m2(const uint8_t *p, int i)
{
    (void)i;
    if (*p % 128 == 124) return *p < 128 ? INFINITY : -INFINITY;
    return *p % 128 > 124 ? NAN : (float)minifloat(*p, 5, 2, 15);
}
static float slow_e8m0(const uint8_t *p, int i)
{
    (void)i;
    return *p == 255 ? NAN : (float)ldexp(1, (int)*p - 127);
}
static float slow_f64(const uint8_t *p, int i)
{
    (void)i;
    double x;
    memcpy(&x, p, 8);
    return (float)x;
}

typedef float slow_fn(const uint8_t *block, int i);
static slow_fn *const slow[HD_DTYPE_COUNT] = {
    [HD_F32] = slow_f32,       [HD_F16] = slow_f16,      [HD_BF16] = slow_bf16,
    [HD_F64] = slow_f64,       [HD_F8_E4M3] = slow_e4m3, [HD_F8_E5M2] = slow_e5m2,
    [HD_F8_E8M0] = slow_e8m0,  [HD_Q4_0] = slow_q4_0,    [HD_Q4_1] = slow_q4_1,
    [HD_Q5_0] = slow_q5_0,     [HD_Q5_1] = slow_q5_1,    [HD_Q8_0] = slow_q8_0,
    [HD_Q2_K] = slow_q2_k,     [HD_Q3_K] = slow_q3_k,    [HD_Q4_K] = slow_q4_k,
    [HD_Q5_K] = slow_q5_k,     [HD_Q6_K] = slow_q6_k,    [HD_IQ4_NL] = slow_iq4_nl,
    [HD_IQ4_XS] = slow_iq4_xs, [HD_MXFP4] = slow_mxfp4,  [HD_F8_B128] = slow_f8_b128,
};

// ---- traits --------------------------------------------------------------------------------

static void traits(void)
{
    for (int t = 0; t < HD_DTYPE_COUNT; t++) {
        const hd_dtype_traits *r = hd_dtype_get((hd_dtype)t);
        EXPECT(r->name && r->block >= 1 && r->block_bytes >= 1);
        EXPECT_INT(hd_dtype_by_name(r->name), t);
        EXPECT_STR(hd_dtype_name((hd_dtype)t), r->name);
        if (r->st) EXPECT_INT(hd_dtype_by_safetensors(r->st, strlen(r->st)), t);
        if (r->ggml_id >= 0) EXPECT_INT(hd_dtype_by_ggml((uint32_t)r->ggml_id), t);
        EXPECT(r->is_float == (r->to_f32 != NULL));
        EXPECT(r->is_float == (slow[t] != NULL));
        EXPECT(!r->is_weight || r->is_float);
        uint64_t bytes = 7;
        EXPECT(hd_dtype_bytes((hd_dtype)t, (uint64_t)r->block * 3, &bytes));
        EXPECT_INT(bytes, r->block_bytes * 3);
        EXPECT_INT(hd_row_bytes((hd_dtype)t, r->block * 3), r->block_bytes * 3);
    }
    EXPECT_STR(hd_dtype_name(HD_DTYPE_NONE), "none");
    EXPECT_INT(hd_dtype_by_name("q4_K"), HD_DTYPE_NONE);
    EXPECT_INT(hd_dtype_by_safetensors("F32", 2), HD_DTYPE_NONE);
    EXPECT_INT(hd_dtype_by_safetensors("F8_E4M3FN", 9), HD_DTYPE_NONE);
    EXPECT_INT(hd_dtype_by_ggml(4), HD_DTYPE_NONE);
    EXPECT_INT(hd_dtype_by_ggml(0xffffffffu), HD_DTYPE_NONE);
}

static void byte_counts(void)
{
    uint64_t bytes = 7;
    EXPECT(!hd_dtype_bytes(HD_Q4_0, 33, &bytes));
    EXPECT(!hd_dtype_bytes(HD_Q6_K, 128, &bytes));
    EXPECT(!hd_dtype_bytes(HD_F32, UINT64_MAX / 4 + 1, &bytes));
    EXPECT(!hd_dtype_bytes(HD_DTYPE_NONE, 1, &bytes));
    EXPECT(!hd_dtype_bytes(HD_DTYPE_COUNT, 1, &bytes));
    EXPECT_INT(bytes, 7);
    EXPECT(hd_dtype_bytes(HD_F32, UINT64_MAX / 4, &bytes) && bytes == UINT64_MAX - 3);
    EXPECT(hd_dtype_bytes(HD_Q4_0, 0, &bytes) && bytes == 0);
}

static void ggml_ids(void)
{
    static const struct {
        hd_dtype t;
        uint32_t id;
    } want[] = {{HD_F32, 0},   {HD_F16, 1},   {HD_Q4_0, 2},    {HD_Q4_1, 3},    {HD_Q5_0, 6},
                {HD_Q5_1, 7},  {HD_Q8_0, 8},  {HD_Q2_K, 10},   {HD_Q3_K, 11},   {HD_Q4_K, 12},
                {HD_Q5_K, 13}, {HD_Q6_K, 14}, {HD_IQ4_NL, 20}, {HD_IQ4_XS, 23}, {HD_I8, 24},
                {HD_I16, 25},  {HD_I32, 26},  {HD_I64, 27},    {HD_F64, 28},    {HD_BF16, 30},
                {HD_MXFP4, 39}};
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        EXPECT_INT(hd_dtype_by_ggml(want[i].id), want[i].t);
}

// ---- decoders ------------------------------------------------------------------------------

// Random blocks at an odd address; their scales, being random bits too, include NaN, infinities,
// zeros and subnormals.
static void check_decoder(hd_dtype t, hd_rng *rng)
{
    enum { BLOCKS = 600 };
    const hd_dtype_traits *r = hd_dtype_get(t);
    size_t bytes = (size_t)r->block_bytes * BLOCKS;
    uint8_t *raw = malloc(bytes + 1), *src = raw + 1;
    float *out = malloc(sizeof(float) * (size_t)r->block * BLOCKS);
    EXPECT(raw && out);
    for (size_t i = 0; i < bytes; i++)
        src[i] = (uint8_t)hd_rng_u64(rng);
    r->to_f32(src, out, (int64_t)r->block * BLOCKS);
    for (int b = 0; b < BLOCKS; b++)
        for (int i = 0; i < r->block; i++) {
            float want = slow[t](src + (size_t)b * (size_t)r->block_bytes, i);
            float got = out[b * r->block + i];
            if (!same(got, want))
                hd_test_fail(__FILE__, __LINE__, "%s block %d element %d: got %a, want %a", r->name,
                             b, i, (double)got, (double)want);
        }
    free(out);
    free(raw);
}

static void decoders(void)
{
    hd_rng rng;
    hd_rng_seed(&rng, 20250711);
    for (int t = 0; t < HD_DTYPE_COUNT; t++)
        if (slow[t]) check_decoder((hd_dtype)t, &rng);
}

static void special_scales(void)
{
    static const uint16_t halves[] = {0,      0x8000, 1,      0x03ff, 0x0400, 0x7bff,
                                      0xfbff, 0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff};
    uint8_t block[256];
    float out[256];
    for (int t = 0; t < HD_DTYPE_COUNT; t++) {
        const hd_dtype_traits *r = hd_dtype_get((hd_dtype)t);
        if (r->block == 1 || t == HD_MXFP4 || t == HD_F8_B128) continue; // no half in them
        bool at_end = t == HD_Q2_K || t == HD_Q3_K || t == HD_Q6_K;
        for (size_t k = 0; k < sizeof(halves) / sizeof(halves[0]); k++) {
            for (int i = 0; i < r->block_bytes; i++)
                block[i] = (uint8_t)(i * 37 + t);
            memcpy(block + (at_end ? r->block_bytes - (t == HD_Q2_K ? 4 : 2) : 0), &halves[k], 2);
            r->to_f32(block, out, r->block);
            for (int i = 0; i < r->block; i++)
                EXPECT(same(out[i], slow[t](block, i)));
        }
    }
}

// ---- scalars -------------------------------------------------------------------------------

static void half_round_trip(void)
{
    for (unsigned c = 0; c < 65536; c++) {
        hd_f16 h = {(uint16_t)c};
        uint8_t raw[2] = {(uint8_t)c, (uint8_t)(c >> 8)};
        float f = hd_f16_f32(h);
        EXPECT(same(f, half_at(raw)));
        unsigned quiet = (c & 0x7c00) == 0x7c00 && (c & 0x3ff) ? c | 0x200 : c;
        EXPECT_INT(hd_f32_f16(f).bits, quiet);
    }
}

static void bf16_round_trip(void)
{
    for (unsigned c = 0; c < 65536; c++) {
        hd_bf16 h = {(uint16_t)c};
        float f = hd_bf16_f32(h);
        EXPECT_INT(hd_f32_bits(f), c << 16);
        unsigned quiet = (c & 0x7f80) == 0x7f80 && (c & 0x7f) ? c | 0x40 : c;
        EXPECT_INT(hd_f32_bf16(f).bits, quiet);
    }
}

// Between neighbours a < b of a format: below, at and above the midpoint, which a float holds.
static void check_midpoints(float a, float b, unsigned code_a, unsigned code_b,
                            unsigned (*encode)(float))
{
    float mid = (float)(((double)a + (double)b) / 2);
    unsigned even = code_a % 2 == 0 ? code_a : code_b;
    EXPECT_INT(encode(mid), even);
    EXPECT_INT(encode(nextafterf(mid, -INFINITY)), code_a);
    EXPECT_INT(encode(nextafterf(mid, INFINITY)), code_b);
    EXPECT_INT(encode(-mid), even); // the encoders below drop the sign
}

static unsigned enc_half(float f)
{
    return hd_f32_f16(f).bits & 0x7fffu;
}
static unsigned enc_bf16(float f)
{
    return hd_f32_bf16(f).bits & 0x7fffu;
}
static unsigned enc_e4m3(float f)
{
    return hd_f32_e4m3(f) & 0x7fu;
}

static void half_rounding(void)
{
    for (unsigned c = 0; c < 0x7bff; c++)
        check_midpoints(hd_f16_f32((hd_f16){(uint16_t)c}), hd_f16_f32((hd_f16){(uint16_t)(c + 1)}),
                        c, c + 1, enc_half);
    EXPECT_INT(hd_f32_f16(65519.996f).bits, 0x7bff);
    EXPECT_INT(hd_f32_f16(65520.0f).bits, 0x7c00);
    EXPECT_INT(hd_f32_f16(-1e30f).bits, 0xfc00);
    EXPECT_INT(hd_f32_f16(0x1p-25f).bits, 0);
    EXPECT_INT(hd_f32_f16(-0x1.000002p-25f).bits, 0x8001);
    EXPECT_INT(hd_f32_f16(FLT_TRUE_MIN).bits, 0);
}

static void bf16_rounding(void)
{
    for (unsigned c = 0; c < 0x7f7f; c++)
        check_midpoints(hd_bf16_f32((hd_bf16){(uint16_t)c}),
                        hd_bf16_f32((hd_bf16){(uint16_t)(c + 1)}), c, c + 1, enc_bf16);
    EXPECT_INT(hd_f32_bf16(FLT_MAX).bits, 0x7f80);
    EXPECT_INT(hd_f32_bf16(-INFINITY).bits, 0xff80);
    EXPECT(hd_f32_bf16(hd_f32_from_bits(0x7f800001u)).bits > 0x7f80);
}

static void fp8(void)
{
    for (unsigned c = 0; c < 256; c++) {
        uint8_t b = (uint8_t)c;
        EXPECT(same(hd_e4m3_f32(b), slow_e4m3(&b, 0)));
        EXPECT(same(hd_e5m2_f32(b), slow_e5m2(&b, 0)));
        EXPECT(same(hd_e8m0_f32(b), slow_e8m0(&b, 0)));
        EXPECT_INT(hd_f32_e4m3(hd_e4m3_f32(b)), c == 0xff ? 0x7f : c);
    }
    for (unsigned c = 0; c < 0x7e; c++)
        check_midpoints(hd_e4m3_f32((uint8_t)c), hd_e4m3_f32((uint8_t)(c + 1)), c, c + 1, enc_e4m3);
    EXPECT_INT(hd_f32_e4m3(1e30f), 0x7e);
    EXPECT_INT(hd_f32_e4m3(-INFINITY), 0xfe);
    EXPECT_INT(hd_f32_e4m3(NAN), 0x7f);
    EXPECT_INT(hd_f32_e4m3(-0.0f), 0x80);
    EXPECT_INT(hd_f32_e4m3(-FLT_TRUE_MIN), 0x80);
}

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

// ---- an outside implementation ---------------------------------------------------------------

static uint32_t u32_at(const uint8_t *p)
{
    return bits_at(p, 0, 32);
}

// tests/golden/quants.bin, written by tests/tools/make_quant_golden.py: per record the GGUF type
// id, the number of elements, the number of encoded bytes, these bytes, the expected float bits.
static void golden(void)
{
    FILE *f = fopen("tests/golden/quants.bin", "rb");
    EXPECT(f);
    static uint8_t file[256 * 1024];
    size_t size = fread(file, 1, sizeof(file), f);
    fclose(f);
    EXPECT(size > 8 && size < sizeof(file) && memcmp(file, "HDQG0001", 8) == 0);
    int records = 0;
    for (size_t at = 8; at < size; records++) {
        EXPECT(size - at >= 12);
        hd_dtype t = hd_dtype_by_ggml(u32_at(file + at));
        uint32_t n = u32_at(file + at + 4), bytes = u32_at(file + at + 8);
        EXPECT(t != HD_DTYPE_NONE && n <= 8192 && size - at - 12 >= bytes + n * 4);
        EXPECT_INT(hd_row_bytes(t, n), bytes);
        float *out = malloc(n * sizeof(float));
        EXPECT(out);
        hd_dtype_get(t)->to_f32(file + at + 12, out, n);
        for (uint32_t i = 0; i < n; i++) {
            float want = hd_f32_from_bits(u32_at(file + at + 12 + bytes + 4 * i));
            if (!same(out[i], want))
                hd_test_fail(__FILE__, __LINE__, "%s element %u: got %a, want %a", hd_dtype_name(t),
                             i, (double)out[i], (double)want);
        }
        free(out);
        at += 12 + bytes + n * 4;
    }
    EXPECT_INT(records, 15);
}

HD_TEST_MAIN("dtype", {"traits", traits}, {"byte_counts", byte_counts}, {"ggml_ids", ggml_ids},
             {"decoders", decoders}, {"special_scales", special_scales},
             {"half_round_trip", half_round_trip}, {"bf16_round_trip", bf16_round_trip},
             {"half_rounding", half_rounding}, {"bf16_rounding", bf16_rounding}, {"fp8", fp8},
             {"encode_small_blocks", encode_small_blocks},
             {"encode_super_blocks", encode_super_blocks}, {"encode_f8_blocks", encode_f8_blocks},
             {"encode_edges", encode_edges}, {"encode_is_stable", encode_is_stable},
             {"activations", activations}, {"activation_edges", activation_edges},
             {"golden", golden})
