// Decoders with NEON, bit for bit what ref/quant.c computes: the same operations in the same order,
// never fused.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/blocks.h"
#include "kernels/cpu/arm/fvec_neon.h"
#include "kernels/cpu/ref/quant.h"

// dst = d * (code - offset) for sixteen codes.
HD_INLINE void put16(float *dst, int8x16_t codes, int offset, float d)
{
    codes = vsubq_s8(codes, vdupq_n_s8((int8_t)offset));
    f_store(dst, f_mul(f_set(d), f_int8(vget_low_s8(codes))));
    f_store(dst + 8, f_mul(f_set(d), f_int8(vget_high_s8(codes))));
}

// dst = d * code + m.
HD_INLINE void put16_min(float *dst, int8x16_t codes, float d, float m)
{
    f_store(dst, f_add(f_mul(f_set(d), f_int8(vget_low_s8(codes))), f_set(m)));
    f_store(dst + 8, f_add(f_mul(f_set(d), f_int8(vget_high_s8(codes))), f_set(m)));
}

// ---- scalars -------------------------------------------------------------------------------

HD_INLINE void decode_scalars(hd_dtype type, const uint8_t *p, float *dst, int64_t n)
{
    const vf scale = f_set(256.0f); // see small_e4m3: a power of two, so exact
    size_t step = WIDTH * float_width(type);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH, p += step) {
        vf v = f_load_as(type, p);
        f_store(dst + i, type == HD_F8_E4M3 ? f_mul(v, scale) : v);
    }
    if (i == n) return;
    vf v = f_load_as_first(type, p, (int)(n - i));
    f_store_first(dst + i, type == HD_F8_E4M3 ? f_mul(v, scale) : v, (int)(n - i));
}

HD_INLINE void decode_f8_blocks(const uint8_t *p, float *dst, int64_t n)
{
    for (; n > 0; n -= 128, p += sizeof(hd_block_f8_b128)) {
        const vf d = f_set(load_f32(p)), scale = f_set(256.0f); // see small_e4m3
        for (int j = 0; j < 128; j += WIDTH, dst += WIDTH)
            f_store(dst, f_mul(f_mul(f_load_as(HD_F8_E4M3, p + 4 + j), scale), d));
    }
}

// ---- blocks of 32 --------------------------------------------------------------------------

HD_INLINE void decode32(hd_dtype type, const uint8_t *p, float *dst, int64_t n)
{
    for (; n > 0; n -= 32, p += block_bytes(type)) {
        float d = type == HD_MXFP4 ? hd_mxfp4_scale(*p) : half_at(p);
        for (int half = 0; half < 2; half++, dst += 16) {
            int8x16_t q = codes32(type, p, half);
            if (has_min(type))
                put16_min(dst, q, d, half_at(p + 2));
            else
                put16(dst, q, code_offset(type), d);
        }
    }
}

// ---- super-blocks --------------------------------------------------------------------------

// Scales and minima of the sixteen groups of 16 elements; no format has both kinds.
typedef struct scales {
    float d[16], m[16]; // d * scale; -(dmin * min)
} scales;

HD_INLINE void put_scales(scales *s, int g, float d, int scale, float dmin, int min)
{
    s->d[g] = d * (float)scale;
    s->m[g] = -(dmin * (float)min);
}

HD_INLINE void scales256(hd_dtype type, const uint8_t *p, scales *s)
{
    uint8_t scale[8], min[8];
    int8_t levels[16];
    hd_block_iq4_xs head;
    switch (type) {
    case HD_Q2_K:
        for (int g = 0; g < 16; g++)
            put_scales(s, g, half_at(p + 80), p[g] & 15, half_at(p + 82), p[g] >> 4);
        break;
    case HD_Q3_K:
        hd_q3k_scales(p + 96, levels);
        for (int g = 0; g < 16; g++)
            put_scales(s, g, half_at(p + 108), levels[g], 0, 0);
        break;
    case HD_Q4_K:
    case HD_Q5_K:
        hd_k4_scales(p + 4, scale, min);
        for (int g = 0; g < 16; g++)
            put_scales(s, g, half_at(p), scale[g / 2], half_at(p + 2), min[g / 2]);
        break;
    case HD_Q6_K:
        for (int g = 0; g < 16; g++)
            put_scales(s, g, half_at(p + 208), (int8_t)p[192 + g], 0, 0);
        break;
    default: // HD_IQ4_XS
        memcpy(&head, p, sizeof(head));
        hd_iq4xs_scales(&head, levels);
        for (int g = 0; g < 16; g++)
            put_scales(s, g, half_at(p), levels[g / 2], 0, 0);
        break;
    }
}

HD_INLINE void decode256(hd_dtype type, const uint8_t *p, float *dst, int64_t n)
{
    for (; n > 0; n -= 256, p += block_bytes(type)) {
        scales s;
        scales256(type, p, &s);
        HD_UNROLL16
        for (int g = 0; g < 16; g++, dst += 16) {
            int8x16_t q = codes256(type, p, g);
            if (has_min(type))
                put16_min(dst, q, s.d[g], s.m[g]);
            else
                put16(dst, q, code_offset(type), s.d[g]);
        }
    }
}

// ---- the table -----------------------------------------------------------------------------

#define DECODE(name, call)                                                                         \
    static void name(const void *restrict src, float *restrict dst, int64_t n)                     \
    {                                                                                              \
        call;                                                                                      \
    }

DECODE(decode_f16, decode_scalars(HD_F16, src, dst, n))
DECODE(decode_bf16, decode_scalars(HD_BF16, src, dst, n))
DECODE(decode_e4m3, decode_scalars(HD_F8_E4M3, src, dst, n))
DECODE(decode_f8_b128, decode_f8_blocks(src, dst, n))
DECODE(decode_q4_0, decode32(HD_Q4_0, src, dst, n))
DECODE(decode_q4_1, decode32(HD_Q4_1, src, dst, n))
DECODE(decode_q5_0, decode32(HD_Q5_0, src, dst, n))
DECODE(decode_q5_1, decode32(HD_Q5_1, src, dst, n))
DECODE(decode_q8_0, decode32(HD_Q8_0, src, dst, n))
DECODE(decode_iq4_nl, decode32(HD_IQ4_NL, src, dst, n))
DECODE(decode_mxfp4, decode32(HD_MXFP4, src, dst, n))
DECODE(decode_q2_k, decode256(HD_Q2_K, src, dst, n))
DECODE(decode_q3_k, decode256(HD_Q3_K, src, dst, n))
DECODE(decode_q4_k, decode256(HD_Q4_K, src, dst, n))
DECODE(decode_q5_k, decode256(HD_Q5_K, src, dst, n))
DECODE(decode_q6_k, decode256(HD_Q6_K, src, dst, n))
DECODE(decode_iq4_xs, decode256(HD_IQ4_XS, src, dst, n))

#include "kernels/cpu/tmpl/decode_tmpl.c"

void hd_fill_neon_decode(hd_cpu_fns *f)
{
    fill_decode(f);
}
