// --bench: gigabytes of weights per second for one token and operations per second for several, one
// thread, per type and level, next to what the machine can do. Behind them millions of elements
// per second of the conversions that loading makes.
#include "kernels/base/clock.h"
#include "kernels/base/cpu.h"
#include "kernels/base/mem.h"
#include "tests/kern/checkkern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Weights stream from memory: more than any cache holds. Rows are DeepSeek-V2-Lite's width.
enum {
    WEIGHT_BYTES = 96 << 20,
    N_IN = 2048,
    TILE = 32,
    SLICE_BYTES = 3 << 20,
    MAX_TOKENS = 64,
    REPEATS = 5
};

typedef struct bench {
    uint8_t *w, *act;
    float *out;
    kern k;
} bench;

double kern_now(void)
{
    return (double)hd_mono_ns() * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Seconds per row at n_tok tokens. Timed in slices of some megabytes, of which the lower octile
// counts: the machine may be shared, and a whole pass is rarely undisturbed.
static double time_mm(const bench *b, const hd_cpu_fns *f, hd_dtype t, int rows, int n_tok)
{
    static double slice[1024];
    size_t row = hd_row_bytes(t, N_IN), act = hd_act_row_bytes(f->act_fmt[t], N_IN);
    int some = (int)(SLICE_BYTES / row) / TILE * TILE, n = 0;
    if (some > rows) some = rows;
    for (int i = 0; i < REPEATS; i++)
        for (int s = 0; s + some <= rows && n < 1024; s += some) {
            double start = kern_now();
            for (int r = s; r < s + some; r += TILE)
                f->mm[t](b->out, TILE, b->w + (size_t)r * row, row, TILE, b->act, act, n_tok, N_IN);
            slice[n++] = kern_now() - start;
        }
    qsort(slice, (size_t)n, sizeof(slice[0]), by_size);
    return slice[n / 8] / some;
}

static void prepare(bench *b, const hd_cpu_fns *f, hd_dtype t, int rows)
{
    size_t row = hd_row_bytes(t, N_IN), act = hd_act_row_bytes(f->act_fmt[t], N_IN);
    float x[N_IN];
    fill_weights(&b->k, t, b->w, (int64_t)N_IN * TILE, B_RANDOM);
    if (t == HD_F8_B128) fill_f8_normal(&b->k, b->w, (int64_t)N_IN * TILE);
    for (int r = TILE; r < rows; r++) // values do not matter to time
        memcpy(b->w + (size_t)r * row, b->w + (size_t)(r % TILE) * row, row);
    for (int i = 0; i < MAX_TOKENS; i++) {
        fill_floats(&b->k, x, N_IN, P_UNIFORM);
        if (f->act_fmt[t] == HD_ACT_F32)
            memcpy(b->act + (size_t)i * act, x, act);
        else
            f->quant_act[f->act_fmt[t]](b->act + (size_t)i * act, x, N_IN);
    }
}

static void bench_type(bench *b, const hd_cpu_fns *f, hd_dtype t)
{
    size_t row = hd_row_bytes(t, N_IN);
    int rows = (int)(WEIGHT_BYTES / row) / TILE * TILE, some = rows / 4 / TILE * TILE;
    prepare(b, f, t, rows);
    double read = roof_read(b->w, (size_t)rows * row);
    double bytes = (double)row * 1e-9, ops = 2.0 * N_IN * 1e-9;
    // The cached figure shows what the kernel could take from a faster memory.
    printf("%-8s %-24s %6.1f GB/s of %5.1f, cached %6.1f | GOP/s at 2: %6.1f 4: %6.1f 8: %6.1f "
           "16: %6.1f 64: %6.1f\n",
           hd_dtype_name(t), f->level, bytes / time_mm(b, f, t, rows, 1), read,
           bytes / time_mm(b, f, t, TILE, 1), ops * 2 / time_mm(b, f, t, some, 2),
           ops * 4 / time_mm(b, f, t, some, 4), ops * 8 / time_mm(b, f, t, some, 8),
           ops * 16 / time_mm(b, f, t, some, 16), ops * 64 / time_mm(b, f, t, some, 64));
    fflush(stdout);
}

typedef struct conversion {
    const hd_cpu_fns *f;
    hd_dtype t;
    bool encode;
} conversion;

// Millions of elements per second, in pieces of a row that stay in the cache.
static double time_conversion(const bench *b, const conversion *c)
{
    static float x[N_IN];
    double best = 1e9;
    memset(x, 0, sizeof(x));
    if (c->encode) memcpy(x, b->act, sizeof(x));
    for (int i = 0; i < 20; i++) {
        double start = kern_now();
        for (int r = 0; r < TILE; r++) {
            if (c->encode)
                c->f->encode[c->t](x, b->w, N_IN);
            else
                c->f->decode[c->t](b->w, x, N_IN);
        }
        double s = kern_now() - start;
        if (s < best) best = s;
    }
    return TILE * N_IN / best * 1e-6;
}

static void bench_conversions(bench *b, const hd_cpu_fns *f, hd_dtype t)
{
    const conversion decode = {f, t, false}, encode = {f, t, true};
    if (f->decode[t]) {
        fill_weights(&b->k, t, b->w, N_IN, B_RANDOM);
        printf("%-8s %-24s decode %7.0f M/s", hd_dtype_name(t), f->level,
               time_conversion(b, &decode));
    }
    fill_floats(&b->k, (float *)(void *)b->act, N_IN, P_OUTLIERS);
    if (f->encode[t]) printf(", encode %7.0f M/s", time_conversion(b, &encode));
    if (f->decode[t]) putchar('\n');
}

int kern_bench(const char *only, uint64_t seed)
{
#ifdef __aarch64__
    static const uint32_t levels[] = {HD_CPU_NEON};
#else
    static const uint32_t levels[] = {HD_CPU_AVX2, HD_CPU_AVX2 | HD_CPU_AVX512,
                                      HD_CPU_AVX2 | HD_CPU_AVX512 | HD_CPU_AVX512VNNI};
#endif
    static hd_cpu_fns f;
    bench b = {.w = hd_alloc_big(WEIGHT_BYTES),
               .act = hd_alloc_big(MAX_TOKENS * N_IN * sizeof(float)),
               .out = hd_alloc_big(MAX_TOKENS * TILE * sizeof(float))};
    if (!b.w || !b.act || !b.out) return 2;
    hd_rng_seed(&b.k.rng, seed);
    memset(b.w, 1, WEIGHT_BYTES);
    uint32_t have = hd_cpu_detect();
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if ((levels[i] & have) != levels[i]) break;
        hd_cpu_fns_fill(&f, levels[i]);
        printf("%s: one thread can do %.0f GOP/s of f32 and %.0f of int8\n", f.level,
               roof_f32(levels[i]), roof_i8(levels[i]));
        for (int t = 0; t < HD_DTYPE_COUNT; t++) {
            if (!f.mm[t] || (only && !strstr(hd_dtype_name((hd_dtype)t), only))) continue;
            bench_type(&b, &f, (hd_dtype)t);
        }
        for (int t = 0; t < HD_DTYPE_COUNT; t++)
            if (!only || strstr(hd_dtype_name((hd_dtype)t), only))
                bench_conversions(&b, &f, (hd_dtype)t);
        for (int t = 0; t < HD_DTYPE_COUNT; t++)
            if (f.qk[t] && (!only || strstr(hd_dtype_name((hd_dtype)t), only)))
                kern_bench_attn(&b.k, &f, (hd_dtype)t);
    }
    hd_free_big(b.w, WEIGHT_BYTES);
    hd_free_big(b.act, MAX_TOKENS * N_IN * sizeof(float));
    hd_free_big(b.out, MAX_TOKENS * TILE * sizeof(float));
    return 0;
}
