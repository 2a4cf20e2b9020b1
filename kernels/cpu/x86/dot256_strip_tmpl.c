// Super-blocks of 256 weights, a strip at a time: see strip_avx512vnni.h. Per row, token and
// super-block
//   isum = sum of scale * (code * act), less the offset * scale * bsum of formats with one, exact;
//   acc  = acc + act.d * (d * isum - dmin * sum of min * bsum).
#include "kernels/cpu/x86/block256_tmpl.c"
#include "kernels/cpu/x86/strip_avx512vnni.h"

typedef struct panel256 {
    _Alignas(64) uint8_t line[64][LINE];
    int32_t scale[16][STRIP];  // of 8 or 16 sub-blocks
    int16_t min[8][2 * STRIP]; // pairs, to be multiplied by pairs of bsums
    float d[STRIP], dmin[STRIP];
} panel256;

HD_INLINE vf add_block256(hd_dtype type, vf acc, vi isum, vi imin, vf d, vf dmin, float act_d)
{
    vf t = f_mul(f_int(isum), d);
    if (has_min(type)) t = f_fnmadd(f_int(imin), dmin, t);
    return f_fmadd(t, f_set(act_d), acc);
}

// ---- few tokens ----------------------------------------------------------------------------

typedef struct few256s { // a super-block of every row
    vi isum[FEW][VECTORS], imin[FEW][VECTORS];
    vf d[VECTORS], dmin[VECTORS];
} few256s;

HD_INLINE void multiply_few(hd_dtype type, strip *s, int k, size_t at,
                            const hd_act_q8_256 *const x[], int n_tok, few256s *f)
{
    const uint8_t *p[LANES];
    w256 w;
    vi isum[FEW];
    strip_rows(s, k, at, p);
    scales256(type, p, &w);
    for (int t = 0; t < n_tok; t++)
        isum[t] = has_offset256(type) ? min_sums(&w, x[t]) : v_zero();
    HD_UNROLL4
    for (int step = 0; step < 4; step++) {
        codes64 q = codes256(type, p, step);
        s->next = mm_prefetch(s->next, LANES * block_bytes(type) / 4);
        if (wide_sub_blocks(type))
            step_wide(type, step, &w, &q, x, n_tok, isum);
        else
            step_narrow(type, step, &w, &q, x, n_tok, isum);
    }
    for (int t = 0; t < n_tok; t++) {
        f->isum[t][k] = isum[t];
        if (has_min(type)) f->imin[t][k] = min_sums(&w, x[t]);
    }
    f->d[k] = w.d;
    if (has_min(type)) f->dmin[k] = w.dmin;
}

HD_INLINE void few256(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const hd_act_q8_256 *x[FEW];
    vf acc[FEW];
    strip s;
    strip_open(&s, c, r0);
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const hd_act_q8_256 *)(const void *)mm_tok(c, t0 + t);
        acc[t] = f_zero();
    }
    for (int b = 0; b < c->n_in / HD_QK_K; b++) {
        few256s f;
        for (int k = 0; k < VECTORS; k++)
            multiply_few(type, &s, k, (size_t)b * block_bytes(type), x, n_tok, &f);
        vf d = spread_by_rows(f.d), dmin = has_min(type) ? spread_by_rows(f.dmin) : f_zero();
        for (int t = 0; t < n_tok; t++) {
            vi imin = has_min(type) ? sums_by_rows(f.imin[t]) : v_zero();
            acc[t] = add_block256(type, acc[t], sums_by_rows(f.isum[t]), imin, d, dmin, x[t]->d);
            x[t]++;
        }
    }
    for (int t = 0; t < n_tok; t++)
        strip_store(c, r0, t0 + t, acc[t]);
}

// ---- many tokens ---------------------------------------------------------------------------

HD_INLINE void fill_codes256(panel256 *p, const uint8_t *const row[VECTORS][LANES], hd_dtype type)
{
    HD_UNROLL4
    for (int step = 0; step < 4; step++) {
        codes64 q[VECTORS];
        for (int k = 0; k < VECTORS; k++)
            q[k] = codes256(type, row[k], step);
        for (int i = 0; i < 4; i++) {
            vi v[VECTORS], line[4];
            for (int k = 0; k < VECTORS; k++)
                v[k] = q[k].q[i];
            v_by_rows(v, line);
            for (int j = 0; j < 4; j++)
                store_line(p->line[4 * group_of(type, step, i) + j], line[j]);
        }
    }
}

