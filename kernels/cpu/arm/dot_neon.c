// Matrix kernels of block formats with NEON's dot products: tiles of four rows by up to MAX_TOK
// tokens, which share the unpacked codes.
//
// SDOT gives four integers per row. Those of the tile's rows are added to one vector with a row per
// lane before anything else is done to them, so conversions and scales serve four rows at once:
//   blocks of 32    acc = acc + act.d * (d * (dot - offset * act.sum) + m * act.sum)
//   super-blocks    isum = sum of scale * dot, less offset * sum of scale * bsum;
//                   acc = acc + act.d * (d * isum - dmin * sum of min * bsum)
// All integers are exact; sums of floats run over blocks in ascending order, as in ref/dot.c.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/blocks.h"

enum { ROWS = 4 };

// Sums of the products of two (or with r and b NULL one) vectors per row.
HD_INLINE int32x4_t dots(const int8x16_t q[ROWS], int8x16_t a, const int8x16_t *r, int8x16_t b)
{
    int32x4_t s[ROWS];
    for (int i = 0; i < ROWS; i++) {
        s[i] = vdotq_s32(vdupq_n_s32(0), q[i], a);
        if (r) s[i] = vdotq_s32(s[i], r[i], b);
    }
    return sums4(s[0], s[1], s[2], s[3]);
}

// ---- blocks of 32 --------------------------------------------------------------------------

typedef struct w32 { // a block of each row
    int8x16_t lo[ROWS], hi[ROWS];
    float32x4_t d, m;
} w32;

// 2^(e - 128) for the exponent at each pointer.
HD_INLINE float32x4_t mxfp4_scales(const uint8_t *const p[ROWS])
{
    const uint32_t bytes[ROWS] = {*p[0], *p[1], *p[2], *p[3]};
    uint32x4_t e = vld1q_u32(bytes);
    uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
    uint32x4_t tiny = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
    return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), tiny, normal));
}

HD_INLINE w32 load_w32(hd_dtype type, const uint8_t *const p[ROWS])
{
    w32 w;
    for (int r = 0; r < ROWS; r++) {
        w.lo[r] = codes32(type, p[r], 0);
        w.hi[r] = codes32(type, p[r], 1);
    }
    w.d = type == HD_MXFP4 ? mxfp4_scales(p) : halves_at(p, 0);
    w.m = has_min(type) ? halves_at(p, 2) : vdupq_n_f32(0);
    return w;
}

HD_INLINE float32x4_t step32(hd_dtype type, float32x4_t acc, const w32 *w, const hd_act_q8_32 *a)
{
    int32x4_t dot = dots(w->lo, vld1q_s8(a->q), w->hi, vld1q_s8(a->q + 16));
    int32x4_t sum = vld1q_dup_s32(&a->sum);
    if (offset_shift(type)) dot = vsubq_s32(dot, sum << offset_shift(type));
    float32x4_t t = vmulq_f32(vcvtq_f32_s32(dot), w->d);
    if (has_min(type)) t = vfmaq_f32(t, w->m, vcvtq_f32_s32(sum));
    return vfmaq_n_f32(acc, t, a->d);
}

HD_INLINE void tile32(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const uint8_t *p[ROWS], *next = mm_ahead(c, r0, ROWS);
    const hd_act_q8_32 *x[MAX_TOK];
    float32x4_t acc[MAX_TOK];
    for (int r = 0; r < ROWS; r++)
        p[r] = mm_row(c, r0 + r);
    HD_UNROLL16
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_32 *)(const void *)mm_tok(c, t0 + t);
        acc[t] = vdupq_n_f32(0);
    }
    for (int b = 0; b < c->n_in / HD_QK; b++) {
        w32 w = load_w32(type, p);
        next = mm_prefetch(next, ROWS * block_bytes(type));
        for (int r = 0; r < ROWS; r++)
            p[r] += block_bytes(type);
        HD_UNROLL16
        for (int t = 0; t < n_tok; t++)
            acc[t] = step32(type, acc[t], &w, x[t] + b);
    }
    HD_UNROLL16
    for (int t = 0; t < n_tok; t++)
        mm_store(c, r0, t0 + t, ROWS, acc[t]);
}

// ---- scales of super-blocks ----------------------------------------------------------------

// A word of four bytes of each row is a vector, a row per 32-bit lane.
typedef struct w256 {
    uint8x16_t scale[4];    // words of signed scales, sub-blocks in order
    int16x8_t min[ROWS][2]; // what bsum is multiplied by: minima, or scales where codes are offset;
                            // one vector per row where sub-blocks have 32 elements
    float32x4_t d, dmin;
} w256;

