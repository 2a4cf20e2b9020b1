// status, buf, map, rng, clock and log.
#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/status.h"
#include "tests/harness/test.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// ---- status --------------------------------------------------------------------------------

static void status_names(void)
{
    for (int s = 0; s < HD_STATUS_COUNT; s++) {
        const char *name = hd_status_name((hd_status)s);
        EXPECT(name[0] != '\0');
        EXPECT(strchr(name, ' ') == NULL);
        for (int t = 0; t < s; t++)
            EXPECT(strcmp(name, hd_status_name((hd_status)t)) != 0);
    }
    EXPECT_STR(hd_status_name(HD_E_INVAL), "invalid");
    EXPECT_STR(hd_status_name(HD_E_LIMIT), "limit");
    EXPECT_STR(hd_status_name(HD_STATUS_COUNT), "unknown");
    EXPECT_STR(hd_status_name((hd_status)-1), "unknown");
}

static void fail_writes(void)
{
    hd_err err = {HD_OK, "old"};
    EXPECT_INT(HD_FAIL(&err, HD_E_IO, "open %s: %d", "x", 7), HD_E_IO);
    EXPECT_INT(err.code, HD_E_IO);
    EXPECT_STR(err.msg, "open x: 7");
    EXPECT_INT(HD_FAIL(NULL, HD_E_BUSY, "nobody listens"), HD_E_BUSY);
    // The old message may be an argument of the new one.
    hd_fail(&err, HD_E_CORRUPT, "again: %s", err.msg);
    EXPECT_STR(err.msg, "again: open x: 7");
}

static void fail_cuts(void)
{
    hd_err err;
    char text[400];
    memset(text, 'a', sizeof(text));
    text[239] = '\0';
    hd_fail(&err, HD_E_INVAL, "%s", text);
    EXPECT_STR(err.msg, text); // exactly fits
    text[239] = 'a';
    text[240] = '\0';
    hd_fail(&err, HD_E_INVAL, "%s", text);
    EXPECT_INT(strlen(err.msg), 239);
    EXPECT_STR(err.msg + 235, "a...");
    // A two-byte character lies across the cut at byte 236 and is left out whole.
    memcpy(text + 235, "\xC3\xA9\xC3\xA9\xC3\xA9", 7);
    hd_fail(&err, HD_E_INVAL, "%s", text);
    EXPECT_INT(strlen(err.msg), 238);
    EXPECT_STR(err.msg + 234, "a...");
}

static void prefix(void)
{
    hd_err err;
    hd_fail(&err, HD_E_CORRUPT, "header: found 3");
    EXPECT_INT(hd_err_prefix(&err, HD_E_IO, "%s", "a.bin"), HD_E_CORRUPT);
    EXPECT_STR(err.msg, "a.bin: header: found 3");
    EXPECT_INT(hd_err_prefix(NULL, HD_E_IO, "x"), HD_E_IO);
    // A callee that failed without a word still gives a failure.
    hd_err silent = {HD_OK, ""};
    EXPECT_INT(hd_err_prefix(&silent, HD_E_NOMEM, "f"), HD_E_NOMEM);
    EXPECT_STR(silent.msg, "f: no_memory");
    char text[300];
    memset(text, 'b', sizeof(text));
    text[299] = '\0';
    hd_err_prefix(&err, HD_E_IO, "%s", text);
    EXPECT_INT(strlen(err.msg), 239);
    EXPECT_STR(err.msg + 235, "b...");
    hd_fail(&err, HD_E_IO, "%.230s", text);
    hd_err_prefix(&err, HD_E_IO, "%s", "prefix that does not fit");
    EXPECT_INT(strlen(err.msg), 239);
    EXPECT(strncmp(err.msg, "prefix that does not fit: bbb", 29) == 0);
    EXPECT_STR(err.msg + 236, "...");
}

static hd_status try_and_check(int n, hd_err *err)
{
    HD_CHECK(n != 1, err, HD_E_LIMIT, "n is %d", n);
    HD_TRY(n == 2 ? hd_fail(err, HD_E_IO, "two") : HD_OK);
    return HD_OK;
}

