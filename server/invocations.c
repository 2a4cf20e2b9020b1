// POST /invocations and the OpenAI routes: from a body to a parsed call. The dialect follows from
// the body's keys, on the OpenAI routes from the path; what happens then is in answer.c.
#include "kernels/base/clock.h"
#include "server/batch.h"

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
    if (!value) return false;
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

// When a caller that waits for a limited time has to get what there is (SM-126). Without the
// platform's word for how it was called, nothing is cut.
static int64_t soft_deadline(const hd_reading *r)
{
    const hd_config *c = r->sv->cfg;
    const char *api = hd_http_header(r->rq, "X-Amzn-SageMaker-Forwarded-Api");
    int64_t seconds = 0;
    if (!api || c->force_unary) return 0;
    if (strcmp(api, "InvokeEndpoint") == 0) seconds = c->deadline_sync_seconds;
    if (strcmp(api, "InvokeEndpointWithResponseStream") == 0) seconds = c->deadline_stream_seconds;
    return seconds > 0 ? r->start_ns + seconds * INT64_C(1000000000) : 0;
}

// A request that would spend its whole time in the queue had better be sent elsewhere (SM-127).
static hd_status check_wait(const hd_reading *r, hd_engine *e, int64_t deadline_ns, hd_err *err)
{
    hd_engine_stats s;
    if (deadline_ns == 0) return HD_OK;
    hd_engine_stats_read(e, &s);
    int64_t wait = hd_metrics_wait_ns(&r->sv->metrics, s.waiting, (int32_t)r->sv->cfg->max_seqs);
    HD_CHECK(r->start_ns + wait < deadline_ns, err, HD_E_BUSY,
             "%d requests wait already, about %d seconds: more than this one has", (int)s.waiting,
             (int)(wait / 1000000000));
    return HD_OK;
}

static hd_framing framing_of(const hd_reading *r, const hd_call *call)
{
    hd_framing wish = accepted_framing(r->rq);
    int64_t formatter = r->sv->cfg->output_formatter;
    bool openai =
        call->schema == &hd_schema_openai_chat || call->schema == &hd_schema_openai_completions;
    // The routes with a dialect of their own always stream events; /invocations lets the caller
    // choose, then the configuration, which reaches chats only where callers expect LMI.
    if (r->forced) return HD_FRAME_SSE;
    if (wish != HD_FRAME_DEFAULT) return wish;
    if (formatter == HD_FMT_SSE) return HD_FRAME_SSE;
    if (formatter == HD_FMT_JSONL && (!openai || r->sv->profile == HD_PROFILE_LMI))
        return HD_FRAME_JSONL;
    return call->rq.framing == HD_FRAME_DEFAULT ? HD_FRAME_SSE : call->rq.framing;
}

hd_status hd_call_read(const hd_reading *r, const hd_json *doc, const hd_schema **schema,
                       hd_call *call, hd_err *err)
{
    hd_server *sv = r->sv;
    *schema = r->forced;
    if (r->forced)
        HD_CHECK(hd_json_type(doc) == HD_JSON_OBJECT, err, HD_E_INVAL,
                 "body: found %s, expected an object", hd_json_type_name(doc));
    else
        HD_TRY(pick(sv, r->rq, doc, schema, err));
    hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    *call = (hd_call){.schema = *schema,
                      .cfg = sv->cfg,
                      .facts = hd_engine_facts(e),
                      .served_name = sv->served_name,
                      .request_id = r->id,
                      .created = hd_wall_seconds(),
                      .shape = sv->cfg->force_unary && r->shape == HD_SHAPE_ASKED ? HD_SHAPE_UNARY
                                                                                  : r->shape};
    if (sv->cfg->strict) HD_TRY(hd_schema_strict(*schema, doc, err));
    HD_TRY((*schema)->parse(doc, hd_http_arena(r->rq), call, err));
    call->rq.framing = framing_of(r, call);
    call->quiet = !r->forced && sv->profile == HD_PROFILE_LMI &&
                  !hd_config_given(sv->cfg, &sv->cfg->keepalive_comment_seconds);
    call->rq.deadline_ns = soft_deadline(r);
    return check_wait(r, e, call->rq.deadline_ns, err);
}