// Vectors of 16 bytes of each row become words, and the other way round.
HD_INLINE void transpose(uint8x16_t v[4])
{
    uint32x4_t a = vreinterpretq_u32_u8(v[0]), b = vreinterpretq_u32_u8(v[1]);
    uint32x4_t c = vreinterpretq_u32_u8(v[2]), d = vreinterpretq_u32_u8(v[3]);
    uint64x2_t ab0 = vreinterpretq_u64_u32(vtrn1q_u32(a, b));
    uint64x2_t ab1 = vreinterpretq_u64_u32(vtrn2q_u32(a, b));
    uint64x2_t cd0 = vreinterpretq_u64_u32(vtrn1q_u32(c, d));
    uint64x2_t cd1 = vreinterpretq_u64_u32(vtrn2q_u32(c, d));
    v[0] = vreinterpretq_u8_u64(vtrn1q_u64(ab0, cd0));
    v[1] = vreinterpretq_u8_u64(vtrn1q_u64(ab1, cd1));
    v[2] = vreinterpretq_u8_u64(vtrn2q_u64(ab0, cd0));
    v[3] = vreinterpretq_u8_u64(vtrn2q_u64(ab1, cd1));
}

HD_INLINE void load_rows(const uint8_t *const p[ROWS], int at, uint8x16_t v[4])
{
    for (int r = 0; r < ROWS; r++)
        v[r] = load16(p[r] + at);
}

HD_INLINE void mins_unsigned(uint8x16_t v, int16x8_t min[2])
{
    min[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(v)));
    min[1] = vreinterpretq_s16_u16(vmovl_high_u8(v));
}

HD_INLINE void mins_signed(uint8x16_t v, int16x8_t min[2])
{
    min[0] = vmovl_s8(vget_low_s8(vreinterpretq_s8_u8(v)));
    min[1] = vmovl_high_s8(vreinterpretq_s8_u8(v));
}

// The lower or upper halves of a word as half-precision numbers.
HD_INLINE float32x4_t lower_halves(uint8x16_t word)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_u8(word))));
}
HD_INLINE float32x4_t upper_halves(uint8x16_t word)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(vreinterpretq_u32_u8(word), 16)));
}

// Q4_K, Q5_K: d and dmin, then twelve bytes of 6-bit numbers: scales 0..3 with two bits of scales
// 4..7 above, the same for minima, nibbles of scales 4..7 and minima 4..7.
HD_INLINE void scales_k4(const uint8_t *const p[ROWS], w256 *w)
{
    uint8x16_t v[4], min[2];
    const uint8x16_t six = vdupq_n_u8(0x3f);
    load_rows(p, 0, v);
    transpose(v);
    w->d = lower_halves(v[0]);
    w->dmin = upper_halves(v[0]);
    w->scale[0] = vandq_u8(v[1], six);
    w->scale[1] = put_bits(low_nibbles(v[3]), move_bits(v[1], 6, 4), 0x30);
    min[0] = vandq_u8(v[2], six);
    min[1] = put_bits(high_nibbles(v[3]), move_bits(v[2], 6, 4), 0x30);
    uint32x4_t lo = vreinterpretq_u32_u8(min[0]), hi = vreinterpretq_u32_u8(min[1]);
    int16x8_t two[2]; // eight minima of two rows
    for (int r = 0; r < ROWS; r += 2) {
        mins_unsigned(vreinterpretq_u8_u32(r ? vzip2q_u32(lo, hi) : vzip1q_u32(lo, hi)), two);
        w->min[r][0] = two[0];
        w->min[r + 1][0] = two[1];
    }
}

HD_INLINE void scales_q2_k(const uint8_t *const p[ROWS], w256 *w)
{
    uint8x16_t v[4];
    load_rows(p, 0, v);
    for (int r = 0; r < ROWS; r++) {
        mins_unsigned(high_nibbles(v[r]), w->min[r]);
        w->scale[r] = low_nibbles(v[r]);
    }
    transpose(w->scale);
    w->d = halves_at(p, 80);
    w->dmin = halves_at(p, 82);
}

