// The traits table, lookups, and the scalar conversions with their exact rounding.
//
// Conversions to fewer bits round to nearest, ties to even, in integer arithmetic or by adding a
// power of two whose unit in the last place is the wanted step; they agree bit for bit with the
// processors' own instructions (F16C), quiet NaNs included.
#include "kernels/dtype.h"

#include "kernels/cpu/ref/quant.h"

#include <assert.h>
#include <string.h>

// ---- layout of blocks ----------------------------------------------------------------------

#define SIZED(type, bytes)     static_assert(sizeof(type) == (bytes), #type " has padding")
#define AT(type, member, byte) static_assert(offsetof(type, member) == (byte), #type "." #member)

SIZED(hd_f16, 2);
SIZED(hd_bf16, 2);
SIZED(hd_block_q4_0, 2 + 16);
AT(hd_block_q4_0, d, 0);
AT(hd_block_q4_0, qs, 2);
SIZED(hd_block_q4_1, 2 + 2 + 16);
AT(hd_block_q4_1, d, 0);
AT(hd_block_q4_1, m, 2);
AT(hd_block_q4_1, qs, 4);
SIZED(hd_block_q5_0, 2 + 4 + 16);
AT(hd_block_q5_0, d, 0);
AT(hd_block_q5_0, qh, 2);
AT(hd_block_q5_0, qs, 6);
SIZED(hd_block_q5_1, 2 + 2 + 4 + 16);
AT(hd_block_q5_1, d, 0);
AT(hd_block_q5_1, m, 2);
AT(hd_block_q5_1, qh, 4);
AT(hd_block_q5_1, qs, 8);
SIZED(hd_block_q8_0, 2 + 32);
AT(hd_block_q8_0, d, 0);
AT(hd_block_q8_0, qs, 2);
SIZED(hd_block_q2_k, 16 + 64 + 2 + 2);
AT(hd_block_q2_k, scales, 0);
AT(hd_block_q2_k, qs, 16);
AT(hd_block_q2_k, d, 80);
AT(hd_block_q2_k, dmin, 82);
SIZED(hd_block_q3_k, 32 + 64 + 12 + 2);
AT(hd_block_q3_k, hmask, 0);
AT(hd_block_q3_k, qs, 32);
AT(hd_block_q3_k, scales, 96);
AT(hd_block_q3_k, d, 108);
SIZED(hd_block_q4_k, 2 + 2 + 12 + 128);
AT(hd_block_q4_k, d, 0);
AT(hd_block_q4_k, dmin, 2);
AT(hd_block_q4_k, scales, 4);
AT(hd_block_q4_k, qs, 16);
SIZED(hd_block_q5_k, 2 + 2 + 12 + 32 + 128);
AT(hd_block_q5_k, d, 0);
AT(hd_block_q5_k, dmin, 2);
AT(hd_block_q5_k, scales, 4);
AT(hd_block_q5_k, qh, 16);
AT(hd_block_q5_k, qs, 48);
SIZED(hd_block_q6_k, 128 + 64 + 16 + 2);
AT(hd_block_q6_k, ql, 0);
AT(hd_block_q6_k, qh, 128);
AT(hd_block_q6_k, scales, 192);
AT(hd_block_q6_k, d, 208);
SIZED(hd_block_iq4_nl, 2 + 16);
AT(hd_block_iq4_nl, d, 0);
AT(hd_block_iq4_nl, qs, 2);
SIZED(hd_block_iq4_xs, 2 + 2 + 4 + 128);
AT(hd_block_iq4_xs, d, 0);
AT(hd_block_iq4_xs, scales_h, 2);
AT(hd_block_iq4_xs, scales_l, 4);
AT(hd_block_iq4_xs, qs, 8);
SIZED(hd_block_mxfp4, 1 + 16);
AT(hd_block_mxfp4, e, 0);
AT(hd_block_mxfp4, qs, 1);
SIZED(hd_block_f8_b128, 4 + 128);
AT(hd_block_f8_b128, d, 0);
AT(hd_block_f8_b128, q, 4);

const int8_t hd_iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
const int8_t hd_mxfp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// ---- traits --------------------------------------------------------------------------------

enum { INTEGER = 0, FLOAT = 1, WEIGHT = 3 };

#define ROW(name, st, id, elems, bytes, kind, to, from)                                            \
    {                                                                                              \
        name, st, id, elems, bytes, ((kind)&1) != 0, ((kind)&2) != 0, to, from                     \
    }

