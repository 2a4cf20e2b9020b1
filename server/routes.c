// The table of routes, who may enter, and the body of errors that HTTP itself answers.
#include "server/schema.h"
#include "server/server.h"

#include <stdio.h>
#include <string.h>

enum {
    GET = HD_METHOD_GET,
    POST = HD_METHOD_POST,
    PROBE = HD_METHOD_GET | HD_METHOD_POST,
    ANY = HD_METHOD_GET | HD_METHOD_POST | HD_METHOD_DELETE
};

// clang-format off
const hd_route hd_routes[] = {
    {"/ping", PROBE, hd_handle_ping, 0, true},
    {"/health", PROBE, hd_handle_ping, 0, true},
    {"/v1/health", PROBE, hd_handle_ping, 0, true},
    {"/live", PROBE, hd_handle_live, 0, true},
    {"/metrics", GET, hd_handle_metrics, 0, true},
    {"/execution-parameters", GET, hd_handle_execution_parameters, 0, true},
    {"/invocations", POST, hd_handle_invocations, SIZE_MAX, false},
    {"/v1/chat/completions", POST, hd_handle_chat_completions, SIZE_MAX, false},
    {"/v1/completions", POST, hd_handle_completions, SIZE_MAX, false},
    {"/v1/models", GET, hd_handle_models, 0, false},
    {"/v1/models/*", GET, hd_handle_models, 0, false},
    {"/", POST, hd_handle_invocations, SIZE_MAX, false},
    {"/generate", POST, hd_handle_generate, SIZE_MAX, false},
    {"/generate_stream", POST, hd_handle_generate_stream, SIZE_MAX, false},
    {"/tokenize", POST, hd_handle_tokenize, SIZE_MAX, false},
    {"/detokenize", POST, hd_handle_detokenize, SIZE_MAX, false},
    {"/info", GET, hd_handle_info, 0, false},
    {"/version", GET, hd_handle_version, 0, true},
    {"/models", ANY, hd_handle_multi_model, 0, false},
    {"/models/*", ANY, hd_handle_multi_model, 0, false},
    {"/adapters", ANY, hd_handle_adapters, 0, true},
    {"/adapters/*", ANY, hd_handle_adapters, 0, true},
    {"/invocations-bidirectional-stream", GET, hd_handle_bidirectional, 0, true},
};
// clang-format on
const size_t hd_n_routes = sizeof(hd_routes) / sizeof(hd_routes[0]);

// ---- keys ----------------------------------------------------------------------------------

// Looks at every byte of the key whatever it is compared with, so that time tells nothing.
static bool same_key(const char *key, const char *given)
{
    size_t n = strlen(given);
    unsigned differ = n != strlen(key);
    for (size_t i = 0; key[i]; i++)
        differ |= (unsigned char)key[i] ^ (unsigned char)(i < n ? given[i] : 0);
    return differ == 0;
}

static bool has_key(const hd_http_req *rq, const char *key)
{
    const char *given = hd_http_header(rq, "Authorization");
    if (!given || strncasecmp(given, "Bearer ", 7) != 0) return false;
    given += 7;
    given += strspn(given, " ");
    return same_key(key, given);
}

// The platform passes no key on to /invocations; health and metrics are never asked for one.
static bool needs_key(const hd_config *c, const hd_route *r)
{
    if (!c->api_key || r->control) return false;
    return c->api_key_scope == HD_KEY_SCOPE_ALL || strcmp(r->path, "/invocations") != 0;
}

// ---- who may enter -------------------------------------------------------------------------

static int check_state(const hd_server *sv, const char **message)
{
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

int hd_server_admit(void *server, const hd_http_req *rq, const hd_route *r, const char **message)
{
    hd_server *sv = server;
    if (r->control) return 0;
    int status = 0;
    if (needs_key(sv->cfg, r) && !has_key(rq, sv->cfg->api_key)) {
        *message = "header Authorization: expected Bearer and the key of this server";
        status = 401;
    } else {
        status = check_state(sv, message);
    }
    if (status) hd_metrics_refused(&sv->metrics, status);
    return status;
}

void hd_server_error_body(hd_buf *out, int status, const char *message)
{
    hd_err err = {.code = HD_E_INVAL};
    snprintf(err.msg, sizeof(err.msg), "%s", message);
    hd_schema_openai_chat.error(out, &err, status, false, HD_FRAME_DEFAULT);
}
