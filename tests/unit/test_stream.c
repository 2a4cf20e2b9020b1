// Streams and the bell, with real threads: order, back-pressure, ends, cancelling, lifetimes.
#include "engine/stream.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <pthread.h>
#include <time.h>

static const hd_usage no_usage;

static hd_stream *new_stream(hd_bell **bell)
{
    *bell = hd_bell_create();
    EXPECT(*bell != NULL);
    hd_stream *s = hd_stream_create(*bell);
    EXPECT(s != NULL);
    return s;
}

static hd_token_out token(int32_t id)
{
    return (hd_token_out){.id = id, .logprob = -(float)id, .n_top = 1, .top = {{id, 0.5f}}};
}

static void put(hd_stream *s, hd_event_kind kind, int32_t id)
{
    hd_token_out t = token(id);
    hd_stream_put(s, kind, &t);
}

static void events_in_order(void)
{
    hd_bell *bell;
    hd_event ev;
    hd_stream *s = new_stream(&bell);
    EXPECT_INT(hd_stream_next(s, &ev, 0), HD_EV_TIMEOUT);
    for (int i = 0; i < 3; i++)
        put(s, HD_EV_PROMPT, i);
    for (int i = 0; i < 20; i++)
        put(s, HD_EV_TOKENS, 100 + i);
    hd_usage u = {.prompt_tokens = 3, .completion_tokens = 20};
    hd_stream_end(s, HD_EV_DONE, HD_FINISH_STOP, &u, NULL);

    EXPECT_INT(hd_stream_next(s, &ev, 0), HD_EV_PROMPT); // kinds are not mixed
    EXPECT_INT(ev.n, 3);
    EXPECT_INT(hd_stream_next(s, &ev, 0), HD_EV_TOKENS);
    EXPECT_INT(ev.n, HD_EVENT_TOKENS);
    EXPECT_INT(ev.token[15].id, 115);
    EXPECT_INT(ev.token[15].top[0].id, 115);
    EXPECT_INT(hd_stream_next(s, &ev, 0), HD_EV_TOKENS);
    EXPECT_INT(ev.n, 4);
    EXPECT_INT(ev.token[3].id, 119);
    EXPECT_INT(hd_stream_next(s, &ev, -1), HD_EV_DONE);
    EXPECT_INT(ev.finish, HD_FINISH_STOP);
    EXPECT_INT(ev.usage.completion_tokens, 20);
    EXPECT_INT(hd_stream_next(s, &ev, 1000), HD_EV_TIMEOUT); // no more come
    hd_stream_close(s);
    hd_bell_unref(bell);
}

static void errors_are_carried(void)
{
    hd_bell *bell;
    hd_event ev;
    hd_stream *s = new_stream(&bell);
    hd_err why;
    hd_fail(&why, HD_E_DEVICE, "it broke");
    hd_stream_end(s, HD_EV_ERROR, HD_FINISH_ERROR, &no_usage, &why);
    EXPECT_INT(hd_stream_next(s, &ev, 0), HD_EV_ERROR);
    EXPECT_INT(ev.error.code, HD_E_DEVICE);
    EXPECT_STR(ev.error.msg, "it broke");
    hd_stream_close(s);
    hd_bell_unref(bell);
}

static void room_shrinks_and_grows(void)
{
    hd_bell *bell;
    hd_event ev;
    hd_stream *s = new_stream(&bell);
    for (int i = 0; i < HD_STREAM_SLOTS; i++) {
        EXPECT_INT(hd_stream_room(s), HD_STREAM_SLOTS - i);
        put(s, HD_EV_TOKENS, i);
    }
    EXPECT_INT(hd_stream_room(s), 0);
    hd_stream_want_room(s, 20);
    uint32_t before = hd_bell_count(bell);
    hd_stream_next(s, &ev, 0);
    EXPECT_INT(hd_stream_room(s), 16);
    EXPECT_INT(hd_bell_count(bell) - before, 0); // not enough yet
    hd_stream_next(s, &ev, 0);
    EXPECT_INT(hd_bell_count(bell) - before, 1);
    hd_stream_next(s, &ev, 0);
    EXPECT_INT(hd_bell_count(bell) - before, 1); // asked once, answered once
    hd_stream_end(s, HD_EV_DONE, HD_FINISH_LENGTH, &no_usage, NULL);
    hd_stream_close(s);
    hd_bell_unref(bell);
}

static void cancel_rings_once(void)
{
    hd_bell *bell;
    hd_stream *s = new_stream(&bell);
    EXPECT(!hd_stream_cancelled(s));
    uint32_t before = hd_bell_count(bell);
    hd_stream_cancel(s);
    hd_stream_cancel(s);
    EXPECT(hd_stream_cancelled(s));
    EXPECT_INT(hd_bell_count(bell) - before, 1);
    hd_bell_unref(bell); // the stream keeps the bell
    hd_stream_close(s);
    hd_stream_end(s, HD_EV_DONE, HD_FINISH_CANCELLED, &no_usage, NULL); // last reference
}