// Twelve bytes a, b, c (four each): scale k of 0..3 is a & 15 with bits 0, 1 of c above, of 4..7
// b & 15 with bits 2, 3, of 8..11 a >> 4 with bits 4, 5, of 12..15 b >> 4 with bits 6, 7.
HD_INLINE void scales_q3_k(const uint8_t *const p[ROWS], w256 *w)
{
    uint8x16_t v[4];
    load_rows(p, 94, v); // the block's last 16 bytes: two of other things, a, b, c and d
    for (int r = 0; r < ROWS; r++)
        v[r] = vextq_u8(v[r], v[r], 2);
    transpose(v);
    w->d = lower_halves(v[3]);
    for (int i = 0; i < 4; i++) {
        uint8x16_t low = nibbles(v[i % 2], i / 2), high = move_bits(v[2], 2 * i, 4);
        w->scale[i] = vsubq_u8(put_bits(low, high, 0x30), vdupq_n_u8(32));
    }
    for (int r = 0; r < ROWS; r++)
        v[r] = w->scale[r];
    transpose(v);
    for (int r = 0; r < ROWS; r++)
        mins_signed(v[r], w->min[r]);
}

HD_INLINE void scales_q6_k(const uint8_t *const p[ROWS], w256 *w)
{
    load_rows(p, 192, w->scale);
    for (int r = 0; r < ROWS; r++)
        mins_signed(w->scale[r], w->min[r]);
    transpose(w->scale);
    w->d = halves_at(p, 208);
}

// d, then 16 bits with two upper bits of each scale, then a nibble of each scale.
HD_INLINE void scales_iq4_xs(const uint8_t *const p[ROWS], w256 *w)
{
    const uint8x16_t each =
        vreinterpretq_u8_u32((uint32x4_t){0, 0x04040404, 0x08080808, 0x0c0c0c0c});
    const int8x16_t place = vreinterpretq_s8_u32(vdupq_n_u32(0xfe000204)); // 4, 2, 0, -2
    uint32x4_t a = vreinterpretq_u32_u8(vcombine_u8(vld1_u8(p[0]), vld1_u8(p[1])));
    uint32x4_t b = vreinterpretq_u32_u8(vcombine_u8(vld1_u8(p[2]), vld1_u8(p[3])));
    uint8x16_t head = vreinterpretq_u8_u32(vuzp1q_u32(a, b));
    uint8x16_t packed = vreinterpretq_u8_u32(vuzp2q_u32(a, b));
    uint8x16_t even = low_nibbles(packed), odd = high_nibbles(packed);
    a = vreinterpretq_u32_u8(vzip1q_u8(even, odd)); // the eight of row 0, of row 1
    b = vreinterpretq_u32_u8(vzip2q_u8(even, odd));
    w->scale[0] = vreinterpretq_u8_u32(vuzp1q_u32(a, b));
    w->scale[1] = vreinterpretq_u8_u32(vuzp2q_u32(a, b));
    for (int i = 0; i < 2; i++) {
        uint8x16_t high = vqtbl1q_u8(head, vaddq_u8(each, vdupq_n_u8((uint8_t)(2 + i))));
        w->scale[i] = put_bits(w->scale[i], vshlq_u8(high, place), 0x30);
        w->scale[i] = vsubq_u8(w->scale[i], vdupq_n_u8(32));
    }
    w->d = lower_halves(head);
}

HD_INLINE void scales256(hd_dtype type, const uint8_t *const p[ROWS], w256 *w)
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
        scales_q6_k(p, w);
        break;
    default: // HD_IQ4_XS
        scales_iq4_xs(p, w);
        break;
    }
}

// Scale k of each row.
HD_INLINE int32x4_t scale_of(const w256 *w, int k)
{
    int32x4_t v = vreinterpretq_s32_u8(w->scale[k / 4]);
    return (v << (24 - 8 * (k % 4))) >> 24;
}

// ---- products of super-blocks --------------------------------------------------------------

HD_INLINE int32x4_t min_sums(hd_dtype type, const w256 *w, const hd_act_q8_256 *a)
{
    int16x8_t lo = vld1q_s16(a->bsum), hi = vld1q_s16(a->bsum + 8);
    int32x4_t s[ROWS];
    if (wide_sub_blocks(type)) lo = vpaddq_s16(lo, hi);
    for (int r = 0; r < ROWS; r++) {
        s[r] = vmull_s16(vget_low_s16(w->min[r][0]), vget_low_s16(lo));
        s[r] = vmlal_high_s16(s[r], w->min[r][0], lo);
        if (wide_sub_blocks(type)) continue;
        s[r] = vmlal_s16(s[r], vget_low_s16(w->min[r][1]), vget_low_s16(hi));
        s[r] = vmlal_high_s16(s[r], w->min[r][1], hi);
    }
    return sums4(s[0], s[1], s[2], s[3]);
}

