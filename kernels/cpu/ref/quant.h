// Scalar reference of the number formats: decoders, encoders, activation quantizers.
//
// These are the truth that every instruction-set level is compared with, bit for bit. Decoders and
// encoders take n elements, n a multiple of the type's block; sources and encoded destinations may
// be unaligned. Nothing here allocates or keeps state.
#ifndef HADAL_KERNELS_CPU_REF_QUANT_H
#define HADAL_KERNELS_CPU_REF_QUANT_H

#include "kernels/dtype.h"

#include <stdint.h>

void hd_ref_decode_f32(const void *src, float *dst, int64_t n);
void hd_ref_decode_f16(const void *src, float *dst, int64_t n);
void hd_ref_decode_bf16(const void *src, float *dst, int64_t n);
void hd_ref_decode_f64(const void *src, float *dst, int64_t n);
void hd_ref_decode_e4m3(const void *src, float *dst, int64_t n);
void hd_ref_decode_e5m2(const void *src, float *dst, int64_t n);
void hd_ref_decode_e8m0(const void *src, float *dst, int64_t n);
void hd_ref_decode_q4_0(const void *src, float *dst, int64_t n);
void hd_ref_decode_q4_1(const void *src, float *dst, int64_t n);
void hd_ref_decode_q5_0(const void *src, float *dst, int64_t n);
void hd_ref_decode_q5_1(const void *src, float *dst, int64_t n);
void hd_ref_decode_q8_0(const void *src, float *dst, int64_t n);
void hd_ref_decode_q2_k(const void *src, float *dst, int64_t n);
void hd_ref_decode_q3_k(const void *src, float *dst, int64_t n);
void hd_ref_decode_q4_k(const void *src, float *dst, int64_t n);
void hd_ref_decode_q5_k(const void *src, float *dst, int64_t n);
void hd_ref_decode_q6_k(const void *src, float *dst, int64_t n);
void hd_ref_decode_iq4_nl(const void *src, float *dst, int64_t n);
void hd_ref_decode_iq4_xs(const void *src, float *dst, int64_t n);
void hd_ref_decode_mxfp4(const void *src, float *dst, int64_t n);
void hd_ref_decode_f8_b128(const void *src, float *dst, int64_t n);

// Encoders: the scale comes from the block's extremes and is rounded to its stored precision first;
// every element then takes the code nearest under the stored scale. A block with a NaN or an
// infinity gets a NaN scale, so that it poisons results instead of hiding.
void hd_ref_encode_f32(const float *src, void *dst, int64_t n);
void hd_ref_encode_f16(const float *src, void *dst, int64_t n);
void hd_ref_encode_bf16(const float *src, void *dst, int64_t n);
void hd_ref_encode_e4m3(const float *src, void *dst, int64_t n);
void hd_ref_encode_q4_0(const float *src, void *dst, int64_t n);
void hd_ref_encode_q4_1(const float *src, void *dst, int64_t n);
void hd_ref_encode_q8_0(const float *src, void *dst, int64_t n);
void hd_ref_encode_q4_k(const float *src, void *dst, int64_t n);
void hd_ref_encode_q6_k(const float *src, void *dst, int64_t n);
void hd_ref_encode_f8_b128(const float *src, void *dst, int64_t n);

// Integer parts of the super-block formats, shared with the scalar dot products.
// Q4_K, Q5_K: eight 6-bit scales and eight 6-bit mins from 12 bytes.
void hd_k4_scales(const uint8_t packed[12], uint8_t scale[8], uint8_t min[8]);
// Q3_K: sixteen scales in -32..31 from 12 bytes.
void hd_q3k_scales(const uint8_t packed[12], int8_t scale[16]);
// IQ4_XS: eight scales in -32..31.
void hd_iq4xs_scales(const hd_block_iq4_xs *b, int8_t scale[8]);
// MXFP4: 2^(e - 128), half of what E8M0 says, because the table of levels is doubled.
float hd_mxfp4_scale(uint8_t e);

// Codes of one block in element order, before any scale: w = d * code for Q4_0 Q5_0 Q8_0 Q3_K Q6_K
// IQ4_NL IQ4_XS MXFP4 (the sub-block scale still to apply), w = d * code + m or
// d * sc * code - dmin * mn for Q4_1 Q5_1 Q2_K Q4_K Q5_K.
void hd_codes_q4_0(const hd_block_q4_0 *b, int8_t code[32]);  // -8..7
void hd_codes_q4_1(const hd_block_q4_1 *b, int8_t code[32]);  // 0..15
void hd_codes_q5_0(const hd_block_q5_0 *b, int8_t code[32]);  // -16..15
void hd_codes_q5_1(const hd_block_q5_1 *b, int8_t code[32]);  // 0..31
void hd_codes_q2_k(const hd_block_q2_k *b, int8_t code[256]); // 0..3
void hd_codes_q3_k(const hd_block_q3_k *b, int8_t code[256]); // -4..3
void hd_codes_q4_k(const hd_block_q4_k *b, int8_t code[256]); // 0..15
void hd_codes_q5_k(const hd_block_q5_k *b, int8_t code[256]); // 0..31
void hd_codes_q6_k(const hd_block_q6_k *b, int8_t code[256]); // -32..31
void hd_codes_iq4(const uint8_t qs[16], const int8_t levels[16], int8_t code[32]);

// Scales of the encoders from the extremes of a block, of eight sub-blocks; as stored, and for Q4_K
// also as floats: x = scale * code - min.
void hd_q4_1_scale(float lo, float hi, hd_block_q4_1 *b);
void hd_q4_k_scales(const float lo[8], const float hi[8], hd_block_q4_k *b, float scale[8],
                    float min[8]);

// Activation quantizers (hd_quant_act_fn): n is a multiple of 32, of 256.
void hd_ref_quant_q8_32(void *restrict dst, const float *restrict x, int n);
void hd_ref_quant_q8_256(void *restrict dst, const float *restrict x, int n);

#endif
