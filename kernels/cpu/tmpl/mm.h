// What the matrix kernels share whatever the instruction set: the call as one struct, pointers of a
// tile with edges clamped, how far to prefetch. Included by per-ISA files only; everything is
// inline, so nothing compiled for a higher level can be linked into a lower one.
#ifndef HADAL_KERNELS_CPU_TMPL_MM_H
#define HADAL_KERNELS_CPU_TMPL_MM_H

#include "kernels/cpu/fns.h"

#include <string.h>

#define HD_INLINE static inline __attribute__((always_inline, unused))

#ifdef __clang__
#define HD_UNROLL4  _Pragma("unroll 4")
#define HD_UNROLL16 _Pragma("unroll 16")
#else
#define HD_UNROLL4  _Pragma("GCC unroll 4")
#define HD_UNROLL16 _Pragma("GCC unroll 16")
#endif

// A tile is some rows by up to MAX_TOK tokens. A tile at the edge repeats its last row or token,
// computes it again and drops the result: an output's arithmetic never depends on the tile.
enum { MAX_TOK = 8 };

typedef struct mm_call { // the arguments of hd_mm_fn
    float *out;
    int64_t out_stride;
    const uint8_t *w;
    size_t w_stride;
    int n_rows;
    const uint8_t *act;
    size_t act_stride;
    int n_tok, n_in;
} mm_call;

// A function of type hd_mm_fn around a body that gets its arguments as `c`.
#define MM(name, body)                                                                             \
    static void name(float *restrict out, int64_t out_stride, const void *restrict w,              \
                     size_t w_stride, int n_rows, const void *restrict act, size_t act_stride,     \
                     int n_tok, int n_in)                                                          \
    {                                                                                              \
        const mm_call c = {out, out_stride, w, w_stride, n_rows, act, act_stride, n_tok, n_in};    \
        body;                                                                                      \
    }

HD_INLINE const uint8_t *mm_row(const mm_call *c, int r)
{
    return c->w + (size_t)(r < c->n_rows ? r : c->n_rows - 1) * c->w_stride;
}

HD_INLINE const uint8_t *mm_tok(const mm_call *c, int t)
{
    return c->act + (size_t)(t < c->n_tok ? t : c->n_tok - 1) * c->act_stride;
}

// How many tokens the next tile takes: 8, 4, 2 or 1, the last ones perhaps repeated.
HD_INLINE int mm_tokens(int left)
{
    return left >= 7 ? 8 : left >= 3 ? 4 : left;
}

// Prefetching. A tile reads several rows side by side; hardware follows that at half the speed of
// memory. So while a tile is multiplied, the bytes of the tile after it are asked for in the order
// of memory, at least 16 KiB ahead and into the second level: the first is too small for wide rows.
// Measured on Zen 4, against the first level and the next tile: Q8_0 15 -> 26 GB/s and Q4_K 13 ->
// 21 at 14336 columns, Q6_K 14 -> 20 at 2048. Prefetching past the end of the weights is harmless.
HD_INLINE const uint8_t *mm_ahead(const mm_call *c, int r0, int rows)
{
    size_t tile = (size_t)rows * c->w_stride;
    return mm_row(c, r0) + (tile > 16384 ? tile : 16384);
}

// Bytes per element of a float format.
HD_INLINE size_t float_width(hd_dtype type)
{
    return type == HD_F32 ? 4 : type == HD_F8_E4M3 ? 1 : 2;
}

HD_INLINE uint16_t load_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

HD_INLINE float load_f32(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

#endif
