// The test runner: forks each test, enforces its time limit, counts.
#include "tests/harness/test.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_FAILED = 1, EXIT_SKIPPED = 77, LIMIT_SECONDS = 120 };

static char tmpdir[64];

void hd_test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "    %s:%d: ", file, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    fflush(NULL);
    _exit(EXIT_FAILED);
}

void hd_test_skip(const char *why)
{
    fprintf(stderr, "    skipped: %s\n", why);
    fflush(NULL);
    _exit(EXIT_SKIPPED);
}

const char *hd_test_shared(const char *relative)
{
    static char path[8][512];
    static int next;
    char *p = path[next++ % 8];
    const char *root = getenv("HD_SHARED");
    snprintf(p, sizeof(path[0]), "%s/data/%s", root ? root : "../shared", relative);
    if (access(p, R_OK) != 0) {
        char why[600];
        snprintf(why, sizeof(why), "%s is not here", p);
        hd_test_skip(why);
    }
    return p;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

const char *hd_test_tmpdir(void)
{
    if (mkdir(tmpdir, 0700) != 0 && errno != EEXIST)
        hd_test_fail(__FILE__, __LINE__, "mkdir %s: %s", tmpdir, strerror(errno));
    return tmpdir;
}

// Waits for pid up to the limit; returns its wait status, with the child killed when it hung.
static int wait_limited(pid_t pid, bool *hung)
{
    int status = 0;
    *hung = false;
    for (int ms = 0; ms < LIMIT_SECONDS * 1000;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid) return status;
        int nap = ms < 50 ? 1 : 10;
        nanosleep(&(struct timespec){.tv_nsec = nap * 1000000L}, NULL);
        ms += nap;
    }
    *hung = true;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return status;
}

static int run_one(const char *suite, const hd_test *t)
{
    fflush(NULL);
    snprintf(tmpdir, sizeof(tmpdir), "/tmp/hadal-test-%d", (int)getpid());
    pid_t pid = fork();
    if (pid == 0) {
        t->fn();
        fflush(NULL);
        exit(0);
    }
    bool hung;
    int status = wait_limited(pid, &hung);
    nftw(tmpdir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (!hung && WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    if (!hung && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) return EXIT_SKIPPED;
    if (hung)
        printf("FAILED %s.%s: no end within %d s\n", suite, t->name, LIMIT_SECONDS);
    else if (WIFSIGNALED(status))
        printf("FAILED %s.%s: signal %d\n", suite, t->name, WTERMSIG(status));
    else
        printf("FAILED %s.%s\n", suite, t->name);
    return EXIT_FAILED;
}

static bool wanted(int argc, char **argv, const char *name)
{
    bool any = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-') continue;
        any = true;
        if (strcmp(argv[i], name) == 0) return true;
    }
    return !any;
}

int hd_test_run(int argc, char **argv, const char *suite, const hd_test *tests, int n)
{
    int passed = 0, failed = 0, skipped = 0;
    bool in_place = argc > 1 && strcmp(argv[1], "--no-fork") == 0;
    for (int i = 0; i < n; i++) {
        if (argc > 1 && strcmp(argv[1], "--list") == 0) {
            puts(tests[i].name);
            continue;
        }
        if (!wanted(argc, argv, tests[i].name)) continue;
        if (in_place) {
            tests[i].fn();
            passed++;
            continue;
        }
        int r = run_one(suite, &tests[i]);
        passed += r == 0;
        skipped += r == EXIT_SKIPPED;
        failed += r == EXIT_FAILED;
    }
    printf("%s: %d passed, %d failed, %d skipped\n", suite, passed, failed, skipped);
    return failed ? 1 : passed == 0 && skipped > 0 ? EXIT_SKIPPED : 0;
}
