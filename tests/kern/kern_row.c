// Row-wise kernels.
//
// Exact (any NaN equals any NaN): norm_mul, axpy, add_bias, scale, rotate, rotate_pairs, max.
// sum_squares: (ceil(n / 8) + 10) * UNIT of the sum, all terms being positive.
// exp_sum:     each value within 2 units in the last place of exp in double; the sum within
//              (ceil(n / 8) + 10) * UNIT of the values' exact sum.
// silu_mul:    exp within 2 units, then an addition, a division and a multiplication: 4 units in
// the
//              last place; where exp(-g) overflows (-g > 88.72) the result is 0 instead of at most
//              88.8 / FLT_MAX * |u|.
// Element-wise results do not depend on an element's place: checked by shifting the row by one.
#include "tests/kern/checkkern.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int lengths[] = {1,  2,  3,  7,  8,  9,  15,  16,  17,  31,   32,   33,
                              63, 64, 65, 66, 96, 99, 127, 128, 576, 1536, 2048, 4097};
enum { N_LENGTHS = sizeof(lengths) / sizeof(lengths[0]), ROWS = 4 };

// Up to four rows of n floats each; `before` keeps what they held.
typedef struct rows {
    int n;
    guarded g[ROWS];
    float *before[ROWS], *want[ROWS], *got[ROWS];
} rows;

static void rows_open(kern *k, rows *r, int turn, int mul, pattern p)
{
    r->n = lengths[turn % N_LENGTHS];
    kern_case(k, "n %d place %d pattern %d", r->n, turn % PLACES, p);
    size_t bytes = (size_t)(r->n * mul) * sizeof(float);
    for (int i = 0; i < ROWS; i++) {
        r->got[i] = guard_open(&r->g[i], bytes, turn % PLACES);
        r->before[i] = malloc(bytes);
        r->want[i] = malloc(bytes);
        if (!r->before[i] || !r->want[i]) exit(2);
        fill_floats(k, r->got[i], r->n * mul, p);
        memcpy(r->before[i], r->got[i], bytes);
        memcpy(r->want[i], r->got[i], bytes);
    }
}

static void rows_close(kern *k, rows *r)
{
    for (int i = 0; i < ROWS; i++) {
        guard_check(k, &r->g[i], "row");
        guard_close(&r->g[i]);
        free(r->before[i]);
        free(r->want[i]);
    }
}

static void rows_check(kern *k, const rows *r, int mul)
{
    for (int i = 0; i < ROWS; i++)
        expect_same(k, "row", r->got[i], r->want[i], r->n * mul);
}

enum { TURNS = N_LENGTHS * 2 * P_EDGE_COUNT };

static pattern pattern_of(int turn)
{
    return (pattern)(turn / (2 * N_LENGTHS));
}

// ---- exact ---------------------------------------------------------------------------------

