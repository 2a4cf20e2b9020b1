// Entries of the AVX-512 VNNI cluster: the block formats' products.
#include "kernels/cpu/x86/x86.h"

void hd_fill_avx512vnni(hd_cpu_fns *f)
{
    hd_fill_avx512vnni_dot(f);
}
