// Errors of requests that never became an answer: replied in a dialect's words, counted, logged.
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "server/answer.h"

#include <stdio.h>

static void reply_error(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema,
                        const hd_err *err, int status, int64_t start_ns)
{
    hd_buf body = {0};
    hd_metrics_refused(&sv->metrics, status);
    schema->error(&body, err, status, false, HD_FRAME_DEFAULT);
    if (status == 429 || status == 503) hd_http_set_header(rs, "Retry-After", "1");
    hd_http_reply(rs, status, "application/json", hd_buf_slice(&body));
    hd_buf_fini(&body);
    HD_LOG(HD_LOG_INFO, "request", "refused", hd_f_str("id", hd_http_id(rq)),
           hd_f_str("dialect", schema->name), hd_f_int("status", status),
           hd_f_f64("total_ms", (double)(hd_mono_ns() - start_ns) / 1e6, 1),
           hd_f_str("why", err->msg));
}

void hd_answer_error(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema,
                     const hd_err *err, int64_t start_ns)
{
    const hd_schema *s = schema ? schema : &hd_schema_openai_chat;
    reply_error(sv, rq, rs, s, err, s->status(err), start_ns);
}

void hd_answer_refuse(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs, const hd_schema *schema,
                      int status, const char *message, int64_t start_ns)
{
    hd_err err = {.code = HD_E_INVAL};
    snprintf(err.msg, sizeof(err.msg), "%s", message);
    reply_error(sv, rq, rs, schema ? schema : &hd_schema_openai_chat, &err, status, start_ns);
}

int hd_answer_error_body(hd_server *sv, const hd_schema *schema, const hd_err *err, hd_buf *body)
{
    const hd_schema *s = schema ? schema : &hd_schema_openai_chat;
    int status = s->status(err);
    s->error(body, err, status, false, HD_FRAME_DEFAULT);
    hd_metrics_refused(&sv->metrics, status);
    return status;
}
