// The engine's life: loading and its failures, queues, cancelling, deadlines, closing, health,
// devices that fail, memory that runs out.
#include "engine/sched.h"
#include "kernels/base/mem.h"
#include "tests/unit/engine_kit.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

// ---- loading -------------------------------------------------------------------------------

typedef struct phases {
    int n[HD_LOAD_DONE + 1];
    uint64_t done, total;
    hd_load_phase last;
} phases;

static void note_phase(void *ctx, hd_load_phase phase, uint64_t done, uint64_t total)
{
    phases *p = ctx;
    EXPECT(phase >= p->last);
    p->last = phase;
    p->n[phase]++;
    if (phase != HD_LOAD_WEIGHTS) return;
    p->done = done;
    p->total = total;
}

static void loading_reports_and_knows_facts(void)
{
    hd_engine_cfg c = kit_cfg();
    phases p = {{0}, 0, 0, HD_LOAD_OPEN};
    c.progress = note_phase;
    c.progress_ctx = &p;
    hd_engine *e = kit_open(&c);
    for (int i = 0; i <= HD_LOAD_DONE; i++)
        EXPECT(p.n[i] > 0);
    EXPECT(p.total > 0 && p.done == p.total);
    const hd_model_facts *f = hd_engine_facts(e);
    EXPECT_STR(f->src->name, "tiny");
    EXPECT_INT(f->cfg.vocab, TINY_VOCAB);
    EXPECT_INT(f->max_context, TINY_CONTEXT);
    EXPECT_INT(f->threads, 1);
    EXPECT_STR(f->device, "cpu");
    EXPECT(f->isa[0] != '\0');
    EXPECT(f->weight_bytes > 0 && f->scratch_bytes > 0);
    EXPECT_INT(f->kv_pages, 16 * TINY_CONTEXT / 64);
    EXPECT_INT(f->kv_bytes, (int64_t)f->kv_pages * 64 * 2 * 2 * 16 * 4);
    EXPECT(f->chat == NULL && f->chat_why[0] != '\0');
    EXPECT(f->tokenizer != NULL);
    EXPECT(f->defaults.temperature == 1 && f->defaults.top_p == 1 && f->defaults.top_k == 0);
    EXPECT(hd_engine_healthy(e));
    hd_engine_stats s = kit_stats(e);
    EXPECT_INT(s.requests + s.finished + s.tokens_in + s.tokens_out + s.steps, 0); // no warm-up
    EXPECT_INT(s.pages_total, f->kv_pages);
    hd_engine_close(e, 0);
    hd_engine_close(NULL, 0);
}

static void defaults_come_from_the_model(void)
{
    hd_engine_cfg c = kit_cfg();
    c.model = tiny_model_write(
        "recommended",
        (tiny_model){.nan_id = -1,
                     .generation = "{\"temperature\":0.6,\"top_p\":0.95,\"top_k\":40,"
                                   "\"repetition_penalty\":1.05,\"do_sample\":false}"});
    hd_engine *e = kit_open(&c);
    const hd_sample_params *d = &hd_engine_facts(e)->defaults;
    EXPECT_NEAR(d->temperature, 0.6, 1e-6);
    EXPECT_NEAR(d->top_p, 0.95, 1e-6);
    EXPECT_INT(d->top_k, 40);
    EXPECT_NEAR(d->repetition_penalty, 1.05, 1e-6);
    hd_engine_close(e, 0);
    c.model =
        tiny_model_write("odd", (tiny_model){.nan_id = -1,
                                             .generation = "{\"temperature\":\"hot\",\"top_p\":7,"
                                                           "\"top_k\":null}"});
    e = kit_open(&c); // values that make no sense are left out
    d = &hd_engine_facts(e)->defaults;
    EXPECT(d->temperature == 1 && d->top_p == 1 && d->top_k == 0);
    hd_engine_close(e, 0);
}

static void expect_no_engine(const hd_engine_cfg *c, hd_status code, const char *part)
{
    hd_engine *e = NULL;
    hd_err err = {HD_OK, ""};
    EXPECT_INT(hd_engine_open(c, &e, &err), code);
    EXPECT(e == NULL);
    EXPECT_CONTAINS(err.msg, part);
    EXPECT_INT(hd_mem_big_bytes(), 0); // nothing stayed behind
}

