// The worker pool: every task once, nothing lost, nobody spins for ever.
#include "kernels/base/mem.h"
#include "kernels/base/pool.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WITH_SANITIZER 1
#endif
#endif
#if (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)) && !defined(WITH_SANITIZER)
#define WITH_SANITIZER 1
#endif

enum { MAX_TASKS = 1000 };

// ---- what the system says about our threads ------------------------------------------------

static char thread_state(long tid)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
    FILE *f = fopen(path, "r");
    if (!f) return '?';
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    return p && p[1] ? p[2] : '?';
}

// Threads of this process whose name begins so; with state, only those in it.
static int count_threads(const char *prefix, char state)
{
    DIR *dir = opendir("/proc/self/task");
    EXPECT(dir != NULL);
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[300], name[32] = "";
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f) continue;
        bool ok = fgets(name, sizeof(name), f) && strncmp(name, prefix, strlen(prefix)) == 0;
        fclose(f);
        if (ok && (!state || thread_state(atol(e->d_name)) == state)) n++;
    }
    closedir(dir);
    return n;
}

// A joined thread leaves the list a moment later.
static void await_threads(int n)
{
    while (count_threads("hadal-pool-", 0) != n)
        sched_yield();
}

static void await_sleepers(int n)
{
    while (count_threads("hadal-pool-", 'S') != n)
        sched_yield();
}

// ---- counting tasks ------------------------------------------------------------------------

// Plain memory, so that ThreadSanitizer sees a task run twice or too late.
typedef struct job {
    uint32_t run;
    int n_tasks, n_threads;
    uint32_t slot[MAX_TASKS + 1];
} job;

static void mark(void *ctx, int task, int worker)
{
    job *j = ctx;
    HD_ASSERT(task >= 0 && task < j->n_tasks && worker >= 0 && worker < j->n_threads);
    j->slot[task] += j->run;
}

static void mark_twice(void *ctx, int task, int worker)
{
    mark(ctx, task, worker);
    mark(ctx, task, worker);
}

// One run of its own job, checked and then spoilt for whoever would come late.
static void run_once(hd_pool *p, job *j, uint32_t run, int n_tasks)
{
    hd_pool_fn fn = run % 2 ? mark : mark_twice;
    memset(j, 0, sizeof(*j));
    j->run = run;
    j->n_tasks = n_tasks;
    j->n_threads = hd_pool_size(p);
    hd_pool_run(p, fn, j, n_tasks);
    for (int i = 0; i <= MAX_TASKS; i++)
        EXPECT_INT(j->slot[i], i < n_tasks ? (run % 2 ? run : 2 * run) : 0);
    j->n_tasks = -1;
}

