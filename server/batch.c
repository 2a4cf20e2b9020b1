// Batches: a window of records is in the engine at any time, polled from the connection's thread.
//
// A record is parsed when its turn comes, so memory follows the window and the answers, not the
// whole body. A bad record answers an error object in its place; when none is good the reply is an
// error (SM-138).
#include "server/batch.h"

#include "kernels/base/clock.h"
#include "kernels/base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    MAX_RECORDS = 100000,
    POLL_MS = 20,
    ID_BYTES = 72,
};

typedef struct record {
    hd_slice text;        // lines
    const hd_json *value; // array
    char id[ID_BYTES];
    hd_answer *a; // while it is in the window
    hd_slice tag; // what its answer begins with: {"custom_id":...,
    hd_buf out;
    int status;
} record;

typedef struct batch {
    const hd_reading *r;
    record *rec;
    size_t n, next, ended, active;
    size_t oldest;    // records before it have ended
    size_t first_bad; // n: none
    size_t n_good;
    char why[192]; // what was wrong with first_bad
    bool gone;
} batch;

// ---- lines ---------------------------------------------------------------------------------

// The next line that is not blank, without line ends; n 0: none.
static hd_slice next_line(hd_slice text, size_t *at)
{
    while (*at < text.n) {
        const char *p = text.p + *at, *lf = memchr(p, '\n', text.n - *at);
        size_t n = lf ? (size_t)(lf - p) : text.n - *at;
        *at += n + (lf != NULL);
        while (n > 0 && strchr(" \t\r", p[n - 1]))
            n--;
        while (n > 0 && strchr(" \t\r", *p))
            p++, n--;
        if (n > 0) return hd_slice_of(p, n);
    }
    return hd_slice_of("", 0);
}

// Without the type's word for it, the first line has to be a whole JSON object.
bool hd_batch_is_lines(hd_slice text, bool lines)
{
    size_t at = 0;
    hd_slice first = next_line(text, &at);
    if (first.n == 0 || next_line(text, &at).n == 0) return false;
    if (lines) return true;
    hd_err err = {0};
    return first.p[0] == '{' && first.p[first.n - 1] == '}' &&
           hd_json_scan(first, &hd_json_request_limits, &err) == HD_OK;
}

// ---- one record ----------------------------------------------------------------------------

static void end_record(batch *b, record *rec, int status, const char *why)
{
    size_t i = (size_t)(rec - b->rec);
    rec->status = status;
    b->ended++;
    b->n_good += status == 200;
    if (status == 200 || i >= b->first_bad) return;
    b->first_bad = i;
    snprintf(b->why, sizeof(b->why), "%.180s", why);
}

static void put_tag(hd_buf *w, const hd_json *o, const char *key)
{
    hd_slice s;
    if (!hd_json_str(hd_json_get(o, key), &s)) return;
    hd_buf_puts(w, w->len ? "," : "");
    hd_buf_printf(w, "\"%s\":", key);
    hd_json_put_str(w, s);
}

// Callers find their records again by custom_id, or by id where answers have none of their own.
static hd_slice tag_of(hd_arena *a, const hd_json *o, const hd_schema *s)
{
    hd_buf w = {0};
    put_tag(&w, o, "custom_id");
    if (s != &hd_schema_openai_chat && s != &hd_schema_openai_completions) put_tag(&w, o, "id");
    char *p = w.len ? hd_arena_dup(a, w.data, w.len) : NULL;
    hd_slice tag = hd_slice_of(p ? p : "", p ? w.len : 0);
    hd_buf_fini(&w);
    return tag;
}

static void put_answer(record *rec, hd_slice body)
{
    if (rec->tag.n > 0 && body.n > 1 && body.p[0] == '{') {
        hd_buf_putc(&rec->out, '{');
        hd_buf_put_slice(&rec->out, rec->tag);
        hd_buf_putc(&rec->out, ',');
        body.p++;
        body.n--;
    }
    hd_buf_put_slice(&rec->out, body);
}

static void fail_record(batch *b, record *rec, const hd_schema *schema, const hd_err *err)
{
    hd_buf body = {0};
    int status = hd_answer_error_body(b->r->sv, schema, err, &body);
    put_answer(rec, hd_buf_slice(&body));
    hd_buf_fini(&body);
    end_record(b, rec, status, err->msg);
}

