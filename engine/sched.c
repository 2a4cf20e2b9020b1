// The scheduler thread and the mailbox in front of it. Who may run is decided in sched_admit.c,
// what happens inside one step in sched_step.c.
#include "engine/sched_impl.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#include <signal.h>
#include <string.h>
#include <time.h>

enum {
    IDLE_MS = 1000,  // between heartbeats when there is nothing to do
    BLOCKED_MS = 20, // when all sequences wait for their readers
};

// ---- mailbox: any thread -------------------------------------------------------------------

// An empty queue takes any request.
static hd_status check_queue(const hd_sched *s, const hd_request *rq, hd_err *err)
{
    const hd_engine_cfg *c = &s->l->cfg;
    const int64_t tokens = s->queued_tokens + rq->n_prompt;
    const int64_t bytes = s->queued_bytes + hd_seq_bytes(rq, s->limits.speculate);
    if (s->queued_tokens == 0) return HD_OK;
    HD_CHECK(tokens <= c->max_queue_tokens, err, HD_E_BUSY,
             "%lld prompt tokens are waiting, %d more are not taken", (long long)s->queued_tokens,
             rq->n_prompt);
    HD_CHECK(bytes <= c->max_queue_bytes, err, HD_E_BUSY,
             "requests of %lld KiB are waiting, no more are taken",
             (long long)(s->queued_bytes >> 10));
    return HD_OK;
}

