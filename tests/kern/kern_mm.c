// mm: weights times activations.
//
// Checked for every weight type:
// - value: |got - want| <= roundings * UNIT * A + tiny, where A is the sum of magnitudes of all
// that is
//   added for the output. Kernels may keep codes unsigned and take their offset back in integers:
//   that is exact in sum, but the partial sums of lanes, which are rounded, are of the offset's
//   size. So A counts (|w| + 2 offset * scale + 2 |minimum|) * |act|. Block formats: both sides
//   round, per block, the product with d, the minimum's part, their sum and the addition, and up to
//   8 additions of lanes: 5 (n_blocks + 8) each. Float formats: one fused rounding per step of a
//   lane (of 8 lanes at least) and 8 additions of lanes; the reference rounds once. tiny: below the
//   normal range every rounding may lose 2^-150;
// - not checked where sums of that size could overflow: their order is not specified;
// - an infinity or NaN among a token's activations gives what the reference gives;
// - E4M3 in blocks of 128: the bits that the same level gives for the weights as floats;
// - invariance: every output alone, from weights at another address, has the same bits;
// - bounds: no byte outside the arguments is read or written.
#include "tests/kern/checkkern.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct mm_case {
    hd_dtype type;
    hd_act_fmt fmt;
    int rows, toks, n_in;
    size_t w_stride, act_stride;
    int64_t out_stride;
    guarded w, act, got, want;
} mm_case;

static void open_case(kern *k, mm_case *c, int place, pattern p, block_pattern bp)
{
    size_t row = hd_row_bytes(c->type, c->n_in), act = hd_act_row_bytes(c->fmt, c->n_in);
    c->w_stride = row + (place == AT_START ? 6 : 0); // rows may have gaps
    c->act_stride = act + (place == AT_START ? 8 : 0);
    c->out_stride = c->rows + (place == AT_START ? 3 : 0);
    size_t out_bytes = ((size_t)c->out_stride * (size_t)(c->toks - 1) + (size_t)c->rows) * 4;
    guard_open(&c->w, c->w_stride * (size_t)(c->rows - 1) + row, place);
    guard_open(&c->act, c->act_stride * (size_t)(c->toks - 1) + act, place);
    guard_open(&c->got, out_bytes, place);
    guard_open(&c->want, out_bytes, place);
    for (int r = 0; r < c->rows; r++) {
        uint8_t *w = c->w.p + (size_t)r * c->w_stride;
        fill_weights(k, c->type, w, c->n_in, bp);
        if (c->type == HD_F8_B128) keep_f8_promises(w, c->n_in);
    }
    float *x = malloc(sizeof(float) * (size_t)c->n_in);
    for (int t = 0; t < c->toks && x; t++) {
        uint8_t *dst = c->act.p + (size_t)t * c->act_stride;
        fill_floats(k, x, c->n_in, p);
        if (p == P_NONFINITE) { // one per token, or none
            fill_floats(k, x, c->n_in, P_OUTLIERS);
            if (t % 3) x[hd_rng_below(&k->rng, (uint32_t)c->n_in)] = t % 3 == 1 ? INFINITY : NAN;
        }
        if (c->fmt == HD_ACT_F32)
            memcpy(dst, x, act);
        else
            k->ref->quant_act[c->fmt](dst, x, c->n_in);
    }
    free(x);
}

static void close_case(mm_case *c)
{
    guard_close(&c->w);
    guard_close(&c->act);
    guard_close(&c->got);
    guard_close(&c->want);
}

// ---- the budget ----------------------------------------------------------------------------

// Where a block has its code bytes, what to write there for the lowest and highest code (for the
// MXFP4 code 0 and 12 / 2), how many steps lie between them, and the largest offset a kernel may
// use.
typedef struct code_range {
    int first, bytes;
    uint8_t low, high;
    int steps, offset;
    bool has_min; // the lowest code's value is the minimum
} code_range;

static const code_range ranges[HD_DTYPE_COUNT] = {
    [HD_Q4_0] = {2, 16, 0, 0xff, 15, 8, false},
    [HD_Q4_1] = {4, 16, 0, 0xff, 15, 0, true},
    [HD_Q5_0] = {2, 20, 0, 0xff, 31, 16, false},
    [HD_Q5_1] = {4, 20, 0, 0xff, 31, 0, true},
    [HD_Q8_0] = {2, 32, 0x81, 0x7f, 254, 128, false},
    [HD_Q2_K] = {16, 64, 0, 0xff, 3, 0, true},
    [HD_Q3_K] = {0, 96, 0, 0xff, 7, 4, false},
    [HD_Q4_K] = {16, 128, 0, 0xff, 15, 0, true},
    [HD_Q5_K] = {16, 160, 0, 0xff, 31, 0, true},
    [HD_Q6_K] = {0, 192, 0, 0xff, 63, 32, false},
    [HD_IQ4_NL] = {2, 16, 0, 0xff, 240, 128, false},
    [HD_IQ4_XS] = {8, 128, 0, 0xff, 240, 128, false},
    [HD_MXFP4] = {1, 16, 0, 0x77, 12, 16, false},
};

