// A test is a function in one list; each runs in its own process under a time limit, so a crash or
// a hang is one failure. The runner ends with "N passed, N failed, N skipped".
//
//   static void adds(void) { EXPECT_INT(1 + 1, 2); }
//   HD_TEST_MAIN("sum", {"adds", adds})
//
// The first failed expectation ends its test. Arguments name the tests to run; --list lists them,
// --no-fork runs in place (for debuggers).
#ifndef HADAL_TESTS_HARNESS_TEST_H
#define HADAL_TESTS_HARNESS_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct hd_test {
    const char *name;
    void (*fn)(void);
} hd_test;

int hd_test_run(int argc, char **argv, const char *suite, const hd_test *tests, int n);

void hd_test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));
void hd_test_skip(const char *why) __attribute__((noreturn));

// Path of a file under ../shared/data, or skips the test with a message when it is absent.
// The returned text lives until the test ends.
const char *hd_test_shared(const char *relative);
// A fresh folder for this test, removed by the runner afterwards.
const char *hd_test_tmpdir(void);

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) hd_test_fail(__FILE__, __LINE__, "expected %s", #cond);                       \
    } while (0)
#define EXPECT_INT(got, want)                                                                      \
    do {                                                                                           \
        long long hd_g_ = (long long)(got), hd_w_ = (long long)(want);                             \
        if (hd_g_ != hd_w_)                                                                        \
            hd_test_fail(__FILE__, __LINE__, "%s: got %lld, want %lld", #got, hd_g_, hd_w_);       \
    } while (0)
#define EXPECT_STR(got, want)                                                                      \
    do {                                                                                           \
        const char *hd_g_ = (got), *hd_w_ = (want);                                                \
        if (!hd_g_ || strcmp(hd_g_, hd_w_) != 0)                                                   \
            hd_test_fail(__FILE__, __LINE__, "%s: got \"%s\", want \"%s\"", #got,                  \
                         hd_g_ ? hd_g_ : "(null)", hd_w_);                                         \
    } while (0)
#define EXPECT_CONTAINS(got, part)                                                                 \
    do {                                                                                           \
        const char *hd_g_ = (got), *hd_p_ = (part);                                                \
        if (!hd_g_ || !strstr(hd_g_, hd_p_))                                                       \
            hd_test_fail(__FILE__, __LINE__, "%s: \"%s\" lacks \"%s\"", #got,                      \
                         hd_g_ ? hd_g_ : "(null)", hd_p_);                                         \
    } while (0)
#define EXPECT_NEAR(got, want, tol)                                                                \
    do {                                                                                           \
        double hd_g_ = (got), hd_w_ = (want), hd_t_ = (tol);                                       \
        if (!(hd_g_ - hd_w_ <= hd_t_ && hd_w_ - hd_g_ <= hd_t_))                                   \
            hd_test_fail(__FILE__, __LINE__, "%s: got %.9g, want %.9g +- %.3g", #got, hd_g_,       \
                         hd_w_, hd_t_);                                                            \
    } while (0)

#define HD_TEST_MAIN(suite, ...)                                                                   \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static const hd_test hd_tests_[] = {__VA_ARGS__};                                          \
        return hd_test_run(argc, argv, suite, hd_tests_,                                           \
                           (int)(sizeof(hd_tests_) / sizeof(hd_tests_[0])));                       \
    }

#endif