// clang-format off
static const hd_dtype_traits traits[HD_DTYPE_COUNT] = {
    [HD_F32]     = ROW("f32", "F32", 0, 1, 4, WEIGHT, hd_ref_decode_f32, hd_ref_encode_f32),
    [HD_F16]     = ROW("f16", "F16", 1, 1, 2, WEIGHT, hd_ref_decode_f16, hd_ref_encode_f16),
    [HD_BF16]    = ROW("bf16", "BF16", 30, 1, 2, WEIGHT, hd_ref_decode_bf16, hd_ref_encode_bf16),
    [HD_F64]     = ROW("f64", "F64", 28, 1, 8, FLOAT, hd_ref_decode_f64, NULL),
    [HD_F8_E4M3] = ROW("f8_e4m3", "F8_E4M3", -1, 1, 1, WEIGHT, hd_ref_decode_e4m3,
                       hd_ref_encode_e4m3),
    [HD_F8_E5M2] = ROW("f8_e5m2", "F8_E5M2", -1, 1, 1, FLOAT, hd_ref_decode_e5m2, NULL),
    [HD_F8_E8M0] = ROW("f8_e8m0", "F8_E8M0", -1, 1, 1, FLOAT, hd_ref_decode_e8m0, NULL),
    [HD_I8]      = ROW("i8", "I8", 24, 1, 1, INTEGER, NULL, NULL),
    [HD_U8]      = ROW("u8", "U8", -1, 1, 1, INTEGER, NULL, NULL),
    [HD_I16]     = ROW("i16", "I16", 25, 1, 2, INTEGER, NULL, NULL),
    [HD_U16]     = ROW("u16", "U16", -1, 1, 2, INTEGER, NULL, NULL),
    [HD_I32]     = ROW("i32", "I32", 26, 1, 4, INTEGER, NULL, NULL),
    [HD_U32]     = ROW("u32", "U32", -1, 1, 4, INTEGER, NULL, NULL),
    [HD_I64]     = ROW("i64", "I64", 27, 1, 8, INTEGER, NULL, NULL),
    [HD_U64]     = ROW("u64", "U64", -1, 1, 8, INTEGER, NULL, NULL),
    [HD_BOOL]    = ROW("bool", "BOOL", -1, 1, 1, INTEGER, NULL, NULL),
    [HD_Q4_0]    = ROW("q4_0", NULL, 2, 32, 18, WEIGHT, hd_ref_decode_q4_0, hd_ref_encode_q4_0),
    [HD_Q4_1]    = ROW("q4_1", NULL, 3, 32, 20, WEIGHT, hd_ref_decode_q4_1, hd_ref_encode_q4_1),
    [HD_Q5_0]    = ROW("q5_0", NULL, 6, 32, 22, WEIGHT, hd_ref_decode_q5_0, NULL),
    [HD_Q5_1]    = ROW("q5_1", NULL, 7, 32, 24, WEIGHT, hd_ref_decode_q5_1, NULL),
    [HD_Q8_0]    = ROW("q8_0", NULL, 8, 32, 34, WEIGHT, hd_ref_decode_q8_0, hd_ref_encode_q8_0),
    [HD_Q2_K]    = ROW("q2_k", NULL, 10, 256, 84, WEIGHT, hd_ref_decode_q2_k, NULL),
    [HD_Q3_K]    = ROW("q3_k", NULL, 11, 256, 110, WEIGHT, hd_ref_decode_q3_k, NULL),
    [HD_Q4_K]    = ROW("q4_k", NULL, 12, 256, 144, WEIGHT, hd_ref_decode_q4_k, hd_ref_encode_q4_k),
    [HD_Q5_K]    = ROW("q5_k", NULL, 13, 256, 176, WEIGHT, hd_ref_decode_q5_k, NULL),
    [HD_Q6_K]    = ROW("q6_k", NULL, 14, 256, 210, WEIGHT, hd_ref_decode_q6_k, hd_ref_encode_q6_k),
    [HD_IQ4_NL]  = ROW("iq4_nl", NULL, 20, 32, 18, WEIGHT, hd_ref_decode_iq4_nl, NULL),
    [HD_IQ4_XS]  = ROW("iq4_xs", NULL, 23, 256, 136, WEIGHT, hd_ref_decode_iq4_xs, NULL),
    [HD_MXFP4]   = ROW("mxfp4", NULL, 39, 32, 17, WEIGHT, hd_ref_decode_mxfp4, NULL),
    [HD_F8_B128] = ROW("f8_b128", NULL, -1, 128, 132, WEIGHT, hd_ref_decode_f8_b128,
                       hd_ref_encode_f8_b128),
};
// clang-format on
static_assert(HD_F8_B128 + 1 == HD_DTYPE_COUNT, "a new format needs its row in traits");

const hd_dtype_traits *hd_dtype_get(hd_dtype t)
{
    HD_ASSERT((unsigned)t < HD_DTYPE_COUNT);
    return &traits[t];
}

