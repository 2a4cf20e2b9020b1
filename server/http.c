// HTTP on libmicrohttpd 0.9.75, one thread per connection. What needs no library is in http_req.c,
// time limits are in http_watch.c.
//
// One hd_http_req lives as long as its connection and is begun anew for each request: the library
// announces the target (on_target), then calls on_request with the head, with pieces of the body
// and with the end. Answers are queued only at the end, or with the head when a body that is not
// wanted would follow; a body that turns out too long is answered on the bare socket, because the
// library accepts no answer between these two points.
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
#include <sys/socket.h>
#include <unistd.h>

enum {
    STACK_BYTES = 256 << 10,
    SEND_BYTES = 128 << 10, // unsent output of a connection; the kernel doubles it for itself
    DROP_BYTES = 64 << 10,  // an unwanted body up to here is read, so that the connection lives on
    MAX_HEADERS_SET = 12,
    STOP_SECONDS = 2,
    SLACK_CONNECTIONS = 64, // the library closes newcomers at its limit; we make room before that
};

struct hd_http {
    hd_http_cfg cfg;
    struct MHD_Daemon *daemon;
    hd_watch *watch;
    hd_buf tardy; // the raw answer to clients that are too slow
    int listener, port;
    pthread_mutex_t mu;
    pthread_cond_t idle;
    int active; // ordinary requests between head and end
    bool stopping;
};

typedef struct header {
    const char *name, *value;
} header;

struct hd_http_rsp {
    hd_http_req *rq;
    header header[MAX_HEADERS_SET];
    int n_headers;
    bool answered, failed;
};

