// Answering one parsed request. Knows schemas and generations, no dialect.
#include "server/answer.h"

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/sse.h"

#include <stdio.h>
#include <string.h>

enum {
    TICK_MS = 250,       // how long departures and the server's end may go unnoticed
    SHARED_TICK_MS = 20, // the same while several choices run
    FIRST_EVENT_S = 10,  // after that a stream begins although nothing has come
    STATUS_GONE = 499,   // only in the log: nobody reads it
};

typedef struct choice {
    hd_gen *g;
    hd_buf content, reasoning;
    hd_gen_delta *token; // slices in the arena
    size_t n_tokens, cap_tokens;
    int64_t token_ns;   // when the last token came
    bool done, reasons; // reasons: the last text was reasoning
    hd_choice out;
} choice;

struct hd_answer {
    hd_server *sv;
    hd_http_req *rq;
    hd_engine *e;
    hd_call call;
    hd_json *doc;
    hd_arena *arena;
    choice *choice;
    int32_t n, n_done, turn, begun; // turn: who is asked next; begun: `begin` written
    hd_gen_delta d;                 // the delta at hand, of choice `at`
    int32_t at;
    bool has_delta, ended; // has_delta: not written yet; ended: all is written, down to `tail`
    hd_buf tail;           // last events of a stream, which leave one by one
    size_t tail_at;
    hd_err err;
    int status; // logged
    int64_t start_ns, first_ns, written_ns;
};

hd_answer *hd_answer_create(hd_server *sv, hd_http_req *rq, const hd_call *call, hd_json *doc,
                            int64_t start_ns)
{
    hd_arena *arena = hd_http_arena(rq);
    size_t prompts = call->prompts ? call->n_prompts : 1;
    hd_answer *a = hd_arena_alloc(arena, sizeof(*a));
    size_t n = prompts * (size_t)call->rq.n;
    choice *c = a ? hd_arena_alloc(arena, n * sizeof(*c)) : NULL;
    if (!c) {
        hd_json_free(doc);
        return NULL;
    }
    a->sv = sv;
    a->rq = rq;
    a->e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    a->call = *call;
    a->doc = doc;
    a->arena = arena;
    a->choice = c;
    a->n = (int32_t)n;
    a->status = 200;
    a->start_ns = start_ns;
    return a;
}

// ---- log -----------------------------------------------------------------------------------

static double ms_since(int64_t from, int64_t to)
{
    return to > from ? (double)(to - from) / 1e6 : 0;
}

static const char *finish_name(const hd_answer *a)
{
    static const char *const names[] = {"none", "stop", "length", "cancelled", "deadline", "error"};
    if (a->err.code != HD_OK) return hd_status_name(a->err.code);
    return names[a->choice[0].out.finish];
}

static void log_content(const hd_answer *a)
{
    hd_slice body = hd_http_body(a->rq);
    HD_LOG(HD_LOG_INFO, "request", "content", hd_f_str("id", a->call.request_id),
           hd_f_slice("body", body));
    for (int32_t i = 0; i < a->n; i++)
        HD_LOG(HD_LOG_INFO, "request", "content", hd_f_str("id", a->call.request_id),
               hd_f_int("choice", i), hd_f_slice("answer", hd_buf_slice(&a->choice[i].content)));
}