// Codes in several pieces, sixteen scales: registers for up to four tokens.
HD_INLINE bool is_crowded(hd_dtype type)
{
    return is_super(type) && type != HD_Q4_K && type != HD_IQ4_XS;
}

// Sub-block k times each token's.
HD_INLINE void add_sub_block(hd_dtype type, int k, const w256 *w, const uint8_t *const p[ROWS],
                             const hd_act_q8_256 *const x[], int n_tok, int32x4_t isum[])
{
    const bool wide = wide_sub_blocks(type);
    const int g = wide ? 2 * k : k;
    int8x16_t q[ROWS], r[ROWS];
    // Loading what groups far apart share anew is cheaper than the compiler's spills would be.
    if (is_crowded(type) && n_tok > 1) __asm__ volatile("" ::: "memory");
    int32x4_t scale = scale_of(w, k);
    for (int i = 0; i < ROWS; i++) {
        q[i] = codes256(type, p[i], g);
        if (wide) r[i] = codes256(type, p[i], g + 1);
    }
    HD_UNROLL16
    for (int t = 0; t < n_tok; t++) {
        int8x16_t a = vld1q_s8(x[t]->q + 16 * g);
        int32x4_t dot = wide ? dots(q, a, r, vld1q_s8(x[t]->q + 16 * g + 16)) : dots(q, a, NULL, a);
        isum[t] = vmlaq_s32(isum[t], dot, scale);
    }
}

HD_INLINE float32x4_t finish256(hd_dtype type, float32x4_t acc, int32x4_t isum, const w256 *w,
                                const hd_act_q8_256 *a)
{
    if (offset_shift(type)) isum = vsubq_s32(isum, min_sums(type, w, a) << offset_shift(type));
    float32x4_t t = vmulq_f32(vcvtq_f32_s32(isum), w->d);
    if (has_min(type)) t = vfmsq_f32(t, vcvtq_f32_s32(min_sums(type, w, a)), w->dmin);
    return vfmaq_n_f32(acc, t, a->d);
}

HD_INLINE void tile256(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const uint8_t *p[ROWS], *next = mm_ahead(c, r0, ROWS);
    const hd_act_q8_256 *x[MAX_TOK];
    float32x4_t acc[MAX_TOK];
    for (int r = 0; r < ROWS; r++)
        p[r] = mm_row(c, r0 + r);
    HD_UNROLL16
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_256 *)(const void *)mm_tok(c, t0 + t);
        acc[t] = vdupq_n_f32(0);
    }
    for (int b = 0; b < c->n_in / HD_QK_K; b++) {
        const int n_sub = wide_sub_blocks(type) ? 8 : 16;
        w256 w;
        int32x4_t isum[MAX_TOK];
        next = mm_prefetch(next, ROWS * block_bytes(type));
        scales256(type, p, &w);
        HD_UNROLL16
        for (int t = 0; t < n_tok; t++)
            isum[t] = vdupq_n_s32(0);
        HD_UNROLL16
        for (int k = 0; k < n_sub; k++)
            add_sub_block(type, k, &w, p, x, n_tok, isum);
        HD_UNROLL16
        for (int t = 0; t < n_tok; t++)
            acc[t] = finish256(type, acc[t], isum[t], &w, x[t]++);
        for (int r = 0; r < ROWS; r++)
            p[r] += block_bytes(type);
    }
    HD_UNROLL16
    for (int t = 0; t < n_tok; t++)
        mm_store(c, r0, t0 + t, ROWS, acc[t]);
}

// ---- the call ------------------------------------------------------------------------------

HD_INLINE void tile(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    if (is_super(type))
        tile256(c, r0, t0, n_tok, type);
    else
        tile32(c, r0, t0, n_tok, type);
}

HD_INLINE void sweep(const mm_call *c, hd_dtype type)
{
    for (int r = 0; r < c->n_rows; r += ROWS)
        for (int t = 0; t < c->n_tok;) {
            int n = mm_tokens(c->n_tok - t);
            if (is_crowded(type) && n > 4) n = 4;
            if (n == 8)
                tile(c, r, t, 8, type);
            else if (n == 4)
                tile(c, r, t, 4, type);
            else if (n == 2)
                tile(c, r, t, 2, type);
            else
                tile(c, r, t, 1, type);
            t += n;
        }
}

#include "kernels/cpu/tmpl/dot_blocks_tmpl.c"

void hd_fill_neon_dot(hd_cpu_fns *f)
{
    fill_blocks(f);
}