// Takes one of the places for live requests.
static hd_status take_place(hd_sched *s, const hd_request *rq, hd_err *err)
{
    const int64_t places = (int64_t)s->l->cfg.max_seqs + s->l->cfg.max_queue;
    const int64_t now = hd_now_ns(&s->l->cfg.clock);
    hd_status st = HD_OK;
    pthread_mutex_lock(&s->lock);
    if (s->sick)
        st = HD_FAIL(err, HD_E_DEVICE, "the device has failed");
    else if (s->closing)
        st = HD_FAIL(err, HD_E_BUSY, "the engine is closing");
    else if (s->n_live >= places)
        st = HD_FAIL(err, HD_E_BUSY, "%d requests are running and waiting, no more are taken",
                     s->n_live);
    else
        st = check_queue(s, rq, err);
    if (st == HD_OK) {
        // Being idle for long is no stall.
        if (s->n_live++ == 0) s->beat_ns = now;
        s->stats.requests++;
        s->queued_tokens += rq->n_prompt;
        s->queued_bytes += hd_seq_bytes(rq, s->limits.speculate);
    } else {
        s->stats.refused++;
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

static void give_place_back(hd_sched *s, const hd_request *rq)
{
    pthread_mutex_lock(&s->lock);
    s->stats.requests--;
    s->n_live--;
    s->queued_tokens -= rq->n_prompt;
    s->queued_bytes -= hd_seq_bytes(rq, s->limits.speculate);
    pthread_cond_broadcast(&s->drained);
    hd_bell_ring(s->bell);
    pthread_mutex_unlock(&s->lock);
}

hd_status hd_sched_submit(hd_sched *s, const hd_request *rq, hd_stream **out, hd_err *err)
{
    hd_seq *q = NULL;
    *out = NULL;
    HD_TRY(take_place(s, rq, err));
    hd_status st = hd_seq_create(rq, &s->limits, s->bell, &q, err);
    if (st != HD_OK) {
        give_place_back(s, rq);
        return st;
    }
    *out = q->stream;
    q->submit_ns = hd_now_ns(&s->l->cfg.clock);
    pthread_mutex_lock(&s->lock);
    q->rank.arrival = s->n_arrived++;
    *s->inbox_end = q;
    s->inbox_end = &q->next;
    s->stats.waiting++;
    hd_bell_ring(s->bell);
    pthread_mutex_unlock(&s->lock);
    return HD_OK;
}

void hd_sched_stats(hd_sched *s, hd_engine_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}

void hd_sched_reset_stats(hd_sched *s)
{
    pthread_mutex_lock(&s->lock);
    s->stats = (hd_engine_stats){.pages_total = s->stats.pages_total};
    pthread_mutex_unlock(&s->lock);
}

bool hd_sched_healthy(hd_sched *s)
{
    const int64_t now = hd_now_ns(&s->l->cfg.clock);
    pthread_mutex_lock(&s->lock);
    bool stalled = s->n_live > 0 && now - s->beat_ns > (int64_t)s->l->cfg.stall_ms * 1000000;
    bool ok = !s->sick && !stalled;
    pthread_mutex_unlock(&s->lock);
    return ok;
}

// ---- the thread: bookkeeping ---------------------------------------------------------------

static void append(hd_seq **list, hd_seq *q)
{
    while (*list)
        list = &(*list)->next;
    *list = q;
}

static void count_end(hd_engine_stats *t, hd_finish finish)
{
    if (finish == HD_FINISH_ERROR)
        t->failed++;
    else if (finish == HD_FINISH_CANCELLED)
        t->cancelled++;
    else
        t->finished++;
}

void hd_sched_flush(hd_sched *s)
{
    s->stats.steps += s->unseen.steps;
    s->stats.tokens_in += s->unseen.tokens_in;
    s->stats.tokens_out += s->unseen.tokens_out;
    s->stats.drafted += s->unseen.drafted;
    s->stats.accepted += s->unseen.accepted;
    s->stats.step_allocs += s->unseen.step_allocs;
    s->unseen = (hd_engine_stats){0};
    s->beat_ns = hd_now_ns(&s->l->cfg.clock);
    hd_sched_count_pages(s);
}

// Numbers first, then the event: who has seen the end finds it counted and its place free.
void hd_sched_end(hd_sched *s, hd_seq *q, hd_finish finish)
{
    hd_usage usage;
    hd_seq_usage(q, hd_now_ns(&s->l->cfg.clock), &usage);
    hd_kvseq_release(s->l->kv, &q->kv);
    pthread_mutex_lock(&s->lock);
    count_end(&s->stats, finish);
    if (q->running)
        s->stats.running--;
    else
        s->stats.waiting--;
    if (q->admit_ns == HD_SEQ_NEVER) hd_sched_leave_queue(s, q);
    hd_sched_flush(s);
    s->n_live--;
    pthread_cond_broadcast(&s->drained);
    pthread_mutex_unlock(&s->lock);
    if (finish == HD_FINISH_ERROR) {
        HD_LOG(HD_LOG_WARN, "sched", "request failed", hd_f_str("id", q->id),
               hd_f_str("error", q->error.msg));
        hd_stream_end(q->stream, HD_EV_ERROR, finish, &usage, &q->error);
    } else {
        hd_stream_end(q->stream, HD_EV_DONE, finish, &usage, NULL);
    }
    hd_seq_destroy(q);
}

// Takes what arrived, publishes that we live. Returns whether everything is to be cancelled and
// whether the thread shall end. While there is work it does not wait for who has the lock.
static void exchange(hd_sched *s, bool *cancel_all, bool *stop)
{
    const int64_t now = hd_now_ns(&s->l->cfg.clock);
    *cancel_all = *stop = false;
    if (s->n_run == 0)
        pthread_mutex_lock(&s->lock);
    else if (pthread_mutex_trylock(&s->lock) != 0)
        return;
    hd_seq *arrived = s->inbox;
    s->inbox = NULL;
    s->inbox_end = &s->inbox;
    s->beat_ns = now;
    *cancel_all = s->cancel_all;
    *stop = s->cancel_all && s->n_live == 0;
    pthread_mutex_unlock(&s->lock);
    if (arrived) append(&s->waiting, arrived);
}

// HD_FINISH_NONE: goes on.
static hd_finish ended(const hd_seq *q, int64_t now, bool cancel_all)
{
    if (cancel_all || hd_stream_cancelled(q->stream)) return HD_FINISH_CANCELLED;
    if (q->deadline_ns && now >= q->deadline_ns) return HD_FINISH_DEADLINE;
    return HD_FINISH_NONE;
}

static void drop_ended(hd_sched *s, bool cancel_all)
{
    const int64_t now = hd_now_ns(&s->l->cfg.clock);
    for (hd_seq **at = &s->waiting; *at;) {
        hd_seq *q = *at;
        hd_finish finish = ended(q, now, cancel_all);
        if (finish == HD_FINISH_NONE) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        hd_sched_end(s, q, finish);
    }
    for (int32_t i = 0; i < s->n_run; i++)
        s->run[i]->finish = ended(s->run[i], now, cancel_all);
    hd_sched_sweep(s);
}

void hd_sched_sweep(hd_sched *s)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        if (q->finish == HD_FINISH_NONE)
            s->run[kept++] = q;
        else
            hd_sched_end(s, q, q->finish);
    }
    s->n_run = kept;
}

