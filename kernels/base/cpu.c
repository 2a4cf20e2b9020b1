// Processor features, and the share of processors and memory this process may use. Reads only:
// nothing here binds threads, asks for permissions or changes limits.
#include "kernels/base/cpu.h"

#include "kernels/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

// ---- features ------------------------------------------------------------------------------

#if defined(__x86_64__)

static bool has(uint32_t word, uint32_t bits)
{
    return (word & bits) == bits;
}

static uint32_t bit(int n)
{
    return (uint32_t)1 << n;
}

// Register state the operating system saves on a task switch (XCR0).
static uint64_t saved_state(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

// Bit positions: Intel SDM volume 2, CPUID. Each cluster needs the one before it, so that a file
// compiled for a higher one may use everything below.
uint32_t hd_cpu_detect(void)
{
    enum { YMM = 0x6, ZMM = 0xE6, TILES = 0x60000 };
    uint32_t a, b1, c1, d1, b7, c7, d7, a71 = 0, b, c, d;
    if (!__get_cpuid(1, &a, &b1, &c1, &d1)) return 0;
    if (!has(c1, bit(27))) return 0; // OSXSAVE
    uint64_t state = saved_state();
    uint32_t last_sub;
    if (!__get_cpuid_count(7, 0, &last_sub, &b7, &c7, &d7)) return 0;
    if (last_sub >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);

    // FMA, AVX, F16C; AVX2, BMI2
    if ((state & YMM) != YMM || !has(c1, bit(12) | bit(28) | bit(29)) || !has(b7, bit(5) | bit(8)))
        return 0;
    uint32_t f = HD_CPU_AVX2;
    // F, DQ, BW, VL
    if ((state & ZMM) != ZMM || !has(b7, bit(16) | bit(17) | bit(30) | bit(31))) return f;
    f |= HD_CPU_AVX512;
    if (!has(c7, bit(11))) return f;
    f |= HD_CPU_AVX512VNNI;
    if (!has(a71, bit(5))) return f;
    f |= HD_CPU_AVX512BF16;
    // AMX-BF16, AMX-TILE, AMX-INT8. Whoever uses tiles asks the kernel for permission first.
    if ((state & TILES) != TILES || !has(d7, bit(22) | bit(24) | bit(25))) return f;
    return f | HD_CPU_AMX;
}

#elif defined(__aarch64__)

// Bit positions: Linux arch/arm64 hwcap ABI (ASIMD, ASIMDDP; SVE2, I8MM in the second word).
uint32_t hd_cpu_detect(void)
{
    const unsigned long neon = 1ul << 1 | 1ul << 20, sve2 = 1ul << 1, i8mm = 1ul << 13;
    unsigned long one = getauxval(AT_HWCAP), two = getauxval(AT_HWCAP2);
    if ((one & neon) != neon) return 0;
    uint32_t f = HD_CPU_NEON;
    if (two & i8mm) f |= HD_CPU_I8MM;
    if (two & sve2) f |= HD_CPU_SVE2;
    return f;
}

#else

uint32_t hd_cpu_detect(void)
{
    return 0;
}

#endif

// ---- names and masks -----------------------------------------------------------------------

static const struct level {
    const char *name;
    uint32_t bit, implies; // implies: the levels it is built on
} levels[] = {
    {"avx2", HD_CPU_AVX2, 0},
    {"avx512", HD_CPU_AVX512, HD_CPU_AVX2},
    {"avx512vnni", HD_CPU_AVX512VNNI, HD_CPU_AVX2 | HD_CPU_AVX512},
    {"avx512bf16", HD_CPU_AVX512BF16, HD_CPU_AVX2 | HD_CPU_AVX512 | HD_CPU_AVX512VNNI},
    {"amx", HD_CPU_AMX, HD_CPU_AVX2 | HD_CPU_AVX512 | HD_CPU_AVX512VNNI | HD_CPU_AVX512BF16},
    {"neon", HD_CPU_NEON, 0},
    {"i8mm", HD_CPU_I8MM, HD_CPU_NEON},
    {"sve2", HD_CPU_SVE2, HD_CPU_NEON},
};
enum { N_LEVELS = (int)(sizeof(levels) / sizeof(levels[0])) };

static const struct level *level_find(hd_slice name)
{
    for (int i = 0; i < N_LEVELS; i++)
        if (hd_slice_eq_str(name, levels[i].name)) return &levels[i];
    return NULL;
}

// A word allows its level with all it is built on; "-word" takes it away with all built on it.
static bool mask_apply(hd_slice word, uint32_t *mask)
{
    if (hd_slice_eq_str(word, "all")) {
        *mask = UINT32_MAX;
        return true;
    }
    if (hd_slice_eq_str(word, "ref")) return true;
    bool minus = word.n > 0 && word.p[0] == '-';
    if (minus) word = hd_slice_of(word.p + 1, word.n - 1);
    const struct level *level = level_find(word);
    if (!level) return false;
    if (!minus) {
        *mask |= level->bit | level->implies;
        return true;
    }
    for (int i = 0; i < N_LEVELS; i++)
        if ((levels[i].bit | levels[i].implies) & level->bit) *mask &= ~levels[i].bit;
    return true;
}

hd_status hd_cpu_mask_parse(const char *text, uint32_t *mask, hd_err *err)
{
    hd_slice rest = hd_slice_str(text);
    uint32_t m = rest.n == 0 || rest.p[0] == '-' ? UINT32_MAX : 0;
    while (rest.n > 0) {
        ptrdiff_t comma = hd_slice_find(rest, hd_slice_str(","), 0);
        hd_slice word = hd_slice_of(rest.p, comma < 0 ? rest.n : (size_t)comma);
        bool last_empty = comma >= 0 && (size_t)comma + 1 == rest.n;
        if (last_empty || !mask_apply(word, &m))
            return HD_FAIL(err, HD_E_INVAL,
                           "CPU mask \"%s\": unknown level \"%.*s\", expected all, ref, avx2, "
                           "avx512, avx512vnni, avx512bf16, amx, neon, i8mm, sve2",
                           text, last_empty ? 0 : (int)word.n, word.p);
        size_t used = comma < 0 ? rest.n : (size_t)comma + 1;
        rest = hd_slice_of(rest.p + used, rest.n - used);
    }
    *mask = m;
    return HD_OK;
}

const char *hd_cpu_names(uint32_t features, char *out, size_t n)
{
    size_t used = 0;
    if (n == 0) return out;
    out[0] = '\0';
    for (int i = 0; i < N_LEVELS; i++) {
        if (!(features & levels[i].bit) || used >= n) continue;
        used += (size_t)snprintf(out + used, n - used, "%s%s", used ? "+" : "", levels[i].name);
    }
    if (used == 0) snprintf(out, n, "ref");
    return out;
}

// ---- small files under a root --------------------------------------------------------------

enum { TEXT_BYTES = 16384, PATH_BYTES = 4096, MAX_CPUS = 4096 };

// Beginning of root/path as text; false when it cannot be read. No heap: running out of memory
// must not change the answer.
static bool read_text(const char *root, const char *path, char *out, size_t cap)
{
    char full[PATH_BYTES];
    int len = snprintf(full, sizeof(full), "%s/%s", root, path);
    if (len < 0 || (size_t)len >= sizeof(full)) return false;
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    while (n < cap - 1) {
        ssize_t got = read(fd, out + n, cap - 1 - n);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(fd);
    out[n] = '\0';
    return n > 0;
}

// The text behind "key:" at the start of a line, or NULL.
static const char *line_value(const char *text, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = text; p; p = strchr(p, '\n'), p = p ? p + 1 : NULL)
        if (strncmp(p, key, n) == 0 && p[n] == ':') return p + n + 1;
    return NULL;
}

// A "<key>: <n> kB" line in bytes; 0 when there is none.
static uint64_t kib_line(const char *text, const char *key)
{
    const char *v = line_value(text, key);
    return v ? strtoull(v, NULL, 10) * 1024 : 0;
}

// ---- processor sets ------------------------------------------------------------------------

typedef struct cpu_bits {
    cpu_set_t part[MAX_CPUS / CPU_SETSIZE];
} cpu_bits;

static bool bits_has(const cpu_bits *b, int cpu)
{
    return CPU_ISSET_S((size_t)cpu, sizeof(b->part), b->part);
}

static void bits_add(cpu_bits *b, int cpu)
{
    CPU_SET_S((size_t)cpu, sizeof(b->part), b->part);
}

static int bits_count(const cpu_bits *b)
{
    return CPU_COUNT_S(sizeof(b->part), b->part);
}

// A kernel list such as "0-3,8,10-11"; numbers beyond MAX_CPUS are left out.
static void bits_parse(const char *list, cpu_bits *out)
{
    memset(out, 0, sizeof(*out));
    for (const char *p = list;;) {
        char *end;
        long from = strtol(p, &end, 10), to = from;
        if (end == p || from < 0) return;
        if (*end == '-') {
            p = end + 1;
            to = strtol(p, &end, 10);
            if (end == p) return;
        }
        for (long cpu = from; cpu <= to && cpu < MAX_CPUS; cpu++)
            bits_add(out, (int)cpu);
        if (*end != ',') return;
        p = end + 1;
    }
}

// The system call knows about masks set on this thread alone; a fixture has only the file.
static void read_affinity(const char *root, cpu_bits *out)
{
    char text[TEXT_BYTES];
    memset(out, 0, sizeof(*out));
    if (strcmp(root, "/") == 0) {
        if (sched_getaffinity(0, sizeof(out->part), out->part) != 0) memset(out, 0, sizeof(*out));
        return;
    }
    if (!read_text(root, "proc/self/status", text, sizeof(text))) return;
    const char *list = line_value(text, "Cpus_allowed_list");
    if (list) bits_parse(list, out);
}

// Cores are told apart by their lowest hyperthread. A processor without topology files is a core.
static int count_cores(const char *root, const cpu_bits *cpus)
{
    static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
    cpu_bits cores;
    memset(&cores, 0, sizeof(cores));
    for (int cpu = 0; cpu < MAX_CPUS; cpu++) {
        if (!bits_has(cpus, cpu)) continue;
        long core = cpu;
        for (int i = 0; i < 2; i++) {
            char path[96], text[256], *end;
            snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/topology/%s", cpu, names[i]);
            if (!read_text(root, path, text, sizeof(text))) continue;
            long lowest = strtol(text, &end, 10);
            if (end != text && lowest >= 0 && lowest < MAX_CPUS) core = lowest;
            break;
        }
        bits_add(&cores, (int)core);
    }
    return bits_count(&cores);
}

// ---- control groups ------------------------------------------------------------------------

typedef struct limits {
    double quota;    // processors; 0: none found
    uint64_t memory; // bytes; UINT64_MAX: none found
} limits;

static void lower_quota(limits *l, double quota, double period)
{
    if (quota <= 0 || period <= 0) return;
    if (l->quota == 0 || quota / period < l->quota) l->quota = quota / period;
}

static void lower_memory(limits *l, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long bytes = strtoull(text, &end, 10); // "max" has no digits
    if (end != text && errno == 0 && bytes > 0 && bytes < l->memory) l->memory = bytes;
}

// Version 2: cpu.max holds "max 100000" or "200000 100000".
static void read_v2(const char *root, const char *dir, limits *l)
{
    char path[PATH_BYTES + 32], text[128];
    double quota, period;
    snprintf(path, sizeof(path), "%s/cpu.max", dir);
    if (read_text(root, path, text, sizeof(text)) && sscanf(text, "%lf %lf", &quota, &period) == 2)
        lower_quota(l, quota, period);
    snprintf(path, sizeof(path), "%s/memory.max", dir);
    if (read_text(root, path, text, sizeof(text))) lower_memory(l, text);
}

// Version 1: quota -1 stands for none, and no memory limit is a number beyond any machine.
static void read_v1_cpu(const char *root, const char *dir, limits *l)
{
    char path[PATH_BYTES + 32], quota[128], period[128];
    snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir);
    if (!read_text(root, path, quota, sizeof(quota))) return;
    snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
    if (!read_text(root, path, period, sizeof(period))) return;
    lower_quota(l, strtod(quota, NULL), strtod(period, NULL));
}