static void log_answer(const hd_answer *a)
{
    int64_t now = hd_mono_ns(), queue_ns = 0;
    int32_t in = 0, cached = 0, out = 0;
    for (int32_t i = 0; i < a->n; i++) {
        const hd_usage *u = &a->choice[i].out.usage;
        in += u->prompt_tokens;
        cached += u->cached_tokens;
        out += u->completion_tokens;
        if (u->queue_ns > queue_ns) queue_ns = u->queue_ns;
    }
    HD_LOG(HD_LOG_INFO, "request", a->call.rq.stream ? "stream" : "unary",
           hd_f_str("id", a->call.request_id), hd_f_str("dialect", a->call.schema->name),
           hd_f_int("status", a->status), hd_f_int("choices", a->n), hd_f_int("tokens_in", in),
           hd_f_int("tokens_cached", cached), hd_f_int("tokens_out", out),
           hd_f_f64("queue_ms", (double)queue_ns / 1e6, 1),
           hd_f_f64("ttft_ms", ms_since(a->start_ns, a->first_ns), 1),
           hd_f_f64("total_ms", ms_since(a->start_ns, now), 1), hd_f_str("finish", finish_name(a)));
    if (a->call.cfg->log_content) log_content(a);
}

static void count(hd_answer *a)
{
    hd_metrics *m = &a->sv->metrics;
    hd_status code = a->status == STATUS_GONE ? HD_E_CANCELLED : a->err.code;
    hd_finish cut = code == HD_OK || code == HD_E_CANCELLED ? HD_FINISH_CANCELLED : HD_FINISH_ERROR;
    for (int32_t i = 0; i < a->n; i++) {
        const hd_choice *o = &a->choice[i].out;
        if (a->choice[i].g) hd_metrics_choice(m, &o->usage, a->choice[i].done ? o->finish : cut);
    }
    hd_metrics_request(m, hd_mono_ns() - a->start_ns, code);
    if (code == HD_E_DEVICE)
        atomic_store_explicit(&a->sv->device_failed, true, memory_order_release);
    if (a->status >= 400 && a->status != STATUS_GONE) hd_metrics_refused(m, a->status);
}

void hd_answer_free(hd_answer *a)
{
    count(a);
    log_answer(a);
    for (int32_t i = 0; i < a->n; i++) {
        choice *c = &a->choice[i];
        hd_gen_close(c->g);
        hd_buf_fini(&c->content);
        hd_buf_fini(&c->reasoning);
        hd_free(c->token);
    }
    hd_buf_fini(&a->tail);
    hd_json_free(a->doc);
}

// ---- collecting ----------------------------------------------------------------------------

static bool out_of_memory(hd_answer *a)
{
    hd_fail(&a->err, HD_E_NOMEM, "out of memory for the answer");
    return false;
}

// A copy of a delta whose texts live in the arena.
static bool keep_token(hd_answer *a, choice *c)
{
    if (c->n_tokens == c->cap_tokens) {
        size_t cap = c->cap_tokens ? 2 * c->cap_tokens : 64;
        hd_gen_delta *p = hd_reallocarray(c->token, cap, sizeof(*p));
        if (!p) return out_of_memory(a);
        c->token = p;
        c->cap_tokens = cap;
    }
    hd_gen_delta *t = &c->token[c->n_tokens];
    *t = a->d;
    t->token_text.p = hd_arena_dup(a->arena, t->token_text.p, t->token_text.n);
    bool ok = t->token_text.p != NULL;
    for (size_t i = 0; i < t->n_pieces; i++) {
        hd_slice *s = &t->piece[i].text;
        s->p = hd_arena_dup(a->arena, s->p, s->n);
        ok = ok && s->p;
    }
    if (ok) c->n_tokens++;
    return ok ? true : out_of_memory(a);
}

// Text that came without a token belongs to the last one.
static bool keep_text(hd_answer *a, choice *c)
{
    if (c->n_tokens == 0) return true;
    hd_gen_delta *t = &c->token[c->n_tokens - 1];
    for (size_t i = 0; i < a->d.n_pieces && t->n_pieces < 3; i++) {
        hd_piece p = a->d.piece[i];
        p.text.p = hd_arena_dup(a->arena, p.text.p, p.text.n);
        if (!p.text.p) return out_of_memory(a);
        t->piece[t->n_pieces++] = p;
    }
    return true;
}

