// Checked sizes, the failing hook, big blocks, arenas.
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(WITH_ASAN)
#define WITH_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(WITH_TSAN)
#define WITH_TSAN 1
#endif

static void sizes(void)
{
    size_t out = 7;
    EXPECT(hd_mul_size(3, 4, &out) && out == 12);
    EXPECT(hd_mul_size(0, SIZE_MAX, &out) && out == 0);
    EXPECT(hd_add_size(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    EXPECT(hd_align_size(0, 64, &out) && out == 0);
    EXPECT(hd_align_size(65, 64, &out) && out == 128);
    EXPECT(hd_align_size(SIZE_MAX - 63, 64, &out) && out == SIZE_MAX - 63);
}

static void align_overflow(void)
{
    size_t out = 7;
    EXPECT(!hd_align_size(SIZE_MAX - 62, 64, &out) && out == 7);
    EXPECT(!hd_align_size(SIZE_MAX, 2, &out) && out == 7);
}

static void heap(void)
{
    char *zero = hd_alloc(0), *other = hd_alloc(0);
    EXPECT(zero && other && zero != other);
    hd_free(zero);
    hd_free(other);
    unsigned char *z = hd_calloc(10, 30);
    for (int i = 0; i < 300; i++)
        EXPECT_INT(z[i], 0);
    z[299] = 9;
    z = hd_realloc(z, 5000);
    EXPECT_INT(z[299], 9);
    z = hd_reallocarray(z, 300, 1);
    EXPECT_INT(z[299], 9);
    z = hd_realloc(z, 0);
    EXPECT(z != NULL);
    hd_free(z);
    hd_free(NULL);
    char *s = hd_strdup("hello"), *t = hd_strndup("hello", 3), *u = hd_strndup("a\0b", 3),
         *e = hd_strndup(NULL, 0);
    EXPECT_STR(s, "hello");
    EXPECT_STR(t, "hel");
    EXPECT(memcmp(u, "a\0b\0", 4) == 0);
    EXPECT_STR(e, "");
    hd_free(s);
    hd_free(t);
    hd_free(u);
    hd_free(e);
}

static void absurd_sizes(void)
{
    // Through a volatile, so that the compiler does not object in our place.
    volatile size_t huge = SIZE_MAX, half = SIZE_MAX / 2 + 1;
    char *p = hd_alloc(10);
    p[9] = 'k';
    EXPECT(hd_alloc(huge) == NULL);
    EXPECT(hd_alloc((size_t)1 << 50) == NULL);
    EXPECT(hd_calloc(half, 2) == NULL);
    EXPECT(hd_calloc(1, huge) == NULL);
    EXPECT(hd_realloc(p, huge) == NULL);
    EXPECT(hd_reallocarray(p, half, 2) == NULL);
    EXPECT(hd_strndup("x", huge) == NULL);
    EXPECT(hd_alloc_big(huge) == NULL);
    EXPECT(hd_alloc_big((size_t)1 << 62) == NULL);
    EXPECT_INT(hd_mem_big_bytes(), 0);
    EXPECT_INT(p[9], 'k'); // untouched on failure
    hd_free(p);
}

// Each way to allocate, by number.
static bool allocate(int way)
{
    void *p = NULL;
    switch (way) {
    case 0:
        p = hd_alloc(8);
        break;
    case 1:
        p = hd_calloc(2, 8);
        break;
    case 2:
        p = hd_realloc(NULL, 8);
        break;
    case 3:
        p = hd_reallocarray(NULL, 2, 8);
        break;
    case 4:
        p = hd_strdup("x");
        break;
    case 5:
        p = hd_strndup("x", 1);
        break;
    case 6:
        p = hd_alloc_big(100);
        hd_free_big(p, 100);
        return p != NULL;
    }
    hd_free(p);
    return p != NULL;
}
enum { WAYS = 7 };

static void fail_nth(void)
{
    for (int nth = 1; nth <= WAYS; nth++) {
        hd_mem_fail_at(nth, false);
        for (int way = 0; way < WAYS; way++)
            EXPECT_INT(allocate(way), way != nth - 1);
        EXPECT_INT(hd_mem_fail_at(0, false), WAYS);
        hd_mem_fail_at(nth, true);
        for (int way = 0; way < WAYS; way++)
            EXPECT_INT(allocate(way), way < nth - 1);
        EXPECT_INT(hd_mem_fail_at(0, false), WAYS);
    }
    hd_mem_fail_at(3, false);
    hd_mem_fail_at(-1, true); // off again
    for (int way = 0; way < WAYS; way++)
        EXPECT(allocate(way));
    // The loop fault tests use: ends when nothing was left to fail.
    int rounds = 0;
    for (int nth = 1;; nth++, rounds++) {
        hd_mem_fail_at(nth, false);
        bool ok = allocate(0) && allocate(1) && allocate(2);
        hd_mem_fail_at(0, false);
        if (ok) break;
    }
    EXPECT_INT(rounds, 3);
}

static void *count_own(void *arg)
{
    uint64_t *seen = arg;
    for (int way = 0; way < WAYS; way++)
        allocate(way);
    *seen = hd_mem_thread_allocs();
    return NULL;
}

static void counts_by_thread(void)
{
    uint64_t before = hd_mem_thread_allocs(), other = 0;
    pthread_t t;
    hd_mem_fail_at(0, false);
    EXPECT(pthread_create(&t, NULL, count_own, &other) == 0);
    pthread_join(t, NULL);
    EXPECT_INT(other, WAYS);
    EXPECT_INT(hd_mem_thread_allocs(), before);
    allocate(0);
    hd_free(NULL);
    EXPECT_INT(hd_mem_thread_allocs(), before + 1);
    EXPECT_INT(hd_mem_fail_at(0, false), WAYS + 1); // counted over all threads
}

static void *fail_in_thread(void *arg)
{
    int *failures = arg;
    for (int i = 0; i < 1000; i++) {
        void *p = hd_alloc(1);
        *failures += p == NULL;
        hd_free(p);
    }
    return NULL;
}

static void fails_once_over_threads(void)
{
    pthread_t t[4];
    int failures[4] = {0};
    hd_mem_fail_at(2000, false);
    for (int i = 0; i < 4; i++)
        EXPECT(pthread_create(&t[i], NULL, fail_in_thread, &failures[i]) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    EXPECT_INT(failures[0] + failures[1] + failures[2] + failures[3], 1);
    EXPECT_INT(hd_mem_fail_at(0, false), 4000);
}

// ---- big blocks ----------------------------------------------------------------------------

static void big_blocks(void)
{
    static const size_t sizes_[] = {0,      1, 4096, 100000, (2 << 20) - 1, 2 << 20, (2 << 20) + 1,
                                    9 << 20};
    enum { N = sizeof(sizes_) / sizeof(sizes_[0]) };
    unsigned char *p[N];
    size_t sum = 0;
    for (int i = 0; i < N; i++) {
        p[i] = hd_alloc_big(sizes_[i]);
        EXPECT(p[i] != NULL);
        EXPECT((uintptr_t)p[i] % (2 << 20) == 0);
        for (size_t k = 0; k < sizes_[i]; k += 997) {
            EXPECT_INT(p[i][k], 0);
            p[i][k] = (unsigned char)(i + 1);
        }
        if (sizes_[i]) p[i][sizes_[i] - 1] = (unsigned char)(i + 1);
        size_t page = (size_t)sysconf(_SC_PAGESIZE), pages;
        EXPECT(hd_align_size(sizes_[i] ? sizes_[i] : 1, page, &pages));
        sum += pages;
        EXPECT_INT(hd_mem_big_bytes(), sum);
    }
    for (int i = 0; i < N; i++) {
        for (size_t k = 0; k < sizes_[i]; k += 997)
            EXPECT_INT(p[i][k], i + 1); // no block lies on another
        hd_free_big(p[i], sizes_[i]);
    }
    EXPECT_INT(hd_mem_big_bytes(), 0);
    hd_free_big(NULL, 5);
    EXPECT_INT(hd_mem_big_bytes(), 0);
}

static size_t mapped_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char row[256];
    size_t kib = 0;
    EXPECT(f != NULL);
    while (fgets(row, sizeof(row), f))
        if (sscanf(row, "VmSize: %zu", &kib) == 1) break;
    fclose(f);
    return kib;
}

static void big_gives_back(void)
{
    hd_free_big(hd_alloc_big(5 << 20), 5 << 20);
    size_t before = mapped_kib();
    for (int i = 0; i < 300; i++) {
        char *p = hd_alloc_big((5 << 20) + 12345);
        EXPECT(p != NULL);
        hd_free_big(p, (5 << 20) + 12345);
    }
    EXPECT(mapped_kib() <= before + 1024);
    // Held, a block costs its own size only: what alignment needed went back.
    char *p = hd_alloc_big(64 << 20);
    EXPECT(mapped_kib() <= before + (64 << 10) + 1024);
    hd_free_big(p, 64 << 20);
}

static void big_refused(void)
{
#if defined(WITH_ASAN) || defined(WITH_TSAN)
    hd_test_skip("sanitizers need the address space this test takes away");
#else
    struct rlimit lim = {mapped_kib() * 1024 + (16 << 20), RLIM_INFINITY};
    EXPECT(setrlimit(RLIMIT_AS, &lim) == 0);
    EXPECT(hd_alloc_big(64 << 20) == NULL);
    EXPECT(hd_alloc(64 << 20) == NULL);
    EXPECT_INT(hd_mem_big_bytes(), 0);
    char *p = hd_alloc_big(4 << 20);
    EXPECT(p != NULL);
    hd_free_big(p, 4 << 20);
#endif
}

// ---- arena ---------------------------------------------------------------------------------

static void arena_many(void)
{
    enum { N = 3000 };
    hd_arena a;
    hd_rng r;
    static unsigned char *p[N];
    static size_t n[N];
    hd_arena_init(&a, 4096, SIZE_MAX);
    hd_rng_seed(&r, 3);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            n[i] = hd_rng_below(&r, i % 100 == 0 ? 20000 : 100);
            p[i] = hd_arena_alloc(&a, n[i]);
            EXPECT(p[i] != NULL);
            EXPECT((uintptr_t)p[i] % 16 == 0);
            for (size_t k = 0; k < n[i]; k++)
                EXPECT_INT(p[i][k], 0);
            memset(p[i], i % 251 + 1, n[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < n[i]; k++)
                EXPECT_INT(p[i][k], i % 251 + 1);
        EXPECT(a.total > 4096);
        hd_arena_reset(&a);
        EXPECT(a.head != NULL && a.total == 4096);
    }
    hd_arena_fini(&a);
    EXPECT(a.head == NULL && a.total == 0);
    hd_arena_fini(&a);
}

static void arena_zero_and_dup(void)
{
    hd_arena a;
    hd_arena_init(&a, 1024, 1 << 20);
    hd_arena_reset(&a); // before anything was there
    char *x = hd_arena_alloc(&a, 0), *y = hd_arena_alloc(&a, 0);
    EXPECT(x && y && x != y);
    char *s = hd_arena_dup(&a, "abcdef", 3), *e = hd_arena_dup(&a, NULL, 0);
    EXPECT_STR(s, "abc");
    EXPECT_STR(e, "");
    hd_arena_fini(&a);
}

static void arena_limits(void)
{
    hd_arena a;
    volatile size_t huge = SIZE_MAX;
    hd_arena_init(&a, 1000, 10000);
    EXPECT(hd_arena_alloc(&a, huge) == NULL);
    EXPECT(hd_arena_alloc(&a, huge - 15) == NULL);
    EXPECT(hd_arena_dup(&a, "x", huge) == NULL);
    EXPECT(hd_arena_alloc(&a, 10001) == NULL);
    EXPECT(a.head == NULL && a.total == 0);
    int got = 0;
    while (hd_arena_alloc(&a, 400))
        got++;
    EXPECT(got == 20); // two to a chunk of 1000, ten chunks
    EXPECT_INT(a.total, 10000);
    hd_arena_reset(&a);
    EXPECT_INT(a.total, 1000);
    EXPECT(hd_arena_alloc(&a, 8900) != NULL); // the rest of the limit, though not nine chunks
    EXPECT(a.total <= 10000);
    hd_arena_fini(&a);
    // No ordinary chunk fits the limit.
    hd_arena_init(&a, 1 << 20, 256);
    EXPECT(hd_arena_alloc(&a, 100) != NULL);
    EXPECT_INT(a.total, 256);
    EXPECT(hd_arena_alloc(&a, 200) == NULL);
    hd_arena_fini(&a);
    hd_arena_init(&a, 0, 4096); // every object its own chunk
    EXPECT(hd_arena_alloc(&a, 100) && hd_arena_alloc(&a, 100));
    hd_arena_fini(&a);
}

static void arena_shares_large_chunks(void)
{
    hd_arena a;
    hd_arena_init(&a, 65536, SIZE_MAX);
    for (int i = 0; i < 100; i++) {
        EXPECT(hd_arena_alloc(&a, 100000) != NULL);
        EXPECT(hd_arena_alloc(&a, 1000) != NULL);
    }
    EXPECT_INT(a.total, 100 * 131072); // small ones lie behind the large ones
    hd_arena_fini(&a);
}

static void arena_out_of_memory(void)
{
    hd_arena a;
    hd_arena_init(&a, 1000, 10000);
    EXPECT(hd_arena_alloc(&a, 100) != NULL);
    hd_mem_fail_at(1, true);
    EXPECT(hd_arena_alloc(&a, 100) != NULL); // from the chunk that is there
    EXPECT(hd_arena_alloc(&a, 2000) == NULL);
    hd_mem_fail_at(0, false);
    EXPECT_INT(a.total, 1000);
    EXPECT(hd_arena_alloc(&a, 2000) != NULL);
    hd_arena_fini(&a);
}

#ifdef WITH_ASAN

static volatile unsigned char sink;

static void touch_behind(void)
{
    hd_arena a;
    hd_arena_init(&a, 4096, 1 << 20);
    unsigned char *p = hd_arena_alloc(&a, 13);
    hd_arena_alloc(&a, 16);
    sink = p[13];
}

static void touch_redzone(void)
{
    hd_arena a;
    hd_arena_init(&a, 4096, 1 << 20);
    unsigned char *p = hd_arena_alloc(&a, 16);
    hd_arena_alloc(&a, 16);
    sink = p[16];
}

static void touch_after_reset(void)
{
    hd_arena a;
    hd_arena_init(&a, 4096, 1 << 20);
    unsigned char *p = hd_arena_alloc(&a, 16);
    hd_arena_reset(&a);
    sink = p[0];
}

static bool is_caught(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        fclose(stderr);
        close(STDERR_FILENO);
        fn();
        _exit(0);
    }
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#endif

static void arena_redzones(void)
{
#ifdef WITH_ASAN
    EXPECT(is_caught(touch_behind));
    EXPECT(is_caught(touch_redzone));
    EXPECT(is_caught(touch_after_reset));
#else
    hd_test_skip("needs AddressSanitizer");
#endif
}

HD_TEST_MAIN("mem", {"sizes", sizes}, {"align_overflow", align_overflow}, {"heap", heap},
             {"absurd_sizes", absurd_sizes}, {"fail_nth", fail_nth},
             {"counts_by_thread", counts_by_thread},
             {"fails_once_over_threads", fails_once_over_threads}, {"big_blocks", big_blocks},
             {"big_gives_back", big_gives_back}, {"big_refused", big_refused},
             {"arena_many", arena_many}, {"arena_zero_and_dup", arena_zero_and_dup},
             {"arena_limits", arena_limits},
             {"arena_shares_large_chunks", arena_shares_large_chunks},
             {"arena_out_of_memory", arena_out_of_memory}, {"arena_redzones", arena_redzones}, )
