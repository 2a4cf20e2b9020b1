// qk and pv.
//
// qk: |got - want| <= (ceil(d / 8) + 10) * UNIT * sum |q k|: at most one fused rounding per step of
// a
//     lane (8 lanes or more), 8 to add lanes, one in the reference.
// pv: |got - want| <= (3 n_keys + 3) * UNIT * (|acc| + sum |p v|): the reference rounds product and
//     sum, kernels round once per key.
// Both hold for the values that rows decode to, also of block types: decoding is exact or, for FP8
// blocks, rounds on every level alike. Both: an output alone has the same bits as in a tile; for pv
// also when keys come in two calls.
#include "tests/kern/checkkern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct attn_case {
    hd_dtype type;
    int n_q, n_keys, d;
    size_t q_stride, kv_stride; // bytes
    int64_t s_stride, a_stride; // floats
    guarded q, kv, score, want; // q and score, or acc and p
} attn_case;

enum { MOST_KEYS = 130, WIDEST = 640 };

// The rows as floats, WIDEST apart.
static const float *decoded(const attn_case *c)
{
    static float rows[MOST_KEYS * WIDEST];
    for (int j = 0; j < c->n_keys; j++)
        hd_dtype_get(c->type)->to_f32(c->kv.p + (size_t)j * c->kv_stride, rows + j * WIDEST, c->d);
    return rows;
}

static attn_case shape(hd_dtype type, int turn)
{
    static const int qs[] = {1, 2, 3, 4, 5, 6, 8, 16}, keys[] = {1, 2, 3, 4, 5, 7, 8, 9, 64, 130};
    static const int ds[] = {1, 7, 8, 9, 16, 17, 31, 64, 65, 96, 128, 192, 256, 512, 576};
    attn_case c = {
        .type = type, .n_q = qs[turn % 8], .n_keys = keys[turn / 2 % 10], .d = ds[turn / 3 % 15]};
    int gap = turn % 3, block = hd_dtype_get(type)->block;
    c.d = (c.d + block - 1) / block * block;
    c.q_stride = (size_t)(c.d + gap) * sizeof(float);
    c.kv_stride = hd_row_bytes(type, block > 1 ? c.d : c.d + gap) + (block > 1 ? (size_t)gap : 0);
    c.s_stride = c.n_keys + gap;
    c.a_stride = c.d + gap;
    return c;
}

static size_t span(int rows, size_t stride, size_t row)
{
    return (size_t)(rows - 1) * stride + row;
}

static void fill_kv(kern *k, const attn_case *c)
{
    float x[WIDEST];
    for (int j = 0; j < c->n_keys; j++) {
        fill_floats(k, x, c->d, P_OUTLIERS);
        hd_dtype_get(c->type)->from_f32(x, c->kv.p + (size_t)j * c->kv_stride, c->d);
    }
}

// ---- qk ------------------------------------------------------------------------------------

static const float *row_of(const guarded *g, int i, size_t stride)
{
    return (const float *)(const void *)(g->p + (size_t)i * stride);
}

static void check_scores(kern *k, const attn_case *c)
{
    const float *got = row_of(&c->score, 0, 0), *want = row_of(&c->want, 0, 0), *rows = decoded(c);
    for (int i = 0; i < c->n_q; i++)
        for (int j = 0; j < c->n_keys; j++) {
            const float *q = row_of(&c->q, i, c->q_stride);
            const uint8_t *key = c->kv.p + (size_t)j * c->kv_stride;
            double a = 0;
            for (int e = 0; e < c->d; e++)
                a += fabs((double)q[e] * (double)rows[j * WIDEST + e]);
            float g = got[i * c->s_stride + j], w = want[i * c->s_stride + j], alone;
            double limit = ((c->d + 7) / 8 + 10) * UNIT * a + (c->d + 16) * 0x1p-149;
            if (!(fabs((double)g - (double)w) <= limit))
                kern_fail(k, "query %d key %d: got %.9g, want %.9g +- %.3g", i, j, (double)g,
                          (double)w, limit);
            k->cur->qk[c->type](&alone, 1, q, c->q_stride, 1, key, c->kv_stride, 1, c->d);
            if (!same_value(alone, g)) kern_fail(k, "query %d key %d differs alone", i, j);
        }
}

static void test_qk(kern *k, hd_dtype type)
{
    for (int turn = 0; turn < 180; turn++) {
        attn_case c = shape(type, turn);
        int place = turn % PLACES;
        kern_case(k, "q %d keys %d d %d place %d", c.n_q, c.n_keys, c.d, place);
        guard_open(&c.q, span(c.n_q, c.q_stride, (size_t)c.d * 4), place);
        guard_open(&c.kv, span(c.n_keys, c.kv_stride, hd_row_bytes(type, c.d)), place);
        size_t out = span(c.n_q, (size_t)c.s_stride * 4, (size_t)c.n_keys * 4);
        guard_open(&c.score, out, place);
        guard_open(&c.want, out, place);
        for (int i = 0; i < c.n_q; i++)
            fill_floats(k, (float *)(void *)(c.q.p + (size_t)i * c.q_stride), c.d,
                        (pattern)(turn % P_COUNT));
        fill_kv(k, &c);
        k->ref->qk[type]((float *)(void *)c.want.p, c.s_stride, row_of(&c.q, 0, 0), c.q_stride,
                         c.n_q, c.kv.p, c.kv_stride, c.n_keys, c.d);
        k->cur->qk[type]((float *)(void *)c.score.p, c.s_stride, row_of(&c.q, 0, 0), c.q_stride,
                         c.n_q, c.kv.p, c.kv_stride, c.n_keys, c.d);
        guard_check(k, &c.score, "score");
        for (int i = 0; i + 1 < c.n_q; i++)
            expect_bytes(k, "gap", c.score.p + ((size_t)(i * c.s_stride) + (size_t)c.n_keys) * 4,
                         c.want.p + ((size_t)(i * c.s_stride) + (size_t)c.n_keys) * 4,
                         (size_t)(c.s_stride - c.n_keys) * 4);
        check_scores(k, &c);
        guard_close(&c.q);
        guard_close(&c.kv);
        guard_close(&c.score);
        guard_close(&c.want);
    }
}

