// Blocks of 32 weights times 8-bit activations: a template over a vocabulary (vec_avx2.h or
// vec_avx512.h) and a level's byte products, which its file defines before including this:
//   dot32(start, lo, a, hi, b)         start + lo * a + hi * b for unsigned codes below 32
//   signed_dot32(start, lo, a, hi, b)  the same for signed codes, plus signed_quarter * 4 * (a + b)
//   VECS, VECS_MANY                    vectors of rows in a tile of few (1, 2) and many tokens
//
// A vector holds 16 elements of each of its rows, a row per 128-bit lane, so one conversion and two
// multiplications serve 32 products per row, and no lane mixes rows. Per token and block:
//   isum = sum of code * act, in four exact integers per row, starting at -offset / 4 * act.sum;
//   acc  = acc + act.d * (d * isum + m / 4 * act.sum), per lane; lanes are added at the row's end.
typedef struct w32 {
    vi lo, hi; // codes of elements 0..15 and 16..31
    vf d, m;   // scale; a quarter of the minimum
} w32;

typedef struct x32 { // the token's side
    vi lo, hi, start;
    vf d, sum;
} x32;

// ---- what differs by type ------------------------------------------------------------------

HD_INLINE size_t bytes32(hd_dtype type)
{
    switch (type) {
    case HD_Q4_0:
        return sizeof(hd_block_q4_0);
    case HD_Q4_1:
        return sizeof(hd_block_q4_1);
    case HD_Q5_0:
        return sizeof(hd_block_q5_0);
    case HD_Q5_1:
        return sizeof(hd_block_q5_1);
    case HD_Q8_0:
        return sizeof(hd_block_q8_0);
    case HD_IQ4_NL:
        return sizeof(hd_block_iq4_nl);
    default:
        return sizeof(hd_block_mxfp4);
    }
}

HD_INLINE bool has_min32(hd_dtype type)
{
    return type == HD_Q4_1 || type == HD_Q5_1;
}

HD_INLINE bool is_signed32(hd_dtype type)
{
    return type == HD_Q8_0 || type == HD_IQ4_NL;
}

// A quarter of the offset of the codes.
HD_INLINE int quarter32(hd_dtype type)
{
    if (is_signed32(type)) return signed_quarter;
    return type == HD_Q4_0 ? 2 : type == HD_Q5_0 || type == HD_MXFP4 ? 4 : 0;
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

HD_INLINE void plain4(const uint8_t *const p[LANES], size_t at, w32 *w)
{
    vi v = v_rows(p, at);
    w->lo = low_nibbles(v);
    w->hi = high_nibbles(v);
}

// Blocks with their fifth bits at byte `bits` and the nibbles behind them.
HD_INLINE void plain5(const uint8_t *const p[LANES], int bits, w32 *w)
{
    vi head = v_rows(p, 0);
    plain4(p, (size_t)bits + 4, w);
    w->lo = add_fifth(w->lo, head, bits);
    w->hi = add_fifth(w->hi, head, bits + 2);
}

HD_INLINE void table4(const uint8_t *const p[LANES], size_t at, __m128i levels, w32 *w)
{
    plain4(p, at, w);
    w->lo = v_shuffle8(v_lane(levels), w->lo);
    w->hi = v_shuffle8(v_lane(levels), w->hi);
}

HD_INLINE void codes32(hd_dtype type, const uint8_t *const p[LANES], w32 *w)
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

HD_INLINE w32 load_w32(hd_dtype type, const uint8_t *const p[LANES])
{
    w32 w;
    codes32(type, p, &w);
    w.d = type == HD_MXFP4 ? f_e8m0_half(p) : f_half(p, 0);
    w.m = has_min32(type) ? f_mul(f_half(p, 2), f_set(0.25f)) : f_zero();
    return w;
}

// ---- products ------------------------------------------------------------------------------

HD_INLINE x32 load_x32(hd_dtype type, const hd_act_q8_32 *a)
{
    x32 x = {.lo = v_lane(load128(a->q)),
             .hi = v_lane(load128(a->q + 16)),
             .start = v_zero(),
             .d = f_set(a->d),
             .sum = f_zero()};
    if (quarter32(type))
        x.start = v_sub32(v_zero(), v_mul32(v_set32(a->sum), v_set32(quarter32(type))));
    if (has_min32(type)) x.sum = f_int(v_set32(a->sum));
    return x;
}

HD_INLINE vf step32(hd_dtype type, vf acc, const w32 *w, const x32 *x)
{
    vi isum = is_signed32(type) ? signed_dot32(x->start, w->lo, x->lo, w->hi, x->hi)
                                : dot32(x->start, w->lo, x->lo, w->hi, x->hi);
    vf t = f_int(isum);
    t = has_min32(type) ? f_fmadd(t, w->d, f_mul(w->m, x->sum)) : f_mul(t, w->d);
    return f_fmadd(t, x->d, acc);
}

HD_INLINE void tile32(const mm_call *c, int r0, int t0, int n_vecs, int n_tok, hd_dtype type)
{
    const uint8_t *p[VECS][LANES], *next = mm_ahead(c, r0, n_vecs * LANES);
    const hd_act_q8_32 *x[MAX_TOK];
    vf acc[VECS][MAX_TOK];
    for (int r = 0; r < n_vecs * LANES; r++)
        p[r / LANES][r % LANES] = mm_row(c, r0 + r);
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_32 *)(const void *)mm_tok(c, t0 + t);
        for (int k = 0; k < n_vecs; k++)
            acc[k][t] = f_zero();
    }
    for (int b = 0; b < c->n_in / HD_QK; b++) {
        w32 w[VECS];
        for (int k = 0; k < n_vecs; k++) {
            w[k] = load_w32(type, p[k]);
            for (int r = 0; r < LANES; r++)
                p[k][r] += bytes32(type);
        }
        next = mm_prefetch(next, (size_t)(n_vecs * LANES) * bytes32(type));
        for (int t = 0; t < n_tok; t++) {
            x32 y = load_x32(type, x[t]++);
            for (int k = 0; k < n_vecs; k++)
                acc[k][t] = step32(type, acc[k][t], &w[k], &y);
        }
    }
    for (int k = 0; k < n_vecs; k++)
        for (int t = 0; t < n_tok; t++)
            f_store_sums(c, r0 + LANES * k, t0 + t, acc[k][t]);
}

HD_INLINE void sweep32(const mm_call *c, hd_dtype type)
{
    for (int r = 0; r < c->n_rows; r += VECS * LANES)
        for (int t = 0; t < c->n_tok;) {
            int n = mm_tokens(c->n_tok - t);
            if (n == 1)
                tile32(c, r, t, VECS, 1, type);
            else if (n == 2)
                tile32(c, r, t, VECS, 2, type);
            else
                for (int v = 0; v < VECS; v += VECS_MANY) {
                    if (n == 4)
                        tile32(c, r + v * LANES, t, VECS_MANY, 4, type);
                    else
                        tile32(c, r + v * LANES, t, VECS_MANY, 8, type);
                }
            t += n;
        }
}
