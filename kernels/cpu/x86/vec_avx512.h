// The vocabulary of the block templates (dot32_tmpl.c, dot256_tmpl.c) in 512-bit vectors: one row
// of weights per 128-bit lane, four rows per vector.
#ifndef HADAL_KERNELS_CPU_X86_VEC_AVX512_H
#define HADAL_KERNELS_CPU_X86_VEC_AVX512_H

#include "kernels/cpu/x86/fvec_avx512.h"

typedef __m512i vi;
enum { LANES = 4 };

HD_INLINE vi v_zero(void)
{
    return _mm512_setzero_si512();
}
HD_INLINE vi v_set8(int x)
{
    return _mm512_set1_epi8((char)x);
}
HD_INLINE vi v_set16(int x)
{
    return _mm512_set1_epi16((short)x);
}
HD_INLINE vi v_set32(int x)
{
    return _mm512_set1_epi32(x);
}
// The same 16 bytes in every lane.
HD_INLINE vi v_lane(__m128i x)
{
    return _mm512_broadcast_i32x4(x);
}
// 16 bytes of each row.
HD_INLINE vi v_rows(const uint8_t *const p[LANES], size_t at)
{
    __m256i lo =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p[0] + at)), load128(p[1] + at), 1);
    __m256i hi =
        _mm256_inserti128_si256(_mm256_castsi128_si256(load128(p[2] + at)), load128(p[3] + at), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}
HD_INLINE vi v_and8(vi v, int mask)
{
    return _mm512_and_si512(v, v_set8(mask));
}
// a | (b & mask), byte by byte.
HD_INLINE vi v_or_masked8(vi a, vi b, int mask)
{
    return _mm512_ternarylogic_epi32(a, b, v_set8(mask), 0xf8);
}
HD_INLINE vi v_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}
HD_INLINE vi v_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}
HD_INLINE vi v_xor(vi a, vi b)
{
    return _mm512_xor_si512(a, b);
}
HD_INLINE vi v_sub8(vi a, vi b)
{
    return _mm512_sub_epi8(a, b);
}
HD_INLINE vi v_sub16(vi a, vi b)
{
    return _mm512_sub_epi16(a, b);
}
HD_INLINE vi v_add32(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}
HD_INLINE vi v_sub32(vi a, vi b)
{
    return _mm512_sub_epi32(a, b);
}
HD_INLINE vi v_mul16(vi a, vi b)
{
    return _mm512_mullo_epi16(a, b);
}
HD_INLINE vi v_mul32(vi a, vi b)
{
    return _mm512_mullo_epi32(a, b);
}
HD_INLINE vi v_srl16(vi v, int n)
{
    return _mm512_srli_epi16(v, (unsigned)n);
}
HD_INLINE vi v_sll16(vi v, int n)
{
    return _mm512_slli_epi16(v, (unsigned)n);
}
HD_INLINE vi v_sra16(vi v, int n)
{
    return _mm512_srai_epi16(v, (unsigned)n);
}
HD_INLINE vi v_srlv32(vi v, vi n)
{
    return _mm512_srlv_epi32(v, n);
}
HD_INLINE vi v_sllv32(vi v, vi n)
{
    return _mm512_sllv_epi32(v, n);
}
HD_INLINE vi v_shuffle8(vi v, vi idx)
{
    return _mm512_shuffle_epi8(v, idx);
}
HD_INLINE vi v_unpacklo8(vi a, vi b)
{
    return _mm512_unpacklo_epi8(a, b);
}
HD_INLINE vi v_unpackhi8(vi a, vi b)
{
    return _mm512_unpackhi_epi8(a, b);
}
HD_INLINE vi v_unpacklo16(vi a, vi b)
{
    return _mm512_unpacklo_epi16(a, b);
}
HD_INLINE vi v_unpackhi16(vi a, vi b)
{
    return _mm512_unpackhi_epi16(a, b);
}
HD_INLINE vi v_unpacklo32(vi a, vi b)
{
    return _mm512_unpacklo_epi32(a, b);
}
HD_INLINE vi v_unpackhi32(vi a, vi b)
{
    return _mm512_unpackhi_epi32(a, b);
}
HD_INLINE vi v_unpacklo64(vi a, vi b)
{
    return _mm512_unpacklo_epi64(a, b);
}
HD_INLINE vi v_unpackhi64(vi a, vi b)
{
    return _mm512_unpackhi_epi64(a, b);
}
// Element j of every lane of v[0], v[1], v[2], v[3] in out[j]: where vector k has row 4 r + k in
// lane r, row i comes to element i.
HD_INLINE void v_by_rows(const vi v[4], vi out[4])
{
    vi a = v_unpacklo32(v[0], v[1]), b = v_unpacklo32(v[2], v[3]);
    vi c = v_unpackhi32(v[0], v[1]), d = v_unpackhi32(v[2], v[3]);
    out[0] = v_unpacklo64(a, b);
    out[1] = v_unpackhi64(a, b);
    out[2] = v_unpacklo64(c, d);
    out[3] = v_unpackhi64(c, d);
}
// q + 16 where the byte of v has a bit of `bits`.
HD_INLINE vi v_add16_where(vi q, vi v, vi bits)
{
    return _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(v, bits), q, v_set8(16));
}
// s where q >= 0, -s where q < 0.
HD_INLINE vi v_sign8(vi s, vi q)
{
    return _mm512_mask_sub_epi8(s, _mm512_movepi8_mask(q), v_zero(), s);
}
HD_INLINE vi v_abs8(vi v)
{
    return _mm512_abs_epi8(v);
}
HD_INLINE vi v_maddubs(vi u, vi s)
{
    return _mm512_maddubs_epi16(u, s);
}
HD_INLINE vi v_madd16(vi a, vi b)
{
    return _mm512_madd_epi16(a, b);
}
HD_INLINE vi v_add16(vi a, vi b)
{
    return _mm512_add_epi16(a, b);
}

HD_INLINE vf f_int(vi v)
{
    return _mm512_cvtepi32_ps(v);
}
// Element r over the whole lane of row r.
HD_INLINE vf f_spread(__m128 rows)
{
    const __m512i idx = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_permutexvar_ps(idx, _mm512_castps128_ps512(rows));
}
// A half-precision number of each row.
HD_INLINE vf f_half(const uint8_t *const p[LANES], size_t at)
{
    uint64_t bits = load_u16(p[0] + at) | (uint64_t)load_u16(p[1] + at) << 16 |
                    (uint64_t)load_u16(p[2] + at) << 32 | (uint64_t)load_u16(p[3] + at) << 48;
    return f_spread(_mm_cvtph_ps(_mm_cvtsi64_si128((long long)bits)));
}
// The MXFP4 scale of each row.
HD_INLINE vf f_e8m0_half(const uint8_t *const p[LANES])
{
    return f_spread(e8m0_halves(_mm_setr_epi32(*p[0], *p[1], *p[2], *p[3])));
}
// The sum of each lane, stored as one row each.
HD_INLINE void f_store_sums(const mm_call *c, int r0, int t, vf v)
{
    v = _mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0x4e));
    v = _mm512_add_ps(v, _mm512_shuffle_ps(v, v, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    mm_store(c, r0, t, LANES, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, v)));
}

#endif
