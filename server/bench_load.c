// Clients as threads: one request at a time each, and the time of every delivery.
#include "server/bench_load.h"

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "server/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WAIT_MS = 50, // between looks at whether to stop
    SETTLE = 8,   // deliveries each client has before the calm time begins
    CALM = 32,    // deliveries each client has in the calm time
    AFTER = 2,    // deliveries each client has after the intruder's first token
    POLL_MS = 1,
};

// ---- times ---------------------------------------------------------------------------------

typedef struct gap { // from one event to a later one of the same request
    int64_t from, to;
} gap;

typedef struct gaps {
    gap *v;
    size_t n, cap;
} gaps;

static hd_status add_gap(gaps *g, int64_t from, int64_t to, hd_err *err)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 256;
        gap *v = hd_reallocarray(g->v, cap, sizeof(*v));
        HD_CHECK(v, err, HD_E_NOMEM, "no memory for %zu times", cap);
        g->v = v;
        g->cap = cap;
    }
    g->v[g->n++] = (gap){from, to};
    return HD_OK;
}

// Gaps that overlap [from, to).
static hd_status summary(const gaps *g, int64_t from, int64_t to, hd_load_waits *out, hd_err *err)
{
    *out = (hd_load_waits){0};
    double *ms = hd_reallocarray(NULL, g->n ? g->n : 1, sizeof(*ms));
    HD_CHECK(ms, err, HD_E_NOMEM, "no memory for %zu times", g->n);
    for (size_t i = 0; i < g->n; i++)
        if (g->v[i].to > from && g->v[i].from < to)
            ms[out->n++] = (double)(g->v[i].to - g->v[i].from) / 1e6;
    if (out->n) {
        qsort(ms, out->n, sizeof(*ms), hd_bench_by_value);
        out->p50 = ms[(out->n - 1) / 2];
        out->p99 = ms[(out->n - 1) * 99 / 100];
        out->max = ms[out->n - 1];
    }
    hd_free(ms);
    return HD_OK;
}

// ---- clients -------------------------------------------------------------------------------

typedef struct crowd {
    hd_engine *e;
    const hd_load_case *c;
    uint64_t seed;
    _Atomic int64_t next; // requests begun
    _Atomic bool stop;    // end at once
} crowd;

typedef struct client {
    crowd *all;
    pthread_t thread;
    bool started;
    int32_t *prompt;
    gaps first, between;
    int64_t answered;
    _Atomic int64_t deliveries;
    hd_err err;
} client;

static hd_status submit(crowd *all, const int32_t *prompt, int32_t n, int32_t answer,
                        hd_stream **out, hd_err *err)
{
    hd_request rq = {.prompt = prompt, .n_prompt = n, .max_new_tokens = answer, .id = "bench"};
    hd_sample_params_init(&rq.sample);
    rq.sample.temperature = 0;
    rq.sample.ignore_eos = true;
    return hd_engine_submit(all->e, &rq, out, err);
}

static hd_status read_answer(client *k, hd_stream *s, int64_t sent)
{
    hd_event ev;
    int64_t last = 0;
    for (;;) {
        hd_event_kind kind = hd_stream_next(s, &ev, WAIT_MS);
        const int64_t now = hd_mono_ns();
        if (atomic_load(&k->all->stop)) hd_stream_cancel(s);
        if (kind == HD_EV_DONE) return HD_OK;
        if (kind == HD_EV_ERROR) {
            k->err = ev.error;
            return ev.error.code;
        }
        if (kind != HD_EV_TOKENS) continue;
        HD_TRY(add_gap(last ? &k->between : &k->first, last ? last : sent, now, &k->err));
        last = now;
        k->answered += ev.n;
        atomic_fetch_add(&k->deliveries, 1);
    }
}

static void *client_main(void *arg)
{
    client *k = arg;
    crowd *all = k->all;
    const hd_load_case *c = all->c;
    const int32_t vocab = hd_engine_facts(all->e)->cfg.vocab;
    hd_status st = HD_OK;
    while (st == HD_OK && !atomic_load(&all->stop)) {
        hd_stream *s = NULL;
        const int64_t number = atomic_fetch_add(&all->next, 1);
        if (number >= c->requests) break;
        hd_bench_random_ids(k->prompt, c->prompt, vocab, all->seed + (uint64_t)number);
        const int64_t sent = hd_mono_ns();
        st = submit(all, k->prompt, c->prompt, c->answer, &s, &k->err);
        if (st != HD_OK) break;
        st = read_answer(k, s, sent);
        hd_stream_close(s);
    }
    if (st != HD_OK) atomic_store(&all->stop, true); // the others need not go on
    return NULL;
}

static hd_status start_clients(crowd *all, client *k, hd_err *err)
{
    for (int32_t i = 0; i < all->c->clients; i++) {
        k[i].all = all;
        k[i].prompt = hd_reallocarray(NULL, (size_t)all->c->prompt, sizeof(*k[i].prompt));
        HD_CHECK(k[i].prompt, err, HD_E_NOMEM, "no memory for %d clients", (int)all->c->clients);
    }
    for (int32_t i = 0; i < all->c->clients; i++) {
        int rc = pthread_create(&k[i].thread, NULL, client_main, &k[i]);
        HD_CHECK(rc == 0, err, HD_E_IO, "cannot start client %d: error %d", (int)i, rc);
        k[i].started = true;
    }
    return HD_OK;
}