// size[i] = |w| + 2 offset * scale + 2 |minimum| for each element of a row.
static void weight_sizes(const mm_case *c, const uint8_t *w, double *size)
{
    const hd_dtype_traits *tr = hd_dtype_get(c->type);
    const code_range *cr = &ranges[c->type];
    for (int b = 0; b < c->n_in / tr->block; b++, w += tr->block_bytes) {
        float v[256], low[256], high[256];
        uint8_t block[256];
        tr->to_f32(w, v, tr->block);
        memcpy(block, w, (size_t)tr->block_bytes);
        memset(block + cr->first, cr->low, (size_t)cr->bytes);
        tr->to_f32(block, low, tr->block);
        memset(block + cr->first, cr->high, (size_t)cr->bytes);
        tr->to_f32(block, high, tr->block);
        for (int i = 0; i < tr->block; i++) {
            double scale = cr->steps ? fabs((double)high[i] - (double)low[i]) / cr->steps : 0;
            double extra = cr->offset * scale + (cr->has_min ? fabs((double)low[i]) : 0);
            *size++ = fabs((double)v[i]) + 2 * extra;
        }
    }
}

// The scale of element i's block of activations (1 for floats) and its code or value.
static double act_scale(const mm_case *c, const uint8_t *act, int i, double *code)
{
    if (c->fmt == HD_ACT_F32) {
        *code = (double)((const float *)(const void *)act)[i];
        return 1;
    }
    if (c->fmt == HD_ACT_Q8_32) {
        const hd_act_q8_32 *b = (const hd_act_q8_32 *)(const void *)act + i / 32;
        *code = b->q[i % 32];
        return (double)b->d;
    }
    const hd_act_q8_256 *b = (const hd_act_q8_256 *)(const void *)act + i / 256;
    *code = b->q[i % 256];
    return (double)b->d;
}

// The allowed difference; infinite where something on the way may overflow.
static double budget(const mm_case *c, const double *size, const uint8_t *act)
{
    double sum = 0, peak = 0, top = 1;
    for (int i = 0; i < c->n_in; i++) {
        double code, d = act_scale(c, act, i, &code);
        sum += size[i] * fabs(code) * d;
        peak += size[i] * fabs(code) * fmax(d, 1);
        top = fmax(top, d);
    }
    if (!(peak < (double)FLT_MAX / 4)) return INFINITY;
    int block = hd_dtype_get(c->type)->block;
    double roundings = c->fmt == HD_ACT_F32 ? (c->n_in + 7) / 8 + 10 : 10 * (c->n_in / block + 8);
    double tiny = (c->n_in + 16) * 0x1p-149 * top * (c->type == HD_F8_E4M3 ? 256 : 1);
    return roundings * UNIT * sum + tiny;
}

// ---- checks --------------------------------------------------------------------------------

static void check_values(kern *k, const mm_case *c, pattern p)
{
    const float *got = (const float *)(const void *)c->got.p;
    const float *want = (const float *)(const void *)c->want.p;
    double size[4096];
    for (int r = 0; r < c->rows; r++) {
        weight_sizes(c, c->w.p + (size_t)r * c->w_stride, size);
        for (int t = 0; t < c->toks; t++) {
            float g = got[t * c->out_stride + r], w = want[t * c->out_stride + r];
            double limit = budget(c, size, c->act.p + (size_t)t * c->act_stride);
            if (p == P_NONFINITE && !isfinite(w) && !(g == w) && !(isnan(g) && isnan(w)))
                kern_fail(k, "row %d token %d: got %g, want %g", r, t, (double)g, (double)w);
            if (!isfinite(limit)) continue;
            if (!(fabs((double)g - (double)w) <= limit))
                kern_fail(k, "row %d token %d: got %.9g, want %.9g +- %.3g", r, t, (double)g,
                          (double)w, limit);
        }
    }
}

static void check_gaps(kern *k, const mm_case *c)
{
    for (int t = 0; t + 1 < c->toks; t++)
        for (int64_t r = c->rows; r < c->out_stride; r++) {
            const uint8_t *gap = c->got.p + (size_t)(t * c->out_stride + r) * 4;
            for (int b = 0; b < 4; b++)
                if (gap[b] != 0xa5) kern_fail(k, "wrote between rows of the output");
        }
}

