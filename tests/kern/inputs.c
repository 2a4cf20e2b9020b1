// Input patterns of checkkern.
#include "tests/kern/checkkern.h"

#include <float.h>
#include <math.h>
#include <string.h>

// Infinities, NaN, the ends of ranges, and numbers on or beside the midpoints of half precision and
// bfloat16, where ties decide.
static float edge(kern *k)
{
    static const uint32_t odd[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc00123, 0x7f800001,
                                   0x7f7fffff, 0xff7fffff, 0x80000000, 0x00000001, 0x477fe000,
                                   0x477ff000, 0x33000000, 0x33000001, 0x387fc000, 0x7f7f8000};
    static const uint32_t low[] = {0, 1, 0x0fff, 0x1000, 0x1001, 0x3000, 0x7fff, 0x8000, 0x8001};
    uint32_t upper = hd_f32_bits(hd_rng_normal(&k->rng)) & 0xffff0000u;
    switch (hd_rng_below(&k->rng, 4)) {
    case 0:
        return hd_f32_from_bits(odd[hd_rng_below(&k->rng, sizeof(odd) / sizeof(odd[0]))]);
    case 1:
        return hd_rng_normal(&k->rng);
    default:
        return hd_f32_from_bits(upper | low[hd_rng_below(&k->rng, sizeof(low) / sizeof(low[0]))]);
    }
}

static float one_float(kern *k, int64_t i, pattern p)
{
    hd_rng *r = &k->rng;
    switch (p) {
    case P_UNIFORM:
        return (float)(2 * hd_rng_unit(r) - 1);
    case P_OUTLIERS:
        return hd_rng_normal(r) * (hd_rng_below(r, 50) == 0 ? 100.0f : 1.0f);
    case P_ZEROS:
        return 0.0f;
    case P_DENORMALS:
        return hd_f32_from_bits((uint32_t)(hd_rng_u64(r) & 0x807fffffu));
    case P_TINY:
        return hd_f32_from_bits(hd_rng_below(r, 400) | (uint32_t)(i % 2) << 31);
    case P_HUGE:
        return hd_rng_below(r, 2) ? 0x1p50f : -0x1p50f;
    case P_SIGN_FLIP:
        return i % 2 ? 0.75f : -0.75f;
    default:
        return edge(k);
    }
}

void fill_floats(kern *k, float *x, int64_t n, pattern p)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = one_float(k, i, p);
}

// Byte offsets of a block's half-precision scales; -1 where there is none.
static void scale_bytes(hd_dtype type, int at[2])
{
    at[0] = 0;
    at[1] = -1;
    switch (type) {
    case HD_Q4_1:
    case HD_Q5_1:
    case HD_Q4_K:
    case HD_Q5_K:
        at[1] = 2;
        break;
    case HD_Q2_K:
        at[0] = offsetof(hd_block_q2_k, d);
        at[1] = offsetof(hd_block_q2_k, dmin);
        break;
    case HD_Q3_K:
        at[0] = offsetof(hd_block_q3_k, d);
        break;
    case HD_Q6_K:
        at[0] = offsetof(hd_block_q6_k, d);
        break;
    case HD_MXFP4:
    case HD_F8_B128: // a float
        at[0] = -1;
        break;
    default:
        break;
    }
}

static void set_scale(kern *k, hd_dtype type, uint8_t *block, block_pattern p)
{
    int at[2];
    float sign = p == B_NEGATIVE ? -1.0f : 1.0f;
    scale_bytes(type, at);
    if (type == HD_F8_B128) {
        float d = p == B_ZERO_SCALE ? 0.0f : sign * (float)(0.001 + 0.01 * hd_rng_unit(&k->rng));
        memcpy(block, &d, sizeof(d));
        for (int i = 4; i < 132; i++) // no NaN
            if ((block[i] & 0x7f) == 0x7f) block[i] ^= 1;
    }
    if (type == HD_MXFP4) block[0] = p == B_ZERO_SCALE ? 0 : (uint8_t)(110 + block[0] % 20);
    for (int i = 0; i < 2; i++) {
        if (at[i] < 0) continue;
        float d = sign * (float)(0.001 + 0.01 * hd_rng_unit(&k->rng));
        if (i == 1 && hd_rng_below(&k->rng, 2)) d = -d; // the minimum of Q4_1 has any sign
        hd_f16 h = hd_f32_f16(p == B_ZERO_SCALE ? 0.0f : d);
        memcpy(block + at[i], &h, sizeof(h));
    }
}

// Scalar formats: random numbers of the pattern's spirit.
static void fill_scalars(kern *k, hd_dtype type, uint8_t *w, int64_t n, block_pattern p)
{
    const hd_dtype_traits *tr = hd_dtype_get(type);
    for (int64_t i = 0; i < n; i++) {
        uint8_t *e = w + i * tr->block_bytes;
        float x = hd_rng_normal(&k->rng);
        if (p == B_ZERO_SCALE) x = 0;
        if (p == B_MAX_CODE) x = 448;
        if (p == B_MIN_CODE) x = i % 2 ? 0x1p-9f : -0x1p-9f;
        if (p == B_NEGATIVE) x = -fabsf(x);
        if (p == B_RAW || !tr->from_f32) {
            for (int b = 0; b < tr->block_bytes; b++)
                e[b] = (uint8_t)hd_rng_u64(&k->rng);
        } else {
            tr->from_f32(&x, e, 1);
        }
    }
}

void fill_weights(kern *k, hd_dtype type, uint8_t *w, int64_t n, block_pattern p)
{
    const hd_dtype_traits *tr = hd_dtype_get(type);
    if (tr->block == 1) {
        fill_scalars(k, type, w, n, p);
        return;
    }
    size_t bytes = (size_t)tr->block_bytes;
    for (size_t b = 0; b < (size_t)(n / tr->block); b++) {
        uint8_t *block = w + b * bytes;
        for (size_t i = 0; i < bytes; i++)
            block[i] = p == B_MAX_CODE ? 0xff : p == B_MIN_CODE ? 0 : (uint8_t)hd_rng_u64(&k->rng);
        if (p != B_RAW) set_scale(k, type, block, p);
    }
}

void keep_f8_promises(uint8_t *w, int64_t n)
{
    for (; n > 0; n -= 128, w += sizeof(hd_block_f8_b128)) {
        hd_block_f8_b128 b;
        memcpy(&b, w, sizeof(b));
        if (isfinite(b.d) && fabsf(b.d) >= HD_F8_B128_MAX_D) b.d *= 0x1p-8f;
        for (int i = 0; i < 128; i++)
            if ((b.q[i] & 0x7f) == 0x7f) b.d = NAN;
        memcpy(w, &b, sizeof(b));
    }
}

void fill_f8_normal(kern *k, uint8_t *w, int64_t n)
{
    for (; n > 0; n -= 128, w += sizeof(hd_block_f8_b128)) {
        float x[128];
        for (int i = 0; i < 128; i++)
            x[i] = hd_rng_normal(&k->rng);
        hd_dtype_get(HD_F8_B128)->from_f32(x, w, 128);
    }
}
