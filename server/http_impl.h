// What http.c, http_head.c and http_req.c share; private to them. The library's types are only
// named here: http.c alone includes it.
#ifndef HADAL_SERVER_HTTP_IMPL_H
#define HADAL_SERVER_HTTP_IMPL_H

#include "server/http.h"
#include "server/http_watch.h"

#include <pthread.h>

struct MHD_Connection;
struct MHD_Daemon;

enum {
    HD_REQUEST_ID_BYTES = 72,
    HD_HTTP_HEADERS_SET = 12,
    HD_HTTP_DROP_BYTES =
        64 << 10, // an unwanted body up to here is read, and the connection lives on
};

struct hd_http {
    hd_http_cfg cfg;
    struct MHD_Daemon *daemon;
    hd_watch *watch;
    hd_buf tardy, crowded; // raw answers to clients that are too slow, or too many
    int listener, port;
    pthread_key_t current; // the hd_http_req of a connection's thread
    bool has_current;
    bool in_place; // the library hands out a head's parts where they stood
    pthread_mutex_t mu;
    pthread_cond_t idle;
    int active; // ordinary requests between head and end
    bool stopping;
};

typedef struct hd_http_header_set {
    const char *name, *value;
} hd_http_header_set;

struct hd_http_rsp {
    hd_http_req *rq;
    hd_http_header_set header[HD_HTTP_HEADERS_SET];
    int n_headers;
    bool answered, failed;
};

struct hd_http_req {
    hd_http *h;
    struct MHD_Connection *mc;
    hd_watched watched;
    bool begun, heard, counted; // target seen; head seen; counts in h->active
    const char *target, *tail;
    uintptr_t target_end; // where it ended in the library's buffer
    const hd_route *route;
    unsigned method;
    hd_buf body;
    size_t body_limit, dropped;
    hd_arena arena;
    char id[HD_REQUEST_ID_BYTES];
    int refuse; // status that is answered without the route's handler, 0: none
    char why[160];
    bool last, linger; // end the connection; and read on for a while
    hd_http_rsp rsp;
    // a streamed answer
    hd_pull_fn pull;
    hd_fini_fn fini;
    void *stream_ctx;
    hd_buf out;
    size_t out_at;
    hd_pull state;
};

// ---- http_head.c ---------------------------------------------------------------------------

typedef struct hd_http_head { // of a request, as far as it decides how to go on
    const char *method;
    bool old;         // HTTP/1.0
    const char *flaw; // what is malformed in its lines; NULL: nothing
    uintptr_t next;   // where the next line has to begin; 0: not known
    size_t bytes, n, hosts, lengths, codings;
    const char *host, *length, *coding, *encoding, *expect;
} hd_http_head;

// Finds what the library passed over in silence (see http_head.c). Each part has to begin where it
// should when the one before it has ended: version, target and lines, in this order.
void hd_http_head_begin(hd_http_head *hd, uintptr_t target_end, const char *version);
void hd_http_head_end(hd_http_head *hd);
// One header line. The library takes names and values as they come; what may stand in them is
// decided here.
void hd_http_head_line(hd_http_head *hd, const char *name, const char *value);
// Finds the route and takes a slot, or sets rq->refuse and rq->why.
void hd_http_check_head(hd_http_req *rq, const hd_http_head *hd);
// Answers a request that was refused.
void hd_http_reply_refusal(hd_http_req *rq);
// A whole answer as bytes, for where the library takes none.
void hd_http_raw_answer(const hd_http_cfg *cfg, hd_buf *out, int status, const char *phrase,
                        const char *why);

// ---- http_req.c ----------------------------------------------------------------------------

// A path, an absolute form or "*", of printable characters.
bool hd_target_ok(const char *target);
// Path of a request target: without scheme, authority, query and one trailing slash.
hd_slice hd_target_path(const char *target);
// NULL: none. tail (may be NULL) points behind the prefix of a "/x/*" route.
const hd_route *hd_route_find(const hd_route *routes, size_t n, hd_slice path, const char **tail);
// "GET, HEAD, OPTIONS" and so on, for Allow; out holds 64 bytes.
void hd_route_allow(const hd_route *r, char out[64]);
unsigned hd_method_of(const char *name); // 0: one that no route has

// given: the caller's id or NULL; what is not printable ASCII or would need quoting becomes '_'.
void hd_request_id(const char *given, char out[HD_REQUEST_ID_BYTES]);

// A listening socket; host NULL: every address, IPv6 and IPv4 on one socket where possible.
hd_status hd_socket_listen(const char *host, int port, int *fd, int *bound, hd_err *err);
bool hd_socket_gone(int fd); // closed or half-closed by the peer
// Sends bytes, waiting at most a second for a slow peer.
void hd_socket_send(int fd, hd_slice bytes);
// Ends our side and reads what the peer still sends, briefly, so that it sees our last answer
// instead of a reset.
void hd_socket_linger(int fd);

#endif
