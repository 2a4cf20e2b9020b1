// checkkern: every micro-kernel of every level against the scalar reference, on the tables that
// production fills, with inputs from one printed seed, in buffers between protected pages.
//
// A test checks one entry of hd_cpu_fns. It stops at its first failed expectation (or fault) and
// names the case; the runner goes on with the next. What is checked how is in README form above
// each test: exact results, or a budget derived from the number of roundings, never tuned.
#ifndef HADAL_TESTS_KERN_CHECKKERN_H
#define HADAL_TESTS_KERN_CHECKKERN_H

#include "kernels/base/rng.h"
#include "kernels/cpu/fns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIT 0x1p-24 // half a unit in the last place of 1: the relative error of one rounding

typedef struct kern {
    const hd_cpu_fns *ref, *cur;
    const char *level;
    hd_rng rng;
    char what[160]; // the case being run, for messages
} kern;

typedef struct kern_test {
    char name[40];
    void (*run)(kern *k, hd_dtype type);
    hd_dtype type;
    size_t entry; // offset of the pointer in hd_cpu_fns
} kern_test;

// The lists of each file; return how many tests were added.
int kern_mm_tests(kern_test *t);
int kern_format_tests(kern_test *t);
int kern_attn_tests(kern_test *t);
int kern_row_tests(kern_test *t);
void kern_add(kern_test *t, const char *family, hd_dtype type, void (*run)(kern *k, hd_dtype type),
              size_t entry);

// ---- failing -------------------------------------------------------------------------------

void kern_case(kern *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kern_fail(kern *k, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

// Equal bits, or both NaN.
bool same_value(float a, float b);
void expect_same(kern *k, const char *name, const float *got, const float *want, int64_t n);
// Equal bytes.
void expect_bytes(kern *k, const char *name, const void *got, const void *want, size_t n);

// ---- buffers -------------------------------------------------------------------------------

enum { AT_END, AT_START, PLACES }; // where the buffer touches its protected page

typedef struct guarded {
    uint8_t *map; // protected page, pages, protected page
    size_t map_bytes;
    uint8_t *p; // the buffer: everything around it up to the protected pages holds canaries
    size_t n;
} guarded;

void *guard_open(guarded *g, size_t n, int place);
void guard_check(kern *k, const guarded *g, const char *name); // canaries untouched
void guard_close(guarded *g);

// ---- inputs --------------------------------------------------------------------------------

typedef enum pattern {
    P_UNIFORM,
    P_OUTLIERS, // gaussian, one in fifty a hundred times larger
    P_ZEROS,
    P_DENORMALS, // of any size below the normal range
    P_TINY,      // up to 400 times the smallest number
    P_HUGE,      // +-2^50, products and sums stay finite
    P_SIGN_FLIP, // the same magnitude with alternating signs
    P_COUNT,
    P_NONFINITE =
        P_COUNT, // edges, infinities, NaN: where results are exact, or in mm one per token
    P_EDGE_COUNT
} pattern;

void fill_floats(kern *k, float *x, int64_t n, pattern p);

typedef enum block_pattern {
    B_RANDOM,     // random codes, scales of real magnitude
    B_ZERO_SCALE, // the block's scales are zero
    B_MAX_CODE,   // all code bits set
    B_MIN_CODE,   // no code bit set
    B_NEGATIVE,   // negative scales
    B_COUNT,
    B_RAW = B_COUNT, // any bits, NaN and infinite scales included
    B_EDGE_COUNT
} block_pattern;

// n elements of any weight type.
void fill_weights(kern *k, hd_dtype type, uint8_t *w, int64_t n, block_pattern p);
// Makes blocks of HD_F8_B128 what mm may expect: see hd_block_f8_b128.
void keep_f8_promises(uint8_t *w, int64_t n);
// Normally distributed weights in HD_F8_B128: subnormal codes, slower on some processors, are as
// rare as they are in models.
void fill_f8_normal(kern *k, uint8_t *w, int64_t n);

// ---- bench ---------------------------------------------------------------------------------

int kern_bench(const char *only, uint64_t seed);
int kern_bench_moe(uint64_t seed);
void kern_bench_attn(kern *k, const hd_cpu_fns *f, hd_dtype t); // bench_attn.c

typedef struct roof {
    double read_gbs; // sequential read of memory, one thread
    double f32_gops; // fused multiply-adds, one thread
    double i8_gops;  // 8-bit products with the best instructions of the level; 0 when unknown
} roof;
double roof_read(const void *p, size_t bytes);
double roof_f32(uint32_t features);
double roof_i8(uint32_t features);
double kern_now(void);

#endif
