// What the x86 matrix kernels share whatever their vectors: storing four sums, prefetching, scales.
#ifndef HADAL_KERNELS_CPU_X86_MM_H
#define HADAL_KERNELS_CPU_X86_MM_H

#include "kernels/cpu/tmpl/blocks.h"

#include <immintrin.h>

#define HD_TILE // before a loop over a part of a float tile

typedef __m128 vf4; // sums of four rows

HD_INLINE vf4 f4_times(vf4 v, float x)
{
    return _mm_mul_ps(v, _mm_set1_ps(x));
}

// Stores the sums of n <= 4 rows from r0 on for token t; what lies outside the call is dropped.
HD_INLINE void mm_store(const mm_call *c, int r0, int t, int n, vf4 sums)
{
    if (t >= c->n_tok || r0 >= c->n_rows) return;
    float *out = c->out + t * c->out_stride + r0, part[4];
    if (n == 4 && r0 + 4 <= c->n_rows) {
        _mm_storeu_ps(out, sums);
        return;
    }
    _mm_storeu_ps(part, sums);
    for (int r = 0; r < n && r0 + r < c->n_rows; r++)
        out[r] = part[r];
}

HD_INLINE const uint8_t *mm_prefetch(const uint8_t *next, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)next + line, _MM_HINT_T1);
    return next + bytes;
}

// The half-precision number at p.
HD_INLINE float half_at(const uint8_t *p)
{
    return _cvtsh_ss(load_u16(p));
}

// MXFP4 scales 2^(e - 128) of four 32-bit exponents.
HD_INLINE __m128 e8m0_halves(__m128i e)
{
    __m128i normal = _mm_slli_epi32(_mm_sub_epi32(e, _mm_set1_epi32(1)), 23);
    __m128i tiny = _mm_sllv_epi32(_mm_set1_epi32(0x00200000), e);
    return _mm_castsi128_ps(_mm_blendv_epi8(normal, tiny, _mm_cmpgt_epi32(_mm_set1_epi32(2), e)));
}

#endif
