// What the NEON kernels share: byte vectors, scales, storing four sums, prefetching.
//
// Shifts and masks are written with the compiler's vector operators, because their intrinsics take
// literals alone and most counts here become constants only when a loop is unrolled.
#ifndef HADAL_KERNELS_CPU_ARM_MM_H
#define HADAL_KERNELS_CPU_ARM_MM_H

#include "kernels/cpu/tmpl/mm.h"

#include <arm_neon.h>

// Before a loop over a part of a float tile: unless it is unrolled early, GCC stores accumulators
// that are pairs of vectors at every step.
#define HD_TILE HD_UNROLL4

typedef float32x4_t vf4; // sums of four rows

HD_INLINE vf4 f4_times(vf4 v, float x)
{
    return vmulq_n_f32(v, x);
}

// Stores the sums of n <= 4 rows from r0 on for token t; what lies outside the call is dropped.
HD_INLINE void mm_store(const mm_call *c, int r0, int t, int n, vf4 sums)
{
    if (t >= c->n_tok || r0 >= c->n_rows) return;
    float *out = c->out + t * c->out_stride + r0, part[4];
    if (n == 4 && r0 + 4 <= c->n_rows) {
        vst1q_f32(out, sums);
        return;
    }
    vst1q_f32(part, sums);
    for (int r = 0; r < n && r0 + r < c->n_rows; r++)
        out[r] = part[r];
}

HD_INLINE const uint8_t *mm_prefetch(const uint8_t *next, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        __builtin_prefetch(next + line, 0, 2);
    return next + bytes;
}

// ---- bytes ---------------------------------------------------------------------------------

HD_INLINE uint8x16_t load16(const uint8_t *p)
{
    return vld1q_u8(p);
}

HD_INLINE uint8x16_t low_nibbles(uint8x16_t v)
{
    return vandq_u8(v, vdupq_n_u8(15));
}

HD_INLINE uint8x16_t high_nibbles(uint8x16_t v)
{
    return vshrq_n_u8(v, 4);
}

// Bits `from`.. of every byte moved to bits `to`..; some of the others go with them.
HD_INLINE uint8x16_t move_bits(uint8x16_t v, int from, int to)
{
    return from < to ? v << (uint8_t)(to - from) : v >> (uint8_t)(from - to);
}

// v with the bits of `mask` taken from `bits`.
HD_INLINE uint8x16_t put_bits(uint8x16_t v, uint8x16_t bits, int mask)
{
    return vbslq_u8(vdupq_n_u8((uint8_t)mask), bits, v);
}

HD_INLINE int8x16_t table16(const int8_t levels[16], uint8x16_t index)
{
    return vqtbl1q_s8(vld1q_s8(levels), index);
}

// ---- scales --------------------------------------------------------------------------------

// The half-precision number at p.
HD_INLINE float half_at(const uint8_t *p)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(load_u16(p)))), 0);
}

// That of each of four rows.
HD_INLINE float32x4_t halves_at(const uint8_t *const p[4], size_t at)
{
    uint16x4_t h = vdup_n_u16(load_u16(p[0] + at));
    h = vset_lane_u16(load_u16(p[1] + at), h, 1);
    h = vset_lane_u16(load_u16(p[2] + at), h, 2);
    h = vset_lane_u16(load_u16(p[3] + at), h, 3);
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

// The sum of each vector.
HD_INLINE int32x4_t sums4(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d)
{
    return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

#endif
