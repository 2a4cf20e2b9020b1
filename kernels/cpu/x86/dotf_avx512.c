// Matrix kernels of float weights and attention scores with AVX-512.
#include "kernels/cpu/x86/fvec_avx512.h"
#include "kernels/cpu/x86/x86.h"

enum { TOKENS = 4 }; // with four rows, as many accumulators as registers allow

#include "kernels/cpu/tmpl/dotf_tmpl.c"
#include "kernels/cpu/x86/qk_avx512_tmpl.c"

void hd_fill_avx512_dotf(hd_cpu_fns *f)
{
    fill_floats(f);
    fill_scores(f);
}
