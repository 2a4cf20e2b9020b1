// HTTP on libmicrohttpd 0.9.75, one thread per connection. What needs no library is in http_head.c
// (which requests are refused) and http_req.c, time limits are in http_watch.c.
//
// One hd_http_req lives as long as its connection and is begun anew for each request: the library
// announces the target (on_target), then calls on_request with the head, with pieces of the body
// and with the end. Answers are queued only at the end, or with the head when a body that is not
// wanted would follow; a body that turns out too long is answered on the bare socket, because the
// library accepts no answer between these two points.
//
// Errors that the library finds by itself it answers by itself, with HTML and, when it is a length,
// with two heads. Its log tells of them first, on the connection's thread: our answer is sent then,
// and nothing can follow it. Before a connection's first target the thread is not known to us;
// there the library's answer stands, or its silence.
//
// A client that speaks HTTP/1.0 cannot tell an aborted stream from a whole one: there is no chunk
// framing and the library ends the connection in order.
#include "server/http.h"

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/http_impl.h"
#include "server/http_watch.h"

#include <errno.h>
#include <linux/tcp.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STACK_BYTES = 256 << 10,
    SEND_BYTES = 128 << 10, // unsent output of a connection; the kernel doubles it for itself
    STOP_SECONDS = 2,
    // The library closes newcomers at its limit without a word, so the limit lies well above ours:
    // who is too many is read and answered 503.
    SLACK_CONNECTIONS = 1024,
    LEAST_SLACK = 64,
    OTHER_FILES = 96,
};

// ---- life of a request ---------------------------------------------------------------------

static void request_begin(hd_http_req *rq, const char *target)
{
    hd_http *h = rq->h;
    rq->begun = true;
    rq->heard = rq->counted = rq->last = rq->linger = false;
    rq->route = NULL;
    rq->refuse = 0;
    rq->dropped = 0;
    rq->id[0] = 0;
    rq->pull = NULL;
    rq->fini = NULL;
    rq->out_at = 0;
    memset(&rq->rsp, 0, sizeof(rq->rsp));
    rq->rsp.rq = rq;
    // What a body can blow up to when parsed: copies of texts and small structs per element.
    hd_arena_init(&rq->arena, 8 << 10, 2 * h->cfg.max_body_bytes + (16 << 20));
    size_t n = target ? strlen(target) : 0;
    rq->target = hd_arena_dup(&rq->arena, target ? target : "", n);
    rq->target_end = (uintptr_t)target + n;
    hd_watch_phase(h->watch, &rq->watched, HD_PHASE_HEAD);
}

static void stream_end(hd_http_req *rq)
{
    hd_fini_fn fini = rq->fini;
    rq->fini = NULL;
    if (fini) fini(rq->stream_ctx);
}

static void request_end(hd_http_req *rq)
{
    hd_http *h = rq->h;
    if (!rq->begun) return;
    rq->begun = false;
    stream_end(rq);
    if (rq->counted) {
        pthread_mutex_lock(&h->mu);
        h->active--;
        pthread_cond_broadcast(&h->idle);
        pthread_mutex_unlock(&h->mu);
    }
    if (rq->linger) hd_socket_linger(rq->watched.fd);
    hd_buf_fini(&rq->body);
    hd_buf_fini(&rq->out);
    hd_arena_fini(&rq->arena);
    hd_watch_phase(h->watch, &rq->watched, HD_PHASE_IDLE);
}

// ---- answers -------------------------------------------------------------------------------

void hd_http_set_header(hd_http_rsp *rs, const char *name, const char *value)
{
    hd_arena *a = &rs->rq->arena;
    HD_ASSERT(rs->n_headers < HD_HTTP_HEADERS_SET);
    hd_http_header_set *hd = &rs->header[rs->n_headers];
    hd->name = hd_arena_dup(a, name, strlen(name));
    hd->value = hd_arena_dup(a, value, strlen(value));
    if (hd->name && hd->value)
        rs->n_headers++;
    else
        rs->failed = true;
}