struct hd_http_req {
    hd_http *h;
    struct MHD_Connection *mc;
    hd_watched watched;
    bool begun, heard, counted; // target seen; head seen; counts in h->active
    const char *target, *tail;
    const hd_route *route;
    unsigned method;
    hd_buf body;
    size_t body_limit, dropped;
    hd_arena arena;
    char id[HD_REQUEST_ID_BYTES];
    int refuse; // status that http.c itself answers, 0: none
    char why[160];
    bool last, linger; // end the connection; and read on for a while
    hd_http_rsp rsp;
    // a streamed answer
    hd_pull_fn pull;
    hd_fini_fn fini;
    void *stream_ctx;
    hd_buf out;
    size_t out_at;
    hd_pull state;
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
    rq->target = hd_arena_dup(&rq->arena, target ? target : "", target ? strlen(target) : 0);
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
    HD_ASSERT(rs->n_headers < MAX_HEADERS_SET);
    header *hd = &rs->header[rs->n_headers];
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

// ---- refusals ------------------------------------------------------------------------------

static void refuse(hd_http_req *rq, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(hd_http_req *rq, int status, const char *fmt, ...)
{
    va_list ap;
    if (rq->refuse) return; // the first reason stands
    rq->refuse = status;
    va_start(ap, fmt);
    vsnprintf(rq->why, sizeof(rq->why), fmt, ap);
    va_end(ap);
}

static void reply_refusal(hd_http_req *rq)
{
    hd_buf body = {0};
    char allow[64] = "";
    if (rq->route && (rq->refuse == 405 || rq->refuse == 204)) {
        hd_route_allow(rq->route, allow);
        hd_http_set_header(&rq->rsp, "Allow", allow);
    }
    if (rq->refuse == 204 && rq->h->cfg.cors_origin) {
        hd_http_set_header(&rq->rsp, "Access-Control-Allow-Methods", allow);
        hd_http_set_header(&rq->rsp, "Access-Control-Allow-Headers", "*, Authorization");
    }
    if (rq->refuse == 401) hd_http_set_header(&rq->rsp, "WWW-Authenticate", "Bearer");
    if (rq->refuse == 503) {
        hd_http_set_header(&rq->rsp, "Retry-After", "1");
        rq->last = true;
    }
    if (rq->refuse != 204) rq->h->cfg.error_body(&body, rq->refuse, rq->why);
    if (body.failed) body.len = 0;
    hd_http_reply(&rq->rsp, rq->refuse, "application/json", hd_buf_slice(&body));
    HD_LOG(HD_LOG_DEBUG, "http", "refused", hd_f_int("status", rq->refuse),
           hd_f_str("why", rq->why));
    hd_buf_fini(&body);
}

static void raw_answer(const hd_http_cfg *cfg, hd_buf *out, int status, const char *phrase,
                       const char *why)
{
    hd_buf body = {0};
    cfg->error_body(&body, status, why);
    hd_buf_printf(out,
                  "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n\r\n",
                  status, phrase, body.len);
    hd_buf_put_slice(out, hd_buf_slice(&body));
    out->failed |= body.failed;
    hd_buf_fini(&body);
}

// In the middle of a body: answer on the socket and end the connection.
static enum MHD_Result cut_body(hd_http_req *rq, int status, const char *phrase, const char *why)
{
    hd_buf out = {0};
    raw_answer(&rq->h->cfg, &out, status, phrase, why);
    if (!out.failed) hd_socket_send(rq->watched.fd, hd_buf_slice(&out));
    hd_buf_fini(&out);
    rq->linger = true;
    return MHD_NO;
}

// ---- head ----------------------------------------------------------------------------------

typedef struct head {
    size_t n, hosts, lengths, codings;
    const char *host, *length, *coding, *encoding, *expect;
} head;

static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    head *hd = cls;
    (void)kind;
    const char *v = value ? value : "";
    hd->n++;
    if (strcasecmp(name, "Host") == 0) hd->hosts++;
    if (strcasecmp(name, "Content-Length") == 0) hd->lengths++, hd->length = v;
    if (strcasecmp(name, "Transfer-Encoding") == 0) hd->codings++, hd->coding = v;
    if (strcasecmp(name, "Content-Encoding") == 0) hd->encoding = v;
    if (strcasecmp(name, "Expect") == 0) hd->expect = v;
    return MHD_YES;
}

static void check_framing(hd_http_req *rq, const head *hd)
{
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(rq->mc, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (size && size->header_size > rq->h->cfg.max_header_bytes)
        refuse(rq, 431, "request head: found %zu bytes, expected at most %zu", size->header_size,
               rq->h->cfg.max_header_bytes);
    if (hd->n > rq->h->cfg.max_headers)
        refuse(rq, 431, "request head: found %zu lines, expected at most %zu", hd->n,
               rq->h->cfg.max_headers);
    if (hd->hosts > 1) refuse(rq, 400, "header Host: found %zu, expected one", hd->hosts);
    if (hd->lengths > 1)
        refuse(rq, 400, "header Content-Length: found %zu, expected one", hd->lengths);
    if (hd->lengths && hd->codings)
        refuse(rq, 400, "found both Content-Length and Transfer-Encoding, expected one of them");
    if (hd->codings > 1 || (hd->coding && strcasecmp(hd->coding, "chunked") != 0)) {
        refuse(rq, 400, "header Transfer-Encoding: only chunked is supported");
        rq->last = true; // where the body ends is not known
    }
}

static void check_route(hd_http_req *rq, const char *method)
{
    const hd_http_cfg *cfg = &rq->h->cfg;
    hd_slice path = hd_target_path(rq->target);
    rq->method = hd_method_of(method);
    char *copy = hd_arena_dup(&rq->arena, path.p, path.n);
    if (!copy) {
        refuse(rq, 503, "out of memory");
        return;
    }
    path.p = copy;
    rq->route = hd_route_find(cfg->routes, cfg->n_routes, path, &rq->tail);
    if (!rq->route) {
        refuse(rq, 404, "no such path: %.100s", path.p);
        return;
    }
    unsigned allowed = rq->route->methods | HD_METHOD_OPTIONS;
    if (allowed & HD_METHOD_GET) allowed |= HD_METHOD_HEAD;
    if (!(allowed & rq->method)) refuse(rq, 405, "%.20s is not allowed here", method);
    if (rq->method == HD_METHOD_OPTIONS && !(rq->route->methods & HD_METHOD_OPTIONS))
        refuse(rq, 204, "options");
}

// Ordinary requests take a slot; control routes never wait for one.
static void check_slot(hd_http_req *rq)
{
    hd_http *h = rq->h;
    const char *why = "not now";
    if (rq->refuse || !rq->route) return;
    int status = h->cfg.admit ? h->cfg.admit(h->cfg.server, rq, rq->route, &why) : 0;
    if (status) refuse(rq, status, "%s", why);
    if (rq->refuse || rq->route->control) return;
    pthread_mutex_lock(&h->mu);
    rq->counted = !h->stopping && h->active < h->cfg.max_connections;
    h->active += rq->counted;
    pthread_mutex_unlock(&h->mu);
    if (!rq->counted)
        refuse(rq, 503, "all %d connections for requests are in use", h->cfg.max_connections);
}

static void check_body(hd_http_req *rq, const head *hd)
{
    size_t most = rq->h->cfg.max_body_bytes;
    if (rq->route && rq->route->max_body < most) most = rq->route->max_body;
    rq->body_limit = most;
    uint64_t length = hd->length ? strtoull(hd->length, NULL, 10) : 0;
    size_t allowed = most ? most : DROP_BYTES;
    if (length > allowed)
        refuse(rq, 413, "body: found %llu bytes, expected at most %zu", (unsigned long long)length,
               allowed);
    if (hd->encoding && hd->encoding[0] && strcasecmp(hd->encoding, "identity") != 0)
        refuse(rq, 415, "header Content-Encoding: found '%.40s', only identity is supported",
               hd->encoding);
}

static enum MHD_Result on_head(hd_http_req *rq, const char *method)
{
    head hd = {0};
    rq->heard = true;
    MHD_get_connection_values(rq->mc, MHD_HEADER_KIND, count_header, &hd);
    if (!rq->target) refuse(rq, 503, "out of memory");
    check_framing(rq, &hd);
    if (!rq->refuse) check_route(rq, method);
    check_body(rq, &hd);
    check_slot(rq);
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BODY);
    if (!rq->refuse) return MHD_YES;
    // A short body is read and dropped and the connection goes on; else the answer comes first and
    // the connection ends.
    bool long_body = hd.coding || (hd.length && strtoull(hd.length, NULL, 10) > DROP_BYTES);
    if (!rq->last && !hd.expect && !long_body) return MHD_YES;
    rq->last = true;
    rq->linger = hd.coding || hd.length;
    reply_refusal(rq);
    return rq->rsp.failed ? MHD_NO : MHD_YES;
}

// ---- body and end --------------------------------------------------------------------------

static enum MHD_Result on_body(hd_http_req *rq, const char *p, size_t n)
{
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BODY);
    if (rq->rsp.answered) return MHD_YES;
    if (rq->refuse || rq->body_limit == 0) {
        rq->dropped += n;
        return rq->dropped <= DROP_BYTES
                   ? MHD_YES
                   : cut_body(rq, 413, "Content Too Large", "body: none is expected here");
    }
    if (n > rq->body_limit - rq->body.len) {
        char why[96];
        snprintf(why, sizeof(why), "body: found more than %zu bytes, expected at most %zu",
                 rq->body_limit, rq->body_limit);
        return cut_body(rq, 413, "Content Too Large", why);
    }
    hd_buf_put(&rq->body, p, n);
    if (rq->body.failed)
        return cut_body(rq, 503, "Service Unavailable", "out of memory for the body");
    return MHD_YES;
}

