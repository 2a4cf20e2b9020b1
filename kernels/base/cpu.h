// What this processor can do and how much of it we may use.
//
// Feature bits are detected once; tests and HADAL_CPU_MASK may clear bits to run lower levels.
// Counting threads looks at affinity, cpuset and the cgroup quota (v1 and v2), because a container
// with --cpus=2 still sees every core of its host.
#ifndef HADAL_KERNELS_BASE_CPU_H
#define HADAL_KERNELS_BASE_CPU_H

#include "kernels/base/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Clusters rather than single features: a bit is set only when the processor and the operating
// system offer all that the cluster's files are compiled for.
enum {
    HD_CPU_AVX2 = 1u << 0,       // AVX2 FMA F16C BMI2
    HD_CPU_AVX512 = 1u << 1,     // AVX-512 F BW DQ VL (implies AVX2)
    HD_CPU_AVX512VNNI = 1u << 2, // + VNNI
    HD_CPU_AVX512BF16 = 1u << 3, // + BF16
    HD_CPU_AMX = 1u << 4,        // AMX TILE INT8 BF16
    HD_CPU_NEON = 1u << 5,       // Advanced SIMD + dotprod
    HD_CPU_I8MM = 1u << 6,
    HD_CPU_SVE2 = 1u << 7,
};

uint32_t hd_cpu_detect(void); // what the machine has
// Parses "avx2", "ref", "avx512,-avx512bf16"...: a list of levels to allow. "ref" allows none;
// NULL or "all" allows everything. Names the unknown word on failure.
hd_status hd_cpu_mask_parse(const char *text, uint32_t *mask, hd_err *err);
// "avx2+avx512+avx512vnni" or "ref"; returns out.
const char *hd_cpu_names(uint32_t features, char *out, size_t n);

typedef struct hd_cpu_budget {
    int online;      // processors the kernel shows
    int affinity;    // of these, in the affinity mask (cpuset included)
    int physical;    // distinct cores among them; hyperthreads counted once
    double quota;    // cgroup quota in processors; 0 when there is none
    int threads;     // what to use: at least 1
    uint64_t memory; // bytes we may use: the smaller of RAM and the cgroup limit
} hd_cpu_budget;

// root is "/" in production; tests give a folder with fixture copies of proc and sys/fs/cgroup.
void hd_cpu_budget_read(const char *root, hd_cpu_budget *out);
uint64_t hd_cpu_rss_bytes(void);      // resident memory now
uint64_t hd_cpu_rss_peak_bytes(void); // its highest value so far

#ifdef __cplusplus
}
#endif

#endif
