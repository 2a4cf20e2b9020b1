// Bits and small floats read the slow way, for tests of number formats.
#ifndef HADAL_TESTS_UNIT_DTYPE_KIT_H
#define HADAL_TESTS_UNIT_DTYPE_KIT_H

#include "kernels/dtype.h"
#include "tests/harness/test.h"

#include <math.h>

// Bits first..first+n-1 of a little-endian bit string.
static inline unsigned bits_at(const uint8_t *p, unsigned first, unsigned n)
{
    unsigned v = 0;
    for (unsigned k = 0; k < n; k++)
        v |= (unsigned)((p[(first + k) / 8] >> ((first + k) % 8)) & 1) << k;
    return v;
}

// A sign, exponent, mantissa format evaluated in double: exact for everything up to 32 bits.
static inline double minifloat(unsigned code, int exp_bits, int man_bits, int bias)
{
    int man = (int)(code & ((1u << man_bits) - 1));
    int exp = (int)((code >> man_bits) & ((1u << exp_bits) - 1));
    double sign = (code >> (man_bits + exp_bits)) & 1 ? -1 : 1;
    if (exp == 0) return sign * ldexp(man, 1 - bias - man_bits);
    return sign * ldexp(man + (1 << man_bits), exp - bias - man_bits);
}

static inline float half_at(const uint8_t *p)
{
    unsigned code = p[0] | (unsigned)p[1] << 8;
    if ((code & 0x7c00) == 0x7c00) {
        if (code & 0x3ff) return NAN;
        return code & 0x8000 ? -INFINITY : INFINITY;
    }
    return (float)minifloat(code, 5, 10, 15);
}

// Equal bits; any NaN equals any NaN, because which operand's payload survives is not specified.
static inline bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || hd_f32_bits(a) == hd_f32_bits(b);
}

static inline unsigned six_bit_scale(const uint8_t *b, unsigned j, bool want_min)
{
    if (j < 4) return bits_at(b, 8 * (want_min ? j + 4 : j), 6);
    unsigned low = bits_at(b, 8 * (j + 4) + (want_min ? 4 : 0), 4);
    return low + 16 * bits_at(b, 8 * (want_min ? j : j - 4) + 6, 2);
}

static inline int signed8(uint8_t b)
{
    return b < 128 ? b : b - 256;
}

#endif
