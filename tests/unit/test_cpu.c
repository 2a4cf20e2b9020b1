// Feature masks, and the processor and memory budget read from fixture trees.
#include "kernels/base/cpu.h"
#include "tests/harness/test.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { X86_ALL = HD_CPU_AVX2 | HD_CPU_AVX512 | HD_CPU_AVX512VNNI | HD_CPU_AVX512BF16 | HD_CPU_AMX };

// ---- features ------------------------------------------------------------------------------

static bool word_in(const char *line, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = line; (p = strstr(p, word)); p += n)
        if (p[-1] == ' ' && (p[n] == ' ' || p[n] == '\n')) return true;
    return false;
}

static bool words_in(const char *line, const char *const *words)
{
    for (; *words; words++)
        if (!word_in(line, *words)) return false;
    return true;
}

// The kernel reads the same registers on its own; its list must agree with ours.
static void detect_agrees_with_kernel(void)
{
#if !defined(__x86_64__)
    hd_test_skip("compares with the x86 flags of /proc/cpuinfo");
#else
    static const char
        *const avx2[] = {"avx2", "fma", "f16c", "bmi2", NULL},
               *const avx512[] = {"avx512f", "avx512bw", "avx512dq", "avx512vl", NULL},
               *const vnni[] = {"avx512_vnni", NULL}, *const bf16[] = {"avx512_bf16", NULL},
               *const amx[] = {"amx_tile", "amx_int8", "amx_bf16", NULL};
    static const char *const *const need[] = {avx2, avx512, vnni, bf16, amx};
    static char line[16384];
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) hd_test_skip("no /proc/cpuinfo");
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "flags", 5) == 0) break;
    fclose(f);
    if (strncmp(line, "flags", 5) != 0) hd_test_skip("no flags in /proc/cpuinfo");
    uint32_t want = 0;
    for (int i = 0; i < 5 && words_in(line, need[i]); i++)
        want |= (uint32_t)HD_CPU_AVX2 << i;
    EXPECT_INT(hd_cpu_detect(), want);
    EXPECT_INT(hd_cpu_detect(), want);
#endif
}

