// Matrix kernels of float weights and attention scores with AVX2.
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

enum { TOKENS = 2 }; // with four rows, as many accumulators as registers allow

#include "kernels/cpu/tmpl/dotf_tmpl.c"

void hd_fill_avx2_dotf(hd_cpu_fns *f)
{
    fill_floats(f);
}