// ---- pv ------------------------------------------------------------------------------------

static void check_sums(kern *k, const attn_case *c, const float *start, const guarded *p)
{
    const float *rows = decoded(c);
    for (int i = 0; i < c->n_q; i++)
        for (int e = 0; e < c->d; e++) {
            double a = fabs((double)start[i * c->a_stride + e]);
            for (int j = 0; j < c->n_keys; j++)
                a += fabs((double)row_of(p, 0, 0)[i * c->s_stride + j] *
                          (double)rows[j * WIDEST + e]);
            float g = row_of(&c->score, 0, 0)[i * c->a_stride + e];
            float w = row_of(&c->want, 0, 0)[i * c->a_stride + e];
            double limit = (3 * c->n_keys + 3) * UNIT * a + c->n_keys * 0x1p-148;
            if (!(fabs((double)g - (double)w) <= limit))
                kern_fail(k, "query %d channel %d: got %.9g, want %.9g +- %.3g", i, e, (double)g,
                          (double)w, limit);
        }
}

// One query at a time and the keys cut in two.
static void check_pv_alone(kern *k, const attn_case *c, const float *start, const guarded *p)
{
    float acc[WIDEST];
    int first = c->n_keys / 2;
    for (int i = 0; i < c->n_q; i++) {
        const float *pi = row_of(p, 0, 0) + i * c->s_stride;
        memcpy(acc, start + i * c->a_stride, (size_t)c->d * sizeof(float));
        if (first > 0)
            k->cur->pv[c->type](acc, c->d, pi, c->s_stride, 1, c->kv.p, c->kv_stride, first, c->d);
        k->cur->pv[c->type](acc, c->d, pi + first, c->s_stride, 1,
                            c->kv.p + (size_t)first * c->kv_stride, c->kv_stride, c->n_keys - first,
                            c->d);
        expect_same(k, "sums of one query", acc, row_of(&c->score, 0, 0) + i * c->a_stride, c->d);
    }
}

static void test_pv(kern *k, hd_dtype type)
{
    for (int turn = 0; turn < 180; turn++) {
        attn_case c = shape(type, turn);
        int place = turn % PLACES;
        guarded p, start;
        kern_case(k, "q %d keys %d d %d place %d", c.n_q, c.n_keys, c.d, place);
        size_t bytes = span(c.n_q, (size_t)c.a_stride * 4, (size_t)c.d * 4);
        guard_open(&p, span(c.n_q, (size_t)c.s_stride * 4, (size_t)c.n_keys * 4), place);
        guard_open(&c.kv, span(c.n_keys, c.kv_stride, hd_row_bytes(type, c.d)), place);
        guard_open(&start, bytes, place);
        guard_open(&c.score, bytes, place);
        guard_open(&c.want, bytes, place);
        fill_floats(k, (float *)(void *)p.p, (int64_t)(p.n / 4), P_UNIFORM);
        fill_floats(k, (float *)(void *)start.p, (int64_t)(bytes / 4), P_OUTLIERS);
        fill_kv(k, &c);
        memcpy(c.score.p, start.p, bytes);
        memcpy(c.want.p, start.p, bytes);
        k->ref->pv[type]((float *)(void *)c.want.p, c.a_stride, row_of(&p, 0, 0), c.s_stride, c.n_q,
                         c.kv.p, c.kv_stride, c.n_keys, c.d);
        k->cur->pv[type]((float *)(void *)c.score.p, c.a_stride, row_of(&p, 0, 0), c.s_stride,
                         c.n_q, c.kv.p, c.kv_stride, c.n_keys, c.d);
        guard_check(k, &c.score, "acc");
        for (int i = 0; i + 1 < c.n_q; i++)
            expect_bytes(k, "gap", c.score.p + (size_t)(i * c.a_stride + c.d) * 4,
                         start.p + (size_t)(i * c.a_stride + c.d) * 4,
                         (size_t)(c.a_stride - c.d) * 4);
        check_sums(k, &c, row_of(&start, 0, 0), &p);
        check_pv_alone(k, &c, row_of(&start, 0, 0), &p);
        guard_close(&p);
        guard_close(&start);
        guard_close(&c.kv);
        guard_close(&c.score);
        guard_close(&c.want);
    }
}

int kern_attn_tests(kern_test *t)
{
    static const hd_dtype types[] = {HD_F32, HD_F16, HD_BF16, HD_Q8_0, HD_F8_B128};
    int n = 0;
    for (int i = 0; i < 5; i++) {
        if (types[i] != HD_F8_B128)
            kern_add(&t[n++], "qk", types[i], test_qk,
                     offsetof(hd_cpu_fns, qk) + types[i] * sizeof(hd_qk_fn *));
        kern_add(&t[n++], "pv", types[i], test_pv,
                 offsetof(hd_cpu_fns, pv) + types[i] * sizeof(hd_pv_fn *));
    }
    return n;
}
