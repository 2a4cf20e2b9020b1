// Super-blocks of 256 weights times 8-bit activations without VNNI: tiles of a vector's rows by up
// to MAX_TOK tokens over block256_tmpl.c's products. Per token and super-block
//   acc = acc + act.d * (d * isum - dmin * sum of min * bsum), per lane, added at the row's end.
#include "kernels/cpu/x86/block256_tmpl.c"

HD_INLINE vf finish256(hd_dtype type, vf acc, vi isum, const w256 *w, const hd_act_q8_256 *a)
{
    vf t = f_mul(f_int(isum), w->d);
    if (has_min(type)) t = f_fnmadd(f_int(min_sums(w, a)), w->dmin, t);
    return f_fmadd(t, f_set(a->d), acc);
}

HD_INLINE void tile256(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const uint8_t *p[LANES], *next = mm_ahead(c, r0, LANES);
    const hd_act_q8_256 *x[MAX_TOK];
    vf acc[MAX_TOK];
    for (int r = 0; r < LANES; r++)
        p[r] = mm_row(c, r0 + r);
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_256 *)(const void *)mm_tok(c, t0 + t);
        acc[t] = f_zero();
    }
    for (int b = 0; b < c->n_in / HD_QK_K; b++) {
        w256 w;
        vi isum[MAX_TOK];
        scales256(type, p, &w);
        for (int t = 0; t < n_tok; t++)
            isum[t] = has_offset256(type) ? min_sums(&w, x[t]) : v_zero();
        HD_UNROLL4
        for (int step = 0; step < 4; step++) {
            codes64 q = codes256(type, p, step);
            next = mm_prefetch(next, LANES * block_bytes(type) / 4);
            if (wide_sub_blocks(type))
                step_wide(type, step, &w, &q, x, n_tok, isum);
            else
                step_narrow(type, step, &w, &q, x, n_tok, isum);
        }
        for (int t = 0; t < n_tok; t++)
            acc[t] = finish256(type, acc[t], isum[t], &w, x[t]++);
        for (int r = 0; r < LANES; r++)
            p[r] += block_bytes(type);
    }
    for (int t = 0; t < n_tok; t++)
        f_store_sums(c, r0, t0 + t, acc[t]);
}

HD_INLINE void sweep256(const mm_call *c, hd_dtype type)
{
    for (int r = 0; r < c->n_rows; r += LANES)
        for (int t = 0; t < c->n_tok;) {
            int n = mm_tokens(c->n_tok - t);
            if (n == 8)
                tile256(c, r, t, 8, type);
            else if (n == 4)
                tile256(c, r, t, 4, type);
            else if (n == 2)
                tile256(c, r, t, 2, type);
            else
                tile256(c, r, t, 1, type);
            t += n;
        }
}
