// The parts of HTTP that need no library: targets, routes, ids, sockets. Private to http*.c.
#ifndef HADAL_SERVER_HTTP_IMPL_H
#define HADAL_SERVER_HTTP_IMPL_H

#include "server/http.h"

enum { HD_REQUEST_ID_BYTES = 72 };

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
