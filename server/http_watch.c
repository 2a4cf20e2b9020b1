// The thread that enforces time limits of connections. It knows sockets, not HTTP.
#include "server/http_watch.h"

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

enum { SCAN_MS = 250, CROWD_SECONDS = 2 };

struct hd_watch {
    hd_watch_cfg cfg;
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t wake; // only the end is signalled
    bool stop;
    int n;
    hd_watched *head;
};

// Bytes received or acknowledged so far; false where the kernel does not tell.
static bool socket_bytes(int fd, uint64_t *received, uint64_t *acked)
{
    struct tcp_info ti;
    socklen_t n = sizeof(ti);
    memset(&ti, 0, sizeof(ti));
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &n) != 0) return false;
    if (n < offsetof(struct tcp_info, tcpi_segs_out)) return false;
    *received = ti.tcpi_bytes_received;
    *acked = ti.tcpi_bytes_acked;
    return true;
}

// Bytes have come that nobody has read: it is we who are late.
static bool unread(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0;
}

static void cut(hd_watch *w, hd_watched *e)
{
    hd_slice last = {0};
    e->cut = true;
    // Nothing has been answered in these phases, so these bytes are a whole answer. Who has not
    // asked for anything yet and is in the way is told so: the request may be on its way.
    if (e->phase == HD_PHASE_HEAD || e->phase == HD_PHASE_BODY) last = w->cfg.tardy;
    if (e->phase == HD_PHASE_IDLE && e->bytes == 0 && w->n >= w->cfg.crowd) last = w->cfg.crowded;
    if (last.n) (void)send(e->fd, last.p, last.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(e->fd, SHUT_RDWR);
}

static void look(hd_watch *w, hd_watched *e, int64_t now)
{
    uint64_t received = 0, acked = 0;
    bool known = (e->phase == HD_PHASE_IDLE || e->phase == HD_PHASE_SEND) &&
                 socket_bytes(e->fd, &received, &acked);
    if (e->phase == HD_PHASE_IDLE && known && received != e->bytes) {
        e->phase = HD_PHASE_HEAD;
        e->since_ns = now;
    }
    if (e->phase == HD_PHASE_SEND && known && acked != e->bytes) {
        e->bytes = acked;
        e->since_ns = now;
    }
    const int limit[] = {[HD_PHASE_IDLE] = w->cfg.idle_seconds,
                         [HD_PHASE_HEAD] = w->cfg.head_seconds,
                         [HD_PHASE_BODY] = w->cfg.body_seconds,
                         [HD_PHASE_BUSY] = 0,
                         [HD_PHASE_SEND] = w->cfg.send_seconds};
    int seconds = limit[e->phase];
    bool waits = e->phase == HD_PHASE_IDLE || e->phase == HD_PHASE_HEAD;
    if (waits && w->n > w->cfg.crowd && seconds > CROWD_SECONDS) seconds = CROWD_SECONDS;
    if (seconds == 0 || now - e->since_ns <= seconds * INT64_C(1000000000)) return;
    if (e->phase == HD_PHASE_SEND || !unread(e->fd)) cut(w, e);
}

// The connection that has been silent longest, and long enough for a client that is slow to send
// its first request; or NULL. One whose request only waits for its thread is not silent.
static hd_watched *longest_idle(const hd_watch *w)
{
    hd_watched *oldest = NULL;
    uint64_t received = 0, acked = 0;
    int64_t before = hd_mono_ns() - CROWD_SECONDS * INT64_C(1000000000);
    for (hd_watched *e = w->head; e; e = e->next)
        if (!e->cut && e->phase == HD_PHASE_IDLE && e->since_ns < before &&
            socket_bytes(e->fd, &received, &acked) && received == e->bytes) {
            before = e->since_ns;
            oldest = e;
        }
    return oldest;
}

static void *scan(void *arg)
{
    hd_watch *w = arg;
    pthread_mutex_lock(&w->mu);
    while (!w->stop) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += SCAN_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&w->wake, &w->mu, &until);
        int64_t now = hd_mono_ns();
        for (hd_watched *e = w->head; e && !w->stop; e = e->next)
            if (!e->cut) look(w, e, now);
    }
    pthread_mutex_unlock(&w->mu);
    return NULL;
}

hd_status hd_watch_create(const hd_watch_cfg *cfg, hd_watch **out, hd_err *err)
{
    pthread_condattr_t attr;
    hd_watch *w = hd_calloc(1, sizeof(*w));
    *out = NULL;
    HD_CHECK(w, err, HD_E_NOMEM, "out of memory");
    w->cfg = *cfg;
    pthread_mutex_init(&w->mu, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    int rc = pthread_create(&w->thread, NULL, scan, w);
    if (rc != 0) {
        pthread_cond_destroy(&w->wake);
        pthread_mutex_destroy(&w->mu);
        hd_free(w);
        return HD_FAIL(err, HD_E_IO, "thread for connection limits: %s", strerror(rc));
    }
    *out = w;
    return HD_OK;
}

void hd_watch_destroy(hd_watch *w)
{
    if (!w) return;
    pthread_mutex_lock(&w->mu);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mu);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->mu);
    hd_free(w);
}

void hd_watch_add(hd_watch *w, hd_watched *e)
{
    pthread_mutex_lock(&w->mu);
    hd_watched *idle = w->n >= w->cfg.crowd ? longest_idle(w) : NULL;
    if (idle) cut(w, idle); // makes room before the library closes newcomers at its limit
    e->since_ns = hd_mono_ns();
    e->next = w->head;
    if (w->head) w->head->prev = e;
    w->head = e;
    w->n++;
    pthread_mutex_unlock(&w->mu);
}

void hd_watch_remove(hd_watch *w, hd_watched *e)
{
    pthread_mutex_lock(&w->mu);
    if (e->prev)
        e->prev->next = e->next;
    else
        w->head = e->next;
    if (e->next) e->next->prev = e->prev;
    w->n--;
    pthread_mutex_unlock(&w->mu);
}

void hd_watch_phase(hd_watch *w, hd_watched *e, hd_phase phase)
{
    uint64_t received = 0, acked = 0;
    if (phase == HD_PHASE_IDLE || phase == HD_PHASE_SEND) socket_bytes(e->fd, &received, &acked);
    pthread_mutex_lock(&w->mu);
    // The head's clock runs from its first byte, which the scan may have seen earlier.
    if (phase != HD_PHASE_HEAD || e->phase != HD_PHASE_HEAD) e->since_ns = hd_mono_ns();
    e->phase = phase;
    e->bytes = phase == HD_PHASE_SEND ? acked : received;
    pthread_mutex_unlock(&w->mu);
}