static void what_cannot_be_loaded(void)
{
    hd_engine_cfg good = kit_cfg(), c = good;
    c.model = NULL;
    expect_no_engine(&c, HD_E_INVAL, "model");
    c.model = "/nowhere/at/all";
    expect_no_engine(&c, HD_E_NOTFOUND, "/nowhere/at/all");
    c = good, c.need_chat = true;
    expect_no_engine(&c, HD_E_UNSUPPORTED, "--chat-template");
    c = good, c.chat_template = "no-such-template";
    expect_no_engine(&c, HD_E_UNSUPPORTED, "--chat-template");
    c = good, c.device = "abacus";
    expect_no_engine(&c, HD_E_INVAL, "abacus");
    c = good, c.max_seqs = 0;
    expect_no_engine(&c, HD_E_INVAL, "max_seqs: 0");
    c = good, c.max_step_tokens = 0;
    expect_no_engine(&c, HD_E_INVAL, "max_step_tokens");
    c = good, c.threads = -1;
    expect_no_engine(&c, HD_E_INVAL, "threads");
    c = good, c.kv = HD_Q8_0;
    expect_no_engine(&c, HD_E_UNSUPPORTED, "q8_0");
    const volatile int cancel = 1;
    c = good, c.cancel = &cancel;
    expect_no_engine(&c, HD_E_CANCELLED, "cancelled");
    c = good;
    c.model = tiny_model_write("broken", (tiny_model){.nan_id = TINY_BOS});
    expect_no_engine(&c, HD_E_INTERNAL, "warm-up");
    c = good, c.chat_template = "none", c.need_chat = true; // asked for by name: no error
    hd_engine_close(kit_open(&c), 0);
}

static void memory_decides_the_context(void)
{
    hd_engine_cfg c = kit_cfg();
    hd_engine *e = kit_open(&c);
    const hd_model_facts *f = hd_engine_facts(e);
    const uint64_t page = f->kv_bytes / (uint64_t)f->kv_pages;
    const uint64_t fixed = f->weight_bytes + f->scratch_bytes;
    hd_engine_close(e, 0);
    c.memory = fixed + 5 * page;
    e = kit_open(&c);
    EXPECT_INT(hd_engine_facts(e)->kv_pages, 5);
    EXPECT_INT(hd_engine_facts(e)->max_context, 5 * 64);
    hd_engine_close(e, 0);
    c.max_context = 512; // asked for by name: not lowered
    expect_no_engine(&c, HD_E_LIMIT, "--max-context");
    c.max_context = 100;
    e = kit_open(&c);
    EXPECT_INT(hd_engine_facts(e)->max_context, 100);
    hd_engine_close(e, 0);
    c.max_context = 0;
    c.memory = fixed + 3 * page;
    expect_no_engine(&c, HD_E_LIMIT, "--memory");
    c.memory = 1000; // refused before the weights are read
    expect_no_engine(&c, HD_E_LIMIT, "--memory");
    c.memory = 0;
    c.max_context = 5000; // more than the model was made for
    e = kit_open(&c);
    EXPECT_INT(hd_engine_facts(e)->max_context, TINY_CONTEXT);
    hd_engine_close(e, 0);
}

// ---- queues --------------------------------------------------------------------------------

// Waits for a number of the statistics; readers see ends only after they are counted.
#define WAIT_FOR(e, field, value)                                                                  \
    do {                                                                                           \
        while (kit_stats(e).field < (value))                                                       \
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);                                \
    } while (0)

// A request that stops after the 64 tokens its ring holds, until it is read.
static hd_stream *submit_stuck(hd_engine *e, int32_t *prompt)
{
    hd_request rq = kit_request(prompt, 10, 1, 300);
    hd_stream *s = kit_submit(e, &rq);
    WAIT_FOR(e, tokens_out, 64);
    return s;
}

