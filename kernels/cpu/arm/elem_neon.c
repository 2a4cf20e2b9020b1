// Row-wise kernels with NEON.
#include "kernels/cpu/arm/arm.h"
#include "kernels/cpu/arm/fvec_neon.h"

static void fill_rows(hd_cpu_fns *f); // the template's only entry

#include "kernels/cpu/tmpl/elem_tmpl.c"

void hd_fill_neon_elem(hd_cpu_fns *f)
{
    fill_rows(f);
}