static void read_v1_memory(const char *root, const char *dir, limits *l)
{
    char path[PATH_BYTES + 32], text[128];
    snprintf(path, sizeof(path), "%s/memory.limit_in_bytes", dir);
    if (read_text(root, path, text, sizeof(text))) lower_memory(l, text);
}

// Calls read for mount/group and each folder above it down to mount itself. A limit holds for all
// below it, so the smallest wins. In a container the group's path may name a folder that only the
// host sees; then its files are not there and those of the mount, which is our group, count.
static void walk(const char *root, const char *mount, hd_slice group, limits *l,
                 void (*read)(const char *root, const char *dir, limits *l))
{
    char dir[PATH_BYTES];
    if (hd_slice_find(group, hd_slice_str(".."), 0) >= 0) group.n = 0;
    int len = snprintf(dir, sizeof(dir), "%s%.*s", mount, (int)group.n, group.p);
    if (len < 0 || (size_t)len >= sizeof(dir)) {
        snprintf(dir, sizeof(dir), "%s", mount);
        len = (int)strlen(dir);
    }
    for (size_t base = strlen(mount);;) {
        while ((size_t)len > base && dir[len - 1] == '/')
            dir[--len] = '\0';
        read(root, dir, l);
        if ((size_t)len <= base) return;
        while ((size_t)len > base && dir[len - 1] != '/')
            dir[--len] = '\0';
    }
}