static void the_queue_is_bounded(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], p2[10];
    hd_stream *refused = NULL;
    hd_err err = {HD_OK, ""};
    c.max_seqs = 1;
    c.max_queue = 2;
    hd_engine *e = kit_open(&c);
    hd_stream *s = submit_stuck(e, p);
    hd_request rq = kit_request(p2, 10, 2, 5);
    hd_stream *w1 = kit_submit(e, &rq), *w2 = kit_submit(e, &rq);
    EXPECT_INT(hd_engine_submit(e, &rq, &refused, &err), HD_E_BUSY);
    EXPECT_CONTAINS(err.msg, "3 requests");
    EXPECT(refused == NULL);
    hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.running, 1);
    EXPECT_INT(st.waiting, 2);
    EXPECT_INT(st.refused, 1);
    EXPECT(hd_engine_healthy(e)); // waiting for a reader is no stall
    kit_read(s, &a);
    EXPECT_INT(a.n, 300);
    kit_read(w1, &a);
    EXPECT_INT(a.n, 5);
    kit_read(w2, &a);
    EXPECT_INT(a.n, 5);
    EXPECT(a.last.usage.queue_ns > 0);
    kit_ask(e, &rq, &a); // there is room again
    hd_engine_close(e, 0);
}

// In requests, in tokens and in bytes.
static void the_queue_is_bounded_in_size(void)
{
    static kit_answer a;
    const hd_engine_cfg plain = kit_cfg();
    for (int by_bytes = 0; by_bytes < 2; by_bytes++) {
        hd_engine_cfg c = plain;
        int32_t p[10], p2[300];
        hd_stream *refused = NULL;
        hd_err err = {HD_OK, ""};
        c.max_seqs = 1;
        if (by_bytes)
            c.max_queue_bytes = 1;
        else
            c.max_queue_tokens = 310;
        hd_engine *e = kit_open(&c);
        hd_stream *s = submit_stuck(e, p);
        hd_request big = kit_request(p2, 300, 2, 5), small = kit_request(p, 10, 2, 5);
        hd_stream *w1 = kit_submit(e, &big); // whatever its size: the queue was empty
        hd_stream *w2 = by_bytes ? NULL : kit_submit(e, &small);
        EXPECT_INT(hd_engine_submit(e, &small, &refused, &err), HD_E_BUSY);
        EXPECT_CONTAINS(err.msg, by_bytes ? "KiB are waiting" : "310 prompt tokens are waiting");
        kit_read(s, &a);
        kit_read(w1, &a);
        if (w2) kit_read(w2, &a);
        kit_ask(e, &small, &a); // there is room again
        hd_engine_close(e, 0);
    }
}

// ---- early ends ----------------------------------------------------------------------------

static void cancelling(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], p2[10];
    c.max_seqs = 1;
    hd_engine *e = kit_open(&c);
    hd_stream *running = submit_stuck(e, p);
    hd_request rq = kit_request(p2, 10, 2, 5);
    hd_stream *waiting = kit_submit(e, &rq);
    hd_stream_cancel(waiting);
    kit_read(waiting, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_CANCELLED);
    EXPECT_INT(a.n, 0);
    hd_stream_cancel(running);
    WAIT_FOR(e, cancelled, 2);
    kit_read(running, &a);
    EXPECT_INT(a.last.kind, HD_EV_DONE);
    EXPECT_INT(a.last.finish, HD_FINISH_CANCELLED);
    EXPECT_INT(a.n, 64); // what was there is still delivered
    EXPECT_INT(a.last.usage.completion_tokens, 64);
    hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.cancelled, 2);
    EXPECT_INT(st.pages_used, 0);
    hd_stream *dropped = submit_stuck(e, p); // nobody ever reads it
    hd_stream_close(dropped);
    kit_ask(e, &rq, &a); // its place is free
    EXPECT_INT(kit_stats(e).cancelled, 3);
    hd_engine_close(e, 0);
}

typedef struct fake_clock {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int64_t now;
    bool hold; // whoever but `free` reads the clock waits
    pthread_t free;
    int n_held;
} fake_clock;

static int64_t fake_now(void *ctx)
{
    fake_clock *f = ctx;
    pthread_mutex_lock(&f->lock);
    while (f->hold && !pthread_equal(pthread_self(), f->free)) {
        f->n_held++;
        pthread_cond_broadcast(&f->moved);
        pthread_cond_wait(&f->moved, &f->lock);
    }
    int64_t now = f->now;
    pthread_mutex_unlock(&f->lock);
    return now;
}

