// Activation quantizers and cached rows with NEON, bit for bit what ref/ computes.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/fvec_neon.h"

#include <math.h>

// ---- blocks --------------------------------------------------------------------------------

// Largest magnitude of n floats as bits: integers order like the floats, NaN above all.
HD_INLINE uint32_t top_magnitude(const float *x, int n)
{
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    uint32x4_t top = vdupq_n_u32(0);
    for (int i = 0; i < n; i += 4)
        top = vmaxq_u32(top, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), magnitude));
    return vmaxvq_u32(top);
}

// Four elements over d, within +-127, rounded to nearest even.
HD_INLINE int32x4_t round4(const float *x, float32x4_t d)
{
    const float32x4_t limit = vdupq_n_f32(127.0f);
    float32x4_t t = vminq_f32(vdivq_f32(vld1q_f32(x), d), limit);
    return vcvtnq_s32_f32(vmaxq_f32(t, vnegq_f32(limit)));
}

HD_INLINE int8x16_t round16(const float *x, float d)
{
    float32x4_t v = vdupq_n_f32(d);
    int16x8_t lo = vcombine_s16(vmovn_s32(round4(x, v)), vmovn_s32(round4(x + 4, v)));
    int16x8_t hi = vcombine_s16(vmovn_s32(round4(x + 8, v)), vmovn_s32(round4(x + 12, v)));
    return vcombine_s8(vmovn_s16(lo), vmovn_s16(hi));
}

// ---- activations ---------------------------------------------------------------------------

// d of a block whose largest magnitude has these bits; false when all codes are 0.
HD_INLINE bool block_scale(uint32_t top, float *d)
{
    *d = top < 0x7f800000u ? hd_f32_from_bits(top) / 127.0f : NAN;
    return *d > 0;
}

static void quant_q8_32(void *restrict dst, const float *restrict x, int n)
{
    hd_act_q8_32 *b = dst;
    for (int i = 0; i < n / 32; i++, b++, x += 32) {
        bool live = block_scale(top_magnitude(x, 32), &b->d);
        b->sum = 0;
        for (int k = 0; k < 32; k += 16) {
            int8x16_t q = live ? round16(x + k, b->d) : vdupq_n_s8(0);
            vst1q_s8(b->q + k, q);
            b->sum += vaddlvq_s8(q);
        }
    }
}

static void quant_q8_256(void *restrict dst, const float *restrict x, int n)
{
    hd_act_q8_256 *b = dst;
    for (int i = 0; i < n / 256; i++, b++, x += 256) {
        bool live = block_scale(top_magnitude(x, 256), &b->d);
        for (int k = 0; k < 16; k++) {
            int8x16_t q = live ? round16(x + 16 * k, b->d) : vdupq_n_s8(0);
            vst1q_s8(b->q + 16 * k, q);
            b->bsum[k] = vaddlvq_s8(q);
        }
    }
}

// ---- cached rows ---------------------------------------------------------------------------

static void kv_write_f16(void *restrict dst, const float *restrict src, int n)
{
    hd_f16 *h = dst;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        vf v = f_load(src + i);
        float16x8_t half = vcvt_high_f16_f32(vcvt_f16_f32(v.lo), v.hi);
        vst1q_u8((uint8_t *)(h + i), vreinterpretq_u8_f16(half));
    }
    for (; i < n; i++)
        h[i] = hd_f32_f16(src[i]);
}

// The upper half of each float, rounded to nearest even; NaN keeps its upper half, made quiet.
HD_INLINE uint16x4_t upper_halves(const float *src)
{
    float32x4_t f = vld1q_f32(src);
    uint32x4_t u = vreinterpretq_u32_f32(f);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    uint32x4_t round = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(f, f), round, quiet), 16);
}

static void kv_write_bf16(void *restrict dst, const float *restrict src, int n)
{
    hd_bf16 *h = dst;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        uint16x8_t v = vcombine_u16(upper_halves(src + i), upper_halves(src + i + 4));
        vst1q_u8((uint8_t *)(h + i), vreinterpretq_u8_u16(v));
    }
    for (; i < n; i++)
        h[i] = hd_f32_bf16(src[i]);
}

// As hd_ref_encode_q8_0: d kept finite; all codes 0 where it is 0, or NaN for a block that holds
// something not finite.
static void kv_write_q8_0(void *restrict dst, const float *restrict src, int n)
{
    uint8_t *b = dst;
    for (int i = 0; i < n; i += 32, b += sizeof(hd_block_q8_0)) {
        uint32_t top = top_magnitude(src + i, 32);
        uint16_t d = 0x7e00;
        bool live = false;
        if (top < 0x7f800000u) {
            float exact = hd_f32_from_bits(top) / 127.0f;
            exact = exact < 65504.0f ? exact : 65504.0f;
            d = vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(exact))), 0);
            live = d != 0;
        }
        memcpy(b, &d, sizeof(d));
        for (int k = 0; k < 32; k += 16) {
            int8x16_t q = live ? round16(src + i + k, half_at(b)) : vdupq_n_s8(0);
            vst1q_u8(b + offsetof(hd_block_q8_0, qs) + k, vreinterpretq_u8_s8(q));
        }
    }
}

#include "kernels/cpu/tmpl/kv_tmpl.c"

void hd_fill_neon_quant(hd_cpu_fns *f)
{
    f->quant_act[HD_ACT_Q8_32] = quant_q8_32;
    f->quant_act[HD_ACT_Q8_256] = quant_q8_256;
    fill_kv(f);
}