const char *hd_dtype_name(hd_dtype t)
{
    return (unsigned)t < HD_DTYPE_COUNT ? traits[t].name : "none";
}

hd_dtype hd_dtype_by_name(const char *name)
{
    for (int t = 0; t < HD_DTYPE_COUNT; t++)
        if (strcmp(traits[t].name, name) == 0) return (hd_dtype)t;
    return HD_DTYPE_NONE;
}

hd_dtype hd_dtype_by_safetensors(const char *name, size_t n)
{
    for (int t = 0; t < HD_DTYPE_COUNT; t++) {
        const char *st = traits[t].st;
        if (st && strlen(st) == n && memcmp(st, name, n) == 0) return (hd_dtype)t;
    }
    return HD_DTYPE_NONE;
}

hd_dtype hd_dtype_by_ggml(uint32_t id)
{
    for (int t = 0; t < HD_DTYPE_COUNT; t++)
        if (traits[t].ggml_id >= 0 && (uint32_t)traits[t].ggml_id == id) return (hd_dtype)t;
    return HD_DTYPE_NONE;
}

bool hd_dtype_bytes(hd_dtype t, uint64_t n, uint64_t *bytes)
{
    if ((unsigned)t >= HD_DTYPE_COUNT) return false;
    uint64_t block = (uint64_t)traits[t].block, b;
    if (n % block != 0) return false;
    if (__builtin_mul_overflow(n / block, (uint64_t)traits[t].block_bytes, &b)) return false;
    *bytes = b;
    return true;
}

// ---- scalar conversions --------------------------------------------------------------------

hd_bf16 hd_f32_bf16(float f)
{
    uint32_t u = hd_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (hd_bf16){(uint16_t)(u >> 16 | 0x40)};
    u += 0x7fffu + ((u >> 16) & 1);
    return (hd_bf16){(uint16_t)(u >> 16)};
}

float hd_f16_f32(hd_f16 h)
{
    uint32_t sign = (uint32_t)(h.bits & 0x8000) << 16;
    uint32_t exp = (h.bits >> 10) & 31, man = h.bits & 0x3ff;
    if (exp == 31) return hd_f32_from_bits(sign | 0x7f800000u | man << 13 | (man ? 0x400000u : 0));
    if (exp == 0) return hd_f32_from_bits(sign | hd_f32_bits((float)man * 0x1p-24f));
    return hd_f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

hd_f16 hd_f32_f16(float f)
{
    uint32_t u = hd_f32_bits(f), sign = (u >> 16) & 0x8000, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (hd_f16){(uint16_t)(sign | 0x7e00 | ((a >> 13) & 0x1ff))};
    if (a >= 0x477ff000u) return (hd_f16){(uint16_t)(sign | 0x7c00)}; // 65520 rounds to infinity
    if (a < 0x38800000u) { // below 2^-14: steps of 2^-24, the last place of 0.5
        uint32_t steps = hd_f32_bits(hd_f32_from_bits(a) + 0.5f) - 0x3f000000u;
        return (hd_f16){(uint16_t)(sign | steps)};
    }
    a += 0xfffu + ((a >> 13) & 1);
    return (hd_f16){(uint16_t)(sign | (a - 0x38000000u) >> 13)};
}

float hd_e4m3_f32(uint8_t b)
{
    uint32_t sign = (uint32_t)(b & 0x80) << 24, exp = (b >> 3) & 15, man = b & 7;
    if ((b & 0x7f) == 0x7f) return hd_f32_from_bits(sign | 0x7fc00000u);
    if (exp == 0) return hd_f32_from_bits(sign | hd_f32_bits((float)man * 0x1p-9f));
    return hd_f32_from_bits(sign | (exp + 120) << 23 | man << 20);
}

uint8_t hd_f32_e4m3(float f)
{
    uint32_t u = hd_f32_bits(f), sign = (u >> 24) & 0x80, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return 0x7f;
    if (a >= 0x43e00000u) return (uint8_t)(sign | 0x7e); // 448 and above
    if (a < 0x3c800000u) { // below 2^-6: steps of 2^-9, the last place of 2^14
        uint32_t steps = hd_f32_bits(hd_f32_from_bits(a) + 0x1p14f) - 0x46800000u;
        return (uint8_t)(sign | steps);
    }
    a += 0x7ffffu + ((a >> 20) & 1);
    return (uint8_t)(sign | (a - (120u << 23)) >> 20);
}

float hd_e5m2_f32(uint8_t b)
{
    return hd_f16_f32((hd_f16){(uint16_t)(b << 8)}); // the upper byte of a half
}

float hd_e8m0_f32(uint8_t b)
{
    if (b == 0xff) return hd_f32_from_bits(0x7fc00000u);
    return hd_f32_from_bits(b == 0 ? 0x00400000u : (uint32_t)b << 23);
}
