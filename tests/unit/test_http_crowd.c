// hd_http with clients that leave, stall or come in crowds, and its end.
#include "tests/unit/http_kit.h"

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

// Even every connection held by clients that send nothing does not keep /ping away for long;
// whoever is in the way has read why.
static void silent_crowd_gives_way(void)
{
    toy t;
    hd_http *h = start(&t);
    int fd[90];
    for (int i = 0; i < 90; i++)
        fd[i] = dial(h);
    int64_t before = hd_mono_ns();
    expect_status(ask(h, "GET /ping HTTP/1.1\r\n" CLOSE), 200);
    EXPECT(hd_mono_ns() - before < INT64_C(2000000000));
    hd_buf told = {0};
    EXPECT(hear(fd[0], &told, NULL)); // to the end, which the server makes
    expect_status(told.data ? told.data : "", 503);
    EXPECT_CONTAINS(told.data ? told.data : "", "Retry-After: 1\r\n");
    hd_buf_fini(&told);
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

HD_TEST_MAIN("http_crowd", {"departed_clients_are_seen", departed_clients_are_seen},
             {"control_slots_are_reserved", control_slots_are_reserved},
             {"silent_crowd_gives_way", silent_crowd_gives_way},
             {"trickling_heads_and_stalled_bodies_end", trickling_heads_and_stalled_bodies_end},
             {"slow_handlers_and_stalled_readers", slow_handlers_and_stalled_readers},
             {"refusal_while_draining", refusal_while_draining}, {"port_in_use", port_in_use},
             {"many_at_once", many_at_once},
             {"stop_lets_running_requests_answer", stop_lets_running_requests_answer})
