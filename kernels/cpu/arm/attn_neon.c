// Weighted sums of values and scores of quantized keys with NEON.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/fvec_neon.h"

enum { ACCS = 8 }; // accumulators of a tile, two registers each

#include "kernels/cpu/tmpl/attn_tmpl.c"

void hd_fill_neon_attn(hd_cpu_fns *f)
{
    fill_attn(f);
}
