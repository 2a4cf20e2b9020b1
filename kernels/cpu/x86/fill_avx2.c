// Entries of the AVX2 cluster (AVX2, FMA, F16C, BMI2).
#include "kernels/cpu/x86/x86.h"

void hd_fill_avx2(hd_cpu_fns *f)
{
    hd_fill_avx2_dot(f);
    hd_fill_avx2_dotf(f);
    hd_fill_avx2_decode(f);
    hd_fill_avx2_encode(f);
    hd_fill_avx2_quant(f);
    hd_fill_avx2_attn(f);
    hd_fill_avx2_kv(f);
    hd_fill_avx2_elem(f);
}
