// The table of routes, who may enter, and the body of errors that HTTP itself answers.
#include "server/schema.h"
#include "server/server.h"

#include <stdio.h>

enum { PROBE = HD_METHOD_GET | HD_METHOD_POST };

const hd_route hd_routes[] = {
    {"/ping", PROBE, hd_handle_ping, 0, true},
    {"/health", PROBE, hd_handle_ping, 0, true},
    {"/v1/health", PROBE, hd_handle_ping, 0, true},
    {"/live", PROBE, hd_handle_live, 0, true},
    {"/invocations", HD_METHOD_POST, hd_handle_invocations, SIZE_MAX, false},
    {"/v1/chat/completions", HD_METHOD_POST, hd_handle_chat_completions, SIZE_MAX, false},
    {"/v1/completions", HD_METHOD_POST, hd_handle_completions, SIZE_MAX, false},
    {"/v1/models", HD_METHOD_GET, hd_handle_models, 0, false},
    {"/v1/models/*", HD_METHOD_GET, hd_handle_models, 0, false},
};
const size_t hd_n_routes = sizeof(hd_routes) / sizeof(hd_routes[0]);

int hd_server_admit(void *server, const hd_route *r, const char **message)
{
    const hd_server *sv = server;
    if (r->control) return 0;
    switch (hd_lifecycle_get(sv->life)) {
    case HD_LIFE_READY:
        return 0;
    case HD_LIFE_LOADING:
        *message = "the model is loading";
        return 503;
    case HD_LIFE_DRAINING:
        *message = "the server is shutting down";
        return 503;
    case HD_LIFE_FAILED:
        break;
    }
    *message = "the model could not be loaded";
    return 503;
}

void hd_server_error_body(hd_buf *out, int status, const char *message)
{
    hd_err err = {.code = HD_E_INVAL};
    snprintf(err.msg, sizeof(err.msg), "%s", message);
    hd_schema_openai_chat.error(out, &err, status, false, HD_FRAME_DEFAULT);
}
