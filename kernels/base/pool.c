// The worker pool. It does not split work by cost or nest.
//
// One run is one epoch. Its tasks are claimed from `ticket`:
//
//   ticket = epoch << 32 | cursor,  cursor from CLAIM_END - n_tasks upwards
//
// A claim adds one and holds a task when the cursor it found was below CLAIM_END. So the claim
// alone tells whether it counts, and of which run: a worker that slept through runs cannot take a
// task of a later one with an older function, because it reads fn, ctx and n_tasks after the claim
// and the run cannot end while a claimed task is not counted in `done`. Claims past the end are
// harmless: each thread makes one per run, far fewer than the 2^31 that fit above CLAIM_END.
#include "kernels/base/pool.h"

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLAIM_END ((uint32_t)1 << 31)
enum { CACHE_LINE = 64, MAX_THREADS = 1024, SPIN_NS = 100000, SPIN_BATCH = 32, YIELDS = 4 };

typedef struct worker {
    hd_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct hd_pool {
    // What idle workers watch, and sleep on; written once per run.
    _Alignas(CACHE_LINE) _Atomic uint32_t epoch; // number of the newest run
    _Atomic uint32_t in_step;                    // 1 between begin and end
    _Atomic uint32_t stop;

    // What a claim touches. fn, ctx and n_tasks are written by the caller between runs and read by
    // holders of a claimed task.
    _Alignas(CACHE_LINE) _Atomic uint64_t ticket;
    hd_pool_fn fn;
    void *ctx;
    int n_tasks;

    _Alignas(CACHE_LINE) _Atomic uint32_t done; // tasks of this run that are counted as finished
    _Atomic uint32_t caller_sleeps;             // on done

    _Alignas(CACHE_LINE) _Atomic uint32_t sleepers; // workers at or near the futex

    int n_threads, n_started; // n_started workers exist; index 0 is the caller
    bool running;             // the caller is inside hd_pool_run
    void *memory;             // what hd_alloc gave
    worker workers[];
};

// ---- waiting -------------------------------------------------------------------------------

static void cpu_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

// True when the run `seen` is not the newest any more. Epochs wrap.
static bool epoch_passed(uint32_t epoch, uint32_t seen)
{
    return (int32_t)(epoch - seen) > 0;
}

// Inside a step: watches for a new run, first awake, then giving way to others. The acquire pairs
// with the store of epoch in publish and hd_pool_destroy.
static bool spin_for_epoch(hd_pool *p, uint32_t seen)
{
    int64_t end = 0;
    for (int round = 0;; round++) {
        for (int i = 0; i < SPIN_BATCH; i++) {
            if (epoch_passed(atomic_load_explicit(&p->epoch, memory_order_acquire), seen))
                return true;
            cpu_pause();
        }
        if (!atomic_load_explicit(&p->in_step, memory_order_relaxed)) return false;
        int64_t now = hd_mono_ns();
        if (round == 0) end = now + SPIN_NS;
        if (now >= end) break;
    }
    for (int i = 0; i < YIELDS; i++) {
        sched_yield();
        if (epoch_passed(atomic_load_explicit(&p->epoch, memory_order_acquire), seen)) return true;
    }
    return false;
}

// Returns when a run after `seen` was published, or the pool is ending.
static void wait_for_epoch(hd_pool *p, uint32_t seen)
{
    for (;;) {
        if (atomic_load_explicit(&p->in_step, memory_order_relaxed) && spin_for_epoch(p, seen))
            return;
        // Sequentially consistent, as are publish's store of epoch and load of sleepers: either
        // the caller sees this sleeper and wakes it, or the load below sees the new epoch.
        atomic_fetch_add_explicit(&p->sleepers, 1, memory_order_seq_cst);
        uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_seq_cst);
        bool passed = epoch_passed(epoch, seen);
        if (!passed) futex_wait(&p->epoch, epoch);
        atomic_fetch_sub_explicit(&p->sleepers, 1, memory_order_relaxed);
        if (passed) return;
    }
}

