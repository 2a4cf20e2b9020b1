// What a decode step may ask of the system: nothing but to wait. From the middle of an answer on,
// the kernel itself refuses every other call of every thread, and the answer must go on.
#include "tests/unit/engine_kit.h"

#include <dirent.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GOOD, BROKEN, NO_FILTERS }; // exit codes of the child

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 }; // their runtimes call what they like
#else
enum { SANITIZED = 0 };
#endif

// A thread that has slept once has long started, which takes calls of its own.
static bool all_have_slept(void)
{
    DIR *tasks = opendir("/proc/self/task");
    bool all = tasks != NULL;
    for (const struct dirent *t; all && (t = readdir(tasks)) != NULL;) {
        char path[300], line[128];
        long slept = 0;
        if (t->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", t->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof(line), f))
            if (sscanf(line, "voluntary_ctxt_switches: %ld", &slept) == 1) break;
        if (f) fclose(f);
        all = slept > 0;
    }
    if (tasks) closedir(tasks);
    return all;
}

#define ALLOW(nr)                                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

// For all threads. sched_yield is how a worker waits on a busy machine before it sleeps in futex;
// exit_group is for the end of the test. Anything else ends the process with SIGSYS (`strace -f`
// names the call).
static bool refuse_all_but_waiting(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(SYS_futex),
        ALLOW(SYS_sched_yield),
        ALLOW(SYS_exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

static int32_t read_until(hd_stream *s, int32_t have, int32_t n)
{
    static hd_event ev;
    while (have < n) {
        if (hd_stream_next(s, &ev, -1) != HD_EV_TOKENS) return -1;
        have += ev.n;
    }
    return have;
}

static int child(hd_engine_cfg c, bool guesses)
{
    const hd_logit_bias words[] = {{5, 1000}, {6, 1000}, {7, 1000}};
    int32_t p[40];
    c.threads = 2;
    if (!guesses) c.speculate = 0;
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 40, 3, 460);
    rq.bias = words;
    rq.n_bias = guesses ? 3 : 0;
    hd_stream *s = kit_submit(e, &rq);
    int32_t n = read_until(s, 0, 20);
    if (n < 0) return BROKEN;
    while (!all_have_slept())
        usleep(1000);
    if (!refuse_all_but_waiting()) return NO_FILTERS;
    return read_until(s, n, 380) < 0 ? BROKEN : GOOD;
}

static void nothing_but_waiting(void)
{
    if (SANITIZED) hd_test_skip("the sanitizer's own calls cannot be told apart");
    const hd_engine_cfg c = kit_cfg();
    for (int guesses = 0; guesses < 2; guesses++) {
        int status = -1;
        const pid_t pid = fork();
        if (pid == 0) _exit(child(c, guesses));
        EXPECT(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status)) EXPECT_INT(WTERMSIG(status), 0);
        if (WEXITSTATUS(status) == NO_FILTERS) hd_test_skip("seccomp filters are not allowed here");
        EXPECT_INT(WEXITSTATUS(status), GOOD);
    }
}

HD_TEST_MAIN("engine_quiet", {"nothing_but_waiting", nothing_but_waiting})
