// Weighted sums of values and scores of quantized keys with AVX2.
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

enum { ACCS = 8 }; // accumulators of a tile

#include "kernels/cpu/tmpl/attn_tmpl.c"

void hd_fill_avx2_attn(hd_cpu_fns *f)
{
    fill_attn(f);
}