static void check_alone(kern *k, const mm_case *c)
{
    const float *got = (const float *)(const void *)c->got.p;
    size_t row = hd_row_bytes(c->type, c->n_in);
    uint8_t *copy = malloc(row + 1);
    if (!copy) exit(2);
    for (int r = 0; r < c->rows; r++) {
        memcpy(copy + 1, c->w.p + (size_t)r * c->w_stride, row);
        for (int t = 0; t < c->toks; t++) {
            float alone;
            k->cur->mm[c->type](&alone, 1, copy + 1, row, 1, c->act.p + (size_t)t * c->act_stride,
                                c->act_stride, 1, c->n_in);
            if (!same_value(alone, got[t * c->out_stride + r])) {
                free(copy);
                kern_fail(k, "row %d token %d: %a alone, %a in a tile", r, t, (double)alone,
                          (double)got[t * c->out_stride + r]);
            }
        }
    }
    free(copy);
}

static void check_as_floats(kern *k, const mm_case *c)
{
    size_t row = (size_t)c->n_in * sizeof(float);
    float *w = malloc(row * (size_t)c->rows), *out = calloc((size_t)c->toks * 32, sizeof(float));
    if (!w || !out || c->rows > 32) exit(2);
    for (int r = 0; r < c->rows; r++)
        k->ref->decode[c->type](c->w.p + (size_t)r * c->w_stride, w + (int64_t)r * c->n_in,
                                c->n_in);
    k->cur->mm[HD_F32](out, 32, w, row, c->rows, c->act.p, c->act_stride, c->toks, c->n_in);
    for (int t = 0; t < c->toks; t++)
        expect_same(k, "out as from floats",
                    (const float *)(const void *)c->got.p + t * c->out_stride, out + t * 32,
                    c->rows);
    free(w);
    free(out);
}

static void run_case(kern *k, mm_case *c, int place, pattern p, block_pattern bp)
{
    kern_case(k, "rows %d tokens %d n %d place %d pattern %d/%d", c->rows, c->toks, c->n_in, place,
              p, bp);
    open_case(k, c, place, p, bp);
    k->ref->mm[c->type]((float *)(void *)c->want.p, c->out_stride, c->w.p, c->w_stride, c->rows,
                        c->act.p, c->act_stride, c->toks, c->n_in);
    k->cur->mm[c->type]((float *)(void *)c->got.p, c->out_stride, c->w.p, c->w_stride, c->rows,
                        c->act.p, c->act_stride, c->toks, c->n_in);
    guard_check(k, &c->got, "out");
    guard_check(k, &c->w, "weights");
    guard_check(k, &c->act, "activations");
    check_gaps(k, c);
    check_values(k, c, p);
    check_alone(k, c);
    if (c->type == HD_F8_B128) check_as_floats(k, c);
    close_case(c);
}

static void test_mm(kern *k, hd_dtype type)
{
    static const int rows[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 17};
    static const int toks[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16};
    static const int scalar[] = {1,  7,  8,  9,   15,  16,  17,  31,  33,
                                 63, 64, 65, 100, 127, 129, 255, 257, 576};
    static const int blocks[] = {1, 2, 3, 4, 5, 7, 8, 18};
    int block = hd_dtype_get(type)->block, turn = 0;
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++, turn++) {
            int n =
                block == 1 ? scalar[turn % 18] : block * blocks[turn % 8] / (block == 256 ? 2 : 1);
            mm_case c = {.type = type,
                         .fmt = k->cur->act_fmt[type],
                         .rows = rows[i],
                         .toks = toks[j],
                         .n_in = n < block ? block : n / block * block};
            run_case(k, &c, turn % PLACES, (pattern)(turn / 2 % P_COUNT),
                     (block_pattern)(turn / 3 % B_EDGE_COUNT));
        }
    for (int i = 0; i < 6; i++) {
        mm_case c = {.type = type,
                     .fmt = k->cur->act_fmt[type],
                     .rows = rows[i],
                     .toks = 6,
                     .n_in = block == 1 ? 60 + i : 2 * block};
        run_case(k, &c, i % PLACES, P_NONFINITE, B_RANDOM);
    }
    static const int wide[] = {1536, 2048, 4096};
    for (int i = 0; i < 3; i++) {
        mm_case c = {
            .type = type, .fmt = k->cur->act_fmt[type], .rows = 4, .toks = 2, .n_in = wide[i]};
        run_case(k, &c, i % PLACES, P_OUTLIERS, B_RANDOM);
    }
}

int kern_mm_tests(kern_test *t)
{
    int n = 0;
    for (int i = 0; i < HD_DTYPE_COUNT; i++)
        if (hd_dtype_get((hd_dtype)i)->is_weight)
            kern_add(&t[n++], "mm", (hd_dtype)i, test_mm,
                     offsetof(hd_cpu_fns, mm) + (size_t)i * sizeof(hd_mm_fn *));
    return n;
}
