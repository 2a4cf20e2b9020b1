// Health. Only the status code counts for the platform: 200 when a request could be answered now,
// 503 otherwise. Reads two atomics; never waits.
#include "server/server.h"

#include <stdio.h>

static void reply_not_ready(hd_http_rsp *rs, hd_life state, double progress)
{
    static const char *const names[] = {"loading", "unhealthy", "draining", "failed"};
    char body[64];
    int n =
        state == HD_LIFE_LOADING
            ? snprintf(body, sizeof(body), "{\"status\":\"loading\",\"progress\":%.2f}", progress)
            : snprintf(body, sizeof(body), "{\"status\":\"%s\"}", names[state]);
    hd_http_set_header(rs, "Retry-After", "5");
    hd_http_reply(rs, 503, "application/json", hd_slice_of(body, (size_t)n));
}

void hd_handle_ping(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    const hd_server *sv = server;
    hd_life state = hd_lifecycle_get(sv->life);
    const hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    (void)rq;
    if (state == HD_LIFE_READY && e && hd_engine_healthy(e))
        hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
    else
        reply_not_ready(rs, state, hd_lifecycle_fraction(sv->life));
}

// The process runs and answers: nothing more (Kubernetes liveness).
void hd_handle_live(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
}