static bool finish(hd_answer *a, choice *c)
{
    hd_choice *o = &c->out;
    const char *stop = hd_arena_dup(a->arena, a->d.stop.p ? a->d.stop.p : "", a->d.stop.n);
    o->finish = a->d.finish;
    o->stop = hd_slice_of(stop, a->d.stop.n);
    o->stop_id = a->d.stop_id;
    o->usage = a->d.usage;
    o->seed = a->d.seed;
    o->content = hd_buf_slice(&c->content);
    o->reasoning = hd_buf_slice(&c->reasoning);
    o->token = c->token;
    o->n_tokens = c->n_tokens;
    o->prompt = hd_gen_prompt_logprobs(c->g, &o->n_prompt);
    size_t ids;
    o->prompt_ids = hd_gen_prompt(c->g, &ids);
    c->done = true;
    a->n_done++;
    if (o->finish == HD_FINISH_CANCELLED) {
        hd_fail(&a->err, HD_E_CANCELLED, "the request was cancelled");
        return false;
    }
    if (o->finish == HD_FINISH_DEADLINE && o->usage.completion_tokens == 0) {
        hd_fail(&a->err, HD_E_TIMEOUT, "the request's time was over before its first token");
        return false;
    }
    return stop ? true : out_of_memory(a);
}

static void time_token(hd_answer *a, choice *c)
{
    int64_t now = hd_mono_ns();
    if (a->first_ns == 0) {
        a->first_ns = now;
        hd_metrics_first(&a->sv->metrics, now - a->start_ns);
    }
    if (c->token_ns) hd_metrics_gap(&a->sv->metrics, now - c->token_ns);
    c->token_ns = now;
}

// Takes the delta at hand into its choice. False: a->err tells why the request fails.
static bool collect(hd_answer *a)
{
    choice *c = &a->choice[a->at];
    for (size_t i = 0; i < a->d.n_pieces; i++) {
        bool reasoning = a->d.piece[i].kind == HD_PIECE_REASONING;
        hd_buf_put_slice(reasoning ? &c->reasoning : &c->content, a->d.piece[i].text);
        c->reasons = reasoning;
    }
    if (c->content.failed || c->reasoning.failed) return out_of_memory(a);
    switch (a->d.kind) {
    case HD_GEN_TOKEN:
        time_token(a, c);
        c->out.usage = a->d.usage; // for the log, should the end never come
        c->out.reasoning_tokens += c->reasons;
        return a->call.keep_tokens ? keep_token(a, c) : true;
    case HD_GEN_TEXT:
        return a->call.keep_tokens ? keep_text(a, c) : true;
    case HD_GEN_DONE:
        return finish(a, c);
    case HD_GEN_ERROR:
        c->out.usage = a->d.usage;
        a->err = a->d.error;
        return false;
    case HD_GEN_WAIT:
        break;
    }
    return true;
}

// ---- running -------------------------------------------------------------------------------

static hd_status submit(hd_answer *a, hd_err *err)
{
    for (int32_t i = 0; i < a->n; i++) {
        hd_gen_request rq = a->call.rq;
        if (a->call.prompts) {
            const hd_prompt_in *p = &a->call.prompts[i / rq.n];
            rq.kind = p->kind;
            rq.text = p->text;
            rq.ids = p->ids;
            rq.n_ids = p->n_ids;
        }
        HD_TRY(hd_gen_start(a->e, &rq, i % rq.n, &a->choice[i].g, err));
    }
    return HD_OK;
}

// Whether the request has to end although its choices have not: a->err tells why.
static bool must_end(hd_answer *a)
{
    if (hd_http_client_gone(a->rq)) {
        a->status = STATUS_GONE;
        hd_fail(&a->err, HD_E_CANCELLED, "the client has gone");
        return true;
    }
    if (atomic_load_explicit(&a->sv->cut, memory_order_acquire)) {
        hd_fail(&a->err, HD_E_CANCELLED, "the server is shutting down");
        return true;
    }
    int64_t limit = a->call.cfg->request_seconds;
    if (limit == 0 || hd_mono_ns() - a->start_ns < limit * INT64_C(1000000000)) return false;
    hd_fail(&a->err, HD_E_TIMEOUT, "the request took longer than %d seconds", (int)limit);
    return true;
}