static hd_pool *make(int n)
{
    hd_pool *p;
    hd_err err;
    if (hd_pool_create(n, &p, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    EXPECT_INT(hd_pool_size(p), n);
    return p;
}

// ---- tests ---------------------------------------------------------------------------------

static void in_place(void)
{
    static job j;
    EXPECT_INT(hd_pool_size(NULL), 1);
    hd_pool_begin(NULL);
    for (int n = 0; n < 20; n++)
        run_once(NULL, &j, (uint32_t)n + 1, n);
    hd_pool_end(NULL);
    hd_pool_destroy(NULL);
    int before = count_threads("", 0);
    hd_pool *p = make(1);
    EXPECT_INT(count_threads("", 0), before);
    hd_pool_begin(p);
    run_once(p, &j, 5, 100);
    hd_pool_end(p);
    hd_pool_run(p, mark, NULL, 0); // nothing to do touches nothing
    hd_pool_run(p, mark, NULL, -3);
    hd_pool_destroy(p);
}

static void bad_sizes(void)
{
    static const int bad[] = {0, -1, 1025, 1 << 30};
    for (int i = 0; i < 4; i++) {
        static char not_null;
        hd_pool *p = (hd_pool *)(void *)&not_null;
        hd_err err;
        EXPECT_INT(hd_pool_create(bad[i], &p, &err), HD_E_INVAL);
        EXPECT(p == NULL);
        EXPECT_CONTAINS(err.msg, "expected 1 to 1024");
    }
}

static void threads_come_and_go(void)
{
    for (int n = 1; n <= 8; n++) {
        hd_pool *p = make(n);
        await_threads(n - 1);
        hd_pool_destroy(p);
        await_threads(0);
    }
}

static void all_sizes(void)
{
    static job j;
    hd_rng r;
    hd_rng_seed(&r, 8);
    for (int size = 1; size <= 8; size++) {
        hd_pool *p = make(size);
        uint32_t run = 1;
        for (int n = 0; n <= MAX_TASKS; n += n < 20 ? 1 : 49)
            run_once(p, &j, run++, n);
        for (int step = 0; step < 40; step++) {
            hd_pool_begin(p);
            for (uint32_t k = hd_rng_below(&r, 12); k > 0; k--)
                run_once(p, &j, run++, (int)hd_rng_below(&r, k % 3 ? 12 : MAX_TASKS + 1));
            hd_pool_end(p);
            if (hd_rng_below(&r, 2)) run_once(p, &j, run++, (int)hd_rng_below(&r, 50));
        }
        hd_pool_destroy(p);
    }
}

// Short runs in a row with more threads than processors: workers are often stopped between seeing
// a run and claiming from it, and go on in a later one.
static void late_workers(void)
{
    static job jobs[2];
    static const int sizes[] = {2, 3, 8};
    for (int k = 0; k < 3; k++) {
        hd_pool *p = make(sizes[k]);
        for (int in_step = 0; in_step < 2; in_step++) {
            if (in_step) hd_pool_begin(p);
            for (uint32_t run = 1; run <= 4000; run++) {
                job *j = &jobs[run % 2];
                int n = 2 + (int)(run % 7);
                j->run = run;
                j->n_tasks = n;
                j->n_threads = sizes[k];
                memset(j->slot, 0, 16 * sizeof(j->slot[0]));
                hd_pool_run(p, run % 3 ? mark : mark_twice, j, n);
                for (int i = 0; i < 16; i++)
                    EXPECT_INT(j->slot[i], i < n ? (run % 3 ? run : 2 * run) : 0);
                j->n_tasks = -1;
            }
            hd_pool_end(p);
        }
        hd_pool_destroy(p);
    }
}

typedef struct meeting {
    _Atomic int arrived;
    int n;
} meeting;

// Returns when all n tasks have begun: needs a thread for each.
static void meet(void *ctx, int task, int worker)
{
    (void)task;
    (void)worker;
    meeting *m = ctx;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->n)
        sched_yield();
}

// A lost wake-up would leave a task without a thread and end in the time limit. The pauses between
// runs let workers be anywhere between spinning and sleeping.
static void wakes_everybody(void)
{
    for (int size = 2; size <= 5; size++) {
        hd_pool *p = make(size);
        for (int i = 0; i < 400; i++) {
            if (i % 40 == 0) hd_pool_begin(p);
            if (i % 40 == 20) hd_pool_end(p);
            meeting m = {0, 2 + i % (size - 1)};
            hd_pool_run(p, meet, &m, m.n);
            EXPECT_INT(m.arrived, m.n);
            for (int k = 0; k < i % 5; k++)
                sched_yield();
        }
        hd_pool_destroy(p);
    }
}

// Ends only if workers sleep: outside a step, between runs, and inside a step that stays idle.
static void workers_sleep(void)
{
    static job j;
    hd_pool *p = make(4);
    await_sleepers(3);
    run_once(p, &j, 1, 100);
    await_sleepers(3);
    hd_pool_begin(p);
    run_once(p, &j, 2, 100);
    await_sleepers(3);
    run_once(p, &j, 3, 100);
    hd_pool_end(p);
    await_sleepers(3);
    meeting m = {0, 4};
    hd_pool_run(p, meet, &m, 4);
    hd_pool_destroy(p);
}

typedef struct straggle {
    meeting m;
    long caller;
    int late; // by the straggler, read by the caller
} straggle;

static void be_late(void *ctx, int task, int worker)
{
    straggle *s = ctx;
    meet(&s->m, task, worker);
    if (worker == 0) return;
    while (thread_state(s->caller) != 'S')
        sched_yield();
    s->late++;
}

// The straggler ends only after it has seen its caller asleep, so the caller must sleep and must
// be woken.
static void caller_sleeps(void)
{
    hd_pool *p = make(2);
    for (int i = 0; i < 20; i++) {
        straggle s = {{0, 2}, (long)getpid(), 0};
        if (i % 2) hd_pool_begin(p);
        hd_pool_run(p, be_late, &s, 2);
        EXPECT_INT(s.late, 1);
        hd_pool_end(p);
    }
    hd_pool_destroy(p);
}

static void destroy_any_time(void)
{
    static job j;
    for (int i = 0; i < 200; i++) {
        int size = 2 + i % 7;
        hd_pool *p = make(size);
        if (i % 4 >= 1) run_once(p, &j, 1, i % 30);
        if (i % 4 >= 2) hd_pool_begin(p);
        if (i % 4 >= 2) run_once(p, &j, 2, i % 20);
        if (i % 4 == 3) hd_pool_end(p);
        if (i % 20 == 5) await_sleepers(size - 1);
        hd_pool_destroy(p);
        await_threads(0);
    }
}

static void *own_pool(void *arg)
{
    static job jobs[2];
    job *j = &jobs[*(const int *)arg];
    hd_pool *p = make(3);
    hd_pool_begin(p);
    for (uint32_t run = 1; run <= 500; run++)
        run_once(p, j, run, (int)(run % 40));
    hd_pool_end(p);
    hd_pool_destroy(p);
    return NULL;
}

static void two_pools(void)
{
    pthread_t t[2];
    int id[2] = {0, 1};
    for (int i = 0; i < 2; i++)
        EXPECT(pthread_create(&t[i], NULL, own_pool, &id[i]) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
}

static void runs_without_heap(void)
{
    static job j;
    hd_pool *p = make(3);
    hd_mem_fail_at(0, false);
    hd_pool_begin(p);
    for (uint32_t run = 1; run < 50; run++)
        run_once(p, &j, run, 30);
    hd_pool_end(p);
    EXPECT_INT(hd_mem_fail_at(0, false), 0);
    hd_pool_destroy(p);
}

static void create_out_of_memory(void)
{
    hd_pool *p;
    hd_err err;
    hd_mem_fail_at(1, true);
    EXPECT_INT(hd_pool_create(4, &p, &err), HD_E_NOMEM);
    EXPECT(p == NULL);
    hd_mem_fail_at(0, false);
}

static void create_out_of_threads(void)
{
#ifdef WITH_SANITIZER
    hd_test_skip("sanitizers need the address space this test takes away");
#else
    // Room for a few stacks of 8 MiB, not for 200.
    struct rlimit stack = {8 << 20, RLIM_INFINITY}, space = {128 << 20, RLIM_INFINITY};
    setrlimit(RLIMIT_STACK, &stack);
    EXPECT(setrlimit(RLIMIT_AS, &space) == 0);
    hd_pool *p;
    hd_err err;
    EXPECT_INT(hd_pool_create(200, &p, &err), HD_E_IO);
    EXPECT(p == NULL);
    EXPECT_CONTAINS(err.msg, "of 200: ");
    await_threads(0); // those that had begun are gone
    p = make(2);
    static job j;
    run_once(p, &j, 1, 10);
    hd_pool_destroy(p);
#endif
}

// ---- binding -------------------------------------------------------------------------------

typedef struct seen_cpus {
    atomic_int here; // tasks that have begun; each waits for the other, so both threads take one
    int cpu[2];      // by worker
} seen_cpus;

static void meet_and_note(void *ctx, int task, int worker)
{
    (void)task;
    seen_cpus *m = ctx;
    m->cpu[worker] = sched_getcpu();
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < 2)
        sched_yield();
}

static void bound_threads_have_a_processor_each(void)
{
    cpu_set_t allowed;
    hd_pool *p;
    seen_cpus m = {.cpu = {-1, -1}};
    EXPECT_INT(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    if (CPU_COUNT(&allowed) < 2) hd_test_skip("needs two processors");
    EXPECT_INT(hd_pool_create(2, &p, NULL), HD_OK);
    EXPECT(hd_pool_bind(p));
    hd_pool_run(p, meet_and_note, &m, 2);
    EXPECT(m.cpu[0] >= 0 && m.cpu[1] >= 0);
    EXPECT(m.cpu[0] != m.cpu[1]);
    hd_pool_destroy(p);
}

static void more_threads_than_processors_are_not_bound(void)
{
    cpu_set_t before, after;
    hd_pool *p;
    EXPECT_INT(sched_getaffinity(0, sizeof(before), &before), 0);
    EXPECT_INT(hd_pool_create(CPU_COUNT(&before) + 1, &p, NULL), HD_OK);
    EXPECT(!hd_pool_bind(p));
    EXPECT_INT(sched_getaffinity(0, sizeof(after), &after), 0);
    EXPECT(CPU_EQUAL(&before, &after));
    EXPECT(!hd_pool_bind(NULL));
    hd_pool_destroy(p);
}

HD_TEST_MAIN("pool", {"in_place", in_place}, {"bad_sizes", bad_sizes},
             {"threads_come_and_go", threads_come_and_go}, {"all_sizes", all_sizes},
             {"late_workers", late_workers}, {"wakes_everybody", wakes_everybody},
             {"workers_sleep", workers_sleep}, {"caller_sleeps", caller_sleeps},
             {"destroy_any_time", destroy_any_time}, {"two_pools", two_pools},
             {"runs_without_heap", runs_without_heap},
             {"create_out_of_memory", create_out_of_memory},
             {"create_out_of_threads", create_out_of_threads},
             {"bound_threads_have_a_processor_each", bound_threads_have_a_processor_each},
             {"more_threads_than_processors_are_not_bound",
              more_threads_than_processors_are_not_bound})
