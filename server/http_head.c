// Requests that are refused before their handler is asked: heads, routes, slots and sizes that will
// not do, and the answers to them.
//
// libmicrohttpd 0.9.75 parses heads in place and lets much pass: a zero byte ends a target or a
// value, a folded value is appended to its name, and a line with an empty name ends the head, so
// that the lines behind it would be the next request. What it hands out lies where it stood in the
// head; a gap between two parts means one of these. Later versions refuse them by themselves.
#include "kernels/base/log.h"
#include "server/http_impl.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- refusals ------------------------------------------------------------------------------

static void refuse(hd_http_req *rq, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void refuse(hd_http_req *rq, int status, const char *fmt, ...)
{
    va_list ap;
    if (rq->refuse) return; // the first reason stands
    rq->refuse = status;
    va_start(ap, fmt);
    vsnprintf(rq->why, sizeof(rq->why), fmt, ap);
    va_end(ap);
}

void hd_http_reply_refusal(hd_http_req *rq)
{
    hd_buf body = {0};
    char allow[64] = "";
    if (rq->route && (rq->refuse == 405 || rq->refuse == 204)) {
        hd_route_allow(rq->route, allow);
        hd_http_set_header(&rq->rsp, "Allow", allow);
    }
    if (rq->refuse == 204 && rq->h->cfg.cors_origin) {
        hd_http_set_header(&rq->rsp, "Access-Control-Allow-Methods", allow);
        hd_http_set_header(&rq->rsp, "Access-Control-Allow-Headers", "*, Authorization");
    }
    if (rq->refuse == 401) hd_http_set_header(&rq->rsp, "WWW-Authenticate", "Bearer");
    if (rq->refuse == 503) {
        hd_http_set_header(&rq->rsp, "Retry-After", "1");
        rq->last = true;
    }
    if (rq->refuse != 204) rq->h->cfg.error_body(&body, rq->refuse, rq->why);
    if (body.failed) body.len = 0;
    hd_http_reply(&rq->rsp, rq->refuse, "application/json", hd_buf_slice(&body));
    HD_LOG(HD_LOG_DEBUG, "http", "refused", hd_f_int("status", rq->refuse),
           hd_f_str("why", rq->why));
    hd_buf_fini(&body);
}

void hd_http_raw_answer(const hd_http_cfg *cfg, hd_buf *out, int status, const char *phrase,
                        const char *why)
{
    hd_buf body = {0};
    cfg->error_body(&body, status, why);
    hd_buf_printf(out,
                  "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                  "Connection: close\r\n%s\r\n",
                  status, phrase, body.len, status == 503 ? "Retry-After: 1\r\n" : "");
    hd_buf_put_slice(out, hd_buf_slice(&body));
    out->failed |= body.failed;
    hd_buf_fini(&body);
}

// ---- head ----------------------------------------------------------------------------------

static bool alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// Letters, digits and some more, at least one in all.
static bool made_of(const char *s, const char *more)
{
    if (!*s) return false;
    while (*s && (alnum(*s) || strchr(more, *s)))
        s++;
    return !*s;
}

static bool is_token(const char *s)
{
    return made_of(s, "!#$%&'*+-.^_`|~");
}

static bool is_text(const char *s)
{
    while (*s && (*s == '\t' || ((unsigned char)*s >= ' ' && *s != 0x7F)))
        s++;
    return !*s;
}

static const char gap[] = "request head: every line needs a name and ends in CR LF, without zero "
                          "bytes and folded values";

void hd_http_head_begin(hd_http_head *hd, uintptr_t target_end, const char *version)
{
    if (target_end + 1 != (uintptr_t)version) hd->flaw = gap;
    hd->next = (uintptr_t)version + strlen(version) + 2;
}

void hd_http_head_end(hd_http_head *hd)
{
    if (hd->next && hd->next + 2 != (uintptr_t)hd->method + hd->bytes) hd->flaw = gap;
}

void hd_http_head_line(hd_http_head *hd, const char *name, const char *value)
{
    const char *v = value ? value : "";
    hd->n++;
    if (hd->next && hd->next != (uintptr_t)name) hd->flaw = gap;
    if (hd->next) hd->next = (uintptr_t)v + strlen(v) + 2;
    if (!is_token(name))
        hd->flaw = "header: a name is no token";
    else if (!is_text(v))
        hd->flaw = "header: control characters in a value";
    if (strcasecmp(name, "Host") == 0) {
        hd->hosts++;
        if (*v && !made_of(v, "-._~%!$&'()*+,;=:[]")) hd->flaw = "header Host: no host name";
    }
    if (strcasecmp(name, "Content-Length") == 0) hd->lengths++, hd->length = v;
    if (strcasecmp(name, "Transfer-Encoding") == 0) hd->codings++, hd->coding = v;
    if (strcasecmp(name, "Content-Encoding") == 0) hd->encoding = v;
    if (strcasecmp(name, "Expect") == 0) hd->expect = v;
}

static void check_lines(hd_http_req *rq, const hd_http_head *hd)
{
    if (hd->bytes > rq->h->cfg.max_header_bytes)
        refuse(rq, 431, "request head: found %zu bytes, expected at most %zu", hd->bytes,
               rq->h->cfg.max_header_bytes);
    if (hd->n > rq->h->cfg.max_headers)
        refuse(rq, 431, "request head: found %zu lines, expected at most %zu", hd->n,
               rq->h->cfg.max_headers);
    if (!is_token(hd->method)) refuse(rq, 400, "request line: the method is no token");
    if (!hd_target_ok(rq->target))
        refuse(rq, 400, "request line: the target is no path or has blanks or control characters");
    if (hd->flaw) refuse(rq, 400, "%s", hd->flaw);
    if (hd->hosts > 1 || (hd->hosts == 0 && !hd->old))
        refuse(rq, 400, "header Host: found %zu, expected one", hd->hosts);
}

static void check_framing(hd_http_req *rq, const hd_http_head *hd)
{
    if (hd->lengths > 1)
        refuse(rq, 400, "header Content-Length: found %zu, expected one", hd->lengths);
    if (hd->lengths && hd->codings)
        refuse(rq, 400, "found both Content-Length and Transfer-Encoding, expected one of them");
    if (hd->codings && hd->old) refuse(rq, 400, "header Transfer-Encoding: HTTP/1.0 has none");
    if (hd->codings > 1 || (hd->coding && strcasecmp(hd->coding, "chunked") != 0))
        refuse(rq, 400, "header Transfer-Encoding: only chunked is supported");
}

static void check_route(hd_http_req *rq, const char *method)
{
    const hd_http_cfg *cfg = &rq->h->cfg;
    hd_slice path = hd_target_path(rq->target);
    rq->method = hd_method_of(method);
    if (strcmp(rq->target, "*") == 0 && rq->method == HD_METHOD_OPTIONS) {
        refuse(rq, 204, "options of the server");
        return;
    }
    char *copy = hd_arena_dup(&rq->arena, path.p, path.n);
    if (!copy) {
        refuse(rq, 503, "out of memory");
        return;
    }
    path.p = copy;
    rq->route = hd_route_find(cfg->routes, cfg->n_routes, path, &rq->tail);
    if (!rq->route) {
        refuse(rq, 404, "no such path: %.100s", path.p);
        return;
    }
    unsigned allowed = rq->route->methods | HD_METHOD_OPTIONS;
    if (allowed & HD_METHOD_GET) allowed |= HD_METHOD_HEAD;
    if (!(allowed & rq->method)) refuse(rq, 405, "%.20s is not allowed here", method);
    if (rq->method == HD_METHOD_OPTIONS && !(rq->route->methods & HD_METHOD_OPTIONS))
        refuse(rq, 204, "options");
}

// Ordinary requests take a slot; control routes never wait for one.
static void check_slot(hd_http_req *rq)
{
    hd_http *h = rq->h;
    const char *why = "not now";
    if (rq->refuse || !rq->route) return;
    int status = h->cfg.admit ? h->cfg.admit(h->cfg.server, rq, rq->route, &why) : 0;
    if (status) refuse(rq, status, "%s", why);
    if (rq->refuse || rq->route->control) return;
    pthread_mutex_lock(&h->mu);
    rq->counted = !h->stopping && h->active < h->cfg.max_connections;
    h->active += rq->counted;
    pthread_mutex_unlock(&h->mu);
    if (!rq->counted)
        refuse(rq, 503, "all %d connections for requests are in use", h->cfg.max_connections);
}

static void check_body(hd_http_req *rq, const hd_http_head *hd)
{
    size_t most = rq->h->cfg.max_body_bytes;
    if (rq->route && rq->route->max_body < most) most = rq->route->max_body;
    rq->body_limit = most;
    uint64_t length = hd->length ? strtoull(hd->length, NULL, 10) : 0;
    size_t allowed = most ? most : HD_HTTP_DROP_BYTES;
    if (length > allowed)
        refuse(rq, 413, "body: found %llu bytes, expected at most %zu", (unsigned long long)length,
               allowed);
    if (hd->encoding && hd->encoding[0] && strcasecmp(hd->encoding, "identity") != 0)
        refuse(rq, 415, "header Content-Encoding: found '%.40s', only identity is supported",
               hd->encoding);
}

void hd_http_check_head(hd_http_req *rq, const hd_http_head *hd)
{
    if (rq->target)
        check_lines(rq, hd);
    else
        refuse(rq, 503, "out of memory");
    check_framing(rq, hd);
    rq->last |= rq->refuse != 0; // where the next request would begin is not known
    if (!rq->refuse) check_route(rq, hd->method);
    check_body(rq, hd);
    check_slot(rq);
}
