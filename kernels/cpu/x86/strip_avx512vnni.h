// Block weights times 8-bit activations with VNNI, sixteen rows at a time: what dot32_strip_tmpl.c
// and dot256_strip_tmpl.c share.
//
// A strip is sixteen rows. Weights are read as block32_tmpl.c and block256_tmpl.c give them, four
// rows per vector, and brought into the order in which each 32-bit element of a vector belongs to
// its own row: vector k of four holds rows 4 r + k in lane r, so that exchanging elements inside
// lanes puts row i into element i.
//
// Few tokens: products are summed as they come, and a block's integer sums are brought into order.
// Many: the codes themselves are, once for all tokens of the call, as a panel of lines of 16 rows
// by 4 columns. Then 4 bytes of activations meet all rows: vpdpbusd broadcasts them while it loads.
//
// Both take the exact sum of a block, round in the same order and keep one accumulator per row, so
// a result does not depend on the number of tokens. Measured on Zen 4, one core of 473 GOP/s, 64
// tokens, against tiles of four rows: Q4_K 192 -> 316, Q4_1 164 -> 270, Q8_0 176 -> 287.
#ifndef HADAL_KERNELS_CPU_X86_STRIP_AVX512VNNI_H
#define HADAL_KERNELS_CPU_X86_STRIP_AVX512VNNI_H

#include "kernels/cpu/x86/vec_avx512.h"

enum {
    STRIP = 16,  // rows
    FEW = 4,     // tokens that a tile of few takes at most
    GROUP = 64,  // tokens that share a panel
    LINE = 64,   // bytes of a line
    VECTORS = 4, // of a strip
};

typedef struct strip {
    const uint8_t *row[VECTORS][LANES];
    const uint8_t *next; // to be prefetched
} strip;

typedef struct sums { // of a group of tokens; a tile at the edge spills into the rest
    _Alignas(64) float of[GROUP + MAX_TOK][STRIP];
} sums;

HD_INLINE void strip_open(strip *s, const mm_call *c, int r0)
{
    for (int k = 0; k < VECTORS; k++)
        for (int r = 0; r < LANES; r++)
            s->row[k][r] = mm_row(c, r0 + VECTORS * r + k);
    s->next = mm_ahead(c, r0, STRIP);
}

// The rows of vector k from byte `at` on.
HD_INLINE void strip_rows(const strip *s, int k, size_t at, const uint8_t *p[LANES])
{
    for (int r = 0; r < LANES; r++)
        p[r] = s->row[k][r] + at;
}

HD_INLINE void strip_store(const mm_call *c, int r0, int t, vf v)
{
    float *out = c->out + t * c->out_stride + r0;
    if (r0 + STRIP <= c->n_rows)
        f_store(out, v);
    else
        f_store_first(out, v, c->n_rows - r0);
}

HD_INLINE void group_store(const mm_call *c, int r0, int t0, int n_tok, const sums *acc)
{
    for (int t = 0; t < n_tok; t++)
        strip_store(c, r0, t0 + t, f_load(acc->of[t]));
}

// ---- order ---------------------------------------------------------------------------------

// The sum of every lane, a row each.
HD_INLINE vi sums_by_rows(const vi v[VECTORS])
{
    vi a = v_add32(v_unpacklo32(v[0], v[1]), v_unpackhi32(v[0], v[1]));
    vi b = v_add32(v_unpacklo32(v[2], v[3]), v_unpackhi32(v[2], v[3]));
    return v_add32(v_unpacklo64(a, b), v_unpackhi64(a, b));
}

// Of vectors that have the same number all over a lane.
HD_INLINE vf spread_by_rows(const vf v[VECTORS])
{
    vf a = _mm512_mask_mov_ps(v[0], 0x2222, v[1]), b = _mm512_mask_mov_ps(v[2], 0x8888, v[3]);
    return _mm512_mask_mov_ps(a, 0xcccc, b);
}

HD_INLINE void store_line(uint8_t *line, vi v)
{
    _mm512_store_si512((void *)line, v);
}
HD_INLINE vi load_line(const void *line)
{
    return _mm512_load_si512(line);
}

// ---- products ------------------------------------------------------------------------------

typedef struct four_bytes { // an operand in memory that is broadcast
    uint8_t of[4];
} four_bytes;

// acc + line * four activations, the same for every row. In assembly, because compilers copy
// accumulators around the intrinsic and load what the instruction would broadcast: gcc 12 makes
// half the speed of it.
HD_INLINE vi dot4(vi acc, vi line, const int8_t *a)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0"
            : "+v"(acc)
            : "v"(line), "m"(*(const four_bytes *)(const void *)a));
    return acc;
}

// As dot4, of two 16-bit numbers.
HD_INLINE vi dot2(vi acc, vi line, const int16_t *a)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0"
            : "+v"(acc)
            : "v"(line), "m"(*(const four_bytes *)(const void *)a));
    return acc;
}

#endif
