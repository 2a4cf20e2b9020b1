// Targets, routes, request ids and sockets: what HTTP needs besides the library.
#include "kernels/base/clock.h"
#include "kernels/base/rng.h"
#include "server/http_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// ---- targets and routes --------------------------------------------------------------------

bool hd_target_ok(const char *target)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7F) return false;
    size_t n = strspn(target, letters);
    return target[0] == '/' || strcmp(target, "*") == 0 ||
           (n > 0 && strncmp(target + n, "://", 3) == 0);
}

hd_slice hd_target_path(const char *target)
{
    const char *p = target;
    const char *scheme = strstr(p, "://");
    if (p[0] != '/' && scheme) { // absolute form: scheme://authority/path
        p = scheme + 3;
        p += strcspn(p, "/?#");
        if (*p != '/') return hd_slice_of("/", 1);
    }
    size_t n = strcspn(p, "?#");
    if (n > 1 && p[n - 1] == '/') n--;
    return hd_slice_of(p, n);
}

const hd_route *hd_route_find(const hd_route *routes, size_t n, hd_slice path, const char **tail)
{
    for (size_t i = 0; i < n; i++) {
        hd_slice want = hd_slice_str(routes[i].path);
        bool prefix = want.n > 1 && want.p[want.n - 1] == '*';
        if (prefix) want.n--;
        if (prefix ? path.n > want.n && hd_slice_starts(path, want) : hd_slice_eq(path, want)) {
            if (tail) *tail = prefix ? path.p + want.n : "";
            return &routes[i];
        }
    }
    return NULL;
}

static const struct {
    const char *name;
    unsigned bit;
} methods[] = {{"GET", HD_METHOD_GET},
               {"POST", HD_METHOD_POST},
               {"HEAD", HD_METHOD_HEAD},
               {"DELETE", HD_METHOD_DELETE},
               {"OPTIONS", HD_METHOD_OPTIONS}};
enum { N_METHODS = sizeof(methods) / sizeof(methods[0]) };

unsigned hd_method_of(const char *name)
{
    for (int i = 0; i < N_METHODS; i++)
        if (strcmp(name, methods[i].name) == 0) return methods[i].bit;
    return 0;
}

void hd_route_allow(const hd_route *r, char out[64])
{
    unsigned m = r->methods | HD_METHOD_OPTIONS;
    if (m & HD_METHOD_GET) m |= HD_METHOD_HEAD;
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < N_METHODS; i++)
        if (m & methods[i].bit)
            at += (size_t)snprintf(out + at, 64 - at, "%s%s", at ? ", " : "", methods[i].name);
}

// ---- ids -----------------------------------------------------------------------------------

void hd_request_id(const char *given, char out[HD_REQUEST_ID_BYTES])
{
    size_t n = 0;
    for (const char *p = given; p && *p && n < 64; p++)
        out[n++] = *p > ' ' && *p < 0x7F && !strchr("\"\\'<>&", *p) ? *p : '_';
    out[n] = 0;
    if (n == 0)
        snprintf(out, HD_REQUEST_ID_BYTES, "%016llx%016llx", (unsigned long long)hd_rng_entropy(),
                 (unsigned long long)hd_rng_entropy());
}

// ---- sockets -------------------------------------------------------------------------------

static int bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    memset(&a, 0, sizeof(a));
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return 0;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
    return ntohs(a.ss_family == AF_INET6 ? v6->sin6_port : v4->sin_port);
}

// A listening socket on one address; -1 and errno when the system refuses.
static int listen_on(const struct sockaddr *addr, socklen_t n, int both)
{
    int one = 1, off = 0;
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if ((both && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
        bind(fd, addr, n) != 0 || listen(fd, SOMAXCONN) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static int listen_everywhere(int port)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = listen_on((const struct sockaddr *)&v6, sizeof(v6), 1);
    // Hosts without IPv6 refuse the family or the address; a port in use is a port in use.
    if (fd < 0 && errno != EADDRINUSE && errno != EACCES)
        fd = listen_on((const struct sockaddr *)&v4, sizeof(v4), 0);
    return fd;
}

static hd_status listen_host(const char *host, int port, int *fd, hd_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    int rc = getaddrinfo(host, service, &hints, &list);
    HD_CHECK(rc == 0, err, HD_E_INVAL, "--host %.60s: %s", host, gai_strerror(rc));
    *fd = -1;
    for (const struct addrinfo *a = list; a && *fd < 0; a = a->ai_next)
        *fd = listen_on(a->ai_addr, a->ai_addrlen, 0);
    int e = errno;
    freeaddrinfo(list);
    errno = e;
    return HD_OK;
}

hd_status hd_socket_listen(const char *host, int port, int *fd, int *bound, hd_err *err)
{
    *fd = -1;
    if (host)
        HD_TRY(listen_host(host, port, fd, err));
    else
        *fd = listen_everywhere(port);
    if (*fd < 0 && errno == EADDRINUSE)
        return HD_FAIL(err, HD_E_EXISTS, "port %d is in use; choose another with --port", port);
    HD_CHECK(*fd >= 0, err, HD_E_IO, "cannot listen on port %d%s%s: %s", port, host ? " of " : "",
             host ? host : "", strerror(errno));
    *bound = bound_port(*fd);
    return HD_OK;
}

bool hd_socket_gone(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

void hd_socket_send(int fd, hd_slice bytes)
{
    size_t at = 0;
    int64_t end = hd_mono_ns() + 1000000000;
    while (at < bytes.n && hd_mono_ns() < end) {
        ssize_t n = send(fd, bytes.p + at, bytes.n - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (n > 0)
            at += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            return;
        else
            (void)poll(&p, 1, 100);
    }
}

void hd_socket_linger(int fd)
{
    char sink[16384];
    int64_t end = hd_mono_ns() + 1000000000;
    shutdown(fd, SHUT_WR);
    while (hd_mono_ns() < end) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0) continue;
        ssize_t n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return;
    }
}
