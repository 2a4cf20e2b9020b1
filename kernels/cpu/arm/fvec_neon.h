// The vocabulary of the float templates (tmpl/): eight floats, as pairs of 128-bit vectors. Eight
// lanes, not four, because a sum's error is budgeted for at least so many.
#ifndef HADAL_KERNELS_CPU_ARM_FVEC_NEON_H
#define HADAL_KERNELS_CPU_ARM_FVEC_NEON_H

#include "kernels/cpu/arm/mm.h"

typedef struct vf {
    float32x4_t lo, hi;
} vf;
enum { WIDTH = 8 };

// ---- loads and stores ------------------------------------------------------------------------

HD_INLINE vf f_set(float x)
{
    return (vf){vdupq_n_f32(x), vdupq_n_f32(x)};
}
HD_INLINE vf f_zero(void)
{
    return f_set(0.0f);
}
HD_INLINE vf f_load(const float *p)
{
    return (vf){vld1q_f32(p), vld1q_f32(p + 4)};
}
HD_INLINE void f_store(float *p, vf v)
{
    vst1q_f32(p, v.lo);
    vst1q_f32(p + 4, v.hi);
}
// The first n < WIDTH elements, zeros behind them; nothing beyond is touched.
HD_INLINE vf f_load_first(const float *p, int n)
{
    float part[WIDTH] = {0};
    memcpy(part, p, (size_t)n * sizeof(float));
    return f_load(part);
}
HD_INLINE void f_store_first(float *p, vf v, int n)
{
    float part[WIDTH];
    f_store(part, v);
    memcpy(p, part, (size_t)n * sizeof(float));
}
// Lanes from n on become those of fill.
HD_INLINE vf f_keep_first(vf v, vf fill, int n)
{
    static const uint32_t lane[WIDTH] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint32x4_t count = vdupq_n_u32((uint32_t)n);
    return (vf){vbslq_f32(vcltq_u32(vld1q_u32(lane), count), v.lo, fill.lo),
                vbslq_f32(vcltq_u32(vld1q_u32(lane + 4), count), v.hi, fill.hi)};
}

HD_INLINE vf f_halves(uint16x8_t v)
{
    float16x8_t h = vreinterpretq_f16_u16(v);
    return (vf){vcvt_f32_f16(vget_low_f16(h)), vcvt_high_f32_f16(h)};
}
HD_INLINE vf f_bf16(uint16x8_t v)
{
    return (vf){vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(v), 16)),
                vreinterpretq_f32_u32(vshll_high_n_u16(v, 16))};
}
// E4M3 as half precision is smaller by 2^8: the exponent keeps its place, the biases differ by 8.
// Where E4M3 has its NaN, half precision would have 480 / 2^8.
HD_INLINE vf small_e4m3(uint8x8_t bytes)
{
    uint16x8_t v = vmovl_u8(bytes);
    uint16x8_t mag = vshlq_n_u16(vandq_u16(v, vdupq_n_u16(0x7f)), 7);
    uint16x8_t nan = vceqq_u16(mag, vdupq_n_u16(0x3f80));
    uint16x8_t half = vorrq_u16(mag, vandq_u16(nan, vdupq_n_u16(0x7e00)));
    half = vorrq_u16(half, vandq_u16(vshlq_n_u16(v, 8), vdupq_n_u16(0x8000)));
    return f_halves(half);
}
// The same smaller by 2^120, and 480 where it has NaN: the bits of E4M3 at their place in a float.
HD_INLINE vf tiny_e4m3(const uint8_t *p)
{
    int16x8_t v = vmovl_s8(vreinterpret_s8_u8(vld1_u8(p)));
    const int32x4_t keep = vdupq_n_s32((int32_t)0x87f00000);
    int32x4_t lo = vshlq_n_s32(vmovl_s16(vget_low_s16(v)), 20); // s s s s s e e e e m m m
    int32x4_t hi = vshlq_n_s32(vmovl_high_s16(v), 20);
    return (vf){vreinterpretq_f32_s32(vandq_s32(lo, keep)),
                vreinterpretq_f32_s32(vandq_s32(hi, keep))};
}
// WIDTH elements of a float format; E4M3 comes smaller by 2^8.
HD_INLINE vf f_load_as(hd_dtype type, const uint8_t *p)
{
    switch (type) {
    case HD_F32:
        return (vf){vreinterpretq_f32_u8(vld1q_u8(p)), vreinterpretq_f32_u8(vld1q_u8(p + 16))};
    case HD_F16:
        return f_halves(vreinterpretq_u16_u8(vld1q_u8(p)));
    case HD_BF16:
        return f_bf16(vreinterpretq_u16_u8(vld1q_u8(p)));
    default:
        return small_e4m3(vld1_u8(p));
    }
}
HD_INLINE vf f_load_as_first(hd_dtype type, const uint8_t *p, int n)
{
    uint8_t part[32] = {0};
    memcpy(part, p, (size_t)n * float_width(type));
    return f_load_as(type, part);
}
// WIDTH signed bytes.
HD_INLINE vf f_int8(int8x8_t bytes)
{
    int16x8_t v = vmovl_s8(bytes);
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), vcvtq_f32_s32(vmovl_high_s16(v))};
}
HD_INLINE vf f_load_i8(const uint8_t *p)
{
    return f_int8(vreinterpret_s8_u8(vld1_u8(p)));
}

