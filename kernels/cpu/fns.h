// Micro-kernels of the CPU backend: arithmetic on raw pointers, one table filled once.
//
// hd_cpu_fns_fill first assigns the scalar reference (ref/), then lets each instruction-set cluster
// overwrite what it has, in ascending order, under the allowed feature bits. Threading, tiling and
// edges between tiles live in the backend's loops (gemv.c, attn.c, ...), never here. A table is
// immutable after the fill and may be used by any thread.
//
// Contracts common to all:
// - n >= 1 and any n is legal (tails inside the kernel); pointers need only their type's natural
//   alignment, weights none at all; nothing beyond the n elements is read or written;
// - the value of each output depends on its own inputs only: not on how many rows or tokens the
//   call covers, nor on alignment. This is what makes batches, chunks and threads invisible;
// - different levels may differ in rounding: checkkern states the bound next to each entry.
#ifndef HADAL_KERNELS_CPU_FNS_H
#define HADAL_KERNELS_CPU_FNS_H

#include "kernels/dtype.h"

#include <stddef.h>
#include <stdint.h>

// ---- activations as multiplied -------------------------------------------------------------

// Floats for float weights; 8-bit blocks for block weights: q = round-half-even(x / d),
// d = max|x| / 127 over the block (0 when the block is all zero). Non-finite x makes d NaN.
typedef enum hd_act_fmt { HD_ACT_F32, HD_ACT_Q8_32, HD_ACT_Q8_256, HD_ACT_FMT_COUNT } hd_act_fmt;

typedef struct hd_act_q8_32 { // beside 32-element weight blocks
    float d;
    int32_t sum; // of q
    int8_t q[32];
} hd_act_q8_32;
typedef struct hd_act_q8_256 { // beside 256-element super-blocks
    float d;
    int16_t bsum[16]; // sums of q over 16 elements each
    int8_t q[256];
} hd_act_q8_256;

// Bytes of one quantized row of n_in elements (a multiple of the format's block).
static inline size_t hd_act_row_bytes(hd_act_fmt f, int32_t n_in)
{
    if (f == HD_ACT_Q8_32) return (size_t)(n_in / 32) * sizeof(hd_act_q8_32);
    if (f == HD_ACT_Q8_256) return (size_t)(n_in / 256) * sizeof(hd_act_q8_256);
    return (size_t)n_in * sizeof(float);
}

// ---- signatures ----------------------------------------------------------------------------

// out[t * out_stride + r] = sum over i < n_in of w[r][i] * act[t][i], for r < n_rows, t < n_tok.
// w_stride and act_stride in bytes, out_stride in floats. Rows are whole blocks.
typedef void hd_mm_fn(float *restrict out, int64_t out_stride, const void *restrict w,
                      size_t w_stride, int n_rows, const void *restrict act, size_t act_stride,
                      int n_tok, int n_in);

// One row of n floats into the format's blocks.
typedef void hd_quant_act_fn(void *restrict dst, const float *restrict x, int n);

// n elements, n a multiple of the type's block.
typedef void hd_decode_fn(const void *restrict src, float *restrict dst, int64_t n);

// The way back; n as above. Destinations may be unaligned.
typedef void hd_encode_fn(const float *restrict src, void *restrict dst, int64_t n);

// score[i * score_stride + j] = dot(q_i, k_j), i < n_q, j < n_keys; q F32 rows of d, k rows of d in
// the plane's dtype; strides: q and k in bytes, score in floats.
typedef void hd_qk_fn(float *restrict score, int64_t score_stride, const float *restrict q,
                      size_t q_stride, int n_q, const void *restrict k, size_t k_stride, int n_keys,
                      int d);

// acc[i * acc_stride + c] += sum over j of p[i * p_stride + j] * v_j[c], c < d, keys in order.
typedef void hd_pv_fn(float *restrict acc, int64_t acc_stride, const float *restrict p,
                      int64_t p_stride, int n_q, const void *restrict v, size_t v_stride,
                      int n_keys, int d);

typedef struct hd_cpu_fns {
    char level[64]; // names of the clusters that contributed, "ref" alone otherwise

    // By weight type; NULL where the type is not a weight type.
    hd_mm_fn *mm[HD_DTYPE_COUNT];
    hd_act_fmt act_fmt[HD_DTYPE_COUNT];
    hd_decode_fn *decode[HD_DTYPE_COUNT];         // bit-exact on every level
    hd_encode_fn *encode[HD_DTYPE_COUNT];         // likewise; NULL for what is not written
    hd_quant_act_fn *quant_act[HD_ACT_FMT_COUNT]; // exact on every level; [HD_ACT_F32] is NULL

    // By KV type: F32, F16, BF16, Q8_0 (others NULL); rows of Q8_0 are whole blocks. pv also takes
    // HD_F8_B128, because latent attention runs it over rows of weights.
    hd_qk_fn *qk[HD_DTYPE_COUNT];
    hd_pv_fn *pv[HD_DTYPE_COUNT];
    void (*kv_write[HD_DTYPE_COUNT])(void *restrict dst, const float *restrict src, int n); // exact

    // Element-wise and reductions over one row.
    float (*sum_squares)(const float *x, int n);
    void (*norm_mul)(float *out, const float *x, const float *gain, float s,
                     int n);                                    // x * s * gain; out may be x
    void (*axpy)(float *x, const float *y, float scale, int n); // x += scale * y
    void (*add_bias)(float *x, const float *bias, int n);
    void (*silu_mul)(float *out, const float *gate, const float *up, float limit,
                     int n);             // out may be gate
    float (*max)(const float *x, int n); // -inf when all are NaN
    // x = exp(x - m), returns their sum; -inf gives 0. Absolute error of exp <= 2 ulp.
    float (*exp_sum)(float *x, float m, int n);
    void (*scale)(float *x, float s, int n);
    // (a, b) = (a c - b s, b c + a s) element by element.
    void (*rotate)(float *a, float *b, const float *c, const float *s, int n);
    // The same on pairs (x[2i], x[2i + 1]).
    void (*rotate_pairs)(float *x, const float *c, const float *s, int n_pairs);
} hd_cpu_fns;

// features: HD_CPU_* bits that may be used; bits the machine lacks are ignored.
void hd_cpu_fns_fill(hd_cpu_fns *f, uint32_t features);

// One per cluster, called by the fill alone; each is compiled with its own instruction-set flags.
void hd_fill_ref(hd_cpu_fns *f);
void hd_fill_avx2(hd_cpu_fns *f);
void hd_fill_avx512(hd_cpu_fns *f);
void hd_fill_avx512vnni(hd_cpu_fns *f);
void hd_fill_neon(hd_cpu_fns *f);

#endif