HD_INLINE void fill_panel256(panel256 *p, const strip *s, size_t at, hd_dtype type)
{
    const uint8_t *row[VECTORS][LANES];
    w256 w[VECTORS];
    vf d[VECTORS], dmin[VECTORS];
    for (int k = 0; k < VECTORS; k++) {
        strip_rows(s, k, at, row[k]);
        scales256(type, row[k], &w[k]);
        d[k] = w[k].d;
        dmin[k] = has_min(type) ? w[k].dmin : f_zero();
    }
    f_store(p->d, spread_by_rows(d));
    f_store(p->dmin, spread_by_rows(dmin));
    for (int half = 0; half < 2; half++) {
        vi v[VECTORS], pair[4];
        for (int k = 0; k < VECTORS; k++)
            v[k] = w[k].min[half];
        v_by_rows(v, pair);
        for (int j = 0; j < 4; j++)
            store_line((uint8_t *)p->min[4 * half + j], pair[j]);
        if (half == 1 && wide_sub_blocks(type)) break;
        for (int k = 0; k < VECTORS; k++)
            v[k] = w[k].scale[half];
        v_by_rows(v, pair);
        for (int j = 0; j < 4; j++) {
            int32_t(*to)[STRIP] = p->scale + 8 * half + 2 * j;
            store_line((uint8_t *)to[0], _mm512_srai_epi32(_mm512_slli_epi32(pair[j], 16), 16));
            store_line((uint8_t *)to[1], _mm512_srai_epi32(pair[j], 16));
        }
    }
    fill_codes256(p, (const uint8_t *const(*)[LANES])row, type);
}

// sum of min * bsum of a super-block.
HD_INLINE vi panel_min_sums(const panel256 *p, const hd_act_q8_256 *x)
{
    vi sum = v_zero();
    for (int i = 0; i < 8; i++)
        sum = dot2(sum, load_line(p->min[i]), x->bsum + 2 * i);
    return sum;
}

HD_INLINE void tile256_panel(const panel256 *p, const hd_act_q8_256 *const x[], float (*out)[STRIP],
                             int n_tok, hd_dtype type)
{
    const int lines = wide_sub_blocks(type) ? 8 : 4;
    vi isum[MAX_TOK];
    for (int t = 0; t < n_tok; t++)
        isum[t] = has_offset256(type) ? panel_min_sums(p, x[t]) : v_zero();
    for (int at = 0; at < 64; at += lines) {
        vi sum[MAX_TOK], scale = load_line(p->scale[at / lines]);
        for (int t = 0; t < n_tok; t++)
            sum[t] = v_zero();
        for (int i = 0; i < lines; i++) {
            vi line = load_line(p->line[at + i]);
            for (int t = 0; t < n_tok; t++)
                sum[t] = dot4(sum[t], line, x[t]->q + 4 * (at + i));
        }
        for (int t = 0; t < n_tok; t++)
            isum[t] = v_add32(isum[t], v_mul32(sum[t], scale));
    }
    vf d = f_load(p->d), dmin = f_load(p->dmin);
    for (int t = 0; t < n_tok; t++) {
        vi imin = has_min(type) ? panel_min_sums(p, x[t]) : v_zero();
        f_store(out[t], add_block256(type, f_load(out[t]), isum[t], imin, d, dmin, x[t]->d));
    }
}

HD_INLINE void many256(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    panel256 p;
    sums acc;
    strip s;
    strip_open(&s, c, r0);
    memset(acc.of, 0, sizeof(acc.of[0]) * (size_t)(n_tok + MAX_TOK));
    for (int b = 0; b < c->n_in / HD_QK_K; b++) {
        fill_panel256(&p, &s, (size_t)b * block_bytes(type), type);
        s.next = mm_prefetch(s.next, STRIP * block_bytes(type));
        for (int t = 0, some; t < n_tok; t += some) {
            const hd_act_q8_256 *x[MAX_TOK];
            some = mm_tokens(n_tok - t);
            for (int i = 0; i < some; i++)
                x[i] = (const hd_act_q8_256 *)(const void *)mm_tok(c, t0 + t + i) + b;
            if (some == 8)
                tile256_panel(&p, x, acc.of + t, 8, type);
            else if (some == 4)
                tile256_panel(&p, x, acc.of + t, 4, type);
            else if (some == 2)
                tile256_panel(&p, x, acc.of + t, 2, type);
            else
                tile256_panel(&p, x, acc.of + t, 1, type);
        }
    }
    group_store(c, r0, t0, n_tok, &acc);
}

HD_INLINE void sweep256(const mm_call *c, hd_dtype type)
{
    for (int t = 0, n; t < c->n_tok; t += n) {
        n = c->n_tok - t < GROUP ? c->n_tok - t : GROUP;
        for (int r = 0; r < c->n_rows; r += STRIP)
            if (n > FEW)
                many256(c, r, t, n, type);
            else if (n == 4)
                few256(c, r, t, 4, type);
            else if (n == 3)
                few256(c, r, t, 3, type);
            else if (n == 2)
                few256(c, r, t, 2, type);
            else
                few256(c, r, t, 1, type);
    }
}
