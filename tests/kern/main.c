// The runner: levels, options, buffers, failures.
#include "kernels/base/cpu.h"
#include "tests/kern/checkkern.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_TESTS = 128, CANARY = 0xa5 };

static sigjmp_buf on_fail;
static const char *volatile running = "";

// ---- failing -------------------------------------------------------------------------------

void kern_case(kern *k, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(k->what, sizeof(k->what), fmt, ap);
    va_end(ap);
}

void kern_fail(kern *k, const char *fmt, ...)
{
    va_list ap;
    printf("FAILED %s [%s] %s: ", running, k->level, k->what);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    siglongjmp(on_fail, 1);
}

static void on_fault(int sig)
{
    siglongjmp(on_fail, sig);
}

bool same_value(float a, float b)
{
    return (isnan(a) && isnan(b)) || hd_f32_bits(a) == hd_f32_bits(b);
}

void expect_same(kern *k, const char *name, const float *got, const float *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!same_value(got[i], want[i]))
            kern_fail(k, "%s[%lld]: got %a, want %a", name, (long long)i, (double)got[i],
                      (double)want[i]);
}

void expect_bytes(kern *k, const char *name, const void *got, const void *want, size_t n)
{
    const uint8_t *g = got, *w = want;
    for (size_t i = 0; i < n; i++)
        if (g[i] != w[i]) kern_fail(k, "%s byte %zu: got 0x%02x, want 0x%02x", name, i, g[i], w[i]);
}

// ---- buffers -------------------------------------------------------------------------------

void *guard_open(guarded *g, size_t n, int place)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (n + 64 + page - 1) / page * page;
    g->map_bytes = inner + 2 * page;
    g->n = n;
    g->map = mmap(NULL, g->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED || mprotect(g->map, page, PROT_NONE) != 0 ||
        mprotect(g->map + page + inner, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    memset(g->map + page, CANARY, inner);
    g->p = g->map + page + (place == AT_END ? inner - n : 0);
    return g->p;
}

void guard_check(kern *k, const guarded *g, const char *name)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uint8_t *first = g->map + page, *last = g->map + g->map_bytes - page;
    for (const uint8_t *q = first; q < last; q++) {
        if (q == g->p) q += g->n;
        if (q < last && *q != CANARY)
            kern_fail(k, "%s: wrote at byte %td of %zu", name, q - g->p, g->n);
    }
}

void guard_close(guarded *g)
{
    munmap(g->map, g->map_bytes);
}

// ---- tests ---------------------------------------------------------------------------------

void kern_add(kern_test *t, const char *family, hd_dtype type, void (*run)(kern *k, hd_dtype type),
              size_t entry)
{
    if (type == HD_DTYPE_NONE)
        snprintf(t->name, sizeof(t->name), "%s", family);
    else
        snprintf(t->name, sizeof(t->name), "%s.%s", family, hd_dtype_name(type));
    t->run = run;
    t->type = type;
    t->entry = entry;
}

static int list_tests(kern_test *t)
{
    int n = kern_mm_tests(t);
    n += kern_format_tests(t + n);
    n += kern_attn_tests(t + n);
    n += kern_row_tests(t + n);
    return n;
}

typedef struct options {
    uint64_t seed;
    const char *only; // part of a test's name, or NULL
    bool bench, bench_moe;
} options;

static int passed, failed, shared;

static bool same_entry(const hd_cpu_fns *a, const hd_cpu_fns *b, size_t entry)
{
    return memcmp((const char *)a + entry, (const char *)b + entry, sizeof(void (*)(void))) == 0;
}

static void run_test(const kern_test *t, kern *k, uint64_t seed)
{
    uint64_t mix = seed;
    for (const char *s = t->name; *s; s++)
        mix = mix * 31 + (uint8_t)*s;
    hd_rng_seed(&k->rng, mix);
    k->what[0] = '\0';
    running = t->name;
    int sig = sigsetjmp(on_fail, 1);
    if (sig == 0) {
        t->run(k, t->type);
        passed++;
        return;
    }
    if (sig != 1) printf("FAILED %s [%s] %s: signal %d\n", t->name, k->level, k->what, sig);
    failed++;
}

// A kernel that a level merely inherits was tested with the level that brought it.
static void run_level(const hd_cpu_fns *ref, const hd_cpu_fns *below, const hd_cpu_fns *cur,
                      const options *o)
{
    static kern_test tests[MAX_TESTS];
    int n = list_tests(tests);
    kern k = {.ref = ref, .cur = cur, .level = cur->level};
    for (int i = 0; i < n; i++) {
        if (o->only && !strstr(tests[i].name, o->only)) continue;
        if (below && same_entry(below, cur, tests[i].entry)) {
            shared++;
            continue;
        }
        run_test(&tests[i], &k, o->seed);
    }
}

static bool parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            o->bench = true;
        else if (strcmp(argv[i], "--bench-moe") == 0)
            o->bench_moe = true;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            o->seed = strtoull(argv[++i], NULL, 0);
        else if (argv[i][0] != '-')
            o->only = argv[i];
        else
            return false;
    }
    return true;
}

int main(int argc, char **argv)
{
#ifdef __aarch64__
    static const uint32_t levels[] = {0, HD_CPU_NEON};
#else
    static const uint32_t levels[] = {0, HD_CPU_AVX2, HD_CPU_AVX2 | HD_CPU_AVX512,
                                      HD_CPU_AVX2 | HD_CPU_AVX512 | HD_CPU_AVX512VNNI};
#endif
    enum { N_LEVELS = (int)(sizeof(levels) / sizeof(levels[0])) };
    static hd_cpu_fns table[N_LEVELS];
    options o = {.seed = hd_rng_entropy()};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: checkkern [--seed N] [--bench] [--bench-moe] [part of a name]\n");
        return 2;
    }
    if (o.bench) return kern_bench(o.only, o.seed);
    if (o.bench_moe) return kern_bench_moe(o.seed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed 0x%llx\n", (unsigned long long)o.seed);
    struct sigaction sa = {.sa_handler = on_fault};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    uint32_t have = hd_cpu_detect();
    for (int i = 0; i < N_LEVELS; i++) {
        if ((levels[i] & have) != levels[i]) {
            char name[64];
            printf("level %s: not on this machine\n", hd_cpu_names(levels[i], name, sizeof(name)));
            break;
        }
        hd_cpu_fns_fill(&table[i], levels[i]);
        int before = passed + failed;
        run_level(&table[0], i ? &table[i - 1] : NULL, &table[i], &o);
        printf("level %s: %d kernels\n", table[i].level, passed + failed - before);
    }
    printf("%d more are shared between levels\n%d passed, %d failed\n", shared, passed, failed);
    return failed || passed == 0;
}
