// A storm: thousands of requests of all kinds from several threads over a pool far too small, with
// company that comes, goes, dawdles and dies. Every answer must be the one its request gets alone,
// or a beginning of it where it ended early; in the end every page and every place is back.
#include "kernels/base/clock.h"
#include "kernels/base/rng.h"
#include "tests/unit/engine_kit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum {
    KINDS = 96, // different requests
    CLIENTS = 6,
    PER_CLIENT = 8, // streams a client has open at once
    PAGES = 10,
    LONGEST_PROMPT = 320,
};

typedef struct kind {
    int32_t prompt[LONGEST_PROMPT];
    hd_request rq;
    kit_answer alone;
} kind;

static kind all[KINDS];

// Some prompts begin alike, some are the same but for the seed; some are long, most are not.
static void invent_kinds(void)
{
    static const hd_logit_bias words[] = {{5, 50}, {6, 50}, {7, 50}};
    hd_rng rng;
    hd_rng_seed(&rng, 11);
    for (int32_t i = 0; i < KINDS; i++) {
        kind *k = &all[i];
        const int32_t n = 1 + (int32_t)hd_rng_below(&rng, i % 3 ? 90 : LONGEST_PROMPT);
        k->rq = kit_request(k->prompt, n, i % 7, 1 + (int32_t)hd_rng_below(&rng, i % 5 ? 20 : 120));
        k->rq.sample.seed = (uint64_t)i;
        k->rq.sample.temperature = i % 3 ? 0.9f : 0;
        k->rq.sample.frequency_penalty = i % 4 ? 0 : 0.5f;
        k->rq.sample.ignore_eos = i % 6 != 0;
        k->rq.priority = i % 9 == 0;
        k->rq.cache_salt = (uint64_t)i % 2;
        k->rq.prompt_logprobs = i % 16 == 5;
        k->rq.bias = words; // texts that guesses are made for
        k->rq.n_bias = i % 4 == 1 ? 3 : 0;
    }
}

static void ask_each_alone(const hd_engine_cfg *c)
{
    hd_engine *e = kit_open(c);
    for (int32_t i = 0; i < KINDS; i++)
        kit_ask(e, &all[i].rq, &all[i].alone);
    hd_engine_close(e, 0);
}

typedef struct open_one { // a stream being read
    hd_stream *s;
    const kind *k;
    int32_t n, n_prompt;
    int32_t cancel_at; // answer tokens after which it is cancelled, or hung up on; -1: never
    bool hang_up, may_expire;
} open_one;

typedef struct client {
    hd_engine *e;
    pthread_t thread;
    uint64_t seed;
    int32_t n_requests;
    open_one one[PER_CLIENT];
    uint64_t tokens, whole, cut, busy, hung_up;
} client;

static void begin(client *c, hd_rng *rng, open_one *o)
{
    hd_err err = {HD_OK, ""};
    const kind *k = &all[hd_rng_below(rng, KINDS)];
    hd_request rq = k->rq;
    *o = (open_one){.k = k, .cancel_at = -1};
    switch (hd_rng_below(rng, 8)) {
    case 0:
        o->cancel_at = (int32_t)hd_rng_below(rng, 20);
        break;
    case 1:
        o->cancel_at = (int32_t)hd_rng_below(rng, 20);
        o->hang_up = true;
        break;
    case 2:
        o->may_expire = true;
        rq.deadline_ns = hd_mono_ns() + (int64_t)hd_rng_below(rng, 20000000);
        break;
    }
    hd_status st = hd_engine_submit(c->e, &rq, &o->s, &err);
    if (st == HD_E_BUSY) {
        c->busy++;
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        return;
    }
    EXPECT_INT(st, HD_OK);
    c->n_requests--;
    if (o->cancel_at == 0 && !o->hang_up) hd_stream_cancel(o->s);
}

static void check_end(client *c, open_one *o, const hd_event *ev)
{
    EXPECT_INT(ev->kind, HD_EV_DONE);
    EXPECT_INT(ev->usage.completion_tokens, o->n);
    if (ev->finish == HD_FINISH_CANCELLED) EXPECT(o->cancel_at >= 0);
    if (ev->finish == HD_FINISH_DEADLINE) EXPECT(o->may_expire);
    if (ev->finish == HD_FINISH_STOP || ev->finish == HD_FINISH_LENGTH) {
        EXPECT_INT(o->n, o->k->alone.n);
        EXPECT_INT(o->n_prompt, o->k->alone.n_prompt);
        EXPECT_INT(ev->finish, o->k->alone.last.finish);
        c->whole++;
    } else {
        c->cut++;
    }
    hd_stream_close(o->s);
    o->s = NULL;
}