// Replies what can be told from the headers alone. True: it did.
static bool refuse_headers(const hd_reading *r, hd_http_rsp *rs)
{
    const char *type = hd_http_header(r->rq, "Content-Type");
    const char *attributes = hd_http_header(r->rq, "X-Amzn-SageMaker-Custom-Attributes");
    if (r->sv->cfg->echo_attributes && attributes)
        hd_http_set_header(rs, "X-Amzn-SageMaker-Custom-Attributes", attributes);
    if (!accepts_type(type, hd_http_body(r->rq)) && !(is_lines(type) && !r->forced))
        hd_answer_refuse(r->sv, r->rq, rs, r->forced, 415,
                         "header Content-Type: expected application/json or application/jsonlines",
                         r->start_ns);
    else if (hd_http_header(r->rq, "X-Amzn-SageMaker-Session-Id"))
        hd_answer_refuse(r->sv, r->rq, rs, r->forced, 400, HD_NO_SESSIONS, r->start_ns);
    else if (hd_http_header(r->rq, "X-Amzn-SageMaker-Adapter-Identifier"))
        hd_answer_refuse(r->sv, r->rq, rs, r->forced, 404,
                         "header X-Amzn-SageMaker-Adapter-Identifier: no such adapter; adapters "
                         "are not supported",
                         r->start_ns);
    else
        return false;
    return true;
}

static void answer_one(const hd_reading *r, hd_http_rsp *rs, hd_json *doc)
{
    const hd_schema *schema = r->forced;
    hd_err err = {0};
    hd_call *call = hd_arena_alloc(hd_http_arena(r->rq), sizeof(*call));
    hd_status st = call ? hd_call_read(r, doc, &schema, call, &err)
                        : HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    if (st != HD_OK) {
        hd_json_free(doc);
        hd_answer_error(r->sv, r->rq, rs, schema, &err, r->start_ns);
        return;
    }
    hd_answer *a = hd_answer_create(r->sv, r->rq, call, doc, r->start_ns);
    if (a) {
        hd_answer_run(a, rs);
        return;
    }
    hd_fail(&err, HD_E_NOMEM, "out of memory");
    hd_answer_error(r->sv, r->rq, rs, schema, &err, r->start_ns);
}

static void handle(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *forced,
                   hd_call_shape shape)
{
    const hd_reading r = {sv, rq, forced, shape, hd_http_id(rq), hd_mono_ns()};
    const char *type = hd_http_header(rq, "Content-Type");
    hd_json_limits limits = hd_json_request_limits;
    hd_slice body = hd_http_body(rq);
    hd_err err = {0};
    hd_json *doc = NULL;
    limits.max_bytes = (size_t)sv->cfg->max_body_bytes;
    if (refuse_headers(&r, rs)) return;
    if (!forced && hd_batch_is_lines(body, type && is_lines(type))) {
        hd_batch_lines(&r, rs, body);
        return;
    }
    hd_status st = hd_json_parse(body, &limits, &doc, &err);
    if (st != HD_OK) {
        hd_err_prefix(&err, st, "body");
        hd_answer_error(sv, rq, rs, forced, &err, r.start_ns);
    } else if (!forced && hd_json_type(doc) == HD_JSON_ARRAY) {
        hd_batch_array(&r, rs, doc);
    } else {
        answer_one(&r, rs, doc);
    }
}

void hd_handle_invocations(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, NULL, HD_SHAPE_ASKED);
}

void hd_handle_chat_completions(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_openai_chat, HD_SHAPE_ASKED);
}

void hd_handle_completions(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_openai_completions, HD_SHAPE_ASKED);
}

void hd_handle_generate(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_tgi, HD_SHAPE_OBJECT);
}

void hd_handle_generate_stream(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, &hd_schema_tgi, HD_SHAPE_STREAM);
}