static void fake_set(fake_clock *f, int64_t now, bool hold)
{
    pthread_mutex_lock(&f->lock);
    f->now = now;
    f->hold = hold;
    pthread_cond_broadcast(&f->moved);
    pthread_mutex_unlock(&f->lock);
}

#define FAKE_CLOCK                                                                                 \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false, pthread_self(), 0           \
    }

static void deadlines(void)
{
    fake_clock clock = FAKE_CLOCK;
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], p2[10];
    c.clock = (hd_clock){fake_now, &clock};
    c.max_seqs = 1;
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 10, 1, 300), rq2 = kit_request(p2, 10, 1, 5);
    rq.deadline_ns = 1000;
    rq2.deadline_ns = 500;
    hd_stream *s = kit_submit(e, &rq), *w = kit_submit(e, &rq2);
    WAIT_FOR(e, tokens_out, 64);
    fake_set(&clock, 500, false);
    kit_read(w, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_DEADLINE);
    EXPECT_INT(a.n, 0);
    EXPECT_INT(a.last.usage.queue_ns, 500);
    EXPECT_INT(kit_stats(e).running, 1);
    fake_set(&clock, 1000, false);
    WAIT_FOR(e, finished, 2);
    kit_read(s, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_DEADLINE);
    EXPECT_INT(a.n, 64);
    EXPECT_INT(a.last.usage.queue_ns + a.last.usage.prefill_ns, 0);
    EXPECT_INT(a.last.usage.decode_ns, 1000);
    EXPECT_INT(kit_stats(e).pages_used, 0);
    hd_engine_close(e, 0);
}

// The scheduler is caught reading the clock: it makes no progress any more.
static void a_stall_is_noticed(void)
{
    fake_clock clock = FAKE_CLOCK;
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10];
    c.clock = (hd_clock){fake_now, &clock};
    c.stall_ms = 100;
    hd_engine *e = kit_open(&c);
    fake_set(&clock, 1000000000, false);
    EXPECT(hd_engine_healthy(e)); // long idle
    hd_stream *s = submit_stuck(e, p);
    EXPECT(hd_engine_healthy(e));
    pthread_mutex_lock(&clock.lock);
    clock.hold = true;
    while (clock.n_held == 0)
        pthread_cond_wait(&clock.moved, &clock.lock);
    clock.now += 100 * 1000000;
    pthread_mutex_unlock(&clock.lock);
    EXPECT(hd_engine_healthy(e)); // not for longer than that yet
    fake_set(&clock, 1100000001, true);
    EXPECT(!hd_engine_healthy(e));
    fake_set(&clock, 1100000001, false);
    kit_read(s, &a);
    EXPECT_INT(a.n, 300);
    EXPECT(hd_engine_healthy(e));
    hd_engine_close(e, 0);
}

// ---- closing -------------------------------------------------------------------------------

static void closing_cancels_what_runs(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], p2[10];
    c.max_seqs = 1;
    hd_engine *e = kit_open(&c);
    hd_stream *s = submit_stuck(e, p);
    hd_request rq = kit_request(p2, 10, 2, 5);
    hd_stream *w = kit_submit(e, &rq), *dropped = kit_submit(e, &rq);
    hd_stream_close(dropped);
    hd_engine_close(e, 0);
    hd_stream_cancel(s); // streams outlive their engine
    kit_read(s, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_CANCELLED);
    EXPECT_INT(a.n, 64);
    kit_read(w, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_CANCELLED);
    EXPECT_INT(hd_mem_big_bytes(), 0);
}

typedef struct closing {
    hd_engine *e;
    int drain_ms;
} closing;

static void *close_engine(void *arg)
{
    closing *c = arg;
    hd_engine_close(c->e, c->drain_ms);
    return NULL;
}

