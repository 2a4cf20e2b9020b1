// Health. Only the status code counts for the platform: 200 when a request could be answered now,
// 503 otherwise. Reads atomics; never waits, and takes no lock of the engine's.
#include "kernels/base/json.h"
#include "server/server.h"

static void reply_not_ready(hd_http_rsp *rs, const hd_server *sv, hd_life state)
{
    static const char *const names[] = {"loading", "unhealthy", "draining", "failed"};
    hd_buf w = {0};
    hd_buf_printf(&w, "{\"status\":\"%s\"", names[state]);
    if (state == HD_LIFE_LOADING)
        hd_buf_printf(&w, ",\"progress\":%.2f", hd_lifecycle_fraction(sv->life));
    if (state == HD_LIFE_FAILED && sv->failure) {
        hd_buf_puts(&w, ",\"error\":");
        hd_json_put_str(&w, hd_slice_str(sv->failure));
    }
    hd_buf_putc(&w, '}');
    hd_http_set_header(rs, "Retry-After", "5");
    hd_http_reply(rs, 503, "application/json", hd_buf_slice(&w));
    hd_buf_fini(&w);
}

void hd_handle_ping(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    const hd_server *sv = server;
    hd_life state = hd_lifecycle_get(sv->life);
    (void)rq;
    if (state == HD_LIFE_READY && !atomic_load_explicit(&sv->unhealthy, memory_order_acquire))
        hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
    else
        reply_not_ready(rs, sv, state);
}

// The process runs and answers: nothing more (Kubernetes liveness).
void hd_handle_live(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    hd_http_reply(rs, 200, NULL, hd_slice_of("", 0));
}