// Reads a record; on success rec->a is there.
static void read_record(batch *b, record *rec)
{
    hd_reading r = *b->r;
    hd_arena *arena = hd_http_arena(r.rq);
    hd_call *call = hd_arena_alloc(arena, sizeof(*call));
    const hd_schema *schema = NULL;
    hd_json *doc = NULL;
    hd_err err = {0};
    hd_status st = HD_OK;
    snprintf(rec->id, sizeof(rec->id), "%.60s-%zu", hd_http_id(r.rq), (size_t)(rec - b->rec));
    r.id = rec->id;
    r.shape = HD_SHAPE_UNARY;
    r.start_ns = hd_mono_ns();
    if (!call) st = HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    if (st == HD_OK && !rec->value)
        st = hd_json_parse(rec->text, &hd_json_request_limits, &doc, &err);
    if (st == HD_OK) st = hd_call_read(&r, rec->value ? rec->value : doc, &schema, call, &err);
    rec->tag = tag_of(arena, rec->value ? rec->value : doc, schema);
    if (st == HD_OK) {
        rec->a = hd_answer_create(r.sv, r.rq, call, doc, r.start_ns);
        if (rec->a) return;
        st = HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    } else {
        hd_json_free(doc);
    }
    fail_record(b, rec, schema, &err);
}

static void finish_record(batch *b, record *rec)
{
    hd_buf body = {0};
    int status = hd_answer_take(rec->a, &body);
    put_answer(rec, hd_buf_slice(&body));
    hd_buf_fini(&body);
    end_record(b, rec, status, hd_answer_why(rec->a)->msg);
    hd_answer_free(rec->a);
    rec->a = NULL;
    b->active--;
}

// ---- the window ----------------------------------------------------------------------------

// False: the engine's queue is full.
static bool start_record(batch *b, record *rec)
{
    hd_err err = {0};
    if (!rec->a) read_record(b, rec);
    if (!rec->a) return true; // a bad one; it has its answer
    hd_status st = hd_answer_begin(rec->a, &err);
    if (st == HD_E_BUSY) return false;
    b->active++;
    if (st == HD_OK) return true;
    hd_answer_set_error(rec->a, &err);
    finish_record(b, rec);
    return true;
}

static void fill_window(batch *b, size_t window)
{
    while (b->next < b->n && b->active < window && !b->gone) {
        if (!start_record(b, &b->rec[b->next])) return;
        b->next++;
    }
}

// True: something happened.
static bool poll_window(batch *b)
{
    bool some = false;
    record *first = NULL;
    while (b->oldest < b->next && !b->rec[b->oldest].a)
        b->oldest++;
    for (size_t i = b->oldest; i < b->next; i++) {
        record *rec = &b->rec[i];
        if (!rec->a) continue;
        if (!first) first = rec;
        hd_progress p = hd_answer_poll(rec->a, b->active == 1 ? POLL_MS : 0);
        if (p != HD_PROGRESS_NONE) some = true;
        if (p == HD_PROGRESS_ENDED) finish_record(b, rec);
    }
    if (some || !first || !first->a) return some;
    hd_progress p = hd_answer_poll(first->a, POLL_MS);
    if (p == HD_PROGRESS_ENDED) finish_record(b, first);
    return p != HD_PROGRESS_NONE;
}

static bool cut(const batch *b)
{
    return hd_http_client_gone(b->r->rq) ||
           atomic_load_explicit(&b->r->sv->cut, memory_order_acquire);
}

static void run(batch *b)
{
    size_t window = 2 * (size_t)b->r->sv->cfg->max_seqs;
    bool strict = b->r->sv->cfg->batch_strict;
    const hd_err end = {.code = HD_E_CANCELLED, .msg = "the request was ended before this record"};
    while (b->ended < b->n) {
        b->gone = b->gone || cut(b) || (strict && b->first_bad < b->n);
        fill_window(b, window);
        if (b->gone && b->next < b->n) { // records that never began
            record *rec = &b->rec[b->next++];
            if (rec->a) {
                b->active++;
                hd_answer_set_error(rec->a, &end);
                finish_record(b, rec);
            } else {
                fail_record(b, rec, NULL, &end);
            }
            continue;
        }
        if (b->active == 0 && b->ended < b->n) // others fill the queue
            nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        else
            poll_window(b);
    }
}

