// Activation quantizers with AVX2, bit for bit what ref/quant.c computes.
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

#include <math.h>

// Magnitudes as integers order like the floats, NaN above all.
HD_INLINE __m256i top_magnitude(__m256i top, const float *x)
{
    __m256i bits = _mm256_and_si256(load256(x), _mm256_set1_epi32(0x7fffffff));
    return _mm256_max_epi32(top, bits);
}

HD_INLINE uint32_t horizontal_max(__m256i v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

HD_INLINE __m256i round8(const float *x, __m256 d)
{
    const __m256 limit = _mm256_set1_ps(127.0f);
    __m256 t = _mm256_div_ps(_mm256_loadu_ps(x), d);
    t = _mm256_max_ps(_mm256_min_ps(t, limit), _mm256_sub_ps(_mm256_setzero_ps(), limit));
    return _mm256_cvtps_epi32(t);
}

// Thirty-two elements over d as bytes.
HD_INLINE __m256i round32(const float *x, __m256 d)
{
    __m256i lo = _mm256_packs_epi32(round8(x, d), round8(x + 8, d));
    __m256i hi = _mm256_packs_epi32(round8(x + 16, d), round8(x + 24, d));
    // Packing works on 128-bit halves: dwords come as 0 2 4 6 | 1 3 5 7.
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// Sums of eight bytes each, as four 64-bit numbers.
HD_INLINE __m256i sums_of_8(__m256i q)
{
    __m256i raised = _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80));
    return _mm256_sub_epi64(_mm256_sad_epu8(raised, _mm256_setzero_si256()),
                            _mm256_set1_epi64x(8 * 128));
}

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
        __m256i top = _mm256_setzero_si256(), q = top;
        for (int j = 0; j < 32; j += 8)
            top = top_magnitude(top, x + j);
        if (block_scale(horizontal_max(top), &b->d)) q = round32(x, _mm256_set1_ps(b->d));
        _mm256_storeu_si256((__m256i *)(void *)b->q, q);
        __m256i s = sums_of_8(q);
        __m128i t = _mm_add_epi64(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        b->sum = _mm_cvtsi128_si32(t) + _mm_extract_epi32(t, 2);
    }
}

static void quant_q8_256(void *restrict dst, const float *restrict x, int n)
{
    hd_act_q8_256 *b = dst;
    for (int i = 0; i < n / 256; i++, b++, x += 256) {
        __m256i top = _mm256_setzero_si256();
        for (int j = 0; j < 256; j += 8)
            top = top_magnitude(top, x + j);
        bool live = block_scale(horizontal_max(top), &b->d);
        for (int k = 0; k < 8; k++) {
            __m256i q = _mm256_setzero_si256();
            if (live) q = round32(x + 32 * k, _mm256_set1_ps(b->d));
            _mm256_storeu_si256((__m256i *)(void *)(b->q + 32 * k), q);
            __m256i s = sums_of_8(q);
            s = _mm256_add_epi64(s, _mm256_shuffle_epi32(s, 0x4e));
            b->bsum[2 * k] = (int16_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(s));
            b->bsum[2 * k + 1] = (int16_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1));
        }
    }
}

void hd_fill_avx2_quant(hd_cpu_fns *f)
{
    f->quant_act[HD_ACT_Q8_32] = quant_q8_32;
    f->quant_act[HD_ACT_Q8_256] = quant_q8_256;
}
