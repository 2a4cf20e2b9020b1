// Blocks of 32 weights as codes and scales: a template over a vocabulary (vec_avx2.h,
// vec_avx512.h). A vector holds 16 elements of each of its rows, a row per 128-bit lane. A weight
// is
//   d * (code - offset32) + m
typedef struct q32 { // codes of elements 0..15 and 16..31
    vi lo, hi;
} q32;

// ---- what differs by type ------------------------------------------------------------------

HD_INLINE bool is_signed32(hd_dtype type)
{
    return type == HD_Q8_0 || type == HD_IQ4_NL;
}

// What codes as unsigned bytes have too much: 128 is that of signed codes, which codes32 leaves
// out.
HD_INLINE int offset32(hd_dtype type)
{
    if (is_signed32(type)) return 128;
    return type == HD_Q4_0 ? 8 : type == HD_Q5_0 || type == HD_MXFP4 ? 16 : 0;
}

// ---- unpacking -----------------------------------------------------------------------------

HD_INLINE vi low_nibbles(vi v)
{
    return v_and8(v, 15);
}

HD_INLINE vi high_nibbles(vi v)
{
    return v_and8(v_srl16(v, 4), 15);
}

// Adds 16 where the element's bit is set; the 16 bits are bytes first and first + 1 of the lane.
HD_INLINE vi add_fifth(vi q, vi head, int first)
{
    long long lo = 0x0101010101010101ll * first, hi = 0x0101010101010101ll * (first + 1);
    vi bytes = v_shuffle8(head, v_lane(_mm_set_epi64x(hi, lo)));
    return v_add16_where(q, bytes, v_lane(_mm_set1_epi64x((long long)0x8040201008040201ull)));
}

HD_INLINE void plain4(const uint8_t *const p[LANES], size_t at, q32 *w)
{
    vi v = v_rows(p, at);
    w->lo = low_nibbles(v);
    w->hi = high_nibbles(v);
}

// Blocks with their fifth bits at byte `bits` and the nibbles behind them.
HD_INLINE void plain5(const uint8_t *const p[LANES], int bits, q32 *w)
{
    vi head = v_rows(p, 0);
    plain4(p, (size_t)bits + 4, w);
    w->lo = add_fifth(w->lo, head, bits);
    w->hi = add_fifth(w->hi, head, bits + 2);
}

HD_INLINE void table4(const uint8_t *const p[LANES], size_t at, __m128i levels, q32 *w)
{
    plain4(p, at, w);
    w->lo = v_shuffle8(v_lane(levels), w->lo);
    w->hi = v_shuffle8(v_lane(levels), w->hi);
}

HD_INLINE void codes32(hd_dtype type, const uint8_t *const p[LANES], q32 *w)
{
    switch (type) {
    case HD_Q4_0:
        plain4(p, 2, w);
        break;
    case HD_Q4_1:
        plain4(p, 4, w);
        break;
    case HD_Q5_0:
        plain5(p, 2, w);
        break;
    case HD_Q5_1:
        plain5(p, 4, w);
        break;
    case HD_Q8_0:
        w->lo = v_rows(p, 2);
        w->hi = v_rows(p, 18);
        break;
    case HD_IQ4_NL:
        table4(p, 2, load128(hd_iq4_levels), w);
        break;
    default: // HD_MXFP4, its levels raised by 16
        table4(p, 1, _mm_add_epi8(load128(hd_mxfp4_levels), _mm_set1_epi8(16)), w);
        break;
    }
}
