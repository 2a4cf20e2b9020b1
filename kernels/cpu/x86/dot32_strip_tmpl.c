// Blocks of 32 weights, a strip at a time: see strip_avx512vnni.h. Per row, token and block
//   isum = sum of code * act - offset * act.sum, exact;
//   acc  = acc + act.d * (d * isum), then + m * (act.d * act.sum).
#include "kernels/cpu/x86/block32_tmpl.c"
#include "kernels/cpu/x86/strip_avx512vnni.h"

enum { CHUNK32 = 8 }; // blocks of a panel

typedef struct codes32s { // a block of each row
    vi lo[VECTORS], hi[VECTORS];
    vf d, m;
} codes32s;

typedef struct panel32 {
    _Alignas(64) uint8_t line[CHUNK32][8][LINE];
    float d[CHUNK32][STRIP], m[CHUNK32][STRIP];
} panel32;

// The first four bytes of each row's block: a half-precision scale and perhaps a minimum.
HD_INLINE vi heads32(const strip *s, size_t at)
{
    vi head[VECTORS];
    for (int k = 0; k < VECTORS; k++) {
        const uint8_t *p[LANES];
        strip_rows(s, k, at, p);
        head[k] = v_rows(p, 0);
    }
    return v_unpacklo64(v_unpacklo32(head[0], head[1]), v_unpacklo32(head[2], head[3]));
}

HD_INLINE vf low_halves(vi v)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

HD_INLINE void load_scales32(hd_dtype type, const strip *s, size_t at, codes32s *c)
{
    vf d[VECTORS];
    if (type != HD_MXFP4) {
        vi head = heads32(s, at);
        c->d = low_halves(head);
        c->m = has_min(type) ? low_halves(_mm512_srli_epi32(head, 16)) : f_zero();
        return;
    }
    for (int k = 0; k < VECTORS; k++) {
        const uint8_t *p[LANES];
        strip_rows(s, k, at, p);
        d[k] = f_e8m0_half(p);
    }
    c->d = spread_by_rows(d);
    c->m = f_zero();
}

// Codes as unsigned bytes.
HD_INLINE codes32s load_codes32(hd_dtype type, const strip *s, size_t at)
{
    codes32s c;
    const vi raise = v_set8(is_signed32(type) ? 0x80 : 0);
    for (int k = 0; k < VECTORS; k++) {
        const uint8_t *p[LANES];
        q32 w;
        strip_rows(s, k, at, p);
        codes32(type, p, &w);
        c.lo[k] = v_xor(w.lo, raise);
        c.hi[k] = v_xor(w.hi, raise);
    }
    load_scales32(type, s, at, &c);
    return c;
}

// start - offset * sum, for the sum of a block's activations.
HD_INLINE vi take_offset(hd_dtype type, vi start, const int32_t *sum)
{
    if (!offset32(type)) return start;
    const int16_t *low = (const int16_t *)(const void *)sum; // it is below 2^12
    return dot2(start, v_set32((uint16_t)-offset32(type)), low);
}

HD_INLINE vf add_block32(hd_dtype type, vf acc, vi isum, vf d, vf m, float act_d, float act_sum)
{
    acc = f_fmadd(f_mul(f_int(isum), d), f_set(act_d), acc);
    return has_min(type) ? f_fmadd(m, f_set(act_sum), acc) : acc;
}

// ---- few tokens ----------------------------------------------------------------------------

HD_INLINE void few32(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const hd_act_q8_32 *x[FEW];
    vf acc[FEW];
    strip s;
    strip_open(&s, c, r0);
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_32 *)(const void *)mm_tok(c, t0 + t);
        acc[t] = f_zero();
    }
    for (int b = 0; b < c->n_in / HD_QK; b++) {
        codes32s w = load_codes32(type, &s, (size_t)b * block_bytes(type));
        s.next = mm_prefetch(s.next, STRIP * block_bytes(type));
        for (int t = 0; t < n_tok; t++, x[t - 1]++) {
            vi lo = v_lane(load128(x[t]->q)), hi = v_lane(load128(x[t]->q + 16)), sum[VECTORS];
            for (int k = 0; k < VECTORS; k++)
                sum[k] = dot32(v_zero(), w.lo[k], lo, w.hi[k], hi);
            vi isum = take_offset(type, sums_by_rows(sum), &x[t]->sum);
            acc[t] = add_block32(type, acc[t], isum, w.d, w.m, x[t]->d, x[t]->d * (float)x[t]->sum);
        }
    }
    for (int t = 0; t < n_tok; t++)
        strip_store(c, r0, t0 + t, acc[t]);
}

