// hd_http as a protocol, against real sockets, with toy handlers.
#include "tests/unit/http_kit.h"

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
    expect_status(ask(h, "GET /pi ng HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    expect_status(ask(h, "GET ping HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    expect_status(ask(h, "G@T /ping HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
    expect_status(ask(h, "GET /ping HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
    static const char *const lines[] = {"X : 1\r\n",
                                        "X(: 1\r\n",
                                        "X: 1\r\n 2\r\n",
                                        " X: 1\r\n",
                                        "X: \001\r\n",
                                        "X: 1\rY: 2\r\n",
                                        ": 1\r\nX-Y: 2\r\n",
                                        ": 1\r\nGET /ping HTTP/1.1\r\nHost: h\r\n",
                                        "X: 1\n",
                                        "X\r\n"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char head[200];
        snprintf(head, sizeof(head), "GET /ping HTTP/1.1\r\nHost: h\r\n%s\r\n", lines[i]);
        const char *a = ask(h, head); // reads until the server closes
        expect_status(a, 400);
        EXPECT_CONTAINS(a, "{\"status\":400,");
        EXPECT(!strstr(a + 1, "HTTP/1.1"));
    }
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

HD_TEST_MAIN("http", {"answers", answers}, {"targets", targets}, {"methods", methods},
             {"http_1_0", http_1_0}, {"keep_alive_and_pipelining", keep_alive_and_pipelining},
             {"fragments", fragments}, {"chunked_upload", chunked_upload},
             {"endless_chunks_are_cut", endless_chunks_are_cut},
             {"too_large_is_refused_before_the_body", too_large_is_refused_before_the_body},
             {"expect_continue", expect_continue}, {"bad_heads", bad_heads},
             {"request_ids", request_ids}, {"streams", streams},
             {"events_leave_at_once", events_leave_at_once})
