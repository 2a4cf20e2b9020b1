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

void hd_fill_avx2_kv(hd_cpu_fns *f)
{
    f->kv_write[HD_F16] = kv_write_f16;
    f->kv_write[HD_BF16] = kv_write_bf16;
}
