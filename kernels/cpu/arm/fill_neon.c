// Entries of the NEON cluster (Advanced SIMD with dot products: ARMv8.2 as of Neoverse N1).
#include "kernels/cpu/arm/arm.h"

void hd_fill_neon(hd_cpu_fns *f)
{
    hd_fill_neon_dot(f);
    hd_fill_neon_dotf(f);
    hd_fill_neon_decode(f);
    hd_fill_neon_quant(f);
    hd_fill_neon_attn(f);
    hd_fill_neon_elem(f);
}
