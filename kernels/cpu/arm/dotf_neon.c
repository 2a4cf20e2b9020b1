// Matrix kernels of float weights and attention scores with NEON.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/fvec_neon.h"

enum { TOKENS = 2 }; // with four rows, as many accumulators as registers allow

#include "kernels/cpu/tmpl/dotf_tmpl.c"

void hd_fill_neon_dotf(hd_cpu_fns *f)
{
    fill_floats(f);
}
