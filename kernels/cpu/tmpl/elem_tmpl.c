// Row-wise kernels: a template over a vocabulary (x86/fvec_avx2.h, x86/fvec_avx512.h,
// arm/fvec_neon.h), included by elem_<level>.c.
//
// Element-wise results take the same operations in vectors and in the tail, so they do not depend
// on an element's place. norm_mul, axpy, add_bias, scale and the rotations do not fuse: they equal
// the reference bit for bit.
#include <math.h>

// ---- exponential ---------------------------------------------------------------------------

// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; ln 2 in two parts, the first short
// enough for n * high to be exact. exp(r) by its Taylor sum to r^7: the next term is below 2^-27.
// Error below 1 ulp. -inf gives 0, NaN stays NaN (the clamps keep their second operand).
HD_INLINE vf f_exp(vf x)
{
    static const float c[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f};
    x = f_max(f_set(-104.0f), f_min(f_set(89.0f), x));
    vf n = f_round(f_mul(x, f_set(1.44269504f)));
    vf r = f_fnmadd(n, f_set(0x1.62e4p-1f), x);
    r = f_fnmadd(n, f_set(0x1.7f7d1cp-20f), r);
    vf p = f_set(c[0]);
    for (int i = 1; i < 6; i++)
        p = f_fmadd(p, r, f_set(c[i]));
    p = f_fmadd(f_mul(p, r), r, r); // r + r^2 (1/2 + ...)
    return f_ldexp(f_add(p, f_set(1.0f)), n);
}

static float exp_sum(float *x, float m, int n)
{
    vf sum = f_zero(), top = f_set(m);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vf e = f_exp(f_sub(f_load(x + i), top));
        f_store(x + i, e);
        sum = f_add(sum, e);
    }
    if (i < n) {
        vf e = f_exp(f_sub(f_load_first(x + i, n - i), top));
        f_store_first(x + i, e, n - i);
        sum = f_add(sum, f_keep_first(e, f_zero(), n - i));
    }
    return f_sum(sum);
}

HD_INLINE vf silu(vf g, vf u, vf limit, vf low)
{
    g = f_min(limit, g);
    u = f_max(low, f_min(limit, u));
    vf e = f_exp(f_sub(f_zero(), g));
    return f_mul(f_div(g, f_add(f_set(1.0f), e)), u);
}

static void silu_mul(float *out, const float *gate, const float *up, float limit, int n)
{
    vf high = f_set(limit > 0 ? limit : INFINITY), low = f_set(limit > 0 ? -limit : -INFINITY);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        f_store(out + i, silu(f_load(gate + i), f_load(up + i), high, low));
    if (i < n)
        f_store_first(out + i,
                      silu(f_load_first(gate + i, n - i), f_load_first(up + i, n - i), high, low),
                      n - i);
}

// ---- reductions ----------------------------------------------------------------------------

static float sum_squares(const float *x, int n)
{
    vf s[4] = {f_zero(), f_zero(), f_zero(), f_zero()};
    int i = 0;
    for (; i + 4 * WIDTH <= n; i += 4 * WIDTH)
        for (int k = 0; k < 4; k++) {
            vf v = f_load(x + i + WIDTH * k);
            s[k] = f_fmadd(v, v, s[k]);
        }
    for (; i + WIDTH <= n; i += WIDTH) {
        vf v = f_load(x + i);
        s[0] = f_fmadd(v, v, s[0]);
    }
    if (i < n) {
        vf v = f_load_first(x + i, n - i);
        s[1] = f_fmadd(v, v, s[1]);
    }
    return f_sum(f_add(f_add(s[0], s[1]), f_add(s[2], s[3])));
}

// f_max(x, m) keeps m where x is NaN.
static float max(const float *x, int n)
{
    vf none = f_set(-INFINITY), m = none;
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        m = f_max(f_load(x + i), m);
    if (i < n) m = f_max(f_keep_first(f_load_first(x + i, n - i), none, n - i), m);
    return f_top(m);
}

// ---- element-wise --------------------------------------------------------------------------

static void norm_mul(float *out, const float *x, const float *gain, float s, int n)
{
    vf k = f_set(s);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        f_store(out + i, f_mul(f_mul(f_load(x + i), k), f_load(gain + i)));
    if (i < n) {
        int m = n - i;
        vf v = f_mul(f_mul(f_load_first(x + i, m), k), f_load_first(gain + i, m));
        f_store_first(out + i, v, m);
    }
}

static void axpy(float *x, const float *y, float scale, int n)
{
    vf k = f_set(scale);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        f_store(x + i, f_add(f_load(x + i), f_mul(k, f_load(y + i))));
    if (i < n) {
        int m = n - i;
        f_store_first(x + i, f_add(f_load_first(x + i, m), f_mul(k, f_load_first(y + i, m))), m);
    }
}

static void add_bias(float *x, const float *bias, int n)
{
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        f_store(x + i, f_add(f_load(x + i), f_load(bias + i)));
    if (i < n) {
        int m = n - i;
        f_store_first(x + i, f_add(f_load_first(x + i, m), f_load_first(bias + i, m)), m);
    }
}

static void scale(float *x, float s, int n)
{
    vf k = f_set(s);
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        f_store(x + i, f_mul(f_load(x + i), k));
    if (i < n) f_store_first(x + i, f_mul(f_load_first(x + i, n - i), k), n - i);
}

// ---- rotations -----------------------------------------------------------------------------

static void rotate(float *a, float *b, const float *c, const float *s, int n)
{
    int i = 0;
    for (; i + WIDTH <= n; i += WIDTH) {
        vf x = f_load(a + i), y = f_load(b + i), cc = f_load(c + i), ss = f_load(s + i);
        f_store(a + i, f_sub(f_mul(x, cc), f_mul(y, ss)));
        f_store(b + i, f_add(f_mul(y, cc), f_mul(x, ss)));
    }
    if (i < n) {
        int m = n - i;
        vf x = f_load_first(a + i, m), y = f_load_first(b + i, m);
        vf cc = f_load_first(c + i, m), ss = f_load_first(s + i, m);
        f_store_first(a + i, f_sub(f_mul(x, cc), f_mul(y, ss)), m);
        f_store_first(b + i, f_add(f_mul(y, cc), f_mul(x, ss)), m);
    }
}

static void rotate_pairs(float *x, const float *c, const float *s, int n_pairs)
{
    int i = 0;
    for (; i + WIDTH / 2 <= n_pairs; i += WIDTH / 2) {
        vf v = f_load(x + 2 * i), cc = f_load_twice(c + i), ss = f_load_twice(s + i);
        f_store(x + 2 * i, f_addsub(f_mul(v, cc), f_mul(f_swap_pairs(v), ss)));
    }
    for (; i < n_pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c[i] - b * s[i];
        x[2 * i + 1] = b * c[i] + a * s[i];
    }
}

static void fill_rows(hd_cpu_fns *f)
{
    f->sum_squares = sum_squares;
    f->norm_mul = norm_mul;
    f->axpy = axpy;
    f->add_bias = add_bias;
    f->silu_mul = silu_mul;
    f->max = max;
    f->exp_sum = exp_sum;
    f->scale = scale;
    f->rotate = rotate;
    f->rotate_pairs = rotate_pairs;
}