// Asks one choice after another for its next delta, fairly. False: nothing came in that time.
static bool next_delta_within(hd_answer *a, int timeout_ms)
{
    int shared_ms = timeout_ms < SHARED_TICK_MS ? timeout_ms : SHARED_TICK_MS;
    int32_t waiting = a->n - a->n_done, first = -1;
    for (int32_t k = 0; k < a->n; k++) {
        int32_t i = (a->turn + k) % a->n;
        if (a->choice[i].done) continue;
        if (first < 0) first = i;
        if (hd_gen_next(a->choice[i].g, &a->d, waiting == 1 ? timeout_ms : 0) == HD_GEN_WAIT)
            continue;
        a->at = i;
        a->turn = (i + 1) % a->n;
        return true;
    }
    if (waiting == 1 || first < 0) return false;
    a->at = first;
    return hd_gen_next(a->choice[first].g, &a->d, shared_ms) != HD_GEN_WAIT;
}

static bool next_delta(hd_answer *a)
{
    return next_delta_within(a, TICK_MS);
}

static void cancel_all(hd_answer *a)
{
    for (int32_t i = 0; i < a->n; i++)
        if (a->choice[i].g && !a->choice[i].done) hd_gen_cancel(a->choice[i].g);
}

// ---- one piece -----------------------------------------------------------------------------

static void fail(hd_answer *a, hd_http_rsp *rs)
{
    const hd_schema *s = a->call.schema;
    hd_buf body = {0};
    int status = s->status(&a->err);
    cancel_all(a);
    if (a->status != STATUS_GONE) a->status = status;
    s->error(&body, &a->err, status, false, a->call.rq.framing);
    if (status == 429 || status == 503) hd_http_set_header(rs, "Retry-After", "1");
    hd_http_reply(rs, status, "application/json", hd_buf_slice(&body));
    hd_buf_fini(&body);
    hd_answer_free(a);
}

// Leaves out details of tokens so that `bytes` become about `most`. False: there are none left.
static bool trim_details(hd_choice *all, int32_t n, size_t bytes, size_t most, size_t *kept)
{
    size_t longest = 0;
    for (int32_t i = 0; i < n; i++) {
        longest = all[i].n_tokens > longest ? all[i].n_tokens : longest;
        longest = all[i].n_prompt > longest ? all[i].n_prompt : longest;
    }
    if (longest == 0) return false;
    *kept = longest < 8 ? 0 : (size_t)((double)longest * 0.9 * (double)most / (double)bytes);
    for (int32_t i = 0; i < n; i++) {
        if (all[i].n_tokens > *kept) all[i].n_tokens = *kept;
        if (all[i].n_prompt > *kept) all[i].n_prompt = *kept;
    }
    return true;
}

// Writes the finished choices. Details of tokens give way, never text, where the whole would be
// more than callers can take.
static bool write_whole(hd_answer *a, hd_buf *body)
{
    size_t start = body->len, kept = SIZE_MAX;
    size_t most = (size_t)a->call.cfg->max_answer_bytes;
    hd_choice *all = hd_arena_alloc(a->arena, (size_t)a->n * sizeof(*all));
    if (!all) return out_of_memory(a);
    for (int32_t i = 0; i < a->n; i++)
        all[i] = a->choice[i].out;
    for (;;) {
        a->call.schema->answer(body, &a->call, all, (size_t)a->n);
        if (body->failed) return out_of_memory(a);
        size_t bytes = body->len - start;
        if (bytes <= most || !trim_details(all, a->n, bytes, most, &kept)) break;
        body->len = start;
    }
    if (kept != SIZE_MAX)
        HD_LOG(HD_LOG_WARN, "request", "answer too long: details of tokens left out",
               hd_f_str("id", a->call.request_id), hd_f_int("kept", (int64_t)kept));
    return true;
}