// Waits for all clients; st is what went before.
static hd_status join_clients(crowd *all, client *k, hd_status st, hd_err *err)
{
    if (st != HD_OK) atomic_store(&all->stop, true);
    for (int32_t i = 0; i < all->c->clients; i++) {
        if (!k[i].started) continue;
        pthread_join(k[i].thread, NULL);
        if (st == HD_OK && k[i].err.code != HD_OK) {
            *err = k[i].err;
            st = err->code;
        }
    }
    return st;
}

static void free_clients(client *k, int32_t n)
{
    for (int32_t i = 0; k && i < n; i++) {
        hd_free(k[i].prompt);
        hd_free(k[i].first.v);
        hd_free(k[i].between.v);
    }
    hd_free(k);
}

// All clients' times in one list.
static hd_status gather(gaps *to, const gaps *from, hd_err *err)
{
    for (size_t i = 0; i < from->n; i++)
        HD_TRY(add_gap(to, from->v[i].from, from->v[i].to, err));
    return HD_OK;
}

static hd_status sum_up(const client *k, int32_t n, gaps *first, gaps *between, hd_load_result *out,
                        hd_err *err)
{
    for (int32_t i = 0; i < n; i++) {
        HD_TRY(gather(first, &k[i].first, err));
        HD_TRY(gather(between, &k[i].between, err));
        out->answered += k[i].answered;
    }
    HD_TRY(summary(first, 0, INT64_MAX, &out->first, err));
    return summary(between, 0, INT64_MAX, &out->between, err);
}

hd_status hd_load_run(hd_engine *e, const hd_load_case *c, uint64_t *seed, hd_load_result *out,
                      hd_err *err)
{
    crowd all = {.e = e, .c = c, .seed = *seed};
    gaps first = {0}, between = {0};
    *out = (hd_load_result){0};
    *seed += (uint64_t)c->requests;
    client *k = hd_calloc((size_t)c->clients, sizeof(*k));
    HD_CHECK(k, err, HD_E_NOMEM, "no memory for %d clients", (int)c->clients);
    const int64_t t0 = hd_mono_ns();
    hd_status st = join_clients(&all, k, start_clients(&all, k, err), err);
    out->seconds = (double)(hd_mono_ns() - t0) / 1e9;
    if (st == HD_OK) st = sum_up(k, c->clients, &first, &between, out, err);
    hd_free(first.v);
    hd_free(between.v);
    free_clients(k, c->clients);
    return st;
}

// ---- the intruder --------------------------------------------------------------------------

// Until every client has `more` deliveries more than now; false when a client failed.
static bool wait_deliveries(const crowd *all, client *k, int64_t more)
{
    for (int32_t i = 0; i < all->c->clients; i++) {
        const int64_t goal = atomic_load(&k[i].deliveries) + more;
        while (atomic_load(&k[i].deliveries) < goal) {
            if (atomic_load(&all->stop)) return false;
            nanosleep(&(struct timespec){0, POLL_MS * 1000000}, NULL);
        }
    }
    return true;
}

// Sends the long prompt and waits for its only token.
static hd_status intrude(crowd *all, uint64_t seed, hd_err *err)
{
    const int32_t n = all->c->intrude;
    hd_stream *s = NULL;
    hd_event ev = {.kind = HD_EV_TIMEOUT};
    int32_t *ids = hd_reallocarray(NULL, (size_t)n, sizeof(*ids));
    HD_CHECK(ids, err, HD_E_NOMEM, "no memory for a prompt of %d tokens", (int)n);
    hd_bench_random_ids(ids, n, hd_engine_facts(all->e)->cfg.vocab, seed);
    hd_status st = submit(all, ids, n, 1, &s, err);
    while (st == HD_OK && ev.kind != HD_EV_TOKENS && ev.kind != HD_EV_DONE) {
        hd_stream_next(s, &ev, WAIT_MS);
        if (ev.kind != HD_EV_ERROR) continue;
        *err = ev.error;
        st = err->code;
    }
    if (s) hd_stream_close(s);
    hd_free(ids);
    return st;
}

hd_status hd_load_intrude(hd_engine *e, const hd_load_case *c, uint64_t *seed, hd_load_result *out,
                          hd_err *err)
{
    hd_load_case endless = *c;
    endless.requests = INT32_MAX;
    crowd all = {.e = e, .c = &endless, .seed = *seed + 1};
    gaps first = {0}, between = {0};
    int64_t calm = 0, came = 0, left = 0;
    *out = (hd_load_result){0};
    client *k = hd_calloc((size_t)c->clients, sizeof(*k));
    HD_CHECK(k, err, HD_E_NOMEM, "no memory for %d clients", (int)c->clients);
    hd_status st = start_clients(&all, k, err);
    if (st == HD_OK && wait_deliveries(&all, k, SETTLE)) {
        calm = hd_mono_ns();
        if (wait_deliveries(&all, k, CALM)) {
            came = hd_mono_ns();
            st = intrude(&all, *seed, err);
            left = hd_mono_ns();
        }
        if (st == HD_OK) wait_deliveries(&all, k, AFTER);
    }
    atomic_store(&all.stop, true);
    st = join_clients(&all, k, st, err);
    *seed += 1 + (uint64_t)atomic_load(&all.next);
    if (st == HD_OK) st = sum_up(k, c->clients, &first, &between, out, err);
    if (st == HD_OK) st = summary(&between, calm, came, &out->calm, err);
    if (st == HD_OK) st = summary(&between, came, left, &out->disturbed, err);
    out->intruder_ms = (double)(left - came) / 1e6;
    hd_free(first.v);
    hd_free(between.v);
    free_clients(k, c->clients);
    return st;
}