// Takes the response over. False: the library is out of memory; the connection ends.
static bool queue(hd_http_rsp *rs, int status, const char *type, struct MHD_Response *r)
{
    hd_http_req *rq = rs->rq;
    bool ok = r != NULL && !rs->failed;
    for (int i = 0; ok && i < rs->n_headers; i++)
        ok = MHD_add_response_header(r, rs->header[i].name, rs->header[i].value) == MHD_YES;
    if (ok && type) ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_YES;
    if (ok && rq->route && !rq->route->control)
        ok = MHD_add_response_header(r, "X-Request-Id", hd_http_id(rq)) == MHD_YES;
    const char *origin = rq->h->cfg.cors_origin;
    if (ok && origin)
        ok = MHD_add_response_header(r, "Access-Control-Allow-Origin", origin) == MHD_YES;
    if (ok && rq->last)
        ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_SEND);
    if (ok) ok = MHD_queue_response(rq->mc, (unsigned)status, r) == MHD_YES;
    if (r) MHD_destroy_response(r);
    rs->answered = true;
    rs->failed = !ok;
    return ok;
}

void hd_http_reply(hd_http_rsp *rs, int status, const char *type, hd_slice body)
{
    HD_ASSERT(!rs->answered);
    hd_buf copy = {0};
    struct MHD_Response *r = NULL;
    hd_buf_put_slice(&copy, body);
    if (!copy.failed)
        r = MHD_create_response_from_buffer_with_free_callback(copy.len, copy.data, hd_free);
    if (!r) hd_buf_fini(&copy);
    queue(rs, status, body.n ? type : NULL, r);
}

static ssize_t on_read(void *cls, uint64_t pos, char *to, size_t max)
{
    hd_http_req *rq = cls;
    (void)pos;
    while (rq->out_at == rq->out.len) {
        if (rq->state == HD_PULL_END) return MHD_CONTENT_READER_END_OF_STREAM;
        if (rq->state == HD_PULL_ABORT) return MHD_CONTENT_READER_END_WITH_ERROR;
        hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BUSY);
        hd_buf_clear(&rq->out);
        rq->out_at = 0;
        rq->state = rq->pull(rq->stream_ctx, &rq->out);
        if (rq->out.failed) rq->state = HD_PULL_ABORT;
        if (rq->state == HD_PULL_ABORT) rq->out.len = 0;
    }
    size_t n = rq->out.len - rq->out_at;
    if (n > max) n = max;
    memcpy(to, rq->out.data + rq->out_at, n);
    rq->out_at += n;
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_SEND);
    return (ssize_t)n;
}

void hd_http_stream(hd_http_rsp *rs, int status, const char *type, hd_pull_fn pull, hd_fini_fn fini,
                    void *ctx)
{
    hd_http_req *rq = rs->rq;
    HD_ASSERT(!rs->answered);
    rq->pull = pull;
    rq->fini = fini;
    rq->stream_ctx = ctx;
    rq->state = HD_PULL_MORE;
    hd_http_set_header(rs, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    hd_http_set_header(rs, "X-Accel-Buffering", "no");
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, on_read, rq, NULL);
    if (!queue(rs, status, type, r)) stream_end(rq);
}

// ---- head ----------------------------------------------------------------------------------

static enum MHD_Result on_line(void *cls, enum MHD_ValueKind kind, const char *name,
                               const char *value)
{
    (void)kind;
    hd_http_head_line(cls, name, value);
    return MHD_YES;
}

