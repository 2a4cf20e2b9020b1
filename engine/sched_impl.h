// Inside of the scheduler, shared by sched.c and sched_step.c alone.
#ifndef HADAL_ENGINE_SCHED_IMPL_H
#define HADAL_ENGINE_SCHED_IMPL_H

#include "engine/plan.h"
#include "engine/sched.h"

#include <pthread.h>

struct hd_sched {
    hd_loaded *l;
    hd_bell *bell;
    hd_seq_limits limits;
    pthread_t thread;

    pthread_mutex_t lock;   // guards what follows, up to the thread's own
    pthread_cond_t drained; // n_live went down
    hd_seq *inbox, **inbox_end;
    uint64_t n_arrived;
    int32_t n_live; // submitted (or about to be) and not ended
    bool closing, cancel_all;
    bool sick; // the device has failed for good
    int64_t beat_ns;
    hd_engine_stats stats;

    // The thread's own.
    hd_seq *waiting; // in order of arrival
    hd_seq **run;    // [max_seqs]
    int32_t n_run;
    hd_plan_seq *view; // [max_seqs], as the plan sees them
    int32_t *take;     // [max_seqs]
};

// One step with what is running. False: there is nothing that could be done now.
bool hd_sched_step(hd_sched *s);
// Ends and frees a sequence that is in no list any more; q->error is set when it failed.
void hd_sched_end(hd_sched *s, hd_seq *q, hd_finish finish);
// Ends running sequences whose finish is set.
void hd_sched_sweep(hd_sched *s);

#endif