// ---- the thread ----------------------------------------------------------------------------

static void *thread_main(void *arg)
{
    hd_sched *s = arg;
    bool cancel_all, stop;
    if (s->l->bind) hd_pool_bind(s->l->pool);
    for (;;) {
        const uint32_t rung = hd_bell_count(s->bell);
        exchange(s, &cancel_all, &stop);
        if (stop) return NULL;
        drop_ended(s, cancel_all);
        hd_sched_admit(s);
        if (!hd_sched_step(s)) hd_bell_wait(s->bell, rung, s->n_run > 0 ? BLOCKED_MS : IDLE_MS);
    }
}

static hd_status start_thread(hd_sched *s, hd_err *err)
{
    // Signals are for the threads of the program: this one inherits a full mask.
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&s->thread, NULL, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    HD_CHECK(rc == 0, err, HD_E_IO, "cannot start the scheduler thread: error %d", rc);
    pthread_setname_np(s->thread, "hadal-sched");
    return HD_OK;
}

static hd_status allocate(hd_sched *s, hd_err *err)
{
    const size_t n = (size_t)s->l->cfg.max_seqs;
    s->bell = hd_bell_create();
    s->run = hd_calloc(n, sizeof(*s->run));
    s->view = hd_calloc(n, sizeof(*s->view));
    s->take = hd_calloc(n, sizeof(*s->take));
    HD_CHECK(s->bell && s->run && s->view && s->take, err, HD_E_NOMEM,
             "no memory for a scheduler of %zu sequences", n);
    return HD_OK;
}

static void release(hd_sched *s)
{
    hd_bell_unref(s->bell);
    hd_free(s->run);
    hd_free(s->view);
    hd_free(s->take);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->drained);
    hd_free(s);
}

hd_status hd_sched_start(hd_loaded *l, hd_sched **out, hd_err *err)
{
    *out = NULL;
    hd_sched *s = hd_calloc(1, sizeof(*s));
    HD_CHECK(s, err, HD_E_NOMEM, "no memory for the scheduler");
    s->l = l;
    s->inbox_end = &s->inbox;
    s->stats.pages_total = hd_kvpool_total(l->kv);
    s->limits = (hd_seq_limits){
        .vocab_in = l->model->cfg.vocab,
        .vocab_out = l->vocab,
        .max_context = l->facts.max_context,
        .pages = l->facts.kv_pages,
        .speculate = l->cfg.speculate > 0,
    };
    s->limits.stop_ids = hd_tokenizer_stops(l->tokenizer, &s->limits.n_stop_ids);
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->drained, &monotonic);
    pthread_condattr_destroy(&monotonic);
    hd_status st = allocate(s, err);
    if (st == HD_OK) st = start_thread(s, err);
    if (st == HD_OK)
        *out = s;
    else
        release(s);
    return st;
}

void hd_sched_stop(hd_sched *s, int drain_ms)
{
    if (!s) return;
    const int64_t end = hd_mono_ns() + (int64_t)drain_ms * 1000000;
    const struct timespec at = {(time_t)(end / 1000000000), (long)(end % 1000000000)};
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    while (drain_ms > 0 && s->n_live > 0)
        if (pthread_cond_timedwait(&s->drained, &s->lock, &at) != 0) break;
    s->cancel_all = true;
    hd_bell_ring(s->bell);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    release(s);
}
