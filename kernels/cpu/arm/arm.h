// The parts of the NEON cluster's fill. Private to arm/.
#ifndef HADAL_KERNELS_CPU_ARM_ARM_H
#define HADAL_KERNELS_CPU_ARM_ARM_H

#include "kernels/cpu/fns.h"

void hd_fill_neon_dot(hd_cpu_fns *f);    // mm of block formats
void hd_fill_neon_dotf(hd_cpu_fns *f);   // mm of float weights, qk of float keys
void hd_fill_neon_decode(hd_cpu_fns *f); // decode
void hd_fill_neon_quant(hd_cpu_fns *f);  // quant_act, kv_write; encode of what is also cached
void hd_fill_neon_attn(hd_cpu_fns *f);   // pv, qk of quantized keys
void hd_fill_neon_elem(hd_cpu_fns *f);   // rows of floats

#endif
