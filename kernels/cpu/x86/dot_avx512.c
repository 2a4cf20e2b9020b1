// Matrix kernels of block formats with AVX-512 BW but without VNNI: the templates on 512-bit
// vectors.
#include "kernels/cpu/x86/vec_avx512.h"
#include "kernels/cpu/x86/x86.h"

enum { VECS = 2, VECS_MANY = 2 };

#include "kernels/cpu/x86/byte_products_tmpl.c"
#include "kernels/cpu/x86/dot256_tmpl.c"
#include "kernels/cpu/x86/dot32_tmpl.c"
#include "kernels/cpu/x86/dot_blocks_tmpl.c"

void hd_fill_avx512_dot(hd_cpu_fns *f)
{
    fill_blocks(f);
}
