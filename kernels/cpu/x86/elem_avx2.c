// Row-wise kernels with AVX2.
#include "kernels/cpu/x86/fvec_avx2.h"
#include "kernels/cpu/x86/x86.h"

static void fill_rows(hd_cpu_fns *f); // the template's only entry

#include "kernels/cpu/tmpl/elem_tmpl.c"

void hd_fill_avx2_elem(hd_cpu_fns *f)
{
    fill_rows(f);
}