static void closing_drains(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], p2[10];
    pthread_t t;
    hd_err err = {HD_OK, ""};
    hd_stream *refused = NULL;
    closing job = {kit_open(&c), 60000};
    hd_stream *s = submit_stuck(job.e, p);
    EXPECT_INT(pthread_create(&t, NULL, close_engine, &job), 0);
    hd_request rq = kit_request(p2, 10, 2, 5);
    hd_status st;
    while ((st = hd_engine_submit(job.e, &rq, &refused, &err)) == HD_OK)
        kit_read(refused, &a); // closing has not begun yet
    EXPECT_INT(st, HD_E_BUSY);
    EXPECT_CONTAINS(err.msg, "closing");
    kit_read(s, &a); // lets it finish
    EXPECT_INT(a.last.finish, HD_FINISH_LENGTH);
    EXPECT_INT(a.n, 300);
    pthread_join(t, NULL);
}

static void draining_has_an_end(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10];
    hd_engine *e = kit_open(&c);
    hd_stream *s = submit_stuck(e, p);
    hd_engine_close(e, 30); // nobody reads
    kit_read(s, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_CANCELLED);
}

// ---- failures ------------------------------------------------------------------------------

// A request whose logits are not finite fails alone.
static void nan_fails_its_own_request(void)
{
    enum { BAD = 77 };
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b, alone;
    int32_t p[100], p2[100];
    c.model = tiny_model_write("nan", (tiny_model){.nan_id = BAD});
    hd_engine *e = kit_open(&c);
    hd_logit_bias never = {BAD, -1000};
    hd_request bad = kit_request(p, 100, 1, 30), good = kit_request(p2, 100, 2, 30);
    for (int i = 0; i < 100; i++)
        if (p2[i] == BAD) p2[i] = 1;
    p[50] = BAD;
    good.bias = &never;
    good.n_bias = 1;
    kit_ask(e, &good, &alone);
    for (int logprobs = 0; logprobs < 2; logprobs++) {
        bad.prompt_logprobs = logprobs;
        hd_stream *s = kit_submit(e, &bad), *s2 = kit_submit(e, &good);
        kit_read(s, &a);
        kit_read(s2, &b);
        EXPECT_INT(a.last.kind, HD_EV_ERROR);
        EXPECT_INT(a.last.error.code, HD_E_INTERNAL);
        EXPECT_CONTAINS(a.last.error.msg, "not finite");
        EXPECT_CONTAINS(a.last.error.msg, logprobs ? "position 50" : "position 99");
        EXPECT_INT(a.n_prompt, logprobs ? 51 : 0);
        EXPECT_INT(b.last.kind, HD_EV_DONE);
        kit_expect_same(&alone, &b);
    }
    EXPECT_INT(kit_stats(e).failed, 2);
    EXPECT(hd_engine_healthy(e));
    hd_engine_close(e, 0);
}

// The scheduler on a device whose sync fails when told to.
static hd_status sync_answer;
static hd_status failing_sync(hd_backend *be, hd_err *err)
{
    (void)be;
    return sync_answer == HD_OK ? HD_OK : hd_fail(err, sync_answer, "smoke came out");
}

static void device_errors(void)
{
    hd_engine_cfg c = kit_cfg();
    static hd_backend_ops ops;
    static kit_answer a;
    hd_loaded l;
    hd_sched *s = NULL;
    hd_stream *stream = NULL;
    hd_err err = {HD_OK, ""};
    int32_t p[10];
    hd_request rq = kit_request(p, 10, 1, 5);
    EXPECT_INT(hd_load(&c, HD_LOAD_TEXT, 1 << 20, &l, &err), HD_OK);
    ops = *l.be->ops;
    ops.sync = failing_sync;
    l.be->ops = &ops;
    sync_answer = HD_E_NOMEM; // this step failed, the next one may work
    EXPECT_INT(hd_sched_start(&l, &s, &err), HD_OK);
    EXPECT_INT(hd_sched_submit(s, &rq, &stream, &err), HD_OK);
    kit_read(stream, &a);
    EXPECT_INT(a.last.kind, HD_EV_ERROR);
    EXPECT_CONTAINS(a.last.error.msg, "smoke");
    EXPECT(hd_sched_healthy(s));
    hd_sched_stop(s, 0);

    sync_answer = HD_OK;
    EXPECT_INT(hd_sched_start(&l, &s, &err), HD_OK);
    EXPECT_INT(hd_sched_submit(s, &rq, &stream, &err), HD_OK);
    kit_read(stream, &a);
    EXPECT_INT(a.n, 5);
    hd_sched_stop(s, 0);

    sync_answer = HD_E_DEVICE; // gone for good
    EXPECT_INT(hd_sched_start(&l, &s, &err), HD_OK);
    EXPECT_INT(hd_sched_submit(s, &rq, &stream, &err), HD_OK);
    kit_read(stream, &a);
    EXPECT_INT(a.last.error.code, HD_E_DEVICE);
    EXPECT(!hd_sched_healthy(s));
    EXPECT_INT(hd_sched_submit(s, &rq, &stream, &err), HD_E_DEVICE);
    hd_sched_stop(s, 0);
    hd_loaded_close(&l);
}

