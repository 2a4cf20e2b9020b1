// The scalar reference, in three parts. Called by hd_fill_ref alone; written for clarity, always
// compiled, and the truth other levels are checked against.
#ifndef HADAL_KERNELS_CPU_REF_REF_H
#define HADAL_KERNELS_CPU_REF_REF_H

#include "kernels/cpu/fns.h"

void hd_ref_dot_fill(hd_cpu_fns *f);  // mm, act_fmt, decode, encode, quant_act
void hd_ref_attn_fill(hd_cpu_fns *f); // qk, pv, kv_write
void hd_ref_elem_fill(hd_cpu_fns *f); // the rest

#endif
