// What handlers share: settings, the engine once it is loaded, the state.
#ifndef HADAL_SERVER_SERVER_H
#define HADAL_SERVER_SERVER_H

#include "engine/engine.h"
#include "server/config.h"
#include "server/http.h"
#include "server/lifecycle.h"
#include "server/metrics.h"

#include <stdatomic.h>

typedef struct hd_server {
    const hd_config *cfg;
    hd_lifecycle *life;
    _Atomic(hd_engine *) engine; // NULL until READY
    const char *served_name;     // final before engine is set
    int64_t created;             // Unix time of the start
    hd_inputs_profile profile;   // resolved: TGI or LMI
    hd_metrics metrics;
    _Atomic(hd_http *) http;   // for /metrics; NULL until it listens
    const char *failure;       // why loading failed; set before the state is FAILED
    atomic_bool device_failed; // for good: an answer has been told so
    atomic_bool unhealthy;     // the engine is stuck or broken: found by two checks in a row
    atomic_bool cut;           // past the drain limit: running answers end with their error form
} hd_server;

extern const hd_route hd_routes[];
extern const size_t hd_n_routes;

void hd_handle_ping(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_live(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_invocations(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_chat_completions(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_completions(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_generate(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_generate_stream(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_tokenize(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_detokenize(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_models(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_multi_model(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_adapters(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_bidirectional(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_metrics(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_execution_parameters(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_info(void *server, hd_http_req *rq, hd_http_rsp *rs);
void hd_handle_version(void *server, hd_http_req *rq, hd_http_rsp *rs);
// Bodies of errors that HTTP itself answers.
void hd_server_error_body(hd_buf *out, int status, const char *message);
int hd_server_admit(void *server, const hd_http_req *rq, const hd_route *r, const char **message);

#endif