// ---- many tokens ---------------------------------------------------------------------------

HD_INLINE void fill_panel32(panel32 *p, const strip *s, int first, int n, hd_dtype type)
{
    for (int b = 0; b < n; b++) {
        codes32s w = load_codes32(type, s, (size_t)(first + b) * block_bytes(type));
        vi line[8];
        v_by_rows(w.lo, line);
        v_by_rows(w.hi, line + 4);
        for (int i = 0; i < 8; i++)
            store_line(p->line[b][i], line[i]);
        f_store(p->d[b], w.d);
        f_store(p->m[b], w.m);
    }
}

// n blocks of n_tok tokens; sum[t][b] is act.d * act.sum.
HD_INLINE void tile32_panel(const panel32 *p, int n, const hd_act_q8_32 *const x[],
                            const float (*sum)[CHUNK32], float (*out)[STRIP], int n_tok,
                            hd_dtype type)
{
    vf acc[MAX_TOK];
    for (int t = 0; t < n_tok; t++)
        acc[t] = f_load(out[t]);
    for (int b = 0; b < n; b++) {
        vi isum[MAX_TOK];
        for (int t = 0; t < n_tok; t++)
            isum[t] = take_offset(type, v_zero(), &x[t][b].sum);
        for (int i = 0; i < 8; i++) {
            vi line = load_line(p->line[b][i]);
            for (int t = 0; t < n_tok; t++)
                isum[t] = dot4(isum[t], line, x[t][b].q + 4 * i);
        }
        vf d = f_load(p->d[b]), m = f_load(p->m[b]);
        for (int t = 0; t < n_tok; t++)
            acc[t] = add_block32(type, acc[t], isum[t], d, m, x[t][b].d, sum[t][b]);
    }
    for (int t = 0; t < n_tok; t++)
        f_store(out[t], acc[t]);
}

HD_INLINE void chunk32(const panel32 *p, const mm_call *c, int t0, int n_tok, int first, int n,
                       sums *acc, hd_dtype type)
{
    float sum[MAX_TOK][CHUNK32];
    for (int t = 0, some; t < n_tok; t += some) {
        const hd_act_q8_32 *x[MAX_TOK];
        some = mm_tokens(n_tok - t);
        for (int i = 0; i < some; i++) {
            x[i] = (const hd_act_q8_32 *)(const void *)mm_tok(c, t0 + t + i) + first;
            for (int b = 0; has_min(type) && b < n; b++)
                sum[i][b] = x[i][b].d * (float)x[i][b].sum;
        }
        if (some == 8)
            tile32_panel(p, n, x, sum, acc->of + t, 8, type);
        else if (some == 4)
            tile32_panel(p, n, x, sum, acc->of + t, 4, type);
        else if (some == 2)
            tile32_panel(p, n, x, sum, acc->of + t, 2, type);
        else
            tile32_panel(p, n, x, sum, acc->of + t, 1, type);
    }
}

HD_INLINE void many32(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    panel32 p;
    sums acc;
    strip s;
    strip_open(&s, c, r0);
    memset(acc.of, 0, sizeof(acc.of[0]) * (size_t)(n_tok + MAX_TOK));
    for (int b = 0, n; b < c->n_in / HD_QK; b += n) {
        n = c->n_in / HD_QK - b < CHUNK32 ? c->n_in / HD_QK - b : CHUNK32;
        fill_panel32(&p, &s, b, n, type);
        s.next = mm_prefetch(s.next, (size_t)n * STRIP * block_bytes(type));
        chunk32(&p, c, t0, n_tok, b, n, &acc, type);
    }
    group_store(c, r0, t0, n_tok, &acc);
}

HD_INLINE void sweep32(const mm_call *c, hd_dtype type)
{
    for (int t = 0, n; t < c->n_tok; t += n) {
        n = c->n_tok - t < GROUP ? c->n_tok - t : GROUP;
        for (int r = 0; r < c->n_rows; r += STRIP)
            if (n > FEW)
                many32(c, r, t, n, type);
            else if (n == 4)
                few32(c, r, t, 4, type);
            else if (n == 3)
                few32(c, r, t, 3, type);
            else if (n == 2)
                few32(c, r, t, 2, type);
            else
                few32(c, r, t, 1, type);
    }
}
