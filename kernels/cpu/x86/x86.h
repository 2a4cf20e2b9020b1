// The parts of each cluster's fill. Private to x86/.
#ifndef HADAL_KERNELS_CPU_X86_X86_H
#define HADAL_KERNELS_CPU_X86_X86_H

#include "kernels/cpu/fns.h"

void hd_fill_avx2_dot(hd_cpu_fns *f);    // mm of block formats
void hd_fill_avx2_dotf(hd_cpu_fns *f);   // mm of float weights, qk of float keys
void hd_fill_avx2_decode(hd_cpu_fns *f); // decode
void hd_fill_avx2_encode(hd_cpu_fns *f); // encode
void hd_fill_avx2_quant(hd_cpu_fns *f);  // quant_act
void hd_fill_avx2_attn(hd_cpu_fns *f);   // pv, qk of quantized keys
void hd_fill_avx2_kv(hd_cpu_fns *f);     // kv_write; encode of what is also cached
void hd_fill_avx2_elem(hd_cpu_fns *f);   // rows of floats

void hd_fill_avx512_dot(hd_cpu_fns *f);
void hd_fill_avx512_dotf(hd_cpu_fns *f);
void hd_fill_avx512_attn(hd_cpu_fns *f);
void hd_fill_avx512_elem(hd_cpu_fns *f);

void hd_fill_avx512vnni_dot(hd_cpu_fns *f);

#endif
