// UTF-8 against an oracle that works on code point ranges instead of the byte table.
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"
#include "tests/harness/test.h"

#include <sys/mman.h>
#include <unistd.h>

#define FFFD "\xEF\xBF\xBD"

// Every kind of error next to every kind of sequence.
static const char torture[] =
    "a\xC2\xA2\xE2\x82\xAC\xF0\x9F\x98\x80"                  // 1, 2, 3 and 4 bytes
    "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"                       // overlong
    "\xED\xA0\x80\xED\xBF\xBF\xEE\x80\x80"                   // surrogates, then U+E000
    "\xF4\x8F\xBF\xBF\xF4\x90\x80\x80\xF5\xFF"               // the last one, and beyond
    "\x80\xBF\xE1\x80\xE2\xF0\x91\x92\xF1\xBFz\xE2\x82\xC3"; // strays and truncations

// Is p[0..k) the beginning (or all) of the encoding of some scalar value?
static bool is_prefix(const unsigned char *p, size_t k)
{
    size_t len = p[0] < 0x80       ? 1
                 : p[0] >> 5 == 6  ? 2
                 : p[0] >> 4 == 14 ? 3
                 : p[0] >> 3 == 30 ? 4
                                   : 0;
    if (len == 0 || k > len) return false;
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint32_t most[5] = {0, 0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    uint32_t low = len == 1 ? p[0] : p[0] & ((1u << (7 - len)) - 1), high = low;
    for (size_t i = 1; i < len; i++) {
        if (i < k && p[i] >> 6 != 2) return false;
        low = low << 6 | (i < k ? p[i] & 0x3Fu : 0);
        high = high << 6 | (i < k ? p[i] & 0x3Fu : 0x3F);
    }
    if (low < least[len]) low = least[len];
    if (high > most[len]) high = most[len];
    if (low > high) return false;
    return !(low >= 0xD800 && high <= 0xDFFF);
}

// What hd_utf8_decode must answer.
static int oracle(const unsigned char *p, size_t n)
{
    size_t k = 0;
    while (k < n && is_prefix(p, k + 1))
        k++;
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (k == len) return (int)len;
    if (k == n) return 0;
    return k == 0 ? -1 : -(int)k;
}

static void check_decode(const unsigned char *p, size_t n)
{
    uint32_t cp;
    int got = hd_utf8_decode((const char *)p, n, &cp), want = oracle(p, n);
    if (got != want)
        hd_test_fail(__FILE__, __LINE__, "%02x %02x %02x %02x (%zu bytes): got %d, want %d", p[0],
                     p[1], p[2], p[3], n, got, want);
}

static void decodes_every_scalar(void)
{
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        char text[4];
        uint32_t back = 0xFFFFFFFF;
        int len = hd_utf8_encode(cp, text);
        EXPECT_INT(len, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
        EXPECT_INT(hd_utf8_decode(text, (size_t)len, &back), len);
        EXPECT_INT(back, cp);
        for (int k = 1; k < len; k++)
            EXPECT_INT(hd_utf8_decode(text, (size_t)k, &back), 0);
    }
    char text[4];
    EXPECT(hd_utf8_encode(0x20AC, text) == 3 && memcmp(text, "\xE2\x82\xAC", 3) == 0);
    EXPECT(hd_utf8_encode(0x1F600, text) == 4 && memcmp(text, "\xF0\x9F\x98\x80", 4) == 0);
}

static void finds_maximal_subparts(void)
{
    unsigned char p[4] = {0};
    for (uint32_t i = 0; i < 1u << 24; i++) {
        p[0] = (unsigned char)(i >> 16);
        p[1] = (unsigned char)(i >> 8);
        p[2] = (unsigned char)i;
        check_decode(p, 3);
        if (p[2] == 0) check_decode(p, 2);
        if (p[2] == 0 && p[1] == 0) check_decode(p, 1);
    }
    static const unsigned char edge[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF,
                                         0xC0, 0xC2, 0xDF, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xFF};
    for (uint32_t lead = 0xF0; lead <= 0xFF; lead++)
        for (uint32_t i = 0; i < 1u << 16; i++)
            for (size_t e = 0; e < sizeof(edge); e++) {
                p[0] = (unsigned char)lead;
                p[1] = (unsigned char)(i >> 8);
                p[2] = (unsigned char)i;
                p[3] = edge[e];
                check_decode(p, 4);
            }
}

static void expect_lossy(const char *text, size_t n, const char *want)
{
    hd_buf out = {0};
    hd_utf8_append_lossy(&out, hd_slice_of(text, n));
    EXPECT_STR(hd_buf_slice(&out).p, want);
    hd_buf_fini(&out);
}

// The examples of the Unicode Standard, tables 3-8 to 3-11.
static void repairs_as_unicode_recommends(void)
{
    expect_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", 9,
                 FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A");
    expect_lossy("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", 9,
                 FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A");
    expect_lossy("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", 9,
                 FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B");
    expect_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", 9, FFFD FFFD FFFD FFFD "A");
    expect_lossy("ab\xF0\x9F\x98", 5, "ab" FFFD);
    expect_lossy("", 0, "");
    expect_lossy("plain ASCII that is longer than a word", 38,
                 "plain ASCII that is longer than a word");
}

static void names_the_first_bad_byte(void)
{
    EXPECT_INT(hd_utf8_valid("", 0), 0);
    EXPECT_INT(hd_utf8_valid(torture, 10), 10);
    EXPECT_INT(hd_utf8_valid(torture, sizeof(torture) - 1), 10);
    EXPECT_INT(hd_utf8_valid(torture, 9), 6); // the cut sequence begins at 6
    EXPECT(hd_utf8_is_valid(hd_slice_str("\xE2\x82\xAC")));
    EXPECT(!hd_utf8_is_valid(hd_slice_str("\xE2\x82")));
    // An error at every offset, so that every exit of the fast path is taken.
    char text[64];
    for (size_t bad = 0; bad < sizeof(text); bad++) {
        memset(text, 'x', sizeof(text));
        text[bad] = '\xFF';
        EXPECT_INT(hd_utf8_valid(text, sizeof(text)), bad);
    }
}

// Feeds text in pieces that end at the given offsets; the result must equal want.
static void expect_stream(hd_slice text, const size_t *cut, int n_cuts, hd_slice want)
{
    hd_utf8_stream s = {0};
    hd_buf out = {0};
    size_t from = 0;
    for (int i = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cut[i] : text.n;
        hd_utf8_push(&s, &out, hd_slice_of(text.p + from, to - from));
        EXPECT(s.n_held >= 0 && s.n_held <= 3);
        // Nothing decided is kept back: what is held is a proper prefix.
        uint32_t cp;
        if (s.n_held > 0) EXPECT_INT(hd_utf8_decode(s.held, (size_t)s.n_held, &cp), 0);
        from = to;
    }
    hd_utf8_flush(&s, &out);
    EXPECT_INT(s.n_held, 0);
    if (!hd_slice_eq(hd_buf_slice(&out), want))
        hd_test_fail(__FILE__, __LINE__, "cut at %zu, %zu: \"%s\" differs from \"%s\"", cut[0],
                     n_cuts > 1 ? cut[1] : 0, hd_buf_slice(&out).p, want.p);
    hd_buf_fini(&out);
}

static void streams_like_the_whole(void)
{
    size_t cut[sizeof(torture)];
    for (size_t n = 0; n < sizeof(torture); n++) {
        hd_slice text = {torture, n};
        hd_buf whole = {0};
        hd_utf8_append_lossy(&whole, text);
        for (cut[0] = 0; cut[0] <= n; cut[0]++)
            for (cut[1] = cut[0]; cut[1] <= n; cut[1]++)
                expect_stream(text, cut, 2, hd_buf_slice(&whole));
        for (size_t step = 1; step <= 3; step++) {
            int k = 0;
            for (size_t at = step; at < n; at += step)
                cut[k++] = at;
            expect_stream(text, cut, k, hd_buf_slice(&whole));
        }
        hd_buf_fini(&whole);
    }
}

static void reads_nothing_behind_the_end(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(base != MAP_FAILED && mprotect(base + page, page, PROT_NONE) == 0);
    for (size_t n = 0; n < sizeof(torture); n++) {
        char *text = base + page - n;
        memcpy(text, torture, n);
        hd_buf out = {0};
        hd_utf8_stream s = {0};
        size_t valid = hd_utf8_valid(text, n);
        EXPECT(valid <= n);
        hd_utf8_append_lossy(&out, hd_slice_of(text, n));
        hd_utf8_push(&s, &out, hd_slice_of(text, n));
        hd_utf8_flush(&s, &out);
        hd_buf_fini(&out);
    }
    munmap(base, 2 * page);
}

static void remembers_failed_memory(void)
{
    hd_buf out = {0};
    hd_mem_fail_at(1, false);
    hd_utf8_append_lossy(&out, hd_slice_str("a\xFF"));
    hd_mem_fail_at(0, false);
    EXPECT(out.failed);
    hd_buf_fini(&out);
}

HD_TEST_MAIN("utf8", {"decodes_every_scalar", decodes_every_scalar},
             {"finds_maximal_subparts", finds_maximal_subparts},
             {"repairs_as_unicode_recommends", repairs_as_unicode_recommends},
             {"names_the_first_bad_byte", names_the_first_bad_byte},
             {"streams_like_the_whole", streams_like_the_whole},
             {"reads_nothing_behind_the_end", reads_nothing_behind_the_end},
             {"remembers_failed_memory", remembers_failed_memory})
