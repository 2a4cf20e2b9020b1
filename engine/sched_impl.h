// Inside of the scheduler, shared by sched.c, sched_admit.c and sched_step.c alone.
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
    int32_t n_live;                      // submitted (or about to be) and not ended
    int64_t queued_tokens, queued_bytes; // of those that have not run yet
    bool closing, cancel_all;
    bool sick; // the device has failed for good
    int64_t beat_ns;
    hd_engine_stats stats;

    // The thread's own.
    hd_seq *waiting; // new ones at the end, those that lost their pages in front
    hd_seq **run;    // [max_seqs]
    int32_t n_run;
    hd_plan_seq *view;      // [max_seqs], as the plan sees them
    int32_t *take;          // [max_seqs]
    hd_pace pace;           // of steps
    hd_engine_stats unseen; // counted in steps and not yet in stats
};

// One step with what is running. False: there is nothing that could be done now.
bool hd_sched_step(hd_sched *s);
// Lets waiting sequences run as far as there are places and pages.
void hd_sched_admit(hd_sched *s);
// Takes the pages of running sequence i away. It waits, and will be computed again.
void hd_sched_preempt(hd_sched *s, int32_t i);
// With the lock held: what is in pages, and that q, which has not run yet, waits no more.
void hd_sched_count_pages(hd_sched *s);
void hd_sched_leave_queue(hd_sched *s, const hd_seq *q);
// Ring slots the next step of q may fill, for `n` tokens.
int32_t hd_sched_slots_for(const hd_seq *q, int32_t n);
// With the lock held: shows what steps have counted, and that the thread lives.
void hd_sched_flush(hd_sched *s);
// Ends and frees a sequence that is in no list any more; q->error is set when it failed.
void hd_sched_end(hd_sched *s, hd_seq *q, hd_finish finish);
// Ends running sequences whose finish is set.
void hd_sched_sweep(hd_sched *s);

#endif
