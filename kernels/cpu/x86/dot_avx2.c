// Matrix kernels of block formats with AVX2: the templates on 256-bit vectors.
#include "kernels/cpu/x86/vec_avx2.h"
#include "kernels/cpu/x86/x86.h"

// Sixteen registers: four rows and two tokens, or two rows and eight.
enum { VECS = 2, VECS_MANY = 1 };

#include "kernels/cpu/x86/byte_products_tmpl.c"
#include "kernels/cpu/x86/dot256_tmpl.c"
#include "kernels/cpu/x86/dot32_tmpl.c"
#include "kernels/cpu/x86/dot_blocks_tmpl.c"

void hd_fill_avx2_dot(hd_cpu_fns *f)
{
    fill_blocks(f);
}