static void test_norm_mul(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        k->ref->norm_mul(r.want[0], r.before[1], r.before[2], 0.37f, r.n);
        k->cur->norm_mul(r.got[0], r.got[1], r.got[2], 0.37f, r.n);
        k->ref->norm_mul(r.want[3], r.want[3], r.before[2], 0.37f, r.n); // in place
        k->cur->norm_mul(r.got[3], r.got[3], r.got[2], 0.37f, r.n);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void test_axpy(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        k->ref->axpy(r.want[0], r.before[1], -1.7f, r.n);
        k->cur->axpy(r.got[0], r.got[1], -1.7f, r.n);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void test_add_bias(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        k->ref->add_bias(r.want[0], r.before[1], r.n);
        k->cur->add_bias(r.got[0], r.got[1], r.n);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void test_scale(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        k->ref->scale(r.want[0], 0.3f, r.n);
        k->cur->scale(r.got[0], 0.3f, r.n);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void test_rotate(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        k->ref->rotate(r.want[0], r.want[1], r.before[2], r.before[3], r.n);
        k->cur->rotate(r.got[0], r.got[1], r.got[2], r.got[3], r.n);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void test_rotate_pairs(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows x, cs;
        rows_open(k, &cs, turn, 1, pattern_of(turn));
        rows_open(k, &x, turn, 2, pattern_of(turn));
        k->ref->rotate_pairs(x.want[0], cs.before[0], cs.before[1], x.n);
        k->cur->rotate_pairs(x.got[0], cs.got[0], cs.got[1], x.n);
        rows_check(k, &x, 2);
        rows_check(k, &cs, 1);
        rows_close(k, &x);
        rows_close(k, &cs);
    }
}

static void test_max(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < TURNS; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        for (int round = 0; round < 2; round++) {
            float want = k->ref->max(r.before[0], r.n), got = k->cur->max(r.got[0], r.n);
            if (!(got == want)) kern_fail(k, "got %a, want %a", (double)got, (double)want);
            for (int i = 0; i < r.n; i++) // then all NaN
                r.got[0][i] = r.before[0][i] = r.want[0][i] = NAN;
        }
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

// ---- within a budget -----------------------------------------------------------------------

static void test_sum_squares(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < N_LENGTHS * 2 * P_COUNT; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        double want = 0;
        for (int i = 0; i < r.n; i++)
            want += (double)r.before[0][i] * (double)r.before[0][i];
        double limit = ((r.n + 7) / 8 + 10) * UNIT * want + r.n * 0x1p-149;
        float got = k->cur->sum_squares(r.got[0], r.n);
        if (want < (double)FLT_MAX && !(fabs((double)got - want) <= limit))
            kern_fail(k, "got %.9g, want %.9g +- %.3g", (double)got, want, limit);
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

// One unit in the last place of a float near x.
static double ulp(double x)
{
    int e;
    frexp(x, &e);
    return ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static void check_exp(kern *k, float x, float got)
{
    double want = exp((double)x);
    if (isnan(x) ? isnan(got) : fabs((double)got - want) <= 2 * ulp(want)) return;
    if (want > (double)FLT_MAX && isinf(got)) return;
    kern_fail(k, "exp(%a): got %a, want %a", (double)x, (double)got, want);
}

static void test_exp_sum(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < N_LENGTHS * 8; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, P_UNIFORM);
        float span = turn % 2 ? 110.0f : 10.0f, m = turn % 3 ? 0.0f : span;
        for (int i = 0; i < r.n; i++) {
            float x = r.got[0][i] * span;
            if (turn % 5 == 0 && i % 7 == 3) x = -INFINITY;
            r.got[0][i] = r.before[0][i] = x;
        }
        float sum = k->cur->exp_sum(r.got[0], m, r.n);
        double exact = 0;
        for (int i = 0; i < r.n; i++) {
            check_exp(k, r.before[0][i] - m, r.got[0][i]);
            exact += (double)r.got[0][i];
            r.want[0][i] = r.got[0][i];
        }
        if (exact < (double)FLT_MAX / 2 &&
            !(fabs((double)sum - exact) <= ((r.n + 7) / 8 + 10) * UNIT * exact + r.n * 0x1p-149))
            kern_fail(k, "sum: got %.9g, want %.9g", (double)sum, exact);
        for (int i = 0; i < r.n; i += 13) { // alone
            float one = r.before[0][i];
            k->cur->exp_sum(&one, m, 1);
            if (!same_value(one, r.got[0][i])) kern_fail(k, "element %d differs alone", i);
        }
        rows_check(k, &r, 1);
        rows_close(k, &r);
    }
}

static void check_silu(kern *k, float g, float u, float limit, float got)
{
    if (limit > 0) {
        g = g > limit ? limit : g;
        u = u > limit ? limit : u < -limit ? -limit : u;
    }
    double want = (double)g / (1 + exp(-(double)g)) * (double)u;
    if (isnan(want) && isnan(got)) return;
    if (fabs((double)got - want) <= 4 * ulp(want) + 88.8 / (double)FLT_MAX * fabs((double)u))
        return;
    if (fabs(want) > 0.9999 * (double)FLT_MAX && isinf(got)) return;
    kern_fail(k, "g %a u %a limit %g: got %a, want %a", (double)g, (double)u, (double)limit,
              (double)got, want);
}

static void test_silu_mul(kern *k, hd_dtype type)
{
    (void)type;
    for (int turn = 0; turn < N_LENGTHS * 2 * P_COUNT; turn++) {
        rows r;
        rows_open(k, &r, turn, 1, pattern_of(turn));
        float limit = turn % 3 == 0 ? 0.5f : 0.0f;
        for (int i = 0; i < r.n && turn % 4 == 1; i++)
            r.got[0][i] = r.before[0][i] = r.before[0][i] * 90;
        k->cur->silu_mul(r.got[3], r.got[0], r.got[1], limit, r.n);
        for (int i = 0; i < r.n; i++) {
            float alone;
            check_silu(k, r.before[0][i], r.before[1][i], limit, r.got[3][i]);
            k->cur->silu_mul(&alone, &r.before[0][i], &r.before[1][i], limit, 1);
            if (!same_value(alone, r.got[3][i])) kern_fail(k, "element %d differs alone", i);
        }
        k->cur->silu_mul(r.got[0], r.got[0], r.got[1], limit, r.n); // in place
        expect_same(k, "in place", r.got[0], r.got[3], r.n);
        expect_same(k, "up", r.got[1], r.before[1], r.n);
        rows_close(k, &r);
    }
}

int kern_row_tests(kern_test *t)
{
    int n = 0;
    kern_add(&t[n++], "sum_squares", HD_DTYPE_NONE, test_sum_squares,
             offsetof(hd_cpu_fns, sum_squares));
    kern_add(&t[n++], "norm_mul", HD_DTYPE_NONE, test_norm_mul, offsetof(hd_cpu_fns, norm_mul));
    kern_add(&t[n++], "axpy", HD_DTYPE_NONE, test_axpy, offsetof(hd_cpu_fns, axpy));
    kern_add(&t[n++], "add_bias", HD_DTYPE_NONE, test_add_bias, offsetof(hd_cpu_fns, add_bias));
    kern_add(&t[n++], "silu_mul", HD_DTYPE_NONE, test_silu_mul, offsetof(hd_cpu_fns, silu_mul));
    kern_add(&t[n++], "max", HD_DTYPE_NONE, test_max, offsetof(hd_cpu_fns, max));
    kern_add(&t[n++], "exp_sum", HD_DTYPE_NONE, test_exp_sum, offsetof(hd_cpu_fns, exp_sum));
    kern_add(&t[n++], "scale", HD_DTYPE_NONE, test_scale, offsetof(hd_cpu_fns, scale));
    kern_add(&t[n++], "rotate", HD_DTYPE_NONE, test_rotate, offsetof(hd_cpu_fns, rotate));
    kern_add(&t[n++], "rotate_pairs", HD_DTYPE_NONE, test_rotate_pairs,
             offsetof(hd_cpu_fns, rotate_pairs));
    return n;
}
