// hd_http against real sockets, with toy handlers.
#include "kernels/base/clock.h"
#include "server/http.h"
#include "tests/harness/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// ---- the server under test -----------------------------------------------------------------

typedef struct toy {
    atomic_int handled, finished, gone, waiting, fini;
    atomic_bool release, refuse;
} toy;

static void put_error(hd_buf *out, int status, const char *message)
{
    hd_buf_printf(out, "{\"status\":%d,\"message\":\"%s\"}", status, message);
}

static int admit(void *server, const hd_http_req *rq, const hd_route *r, const char **message)
{
    toy *t = server;
    (void)rq;
    if (r->control || !atomic_load(&t->refuse)) return 0;
    *message = "draining";
    return 503;
}

static void on_ping(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
}

// Answers with the body and what it knows of the request.
static void on_echo(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    toy *t = server;
    hd_buf b = {0};
    const char *x = hd_http_header(rq, "x-test"), *q = hd_http_query(rq, "q");
    hd_slice body = hd_http_body(rq);
    atomic_fetch_add(&t->handled, 1);
    hd_buf_printf(&b, "[%s|%s|%s|%zu|", x ? x : "-", q ? q : "-", hd_http_tail(rq), body.n);
    hd_buf_put_slice(&b, body);
    hd_buf_putc(&b, ']');
    hd_http_set_header(rs, "X-Extra", "1");
    hd_http_reply(rs, 200, "text/plain", hd_buf_slice(&b));
    hd_buf_fini(&b);
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

// Waits until released, or until the client has gone.
static void on_wait(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    toy *t = server;
    atomic_fetch_add(&t->waiting, 1);
    while (!atomic_load(&t->release) && !hd_http_client_gone(rq))
        nap(5);
    if (hd_http_client_gone(rq)) atomic_fetch_add(&t->gone, 1);
    hd_http_reply(rs, 200, "text/plain", hd_slice_str("waited"));
}

typedef struct feed {
    toy *t;
    int n, left, gap_ms, size;
    bool abort;
} feed;

static hd_pull pull(void *ctx, hd_buf *out)
{
    feed *f = ctx;
    if (f->left == 0) return f->abort ? HD_PULL_ABORT : HD_PULL_END;
    if (f->gap_ms && f->left != f->n) nap(f->gap_ms);
    hd_buf_printf(out, "event %d\n", f->n - f->left);
    for (int i = 0; i < f->size; i++)
        hd_buf_putc(out, 'x');
    f->left--;
    return HD_PULL_MORE;
}

static void feed_end(void *ctx)
{
    feed *f = ctx;
    atomic_fetch_add(&f->t->fini, 1);
    free(f);
}

// /stream?n=3&gap=50&size=0&abort=1
static void on_stream(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    feed *f = calloc(1, sizeof(*f));
    const char *n = hd_http_query(rq, "n"), *gap = hd_http_query(rq, "gap");
    const char *size = hd_http_query(rq, "size");
    f->t = server;
    f->n = f->left = n ? atoi(n) : 1;
    f->gap_ms = gap ? atoi(gap) : 0;
    f->size = size ? atoi(size) : 0;
    f->abort = hd_http_query(rq, "abort") != NULL;
    hd_http_stream(rs, 200, "text/event-stream", pull, feed_end, f);
}

static void on_id(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    hd_http_reply(rs, 200, "text/plain", hd_slice_str(hd_http_id(rq)));
}

static const hd_route routes[] = {
    {"/ping", HD_METHOD_GET | HD_METHOD_POST, on_ping, 0, true},
    {"/echo", HD_METHOD_GET | HD_METHOD_POST, on_echo, SIZE_MAX, false},
    {"/small", HD_METHOD_POST, on_echo, 10, false},
    {"/wait", HD_METHOD_POST, on_wait, 100, false},
    {"/stream", HD_METHOD_GET | HD_METHOD_POST, on_stream, 100, false},
    {"/id", HD_METHOD_GET, on_id, 0, false},
    {"/x/*", HD_METHOD_GET, on_echo, 0, false},
};

static hd_http_cfg config(toy *t)
{
    return (hd_http_cfg){.host = "127.0.0.1",
                         .max_connections = 4,
                         .control_connections = 4,
                         .max_body_bytes = 1 << 20,
                         .max_header_bytes = 4096,
                         .max_headers = 20,
                         .header_seconds = 1,
                         .body_idle_seconds = 1,
                         .idle_seconds = 30,
                         .routes = routes,
                         .n_routes = sizeof(routes) / sizeof(routes[0]),
                         .server = t,
                         .error_body = put_error,
                         .admit = admit};
}

static hd_http *start(toy *t)
{
    hd_http_cfg cfg = config(t);
    hd_http *h;
    hd_err err = {0};
    memset(t, 0, sizeof(*t));
    if (hd_http_start(&cfg, &h, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return h;
}

// ---- a client ------------------------------------------------------------------------------

static int dial(const hd_http *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hd_http_port(h))};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_INT(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void say_n(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return; // the server has ended the connection: the answer tells
        p += k;
        n -= (size_t)k;
    }
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

// Appends what arrives until `until` is seen (NULL: until the end). False: the end or 5 seconds.
static bool hear(int fd, hd_buf *b, const char *until)
{
    int64_t end = hd_mono_ns() + INT64_C(5000000000);
    while (hd_mono_ns() < end) {
        char chunk[4096];
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (until && b->data && strstr(b->data, until)) return true;
        if (poll(&p, 1, 100) <= 0) continue;
        ssize_t n = recv(fd, chunk, sizeof(chunk), 0);
        if (n <= 0) return until ? false : true;
        hd_buf_put(b, chunk, (size_t)n);
    }
    return false;
}

// One request on a fresh connection, answered until the server closes it.
static const char *ask(const hd_http *h, const char *request)
{
    static hd_buf b;
    hd_buf_clear(&b);
    hd_buf_puts(&b, "");
    int fd = dial(h);
    say(fd, request);
    EXPECT(hear(fd, &b, NULL));
    close(fd);
    return b.data ? b.data : "";
}

static void expect_status(const char *answer, int status)
{
    char want[32];
    snprintf(want, sizeof(want), "HTTP/1.1 %d ", status);
    if (strncmp(answer, want, strlen(want)) != 0)
        hd_test_fail(__FILE__, __LINE__, "want %s, got \"%.300s\"", want, answer);
}

static void wait_for(atomic_int *v, int n)
{
    for (int i = 0; i < 1000 && atomic_load(v) < n; i++)
        nap(5);
    EXPECT_INT(atomic_load(v), n);
}

#define CLOSE "Host: h\r\nConnection: close\r\n\r\n"

// ---- tests ---------------------------------------------------------------------------------

static void answers(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *a = ask(h, "GET /ping HTTP/1.1\r\n" CLOSE);
    expect_status(a, 200);
    EXPECT_CONTAINS(a, "Content-Length: 0\r\n");
    a = ask(h, "GET /echo?q=a%20b HTTP/1.1\r\nX-Test: 1\r\nx-TEST: 2\r\n" CLOSE);
    expect_status(a, 200);
    EXPECT_CONTAINS(a, "[2|a b||0|]");
    EXPECT_CONTAINS(a, "X-Extra: 1");
    EXPECT_CONTAINS(a, "Content-Type: text/plain");
    EXPECT_CONTAINS(a, "X-Request-Id: ");
    a = ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 5\r\nHost: h\r\nConnection: close\r\n\r\n"
               "hello");
    EXPECT_CONTAINS(a, "[-|-||5|hello]");
    hd_http_stop(h);
}

static void targets(void)
{
    toy t;
    hd_http *h = start(&t);
    expect_status(ask(h, "GET /ping/ HTTP/1.1\r\n" CLOSE), 200);
    expect_status(ask(h, "GET /ping?x=1 HTTP/1.1\r\n" CLOSE), 200);
    expect_status(ask(h, "GET http://any/ping HTTP/1.1\r\n" CLOSE), 200);
    expect_status(ask(h, "GET http://any:80/ping/?y HTTP/1.1\r\n" CLOSE), 200);
    EXPECT_CONTAINS(ask(h, "GET /x/a/b%2F HTTP/1.1\r\n" CLOSE), "[-|-|a/b%2F|0|]");
    expect_status(ask(h, "GET /x/ HTTP/1.1\r\n" CLOSE), 404);
    expect_status(ask(h, "GET /x HTTP/1.1\r\n" CLOSE), 404);
    expect_status(ask(h, "GET /PING HTTP/1.1\r\n" CLOSE), 404);
    expect_status(ask(h, "GET //ping HTTP/1.1\r\n" CLOSE), 404);
    expect_status(ask(h, "GET http://any HTTP/1.1\r\n" CLOSE), 404);
    expect_status(ask(h, "GET /p%69ng HTTP/1.1\r\n" CLOSE), 404);
    hd_http_stop(h);
}

static void methods(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *a = ask(h, "DELETE /echo HTTP/1.1\r\n" CLOSE);
    expect_status(a, 405);
    EXPECT_CONTAINS(a, "Allow: GET, POST, HEAD, OPTIONS\r\n");
    EXPECT_CONTAINS(a, "{\"status\":405,");
    a = ask(h, "GET /small HTTP/1.1\r\n" CLOSE);
    expect_status(a, 405);
    EXPECT_CONTAINS(a, "Allow: POST, OPTIONS\r\n");
    a = ask(h, "OPTIONS /ping HTTP/1.1\r\n" CLOSE);
    expect_status(a, 204);
    EXPECT_CONTAINS(a, "Allow: GET, POST, HEAD, OPTIONS\r\n");
    a = ask(h, "HEAD /echo HTTP/1.1\r\n" CLOSE);
    expect_status(a, 200);
    EXPECT_CONTAINS(a, "Content-Length: 9\r\n");
    EXPECT(strcmp(strstr(a, "\r\n\r\n"), "\r\n\r\n") == 0);
    a = ask(h, "GET /nothing HTTP/1.1\r\n" CLOSE);
    expect_status(a, 404);
    EXPECT_CONTAINS(a, "Content-Type: application/json");
    EXPECT_CONTAINS(a, "{\"status\":404,\"message\":\"no such path: /nothing\"}");
    hd_http_stop(h);
}

static void http_1_0(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *a = ask(h, "GET /ping HTTP/1.0\r\n\r\n"); // ends without being asked to
    EXPECT_CONTAINS(a, " 200 ");
    a = ask(h, "GET /stream?n=3 HTTP/1.0\r\n\r\n");
    EXPECT(!strstr(a, "chunked"));
    EXPECT_CONTAINS(a, "\r\n\r\nevent 0\nevent 1\nevent 2\n");
    hd_http_stop(h);
}

static void keep_alive_and_pipelining(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    for (int i = 0; i < 3; i++) {
        hd_buf_clear(&b);
        say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        EXPECT(hear(fd, &b, "|3|abc]"));
    }
    hd_buf_clear(&b);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1"
            "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n012345678901"
            "GET /echo HTTP/1.1\r\n" CLOSE);
    EXPECT(hear(fd, &b, NULL));
    const char *one = strstr(b.data, "|1|1]"), *two = strstr(b.data, " 404 ");
    const char *three = strstr(b.data, " 413 "), *four = strstr(b.data, "||0|]");
    EXPECT(one && two && three && four && one < two && two < three && three < four);
    EXPECT_INT(atomic_load(&t.handled), 5);
    close(fd);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void fragments(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *request = "POST /echo?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n"
                          "Connection: close\r\n\r\nbody";
    hd_buf b = {0};
    int fd = dial(h), one = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
    for (const char *p = request; *p; p++) {
        say_n(fd, p, 1);
        nap(1);
    }
    EXPECT(hear(fd, &b, NULL));
    EXPECT_CONTAINS(b.data, "[-|1||4|body]");
    close(fd);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void chunked_upload(void)
{
    toy t;
    hd_http *h = start(&t);
#define CHUNKED "Host: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    const char *a =
        ask(h, "POST /echo HTTP/1.1\r\n" CHUNKED "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n");
    EXPECT_CONTAINS(a, "|5|abcde]");
    a = ask(h, "POST /small HTTP/1.1\r\n" CHUNKED "a\r\n0123456789\r\n0\r\n\r\n");
    expect_status(a, 200);
    a = ask(h, "POST /small HTTP/1.1\r\n" CHUNKED "b\r\n0123456789a\r\n0\r\n\r\n");
    expect_status(a, 413);
    EXPECT_CONTAINS(a, "{\"status\":413,");
    expect_status(ask(h, "POST /echo HTTP/1.1\r\n" CHUNKED "zz\r\nabc\r\n0\r\n\r\n"), 400);
    expect_status(ask(h, "GET /ping HTTP/1.1\r\n" CHUNKED "3\r\nabc\r\n0\r\n\r\n"), 200);
    hd_http_stop(h);
}

static void endless_chunks_are_cut(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    char chunk[8192 + 32];
    int fd = dial(h);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    int n = snprintf(chunk, sizeof(chunk), "2000\r\n");
    memset(chunk + n, 'a', 8192);
    memcpy(chunk + n + 8192, "\r\n", 2);
    for (int i = 0; i < 400; i++) // 3 MiB against a limit of one
        say_n(fd, chunk, (size_t)n + 8194);
    EXPECT(hear(fd, &b, NULL));
    expect_status(b.data, 413);
    EXPECT_INT(atomic_load(&t.handled), 0);
    close(fd);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void too_large_is_refused_before_the_body(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999\r\n\r\n");
    EXPECT(hear(fd, &b, "}")); // although not one byte of the body was sent
    expect_status(b.data, 413);
    EXPECT_CONTAINS(b.data, "found 99999999999 bytes, expected at most 1048576");
    EXPECT_CONTAINS(b.data, "Connection: close");
    close(fd);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void expect_continue(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
            "Connection: close\r\n\r\n");
    EXPECT(hear(fd, &b, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(fd, "abc");
    EXPECT(hear(fd, &b, NULL));
    EXPECT_CONTAINS(b.data, "|3|abc]");
    close(fd);
    hd_buf_fini(&b);
    const char *a = ask(h, "POST /small HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n"
                           "Expect: 100-continue\r\n\r\n");
    expect_status(a, 413);
    hd_http_stop(h);
}

static void bad_heads(void)
{
    toy t;
    hd_http *h = start(&t);
    static char long_head[5000], many[2000];
    expect_status(ask(h, "GET /ping HTTP/1.1\r\nHost: a\r\n" CLOSE), 400);
    expect_status(
        ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n" CLOSE "a"), 400);
    expect_status(ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 1\r\n"
                         "Transfer-Encoding: chunked\r\n" CLOSE "0\r\n\r\n"),
                  400);
    expect_status(ask(h, "POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n" CLOSE), 400);
    expect_status(ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 1x\r\n" CLOSE "a"), 400);
    expect_status(ask(h, "GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n"), 400); // no Host
    expect_status(
        ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Encoding: gzip\r\n" CLOSE "a"),
        415);
    expect_status(ask(h, "POST /echo HTTP/1.1\r\nContent-Length: 1\r\n"
                         "Content-Encoding: identity\r\n" CLOSE "a"),
                  200);
    int n = snprintf(long_head, sizeof(long_head), "GET /ping HTTP/1.1\r\nX-Long: ");
    memset(long_head + n, 'a', 4100);
    memcpy(long_head + n + 4100, "\r\n" CLOSE, sizeof("\r\n" CLOSE));
    expect_status(ask(h, long_head), 431);
    n = snprintf(many, sizeof(many), "GET /ping HTTP/1.1\r\n");
    for (int i = 0; i < 25; i++)
        n += snprintf(many + n, sizeof(many) - (size_t)n, "X-%d: 1\r\n", i);
    memcpy(many + n, CLOSE, sizeof(CLOSE));
    expect_status(ask(h, many), 431);
    expect_status(
        ask(h, "GET /ping HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n" CLOSE), 200);
    hd_http_stop(h);
}

static void request_ids(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *a = ask(h, "GET /id HTTP/1.1\r\nX-Amzn-SageMaker-Inference-Id: a-1.b\r\n" CLOSE);
    EXPECT_CONTAINS(a, "X-Request-Id: a-1.b\r\n");
    EXPECT_CONTAINS(a, "\r\n\r\na-1.b");
    a = ask(h, "GET /id HTTP/1.1\r\nX-Amzn-SageMaker-Inference-Id: a\"b\\c d\t\xff\r\n" CLOSE);
    EXPECT_CONTAINS(a, "\r\n\r\na_b_c_d__");
    a = ask(h, "GET /id HTTP/1.1\r\n" CLOSE);
    EXPECT_INT(strlen(strstr(a, "\r\n\r\n") + 4), 32);
    hd_http_stop(h);
}

static void streams(void)
{
    toy t;
    hd_http *h = start(&t);
    const char *a = ask(h, "GET /stream?n=2 HTTP/1.1\r\n" CLOSE);
    EXPECT_CONTAINS(a, "Transfer-Encoding: chunked\r\n");
    EXPECT_CONTAINS(a, "X-Accel-Buffering: no\r\n");
    EXPECT_CONTAINS(a, "Cache-Control: no-cache\r\n");
    EXPECT_CONTAINS(a, "\r\n\r\n8\r\nevent 0\n\r\n8\r\nevent 1\n\r\n0\r\n\r\n");
    a = ask(h, "GET /stream?n=2&abort=1 HTTP/1.1\r\n" CLOSE);
    EXPECT_CONTAINS(a, "8\r\nevent 1\n\r\n");
    EXPECT(!strstr(a, "0\r\n\r\n")); // never looks complete
    wait_for(&t.fini, 2);
    hd_http_stop(h);
}

// Events leave one by one as they are made, also large ones.
static void events_leave_at_once(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    say(fd, "GET /stream?n=4&gap=60 HTTP/1.1\r\n" CLOSE);
    int64_t last = 0;
    for (int i = 0; i < 4; i++) {
        char want[32];
        snprintf(want, sizeof(want), "event %d\n", i);
        EXPECT(hear(fd, &b, want));
        int64_t now = hd_mono_ns();
        if (i < 3) {
            snprintf(want, sizeof(want), "event %d\n", i + 1);
            EXPECT(!strstr(b.data, want));
        }
        if (i > 0) EXPECT(now - last > 30000000);
        last = now;
    }
    close(fd);
    hd_buf_fini(&b);
    const char *a = ask(h, "GET /stream?n=2&size=300000 HTTP/1.1\r\n" CLOSE);
    EXPECT(strlen(a) > 600000 && strstr(a, "0\r\n\r\n"));
    hd_http_stop(h);
}

static void departed_clients_are_seen(void)
{
    toy t;
    hd_http *h = start(&t);
    int fd = dial(h);
    say(fd, "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    wait_for(&t.waiting, 1);
    EXPECT_INT(hd_http_active(h), 1);
    EXPECT_INT(atomic_load(&t.gone), 0);
    close(fd);
    wait_for(&t.gone, 1);
    fd = dial(h); // half-closed counts as departed
    say(fd, "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    wait_for(&t.waiting, 2);
    shutdown(fd, SHUT_WR);
    wait_for(&t.gone, 2);
    close(fd);
    fd = dial(h); // in the middle of a stream: its end is told
    hd_buf b = {0};
    say(fd, "GET /stream?n=1000&gap=10 HTTP/1.1\r\n" CLOSE);
    EXPECT(hear(fd, &b, "event 1"));
    close(fd);
    wait_for(&t.fini, 1);
    for (int i = 0; i < 400 && hd_http_active(h) > 0; i++)
        nap(5);
    EXPECT_INT(hd_http_active(h), 0);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

// All ordinary slots taken: control routes answer, others get 503, and slots come back.
static void control_slots_are_reserved(void)
{
    toy t;
    hd_http *h = start(&t);
    int fd[4];
    hd_buf b = {0};
    for (int i = 0; i < 4; i++) {
        fd[i] = dial(h);
        say(fd[i], "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    }
    wait_for(&t.waiting, 4);
    expect_status(ask(h, "GET /ping HTTP/1.1\r\n" CLOSE), 200);
    const char *a = ask(h, "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_status(a, 503);
    EXPECT_CONTAINS(a, "Retry-After: 1\r\n");
    EXPECT_CONTAINS(a, "Connection: close\r\n");
    atomic_store(&t.release, true);
    for (int i = 0; i < 4; i++) {
        hd_buf_clear(&b);
        EXPECT(hear(fd[i], &b, "waited"));
        close(fd[i]);
    }
    expect_status(ask(h, "GET /echo HTTP/1.1\r\n" CLOSE), 200);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

// Even every connection held by clients that send nothing does not keep /ping away for long.
static void silent_crowd_gives_way(void)
{
    toy t;
    hd_http *h = start(&t);
    int fd[90];
    for (int i = 0; i < 90; i++) {
        if (i == 60) nap(150);
        fd[i] = dial(h);
    }
    int64_t before = hd_mono_ns();
    expect_status(ask(h, "GET /ping HTTP/1.1\r\n" CLOSE), 200);
    EXPECT(hd_mono_ns() - before < INT64_C(2000000000));
    for (int i = 0; i < 90; i++)
        close(fd[i]);
    hd_http_stop(h);
}

static void trickling_heads_and_stalled_bodies_end(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    int64_t before = hd_mono_ns();
    say(fd, "GET /ping HTTP/1.1\r\nX: ");
    for (int i = 0; i < 60; i++) { // never silent for long, and never done
        char c;
        if (send(fd, "a", 1, MSG_NOSIGNAL) != 1) break;
        nap(50);
        if (recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) >= 0) break;
    }
    EXPECT(hear(fd, &b, NULL));
    expect_status(b.data, 408);
    EXPECT(hd_mono_ns() - before < INT64_C(2500000000));
    close(fd);
    hd_buf_clear(&b);
    fd = dial(h);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    EXPECT(hear(fd, &b, NULL));
    expect_status(b.data, 408);
    EXPECT_CONTAINS(b.data, "{\"status\":408,");
    close(fd);
    hd_buf_clear(&b);
    hd_buf_fini(&b);
    EXPECT_INT(atomic_load(&t.handled), 0);
    hd_http_stop(h);
}

// A handler may take longer than every limit, and a reader that takes nothing is cut off.
static void slow_handlers_and_stalled_readers(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h), slow = dial(h), small = 4096;
    setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    say(fd, "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    say(slow, "GET /stream?n=2000&size=20000 HTTP/1.1\r\n" CLOSE);
    wait_for(&t.waiting, 1);
    wait_for(&t.fini, 1); // after about a second of taking nothing
    nap(500);
    EXPECT_INT(atomic_load(&t.gone), 0);
    atomic_store(&t.release, true);
    EXPECT(hear(fd, &b, "waited"));
    close(fd);
    close(slow);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void refusal_while_draining(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    atomic_store(&t.refuse, true);
    int fd = dial(h);
    say(fd, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\n");
    EXPECT(hear(fd, &b, "draining"));
    expect_status(b.data, 503);
    EXPECT_CONTAINS(b.data, "Connection: close\r\n");
    EXPECT_CONTAINS(b.data, "Retry-After: 1\r\n");
    close(fd);
    expect_status(ask(h, "GET /ping HTTP/1.1\r\n" CLOSE), 200);
    hd_buf_fini(&b);
    hd_http_stop(h);
}

static void port_in_use(void)
{
    toy t, u;
    hd_http *h = start(&t), *second = NULL;
    hd_http_cfg cfg = config(&u);
    hd_err err = {0};
    char want[64];
    cfg.port = hd_http_port(h);
    EXPECT_INT(hd_http_start(&cfg, &second, &err), HD_E_EXISTS);
    EXPECT(second == NULL);
    snprintf(want, sizeof(want), "port %d is in use; choose another with --port", cfg.port);
    EXPECT_STR(err.msg, want);
    cfg.host = "256.1.1.1";
    EXPECT(hd_http_start(&cfg, &second, &err) != HD_OK);
    EXPECT_CONTAINS(err.msg, "256.1.1.1");
    hd_http_stop(h);
    cfg.host = NULL; // both families on one socket; the port is free again
    if (hd_http_start(&cfg, &second, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    expect_status(ask(second, "GET /ping HTTP/1.1\r\n" CLOSE), 200);
    hd_http_stop(second);
}

typedef struct client {
    const hd_http *h;
    int ok;
} client;

static void *hammer(void *arg)
{
    client *c = arg;
    hd_buf b = {0};
    int fd = dial(c->h);
    for (int i = 0; i < 50; i++) {
        hd_buf_clear(&b);
        say(fd, "POST /ping HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
        c->ok += hear(fd, &b, "\r\n\r\n") && strncmp(b.data, "HTTP/1.1 200", 12) == 0;
    }
    close(fd);
    hd_buf_fini(&b);
    return NULL;
}

static void many_at_once(void)
{
    toy t;
    hd_http *h = start(&t);
    pthread_t thread[8];
    client c[8];
    for (int i = 0; i < 8; i++) {
        c[i] = (client){h, 0};
        EXPECT_INT(pthread_create(&thread[i], NULL, hammer, &c[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], NULL);
        EXPECT_INT(c[i].ok, 50);
    }
    hd_http_stop(h);
}

static void stop_lets_running_requests_answer(void)
{
    toy t;
    hd_http *h = start(&t);
    hd_buf b = {0};
    int fd = dial(h);
    say(fd, "GET /stream?n=5&gap=40 HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT(hear(fd, &b, "event 0"));
    hd_http_stop(h);
    EXPECT(hear(fd, &b, NULL));
    EXPECT_CONTAINS(b.data, "event 4");
    EXPECT_CONTAINS(b.data, "0\r\n\r\n");
    EXPECT_INT(atomic_load(&t.fini), 1);
    close(fd);
    hd_buf_fini(&b);
}

HD_TEST_MAIN("http", {"answers", answers}, {"targets", targets}, {"methods", methods},
             {"http_1_0", http_1_0}, {"keep_alive_and_pipelining", keep_alive_and_pipelining},
             {"fragments", fragments}, {"chunked_upload", chunked_upload},
             {"endless_chunks_are_cut", endless_chunks_are_cut},
             {"too_large_is_refused_before_the_body", too_large_is_refused_before_the_body},
             {"expect_continue", expect_continue}, {"bad_heads", bad_heads},
             {"request_ids", request_ids}, {"streams", streams},
             {"events_leave_at_once", events_leave_at_once},
             {"departed_clients_are_seen", departed_clients_are_seen},
             {"control_slots_are_reserved", control_slots_are_reserved},
             {"silent_crowd_gives_way", silent_crowd_gives_way},
             {"trickling_heads_and_stalled_bodies_end", trickling_heads_and_stalled_bodies_end},
             {"slow_handlers_and_stalled_readers", slow_handlers_and_stalled_readers},
             {"refusal_while_draining", refusal_while_draining}, {"port_in_use", port_in_use},
             {"many_at_once", many_at_once},
             {"stop_lets_running_requests_answer", stop_lets_running_requests_answer})
