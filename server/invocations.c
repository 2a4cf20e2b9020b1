// POST /invocations and the OpenAI routes: from a body to a parsed call. The dialect follows from
// the body's keys, on the OpenAI routes from the path; what happens then is in answer.c.
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/answer.h"

#include <stdio.h>
#include <string.h>

// ---- headers -------------------------------------------------------------------------------

// Whether a media type ("application/json; charset=utf-8") is `want`, in any case.
static bool is_type(const char *value, const char *want)
{
    size_t n = strcspn(value, "; \t");
    return n == strlen(want) && strncasecmp(value, want, n) == 0;
}

static bool is_json_suffix(const char *value)
{
    size_t n = strcspn(value, "; \t");
    return n > 17 && strncasecmp(value, "application/", 12) == 0 &&
           strncasecmp(value + n - 5, "+json", 5) == 0;
}

static bool is_lines(const char *value)
{
    static const char *const lines[] = {"application/jsonlines", "application/x-jsonlines",
                                        "application/jsonl", "application/x-ndjson"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (is_type(value, lines[i])) return true;
    return false;
}

// Clients that set no type, and curl's default, are taken at their word when they send JSON.
static bool accepts_type(const char *value, hd_slice body)
{
    static const char *const types[] = {"application/json", "application/octet-stream",
                                        "text/plain", "*/*"};
    if (!value || !*value || is_json_suffix(value)) return true;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (is_type(value, types[i])) return true;
    if (!is_type(value, "application/x-www-form-urlencoded")) return false;
    size_t at = 0;
    while (at < body.n && strchr(" \t\r\n", body.p[at]))
        at++;
    return at < body.n && (body.p[at] == '{' || body.p[at] == '[');
}

// Framing that the caller asks for, or DEFAULT.
static hd_framing accepted_framing(const hd_http_req *rq)
{
    const char *accept = hd_http_header(rq, "Accept");
    if (!accept) accept = hd_http_header(rq, "X-Amzn-SageMaker-Accept");
    if (!accept) return HD_FRAME_DEFAULT;
    if (is_lines(accept)) return HD_FRAME_JSONL;
    return is_type(accept, "text/event-stream") ? HD_FRAME_SSE : HD_FRAME_DEFAULT;
}

// Value of key in the custom attributes ("key=value" separated by blanks, commas, semicolons).
static hd_slice attribute(const hd_http_req *rq, const char *key)
{
    const char *p = hd_http_header(rq, "X-Amzn-SageMaker-Custom-Attributes");
    size_t n = strlen(key);
    while (p && *p) {
        p += strspn(p, " ,;\t");
        size_t len = strcspn(p, " ,;\t");
        if (len > n && strncmp(p, key, n) == 0 && p[n] == '=')
            return hd_slice_of(p + n + 1, len - n - 1);
        p += len;
    }
    return hd_slice_of("", 0);
}

// ---- dialect -------------------------------------------------------------------------------

// The custom attribute route=/v1/... sends a body to another inference route, and to no other.
static hd_status pick_routed(const hd_http_req *rq, const hd_schema **out, hd_err *err)
{
    hd_slice route = attribute(rq, "route");
    *out = NULL;
    if (route.n == 0 || hd_slice_eq_str(route, "/invocations")) return HD_OK;
    if (hd_slice_eq_str(route, "/v1/chat/completions"))
        *out = &hd_schema_openai_chat;
    else if (hd_slice_eq_str(route, "/v1/completions"))
        *out = &hd_schema_openai_completions;
    HD_CHECK(*out, err, HD_E_INVAL,
             "custom attribute route: expected /v1/chat/completions or /v1/completions");
    return HD_OK;
}

static hd_status pick(const hd_server *sv, const hd_http_req *rq, const hd_json *body,
                      const hd_schema **out, hd_err *err)
{
    hd_inputs_profile profile = sv->profile;
    hd_slice wish = attribute(rq, "inputs_profile");
    if (hd_slice_eq_str(wish, "lmi")) profile = HD_PROFILE_LMI;
    if (hd_slice_eq_str(wish, "tgi")) profile = HD_PROFILE_TGI;
    HD_TRY(pick_routed(rq, out, err));
    return *out ? HD_OK : hd_schema_pick(body, profile, out, err);
}

// ---- the request ---------------------------------------------------------------------------

// Parses the body and fills call. On failure *schema is the dialect to answer in, or NULL.
static hd_status read_call(hd_server *sv, hd_http_req *rq, const hd_schema **schema, hd_call *call,
                           hd_json **doc, hd_err *err)
{
    hd_json_limits limits = hd_json_request_limits;
    limits.max_bytes = (size_t)sv->cfg->max_body_bytes;
    const char *type = hd_http_header(rq, "Content-Type");
    HD_CHECK(!type || !is_lines(type), err, HD_E_UNSUPPORTED,
             "body: JSON Lines are not supported yet, expected one JSON object");
    hd_status st = hd_json_parse(hd_http_body(rq), &limits, doc, err);
    if (st != HD_OK) return hd_err_prefix(err, st, "body");
    const hd_schema *forced = *schema;
    if (forced)
        HD_CHECK(hd_json_type(*doc) == HD_JSON_OBJECT, err, HD_E_INVAL,
                 "body: found %s, expected an object", hd_json_type_name(*doc));
    else
        HD_TRY(pick(sv, rq, *doc, schema, err));
    hd_framing wish = accepted_framing(rq);
    hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    *call = (hd_call){.schema = *schema,
                      .cfg = sv->cfg,
                      .facts = hd_engine_facts(e),
                      .served_name = sv->served_name,
                      .request_id = hd_http_id(rq),
                      .created = hd_wall_seconds()};
    HD_TRY((*schema)->parse(*doc, hd_http_arena(rq), call, err));
    // The OpenAI routes always stream events; /invocations lets the caller choose.
    if (wish != HD_FRAME_DEFAULT && !forced) call->rq.framing = wish;
    if (call->rq.framing == HD_FRAME_DEFAULT) call->rq.framing = HD_FRAME_SSE;
    return HD_OK;
}

static void handle(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema)
{
    int64_t start_ns = hd_mono_ns();
    hd_err err = {0};
    hd_call *call = hd_arena_alloc(hd_http_arena(rq), sizeof(*call));
    hd_json *doc = NULL;
    if (!accepts_type(hd_http_header(rq, "Content-Type"), hd_http_body(rq)) &&
        !is_lines(hd_http_header(rq, "Content-Type"))) {
        hd_answer_refuse(rq, rs, 415, "header Content-Type: expected application/json", start_ns);
        return;
    }
    hd_status st = call ? read_call(sv, rq, &schema, call, &doc, &err)
                        : HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    if (st != HD_OK) {
        hd_json_free(doc);
        hd_answer_error(rq, rs, schema, &err, start_ns);
        return;
    }
    hd_answer *a = hd_answer_create(sv, rq, call, doc, start_ns);
    if (a) {
        hd_answer_run(a, rs);
        return;
    }
    hd_fail(&err, HD_E_NOMEM, "out of memory");
    hd_answer_error(rq, rs, schema, &err, start_ns);
}

void hd_handle_invocations(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, NULL);
}

void hd_handle_chat_completions(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_openai_chat);
}

void hd_handle_completions(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_openai_completions);
}
