// HTTP: the only module that knows libmicrohttpd.
//
// One thread per connection; a handler runs on it once the whole body has arrived and may block. A
// streamed answer is pulled piece by piece; each piece leaves the socket at once. Limits on head,
// body, connections and time are enforced here, before handlers. Handlers see plain values.
//
// Whatever is wrong with a request is answered with error_body, whether we find it or the library,
// but for the first request line of a connection: one without a blank ends the connection without
// a word, one that is too long or of another version gets libmicrohttpd's words.
#ifndef HADAL_SERVER_HTTP_H
#define HADAL_SERVER_HTTP_H

#include "kernels/base/buf.h"
#include "kernels/base/mem.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_http hd_http;         // the listener
typedef struct hd_http_req hd_http_req; // one request; lives until its reply is done
typedef struct hd_http_rsp hd_http_rsp;

typedef void (*hd_http_handler)(void *server, hd_http_req *rq, hd_http_rsp *rs);

enum {
    HD_METHOD_GET = 1,
    HD_METHOD_POST = 2,
    HD_METHOD_HEAD = 4,
    HD_METHOD_OPTIONS = 8,
    HD_METHOD_DELETE = 16
};

typedef struct hd_route {
    const char *path; // exact, without query and trailing slash; "/x/*": anything behind "/x/"
    unsigned methods; // others get 405 with Allow; HEAD follows GET
    hd_http_handler handle;
    size_t max_body; // 0: no body is kept (it is read and dropped); more than the server's: that
    bool control; // health and metrics: served even when all ordinary slots are taken or draining
} hd_route;

typedef struct hd_http_cfg {
    const char *host;                         // NULL: every address
    int port;                                 // 0: any free one (tests)
    int max_connections, control_connections; // the latter are reserved for control routes
    size_t max_body_bytes;
    size_t max_header_bytes, max_headers;
    int header_seconds, body_idle_seconds, idle_seconds;
    const hd_route *routes;
    size_t n_routes;
    void *server; // handed to handlers
    // Writes the JSON body of an error that HTTP itself answers (404, 405, 413, 400 ...).
    void (*error_body)(hd_buf *out, int status, const char *message);
    // Called before a body is read: a status other than 0 refuses the request (503 while draining,
    // 401 without a key).
    int (*admit)(void *server, const hd_http_req *rq, const hd_route *r, const char **message);
    const char *cors_origin; // Access-Control-Allow-Origin of every answer; NULL: none
} hd_http_cfg;

// HD_E_EXISTS "port 8080 is in use; choose another with --port".
hd_status hd_http_start(const hd_http_cfg *cfg, hd_http **out, hd_err *err);
int hd_http_port(const hd_http *h);
int hd_http_active(hd_http *h); // ordinary requests being handled or streamed now
// No new connections; waits up to 2 seconds for running requests, then closes what is left and
// joins their threads.
void hd_http_stop(hd_http *h);

// ---- requests ------------------------------------------------------------------------------

const hd_route *hd_http_route(const hd_http_req *rq);
const char *hd_http_tail(const hd_http_req *rq); // what stood for '*' of the route, undecoded
unsigned hd_http_method(const hd_http_req *rq);
hd_slice hd_http_body(const hd_http_req *rq);
const char *hd_http_header(const hd_http_req *rq,
                           const char *name); // case-insensitive, NULL: absent
const char *hd_http_query(const hd_http_req *rq, const char *name);
hd_arena *hd_http_arena(hd_http_req *rq);        // freed with the request
bool hd_http_client_gone(const hd_http_req *rq); // closed or half-closed by the peer
const char *hd_http_id(hd_http_req *rq);         // the caller's inference id or 128 random bits

// ---- replies -------------------------------------------------------------------------------

void hd_http_set_header(hd_http_rsp *rs, const char *name, const char *value);
// Copies body; Content-Length is exact. Exactly one reply or stream per request.
void hd_http_reply(hd_http_rsp *rs, int status, const char *type, hd_slice body);

typedef enum hd_pull { HD_PULL_MORE, HD_PULL_END, HD_PULL_ABORT } hd_pull;
// Blocks until there is something to say and puts it into out (one event per call). END: normal end
// of the body; ABORT: the connection is cut so that nobody mistakes it for a complete answer.
typedef hd_pull (*hd_pull_fn)(void *ctx, hd_buf *out);
typedef void (*hd_fini_fn)(void *ctx);
// fini runs exactly once, whatever happens (also when the client is gone before the first pull).
void hd_http_stream(hd_http_rsp *rs, int status, const char *type, hd_pull_fn pull, hd_fini_fn fini,
                    void *ctx);

#ifdef __cplusplus
}
#endif

#endif
