// Decoders with AVX2, bit for bit what ref/quant.c computes: the same operations in the same order,
// never fused. Storing floats is the limit, so wider levels have none of their own.
#include "kernels/cpu/ref/quant.h"
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

HD_INLINE __m256 low_codes(__m128i codes)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
}

// dst = d * code for sixteen signed bytes.
HD_INLINE void put16(float *dst, __m128i codes, float d)
{
    __m256 scale = _mm256_set1_ps(d);
    _mm256_storeu_ps(dst, _mm256_mul_ps(scale, low_codes(codes)));
    _mm256_storeu_ps(dst + 8, _mm256_mul_ps(scale, low_codes(_mm_srli_si128(codes, 8))));
}

// dst = d * code + m.
HD_INLINE void put16_min(float *dst, __m128i codes, float d, float m)
{
    __m256 scale = _mm256_set1_ps(d), min = _mm256_set1_ps(m);
    __m256 lo = _mm256_mul_ps(scale, low_codes(codes));
    __m256 hi = _mm256_mul_ps(scale, low_codes(_mm_srli_si128(codes, 8)));
    _mm256_storeu_ps(dst, _mm256_add_ps(lo, min));
    _mm256_storeu_ps(dst + 8, _mm256_add_ps(hi, min));
}

HD_INLINE __m128i low_nibbles(__m128i v)
{
    return _mm_and_si128(v, _mm_set1_epi8(15));
}

HD_INLINE __m128i high_nibbles(__m128i v)
{
    return low_nibbles(_mm_srli_epi16(v, 4));
}

// Bits `from`.. of every byte moved to bits `to`.. and masked.
HD_INLINE __m128i field(__m128i v, int from, int to, int mask)
{
    v = from < to ? _mm_slli_epi16(v, to - from) : _mm_srli_epi16(v, from - to);
    return _mm_and_si128(v, _mm_set1_epi8((char)mask));
}

// 16 where the element's bit is set, of 16 bits.
HD_INLINE __m128i fifth(const uint8_t *bits)
{
    const uint64_t every = 0x0101010101010101ull; // unsigned: 255 times it does not fit a long long
    __m128i v = _mm_set_epi64x((long long)(bits[1] * every), (long long)(bits[0] * every));
    __m128i one = _mm_set1_epi64x((long long)0x8040201008040201ull);
    return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(v, one), one), _mm_set1_epi8(16));
}

HD_INLINE __m128i minus(__m128i v, int offset)
{
    return _mm_sub_epi8(v, _mm_set1_epi8((char)offset));
}

// ---- scalars -------------------------------------------------------------------------------

HD_INLINE void decode_scalars(hd_dtype type, const uint8_t *p, float *dst, int64_t n)
{
    // See small_e4m3: a power of two, so exact.
    const __m256 scale = f_set(256.0f);
    size_t step = 8 * float_width(type);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8, p += step) {
        __m256 v = f_load_as(type, p);
        _mm256_storeu_ps(dst + i, type == HD_F8_E4M3 ? _mm256_mul_ps(v, scale) : v);
    }
    if (i == n) return;
    __m256 v = f_load_as_first(type, p, (int)(n - i));
    if (type == HD_F8_E4M3) v = _mm256_mul_ps(v, scale);
    _mm256_maskstore_ps(dst + i, first8((int)(n - i)), v);
}

static void decode_f16(const void *restrict src, float *restrict dst, int64_t n)
{
    decode_scalars(HD_F16, src, dst, n);
}
static void decode_bf16(const void *restrict src, float *restrict dst, int64_t n)
{
    decode_scalars(HD_BF16, src, dst, n);
}
static void decode_e4m3(const void *restrict src, float *restrict dst, int64_t n)
{
    decode_scalars(HD_F8_E4M3, src, dst, n);
}

// ---- blocks of 32 --------------------------------------------------------------------------

static void decode_q4_0(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_q4_0)) {
        __m128i v = load128(p + 2);
        put16(dst, minus(low_nibbles(v), 8), half_at(p));
        put16(dst + 16, minus(high_nibbles(v), 8), half_at(p));
    }
}

static void decode_q4_1(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_q4_1)) {
        __m128i v = load128(p + 4);
        put16_min(dst, low_nibbles(v), half_at(p), half_at(p + 2));
        put16_min(dst + 16, high_nibbles(v), half_at(p), half_at(p + 2));
    }
}

static void decode_q5_0(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_q5_0)) {
        __m128i v = load128(p + 6);
        put16(dst, minus(_mm_or_si128(low_nibbles(v), fifth(p + 2)), 16), half_at(p));
        put16(dst + 16, minus(_mm_or_si128(high_nibbles(v), fifth(p + 4)), 16), half_at(p));
    }
}

static void decode_q5_1(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_q5_1)) {
        __m128i v = load128(p + 8);
        __m128i lo = _mm_or_si128(low_nibbles(v), fifth(p + 4));
        __m128i hi = _mm_or_si128(high_nibbles(v), fifth(p + 6));
        put16_min(dst, lo, half_at(p), half_at(p + 2));
        put16_min(dst + 16, hi, half_at(p), half_at(p + 2));
    }
}

