// Codes of block formats, sixteen elements at a time: what matrix kernels multiply and decoders
// scale. A weight is
//   d * (code - code_offset) + m            in blocks of 32
//   d * scale * (code - code_offset) - dmin * min    in super-blocks of 256
#ifndef HADAL_KERNELS_CPU_ARM_BLOCKS_H
#define HADAL_KERNELS_CPU_ARM_BLOCKS_H

#include "kernels/cpu/arm/mm.h"
#include "kernels/cpu/tmpl/blocks.h"

// ---- what differs by type ------------------------------------------------------------------

// log2 of the offset, 0 where there is none.
HD_INLINE int offset_shift(hd_dtype type)
{
    switch (type) {
    case HD_Q3_K:
        return 2;
    case HD_Q4_0:
        return 3;
    case HD_Q5_0:
        return 4;
    case HD_Q6_K:
        return 5;
    default:
        return 0;
    }
}

HD_INLINE int code_offset(hd_dtype type)
{
    return offset_shift(type) ? 1 << offset_shift(type) : 0;
}

// ---- blocks of 32 --------------------------------------------------------------------------

HD_INLINE uint8x16_t nibbles(uint8x16_t v, int upper)
{
    return upper ? high_nibbles(v) : low_nibbles(v);
}

// Nibbles with the fifth bits, which are four bytes from byte `bits` on; the nibbles follow them.
HD_INLINE int8x16_t codes_five(const uint8_t *p, int bits, int half)
{
    const uint8x16_t one = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    const uint64x2_t every = {0,
                              0x0101010101010101u}; // byte 0 for eight elements, byte 1 for eight
    uint8x16_t at = vaddq_u8(vreinterpretq_u8_u64(every), vdupq_n_u8((uint8_t)(bits + 2 * half)));
    uint8x16_t set = vtstq_u8(vqtbl1q_u8(load16(p), at), one);
    return vreinterpretq_s8_u8(put_bits(nibbles(load16(p + bits + 4), half), set, 16));
}

// Elements 16 * half... of a block.
HD_INLINE int8x16_t codes32(hd_dtype type, const uint8_t *p, int half)
{
    switch (type) {
    case HD_Q4_0:
        return vreinterpretq_s8_u8(nibbles(load16(p + 2), half));
    case HD_Q4_1:
        return vreinterpretq_s8_u8(nibbles(load16(p + 4), half));
    case HD_Q5_0:
        return codes_five(p, 2, half);
    case HD_Q5_1:
        return codes_five(p, 4, half);
    case HD_Q8_0:
        return vreinterpretq_s8_u8(load16(p + 2 + 16 * half));
    case HD_IQ4_NL:
        return table16(hd_iq4_levels, nibbles(load16(p + 2), half));
    default: // HD_MXFP4
        return table16(hd_mxfp4_levels, nibbles(load16(p + 1), half));
    }
}

// ---- super-blocks --------------------------------------------------------------------------

HD_INLINE uint8x16_t codes_q6_k(const uint8_t *p, int g)
{
    int part = g / 8, quarter = g % 8 / 2; // 128 elements, 32 of these
    uint8x16_t low = load16(p + 64 * part + 32 * (quarter % 2) + 16 * (g % 2));
    uint8x16_t high = load16(p + 128 + 32 * part + 16 * (g % 2));
    return put_bits(nibbles(low, quarter / 2), move_bits(high, 2 * quarter, 4), 0x30);
}

HD_INLINE uint8x16_t two_bits(const uint8_t *qs, int g)
{
    uint8x16_t v = load16(qs + 32 * (g / 8) + 16 * (g % 2));
    return vandq_u8(move_bits(v, 2 * (g % 8 / 2), 0), vdupq_n_u8(3));
}

// Group g of 16 elements of a super-block.
HD_INLINE int8x16_t codes256(hd_dtype type, const uint8_t *p, int g)
{
    int at = 32 * (g / 4) + 16 * (g % 2), upper = g / 2 % 2; // of the nibbles of Q4_K and Q5_K
    switch (type) {
    case HD_Q2_K:
        return vreinterpretq_s8_u8(two_bits(p + 16, g));
    case HD_Q3_K:
        return vreinterpretq_s8_u8(
            put_bits(two_bits(p + 32, g), move_bits(load16(p + 16 * (g % 2)), g / 2, 2), 4));
    case HD_Q4_K:
        return vreinterpretq_s8_u8(nibbles(load16(p + 16 + at), upper));
    case HD_Q5_K:
        return vreinterpretq_s8_u8(put_bits(nibbles(load16(p + 48 + at), upper),
                                            move_bits(load16(p + 16 + 16 * (g % 2)), g / 2, 4),
                                            16));
    case HD_Q6_K:
        return vreinterpretq_s8_u8(codes_q6_k(p, g));
    default: // HD_IQ4_XS
        return table16(hd_iq4_levels, nibbles(load16(p + 8 + 16 * (g / 2)), g % 2));
    }
}

#endif