static enum MHD_Result on_head(hd_http_req *rq, const char *method, const char *version)
{
    hd_http_head hd = {.method = method, .old = strcmp(version, MHD_HTTP_VERSION_1_0) == 0};
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(rq->mc, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    rq->heard = true;
    if (size) hd.bytes = size->header_size;
    if (rq->h->in_place) hd_http_head_begin(&hd, rq->target_end, version);
    MHD_get_connection_values(rq->mc, MHD_HEADER_KIND, on_line, &hd);
    hd_http_head_end(&hd);
    hd_http_check_head(rq, &hd);
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BODY);
    if (!rq->refuse) return MHD_YES;
    // A short body is read and dropped and the connection goes on; else the answer comes first and
    // the connection ends.
    bool long_body = hd.coding || (hd.length && strtoull(hd.length, NULL, 10) > HD_HTTP_DROP_BYTES);
    if (!rq->last && !hd.expect && !long_body) return MHD_YES;
    rq->last = true;
    rq->linger = hd.coding || hd.length;
    hd_http_reply_refusal(rq);
    return rq->rsp.failed ? MHD_NO : MHD_YES;
}

// ---- body and end --------------------------------------------------------------------------

// Where the library takes no answer: answer on the socket and end the connection.
static enum MHD_Result cut_off(hd_http_req *rq, int status, const char *phrase, const char *why)
{
    hd_buf out = {0};
    hd_http_raw_answer(&rq->h->cfg, &out, status, phrase, why);
    if (!out.failed) hd_socket_send(rq->watched.fd, hd_buf_slice(&out));
    hd_buf_fini(&out);
    rq->linger = true;
    return MHD_NO;
}

static enum MHD_Result on_body(hd_http_req *rq, const char *p, size_t n)
{
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BODY);
    if (rq->rsp.answered) return MHD_YES;
    if (rq->refuse || rq->body_limit == 0) {
        rq->dropped += n;
        return rq->dropped <= HD_HTTP_DROP_BYTES
                   ? MHD_YES
                   : cut_off(rq, 413, "Content Too Large", "body: none is expected here");
    }
    if (n > rq->body_limit - rq->body.len) {
        char why[96];
        snprintf(why, sizeof(why), "body: found more than %zu bytes, expected at most %zu",
                 rq->body_limit, rq->body_limit);
        return cut_off(rq, 413, "Content Too Large", why);
    }
    hd_buf_put(&rq->body, p, n);
    if (rq->body.failed)
        return cut_off(rq, 503, "Service Unavailable", "out of memory for the body");
    return MHD_YES;
}

static enum MHD_Result on_end(hd_http_req *rq)
{
    hd_http_rsp *rs = &rq->rsp;
    if (rs->answered) return rs->failed ? MHD_NO : MHD_YES;
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BUSY);
    if (rq->refuse)
        hd_http_reply_refusal(rq);
    else
        rq->route->handle(rq->h->cfg.server, rq, rs);
    HD_ASSERT(rs->answered);
    return rs->failed ? MHD_NO : MHD_YES;
}

// ---- callbacks of the library --------------------------------------------------------------

static hd_http_req *request_of(struct MHD_Connection *mc)
{
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *mc)
{
    hd_http_req *rq = request_of(mc);
    hd_http *h = cls;
    (void)pthread_setspecific(h->current, rq);
    if (rq) request_begin(rq, target);
    return NULL;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *mc, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **ctx)
{
    hd_http_req *rq = request_of(mc);
    (void)cls;
    (void)url;
    (void)ctx;
    if (!rq || !rq->begun) return MHD_NO;
    if (!rq->heard) return on_head(rq, method, version);
    if (*n == 0) return on_end(rq);
    size_t got = *n;
    *n = 0;
    return on_body(rq, data, got);
}

static void on_completed(void *cls, struct MHD_Connection *mc, void **ctx,
                         enum MHD_RequestTerminationCode code)
{
    hd_http_req *rq = request_of(mc);
    (void)cls;
    (void)ctx;
    (void)code;
    if (rq) request_end(rq);
}

static void on_connection(void *cls, struct MHD_Connection *mc, void **ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    hd_http *h = cls;
    hd_http_req *rq = *ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *i =
            MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);
        rq = hd_calloc(1, sizeof(*rq));
        *ctx = rq;
        if (!rq) return; // its requests are dropped in on_request
        int one = 1, most = SEND_BYTES;
        rq->h = h;
        rq->mc = mc;
        rq->watched.fd = i->connect_fd;
        (void)setsockopt(rq->watched.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)setsockopt(rq->watched.fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof(most));
        hd_watch_add(h->watch, &rq->watched);
    } else if (rq) {
        rq->linger = false;
        request_end(rq);
        hd_watch_remove(h->watch, &rq->watched);
        hd_free(rq);
        *ctx = NULL;
    }
}

