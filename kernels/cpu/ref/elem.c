// Scalar truth of the row-wise kernels. Sums accumulate in double and are rounded once.
#include "kernels/cpu/ref/ref.h"

#include <math.h>

static float sum_squares(const float *x, int n)
{
    double s = 0.0;
    for (int i = 0; i < n; i++)
        s += (double)x[i] * (double)x[i];
    return (float)s;
}

static void norm_mul(float *out, const float *x, const float *gain, float s, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = x[i] * s * gain[i];
}

static void axpy(float *x, const float *y, float scale, int n)
{
    for (int i = 0; i < n; i++)
        x[i] += scale * y[i];
}

static void add_bias(float *x, const float *bias, int n)
{
    for (int i = 0; i < n; i++)
        x[i] += bias[i];
}

// silu(g) * u = g / (1 + exp(-g)) * u. With a limit, g is cut above and u on both sides.
static void silu_mul(float *out, const float *gate, const float *up, float limit, int n)
{
    for (int i = 0; i < n; i++) {
        float g = gate[i], u = up[i];
        if (limit > 0.0f) {
            g = g > limit ? limit : g;
            u = u > limit ? limit : u < -limit ? -limit : u;
        }
        out[i] = g / (1.0f + expf(-g)) * u;
    }
}

static float max(const float *x, int n)
{
    float m = -INFINITY;
    for (int i = 0; i < n; i++)
        if (x[i] > m) m = x[i];
    return m;
}

static float exp_sum(float *x, float m, int n)
{
    double s = 0.0;
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - m);
        s += (double)x[i];
    }
    return (float)s;
}

static void scale(float *x, float s, int n)
{
    for (int i = 0; i < n; i++)
        x[i] *= s;
}

static void rotate(float *a, float *b, const float *c, const float *s, int n)
{
    for (int i = 0; i < n; i++) {
        float x = a[i], y = b[i];
        a[i] = x * c[i] - y * s[i];
        b[i] = y * c[i] + x * s[i];
    }
}

static void rotate_pairs(float *x, const float *c, const float *s, int n_pairs)
{
    for (int i = 0; i < n_pairs; i++)
        rotate(x + 2 * i, x + 2 * i + 1, c + i, s + i, 1);
}

void hd_ref_elem_fill(hd_cpu_fns *f)
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