static void closing_a_running_stream_cancels(void)
{
    hd_bell *bell;
    hd_stream *s = new_stream(&bell);
    hd_stream_close(s);
    EXPECT(hd_stream_cancelled(s));
    hd_stream_end(s, HD_EV_DONE, HD_FINISH_CANCELLED, &no_usage, NULL);
    hd_bell_unref(bell);
    hd_stream_close(NULL);
}

static int64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void waiting_times_out_without_burning(void)
{
    hd_bell *bell;
    hd_event ev;
    hd_stream *s = new_stream(&bell);
    int64_t t0 = hd_mono_ns(), c0 = thread_cpu_ns();
    EXPECT_INT(hd_stream_next(s, &ev, 200), HD_EV_TIMEOUT);
    EXPECT(hd_mono_ns() - t0 >= 200 * 1000000LL);
    EXPECT(thread_cpu_ns() - c0 < 50 * 1000000LL);
    t0 = hd_mono_ns();
    hd_bell_wait(bell, hd_bell_count(bell), 50);
    EXPECT(hd_mono_ns() - t0 >= 50 * 1000000LL);
    hd_bell_wait(bell, hd_bell_count(bell) - 1, 60000); // rung since: does not wait
    hd_stream_close(s);
    hd_stream_end(s, HD_EV_DONE, HD_FINISH_CANCELLED, &no_usage, NULL);
    hd_bell_unref(bell);
}

// ---- threads -------------------------------------------------------------------------------

enum { N_TOKENS = 20000 };

typedef struct pair {
    hd_bell *bell;
    hd_stream *s;
} pair;

static void *produce(void *arg)
{
    pair *p = arg;
    for (int32_t i = 0; i < N_TOKENS;) {
        uint32_t seen = hd_bell_count(p->bell);
        if (hd_stream_cancelled(p->s)) break;
        if (hd_stream_room(p->s) == 0) {
            hd_stream_want_room(p->s, 8);
            if (hd_stream_room(p->s) == 0) hd_bell_wait(p->bell, seen, 10000);
            continue;
        }
        put(p->s, i < 100 ? HD_EV_PROMPT : HD_EV_TOKENS, i);
        i++;
    }
    hd_usage u = {.completion_tokens = N_TOKENS};
    hd_stream_end(p->s, HD_EV_DONE, HD_FINISH_LENGTH, &u, NULL);
    return NULL;
}

static void producer_and_consumer(void)
{
    pair p;
    pthread_t t;
    hd_event ev;
    int32_t next = 0;
    p.s = new_stream(&p.bell);
    EXPECT_INT(pthread_create(&t, NULL, produce, &p), 0);
    while (hd_stream_next(p.s, &ev, 10000) != HD_EV_DONE) {
        EXPECT(ev.kind != HD_EV_TIMEOUT);
        for (int32_t i = 0; i < ev.n; i++, next++) {
            EXPECT_INT(ev.token[i].id, next);
            EXPECT(ev.token[i].logprob == -(float)next);
        }
        EXPECT_INT(ev.kind, next <= 100 ? HD_EV_PROMPT : HD_EV_TOKENS);
    }
    EXPECT_INT(next, N_TOKENS);
    EXPECT_INT(ev.usage.completion_tokens, N_TOKENS);
    hd_stream_close(p.s);
    pthread_join(t, NULL);
    hd_bell_unref(p.bell);
}

static void *cancel_soon(void *arg)
{
    pair *p = arg;
    hd_stream_cancel(p->s);
    return NULL;
}

// Many short lives: whoever drops the last reference frees.
static void lifetimes(void)
{
    for (int round = 0; round < 300; round++) {
        pair p;
        pthread_t producer, canceller;
        hd_event ev;
        p.s = new_stream(&p.bell);
        EXPECT_INT(pthread_create(&producer, NULL, produce, &p), 0);
        EXPECT_INT(pthread_create(&canceller, NULL, cancel_soon, &p), 0);
        pthread_join(canceller, NULL); // a canceller holds no reference of its own
        if (round % 2) {
            while (hd_stream_next(p.s, &ev, 10000) != HD_EV_DONE)
                EXPECT(ev.kind != HD_EV_TIMEOUT);
        }
        hd_stream_close(p.s);
        pthread_join(producer, NULL);
        hd_bell_unref(p.bell);
    }
}

static void memory_runs_out(void)
{
    hd_mem_fail_at(1, false);
    EXPECT(hd_bell_create() == NULL);
    hd_bell *bell = hd_bell_create();
    EXPECT(bell != NULL);
    hd_mem_fail_at(1, false);
    EXPECT(hd_stream_create(bell) == NULL);
    hd_mem_fail_at(0, false);
    hd_bell_unref(bell);
}

HD_TEST_MAIN("stream", {"events_in_order", events_in_order},
             {"errors_are_carried", errors_are_carried},
             {"room_shrinks_and_grows", room_shrinks_and_grows},
             {"cancel_rings_once", cancel_rings_once},
             {"closing_a_running_stream_cancels", closing_a_running_stream_cancels},
             {"waiting_times_out_without_burning", waiting_times_out_without_burning},
             {"producer_and_consumer", producer_and_consumer}, {"lifetimes", lifetimes},
             {"memory_runs_out", memory_runs_out})