// What the library is about to answer by itself, unless an answer is on its way already.
static void answer_instead(hd_http *h, long status)
{
    static const struct {
        int theirs, ours;
        const char *phrase, *head, *body; // why, before and after the head has been read
    } rows[] = {
        {400, 400, "Bad Request", "request head: a line or Content-Length is malformed",
         "body: a chunk is malformed"},
        {413, 413, "Content Too Large", "Content-Length: too large", "body: a chunk is too large"},
        {414, 414, "URI Too Long", "request line: too long", "request line: too long"},
        {431, 431, "Request Header Fields Too Large", "request head: too large",
         "body: the lines behind it are too long"},
        {500, 413, "Content Too Large", "request head: too large",
         "body: the line before a chunk is too long"},
        {505, 505, "HTTP Version Not Supported", "request line: expected HTTP/1.1",
         "request line: expected HTTP/1.1"},
    };
    hd_http_req *rq = pthread_getspecific(h->current);
    if (!rq || (rq->begun && rq->rsp.answered)) return;
    bool in_body = rq->begun && rq->heard;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (rows[i].theirs != status) continue;
        (void)cut_off(rq, rows[i].ours, rows[i].phrase, in_body ? rows[i].body : rows[i].head);
        shutdown(rq->watched.fd, SHUT_WR);
    }
}

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *fmt, va_list ap)
{
    static const char error[] = "Error processing request (HTTP response code is ";
    char line[240];
    vsnprintf(line, sizeof(line), fmt, ap);
    if (strncmp(line, error, sizeof(error) - 1) == 0)
        answer_instead(cls, strtol(line + sizeof(error) - 1, NULL, 10));
    if (!hd_log_enabled(HD_LOG_DEBUG)) return;
    line[strcspn(line, "\r\n")] = 0;
    HD_LOG(HD_LOG_DEBUG, "http", line);
}

// ---- the listener --------------------------------------------------------------------------

// How many more than are served can be told so; each needs a descriptor.
static int slack_of(const hd_http_cfg *c)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur > INT32_MAX) return SLACK_CONNECTIONS;
    int left = (int)r.rlim_cur - c->max_connections - c->control_connections - OTHER_FILES;
    if (left > SLACK_CONNECTIONS) return SLACK_CONNECTIONS;
    return left < LEAST_SLACK ? LEAST_SLACK : left;
}

static struct MHD_Daemon *start_daemon(hd_http *h)
{
    const hd_http_cfg *c = &h->cfg;
    // The read buffer starts at half of the pool: a head up to the limit always fits.
    size_t pool = 2 * c->max_header_bytes + (32 << 10);
    unsigned connections = (unsigned)(c->max_connections + c->control_connections + slack_of(c));
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, h,
        MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)16384, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT, 0,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
}

static hd_status start(hd_http *h, hd_err *err)
{
    const hd_http_cfg *c = &h->cfg;
    hd_http_raw_answer(c, &h->tardy, 408, "Request Timeout", "the request did not arrive in time");
    hd_http_raw_answer(c, &h->crowded, 503, "Service Unavailable", "too many connections");
    HD_CHECK(!h->tardy.failed && !h->crowded.failed, err, HD_E_NOMEM, "out of memory");
    hd_watch_cfg limits = {.head_seconds = c->header_seconds,
                           .body_seconds = c->body_idle_seconds,
                           .idle_seconds = c->idle_seconds,
                           .send_seconds = c->body_idle_seconds,
                           .crowd = c->max_connections + c->control_connections,
                           .tardy = hd_buf_slice(&h->tardy),
                           .crowded = hd_buf_slice(&h->crowded)};
    h->in_place = strcmp(MHD_get_version(), "0.9.75") == 0;
    h->has_current = pthread_key_create(&h->current, NULL) == 0;
    HD_CHECK(h->has_current, err, HD_E_LIMIT, "too many thread keys");
    HD_TRY(hd_socket_listen(c->host, c->port, &h->listener, &h->port, err));
    HD_TRY(hd_watch_create(&limits, &h->watch, err));
    h->daemon = start_daemon(h);
    if (!h->daemon) h->listener = -1; // closed by the library
    HD_CHECK(h->daemon, err, HD_E_IO, "cannot start the HTTP listener: %s", strerror(errno));
    return HD_OK;
}

