// Super-blocks of 256 weights times 8-bit activations, up to the exact sums: a template over a
// vocabulary (vec_avx2.h or vec_avx512.h) and a level's byte products, which its file defines
// before including this:
//   dot_pairs(acc, a, b)                 acc + sums of pairs of 16-bit products
//   scaled_dot16(acc, q, a, scale)       acc + scale * (q * a), codes below 64
//   scaled_dot32(acc, q, a, r, b, scale) acc + scale * (q * a + r * b), codes below 32
//   scaled_dot_iq4                       the same for IQ4_XS's levels
//   iq4_raised                           whether it takes these raised by 128, as unsigned bytes
//   scale16_form, scale32_form, scale_iq4_form   which lanes they want of a 16-bit scale
//
// A vector holds a group of 16 elements of each of its rows, a row per 128-bit lane; groups 0..15
// make a super-block. Groups are unpacked in the order in which they share bytes, multiplied by
// each token's, and by their sub-block's scale:
//   isum = sum of scale * (code * act), in four exact integers per row; formats with an offset
//          start it at -offset * scale * bsum.
typedef struct w256 {
    vi scale[2]; // 16-bit, eight per vector and row
    vi min[2];   // to be multiplied by bsum: minima or -offset * scale
    vf d, dmin;
} w256;

// ---- what differs by type ------------------------------------------------------------------

// min holds offset corrections.
HD_INLINE bool has_offset256(hd_dtype type)
{
    return type == HD_Q6_K || type == HD_Q3_K || (type == HD_IQ4_XS && iq4_raised);
}

// ---- scales --------------------------------------------------------------------------------

HD_INLINE vi lanes32(int a, int b, int c, int d)
{
    return v_lane(_mm_setr_epi32(a, b, c, d));
}

// Dword k of each lane, four times, or dwords a and b twice.
HD_INLINE vi pick_dwords(vi v, int a, int b, int c, int d)
{
    const int dword = 0x03020100;
    return v_shuffle8(v, lanes32(dword + a * 0x04040404, dword + b * 0x04040404,
                                 dword + c * 0x04040404, dword + d * 0x04040404));
}

// Scales become -scale << shift: what an offset of 1 << shift takes from every code.
HD_INLINE vi offset_min(vi scale, int shift)
{
    return v_sll16(v_sub16(v_zero(), scale), shift);
}

// Sixteen signed scale bytes per row.
HD_INLINE void signed_scales(vi bytes, int shift, w256 *w)
{
    w->scale[0] = v_sra16(v_unpacklo8(bytes, bytes), 8);
    w->scale[1] = v_sra16(v_unpackhi8(bytes, bytes), 8);
    w->min[0] = offset_min(w->scale[0], shift);
    w->min[1] = offset_min(w->scale[1], shift);
}

// Q4_K, Q5_K: d, dmin and twelve bytes of 6-bit numbers are 16 bytes.
//   dword 1: scales 0..3 and two bits of scales 4..7    dword 2: the same for minima
//   dword 3: nibbles of scales 4..7 and minima 4..7
HD_INLINE void scales_k4(const uint8_t *const p[LANES], w256 *w)
{
    vi head = v_rows(p, 0);
    vi low = v_and8(head, 0x3f);
    vi rest = v_srlv32(pick_dwords(head, 3, 3, 3, 3), lanes32(0, 0, 4, 0));
    vi high = v_or_masked8(v_and8(rest, 15), v_srl16(head, 2), 0x30);
    vi scale = v_unpacklo32(low, high); // scales in the upper eight bytes
    vi min = v_unpackhi32(low, high);   // minima in the lower eight
    min = v_unpacklo8(min, min);        // each for two bsums
    w->scale[0] = v_unpackhi8(scale, v_zero());
    w->min[0] = v_unpacklo8(min, v_zero());
    w->min[1] = v_unpackhi8(min, v_zero());
    w->d = f_half(p, 0);
    w->dmin = f_half(p, 2);
}

HD_INLINE void scales_q2_k(const uint8_t *const p[LANES], w256 *w)
{
    vi v = v_rows(p, 0);
    vi scale = v_and8(v, 15), min = v_and8(v_srl16(v, 4), 15);
    w->scale[0] = v_unpacklo8(scale, v_zero());
    w->scale[1] = v_unpackhi8(scale, v_zero());
    w->min[0] = v_unpacklo8(min, v_zero());
    w->min[1] = v_unpackhi8(min, v_zero());
    w->d = f_half(p, 80);
    w->dmin = f_half(p, 82);
}