// TGI's headers: seconds of computing, milliseconds of everything else. They do not pass the
// platform and are for people who call the server itself.
static void set_time_headers(const hd_answer *a, hd_http_rsp *rs)
{
    const hd_usage *u = &a->choice[0].out.usage;
    double inference = (double)(u->prefill_ns + u->decode_ns) / 1e6;
    int32_t n = u->completion_tokens > 0 ? u->completion_tokens : 1;
    const struct {
        const char *name;
        double value;
        int decimals;
    } h[] = {{"x-compute-time", inference / 1e3, 6},
             {"x-total-time", ms_since(a->start_ns, hd_mono_ns()), 0},
             {"x-queue-time", (double)u->queue_ns / 1e6, 0},
             {"x-inference-time", inference, 0},
             {"x-time-per-token", inference / n, 0},
             {"x-prompt-tokens", u->prompt_tokens, 0},
             {"x-generated-tokens", u->completion_tokens, 0}};
    for (size_t i = 0; i < sizeof(h) / sizeof(h[0]); i++) {
        char text[32];
        snprintf(text, sizeof(text), "%.*f", h[i].decimals, h[i].value);
        hd_http_set_header(rs, h[i].name, text);
    }
}

static void answer_whole(hd_answer *a, hd_http_rsp *rs)
{
    bool ok = true;
    while (ok && a->n_done < a->n) {
        bool came = next_delta(a);
        ok = !must_end(a) && (!came || collect(a));
    }
    hd_buf body = {0};
    if (ok) ok = write_whole(a, &body);
    if (ok) {
        if (a->call.schema == &hd_schema_tgi) set_time_headers(a, rs);
        hd_http_reply(rs, 200, "application/json", hd_buf_slice(&body));
        hd_answer_free(a);
    } else {
        fail(a, rs);
    }
    hd_buf_fini(&body);
}

// ---- streams -------------------------------------------------------------------------------

static void stream_error(hd_answer *a)
{
    const hd_schema *s = a->call.schema;
    cancel_all(a);
    a->ended = true;
    if (a->status == STATUS_GONE) return;
    s->error(&a->tail, &a->err, s->status(&a->err), true, a->call.rq.framing);
}

static void stream_end(hd_answer *a)
{
    hd_choice *all = hd_arena_alloc(a->arena, (size_t)a->n * sizeof(*all));
    if (!all) {
        out_of_memory(a);
        stream_error(a);
        return;
    }
    for (int32_t i = 0; i < a->n; i++)
        all[i] = a->choice[i].out;
    a->call.schema->end(&a->tail, &a->call, all, (size_t)a->n);
    a->ended = true;
}

// The next event of the tail.
static hd_pull pull_tail(hd_answer *a, hd_buf *out)
{
    if (a->status == STATUS_GONE || a->tail.failed) return HD_PULL_ABORT;
    hd_slice rest = hd_buf_slice(&a->tail);
    hd_slice gap = hd_slice_str(a->call.rq.framing == HD_FRAME_JSONL ? "\n" : "\n\n");
    ptrdiff_t at = hd_slice_find(rest, gap, a->tail_at);
    size_t end = at < 0 ? rest.n : (size_t)at + gap.n;
    hd_buf_put(out, rest.p + a->tail_at, end - a->tail_at);
    a->tail_at = end;
    return end < rest.n ? HD_PULL_MORE : HD_PULL_END;
}

static void keep_awake(hd_answer *a, hd_buf *out)
{
    int64_t silence = a->call.cfg->keepalive_comment_seconds * INT64_C(1000000000);
    if (silence > 0 && !a->call.quiet && hd_mono_ns() - a->written_ns >= silence)
        hd_frame_comment(out, a->call.rq.framing);
}

