// Fills the micro-kernel table: the reference first, then every instruction-set cluster the machine
// has and the caller allows, in ascending order.
#include "kernels/cpu/fns.h"

#include "kernels/base/cpu.h"
#include "kernels/cpu/ref/ref.h"

#include <string.h>

void hd_fill_ref(hd_cpu_fns *f)
{
    memset(f, 0, sizeof(*f));
    hd_ref_dot_fill(f);
    hd_ref_attn_fill(f);
    hd_ref_elem_fill(f);
}

typedef struct cluster {
    uint32_t bit;
    void (*fill)(hd_cpu_fns *f);
} cluster;

static const cluster clusters[] = {
#ifdef HADAL_ISA_X86
    {HD_CPU_AVX2, hd_fill_avx2},
    {HD_CPU_AVX512, hd_fill_avx512},
    {HD_CPU_AVX512VNNI, hd_fill_avx512vnni},
#endif
#ifdef HADAL_ISA_ARM64
    {HD_CPU_NEON, hd_fill_neon},
#endif
    {0, NULL}, // keeps the table from being empty
};

void hd_cpu_fns_fill(hd_cpu_fns *f, uint32_t features)
{
    uint32_t used = 0;
    features &= hd_cpu_detect();
    hd_fill_ref(f);
    for (size_t i = 0; i < sizeof(clusters) / sizeof(clusters[0]); i++) {
        if (!(features & clusters[i].bit)) continue;
        clusters[i].fill(f);
        used |= clusters[i].bit;
    }
    hd_cpu_names(used, f->level, sizeof(f->level));
}
