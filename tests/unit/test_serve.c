// The routes, an engine on a tiny model and real sockets in one process: what a test of the binary
// cannot reach, such as memory that runs out in the middle of a request.
#include "kernels/base/mem.h"
#include "server/http.h"
#include "server/server.h"
#include "tests/unit/engine_kit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static hd_config config;
static hd_server sv;
static hd_http *http;

static void start(void)
{
    static hd_engine_cfg cfg;
    hd_err err = {0};
    bool stop;
    hd_log_set_level(HD_LOG_OFF);
    EXPECT_INT(hd_config_load(&config, HD_CMD_SERVE, 0, NULL, &stop, &err), HD_OK);
    hd_log_set_level(HD_LOG_OFF);
    cfg = kit_cfg();
    sv.cfg = &config;
    sv.life = hd_lifecycle_create();
    sv.served_name = "tiny";
    sv.profile = HD_PROFILE_TGI;
    atomic_store(&sv.engine, kit_open(&cfg));
    hd_lifecycle_set(sv.life, HD_LIFE_READY);
    hd_http_cfg h = {.host = "127.0.0.1",
                     .max_connections = 16,
                     .control_connections = 4,
                     .max_body_bytes = 1 << 20,
                     .max_header_bytes = 8192,
                     .max_headers = 50,
                     .header_seconds = 10,
                     .body_idle_seconds = 10,
                     .idle_seconds = 30,
                     .routes = hd_routes,
                     .n_routes = hd_n_routes,
                     .server = &sv,
                     .error_body = hd_server_error_body,
                     .admit = hd_server_admit};
    if (hd_http_start(&h, &http, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static void stop(void)
{
    hd_http_stop(http);
    hd_engine_close(atomic_load(&sv.engine), 0);
    hd_lifecycle_destroy(sv.life);
}

// The whole answer to one request; "" when the server just closed. No body: GET.
static const char *ask(const char *path, const char *body)
{
    static char answer[1 << 18];
    char head[128];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)hd_http_port(http))};
    struct timeval patience = {.tv_sec = 20};
    size_t n = 0;
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    EXPECT_INT(connect(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    int k = snprintf(head, sizeof(head),
                     "%s %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     *body ? "POST" : "GET", path, strlen(body));
    (void)send(fd, head, (size_t)k, MSG_NOSIGNAL);
    (void)send(fd, body, strlen(body), MSG_NOSIGNAL);
    for (ssize_t got; (got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0)) > 0;)
        n += (size_t)got;
    answer[n] = 0;
    close(fd);
    return answer;
}

static const char *post(const char *body)
{
    return ask("/invocations", body);
}

static int status_of(const char *answer)
{
    int status = 0;
    if (sscanf(answer, "HTTP/1.1 %d ", &status) != 1) return 0;
    return status;
}

static const char *const bodies[] = {
    "{\"prompt\":\"abc\",\"max_tokens\":6,\"logprobs\":2,\"echo\":true,\"stop\":[\"zz\"],\"n\":2}",
    "{\"prompt\":\"abc\",\"max_tokens\":6,\"stream\":true}",
    "{\"inputs\":\"abc\",\"parameters\":{\"max_new_tokens\":6,\"details\":true}}",
    "{\"inputs\":\"abc\",\"stream\":true,\"parameters\":{\"max_new_tokens\":6,\"stop\":[\"zz\"]}}",
    "{\"inputs\":\"abc\",\"parameters\":{\"max_new_tokens\":4,\"best_of\":2,\"do_sample\":true}}",
    "{\"prompt\":\"abc\",\"max_tokens\":3,\"custom_id\":\"x\"}\n{\"inputs\":\"d\"}\n{\"nothing\":1}"
    "\n",
    "[{\"prompt\":\"abc\",\"max_tokens\":3},{\"prompt\":\"d\",\"max_tokens\":2},3]",
};
enum { N_BODIES = sizeof(bodies) / sizeof(bodies[0]) };

static void answers(void)
{
    start();
    for (int i = 0; i < N_BODIES; i++)
        EXPECT_INT(status_of(post(bodies[i])), 200);
    EXPECT_INT(status_of(post("{")), 400);
    EXPECT_INT(status_of(post("{\"inputs\":\"a\",\"parameters\":{\"temperature\":0}}")), 422);
    EXPECT_INT(status_of(post("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}")), 400);
    hd_lifecycle_set(sv.life, HD_LIFE_DRAINING);
    const char *a = post(bodies[0]);
    EXPECT_INT(status_of(a), 503);
    EXPECT_CONTAINS(a, "Connection: close");
    hd_lifecycle_set(sv.life, HD_LIFE_READY);
    atomic_store(&sv.cut, true);
    EXPECT_INT(status_of(post("{\"prompt\":\"abc\",\"max_tokens\":400,\"ignore_eos\":true}")), 503);
    stop();
}

// A complete answer, an error, or a closed connection; a stream that fails says so or breaks off.
static void check_failed(const char *body, const char *a, int64_t nth)
{
    int status = status_of(a);
    bool known = status == 0 || status == 200 || status == 400 || status == 503 || status == 424;
    if (!known) hd_test_fail(__FILE__, __LINE__, "%s: nth %d: %.300s", body, (int)nth, a);
    if (status != 200 || !strstr(a, "chunked")) return;
    bool whole = strstr(a, "\r\n0\r\n\r\n") != NULL;
    bool told = strstr(a, "\"error\"") || strstr(a, "\"finish_reason\":\"length\"") ||
                strstr(a, "\"finish_reason\":\"stop\"") || strstr(a, "\"generated_text\":\"");
    if (whole && !told) hd_test_fail(__FILE__, __LINE__, "%s: nth %d: %.900s", body, (int)nth, a);
}

static void memory_runs_out(void)
{
    start();
    for (int i = 0; i < N_BODIES; i++) {
        int fine = 0;
        for (int64_t nth = 1; nth <= 150; nth++) {
            hd_mem_fail_at(nth, false);
            const char *a = post(bodies[i]);
            hd_mem_fail_at(0, false);
            check_failed(bodies[i], a, nth);
            fine += status_of(a) == 200;
        }
        EXPECT(fine > 10);
        hd_mem_fail_at(1, true); // everything fails
        check_failed(bodies[i], post(bodies[i]), 0);
        hd_mem_fail_at(0, false);
        EXPECT_INT(status_of(post(bodies[i])), 200);
    }
    stop();
}

static void memory_runs_out_beside_the_answers(void)
{
    static const struct {
        const char *path, *body;
    } asked[] = {{"/metrics", ""},
                 {"/info", ""},
                 {"/v1/models", ""},
                 {"/execution-parameters", ""},
                 {"/tokenize", "{\"inputs\":\"abc d\"}"},
                 {"/tokenize", "{\"prompt\":\"abc\",\"return_token_strs\":true}"},
                 {"/detokenize", "{\"tokens\":[1,2,3]}"},
                 {"/adapters", "{}"}};
    start();
    for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        int want = status_of(ask(asked[i].path, asked[i].body));
        for (int64_t nth = 1; nth <= 40; nth++) {
            hd_mem_fail_at(nth, false);
            int status = status_of(ask(asked[i].path, asked[i].body));
            hd_mem_fail_at(0, false);
            if (status != want && status != 0 && status != 503)
                hd_test_fail(__FILE__, __LINE__, "%s: nth %d: %d", asked[i].path, (int)nth, status);
        }
        EXPECT_INT(status_of(ask(asked[i].path, asked[i].body)), want);
    }
    stop();
}

HD_TEST_MAIN("serve", {"answers", answers}, {"memory_runs_out", memory_runs_out},
             {"memory_runs_out_beside_the_answers", memory_runs_out_beside_the_answers})
