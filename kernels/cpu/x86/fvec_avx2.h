// The vocabulary of the float templates (dotf_tmpl.c, attn_tmpl.c, elem_tmpl.c) in 256-bit vectors.
#ifndef HADAL_KERNELS_CPU_X86_FVEC_AVX2_H
#define HADAL_KERNELS_CPU_X86_FVEC_AVX2_H

#include "kernels/cpu/x86/mm.h"

typedef __m256 vf;
enum { WIDTH = 8 };

HD_INLINE __m256i load256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
HD_INLINE __m128i load128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
// All bits set in the first n lanes.
HD_INLINE __m256i first8(int n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
}

// ---- loads and stores ------------------------------------------------------------------------

HD_INLINE vf f_zero(void)
{
    return _mm256_setzero_ps();
}
HD_INLINE vf f_set(float x)
{
    return _mm256_set1_ps(x);
}
HD_INLINE vf f_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
HD_INLINE void f_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}
// The first n < WIDTH elements, zeros behind them; nothing beyond is touched.
HD_INLINE vf f_load_first(const float *p, int n)
{
    return _mm256_maskload_ps(p, first8(n));
}
HD_INLINE void f_store_first(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, first8(n), v);
}
// Lanes from n on become those of fill.
HD_INLINE vf f_keep_first(vf v, vf fill, int n)
{
    return _mm256_blendv_ps(fill, v, _mm256_castsi256_ps(first8(n)));
}

// E4M3 as half precision is smaller by 2^8: the exponent keeps its place, the biases differ by 8.
// Where E4M3 has its NaN, half precision would have 480 / 2^8.
HD_INLINE vf small_e4m3(__m128i bytes)
{
    __m128i v = _mm_cvtepu8_epi16(bytes);
    __m128i mag = _mm_slli_epi16(_mm_and_si128(v, _mm_set1_epi16(0x7f)), 7);
    __m128i nan = _mm_cmpeq_epi16(mag, _mm_set1_epi16(0x3f80));
    __m128i half = _mm_or_si128(mag, _mm_and_si128(nan, _mm_set1_epi16(0x7e00)));
    half = _mm_or_si128(half, _mm_and_si128(_mm_slli_epi16(v, 8), _mm_set1_epi16((short)0x8000)));
    return _mm256_cvtph_ps(half);
}
// The same smaller by 2^120, and 480 where it has NaN: the bits of E4M3 at their place in a float.
// A subnormal code is a subnormal float. Some processors multiply those slowly, but with a scale
// per block they are rare: one weight in ten thousand of a normal distribution.
HD_INLINE vf tiny_e4m3(const uint8_t *p)
{
    __m256i v = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    v = _mm256_slli_epi32(v, 20); // s s s s s e e e e m m m
    return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0x87f00000)));
}
// WIDTH elements of a float format; E4M3 comes smaller by 2^8.
HD_INLINE vf f_load_as(hd_dtype type, const uint8_t *p)
{
    switch (type) {
    case HD_F32:
        return _mm256_loadu_ps((const float *)(const void *)p);
    case HD_F16:
        return _mm256_cvtph_ps(load128(p));
    case HD_BF16:
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(p)), 16));
    default:
        return small_e4m3(_mm_loadl_epi64((const __m128i *)(const void *)p));
    }
}
HD_INLINE vf f_load_as_first(hd_dtype type, const uint8_t *p, int n)
{
    uint8_t part[32] = {0};
    memcpy(part, p, (size_t)n * float_width(type));
    return f_load_as(type, part);
}
// WIDTH signed bytes.
HD_INLINE vf f_load_i8(const uint8_t *p)
{
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v));
}

// ---- arithmetic ------------------------------------------------------------------------------

HD_INLINE vf f_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
HD_INLINE vf f_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
HD_INLINE vf f_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
HD_INLINE vf f_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
HD_INLINE vf f_fmadd(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
HD_INLINE vf f_fnmadd(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
// The second operand where either is NaN.
HD_INLINE vf f_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
HD_INLINE vf f_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
HD_INLINE vf f_round(vf v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// v * 2^n for whole n in -252..254: in two factors, each a normal number, so one rounding.
HD_INLINE vf f_ldexp(vf v, vf n)
{
    __m256i k = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(k, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(k, half), bias), 23);
    return f_mul(f_mul(v, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
}
// Neighbours exchanged; a - b in even lanes and a + b in odd ones; WIDTH / 2 elements, each twice.
HD_INLINE vf f_swap_pairs(vf v)
{
    return _mm256_permute_ps(v, 0xb1);
}
HD_INLINE vf f_addsub(vf a, vf b)
{
    return _mm256_addsub_ps(a, b);
}
HD_INLINE vf f_load_twice(const float *p)
{
    const __m256i idx = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), idx);
}

// ---- reductions ------------------------------------------------------------------------------

// Sums of four vectors, each by the same tree.
HD_INLINE __m128 f_sum4(vf a, vf b, vf c, vf d)
{
    vf ab = f_add(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    vf cd = f_add(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    __m256d x = _mm256_castps_pd(ab), y = _mm256_castps_pd(cd);
    vf s = f_add(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                 _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
HD_INLINE float f_sum(vf v)
{
    return _mm_cvtss_f32(f_sum4(v, f_zero(), f_zero(), f_zero()));
}
HD_INLINE float f_top(vf v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_shuffle_ps(m, m, 0x4e));
    return _mm_cvtss_f32(_mm_max_ps(m, _mm_shuffle_ps(m, m, 0xb1)));
}

#endif