static void decode_q8_0(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_q8_0)) {
        put16(dst, load128(p + 2), half_at(p));
        put16(dst + 16, load128(p + 18), half_at(p));
    }
}

HD_INLINE void put_levels(float *dst, const uint8_t *qs, const int8_t levels[16], float d)
{
    __m128i table = load128(levels), v = load128(qs);
    put16(dst, _mm_shuffle_epi8(table, low_nibbles(v)), d);
    put16(dst + 16, _mm_shuffle_epi8(table, high_nibbles(v)), d);
}

static void decode_iq4_nl(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_iq4_nl))
        put_levels(dst, p + 2, hd_iq4_levels, half_at(p));
}

static void decode_mxfp4(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 32, dst += 32, p += sizeof(hd_block_mxfp4))
        put_levels(dst, p + 1, hd_mxfp4_levels, hd_mxfp4_scale(*p));
}

// ---- blocks of 128 -------------------------------------------------------------------------

static void decode_f8_b128(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 128, p += sizeof(hd_block_f8_b128)) {
        const __m256 d = f_set(load_f32(p)), scale = f_set(256.0f); // see small_e4m3
        for (int j = 0; j < 128; j += 8, dst += 8)
            f_store(dst, f_mul(f_mul(f_load_as(HD_F8_E4M3, p + 4 + j), scale), d));
    }
}

// ---- super-blocks --------------------------------------------------------------------------

// Group g of 16 elements of Q2_K and Q3_K: two bits of sixteen bytes.
HD_INLINE __m128i two_bits(const uint8_t *qs, int g)
{
    return field(load128(qs + g / 8 * 32 + g % 2 * 16), g % 8 / 2 * 2, 0, 3);
}

static void decode_q2_k(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_q2_k)) {
        float d = half_at(p + 80), dmin = half_at(p + 82);
        for (int g = 0; g < 16; g++, dst += 16)
            put16_min(dst, two_bits(p + 16, g), d * (float)(p[g] & 15),
                      -(dmin * (float)(p[g] >> 4)));
    }
}

static void decode_q3_k(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_q3_k)) {
        int8_t scale[16];
        hd_q3k_scales(p + 96, scale);
        float d = half_at(p + 108);
        for (int g = 0; g < 16; g++, dst += 16) {
            __m128i high = field(load128(p + g % 2 * 16), g / 2, 2, 4);
            __m128i q = minus(_mm_or_si128(two_bits(p + 32, g), high), 4);
            put16(dst, q, d * (float)scale[g]);
        }
    }
}

// Sub-block k of 32 elements: nibbles of 32 bytes, low ones for even k.
HD_INLINE __m128i k_nibbles(const uint8_t *qs, int k, int half)
{
    return field(load128(qs + k / 2 * 32 + half * 16), k % 2 * 4, 0, 15);
}

static void decode_q4_k(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_q4_k)) {
        uint8_t scale[8], min[8];
        hd_k4_scales(p + 4, scale, min);
        float d = half_at(p), dmin = half_at(p + 2);
        for (int k = 0; k < 8; k++)
            for (int half = 0; half < 2; half++, dst += 16)
                put16_min(dst, k_nibbles(p + 16, k, half), d * (float)scale[k],
                          -(dmin * (float)min[k]));
    }
}

static void decode_q5_k(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_q5_k)) {
        uint8_t scale[8], min[8];
        hd_k4_scales(p + 4, scale, min);
        float d = half_at(p), dmin = half_at(p + 2);
        for (int k = 0; k < 8; k++)
            for (int half = 0; half < 2; half++, dst += 16) {
                __m128i high = field(load128(p + 16 + half * 16), k, 4, 16);
                __m128i q = _mm_or_si128(k_nibbles(p + 48, k, half), high);
                put16_min(dst, q, d * (float)scale[k], -(dmin * (float)min[k]));
            }
    }
}

static void decode_q6_k(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_q6_k)) {
        const uint8_t *scale = p + 192;
        float d = half_at(p + 208);
        for (int g = 0; g < 16; g++, dst += 16) {
            int part = g / 8, quarter = g % 8 / 2; // 128 elements, 32 of these
            __m128i low = load128(p + part * 64 + quarter % 2 * 32 + g % 2 * 16);
            __m128i high = load128(p + 128 + part * 32 + g % 2 * 16);
            __m128i q =
                _mm_or_si128(field(low, quarter / 2 * 4, 0, 15), field(high, quarter * 2, 4, 0x30));
            put16(dst, minus(q, 32), d * (float)(int8_t)scale[g]);
        }
    }
}

static void decode_iq4_xs(const void *restrict src, float *restrict dst, int64_t n)
{
    const uint8_t *p = src;
    for (; n > 0; n -= 256, p += sizeof(hd_block_iq4_xs)) {
        hd_block_iq4_xs head;
        int8_t scale[8];
        memcpy(&head, p, sizeof(head));
        hd_iq4xs_scales(&head, scale);
        for (int k = 0; k < 8; k++, dst += 32)
            put_levels(dst, p + 8 + 16 * k, hd_iq4_levels, half_at(p) * (float)scale[k]);
    }
}

#include "kernels/cpu/tmpl/decode_tmpl.c"

void hd_fill_avx2_decode(hd_cpu_fns *f)
{
    fill_decode(f);
}
