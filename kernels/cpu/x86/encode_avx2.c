// Encoders with AVX2, bit for bit what ref/encode.c computes: those that loading a model waits for.
// Rows of F16, BF16 and Q8_0 are written as cached ones are: kv_avx2.c.
#include "kernels/cpu/ref/quant.h"
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

#include <math.h>

// ---- helpers -------------------------------------------------------------------------------

// Largest magnitude of n floats as bits, n a multiple of 8: integers order like the floats, NaN
// above all.
HD_INLINE uint32_t top_magnitude(const float *x, int n)
{
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < n; i += 8)
        top = _mm256_max_epi32(top, _mm256_and_si256(load256(x + i), _mm256_set1_epi32(INT32_MAX)));
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

// Extremes of 32 finite floats; of zeros either.
HD_INLINE void range32(const float *x, float *lo, float *hi)
{
    vf low = f_load(x), high = low;
    for (int i = 8; i < 32; i += 8) {
        low = f_min(low, f_load(x + i));
        high = f_max(high, f_load(x + i));
    }
    *lo = -f_top(f_sub(f_zero(), low));
    *hi = f_top(high);
}

// Thirty-two numbers of 0..255 as bytes.
HD_INLINE __m256i bytes32(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i v = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    // Packing works on 128-bit halves: dwords come as 0 2 4 6 | 1 3 5 7.
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// (x + m) / d rounded within 0..15, eight and thirty-two elements; 0 where d is 0.
HD_INLINE __m256i nibbles8(const float *x, vf m, vf d)
{
    vf t = f_div(f_add(f_load(x), m), d);
    return _mm256_cvtps_epi32(f_min(f_max(t, f_zero()), f_set(15.0f)));
}
HD_INLINE __m256i nibbles32(const float *x, float m, float d)
{
    if (d == 0) return _mm256_setzero_si256();
    vf mv = f_set(m), dv = f_set(d);
    return bytes32(nibbles8(x, mv, dv), nibbles8(x + 8, mv, dv), nibbles8(x + 16, mv, dv),
                   nibbles8(x + 24, mv, dv));
}

// ---- E4M3 ----------------------------------------------------------------------------------

HD_INLINE __m256i greater(__m256i a, uint32_t b)
{
    return _mm256_cmpgt_epi32(a, _mm256_set1_epi32((int)b));
}

// As hd_f32_e4m3, see there.
HD_INLINE __m256i e4m3_codes(vf v)
{
    __m256i u = _mm256_castps_si256(v), a = _mm256_and_si256(u, _mm256_set1_epi32(INT32_MAX));
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(a, 20), _mm256_set1_epi32(1));
    __m256i normal = _mm256_add_epi32(a, _mm256_set1_epi32(0x7ffff - (120 << 23)));
    normal = _mm256_srli_epi32(_mm256_add_epi32(normal, odd), 20);
    __m256i small = _mm256_castps_si256(f_add(_mm256_castsi256_ps(a), f_set(0x1p14f)));
    small = _mm256_sub_epi32(small, _mm256_set1_epi32(0x46800000));
    __m256i code = _mm256_blendv_epi8(small, normal, greater(a, 0x3c7fffff));
    code = _mm256_blendv_epi8(code, _mm256_set1_epi32(0x7e), greater(a, 0x43dfffff));
    __m256i sign = _mm256_and_si256(_mm256_srli_epi32(u, 24), _mm256_set1_epi32(0x80));
    code = _mm256_or_si256(code, sign);
    return _mm256_blendv_epi8(code, _mm256_set1_epi32(0x7f), greater(a, 0x7f800000));
}

static void encode_e4m3(const float *restrict src, void *restrict dst, int64_t n)
{
    uint8_t *q = dst;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v = bytes32(e4m3_codes(f_load(src + i)), e4m3_codes(f_load(src + i + 8)),
                            e4m3_codes(f_load(src + i + 16)), e4m3_codes(f_load(src + i + 24)));
        _mm256_storeu_si256((__m256i *)(void *)(q + i), v);
    }
    for (; i < n; i++)
        q[i] = hd_f32_e4m3(src[i]);
}

static void encode_f8_b128(const float *restrict src, void *restrict dst, int64_t n)
{
    uint8_t *p = dst;
    for (; n > 0; n -= 128, src += 128, p += sizeof(hd_block_f8_b128)) {
        uint32_t top = top_magnitude(src, 128);
        hd_block_f8_b128 b = {.d = NAN};
        if (top < 0x7f800000u) {
            b.d = hd_f32_from_bits(top) / 448.0f;
            vf d = f_set(b.d);
            for (int j = 0; b.d > 0 && j < 128; j += 32) {
                const float *x = src + j;
                __m256i v = bytes32(
                    e4m3_codes(f_div(f_load(x), d)), e4m3_codes(f_div(f_load(x + 8), d)),
                    e4m3_codes(f_div(f_load(x + 16), d)), e4m3_codes(f_div(f_load(x + 24), d)));
                _mm256_storeu_si256((__m256i *)(void *)(b.q + j), v);
            }
        }
        memcpy(p, &b, sizeof(b));
    }
}

// ---- four bits -----------------------------------------------------------------------------

static void encode_q4_1(const float *restrict src, void *restrict dst, int64_t n)
{
    uint8_t *p = dst;
    for (; n > 0; n -= 32, src += 32, p += sizeof(hd_block_q4_1)) {
        hd_block_q4_1 b = {.d = {0x7e00}, .m = {0x7e00}};
        if (top_magnitude(src, 32) < 0x7f800000u) {
            float lo, hi;
            range32(src, &lo, &hi);
            hd_q4_1_scale(lo, hi, &b);
            __m256i q = nibbles32(src, -hd_f16_f32(b.m), hd_f16_f32(b.d));
            __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(q, 1), 4);
            _mm_storeu_si128((__m128i *)(void *)b.qs,
                             _mm_or_si128(_mm256_castsi256_si128(q), high));
        }
        memcpy(p, &b, sizeof(b));
    }
}

static void encode_q4_k(const float *restrict src, void *restrict dst, int64_t n)
{
    uint8_t *p = dst;
    for (; n > 0; n -= 256, src += 256, p += sizeof(hd_block_q4_k)) {
        hd_block_q4_k b = {.d = {0x7e00}, .dmin = {0x7e00}};
        if (top_magnitude(src, 256) < 0x7f800000u) {
            float lo[8], hi[8], scale[8], min[8];
            for (int k = 0; k < 8; k++)
                range32(src + 32 * k, &lo[k], &hi[k]);
            hd_q4_k_scales(lo, hi, &b, scale, min);
            for (int k = 0; k < 8; k += 2) {
                __m256i low = nibbles32(src + 32 * k, min[k], scale[k]);
                __m256i high = nibbles32(src + 32 * k + 32, min[k + 1], scale[k + 1]);
                _mm256_storeu_si256((__m256i *)(void *)(b.qs + 16 * k),
                                    _mm256_or_si256(low, _mm256_slli_epi16(high, 4)));
            }
        }
        memcpy(p, &b, sizeof(b));
    }
}

void hd_fill_avx2_encode(hd_cpu_fns *f)
{
    f->encode[HD_F8_E4M3] = encode_e4m3;
    f->encode[HD_F8_B128] = encode_f8_b128;
    f->encode[HD_Q4_1] = encode_q4_1;
    f->encode[HD_Q4_K] = encode_q4_k;
}
