// Routes for operators and platforms: metrics, tuning of batch transform, what runs here, and
// honest refusals of what this version lacks. None of them waits for the model.
#include "kernels/base/json.h"
#include "server/server.h"

#include <string.h>

enum { BATCH_MB = 6, BATCH_TOTAL_MB = 100 }; // the platform's limit on both together

static void refuse(hd_http_rsp *rs, int status, const char *why)
{
    hd_buf w = {0};
    hd_server_error_body(&w, status, why);
    hd_http_reply(rs, status, "application/json", hd_buf_slice(&w));
    hd_buf_fini(&w);
}

void hd_handle_metrics(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    hd_server *sv = server;
    hd_http *http = atomic_load_explicit(&sv->http, memory_order_acquire);
    hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    const char *name = sv->cfg->served_name ? sv->cfg->served_name : "model";
    bool ready = hd_lifecycle_get(sv->life) == HD_LIFE_READY && e &&
                 !atomic_load_explicit(&sv->unhealthy, memory_order_acquire);
    const hd_metrics_view v = {.model = e ? sv->served_name : name,
                               .engine = e,
                               .healthy = ready,
                               .progress = hd_lifecycle_fraction(sv->life),
                               .active = http ? hd_http_active(http) : 0,
                               .slots = (int)sv->cfg->max_connections,
                               .vllm = sv->cfg->metrics_compat == HD_METRICS_VLLM};
    hd_buf w = {0};
    (void)rq;
    hd_metrics_write(&sv->metrics, &v, &w);
    if (w.failed)
        hd_http_reply(rs, 503, "text/plain", hd_slice_str("out of memory\n"));
    else
        hd_http_reply(rs, 200, "text/plain; version=0.0.4; charset=utf-8", hd_buf_slice(&w));
    hd_buf_fini(&w);
}

void hd_handle_execution_parameters(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    const hd_server *sv = server;
    int64_t n = sv->cfg->max_seqs;
    hd_buf w = {0};
    (void)rq;
    if (n > BATCH_TOTAL_MB / BATCH_MB) n = BATCH_TOTAL_MB / BATCH_MB;
    hd_buf_printf(
        &w, "{\"MaxConcurrentTransforms\":%lld,\"BatchStrategy\":\"%s\",\"MaxPayloadInMB\":%d}",
        (long long)n, sv->cfg->batch_multi ? "MULTI_RECORD" : "SINGLE_RECORD", BATCH_MB);
    hd_http_reply(rs, 200, "application/json", hd_buf_slice(&w));
    hd_buf_fini(&w);
}

void hd_handle_version(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    hd_http_reply(rs, 200, "application/json", hd_slice_str("{\"version\":\"" HADAL_VERSION "\"}"));
}

// TGI's description of a server.
void hd_handle_info(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    const hd_server *sv = server;
    const hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    hd_buf w = {0};
    (void)rq;
    if (!e) {
        refuse(rs, 503, "the model is loading");
        return;
    }
    const hd_model_facts *f = hd_engine_facts(e);
    hd_buf_puts(&w, "{\"model_id\":");
    hd_json_put_str(&w, hd_slice_str(sv->served_name));
    hd_buf_puts(&w, ",\"model_sha\":null,\"model_pipeline_tag\":\"text-generation\","
                    "\"model_device_type\":");
    hd_json_put_str(&w, hd_slice_str(f->device));
    hd_buf_printf(&w,
                  ",\"max_concurrent_requests\":%lld,\"max_best_of\":%lld,"
                  "\"max_stop_sequences\":%lld,\"max_input_tokens\":%d,\"max_total_tokens\":%d,"
                  "\"max_batch_size\":%lld,\"max_client_batch_size\":%d,\"validation_workers\":1,"
                  "\"router\":\"hadal\",\"version\":\"" HADAL_VERSION
                  "\",\"sha\":null,\"docker_label\":null}",
                  (long long)(sv->cfg->max_seqs + sv->cfg->max_queue),
                  (long long)sv->cfg->max_best_of, (long long)sv->cfg->max_stop,
                  (int)f->max_context - 1, (int)f->max_context, (long long)sv->cfg->max_seqs, 1);
    hd_http_reply(rs, 200, "application/json", hd_buf_slice(&w));
    hd_buf_fini(&w);
}

void hd_handle_adapters(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    refuse(rs, 501, "adapters are not supported by this version");
}

void hd_handle_bidirectional(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    (void)server;
    (void)rq;
    refuse(rs, 501, "bidirectional streaming is not supported by this version");
}

// Outside multi-model mode GET lists what is served; the platform's other calls find nothing.
void hd_handle_multi_model(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    if (hd_http_method(rq) & (HD_METHOD_GET | HD_METHOD_HEAD))
        hd_handle_models(server, rq, rs);
    else
        refuse(rs, 404, "multi-model endpoints are not supported: one model per server");
}
