// Stop strings: every way of cutting a text gives the same answer, and that is the one a search in
// the whole text gives.
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "server/stop.h"
#include "tests/harness/test.h"

#include <stdio.h>

enum { MAX_WORDS = 4, MAX_TEXT = 64 };

// The plain search: the word that ends first; of those the one that began first. Returns where the
// visible text ends.
static size_t plain(const char *text, size_t n, const char *const *word, size_t n_words, bool keep,
                    int *hit)
{
    for (size_t end = 1; end <= n; end++) {
        size_t best = 0;
        for (size_t i = 0; i < n_words; i++) {
            size_t k = strlen(word[i]);
            if (k > best && k <= end && memcmp(text + end - k, word[i], k) == 0) {
                best = k;
                *hit = (int)i;
            }
        }
        if (best) return keep ? end : end - best;
    }
    *hit = -1;
    return n;
}

// Pushes text in the pieces that the bits of cuts choose (bit i: a cut behind byte i).
static void streamed(const char *text, size_t n, const hd_slice *words, size_t n_words, bool keep,
                     uint64_t cuts, hd_buf *out, int *hit)
{
    hd_stop s;
    EXPECT(hd_stop_init(&s, words, n_words, keep));
    bool done = false;
    for (size_t from = 0, i = 0; i < n && !done; i++) {
        if (i + 1 < n && !(cuts >> i & 1)) continue;
        done = hd_stop_push(&s, hd_slice_of(text + from, i + 1 - from), out);
        EXPECT_INT(done, s.hit >= 0);
        from = i + 1;
    }
    hd_stop_flush(&s, out);
    *hit = s.hit;
    hd_stop_fini(&s);
}

static void check(const char *text, size_t n, const char *const *word, size_t n_words, bool keep,
                  uint64_t cuts)
{
    hd_slice words[MAX_WORDS];
    hd_buf out = {0};
    int want_hit, hit;
    for (size_t i = 0; i < n_words; i++)
        words[i] = hd_slice_str(word[i]);
    size_t want = plain(text, n, word, n_words, keep, &want_hit);
    streamed(text, n, words, n_words, keep, cuts, &out, &hit);
    if (hit != want_hit || !hd_slice_eq(hd_buf_slice(&out), hd_slice_of(text, want)))
        hd_test_fail(__FILE__, __LINE__,
                     "text \"%.*s\" cuts %llx: got \"%s\" hit %d, want %d bytes hit %d", (int)n,
                     text, (unsigned long long)cuts, out.data ? out.data : "", hit, (int)want,
                     want_hit);
    hd_buf_fini(&out);
}

static void every_split(void)
{
    static const struct {
        const char *text, *word[MAX_WORDS];
    } c[] = {
        {"hello stop end", {"stop"}},
        {"aaaaaaaab", {"aab"}},
        {"abababac", {"ababac"}},
        {"nothing", {"zzz"}},
        {"sto", {"stop"}},
        {"xstopstop", {"stop"}},
        {"abcdx", {"bcd", "abcd"}},
        {"abcx", {"abcd", "bc"}},
        {"a\xc3\xa9\xc3\xa9z", {"\xc3\xa9z"}},
        {"\n\nUser:", {"\nUser:", "\n\nUser"}},
        {"", {"a"}},
        {"a", {"a"}},
        {"ab", {"b", "ab", "a"}},
        {"aabaabaaab", {"aabaaab", "abaaa"}},
    };
    for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
        size_t n = strlen(c[i].text), words = 0;
        while (words < MAX_WORDS && c[i].word[words])
            words++;
        uint64_t all = n > 1 ? UINT64_C(1) << (n - 1) : 1;
        for (uint64_t cuts = 0; cuts < all; cuts++)
            for (int keep = 0; keep < 2; keep++)
                check(c[i].text, n, c[i].word, words, keep, cuts);
    }
}

// Random texts over two letters, where overlaps are the rule.
static void random_texts(void)
{
    hd_rng r;
    hd_rng_seed(&r, 20260101);
    for (int round = 0; round < 20000; round++) {
        char text[MAX_TEXT + 1], word[MAX_WORDS][8];
        const char *list[MAX_WORDS];
        size_t n = hd_rng_below(&r, MAX_TEXT), n_words = 1 + hd_rng_below(&r, MAX_WORDS);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + hd_rng_below(&r, 2));
        for (size_t i = 0; i < n_words; i++) {
            size_t k = 1 + hd_rng_below(&r, 7);
            for (size_t j = 0; j < k; j++)
                word[i][j] = (char)('a' + hd_rng_below(&r, 2));
            word[i][k] = 0;
            list[i] = word[i];
        }
        check(text, n, list, n_words, round & 1, hd_rng_u64(&r));
    }
}

static void held_back_as_little_as_possible(void)
{
    hd_slice word = hd_slice_str("stop");
    hd_stop s;
    hd_buf out = {0};
    EXPECT(hd_stop_init(&s, &word, 1, false));
    EXPECT(!hd_stop_push(&s, hd_slice_str("as st"), &out));
    EXPECT_STR(out.data, "as ");
    EXPECT(!hd_stop_push(&s, hd_slice_str("r"), &out));
    EXPECT_STR(out.data, "as str");
    EXPECT(!hd_stop_push(&s, hd_slice_str(" sto"), &out));
    EXPECT_STR(out.data, "as str ");
    EXPECT(hd_stop_push(&s, hd_slice_str("p it"), &out));
    EXPECT_STR(out.data, "as str ");
    EXPECT(hd_stop_push(&s, hd_slice_str("more"), &out));
    hd_stop_flush(&s, &out);
    EXPECT_STR(out.data, "as str ");
    hd_stop_fini(&s);
    hd_buf_clear(&out);
    EXPECT(hd_stop_init(&s, &word, 1, true)); // kept words hold nothing back
    EXPECT(!hd_stop_push(&s, hd_slice_str("as sto"), &out));
    EXPECT_STR(out.data, "as sto");
    EXPECT(hd_stop_push(&s, hd_slice_str("p it"), &out));
    EXPECT_STR(out.data, "as stop");
    hd_stop_fini(&s);
    hd_buf_fini(&out);
}

static void memory_runs_out(void)
{
    hd_slice words[2] = {hd_slice_str("alpha"), hd_slice_str("beta")};
    hd_stop s;
    for (int64_t nth = 1; nth < 10; nth++) {
        hd_buf out = {0};
        hd_mem_fail_at(nth, false);
        bool ok = hd_stop_init(&s, words, 2, false);
        if (ok) hd_stop_push(&s, hd_slice_str("an alphabet"), &out);
        hd_mem_fail_at(0, false);
        if (nth > 7) EXPECT(ok && !out.failed && s.hit == 0);
        hd_stop_fini(&s);
        hd_buf_fini(&out);
    }
}

HD_TEST_MAIN("gen_stop", {"every_split", every_split}, {"random_texts", random_texts},
             {"held_back_as_little_as_possible", held_back_as_little_as_possible},
             {"memory_runs_out", memory_runs_out})