// Twelve bytes a, b, c (four each): scale k of 0..3 is a & 15 with bits 0, 1 of c above, of 4..7
// b & 15 with bits 2, 3, of 8..11 a >> 4 with bits 4, 5, of 12..15 b >> 4 with bits 6, 7.
HD_INLINE void scales_q3_k(const uint8_t *const p[LANES], w256 *w)
{
    const __m128i abc = _mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1);
    vi v = v_shuffle8(v_rows(p, 94), v_lane(abc)); // the block's last 16 bytes
    vi low = v_srlv32(pick_dwords(v, 0, 1, 0, 1), lanes32(0, 0, 4, 4));
    vi high = v_sllv32(pick_dwords(v, 2, 2, 2, 2), lanes32(4, 2, 0, 0));
    high = v_srlv32(high, lanes32(0, 0, 0, 2));
    vi scale = v_or_masked8(v_and8(low, 15), high, 0x30);
    signed_scales(v_sub8(scale, v_set8(32)), 2, w);
    w->d = f_half(p, 108);
}

// d, then 16 bits with two upper bits of each scale, then a nibble of each scale.
HD_INLINE void scales_iq4_xs(const uint8_t *const p[LANES], w256 *w)
{
    const __m128i nibbles = _mm_setr_epi8(4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
    const __m128i word = _mm_set1_epi16(0x0302);
    const __m128i place =
        _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1);
    vi head = v_rows(p, 0);
    vi low = v_shuffle8(head, v_lane(nibbles)); // even scales want the low nibble, odd the high
    low = v_or(v_and(low, v_set32(15)), v_and(v_srl16(low, 4), v_set32(15 << 16)));
    vi high = v_mul16(v_shuffle8(head, v_lane(word)), v_lane(place)); // bits on top
    vi scale = v_or(low, v_and(v_srl16(high, 10), v_set16(0x30)));
    scale = v_sub16(scale, v_set16(32));
    w->scale[0] = scale;
    w->min[0] = offset_min(v_unpacklo16(scale, scale), 7); // each for two bsums
    w->min[1] = offset_min(v_unpackhi16(scale, scale), 7);
    w->d = f_half(p, 0);
}

HD_INLINE void scales256(hd_dtype type, const uint8_t *const p[LANES], w256 *w)
{
    switch (type) {
    case HD_Q2_K:
        scales_q2_k(p, w);
        break;
    case HD_Q3_K:
        scales_q3_k(p, w);
        break;
    case HD_Q4_K:
    case HD_Q5_K:
        scales_k4(p, w);
        break;
    case HD_Q6_K:
        signed_scales(v_rows(p, 192), 5, w);
        w->d = f_half(p, 208);
        break;
    default: // HD_IQ4_XS
        scales_iq4_xs(p, w);
        break;
    }
}

// Scale k of each row over its lane, in the form a product wants.
HD_INLINE vi lane_scale(const w256 *w, int k, uint32_t form)
{
    uint32_t byte = 2 * ((uint32_t)k % 8);
    return v_shuffle8(w->scale[k / 8], v_set32((int)(byte * 0x01010101u + form)));
}

// ---- codes ---------------------------------------------------------------------------------

// Four groups of codes that share bytes. Step k of 0..3 has groups 4 k + i where sub-blocks have 32
// elements, and 8 (k / 2) + 2 i + k % 2 where they have 16.
typedef struct codes64 {
    vi q[4];
} codes64;

HD_INLINE int group_of(hd_dtype type, int step, int i)
{
    return wide_sub_blocks(type) ? 4 * step + i : 8 * (step / 2) + 2 * i + step % 2;
}

HD_INLINE void nibbles(vi v, vi *lo, vi *hi)
{
    *lo = v_and8(v, 15);
    *hi = v_and8(v_srl16(v, 4), 15);
}

// Bits `from`.. moved to bits `to`.. of every byte; what crosses bytes is masked by the caller.
HD_INLINE vi move_bits(vi v, int from, int to)
{
    return from < to ? v_sll16(v, to - from) : v_srl16(v, from - to);
}

HD_INLINE codes64 codes_k4(hd_dtype type, const uint8_t *const p[LANES], int step)
{
    codes64 c;
    size_t at = (type == HD_Q5_K ? 48 : 16) + 32 * (size_t)step;
    nibbles(v_rows(p, at), &c.q[0], &c.q[2]);
    nibbles(v_rows(p, at + 16), &c.q[1], &c.q[3]);
    if (type == HD_Q5_K)
        for (int i = 0; i < 4; i++) {
            vi high = v_rows(p, 16 + 16 * (size_t)(i % 2));
            c.q[i] = v_or_masked8(c.q[i], move_bits(high, 2 * step + i / 2, 4), 16);
        }
    return c;
}

