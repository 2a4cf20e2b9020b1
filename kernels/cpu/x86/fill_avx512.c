// Entries of the AVX-512 cluster (F, BW, DQ, VL); what it lacks stays as AVX2 filled it.
#include "kernels/cpu/x86/x86.h"

void hd_fill_avx512(hd_cpu_fns *f)
{
    hd_fill_avx512_dot(f);
    hd_fill_avx512_dotf(f);
    hd_fill_avx512_attn(f);
    hd_fill_avx512_elem(f);
}
