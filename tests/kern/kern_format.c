// decode, encode, quant_act, kv_write: exact on every level (any NaN equals any NaN where
// arithmetic made it).
#include "tests/kern/checkkern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void test_decode(kern *k, hd_dtype type)
{
    static const int counts[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 18, 33, 64, 130};
    int block = hd_dtype_get(type)->block;
    for (int turn = 0; turn < 14 * B_EDGE_COUNT; turn++) {
        int64_t n = (int64_t)counts[turn % 14] * block;
        int place = turn / 14 % PLACES;
        block_pattern p = (block_pattern)(turn / 14);
        guarded src, got, want;
        kern_case(k, "n %lld place %d pattern %d", (long long)n, place, p);
        guard_open(&src, hd_row_bytes(type, n), place);
        guard_open(&got, (size_t)n * sizeof(float), place);
        guard_open(&want, (size_t)n * sizeof(float), place);
        fill_weights(k, type, src.p, n, p);
        k->ref->decode[type](src.p, (float *)(void *)want.p, n);
        k->cur->decode[type](src.p, (float *)(void *)got.p, n);
        guard_check(k, &src, "src");
        guard_check(k, &got, "dst");
        expect_same(k, "dst", (const float *)(const void *)got.p,
                    (const float *)(const void *)want.p, n);
        guard_close(&src);
        guard_close(&got);
        guard_close(&want);
    }
}

static void test_encode(kern *k, hd_dtype type)
{
    static const int counts[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 18, 33, 64, 130};
    int block = hd_dtype_get(type)->block;
    size_t bytes = (size_t)hd_dtype_get(type)->block_bytes;
    for (int turn = 0; turn < 14 * P_EDGE_COUNT * PLACES; turn++) {
        int64_t n = (int64_t)counts[turn % 14] * block;
        int place = turn / 14 % PLACES;
        pattern p = (pattern)(turn / 14 / PLACES);
        guarded src, got, want;
        kern_case(k, "n %lld place %d pattern %d", (long long)n, place, p);
        float *x = guard_open(&src, (size_t)n * sizeof(float), place);
        guard_open(&got, bytes * (size_t)counts[turn % 14], place);
        guard_open(&want, bytes * (size_t)counts[turn % 14], place);
        fill_floats(k, x, n, p);
        for (int64_t i = 0; p == P_NONFINITE && i < n; i++) // some blocks stay finite
            if (!isfinite(x[i]) && i / block % 2) x[i] = 3.0f;
        for (int64_t i = 0; p == P_ZEROS && i < n;
             i++) // of both signs, and blocks without negatives
            if (hd_rng_below(&k->rng, 2)) x[i] = i / block % 2 ? -0.0f : 1.0f;
        k->ref->encode[type](x, want.p, n);
        k->cur->encode[type](x, got.p, n);
        guard_check(k, &src, "src");
        guard_check(k, &got, "dst");
        expect_bytes(k, "dst", got.p, want.p, bytes * (size_t)counts[turn % 14]);
        guard_close(&src);
        guard_close(&got);
        guard_close(&want);
    }
}

static void quant_act(kern *k, hd_act_fmt fmt, int block)
{
    static const int counts[] = {1, 2, 3, 6, 8, 18};
    for (int turn = 0; turn < 12 * P_EDGE_COUNT; turn++) {
        int n = counts[turn % 6] * block, place = turn % PLACES;
        pattern p = (pattern)(turn / 12);
        size_t bytes = hd_act_row_bytes(fmt, n);
        guarded x, got, want;
        kern_case(k, "n %d place %d pattern %d", n, place, p);
        guard_open(&x, (size_t)n * sizeof(float), place);
        guard_open(&got, bytes, place);
        guard_open(&want, bytes, place);
        fill_floats(k, (float *)(void *)x.p, n, p);
        k->ref->quant_act[fmt](want.p, (const float *)(const void *)x.p, n);
        k->cur->quant_act[fmt](got.p, (const float *)(const void *)x.p, n);
        guard_check(k, &x, "x");
        guard_check(k, &got, "dst");
        expect_bytes(k, "dst", got.p, want.p, bytes);
        guard_close(&x);
        guard_close(&got);
        guard_close(&want);
    }
}

static void test_quant_q8_32(kern *k, hd_dtype type)
{
    (void)type;
    quant_act(k, HD_ACT_Q8_32, 32);
}

static void test_quant_q8_256(kern *k, hd_dtype type)
{
    (void)type;
    quant_act(k, HD_ACT_Q8_256, 256);
}

static void test_kv_write(kern *k, hd_dtype type)
{
    static const int counts[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 100, 128, 576};
    int block = hd_dtype_get(type)->block;
    for (int turn = 0; turn < 26 * P_EDGE_COUNT; turn++) {
        int n = counts[turn % 13] * block, place = turn % PLACES;
        pattern p = (pattern)(turn / 26);
        size_t bytes = hd_row_bytes(type, n);
        guarded x, got, want;
        kern_case(k, "n %d place %d pattern %d", n, place, p);
        float *values = guard_open(&x, (size_t)n * sizeof(float), place);
        guard_open(&got, bytes, place);
        guard_open(&want, bytes, place);
        fill_floats(k, values, n, p);
        for (int i = 0; block > 1 && i < n; i++) // scales of every size, also below the normal ones
            values[i] *= hd_f32_from_bits((uint32_t)(127 - i / block % 28) << 23);
        k->ref->kv_write[type](want.p, values, n);
        k->cur->kv_write[type](got.p, values, n);
        guard_check(k, &x, "src");
        guard_check(k, &got, "dst");
        expect_bytes(k, "dst", got.p, want.p, bytes);
        guard_close(&x);
        guard_close(&got);
        guard_close(&want);
    }
}

int kern_format_tests(kern_test *t)
{
    static const hd_dtype kv[] = {HD_F32, HD_F16, HD_BF16, HD_Q8_0};
    int n = 0;
    for (int i = 0; i < HD_DTYPE_COUNT; i++)
        if (hd_dtype_get((hd_dtype)i)->is_float)
            kern_add(&t[n++], "decode", (hd_dtype)i, test_decode,
                     offsetof(hd_cpu_fns, decode) + (size_t)i * sizeof(hd_decode_fn *));
    for (int i = 0; i < HD_DTYPE_COUNT; i++)
        if (hd_dtype_get((hd_dtype)i)->from_f32)
            kern_add(&t[n++], "encode", (hd_dtype)i, test_encode,
                     offsetof(hd_cpu_fns, encode) + (size_t)i * sizeof(hd_encode_fn *));
    kern_add(&t[n++], "quant_act.q8_32", HD_DTYPE_NONE, test_quant_q8_32,
             offsetof(hd_cpu_fns, quant_act) + HD_ACT_Q8_32 * sizeof(hd_quant_act_fn *));
    kern_add(&t[n++], "quant_act.q8_256", HD_DTYPE_NONE, test_quant_q8_256,
             offsetof(hd_cpu_fns, quant_act) + HD_ACT_Q8_256 * sizeof(hd_quant_act_fn *));
    for (int i = 0; i < 4; i++)
        kern_add(&t[n++], "kv_write", kv[i], test_kv_write,
                 offsetof(hd_cpu_fns, kv_write) + kv[i] * sizeof(hd_quant_act_fn *));
    return n;
}