HD_INLINE codes64 codes_q6_k(const uint8_t *const p[LANES], int step)
{
    codes64 c;
    size_t n = (size_t)step / 2, half = (size_t)step % 2;
    nibbles(v_rows(p, 64 * n + 16 * half), &c.q[0], &c.q[2]);
    nibbles(v_rows(p, 64 * n + 32 + 16 * half), &c.q[1], &c.q[3]);
    vi high = v_rows(p, 128 + 32 * n + 16 * half);
    for (int i = 0; i < 4; i++)
        c.q[i] = v_or_masked8(c.q[i], move_bits(high, 2 * i, 4), 0x30);
    return c;
}

HD_INLINE codes64 codes_two_bits(hd_dtype type, const uint8_t *const p[LANES], int step)
{
    codes64 c;
    size_t n = (size_t)step / 2, half = (size_t)step % 2;
    vi v = v_rows(p, (type == HD_Q3_K ? 32 : 16) + 32 * n + 16 * half);
    for (int i = 0; i < 4; i++)
        c.q[i] = v_and8(move_bits(v, 2 * i, 0), 3);
    if (type == HD_Q3_K) {
        vi high = v_rows(p, 16 * half);
        for (int i = 0; i < 4; i++)
            c.q[i] = v_or_masked8(c.q[i], move_bits(high, 4 * (int)n + i, 2), 4);
    }
    return c;
}

HD_INLINE codes64 codes_iq4_xs(const uint8_t *const p[LANES], int step)
{
    vi levels = v_xor(v_lane(load128(hd_iq4_levels)), v_set8(iq4_raised ? 0x80 : 0));
    codes64 c;
    nibbles(v_rows(p, 8 + 32 * (size_t)step), &c.q[0], &c.q[1]);
    nibbles(v_rows(p, 24 + 32 * (size_t)step), &c.q[2], &c.q[3]);
    for (int i = 0; i < 4; i++)
        c.q[i] = v_shuffle8(levels, c.q[i]);
    return c;
}

HD_INLINE codes64 codes256(hd_dtype type, const uint8_t *const p[LANES], int step)
{
    switch (type) {
    case HD_Q2_K:
    case HD_Q3_K:
        return codes_two_bits(type, p, step);
    case HD_Q4_K:
    case HD_Q5_K:
        return codes_k4(type, p, step);
    case HD_Q6_K:
        return codes_q6_k(p, step);
    default:
        return codes_iq4_xs(p, step);
    }
}

// ---- products ------------------------------------------------------------------------------

HD_INLINE vi load_act(const hd_act_q8_256 *a, int group)
{
    return v_lane(load128(a->q + 16 * group));
}

HD_INLINE vi min_sums(const w256 *w, const hd_act_q8_256 *a)
{
    vi lo = v_lane(load128(a->bsum)), hi = v_lane(load128(a->bsum + 8));
    return dot_pairs(v_madd16(w->min[0], lo), w->min[1], hi);
}

HD_INLINE void step_narrow(hd_dtype type, int step, const w256 *w, const codes64 *c,
                           const hd_act_q8_256 *const x[], int n_tok, vi isum[])
{
    for (int i = 0; i < 4; i++) {
        int g = group_of(type, step, i);
        vi scale = lane_scale(w, g, scale16_form);
        for (int t = 0; t < n_tok; t++)
            isum[t] = scaled_dot16(isum[t], c->q[i], load_act(x[t], g), scale);
    }
}

HD_INLINE void step_wide(hd_dtype type, int step, const w256 *w, const codes64 *c,
                         const hd_act_q8_256 *const x[], int n_tok, vi isum[])
{
    bool iq4 = type == HD_IQ4_XS;
    for (int k = 0; k < 2; k++) {
        int g = group_of(type, step, 2 * k);
        vi q = c->q[2 * k], r = c->q[2 * k + 1];
        vi scale = lane_scale(w, g / 2, iq4 ? scale_iq4_form : scale32_form);
        for (int t = 0; t < n_tok; t++) {
            vi a = load_act(x[t], g), b = load_act(x[t], g + 1);
            isum[t] = iq4 ? scaled_dot_iq4(isum[t], q, a, r, b, scale)
                          : scaled_dot32(isum[t], q, a, r, b, scale);
        }
    }
}