// One event, checked against the answer alone.
static void read_some(client *c, open_one *o)
{
    static _Thread_local hd_event ev;
    const hd_event_kind got = hd_stream_next(o->s, &ev, 1);
    const kit_answer *alone = &o->k->alone;
    for (int32_t i = 0; i < ev.n; i++) {
        if (got == HD_EV_PROMPT) {
            EXPECT(o->n_prompt < alone->n_prompt);
            EXPECT_INT(ev.token[i].id, alone->prompt[o->n_prompt].id);
            if (o->n_prompt > 0) EXPECT(ev.token[i].logprob == alone->prompt[o->n_prompt].logprob);
            o->n_prompt++;
        } else {
            EXPECT(o->n < alone->n);
            EXPECT_INT(ev.token[i].id, alone->id[o->n]);
            o->n++;
            c->tokens++;
        }
    }
    if (got == HD_EV_DONE || got == HD_EV_ERROR) {
        check_end(c, o, &ev);
    } else if (o->cancel_at >= 0 && o->n >= o->cancel_at && o->hang_up) {
        hd_stream_close(o->s);
        o->s = NULL;
        c->hung_up++;
    } else if (o->cancel_at >= 0 && o->n >= o->cancel_at) {
        hd_stream_cancel(o->s);
    }
}

// Reads its streams in no order; now and then it leaves one alone for a while.
static void *run_client(void *arg)
{
    client *c = arg;
    hd_rng rng;
    hd_rng_seed(&rng, c->seed);
    for (;;) {
        int32_t n_open = 0;
        for (int i = 0; i < PER_CLIENT; i++) {
            open_one *o = &c->one[i];
            if (!o->s && c->n_requests > 0) begin(c, &rng, o);
            n_open += o->s != NULL;
            if (o->s && hd_rng_below(&rng, 4) > 0) read_some(c, o);
        }
        if (n_open == 0 && c->n_requests == 0) return NULL;
    }
}

static int32_t requests(void)
{
    const char *n = getenv("HD_STORM_REQUESTS");
    return n ? (int32_t)strtol(n, NULL, 10) : 800;
}

static void expect_everything_back(const client *c, hd_engine *e, int32_t asked)
{
    uint64_t whole = 0, cut = 0, hung_up = 0, busy = 0, tokens = 0;
    for (int i = 0; i < CLIENTS; i++) {
        whole += c[i].whole;
        cut += c[i].cut;
        hung_up += c[i].hung_up;
        busy += c[i].busy;
        tokens += c[i].tokens;
    }
    while (kit_stats(e).running + kit_stats(e).waiting > 0) // those that were hung up on
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    const hd_engine_stats st = kit_stats(e);
    EXPECT_INT(whole + cut + hung_up, asked);
    EXPECT_INT(st.requests, asked);
    EXPECT_INT(st.finished + st.cancelled, asked);
    EXPECT_INT(st.failed, 0);
    EXPECT_INT(st.refused, busy);
    EXPECT_INT(st.pages_used, 0);
    EXPECT_INT(st.step_allocs, 0);
    EXPECT(st.tokens_out >= tokens); // more were made for those that went away
    // What the storm was for.
    EXPECT(whole > (uint64_t)asked / 3 && cut > 0 && hung_up > 0);
    EXPECT(st.preemptions > 0 && st.prefix_found > 0 && busy > 0);
    EXPECT(hd_engine_healthy(e));
}

static void weather(uint64_t seed)
{
    static client c[CLIENTS];
    hd_engine_cfg cfg = kit_cfg();
    invent_kinds();
    ask_each_alone(&cfg);
    cfg.threads = 2;
    cfg.max_seqs = 12;
    cfg.max_queue = 24;
    cfg.max_step_tokens = 40;
    cfg.max_context = PAGES * 64;
    cfg.slow_reader_ms = 5;
    kit_set_pages(&cfg, PAGES);
    hd_engine *e = kit_open(&cfg);
    const int32_t each = requests() / CLIENTS;
    for (int i = 0; i < CLIENTS; i++) {
        c[i] = (client){.e = e, .seed = seed + (uint64_t)i, .n_requests = each};
        pthread_create(&c[i].thread, NULL, run_client, &c[i]);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(c[i].thread, NULL);
    expect_everything_back(c, e, each * CLIENTS);
    hd_engine_close(e, 0);
}

// Three times a third: each has the time limit of a test.
static void nothing_is_lost(void)
{
    weather(1);
}

static void nor_in_other_weather(void)
{
    weather(101);
}

static void nor_in_yet_another(void)
{
    weather(201);
}

HD_TEST_MAIN("storm", {"nothing_is_lost", nothing_is_lost},
             {"nor_in_other_weather", nor_in_other_weather},
             {"nor_in_yet_another", nor_in_yet_another})
