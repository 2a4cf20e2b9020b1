// Worker pool: fork-join over small numbered tasks.
//
// The calling thread takes part as worker 0. Tasks are taken from one counter, so a descheduled
// worker delays nobody but itself; which worker runs a task never changes what the task computes.
// Inside a step (hd_pool_begin .. hd_pool_end) workers spin between runs, but boundedly: after
// about 100 us without work they yield, then sleep on a futex. Outside a step they sleep at once.
//
// Threads: one caller at a time (the scheduler, or the loader while it packs). Functions run by the
// pool must not call hd_pool_run.
#ifndef HADAL_KERNELS_BASE_POOL_H
#define HADAL_KERNELS_BASE_POOL_H

#include "kernels/base/status.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_pool hd_pool;
typedef void (*hd_pool_fn)(void *ctx, int task, int worker); // worker in [0, hd_pool_size)

hd_status hd_pool_create(int n_threads, hd_pool **out,
                         hd_err *err); // n_threads includes the caller
void hd_pool_destroy(hd_pool *p);      // NULL is legal
int hd_pool_size(const hd_pool *p);    // NULL gives 1

// Runs fn for every task in [0, n_tasks) and returns when all are done; everything tasks wrote is
// visible to the caller. With p NULL, one thread or one task, runs in place.
void hd_pool_run(hd_pool *p, hd_pool_fn fn, void *ctx, int n_tasks);

void hd_pool_begin(hd_pool *p);
void hd_pool_end(hd_pool *p);

// Binds the calling thread and each worker to a processor of its own, in the order of the calling
// thread's affinity mask. For whoever owns all of those processors: some schedulers pack
// short-lived work onto one of them, and then two threads are no faster than one. False (and
// nothing changed) when there are fewer allowed processors than threads. Call it from the thread
// that leads the runs.
bool hd_pool_bind(hd_pool *p);

#ifdef __cplusplus
}
#endif

#endif