static uint32_t mask(const char *text)
{
    uint32_t m = 0xABCD;
    hd_err err = {HD_OK, ""};
    if (hd_cpu_mask_parse(text, &m, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "\"%s\": %s", text ? text : "NULL", err.msg);
    return m;
}

static void masks(void)
{
    const uint32_t all = UINT32_MAX;
    EXPECT(mask(NULL) == all && mask("") == all && mask("all") == all);
    EXPECT_INT(mask("ref"), 0);
    EXPECT_INT(mask("avx2"), HD_CPU_AVX2);
    EXPECT_INT(mask("avx512"), HD_CPU_AVX512 | HD_CPU_AVX2);
    EXPECT_INT(mask("avx512vnni"), HD_CPU_AVX512VNNI | HD_CPU_AVX512 | HD_CPU_AVX2);
    EXPECT_INT(mask("amx"), X86_ALL);
    EXPECT_INT(mask("avx512,-avx512bf16"), HD_CPU_AVX512 | HD_CPU_AVX2);
    EXPECT_INT(mask("amx,-avx512vnni"), HD_CPU_AVX512 | HD_CPU_AVX2);
    EXPECT_INT(mask("ref,avx2"), HD_CPU_AVX2);
    EXPECT_INT(mask("i8mm,sve2"), HD_CPU_NEON | HD_CPU_I8MM | HD_CPU_SVE2);
    // Only taking away: from everything. What is built on the level goes with it.
    EXPECT(mask("-amx") == (all & ~(uint32_t)HD_CPU_AMX));
    EXPECT(mask("all,-avx512") == (all & ~((uint32_t)X86_ALL & ~(uint32_t)HD_CPU_AVX2)));
    EXPECT(mask("-avx2,-neon") ==
           (all & ~(uint32_t)(X86_ALL | HD_CPU_NEON | HD_CPU_I8MM | HD_CPU_SVE2)));
}

static void bad_masks(void)
{
    static const struct {
        const char *text, *names;
    } bad[] = {
        {"avx3", "\"avx3\""},   {"avx2,sse", "\"sse\""},  {"avx2,", "\"\""},
        {",avx2", "\"\""},      {"AVX2", "\"AVX2\""},     {"-", "\"-\""},
        {"avx2 ", "\"avx2 \""}, {"--avx2", "\"--avx2\""},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t m = 77;
        hd_err err = {HD_OK, ""};
        EXPECT_INT(hd_cpu_mask_parse(bad[i].text, &m, &err), HD_E_INVAL);
        EXPECT_INT(m, 77);
        EXPECT_CONTAINS(err.msg, bad[i].text);
        char want[64];
        snprintf(want, sizeof(want), "unknown level %s", bad[i].names);
        EXPECT_CONTAINS(err.msg, want);
        EXPECT_CONTAINS(err.msg, "avx512bf16");
    }
    EXPECT_INT(hd_cpu_mask_parse("x", &(uint32_t){0}, NULL), HD_E_INVAL);
}

static void names(void)
{
    char text[100];
    EXPECT_STR(hd_cpu_names(0, text, sizeof(text)), "ref");
    EXPECT_STR(hd_cpu_names(HD_CPU_AVX2, text, sizeof(text)), "avx2");
    EXPECT_STR(hd_cpu_names(X86_ALL, text, sizeof(text)), "avx2+avx512+avx512vnni+avx512bf16+amx");
    EXPECT_STR(hd_cpu_names(HD_CPU_NEON | HD_CPU_I8MM | HD_CPU_SVE2, text, sizeof(text)),
               "neon+i8mm+sve2");
    memset(text, 'z', sizeof(text));
    EXPECT_STR(hd_cpu_names(X86_ALL, text, 8), "avx2+av"); // cut, never past the end
    EXPECT_INT(text[8], 'z');
    hd_cpu_names(X86_ALL, text, 0);
    EXPECT_INT(text[0], 'a');
}

// ---- fixtures ------------------------------------------------------------------------------

// Writes root/path with its folders.
static void put(const char *path, const char *text)
{
    char full[600];
    int n = snprintf(full, sizeof(full), "%s/%s", hd_test_tmpdir(), path);
    EXPECT(n > 0 && (size_t)n < sizeof(full));
    for (char *p = full + strlen(hd_test_tmpdir()) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(full, 0700);
        *p = '/';
    }
    FILE *f = fopen(full, "w");
    EXPECT(f != NULL);
    fputs(text, f);
    fclose(f);
}

// A machine of 8 processors, two threads to a core as (0,4) (1,5) (2,6) (3,7), and 16 GiB.
static void put_machine(const char *affinity)
{
    char text[1000], path[100];
    put("sys/devices/system/cpu/online", "0-7\n");
    for (int cpu = 0; cpu < 8; cpu++) {
        snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        snprintf(text, sizeof(text), "%d,%d\n", cpu % 4, cpu % 4 + 4);
        put(path, text);
    }
    put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:        1 kB\n");
    snprintf(text, sizeof(text),
             "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t%s\nMems_allowed:\t1\n", affinity);
    put("proc/self/status", text);
}

static hd_cpu_budget budget(void)
{
    hd_cpu_budget b;
    memset(&b, 0xEE, sizeof(b));
    hd_cpu_budget_read(hd_test_tmpdir(), &b);
    return b;
}

static const uint64_t gib = (uint64_t)1 << 30;

static void budget_without_limits(void)
{
    put_machine("0-7");
    hd_cpu_budget b = budget();
    EXPECT_INT(b.online, 8);
    EXPECT_INT(b.affinity, 8);
    EXPECT_INT(b.physical, 4);
    EXPECT_INT(b.threads, 4);
    EXPECT_NEAR(b.quota, 0, 0);
    EXPECT_INT(b.memory, 16 * gib);
}

static void budget_affinity(void)
{
    static const struct {
        const char *list;
        int affinity, physical;
    } v[] = {{"0", 1, 1},         {"0,4", 2, 1},     {"4-7", 4, 4},
             {"0-1,4-5,7", 5, 3}, {"2,6,3,7", 4, 2}, {"0-7,5000", 8, 4}};
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        put_machine(v[i].list);
        hd_cpu_budget b = budget();
        EXPECT_INT(b.online, 8);
        EXPECT_INT(b.affinity, v[i].affinity);
        EXPECT_INT(b.physical, v[i].physical);
        EXPECT_INT(b.threads, v[i].physical);
    }
}