static enum MHD_Result on_end(hd_http_req *rq)
{
    hd_http_rsp *rs = &rq->rsp;
    if (rs->answered) return rs->failed ? MHD_NO : MHD_YES;
    hd_watch_phase(rq->h->watch, &rq->watched, HD_PHASE_BUSY);
    if (rq->refuse)
        reply_refusal(rq);
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
    (void)cls;
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
    (void)version;
    (void)ctx;
    if (!rq || !rq->begun) return MHD_NO;
    if (!rq->heard) return on_head(rq, method);
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

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *fmt, va_list ap)
{
    char line[240];
    (void)cls;
    if (!hd_log_enabled(HD_LOG_DEBUG)) return;
    vsnprintf(line, sizeof(line), fmt, ap);
    line[strcspn(line, "\r\n")] = 0;
    HD_LOG(HD_LOG_DEBUG, "http", line);
}

// ---- the listener --------------------------------------------------------------------------

static struct MHD_Daemon *start_daemon(hd_http *h)
{
    const hd_http_cfg *c = &h->cfg;
    // The read buffer starts at half of the pool: a head up to the limit always fits.
    size_t pool = 2 * c->max_header_bytes + (32 << 10);
    unsigned connections =
        (unsigned)(c->max_connections + c->control_connections + SLACK_CONNECTIONS);
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, h->listener, MHD_OPTION_CONNECTION_LIMIT, connections,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
        (size_t)16384, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
}

static hd_status start(hd_http *h, hd_err *err)
{
    const hd_http_cfg *c = &h->cfg;
    raw_answer(c, &h->tardy, 408, "Request Timeout", "the request did not arrive in time");
    HD_CHECK(!h->tardy.failed, err, HD_E_NOMEM, "out of memory");
    hd_watch_cfg limits = {.head_seconds = c->header_seconds,
                           .body_seconds = c->body_idle_seconds,
                           .idle_seconds = c->idle_seconds,
                           .send_seconds = c->body_idle_seconds,
                           .crowd = c->max_connections + c->control_connections,
                           .tardy = hd_buf_slice(&h->tardy)};
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
    if (h->listener >= 0) close(h->listener);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->mu);
    hd_buf_fini(&h->tardy);
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
