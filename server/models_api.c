// GET /v1/models and /v1/models/{id}, as OpenAI clients ask before their first request.
#include "server/schema.h"
#include "server/server.h"

#include <string.h>

static void put_model(hd_buf *w, const hd_server *sv, const hd_engine *e)
{
    hd_buf_puts(w, "{\"id\":");
    hd_json_put_str(w, hd_slice_str(sv->served_name));
    hd_buf_printf(w, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"hadal\",\"root\":",
                  (long long)sv->created);
    hd_json_put_str(w, hd_slice_str(sv->served_name));
    hd_buf_printf(w, ",\"parent\":null,\"max_model_len\":%d}",
                  (int)hd_engine_facts(e)->max_context);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// Whether a path's tail, which may be percent-encoded, spells name.
static bool spells(const char *tail, const char *name)
{
    while (*tail && *name) {
        char c = *tail++;
        if (c == '%' && hex(tail[0]) >= 0 && hex(tail[1]) >= 0) {
            c = (char)(hex(tail[0]) * 16 + hex(tail[1]));
            tail += 2;
        }
        if (c != *name++) return false;
    }
    return *tail == *name;
}

void hd_handle_models(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    const hd_server *sv = server;
    const hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    const char *tail = hd_http_tail(rq);
    hd_buf w = {0};
    int status = 200;
    if (!e) {
        status = 503;
        hd_server_error_body(&w, status, "the model is loading");
    } else if (!*tail) {
        hd_buf_puts(&w, "{\"object\":\"list\",\"data\":[");
        put_model(&w, sv, e);
        hd_buf_puts(&w, "]}");
    } else if (spells(tail, sv->served_name)) {
        put_model(&w, sv, e);
    } else {
        status = 404;
        hd_server_error_body(&w, status, "no such model; GET /v1/models lists what is served");
    }
    hd_http_reply(rs, status, "application/json", hd_buf_slice(&w));
    hd_buf_fini(&w);
}