// Waits until n tasks are done. The acquire loads pair with count_done in the workers.
static void wait_for_done(hd_pool *p, uint32_t n)
{
    int64_t end = 0;
    for (int round = 0;; round++) {
        for (int i = 0; i < SPIN_BATCH; i++) {
            if (atomic_load_explicit(&p->done, memory_order_acquire) == n) return;
            cpu_pause();
        }
        int64_t now = hd_mono_ns();
        if (round == 0) end = now + SPIN_NS;
        if (now >= end) break;
    }
    for (int i = 0; i < YIELDS; i++) {
        sched_yield();
        if (atomic_load_explicit(&p->done, memory_order_acquire) == n) return;
    }
    // Sequentially consistent, as in count_done: either the last worker sees the flag and wakes
    // us, or we see its count.
    atomic_store_explicit(&p->caller_sleeps, 1, memory_order_seq_cst);
    for (;;) {
        uint32_t done = atomic_load_explicit(&p->done, memory_order_seq_cst);
        if (done == n) break;
        futex_wait(&p->done, done);
    }
    atomic_store_explicit(&p->caller_sleeps, 0, memory_order_relaxed);
}

// ---- a run ---------------------------------------------------------------------------------

// Claims one task. The acquire pairs with the store of ticket in publish (other claims in between
// carry it on), so fn, ctx and n_tasks read after a claim that holds a task are those of its run.
static bool claim(hd_pool *p, uint32_t *cursor, uint32_t *epoch)
{
    uint64_t t = atomic_fetch_add_explicit(&p->ticket, 1, memory_order_acquire);
    *cursor = (uint32_t)t;
    *epoch = (uint32_t)(t >> 32);
    return *cursor < CLAIM_END;
}

// Runs tasks until none is left. Returns how many; they keep the run open until they are counted.
static uint32_t work(hd_pool *p, int index, uint32_t *epoch)
{
    uint32_t cursor, count = 0;
    if (!claim(p, &cursor, epoch)) return 0;
    const hd_pool_fn fn = p->fn;
    void *const ctx = p->ctx;
    const uint32_t first = CLAIM_END - (uint32_t)p->n_tasks;
    do {
        fn(ctx, (int)(cursor - first), index);
        count++;
    } while (claim(p, &cursor, epoch));
    return count;
}

// The release half hands what the tasks wrote to wait_for_done; seq_cst pairs with the flag there.
// n_tasks is read before: after the last count it belongs to the caller again.
static void count_done(hd_pool *p, uint32_t count)
{
    uint32_t n = (uint32_t)p->n_tasks;
    uint32_t before = atomic_fetch_add_explicit(&p->done, count, memory_order_seq_cst);
    if (before + count == n && atomic_load_explicit(&p->caller_sleeps, memory_order_seq_cst))
        futex_wake(&p->done, 1);
}

static void *worker_main(void *arg)
{
    const worker *w = arg;
    hd_pool *p = w->pool;
    uint32_t seen = 0;
    for (;;) {
        wait_for_epoch(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed)) return NULL;
        uint32_t count = work(p, w->index, &seen);
        if (count > 0) count_done(p, count);
    }
}

// Opens a run for claims, then tells the workers. Nobody holds a task of the last run any more.
static void publish(hd_pool *p, hd_pool_fn fn, void *ctx, int n_tasks)
{
    p->fn = fn;
    p->ctx = ctx;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed); // ordered by the store of ticket
    uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed) + 1;
    uint64_t ticket = (uint64_t)epoch << 32 | (CLAIM_END - (uint32_t)n_tasks);
    atomic_store_explicit(&p->ticket, ticket, memory_order_release); // pairs with claim
    // Seq_cst pairs with wait_for_epoch.
    atomic_store_explicit(&p->epoch, epoch, memory_order_seq_cst);
    uint32_t asleep = atomic_load_explicit(&p->sleepers, memory_order_seq_cst);
    // The caller takes a task itself, so n_tasks - 1 helpers are enough.
    if (asleep > 0) futex_wake(&p->epoch, n_tasks - 1);
}