// ---- arithmetic ------------------------------------------------------------------------------

HD_INLINE vf f_add(vf a, vf b)
{
    return (vf){vaddq_f32(a.lo, b.lo), vaddq_f32(a.hi, b.hi)};
}
HD_INLINE vf f_sub(vf a, vf b)
{
    return (vf){vsubq_f32(a.lo, b.lo), vsubq_f32(a.hi, b.hi)};
}
HD_INLINE vf f_mul(vf a, vf b)
{
    return (vf){vmulq_f32(a.lo, b.lo), vmulq_f32(a.hi, b.hi)};
}
HD_INLINE vf f_div(vf a, vf b)
{
    return (vf){vdivq_f32(a.lo, b.lo), vdivq_f32(a.hi, b.hi)};
}
HD_INLINE vf f_fmadd(vf a, vf b, vf c)
{
    return (vf){vfmaq_f32(c.lo, a.lo, b.lo), vfmaq_f32(c.hi, a.hi, b.hi)};
}
HD_INLINE vf f_fnmadd(vf a, vf b, vf c)
{
    return (vf){vfmsq_f32(c.lo, a.lo, b.lo), vfmsq_f32(c.hi, a.hi, b.hi)};
}
// The second operand where either is NaN; the instructions of these names give NaN or the number.
HD_INLINE vf f_min(vf a, vf b)
{
    return (vf){vbslq_f32(vcltq_f32(a.lo, b.lo), a.lo, b.lo),
                vbslq_f32(vcltq_f32(a.hi, b.hi), a.hi, b.hi)};
}
HD_INLINE vf f_max(vf a, vf b)
{
    return (vf){vbslq_f32(vcgtq_f32(a.lo, b.lo), a.lo, b.lo),
                vbslq_f32(vcgtq_f32(a.hi, b.hi), a.hi, b.hi)};
}
HD_INLINE vf f_round(vf v)
{
    return (vf){vrndnq_f32(v.lo), vrndnq_f32(v.hi)};
}
// v * 2^n for whole n in -252..254: in two factors, each a normal number, so one rounding.
HD_INLINE float32x4_t ldexp4(float32x4_t v, float32x4_t n)
{
    int32x4_t k = vcvtq_s32_f32(n), half = vshrq_n_s32(k, 1);
    const int32x4_t bias = vdupq_n_s32(127);
    int32x4_t a = vshlq_n_s32(vaddq_s32(half, bias), 23);
    int32x4_t b = vshlq_n_s32(vaddq_s32(vsubq_s32(k, half), bias), 23);
    return vmulq_f32(vmulq_f32(v, vreinterpretq_f32_s32(a)), vreinterpretq_f32_s32(b));
}
HD_INLINE vf f_ldexp(vf v, vf n)
{
    return (vf){ldexp4(v.lo, n.lo), ldexp4(v.hi, n.hi)};
}
// Neighbours exchanged; a - b in even lanes and a + b in odd ones; WIDTH / 2 elements, each twice.
HD_INLINE vf f_swap_pairs(vf v)
{
    return (vf){vrev64q_f32(v.lo), vrev64q_f32(v.hi)};
}
HD_INLINE vf f_addsub(vf a, vf b)
{
    const uint64x2_t sign = vdupq_n_u64(0x80000000u); // of the even lanes: a + -b is a - b
    uint64x2_t lo = veorq_u64(vreinterpretq_u64_f32(b.lo), sign);
    uint64x2_t hi = veorq_u64(vreinterpretq_u64_f32(b.hi), sign);
    return f_add(a, (vf){vreinterpretq_f32_u64(lo), vreinterpretq_f32_u64(hi)});
}
HD_INLINE vf f_load_twice(const float *p)
{
    float32x4_t v = vld1q_f32(p);
    return (vf){vzip1q_f32(v, v), vzip2q_f32(v, v)};
}

// ---- reductions ------------------------------------------------------------------------------

// Sums of four vectors, each by the same tree.
HD_INLINE vf4 f_sum4(vf a, vf b, vf c, vf d)
{
    float32x4_t ab = vpaddq_f32(vaddq_f32(a.lo, a.hi), vaddq_f32(b.lo, b.hi));
    float32x4_t cd = vpaddq_f32(vaddq_f32(c.lo, c.hi), vaddq_f32(d.lo, d.hi));
    return vpaddq_f32(ab, cd);
}
HD_INLINE float f_sum(vf v)
{
    return vgetq_lane_f32(f_sum4(v, f_zero(), f_zero(), f_zero()), 0);
}
HD_INLINE float f_top(vf v)
{
    return vmaxvq_f32(vmaxq_f32(v.lo, v.hi));
}

#endif
