// Writing cached rows with AVX2 and F16C, bit for bit what the scalar conversions give.
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

static void kv_write_f16(void *restrict dst, const float *restrict src, int n)
{
    hd_f16 *h = dst;
    int i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i v = _mm256_cvtps_ph(f_load(src + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(void *)(h + i), v);
    }
    for (; i < n; i++)
        h[i] = hd_f32_f16(src[i]);
}

// The upper half of each float, rounded to nearest even; NaN keeps its upper half, made quiet.
HD_INLINE __m256i upper_halves(const float *src)
{
    __m256i u = load256(src);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i round = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 f = _mm256_castsi256_ps(u);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(f, f, _CMP_UNORD_Q));
    return _mm256_srli_epi32(_mm256_blendv_epi8(round, quiet, nan), 16);
}

static void kv_write_bf16(void *restrict dst, const float *restrict src, int n)
{
    hd_bf16 *h = dst;
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i v = _mm256_packus_epi32(upper_halves(src + i), upper_halves(src + i + 8));
        v = _mm256_permute4x64_epi64(v, 0xd8); // packing works on 128-bit halves
        _mm256_storeu_si256((__m256i *)(void *)(h + i), v);
    }
    for (; i < n; i++)
        h[i] = hd_f32_bf16(src[i]);
}

// ---- blocks --------------------------------------------------------------------------------

// Largest magnitude of 32 floats as bits: integers order like the floats, NaN above all.
HD_INLINE uint32_t top_magnitude(const float *x)
{
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < 32; i += 8)
        top = _mm256_max_epi32(top, _mm256_and_si256(load256(x + i), _mm256_set1_epi32(INT32_MAX)));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

// Eight elements over d, within +-127.
HD_INLINE __m256i codes8(const float *x, __m256 d)
{
    const __m256 top = f_set(127.0f);
    __m256 t = f_min(f_div(f_load(x), d), top);
    return _mm256_cvtps_epi32(f_max(t, f_sub(f_zero(), top)));
}

HD_INLINE __m256i codes32(const float *x, __m256 d)
{
    __m256i lo = _mm256_packs_epi32(codes8(x, d), codes8(x + 8, d));
    __m256i hi = _mm256_packs_epi32(codes8(x + 16, d), codes8(x + 24, d));
    // Packing works on 128-bit halves: dwords come as 0 2 4 6 | 1 3 5 7.
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(lo, hi),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// As hd_ref_encode_q8_0: d kept finite; all codes 0 where it is 0, or NaN for a block that holds
// something not finite.
static void kv_write_q8_0(void *restrict dst, const float *restrict src, int n)
{
    uint8_t *b = dst;
    for (int i = 0; i < n; i += 32, b += sizeof(hd_block_q8_0)) {
        uint32_t top = top_magnitude(src + i);
        hd_f16 d = {0x7e00};
        __m256i q = _mm256_setzero_si256();
        if (top < 0x7f800000u) {
            float exact = hd_f32_from_bits(top) / 127.0f;
            d.bits = _cvtss_sh(exact < 65504.0f ? exact : 65504.0f, _MM_FROUND_TO_NEAREST_INT);
            if (d.bits) q = codes32(src + i, f_set(_cvtsh_ss(d.bits)));
        }
        memcpy(b, &d, sizeof(d));
        _mm256_storeu_si256((__m256i *)(void *)(b + offsetof(hd_block_q8_0, qs)), q);
    }
}

#include "kernels/cpu/tmpl/kv_tmpl.c"

void hd_fill_avx2_kv(hd_cpu_fns *f)
{
    fill_kv(f);
}