static void budget_newer_topology(void)
{
    put_machine("0-7");
    for (int cpu = 0; cpu < 8; cpu++) { // neighbours share a core, in the newer file
        char path[100], text[40];
        snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/topology/core_cpus_list", cpu);
        snprintf(text, sizeof(text), "%d-%d\n", cpu & ~1, cpu | 1);
        put(path, text);
    }
    EXPECT_INT(budget().physical, 4);
    put_machine("0-1");
    EXPECT_INT(budget().physical, 1);
}

static void budget_bare(void)
{
    hd_cpu_budget b = budget(); // nothing at all to read
    EXPECT_INT(b.online, 0);
    EXPECT_INT(b.threads, 1);
    EXPECT(b.memory > 0);
    put("proc/self/status", "Cpus_allowed_list:\t0-2\n");
    b = budget(); // no topology: each its own core
    EXPECT_INT(b.online, 3);
    EXPECT_INT(b.physical, 3);
    EXPECT_INT(b.threads, 3);
    put("sys/devices/system/cpu/online", "0-5\n");
    put("proc/self/status", "Cpus_allowed_list:\tgarbage\n");
    b = budget();
    EXPECT_INT(b.affinity, 6);
    EXPECT_INT(b.threads, 6);
}

static void budget_v2(void)
{
    put_machine("0-7");
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("sys/fs/cgroup/memory.max", "4294967296\n");
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 2, 0);
    EXPECT_INT(b.threads, 2);
    EXPECT_INT(b.memory, 4 * gib);

    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/memory.max", "max\n");
    b = budget();
    EXPECT_NEAR(b.quota, 0, 0);
    EXPECT_INT(b.threads, 4);
    EXPECT_INT(b.memory, 16 * gib);

    static const struct {
        const char *max;
        double quota;
        int threads;
    } v[] = {{"250000 100000", 2.5, 2},
             {"50000 100000", 0.5, 1},
             {"1000000 100000", 10, 4}, // more than the cores
             {"30000 10000", 3, 3},
             {"100000 0", 0, 4}, // nonsense counts as none
             {"", 0, 4}};
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
        put("sys/fs/cgroup/cpu.max", v[i].max);
        b = budget();
        EXPECT_NEAR(b.quota, v[i].quota, 1e-12);
        EXPECT_INT(b.threads, v[i].threads);
    }
}

static void budget_v2_nested(void)
{
    put_machine("0-7");
    put("proc/self/cgroup", "0::/a.slice/b.service/c\n");
    put("sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/a.slice/memory.max", "8589934592\n");
    put("sys/fs/cgroup/a.slice/b.service/c/cpu.max", "300000 100000\n");
    put("sys/fs/cgroup/a.slice/b.service/memory.max", "2147483648\n");
    put("sys/fs/cgroup/a.slice/b.service/c/memory.max", "max\n");
    put("sys/fs/cgroup/other/cpu.max", "10000 100000\n"); // not above us
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 1.5, 0);
    EXPECT_INT(b.threads, 1);
    EXPECT_INT(b.memory, 2 * gib);
}

static void budget_v2_in_container(void)
{
    put_machine("0-7");
    // The path is the host's; here our group is the mount itself.
    put("proc/self/cgroup", "0::/system.slice/docker-0123.scope\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("sys/fs/cgroup/memory.max", "1073741824\n");
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 2, 0);
    EXPECT_INT(b.memory, gib);
    // Outside our namespace; must not lead out of the mount.
    put("proc/self/cgroup", "0::/../../etc\n");
    put("etc/cpu.max", "10000 100000\n");
    EXPECT_NEAR(budget().quota, 2, 0);
}

static void budget_v1(void)
{
    put_machine("0-7");
    put("proc/self/cgroup", "12:memory:/docker/x\n5:cpuset:/docker/x\n3:cpu,cpuacct:/docker/x\n"
                            "1:name=systemd:/docker/x\n");
    put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "300000\n");
    put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "3221225472\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 3, 0);
    EXPECT_INT(b.threads, 3);
    EXPECT_INT(b.memory, 3 * gib);

    put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
    b = budget();
    EXPECT_NEAR(b.quota, 0, 0);
    EXPECT_INT(b.threads, 4);
    EXPECT_INT(b.memory, 16 * gib);
    // In a container: the host's path is not there, the mount is our group.
    put("proc/self/cgroup", "3:cpu,cpuacct:/docker/y\n2:memory:/docker/y\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
    b = budget();
    EXPECT_NEAR(b.quota, 1.5, 0);
    EXPECT_INT(b.memory, gib);
}