static void release(hd_http *h)
{
    hd_watch_destroy(h->watch);
    if (h->has_current) pthread_key_delete(h->current);
    if (h->listener >= 0) close(h->listener);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->mu);
    hd_buf_fini(&h->tardy);
    hd_buf_fini(&h->crowded);
    hd_free(h);
}

hd_status hd_http_start(const hd_http_cfg *cfg, hd_http **out, hd_err *err)
{
    hd_http *h = hd_calloc(1, sizeof(*h));
    pthread_condattr_t attr;
    *out = NULL;
    HD_CHECK(h, err, HD_E_NOMEM, "out of memory");
    h->cfg = *cfg;
    h->listener = -1;
    pthread_mutex_init(&h->mu, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->idle, &attr);
    pthread_condattr_destroy(&attr);
    hd_status st = start(h, err);
    if (st != HD_OK) {
        release(h);
        return st;
    }
    *out = h;
    return HD_OK;
}

int hd_http_port(const hd_http *h)
{
    return h->port;
}

int hd_http_active(hd_http *h)
{
    pthread_mutex_lock(&h->mu);
    int n = h->active;
    pthread_mutex_unlock(&h->mu);
    return n;
}

void hd_http_stop(hd_http *h)
{
    struct timespec until;
    if (!h) return;
    (void)MHD_quiesce_daemon(h->daemon); // the socket stays ours
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += STOP_SECONDS;
    pthread_mutex_lock(&h->mu);
    h->stopping = true;
    while (h->active > 0)
        if (pthread_cond_timedwait(&h->idle, &h->mu, &until) == ETIMEDOUT) break;
    pthread_mutex_unlock(&h->mu);
    MHD_stop_daemon(h->daemon); // shuts sockets, joins threads
    release(h);
}

// ---- requests ------------------------------------------------------------------------------

const hd_route *hd_http_route(const hd_http_req *rq)
{
    return rq->route;
}

const char *hd_http_tail(const hd_http_req *rq)
{
    return rq->tail ? rq->tail : "";
}

unsigned hd_http_method(const hd_http_req *rq)
{
    return rq->method;
}

hd_slice hd_http_body(const hd_http_req *rq)
{
    return hd_buf_slice(&rq->body);
}

typedef struct wanted {
    const char *name, *value;
} wanted;

static enum MHD_Result match_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    wanted *w = cls;
    (void)kind;
    if (strcasecmp(name, w->name) == 0) w->value = value ? value : "";
    return MHD_YES; // of several the last one counts
}

const char *hd_http_header(const hd_http_req *rq, const char *name)
{
    wanted w = {name, NULL};
    MHD_get_connection_values(rq->mc, MHD_HEADER_KIND, match_header, &w);
    return w.value;
}

const char *hd_http_query(const hd_http_req *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->mc, MHD_GET_ARGUMENT_KIND, name);
}

hd_arena *hd_http_arena(hd_http_req *rq)
{
    return &rq->arena;
}

bool hd_http_client_gone(const hd_http_req *rq)
{
    return hd_socket_gone(rq->watched.fd);
}

const char *hd_http_id(hd_http_req *rq)
{
    if (!rq->id[0]) hd_request_id(hd_http_header(rq, "X-Amzn-SageMaker-Inference-Id"), rq->id);
    return rq->id;
}