void hd_pool_run(hd_pool *p, hd_pool_fn fn, void *ctx, int n_tasks)
{
    if (!p || p->n_threads == 1 || n_tasks <= 1) {
        for (int i = 0; i < n_tasks; i++)
            fn(ctx, i, 0);
        return;
    }
    HD_DASSERT(!p->running);
    p->running = true;
    publish(p, fn, ctx, n_tasks);
    uint32_t epoch, mine = work(p, 0, &epoch);
    atomic_fetch_add_explicit(&p->done, mine, memory_order_relaxed); // our own order needs nothing
    wait_for_done(p, (uint32_t)n_tasks);
    p->running = false;
}

void hd_pool_begin(hd_pool *p)
{
    if (!p || p->n_threads == 1) return;
    // Relaxed: the flag only chooses how workers wait. A worker that misses it sleeps until the
    // first run.
    atomic_store_explicit(&p->in_step, 1, memory_order_relaxed);
    if (atomic_load_explicit(&p->sleepers, memory_order_relaxed) > 0)
        futex_wake(&p->epoch, p->n_threads);
}

void hd_pool_end(hd_pool *p)
{
    if (p) atomic_store_explicit(&p->in_step, 0, memory_order_relaxed);
}

// ---- life ----------------------------------------------------------------------------------

static int start_worker(hd_pool *p, int index)
{
    worker *w = &p->workers[index];
    w->pool = p;
    w->index = index;
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    if (rc != 0) return rc;
    char name[16];
    snprintf(name, sizeof(name), "hadal-pool-%d", index % 1000);
    pthread_setname_np(w->thread, name);
    return 0;
}

hd_status hd_pool_create(int n_threads, hd_pool **out, hd_err *err)
{
    *out = NULL;
    HD_CHECK(n_threads >= 1 && n_threads <= MAX_THREADS, err, HD_E_INVAL,
             "worker pool: %d threads, expected 1 to %d", n_threads, MAX_THREADS);
    size_t bytes = offsetof(hd_pool, workers) + (size_t)n_threads * sizeof(worker);
    void *memory = hd_calloc(1, bytes + CACHE_LINE);
    HD_CHECK(memory, err, HD_E_NOMEM, "worker pool: no memory for %d threads", n_threads);
    uintptr_t skip = (CACHE_LINE - (uintptr_t)memory % CACHE_LINE) % CACHE_LINE;
    hd_pool *p = (hd_pool *)(void *)((char *)memory + skip);
    p->memory = memory;
    p->n_threads = n_threads;
    atomic_init(&p->ticket, CLAIM_END); // epoch 0 has no tasks

    // Signals are for the threads of the program, not for workers: they inherit a full mask.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    for (int i = 1; i < n_threads && rc == 0; i++) {
        rc = start_worker(p, i);
        if (rc == 0) p->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        int started = p->n_started + 1;
        hd_pool_destroy(p);
        return HD_FAIL(err, HD_E_IO, "worker pool: thread %d of %d: %s", started + 1, n_threads,
                       strerror(rc));
    }
    *out = p;
    return HD_OK;
}

void hd_pool_destroy(hd_pool *p)
{
    if (!p) return;
    atomic_store_explicit(&p->stop, 1, memory_order_relaxed); // ordered by the store of epoch
    uint32_t epoch = atomic_load_explicit(&p->epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&p->epoch, epoch, memory_order_seq_cst); // pairs with wait_for_epoch
    futex_wake(&p->epoch, p->n_threads);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    hd_free(p->memory);
}

int hd_pool_size(const hd_pool *p)
{
    return p ? p->n_threads : 1;
}

// ---- binding -------------------------------------------------------------------------------

bool hd_pool_bind(hd_pool *p)
{
    cpu_set_t allowed, one;
    int cpu = -1, n = hd_pool_size(p);
    if (!p || sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) < n)
        return false;
    for (int i = 0; i < n; i++) {
        while (!CPU_ISSET(++cpu, &allowed)) {
        }
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_t thread = i == 0 ? pthread_self() : p->workers[i].thread;
        if (pthread_setaffinity_np(thread, sizeof(one), &one) != 0) return false;
    }
    return true;
}
