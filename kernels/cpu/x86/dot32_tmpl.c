// Blocks of 32 weights times 8-bit activations without VNNI: tiles of some vectors' rows over
// block32_tmpl.c's codes, with the level's
//   dot32(start, lo, a, hi, b)         start + lo * a + hi * b for unsigned codes below 32
//   signed_dot32(start, lo, a, hi, b)  the same for signed codes, plus signed_quarter * 4 * (a + b)
//   VECS, VECS_MANY                    vectors of rows in a tile of few (1, 2) and many tokens
// One conversion and two multiplications serve 32 products per row. Per token and block
//   isum = sum of code * act, in four exact integers per row, starting at -offset / 4 * act.sum;
//   acc  = acc + act.d * (d * isum + m / 4 * act.sum), per lane; lanes are added at the row's end.
#include "kernels/cpu/x86/block32_tmpl.c"

typedef struct w32 { // weights
    q32 q;
    vf d, m; // scale; a quarter of the minimum
} w32;

typedef struct x32 { // the token's side
    vi lo, hi, start;
    vf d, sum;
} x32;

// A quarter of the offset of the codes.
HD_INLINE int quarter32(hd_dtype type)
{
    return is_signed32(type) ? signed_quarter : offset32(type) / 4;
}

HD_INLINE w32 load_w32(hd_dtype type, const uint8_t *const p[LANES])
{
    w32 w;
    codes32(type, p, &w.q);
    w.d = type == HD_MXFP4 ? f_e8m0_half(p) : f_half(p, 0);
    w.m = has_min(type) ? f_mul(f_half(p, 2), f_set(0.25f)) : f_zero();
    return w;
}

HD_INLINE x32 load_x32(hd_dtype type, const hd_act_q8_32 *a)
{
    x32 x = {.lo = v_lane(load128(a->q)),
             .hi = v_lane(load128(a->q + 16)),
             .start = v_zero(),
             .d = f_set(a->d),
             .sum = f_zero()};
    if (quarter32(type))
        x.start = v_sub32(v_zero(), v_mul32(v_set32(a->sum), v_set32(quarter32(type))));
    if (has_min(type)) x.sum = f_int(v_set32(a->sum));
    return x;
}

HD_INLINE vf step32(hd_dtype type, vf acc, const w32 *w, const x32 *x)
{
    vi isum = is_signed32(type) ? signed_dot32(x->start, w->q.lo, x->lo, w->q.hi, x->hi)
                                : dot32(x->start, w->q.lo, x->lo, w->q.hi, x->hi);
    vf t = f_int(isum);
    t = has_min(type) ? f_fmadd(t, w->d, f_mul(w->m, x->sum)) : f_mul(t, w->d);
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
                p[k][r] += block_bytes(type);
        }
        next = mm_prefetch(next, (size_t)(n_vecs * LANES) * block_bytes(type));
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
