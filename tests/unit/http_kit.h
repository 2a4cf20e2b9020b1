// What the tests of hd_http share: a server with toy handlers, and a client of bare sockets.
#ifndef HADAL_TESTS_UNIT_HTTP_KIT_H
#define HADAL_TESTS_UNIT_HTTP_KIT_H

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

static inline void put_error(hd_buf *out, int status, const char *message)
{
    hd_buf_printf(out, "{\"status\":%d,\"message\":\"%s\"}", status, message);
}

static inline int admit(void *server, const hd_http_req *rq, const hd_route *r,
                        const char **message)
{
    toy *t = server;
    (void)rq;
    if (r->control || !atomic_load(&t->refuse)) return 0;
    *message = "draining";
    return 503;
}

static inline void on_ping(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
}

// Answers with the body and what it knows of the request.
static inline void on_echo(void *server, hd_http_req *rq, hd_http_rsp *rs)
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

static inline void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

// Waits until released, or until the client has gone.
static inline void on_wait(void *server, hd_http_req *rq, hd_http_rsp *rs)
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

static inline hd_pull pull(void *ctx, hd_buf *out)
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

static inline void feed_end(void *ctx)
{
    feed *f = ctx;
    atomic_fetch_add(&f->t->fini, 1);
    free(f);
}

// /stream?n=3&gap=50&size=0&abort=1
static inline void on_stream(void *server, hd_http_req *rq, hd_http_rsp *rs)
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

static inline void on_id(void *server, hd_http_req *rq, hd_http_rsp *rs)
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

static inline hd_http_cfg config(toy *t)
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

static inline hd_http *start(toy *t)
{
    hd_http_cfg cfg = config(t);
    hd_http *h;
    hd_err err = {0};
    memset(t, 0, sizeof(*t));
    if (hd_http_start(&cfg, &h, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return h;
}

// ---- a client ------------------------------------------------------------------------------

static inline int dial(const hd_http *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hd_http_port(h))};
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_INT(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static inline void say_n(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return; // the server has ended the connection: the answer tells
        p += k;
        n -= (size_t)k;
    }
}

static inline void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

// Appends what arrives until `until` is seen (NULL: until the end). False: the end or 5 seconds.
static inline bool hear(int fd, hd_buf *b, const char *until)
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
static inline const char *ask(const hd_http *h, const char *request)
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

static inline void expect_status(const char *answer, int status)
{
    char want[32];
    snprintf(want, sizeof(want), "HTTP/1.1 %d ", status);
    if (strncmp(answer, want, strlen(want)) != 0)
        hd_test_fail(__FILE__, __LINE__, "want %s, got \"%.300s\"", want, answer);
}

static inline void wait_for(atomic_int *v, int n)
{
    for (int i = 0; i < 1000 && atomic_load(v) < n; i++)
        nap(5);
    EXPECT_INT(atomic_load(v), n);
}

#define CLOSE "Host: h\r\nConnection: close\r\n\r\n"

#endif