// Both versions at once: controllers on version 1, or some of them on the unified mount.
static void budget_hybrid(void)
{
    put_machine("0-7");
    put("proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/c\n0::/u\n");
    put("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "300000\n");
    put("sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "8589934592\n");
    put("sys/fs/cgroup/unified/u/cpu.max", "max 100000\n");
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 3, 0);
    EXPECT_INT(b.memory, 8 * gib);
    put("sys/fs/cgroup/unified/u/cpu.max", "200000 100000\n");
    put("sys/fs/cgroup/unified/u/memory.max", "4294967296\n");
    b = budget();
    EXPECT_NEAR(b.quota, 2, 0);
    EXPECT_INT(b.memory, 4 * gib);
}

static void budget_odd_files(void)
{
    put_machine("0-7");
    put("proc/self/cgroup", "\nno colons\n7:\n:::\n0::\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000");
    put("sys/fs/cgroup/memory.max", "99999999999999999999999999\n"); // beyond 64 bits
    hd_cpu_budget b = budget();
    EXPECT_NEAR(b.quota, 2, 0);
    EXPECT_INT(b.memory, 16 * gib);
    // A group path longer than any buffer counts as not there.
    static char text[9000];
    memcpy(text, "0::/", 4);
    memset(text + 4, 'x', sizeof(text) - 5);
    put("proc/self/cgroup", text);
    EXPECT_NEAR(budget().quota, 2, 0);
}

// ---- this machine --------------------------------------------------------------------------

static void budget_of_this_machine(void)
{
    hd_cpu_budget b;
    hd_cpu_budget_read("/", &b);
    cpu_set_t mine;
    EXPECT(sched_getaffinity(0, sizeof(mine), &mine) == 0);
    EXPECT_INT(b.affinity, CPU_COUNT(&mine));
    EXPECT(b.online >= b.affinity && b.affinity >= b.physical);
    EXPECT(b.threads >= 1 && b.threads <= b.physical);
    EXPECT(b.quota >= 0);
    EXPECT(b.memory >= (uint64_t)64 << 20);
    EXPECT(b.memory <= (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    // One processor only, as taskset would do.
    int first = 0;
    while (!CPU_ISSET(first, &mine))
        first++;
    CPU_ZERO(&mine);
    CPU_SET(first, &mine);
    if (sched_setaffinity(0, sizeof(mine), &mine) != 0) hd_test_skip("cannot set affinity");
    hd_cpu_budget_read("/", &b);
    EXPECT_INT(b.affinity, 1);
    EXPECT_INT(b.physical, 1);
    EXPECT_INT(b.threads, 1);
}

static void resident_memory(void)
{
    enum { BYTES = 64 << 20 };
    uint64_t before = hd_cpu_rss_bytes();
    EXPECT(before > 0);
    char *p = malloc(BYTES);
    EXPECT(p != NULL);
    // Through a volatile: the compiler may not leave the block out.
    for (volatile char *q = p; q < p + BYTES; q += 1024)
        *q = 1;
    uint64_t held = hd_cpu_rss_bytes(), peak = hd_cpu_rss_peak_bytes();
    EXPECT(held >= before + BYTES * 9ull / 10);
    EXPECT(peak >= before + BYTES * 9ull / 10);
    free(p);
    // The peak outlives the block; kernels count pages in batches, hence not the same number.
    EXPECT(hd_cpu_rss_peak_bytes() >= before + BYTES * 9ull / 10);
}

HD_TEST_MAIN("cpu", {"detect_agrees_with_kernel", detect_agrees_with_kernel}, {"masks", masks},
             {"bad_masks", bad_masks}, {"names", names},
             {"budget_without_limits", budget_without_limits}, {"budget_affinity", budget_affinity},
             {"budget_newer_topology", budget_newer_topology}, {"budget_bare", budget_bare},
             {"budget_v2", budget_v2}, {"budget_v2_nested", budget_v2_nested},
             {"budget_v2_in_container", budget_v2_in_container}, {"budget_v1", budget_v1},
             {"budget_hybrid", budget_hybrid}, {"budget_odd_files", budget_odd_files},
             {"budget_of_this_machine", budget_of_this_machine},
             {"resident_memory", resident_memory}, )