// ---- reply ---------------------------------------------------------------------------------

static void reply_failure(batch *b, hd_http_rsp *rs)
{
    const record *rec = &b->rec[b->first_bad];
    char why[256];
    int status = rec->status >= 500 || rec->status == 429 ? rec->status : 400;
    snprintf(why, sizeof(why), "record %zu of %zu: %s", b->first_bad + 1, b->n, b->why);
    hd_answer_refuse(b->r->sv, b->r->rq, rs, NULL, status, why, b->r->start_ns);
}

static void reply(batch *b, hd_http_rsp *rs, bool array)
{
    hd_buf w = {0};
    bool strict = b->r->sv->cfg->batch_strict;
    if (b->n_good == 0 || (strict && b->first_bad < b->n)) {
        reply_failure(b, rs);
        return;
    }
    hd_buf_puts(&w, array ? "[" : "");
    for (size_t i = 0; i < b->n; i++) {
        hd_buf_puts(&w, i == 0 ? "" : array ? "," : "\n");
        hd_buf_put_slice(&w, hd_buf_slice(&b->rec[i].out));
        w.failed |= b->rec[i].out.failed;
    }
    hd_buf_puts(&w, array ? "]" : "");
    if (w.failed)
        hd_answer_refuse(b->r->sv, b->r->rq, rs, NULL, 503, "out of memory", b->r->start_ns);
    else
        hd_http_reply(rs, 200, array ? "application/json" : "application/jsonlines",
                      hd_buf_slice(&w));
    HD_LOG(HD_LOG_INFO, "request", "batch", hd_f_str("id", hd_http_id(b->r->rq)),
           hd_f_int("records", (int64_t)b->n), hd_f_int("good", (int64_t)b->n_good),
           hd_f_f64("total_ms", (double)(hd_mono_ns() - b->r->start_ns) / 1e6, 1));
    hd_buf_fini(&w);
}

static void run_and_reply(batch *b, hd_http_rsp *rs, bool array)
{
    b->first_bad = b->n;
    run(b);
    reply(b, rs, array);
    for (size_t i = 0; i < b->n; i++)
        hd_buf_fini(&b->rec[i].out);
}

static bool make_records(batch *b, hd_http_rsp *rs, size_t n)
{
    const hd_reading *r = b->r;
    if (n == 0 || n > MAX_RECORDS) {
        char why[96];
        snprintf(why, sizeof(why), "body: found %zu records, expected 1 to %d", n, MAX_RECORDS);
        hd_answer_refuse(r->sv, r->rq, rs, NULL, 400, why, r->start_ns);
        return false;
    }
    b->n = n;
    b->rec = hd_arena_alloc(hd_http_arena(r->rq), n * sizeof(*b->rec));
    if (!b->rec) hd_answer_refuse(r->sv, r->rq, rs, NULL, 503, "out of memory", r->start_ns);
    return b->rec != NULL;
}

void hd_batch_lines(const hd_reading *r, hd_http_rsp *rs, hd_slice text)
{
    batch b = {.r = r};
    size_t at = 0, n = 0;
    if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0) text.p += 3, text.n -= 3;
    while (next_line(text, &at).n > 0)
        n++;
    if (!make_records(&b, rs, n)) return;
    at = 0;
    for (size_t i = 0; i < n; i++)
        b.rec[i].text = next_line(text, &at);
    run_and_reply(&b, rs, false);
}

void hd_batch_array(const hd_reading *r, hd_http_rsp *rs, hd_json *doc)
{
    batch b = {.r = r};
    size_t i = 0;
    if (make_records(&b, rs, hd_json_len(doc))) {
        for (const hd_json *c = hd_json_first(doc); c; c = hd_json_next(c))
            b.rec[i++].value = c;
        run_and_reply(&b, rs, true);
    }
    hd_json_free(doc);
}
