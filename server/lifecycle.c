// Life of the serving process: its state, and signals as something to wait for.
//
// Libraries may have threads from before main, which do not block what we block, so a signal can
// arrive on any of them: the handler only passes its number through a pipe.
#include "server/lifecycle.h"

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

struct hd_lifecycle {
    int pipe[2];
    sigset_t unblocked; // the mask while waiting
    atomic_int state;
    atomic_int permyriad; // loaded, in 1/10000
};

// The one piece of process-wide state: where the handler writes. -1: nowhere.
static volatile sig_atomic_t signal_fd = -1;

static void on_signal(int sig)
{
    int saved = errno;
    unsigned char byte = (unsigned char)sig;
    if (signal_fd >= 0 && write(signal_fd, &byte, 1) < 0) {
        // A full pipe holds signals enough.
    }
    errno = saved;
}

hd_lifecycle *hd_lifecycle_create(void)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigset_t ours;
    hd_lifecycle *l = hd_calloc(1, sizeof(*l));
    if (!l) return NULL;
    if (pipe2(l->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        hd_free(l);
        return NULL;
    }
    atomic_init(&l->state, HD_LIFE_LOADING);
    signal_fd = l->pipe[1];
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ours, &l->unblocked);
    sigdelset(&l->unblocked, SIGTERM);
    sigdelset(&l->unblocked, SIGINT);
    sigemptyset(&act.sa_mask);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    return l;
}

void hd_lifecycle_destroy(hd_lifecycle *l)
{
    if (!l) return;
    signal_fd = -1;
    close(l->pipe[0]);
    close(l->pipe[1]);
    hd_free(l);
}

// Pairs: who sees READY sees the engine that was stored before it.
hd_life hd_lifecycle_get(const hd_lifecycle *l)
{
    return (hd_life)atomic_load_explicit(&l->state, memory_order_acquire);
}

void hd_lifecycle_set(hd_lifecycle *l, hd_life s)
{
    atomic_store_explicit(&l->state, (int)s, memory_order_release);
}

void hd_lifecycle_move(hd_lifecycle *l, hd_life from, hd_life to)
{
    int expected = (int)from;
    atomic_compare_exchange_strong_explicit(&l->state, &expected, (int)to, memory_order_acq_rel,
                                            memory_order_acquire);
}

void hd_lifecycle_progress(hd_lifecycle *l, double fraction)
{
    atomic_store_explicit(&l->permyriad, (int)(fraction * 10000), memory_order_relaxed);
}

double hd_lifecycle_fraction(const hd_lifecycle *l)
{
    return atomic_load_explicit(&l->permyriad, memory_order_relaxed) / 10000.0;
}

int hd_lifecycle_wait(hd_lifecycle *l, int timeout_ms)
{
    int64_t end = hd_mono_ns() + timeout_ms * INT64_C(1000000);
    for (;;) {
        unsigned char sig;
        if (read(l->pipe[0], &sig, 1) == 1) return sig;
        int64_t left = end - hd_mono_ns();
        if (timeout_ms >= 0 && left <= 0) return 0;
        struct timespec t = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
        struct pollfd p = {.fd = l->pipe[0], .events = POLLIN};
        (void)ppoll(&p, 1, timeout_ms >= 0 ? &t : NULL, &l->unblocked);
    }
}