static void memory_runs_out_while_loading(void)
{
    hd_engine_cfg c = kit_cfg();
    int failures = 0;
    for (int n = 1;; n++) {
        hd_engine *e = NULL;
        hd_err err = {HD_OK, ""};
        hd_mem_fail_at(n, false);
        hd_status st = hd_engine_open(&c, &e, &err);
        hd_mem_fail_at(0, false);
        EXPECT_INT(st == HD_OK, e != NULL);
        hd_engine_close(e, 0);
        EXPECT_INT(hd_mem_big_bytes(), 0);
        if (st == HD_OK) break;
        failures++;
        if (st != HD_E_NOMEM)
            hd_test_fail(__FILE__, __LINE__, "allocation %d: %s: %s", n, hd_status_name(st),
                         err.msg);
        EXPECT(err.msg[0] != '\0');
    }
    EXPECT(failures > 50);
}

static void memory_runs_out_while_submitting(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[10], stop[2] = {1, 2};
    hd_logit_bias bias = {3, 1};
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 10, 1, 5);
    rq.stop_ids = stop;
    rq.n_stop_ids = 2;
    rq.bias = &bias;
    rq.n_bias = 1;
    rq.sample.presence_penalty = 1;
    for (int n = 1;; n++) {
        hd_stream *s = NULL;
        hd_err err = {HD_OK, ""};
        hd_mem_fail_at(n, false);
        hd_status st = hd_engine_submit(e, &rq, &s, &err);
        hd_mem_fail_at(0, false);
        EXPECT_INT(st == HD_OK, s != NULL);
        if (st == HD_OK) {
            kit_read(s, &a);
            EXPECT_INT(a.n, 5);
            EXPECT(n > 5);
            break;
        }
        EXPECT_INT(st, HD_E_NOMEM);
    }
    EXPECT_INT(kit_stats(e).requests, 1);
    hd_engine_close(e, 0);
}

static void two_engines_in_one_process(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b;
    int32_t p[10];
    hd_engine *e = kit_open(&c), *f = kit_open(&c);
    hd_request rq = kit_request(p, 10, 1, 30);
    hd_stream *s = kit_submit(e, &rq), *t = kit_submit(f, &rq);
    kit_read(t, &b);
    kit_read(s, &a);
    kit_expect_same(&a, &b);
    hd_engine_close(e, 0);
    hd_engine_close(f, 0);
}

HD_TEST_MAIN("engine_life", {"loading_reports_and_knows_facts", loading_reports_and_knows_facts},
             {"defaults_come_from_the_model", defaults_come_from_the_model},
             {"what_cannot_be_loaded", what_cannot_be_loaded},
             {"memory_decides_the_context", memory_decides_the_context},
             {"the_queue_is_bounded", the_queue_is_bounded},
             {"the_queue_is_bounded_in_size", the_queue_is_bounded_in_size},
             {"cancelling", cancelling}, {"deadlines", deadlines},
             {"a_stall_is_noticed", a_stall_is_noticed},
             {"closing_cancels_what_runs", closing_cancels_what_runs},
             {"closing_drains", closing_drains}, {"draining_has_an_end", draining_has_an_end},
             {"nan_fails_its_own_request", nan_fails_its_own_request},
             {"device_errors", device_errors},
             {"memory_runs_out_while_loading", memory_runs_out_while_loading},
             {"memory_runs_out_while_submitting", memory_runs_out_while_submitting},
             {"two_engines_in_one_process", two_engines_in_one_process})
