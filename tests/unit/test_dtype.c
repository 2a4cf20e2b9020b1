// Number formats against a second implementation of the published formulas, written the other way
// round: from an element's index to its bits and value, on raw bytes, without the block structs.
#include "kernels/base/rng.h"
#include "kernels/cpu/fns.h"
#include "kernels/cpu/ref/quant.h"
#include "kernels/dtype.h"
#include "tests/unit/dtype_kit.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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
             {"golden", golden})