// One step of a stream. Writes at most one event into out; false: it has ended.
static bool advance(hd_answer *a, hd_buf *out)
{
    if (a->ended) return false;
    if (a->n_done == a->n) {
        stream_end(a);
        return false;
    }
    if (must_end(a)) {
        stream_error(a);
        return false;
    }
    if (!a->has_delta && !next_delta(a)) {
        keep_awake(a, out);
        return true;
    }
    a->has_delta = false;
    if (!collect(a)) {
        stream_error(a);
        return false;
    }
    a->call.schema->delta(out, &a->call, a->at, &a->d);
    return true;
}

static hd_pull pull(void *ctx, hd_buf *out)
{
    hd_answer *a = ctx;
    if (a->written_ns == 0) a->written_ns = hd_mono_ns();
    while (a->begun < a->n && out->len == 0)
        a->call.schema->begin(out, &a->call, a->begun++);
    while (out->len == 0 && !out->failed)
        if (!advance(a, out)) return pull_tail(a, out);
    a->written_ns = hd_mono_ns();
    return out->failed ? HD_PULL_ABORT : HD_PULL_MORE;
}

static void fini(void *ctx)
{
    hd_answer *a = ctx;
    if (!a->ended && a->err.code == HD_OK) { // the connection ended before the answer did
        a->status = STATUS_GONE;
        hd_fail(&a->err, HD_E_CANCELLED, "the client has gone");
    }
    cancel_all(a);
    hd_answer_free(a);
}

// The first event decides the status: what fails before it is a real HTTP error.
static void answer_stream(hd_answer *a, hd_http_rsp *rs)
{
    int64_t end = hd_mono_ns() + FIRST_EVENT_S * INT64_C(1000000000);
    while (!a->has_delta && hd_mono_ns() < end) {
        if (must_end(a)) {
            fail(a, rs);
            return;
        }
        a->has_delta = next_delta(a);
    }
    if (a->has_delta && a->d.kind == HD_GEN_ERROR) {
        collect(a);
        fail(a, rs);
        return;
    }
    hd_http_stream(rs, 200, hd_frame_type(a->call.rq.framing), pull, fini, a);
}

// ---- batches -------------------------------------------------------------------------------

hd_status hd_answer_begin(hd_answer *a, hd_err *err)
{
    hd_status st = submit(a, err);
    for (int32_t i = 0; st != HD_OK && i < a->n; i++) {
        hd_gen_close(a->choice[i].g);
        a->choice[i].g = NULL;
    }
    return st;
}

hd_progress hd_answer_poll(hd_answer *a, int timeout_ms)
{
    bool came = next_delta_within(a, timeout_ms);
    if (must_end(a) || (came && !collect(a)) || a->n_done == a->n) return HD_PROGRESS_ENDED;
    return came ? HD_PROGRESS_SOME : HD_PROGRESS_NONE;
}

void hd_answer_set_error(hd_answer *a, const hd_err *err)
{
    if (a->err.code == HD_OK) a->err = *err;
}

const hd_err *hd_answer_why(const hd_answer *a)
{
    return &a->err;
}

int hd_answer_take(hd_answer *a, hd_buf *body)
{
    const hd_schema *s = a->call.schema;
    size_t start = body->len;
    if (a->err.code == HD_OK && write_whole(a, body)) return 200;
    body->len = start;
    int status = s->status(&a->err);
    cancel_all(a);
    if (a->status != STATUS_GONE) a->status = status;
    s->error(body, &a->err, status, false, a->call.rq.framing);
    return status;
}

void hd_answer_run(hd_answer *a, hd_http_rsp *rs)
{
    if (submit(a, &a->err) != HD_OK)
        fail(a, rs);
    else if (a->call.rq.stream)
        answer_stream(a, rs);
    else
        answer_whole(a, rs);
}