static void macros(void)
{
    hd_err err = {HD_OK, ""};
    EXPECT_INT(try_and_check(0, &err), HD_OK);
    EXPECT_INT(try_and_check(1, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "n is 1");
    EXPECT_INT(try_and_check(2, &err), HD_E_IO);
}

// Runs fn in a child with standard error in a pipe; returns the wait status, output in text.
static int in_child(void (*fn)(void), char *text, size_t cap)
{
    int fds[2];
    EXPECT(pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        fn();
        _exit(0);
    }
    close(fds[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(fds[0], text + n, cap - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(fds[0]);
    int status;
    EXPECT(waitpid(pid, &status, 0) == pid);
    return status;
}

static void broken_assert(void)
{
    HD_ASSERT(1 + 1 == 3);
}

static void panic(void)
{
    char text[512];
    int status = in_child(broken_assert, text, sizeof(text));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    EXPECT_CONTAINS(text, "test_base_small.c:");
    EXPECT_CONTAINS(text, "1 + 1 == 3");
}

// ---- slices and buffers --------------------------------------------------------------------

static void slices(void)
{
    hd_slice s = hd_slice_str("abcabc"), none = hd_slice_str(NULL), null = {NULL, 0};
    EXPECT_INT(s.n, 6);
    EXPECT(none.n == 0 && none.p != NULL);
    EXPECT(hd_slice_eq(s, hd_slice_of("abcabcd", 6)));
    EXPECT(!hd_slice_eq(s, hd_slice_str("abcabd")));
    EXPECT(!hd_slice_eq(s, hd_slice_str("abcab")));
    EXPECT(hd_slice_eq(none, null));
    EXPECT(hd_slice_eq_str(s, "abcabc") && !hd_slice_eq_str(s, "abc"));
    EXPECT(hd_slice_eq_str(null, "") && hd_slice_eq_str(null, NULL));
    EXPECT(hd_slice_starts(s, hd_slice_str("abca")) && hd_slice_starts(s, null));
    EXPECT(!hd_slice_starts(s, hd_slice_str("abd")));
    EXPECT(!hd_slice_starts(hd_slice_str("ab"), s));
    EXPECT_INT(hd_slice_find(s, hd_slice_str("bc"), 0), 1);
    EXPECT_INT(hd_slice_find(s, hd_slice_str("bc"), 1), 1);
    EXPECT_INT(hd_slice_find(s, hd_slice_str("bc"), 2), 4);
    EXPECT_INT(hd_slice_find(s, hd_slice_str("bc"), 5), -1);
    EXPECT_INT(hd_slice_find(s, hd_slice_str("abcabca"), 0), -1);
    EXPECT_INT(hd_slice_find(s, null, 6), 6);
    EXPECT_INT(hd_slice_find(s, null, 7), -1);
    EXPECT_INT(hd_slice_find(null, null, 0), 0);
    EXPECT_INT(hd_slice_find(hd_slice_of("a\0b", 3), hd_slice_of("\0b", 2), 0), 1);
}

static void buf_appends(void)
{
    hd_buf b = {0};
    EXPECT_STR(hd_buf_slice(&b).p, "");
    hd_buf_put(&b, NULL, 0);
    EXPECT(b.data == NULL);
    hd_buf_puts(&b, "one");
    hd_buf_putc(&b, ' ');
    hd_buf_put_slice(&b, hd_slice_of("two!", 3));
    hd_buf_printf(&b, " %d %s", 3, "four");
    EXPECT_STR(b.data, "one two 3 four");
    EXPECT_INT(b.len, 14);
    hd_buf_clear(&b);
    EXPECT_STR(b.data, "");
    EXPECT_INT(b.len, 0);
    // Many sizes around the growth steps, always ended by a NUL and with all bytes kept.
    for (int i = 0; i < 3000; i++) {
        hd_buf_printf(&b, "%c", 'a' + i % 26);
        EXPECT(b.len <= b.cap && b.data[b.len] == '\0');
    }
    for (int i = 0; i < 3000; i++)
        EXPECT_INT(b.data[i], 'a' + i % 26);
    // printf into exactly the room there is, and one byte more.
    for (int extra = 0; extra < 2; extra++) {
        size_t len = b.len, n = b.cap - b.len + (size_t)extra;
        hd_buf_printf(&b, "%*s", (int)n, "x");
        EXPECT_INT(b.len, len + n);
        EXPECT_INT(b.data[b.len - 1], 'x');
    }
    hd_buf_fini(&b);
    EXPECT(b.data == NULL && b.cap == 0 && b.len == 0);
}

static void buf_reserves(void)
{
    hd_buf b = {0};
    EXPECT(hd_buf_reserve(&b, 1000));
    EXPECT(b.cap >= 1000 && b.data[0] == '\0');
    const char *before = b.data;
    for (int i = 0; i < 1000; i++)
        hd_buf_putc(&b, 'z');
    EXPECT(b.data == before);
    EXPECT(!hd_buf_reserve(&b, SIZE_MAX));
    EXPECT(b.failed);
    hd_buf_fini(&b);
    hd_buf_puts(&b, "x");
    EXPECT(!hd_buf_reserve(&b, SIZE_MAX - 1)); // len + extra fits, the NUL does not
    EXPECT_STR(b.data, "x");
    hd_buf_fini(&b);
}

static void buf_remembers_failure(void)
{
    hd_buf b = {0};
    hd_buf_puts(&b, "kept");
    hd_mem_fail_at(1, false);
    char big[500] = {0};
    hd_buf_put(&b, big, sizeof(big));
    hd_mem_fail_at(0, false);
    EXPECT(b.failed);
    hd_buf_puts(&b, "ignored");
    hd_buf_printf(&b, "%d", 1);
    EXPECT(!hd_buf_reserve(&b, 0));
    EXPECT_STR(b.data, "kept");
    hd_buf_clear(&b);
    hd_buf_puts(&b, "works again");
    EXPECT(!b.failed);
    EXPECT_STR(b.data, "works again");
    hd_buf_fini(&b);
}

// ---- maps ----------------------------------------------------------------------------------

// Computed by a second implementation in another language. They must never change: page hashes
// and packed files are compared across builds.
static void hash_vectors(void)
{
    static const struct {
        size_t n;
        uint64_t seed, want;
    } v[] = {
        {0, 0, 0xD4467C125AD9CD33},    {0, 1, 0x7C2B3A6B7110AFAD},
        {1, 0, 0xEBD22A18EBAF7B6A},    {3, 0, 0xF9A871F68431FC43},
        {4, 0, 0xDA059D63EDEE60FF},    {8, 0, 0xD9AD73A32074C39F},
        {15, 0, 0xE589B59A00420EA5},   {16, 0, 0xBFB75651DA695F66},
        {17, 0, 0x39C08C4CE4523011},   {31, 0, 0xD1957256792A29C2},
        {32, 0, 0x5DA43B8C69D4F490},   {33, 0, 0xF9447CAC5F208794},
        {63, 0, 0x515459CABD9FF434},   {64, 7, 0xC510E463D4DC8559},
        {1000, 0, 0xB8B16FA73A2A1C64}, {1000, UINT64_MAX, 0xEF11EDCF00A6ADC8},
    };
    unsigned char data[1001];
    for (size_t shift = 0; shift < 2; shift++) { // alignment must not matter
        for (int i = 0; i < 1000; i++)
            data[(size_t)i + shift] = (unsigned char)(i * 7 + 3);
        for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
            if (hd_hash_bytes(data + shift, v[i].n, v[i].seed) != v[i].want)
                hd_test_fail(__FILE__, __LINE__, "vector %zu: got %016llX", i,
                             (unsigned long long)hd_hash_bytes(data + shift, v[i].n, v[i].seed));
    }
}

// Every input bit flips every output bit in about half of the cases, at every length class.
static void hash_avalanche(void)
{
    static const size_t lengths[] = {1, 3, 4, 8, 12, 16, 31, 32, 48};
    hd_rng r;
    hd_rng_seed(&r, 11);
    for (size_t k = 0; k < sizeof(lengths) / sizeof(lengths[0]); k++) {
        size_t n = lengths[k];
        enum { TRIES = 400 };
        for (size_t bit = 0; bit < n * 8; bit++) {
            int flips[64] = {0}, all = 0;
            for (int t = 0; t < TRIES; t++) {
                unsigned char d[80];
                for (size_t i = 0; i < n; i++)
                    d[i] = (unsigned char)hd_rng_u64(&r);
                uint64_t h = hd_hash_bytes(d, n, 0);
                d[bit / 8] ^= (unsigned char)(1u << bit % 8);
                uint64_t x = h ^ hd_hash_bytes(d, n, 0);
                for (int o = 0; o < 64; o++)
                    flips[o] += (int)(x >> o & 1);
                all += __builtin_popcountll(x);
            }
            // 400 fair coins: 200 +- 10; all 25600: 12800 +- 80. Eight deviations never happen.
            EXPECT_NEAR(all, 32.0 * TRIES, 640);
            for (int o = 0; o < 64; o++)
                EXPECT_NEAR(flips[o], TRIES / 2, 80);
        }
    }
}

static void map_basics(void)
{
    hd_map m = {0};
    uint32_t v = 9;
    EXPECT(!hd_map_get(&m, hd_slice_str("a"), &v));
    EXPECT_INT(hd_map_put(&m, hd_slice_str("a"), 1), HD_MAP_NEW);
    EXPECT_INT(hd_map_put(&m, hd_slice_str("a"), 2), HD_MAP_EXISTS);
    EXPECT(hd_map_get(&m, hd_slice_str("a"), &v));
    EXPECT_INT(v, 1);
    EXPECT(hd_map_get(&m, hd_slice_str("a"), NULL));
    EXPECT(!hd_map_get(&m, hd_slice_str("b"), &v));
    // The empty key, with and without an address, is one key.
    EXPECT(!hd_map_get(&m, hd_slice_of(NULL, 0), &v));
    EXPECT_INT(hd_map_put(&m, hd_slice_of(NULL, 0), 5), HD_MAP_NEW);
    EXPECT_INT(hd_map_put(&m, hd_slice_str(""), 6), HD_MAP_EXISTS);
    EXPECT(hd_map_get(&m, hd_slice_of(NULL, 0), &v));
    EXPECT_INT(v, 5);
    EXPECT_INT(m.count, 2);
    hd_map_fini(&m);
    EXPECT(m.slot == NULL && m.cap == 0);
}

static void map_many(void)
{
    enum { N = 20000 };
    static char names[N][12];
    hd_map m = {0};
    for (int i = 0; i < N; i++) {
        int n = snprintf(names[i], sizeof(names[i]), "key.%d", i);
        EXPECT_INT(hd_map_put(&m, hd_slice_of(names[i], (size_t)n), (uint32_t)i), HD_MAP_NEW);
        EXPECT(m.count <= m.cap / 2);
    }
    EXPECT_INT(m.count, N);
    for (int i = 0; i < N; i++) {
        uint32_t v;
        char other[16]; // equal bytes elsewhere
        snprintf(other, sizeof(other), "key.%d", i);
        EXPECT(hd_map_get(&m, hd_slice_str(other), &v));
        EXPECT_INT(v, i);
        snprintf(other, sizeof(other), "kex.%d", i);
        EXPECT(!hd_map_get(&m, hd_slice_str(other), &v));
    }
    hd_map_fini(&m);
}

static void map_reserves(void)
{
    hd_map m = {0};
    EXPECT(hd_map_reserve(&m, 1000));
    const hd_map_slot *slot = m.slot;
    static char names[1000][12];
    for (int i = 0; i < 1000; i++) {
        snprintf(names[i], sizeof(names[i]), "%d", i);
        hd_map_put(&m, hd_slice_str(names[i]), 0);
    }
    EXPECT(m.slot == slot);
    EXPECT(!hd_map_reserve(&m, UINT32_MAX));
    EXPECT_INT(m.count, 1000);
    hd_map_fini(&m);
    hd_u64map u = {0};
    EXPECT(hd_u64map_reserve(&u, 1000));
    const uint64_t *key = u.key;
    for (uint64_t i = 0; i < 1000; i++)
        hd_u64map_put(&u, i, i);
    EXPECT(u.key == key);
    EXPECT(!hd_u64map_reserve(&u, UINT32_MAX));
    hd_u64map_fini(&u);
}

static void map_out_of_memory(void)
{
    hd_map m = {0};
    hd_mem_fail_at(1, true);
    EXPECT_INT(hd_map_put(&m, hd_slice_str("a"), 1), HD_MAP_NOMEM);
    hd_mem_fail_at(0, false);
    static char names[9][2];
    for (int i = 0; i < 8; i++) {
        names[i][0] = (char)('a' + i);
        EXPECT_INT(hd_map_put(&m, hd_slice_str(names[i]), (uint32_t)i), HD_MAP_NEW);
    }
    EXPECT_INT(m.cap, 16);
    hd_mem_fail_at(1, true);
    EXPECT_INT(hd_map_put(&m, hd_slice_str("z"), 1), HD_MAP_NOMEM);
    // What is there needs no memory to be found again.
    EXPECT_INT(hd_map_put(&m, hd_slice_str("a"), 1), HD_MAP_EXISTS);
    hd_mem_fail_at(0, false);
    EXPECT_INT(m.count, 8);
    EXPECT(!hd_map_get(&m, hd_slice_str("z"), NULL));
    EXPECT_INT(hd_map_put(&m, hd_slice_str("z"), 1), HD_MAP_NEW);
    hd_map_fini(&m);
    hd_u64map u = {0};
    for (int nth = 1; nth <= 2; nth++) { // either of its two arrays
        hd_mem_fail_at(nth, false);
        EXPECT_INT(hd_u64map_put(&u, 1, 1), HD_MAP_NOMEM);
        hd_mem_fail_at(0, false);
        EXPECT(!hd_u64map_get(&u, 1, NULL));
    }
    EXPECT_INT(hd_u64map_put(&u, 1, 1), HD_MAP_NEW);
    hd_u64map_fini(&u);
}

static void u64map_many(void)
{
    hd_u64map m = {0};
    uint64_t v;
    EXPECT(!hd_u64map_get(&m, 0, &v));
    // Packed pairs: neighbours in the low and in the high half.
    for (uint64_t i = 0; i < 20000; i++) {
        EXPECT_INT(hd_u64map_put(&m, i << 32 | i % 7, i * 3), HD_MAP_NEW);
        EXPECT_INT(hd_u64map_put(&m, i << 32 | i % 7, 0), HD_MAP_EXISTS);
    }
    EXPECT_INT(m.count, 20000);
    for (uint64_t i = 0; i < 20000; i++) {
        EXPECT(hd_u64map_get(&m, i << 32 | i % 7, &v));
        EXPECT_INT(v, i * 3);
        EXPECT(!hd_u64map_get(&m, i << 32 | 7, &v));
    }
    EXPECT(!hd_u64map_get(&m, UINT64_MAX, &v)); // reserved, so never there
    hd_u64map_fini(&m);
}

// ---- random numbers ------------------------------------------------------------------------

// The first four: published outputs of the reference code for state 1, 2, 3, 4. Seeds: splitmix64
// and xoshiro256** computed by a second implementation in another language.
static void rng_vectors(void)
{
    hd_rng r = {{1, 2, 3, 4}};
    static const uint64_t first[] = {
        11520, 0, 1509978240, 1215971899390074240, 1216172134540287360, 607988272756665600};
    for (int i = 0; i < 6; i++)
        EXPECT(hd_rng_u64(&r) == first[i]);
    static const struct {
        uint64_t seed, s[4], out[4];
    } v[] = {
        {0,
         {0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC},
         {0x99EC5F36CB75F2B4, 0xBF6E1F784956452A, 0x1A5F849D4933E6E0, 0x6AA594F1262D2D2C}},
        {42,
         {0xBDD732262FEB6E95, 0x28EFE333B266F103, 0x47526757130F9F52, 0x581CE1FF0E4AE394},
         {0x15780B2E0C2EC716, 0x6104D9866D113A7E, 0xAE17533239E499A1, 0xECB8AD4703B360A1}},
        {UINT64_MAX,
         {0xE4D971771B652C20, 0xE99FF867DBF682C9, 0x382FF84CB27281E9, 0x6D1DB36CCBA982D2},
         {0x8F5520D52A7EAD08, 0xC476A018CAA1802D, 0x81DE31C0D260469E, 0xBF658D7E065F3C2F}},
    };
    for (int k = 0; k < 3; k++) {
        hd_rng_seed(&r, v[k].seed);
        for (int i = 0; i < 4; i++)
            EXPECT(r.s[i] == v[k].s[i]);
        for (int i = 0; i < 4; i++)
            EXPECT(hd_rng_u64(&r) == v[k].out[i]);
    }
}

static void rng_unit(void)
{
    hd_rng r, same;
    hd_rng_seed(&r, 42);
    same = r;
    EXPECT(hd_rng_unit(&r) == (double)(0x15780B2E0C2EC716 >> 11) / 9007199254740992.0);
    (void)hd_rng_u64(&same);
    EXPECT(memcmp(&r, &same, sizeof(r)) == 0); // one draw each
    double sum = 0, low = 1, high = 0;
    for (int i = 0; i < 100000; i++) {
        double u = hd_rng_unit(&r);
        EXPECT(u >= 0 && u < 1);
        sum += u;
        low = fmin(low, u);
        high = fmax(high, u);
    }
    EXPECT_NEAR(sum / 100000, 0.5, 0.005); // standard error 0.0009
    EXPECT(low < 0.001 && high > 0.999);
}

static void rng_below(void)
{
    hd_rng r;
    hd_rng_seed(&r, 1);
    for (int i = 0; i < 100; i++)
        EXPECT_INT(hd_rng_below(&r, 1), 0);
    int count[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint32_t x = hd_rng_below(&r, 6);
        EXPECT(x < 6);
        count[x]++;
    }
    for (int i = 0; i < 6; i++)
        EXPECT_NEAR(count[i], 10000, 600); // 6.6 standard deviations
    // 3 * 2^30: multiplying alone would give a third of the results twice the share of the others.
    int low = 0;
    for (int i = 0; i < 60000; i++) {
        uint32_t x = hd_rng_below(&r, 3u << 30);
        EXPECT(x < 3u << 30);
        low += x % 3 == 0;
    }
    EXPECT_NEAR(low, 20000, 700);
    EXPECT(hd_rng_below(&r, UINT32_MAX) < UINT32_MAX);
}

static void rng_normal(void)
{
    enum { N = 100000 };
    hd_rng r;
    hd_rng_seed(&r, 5);
    double sum = 0, square = 0, fourth = 0;
    int beyond2 = 0;
    for (int i = 0; i < N; i++) {
        double x = (double)hd_rng_normal(&r);
        EXPECT(isfinite(x));
        sum += x;
        square += x * x;
        fourth += x * x * x * x;
        beyond2 += fabs(x) > 2;
    }
    EXPECT_NEAR(sum / N, 0, 0.02);     // standard error 0.0032
    EXPECT_NEAR(square / N, 1, 0.03);  // 0.0045
    EXPECT_NEAR(fourth / N, 3, 0.2);   // 0.031
    EXPECT_NEAR(beyond2, 4550.0, 400); // 66
}

static void rng_entropy(void)
{
    uint64_t x[50];
    for (int i = 0; i < 50; i++) {
        x[i] = hd_rng_entropy();
        for (int j = 0; j < i; j++)
            EXPECT(x[i] != x[j]);
    }
}

// ---- clock ---------------------------------------------------------------------------------

static int64_t fake_now(void *ctx)
{
    return *(const int64_t *)ctx;
}

static void clock_reads(void)
{
    int64_t t = 5;
    const hd_clock fake = {fake_now, &t};
    EXPECT_INT(hd_now_ns(&fake), 5);
    t = 77;
    EXPECT_INT(hd_now_ns(&fake), 77);
    int64_t a = hd_now_ns(&hd_clock_real), b = hd_mono_ns(), c = hd_now_ns(&hd_clock_real);
    EXPECT(a <= b && b <= c);
    EXPECT(c - a < (int64_t)60 * 1000000000); // the same clock
    while (hd_mono_ns() == c)
        ; // it moves: the test's time limit ends this otherwise
    time_t before = time(NULL);
    int64_t wall = hd_wall_seconds();
    EXPECT(wall >= before && wall <= time(NULL));
}

static void clock_text(void)
{
    char text[32], back[32];
    time_t before = time(NULL);
    hd_wall_text(text);
    time_t after = time(NULL);
    EXPECT_INT(strlen(text), 24);
    EXPECT(text[10] == 'T' && text[19] == '.' && text[23] == 'Z');
    for (int i = 20; i < 23; i++)
        EXPECT(text[i] >= '0' && text[i] <= '9');
    struct tm d = {0};
    EXPECT(strptime(text, "%Y-%m-%dT%H:%M:%S", &d) != NULL);
    time_t t = timegm(&d);
    EXPECT(t >= before && t <= after);
    strftime(back, sizeof(back), "%Y-%m-%dT%H:%M:%S", &d);
    EXPECT(strncmp(text, back, 19) == 0);
}

// ---- log -----------------------------------------------------------------------------------

static struct {
    char text[8192];
    size_t n;
    int lines;
} got;

static void keep(void *ctx, hd_slice line)
{
    EXPECT(ctx == &got);
    EXPECT(line.n <= 4096);
    EXPECT(line.p[line.n - 1] == '\n');
    EXPECT(memchr(line.p, '\n', line.n) == line.p + line.n - 1);
    memcpy(got.text, line.p, line.n - 1);
    got.text[line.n - 1] = '\0';
    got.n = line.n;
    got.lines++;
}

// The line behind its time stamp, which is checked and left out.
static const char *after_ts(void)
{
    const char *lead = got.text[0] == '{' ? "{\"ts\":\"" : "ts=";
    EXPECT(strncmp(got.text, lead, strlen(lead)) == 0);
    const char *p = got.text + strlen(lead) + 24;
    EXPECT(p[-1] == 'Z');
    return p + (got.text[0] == '{' ? 2 : 1);
}

static void log_logfmt(void)
{
    hd_log_set_sink(keep, &got);
    HD_LOG(HD_LOG_INFO, "load", "ready");
    EXPECT_STR(after_ts(), "level=info area=load msg=ready");
    HD_LOG(HD_LOG_WARN, "load", "model ready", hd_f_str("path", "/m"), hd_f_f64("s", 1.534, 2),
           hd_f_int("n", INT64_MIN), hd_f_bool("yes", true), hd_f_bool("no", false));
    EXPECT_STR(after_ts(), "level=warn area=load msg=\"model ready\" path=/m s=1.53 "
                           "n=-9223372036854775808 yes=true no=false");
    HD_LOG(HD_LOG_ERROR, "a", "", hd_f_str("null", NULL), hd_f_str("q", "say \"hi\""),
           hd_f_str("e", "a=b"), hd_f_str("b", "c:\\d"), hd_f_str("bq", "c:\\d e"),
           hd_f_str("nl", "1\n2\t3\r"), hd_f_slice("nul", hd_slice_of("x\0y", 3)),
           hd_f_str("esc", "\x1B[31m"), hd_f_str("c1", "\xC2\x9B"), hd_f_str("del", "\x7F"));
    EXPECT_STR(after_ts(), "level=error area=a msg=\"\" null=\"\" q=\"say \\\"hi\\\"\" e=\"a=b\" "
                           "b=c:\\d bq=\"c:\\\\d e\" nl=\"1\\n2\\t3\\r\" nul=\"x\\u0000y\" "
                           "esc=\"\\u001b[31m\" c1=\"\\u009b\" del=\"\\u007f\"");
    HD_LOG(HD_LOG_INFO, "a", "m", hd_f_str("u", "h\xC3\xA9"), hd_f_str("bad", "a\xFFz"),
           hd_f_str("cut", "a\xE2\x82"), hd_f_f64("nan", NAN, 1), hd_f_f64("inf", -INFINITY, 1),
           hd_f_f64("big", 1e300, 3), hd_f_f64("w", 2.5, 0), hd_f_f64("neg", -0.125, 3));
    EXPECT_STR(after_ts(), "level=info area=a msg=m u=h\xC3\xA9 bad=a\xEF\xBF\xBDz "
                           "cut=a\xEF\xBF\xBD nan=nan inf=-inf "
                           "big=1.0000000000000001e+300 w=2 neg=-0.125");
    EXPECT_INT(got.lines, 4);
}

static void log_json(void)
{
    hd_log_set_sink(keep, &got);
    hd_log_set_format(HD_LOG_JSON);
    HD_LOG(HD_LOG_INFO, "load", "model \"x\"\n", hd_f_str("path", "/m\\n"), hd_f_f64("s", 1.5, 2),
           hd_f_int("n", -3), hd_f_bool("ok", true), hd_f_f64("nan", NAN, 1), hd_f_str("z", NULL),
           hd_f_str("bad", "\xFF"), hd_f_str("ctl", "\x01"));
    EXPECT_STR(after_ts(),
               "\"level\":\"info\",\"area\":\"load\",\"msg\":\"model \\\"x\\\"\\n\","
               "\"path\":\"/m\\\\n\",\"s\":1.50,\"n\":-3,\"ok\":true,\"nan\":null,\"z\":\"\","
               "\"bad\":\"\xEF\xBF\xBD\",\"ctl\":\"\\u0001\"}");
}

static void log_levels(void)
{
    hd_log_set_sink(keep, &got);
    HD_LOG(HD_LOG_DEBUG, "a", "hidden");
    hd_log_write(HD_LOG_DEBUG, "a", "hidden", NULL, 0);
    EXPECT_INT(got.lines, 0);
    EXPECT(!hd_log_enabled(HD_LOG_DEBUG) && hd_log_enabled(HD_LOG_INFO));
    hd_log_set_level(HD_LOG_DEBUG);
    HD_LOG(HD_LOG_DEBUG, "a", "shown");
    EXPECT_STR(after_ts(), "level=debug area=a msg=shown");
    hd_log_set_level(HD_LOG_ERROR);
    HD_LOG(HD_LOG_WARN, "a", "hidden");
    EXPECT_INT(got.lines, 1);
    hd_log_set_level(HD_LOG_OFF);
    HD_LOG(HD_LOG_ERROR, "a", "hidden");
    EXPECT(!hd_log_enabled(HD_LOG_ERROR) && !hd_log_enabled(HD_LOG_OFF));
    EXPECT_INT(got.lines, 1);
}

// Values of every length around the limit, plain and made of escapes and of wide characters.
static void log_is_bounded(void)
{
    static char text[5000];
    static const char *const units[] = {"a", "\"", "\xE2\x82\xAC", "\x01"};
    hd_log_set_sink(keep, &got);
    for (int json = 0; json < 2; json++) {
        hd_log_set_format(json ? HD_LOG_JSON : HD_LOG_LOGFMT);
        for (int u = 0; u < 4; u++) {
            size_t wide = strlen(units[u]), longest = 0;
            bool was_cut = false;
            for (size_t n = 1; n < 4200 / wide; n += n < 600 ? 97 : 1) {
                for (size_t i = 0; i < n; i++)
                    memcpy(text + i * wide, units[u], wide);
                text[n * wide] = '\0';
                HD_LOG(HD_LOG_INFO, "a", "m", hd_f_str("v", text), hd_f_str("w", "last"));
                if (got.n > longest) longest = got.n;
                bool cut = strstr(got.text, "...") != NULL;
                EXPECT(cut || strstr(got.text, "last") != NULL || got.n > 4000);
                EXPECT(!cut || strstr(got.text, "last") == NULL);
                const char *tail = strstr(got.text, "...");
                bool quoted = json || (u != 0 && u != 2);
                if (tail) EXPECT_STR(tail, json ? "...\"}" : quoted ? "...\"" : "...");
                if (json) EXPECT(got.text[got.n - 2] == '}');
                was_cut = was_cut || cut;
            }
            EXPECT(was_cut);
            EXPECT(longest > 4080);
        }
    }
    // More fields than fit: whole ones stay, the others go.
    hd_log_field many[200];
    for (int i = 0; i < 200; i++)
        many[i] = hd_f_int("a_rather_long_key_name", i);
    hd_log_write(HD_LOG_INFO, "a", "m", many, 200);
    EXPECT(got.n > 3900);
    EXPECT_STR(got.text + got.n - 2, "}");
}

static void log_keeps_errno_and_heap(void)
{
    hd_log_set_sink(keep, &got);
    uint64_t before = hd_mem_thread_allocs();
    errno = ENOENT;
    HD_LOG(HD_LOG_INFO, "a", "m", hd_f_f64("x", 1, 3));
    EXPECT_INT(errno, ENOENT);
    EXPECT(hd_mem_thread_allocs() == before);
}

static void to_stderr(void)
{
    hd_log_set_sink(keep, &got);
    hd_log_set_sink(NULL, NULL);
    HD_LOG(HD_LOG_INFO, "a", "first");
    HD_LOG(HD_LOG_INFO, "a", "second");
}

static void log_default_sink(void)
{
    char text[1024];
    int status = in_child(to_stderr, text, sizeof(text));
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    EXPECT_CONTAINS(text, " level=info area=a msg=first\nts=");
    EXPECT_CONTAINS(text, " level=info area=a msg=second\n");
}

enum { LOGGERS = 4, LINES_EACH = 500 };

static void *log_much(void *arg)
{
    char filler[600];
    int id = *(const int *)arg;
    memset(filler, 'a' + id, sizeof(filler) - 1);
    filler[sizeof(filler) - 1] = '\0';
    for (int i = 0; i < LINES_EACH; i++)
        HD_LOG(HD_LOG_INFO, "a", "m", hd_f_str("v", filler));
    return NULL;
}

static void loggers_run(void)
{
    pthread_t t[LOGGERS];
    static int id[LOGGERS];
    for (int i = 0; i < LOGGERS; i++) {
        id[i] = i;
        EXPECT(pthread_create(&t[i], NULL, log_much, &id[i]) == 0);
    }
    for (int i = 0; i < LOGGERS; i++)
        pthread_join(t[i], NULL);
}

static void log_does_not_interleave(void)
{
    static char text[4 << 20];
    int status = in_child(loggers_run, text, sizeof(text));
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    int lines = 0;
    for (char *save, *row = strtok_r(text, "\n", &save); row; row = strtok_r(NULL, "\n", &save)) {
        const char *v = strstr(row, " v=");
        EXPECT(v != NULL);
        EXPECT_INT(strlen(v + 3), 599);
        EXPECT_INT(strspn(v + 3, (char[]){v[3], '\0'}), 599);
        lines++;
    }
    EXPECT_INT(lines, LOGGERS * LINES_EACH);
}

HD_TEST_MAIN("base_small", {"status_names", status_names}, {"fail_writes", fail_writes},
             {"fail_cuts", fail_cuts}, {"prefix", prefix}, {"macros", macros}, {"panic", panic},
             {"slices", slices}, {"buf_appends", buf_appends}, {"buf_reserves", buf_reserves},
             {"buf_remembers_failure", buf_remembers_failure}, {"hash_vectors", hash_vectors},
             {"hash_avalanche", hash_avalanche}, {"map_basics", map_basics}, {"map_many", map_many},
             {"map_reserves", map_reserves}, {"map_out_of_memory", map_out_of_memory},
             {"u64map_many", u64map_many}, {"rng_vectors", rng_vectors}, {"rng_unit", rng_unit},
             {"rng_below", rng_below}, {"rng_normal", rng_normal}, {"rng_entropy", rng_entropy},
             {"clock_reads", clock_reads}, {"clock_text", clock_text}, {"log_logfmt", log_logfmt},
             {"log_json", log_json}, {"log_levels", log_levels}, {"log_is_bounded", log_is_bounded},
             {"log_keeps_errno_and_heap", log_keeps_errno_and_heap},
             {"log_default_sink", log_default_sink},
             {"log_does_not_interleave", log_does_not_interleave}, )
