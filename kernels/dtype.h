// Scalar and block number formats: one traits row each.
//
// Block structs are the on-disk layouts of GGUF (little-endian); the formulas are in
// cpu/ref/quant.c next to the decoders. Scalars have a block of one element. Nothing here
// allocates; everything is immutable and may be used by any thread.
#ifndef HADAL_KERNELS_DTYPE_H
#define HADAL_KERNELS_DTYPE_H

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_dtype {
    HD_F32 = 0,
    HD_F16,
    HD_BF16,
    HD_F64,
    HD_F8_E4M3, // fn: no infinities, 0x7F and 0xFF are NaN, max 448
    HD_F8_E5M2,
    HD_F8_E8M0, // 2^(b-127), 0xFF is NaN
    HD_I8,
    HD_U8,
    HD_I16,
    HD_U16,
    HD_I32,
    HD_U32,
    HD_I64,
    HD_U64,
    HD_BOOL,
    HD_Q4_0,
    HD_Q4_1,
    HD_Q5_0,
    HD_Q5_1,
    HD_Q8_0,
    HD_Q2_K,
    HD_Q3_K,
    HD_Q4_K,
    HD_Q5_K,
    HD_Q6_K,
    HD_IQ4_NL,
    HD_IQ4_XS,
    HD_MXFP4,
    HD_F8_B128, // in memory only: E4M3 in blocks of 128 along a row, each with its scale
    HD_DTYPE_COUNT,
    HD_DTYPE_NONE = 0xff, // "keep what the file has", or "unknown"
} hd_dtype;

// One-member structs, so that storage formats cannot be added by accident.
typedef struct hd_f16 {
    uint16_t bits;
} hd_f16;
typedef struct hd_bf16 {
    uint16_t bits;
} hd_bf16;

enum { HD_QK = 32, HD_QK_K = 256 }; // elements of a block, of a super-block

typedef struct hd_block_q4_0 {
    hd_f16 d;
    uint8_t qs[16];
} hd_block_q4_0;
typedef struct hd_block_q4_1 {
    hd_f16 d, m;
    uint8_t qs[16];
} hd_block_q4_1;
typedef struct hd_block_q5_0 {
    hd_f16 d;
    uint8_t qh[4]; // bit j is the fifth bit of element j
    uint8_t qs[16];
} hd_block_q5_0;
typedef struct hd_block_q5_1 {
    hd_f16 d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} hd_block_q5_1;
typedef struct hd_block_q8_0 {
    hd_f16 d;
    int8_t qs[32];
} hd_block_q8_0;
typedef struct hd_block_q2_k {
    uint8_t scales[16];
    uint8_t qs[64];
    hd_f16 d, dmin;
} hd_block_q2_k;
typedef struct hd_block_q3_k {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    hd_f16 d;
} hd_block_q3_k;
typedef struct hd_block_q4_k {
    hd_f16 d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} hd_block_q4_k;
typedef struct hd_block_q5_k {
    hd_f16 d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} hd_block_q5_k;
typedef struct hd_block_q6_k {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    hd_f16 d;
} hd_block_q6_k;
typedef struct hd_block_iq4_nl {
    hd_f16 d;
    uint8_t qs[16];
} hd_block_iq4_nl;
typedef struct hd_block_iq4_xs {
    hd_f16 d;
    uint16_t scales_h;
    uint8_t scales_l[4];
    uint8_t qs[128];
} hd_block_iq4_xs;
typedef struct hd_block_mxfp4 {
    uint8_t e;
    uint8_t qs[16];
} hd_block_mxfp4;

// value = q * d. Whoever makes blocks keeps two promises, so that matrix kernels need not look: a
// block with a NaN code has d = NaN (a row with a NaN gives NaN anyway), and |d| is below 2^120
// unless it is infinite or NaN. Decoders do without.
typedef struct hd_block_f8_b128 {
    float d;
    uint8_t q[128];
} hd_block_f8_b128;
#define HD_F8_B128_MAX_D 0x1p120f

// The 16 levels of IQ4_NL / IQ4_XS, and MXFP4's doubled E2M1 values.
extern const int8_t hd_iq4_levels[16];
extern const int8_t hd_mxfp4_levels[16];

// ---- traits --------------------------------------------------------------------------------

typedef struct hd_dtype_traits {
    const char *name; // "q4_k": the spelling of options and messages
    const char *st;   // safetensors name or NULL
    int32_t ggml_id;  // GGUF type id or -1
    int32_t block;    // elements per block
    int32_t block_bytes;
    bool is_float;  // decodes to real numbers (everything but the integer types)
    bool is_weight; // the CPU backend can multiply by it
    // n is a multiple of block. Sources may be unaligned. Never NULL for is_float.
    void (*to_f32)(const void *src, float *dst, int64_t n);
    // Nearest code for every element; NULL where we do not write the format.
    void (*from_f32)(const float *src, void *dst, int64_t n);
} hd_dtype_traits;

const hd_dtype_traits *hd_dtype_get(hd_dtype t); // t < HD_DTYPE_COUNT
const char *hd_dtype_name(hd_dtype t);           // also for NONE ("none")
hd_dtype hd_dtype_by_name(const char *name);     // HD_DTYPE_NONE when unknown
hd_dtype hd_dtype_by_safetensors(const char *name, size_t n);
hd_dtype hd_dtype_by_ggml(uint32_t id);

// Bytes of n elements; false when n is not a multiple of the block or the product overflows.
bool hd_dtype_bytes(hd_dtype t, uint64_t n, uint64_t *bytes);
static inline size_t hd_row_bytes(hd_dtype t, int64_t cols) // cols known to fit
{
    const hd_dtype_traits *r = hd_dtype_get(t);
    return (size_t)(cols / r->block) * (size_t)r->block_bytes;
}

// ---- scalar conversions --------------------------------------------------------------------

static inline float hd_f32_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t hd_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float hd_bf16_f32(hd_bf16 h)
{
    return hd_f32_from_bits((uint32_t)h.bits << 16);
}
hd_bf16 hd_f32_bf16(float f); // round to nearest even; NaN stays NaN
float hd_f16_f32(hd_f16 h);
hd_f16 hd_f32_f16(float f);
float hd_e4m3_f32(uint8_t b);
uint8_t hd_f32_e4m3(float f); // clamped to +-448, nearest even; NaN gives 0x7F
float hd_e5m2_f32(uint8_t b);
float hd_e8m0_f32(uint8_t b);

#ifdef __cplusplus
}
#endif

#endif
