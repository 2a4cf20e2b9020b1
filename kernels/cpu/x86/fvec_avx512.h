// The vocabulary of the float templates (dotf_tmpl.c, attn_tmpl.c, elem_tmpl.c) in 512-bit vectors.
#ifndef HADAL_KERNELS_CPU_X86_FVEC_AVX512_H
#define HADAL_KERNELS_CPU_X86_FVEC_AVX512_H

#include "kernels/cpu/x86/mm.h"

typedef __m512 vf;
enum { WIDTH = 16 };

HD_INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
HD_INLINE __mmask16 first16(int n)
{
    return (__mmask16)((1u << n) - 1);
}

// ---- loads and stores ------------------------------------------------------------------------

HD_INLINE vf f_zero(void)
{
    return _mm512_setzero_ps();
}
HD_INLINE vf f_set(float x)
{
    return _mm512_set1_ps(x);
}
HD_INLINE vf f_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
HD_INLINE void f_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}
// The first n < WIDTH elements, zeros behind them; nothing beyond is touched.
HD_INLINE vf f_load_first(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(first16(n), p);
}
HD_INLINE void f_store_first(float *p, vf v, int n)
{
    _mm512_mask_storeu_ps(p, first16(n), v);
}
// Lanes from n on become those of fill.
HD_INLINE vf f_keep_first(vf v, vf fill, int n)
{
    return _mm512_mask_mov_ps(fill, first16(n), v);
}

// E4M3 as half precision is smaller by 2^8: the exponent keeps its place, the biases differ by 8.
// Where E4M3 has its NaN, half precision would have 480 / 2^8.
HD_INLINE vf small_e4m3(__m128i bytes)
{
    __m256i v = _mm256_cvtepu8_epi16(bytes);
    __m256i mag = _mm256_slli_epi16(_mm256_and_si256(v, _mm256_set1_epi16(0x7f)), 7);
    __mmask16 nan = _mm256_cmpeq_epi16_mask(mag, _mm256_set1_epi16(0x3f80));
    mag = _mm256_mask_mov_epi16(mag, nan, _mm256_set1_epi16(0x7e00));
    // mag | (v << 8 & 0x8000)
    return _mm512_cvtph_ps(_mm256_ternarylogic_epi32(mag, _mm256_slli_epi16(v, 8),
                                                     _mm256_set1_epi16((short)0x8000), 0xf8));
}
// The same smaller by 2^120, and 480 where it has NaN: the bits of E4M3 at their place in a float.
// A subnormal code is a subnormal float. Some processors multiply those slowly, but with a scale
// per block they are rare: one weight in ten thousand of a normal distribution.
HD_INLINE vf tiny_e4m3(const uint8_t *p)
{
    __m512i v = _mm512_slli_epi32(_mm512_cvtepi8_epi32(load128(p)), 20); // s s s s s e e e e m m m
    return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0x87f00000)));
}
HD_INLINE vf bf16_ps(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
// WIDTH elements of a float format; E4M3 comes smaller by 2^8.
HD_INLINE vf f_load_as(hd_dtype type, const uint8_t *p)
{
    switch (type) {
    case HD_F32:
        return _mm512_loadu_ps(p);
    case HD_F16:
        return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
    case HD_BF16:
        return bf16_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
    default:
        return small_e4m3(load128(p));
    }
}
HD_INLINE vf f_load_as_first(hd_dtype type, const uint8_t *p, int n)
{
    switch (type) {
    case HD_F32:
        return _mm512_maskz_loadu_ps(first16(n), p);
    case HD_F16:
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first16(n), p));
    case HD_BF16:
        return bf16_ps(_mm256_maskz_loadu_epi16(first16(n), p));
    default:
        return small_e4m3(_mm_maskz_loadu_epi8(first16(n), p));
    }
}
// WIDTH signed bytes.
HD_INLINE vf f_load_i8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load128(p)));
}

// ---- arithmetic ------------------------------------------------------------------------------

HD_INLINE vf f_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
HD_INLINE vf f_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
HD_INLINE vf f_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
HD_INLINE vf f_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
HD_INLINE vf f_fmadd(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
HD_INLINE vf f_fnmadd(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}
// The second operand where either is NaN.
HD_INLINE vf f_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
HD_INLINE vf f_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
HD_INLINE vf f_round(vf v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v * 2^n for whole n.
HD_INLINE vf f_ldexp(vf v, vf n)
{
    return _mm512_scalef_ps(v, n);
}
// Neighbours exchanged; a - b in even lanes and a + b in odd ones; WIDTH / 2 elements, each twice.
HD_INLINE vf f_swap_pairs(vf v)
{
    return _mm512_permute_ps(v, 0xb1);
}
HD_INLINE vf f_addsub(vf a, vf b)
{
    return _mm512_mask_sub_ps(_mm512_add_ps(a, b), 0x5555, a, b);
}
HD_INLINE vf f_load_twice(const float *p)
{
    const __m512i idx = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(idx, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}

// ---- reductions ------------------------------------------------------------------------------

HD_INLINE __m256 fold(vf v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}
// Sums of four vectors, each by the same tree.
HD_INLINE __m128 f_sum4(vf v0, vf v1, vf v2, vf v3)
{
    __m256 a = fold(v0), b = fold(v1), c = fold(v2), d = fold(v3);
    __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256d x = _mm256_castps_pd(ab), y = _mm256_castps_pd(cd);
    __m256 s = _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                             _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
HD_INLINE float f_sum(vf v)
{
    return _mm_cvtss_f32(f_sum4(v, f_zero(), f_zero(), f_zero()));
}
HD_INLINE float f_top(vf v)
{
    return _mm512_reduce_max_ps(v);
}

#endif