static bool list_has(hd_slice list, const char *word)
{
    while (list.n > 0) {
        ptrdiff_t comma = hd_slice_find(list, hd_slice_str(","), 0);
        size_t n = comma < 0 ? list.n : (size_t)comma;
        if (hd_slice_eq_str(hd_slice_of(list.p, n), word)) return true;
        if (comma < 0) return false;
        list = hd_slice_of(list.p + n + 1, list.n - n - 1);
    }
    return false;
}

// /proc/self/cgroup has lines "0::/path" (version 2) and "4:cpu,cpuacct:/path" (version 1); a
// hybrid machine has both.
static limits read_limits(const char *root)
{
    limits l = {0, UINT64_MAX};
    char text[TEXT_BYTES];
    if (!read_text(root, "proc/self/cgroup", text, sizeof(text))) strcpy(text, "0::/");
    for (char *save, *row = strtok_r(text, "\n", &save); row; row = strtok_r(NULL, "\n", &save)) {
        char *list = strchr(row, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        hd_slice names = hd_slice_of(list + 1, (size_t)(path - list - 1));
        hd_slice group = hd_slice_str(path + 1);
        if (names.n == 0) {
            walk(root, "sys/fs/cgroup", group, &l, read_v2);
            walk(root, "sys/fs/cgroup/unified", group, &l, read_v2);
        } else if (list_has(names, "cpu")) {
            walk(root, "sys/fs/cgroup/cpu", group, &l, read_v1_cpu);
            walk(root, "sys/fs/cgroup/cpu,cpuacct", group, &l, read_v1_cpu);
        } else if (list_has(names, "memory")) {
            walk(root, "sys/fs/cgroup/memory", group, &l, read_v1_memory);
        }
    }
    return l;
}

// ---- the budget ----------------------------------------------------------------------------

void hd_cpu_budget_read(const char *root, hd_cpu_budget *out)
{
    char text[TEXT_BYTES];
    cpu_bits online, mine;
    memset(out, 0, sizeof(*out));
    memset(&online, 0, sizeof(online));

    read_affinity(root, &mine);
    out->affinity = bits_count(&mine);
    if (read_text(root, "sys/devices/system/cpu/online", text, sizeof(text))) {
        bits_parse(text, &online);
        out->online = bits_count(&online);
    }
    // Without /sys what we may run on is what we know of.
    if (out->online == 0) out->online = out->affinity;
    if (out->affinity == 0) {
        mine = online;
        out->affinity = out->online;
    }
    out->physical = count_cores(root, &mine);

    limits l = read_limits(root);
    out->quota = l.quota;
    out->threads = out->physical;
    if (l.quota > 0 && l.quota < out->threads) out->threads = (int)l.quota;
    if (out->threads < 1) out->threads = 1;

    if (read_text(root, "proc/meminfo", text, sizeof(text)))
        out->memory = kib_line(text, "MemTotal");
    if (out->memory == 0)
        out->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    if (l.memory < out->memory) out->memory = l.memory;
}

uint64_t hd_cpu_rss_bytes(void)
{
    char text[256];
    unsigned long long all, resident;
    if (!read_text("/", "proc/self/statm", text, sizeof(text)) ||
        sscanf(text, "%llu %llu", &all, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t hd_cpu_rss_peak_bytes(void)
{
    char text[TEXT_BYTES];
    if (read_text("/", "proc/self/status", text, sizeof(text))) {
        uint64_t peak = kib_line(text, "VmHWM");
        if (peak > 0) return peak;
    }
    struct rusage usage; // some sandboxes leave the line out
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}
