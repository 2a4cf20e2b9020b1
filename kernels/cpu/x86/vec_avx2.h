// The vocabulary of the block templates (dot32_tmpl.c, dot256_tmpl.c) in 256-bit vectors: one row
// of weights per 128-bit lane, two rows per vector.
#ifndef HADAL_KERNELS_CPU_X86_VEC_AVX2_H
#define HADAL_KERNELS_CPU_X86_VEC_AVX2_H

#include "kernels/cpu/x86/fvec_avx2.h"

typedef __m256i vi;
enum { LANES = 2 };

HD_INLINE vi v_zero(void)
{
    return _mm256_setzero_si256();
}
HD_INLINE vi v_set8(int x)
{
    return _mm256_set1_epi8((char)x);
}
HD_INLINE vi v_set16(int x)
{
    return _mm256_set1_epi16((short)x);
}
HD_INLINE vi v_set32(int x)
{
    return _mm256_set1_epi32(x);
}
// The same 16 bytes in every lane.
HD_INLINE vi v_lane(__m128i x)
{
    return _mm256_broadcastsi128_si256(x);
}
// 16 bytes of each row.
HD_INLINE vi v_rows(const uint8_t *const p[LANES], size_t at)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p[0] + at)), load128(p[1] + at),
                                   1);
}
HD_INLINE vi v_and8(vi v, int mask)
{
    return _mm256_and_si256(v, v_set8(mask));
}
// a | (b & mask), byte by byte.
HD_INLINE vi v_or_masked8(vi a, vi b, int mask)
{
    return _mm256_or_si256(a, v_and8(b, mask));
}
HD_INLINE vi v_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}
HD_INLINE vi v_or(vi a, vi b)
{
    return _mm256_or_si256(a, b);
}
HD_INLINE vi v_xor(vi a, vi b)
{
    return _mm256_xor_si256(a, b);
}
HD_INLINE vi v_sub8(vi a, vi b)
{
    return _mm256_sub_epi8(a, b);
}
HD_INLINE vi v_sub16(vi a, vi b)
{
    return _mm256_sub_epi16(a, b);
}
HD_INLINE vi v_add32(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}
HD_INLINE vi v_sub32(vi a, vi b)
{
    return _mm256_sub_epi32(a, b);
}
HD_INLINE vi v_mul16(vi a, vi b)
{
    return _mm256_mullo_epi16(a, b);
}
HD_INLINE vi v_mul32(vi a, vi b)
{
    return _mm256_mullo_epi32(a, b);
}
HD_INLINE vi v_srl16(vi v, int n)
{
    return _mm256_srli_epi16(v, n);
}
HD_INLINE vi v_sll16(vi v, int n)
{
    return _mm256_slli_epi16(v, n);
}
HD_INLINE vi v_sra16(vi v, int n)
{
    return _mm256_srai_epi16(v, n);
}
HD_INLINE vi v_srlv32(vi v, vi n)
{
    return _mm256_srlv_epi32(v, n);
}
HD_INLINE vi v_sllv32(vi v, vi n)
{
    return _mm256_sllv_epi32(v, n);
}
HD_INLINE vi v_shuffle8(vi v, vi idx)
{
    return _mm256_shuffle_epi8(v, idx);
}
HD_INLINE vi v_unpacklo8(vi a, vi b)
{
    return _mm256_unpacklo_epi8(a, b);
}
HD_INLINE vi v_unpackhi8(vi a, vi b)
{
    return _mm256_unpackhi_epi8(a, b);
}
HD_INLINE vi v_unpacklo16(vi a, vi b)
{
    return _mm256_unpacklo_epi16(a, b);
}
HD_INLINE vi v_unpackhi16(vi a, vi b)
{
    return _mm256_unpackhi_epi16(a, b);
}
HD_INLINE vi v_unpacklo32(vi a, vi b)
{
    return _mm256_unpacklo_epi32(a, b);
}
HD_INLINE vi v_unpackhi32(vi a, vi b)
{
    return _mm256_unpackhi_epi32(a, b);
}
// q + 16 where the byte of v has a bit of `bits`, a single bit in every byte.
HD_INLINE vi v_add16_where(vi q, vi v, vi bits)
{
    return _mm256_or_si256(q, v_and8(_mm256_cmpeq_epi8(_mm256_and_si256(v, bits), bits), 16));
}
// s where q > 0, 0 where q = 0, -s where q < 0.
HD_INLINE vi v_sign8(vi s, vi q)
{
    return _mm256_sign_epi8(s, q);
}
HD_INLINE vi v_abs8(vi v)
{
    return _mm256_abs_epi8(v);
}
HD_INLINE vi v_maddubs(vi u, vi s)
{
    return _mm256_maddubs_epi16(u, s);
}
HD_INLINE vi v_madd16(vi a, vi b)
{
    return _mm256_madd_epi16(a, b);
}
HD_INLINE vi v_add16(vi a, vi b)
{
    return _mm256_add_epi16(a, b);
}

HD_INLINE vf f_int(vi v)
{
    return _mm256_cvtepi32_ps(v);
}
// Element r over the whole lane of row r.
HD_INLINE vf f_spread(__m128 rows)
{
    const __m256i idx = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(rows), idx);
}
// A half-precision number of each row.
HD_INLINE vf f_half(const uint8_t *const p[LANES], size_t at)
{
    uint32_t bits = load_u16(p[0] + at) | (uint32_t)load_u16(p[1] + at) << 16;
    return f_spread(_mm_cvtph_ps(_mm_cvtsi32_si128((int)bits)));
}
// The MXFP4 scale of each row.
HD_INLINE vf f_e8m0_half(const uint8_t *const p[LANES])
{
    return f_spread(e8m0_halves(_mm_setr_epi32(*p[0], *p[1], 0, 0)));
}
// The sum of each lane, stored as one row each.
HD_INLINE void f_store_sums(const mm_call *c, int r0, int t, vf v)
{
    v = _mm256_add_ps(v, _mm256_shuffle_ps(v, v, 0x4e));
    v = _mm256_add_ps(v, _mm256_shuffle_ps(v, v, 0xb1));
    mm_store(c, r0, t, LANES,
             _mm_unpacklo_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

#endif
