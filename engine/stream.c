// Streams and the bell: the only atomics of the engine. Nothing here knows what tokens mean.
//
// Sleeping, on both sides, is an eventcount: the sleeper reads the counter, looks for work, raises
// its flag and sleeps on the counter; the waker changes the counter and then looks at the flag. All
// four are sequentially consistent: either the waker sees the flag, or the kernel sees the changed
// counter and does not put the sleeper to sleep.
#include "engine/stream.h"

#include "kernels/base/mem.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// ---- eventcount ----------------------------------------------------------------------------

typedef struct event_count {
    _Atomic uint32_t count;
    _Atomic uint32_t asleep;
} event_count;

static uint32_t ec_read(const event_count *e)
{
    return atomic_load_explicit(&e->count, memory_order_seq_cst);
}

static void ec_signal(event_count *e)
{
    atomic_fetch_add_explicit(&e->count, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&e->asleep, memory_order_seq_cst))
        syscall(SYS_futex, &e->count, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

// Returns when the count is not `seen` any more, or after ns (negative: never); early wake-ups are
// the caller's to sort out.
static void ec_wait(event_count *e, uint32_t seen, int64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    atomic_store_explicit(&e->asleep, 1, memory_order_seq_cst);
    syscall(SYS_futex, &e->count, FUTEX_WAIT_PRIVATE, seen, ns < 0 ? NULL : &t, NULL, 0);
    atomic_store_explicit(&e->asleep, 0, memory_order_seq_cst);
}

// ---- bell ----------------------------------------------------------------------------------

struct hd_bell {
    _Atomic uint32_t refs;
    event_count ec;
};

hd_bell *hd_bell_create(void)
{
    hd_bell *b = hd_calloc(1, sizeof(*b));
    if (b) atomic_init(&b->refs, 1);
    return b;
}

static hd_bell *bell_ref(hd_bell *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed); // the caller has one already
    return b;
}

// Acquire and release: who drops the last reference sees all that the others did before.
void hd_bell_unref(hd_bell *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) hd_free(b);
}

void hd_bell_ring(hd_bell *b)
{
    ec_signal(&b->ec);
}

uint32_t hd_bell_count(const hd_bell *b)
{
    return ec_read(&b->ec);
}

void hd_bell_wait(hd_bell *b, uint32_t seen, int timeout_ms)
{
    ec_wait(&b->ec, seen, timeout_ms < 0 ? -1 : (int64_t)timeout_ms * 1000000);
}

// ---- stream --------------------------------------------------------------------------------

typedef struct slot {
    hd_event_kind kind;
    hd_token_out token;
} slot;

struct hd_stream {
    hd_bell *bell;
    event_count ec; // the consumer sleeps here
    _Atomic uint32_t refs;
    _Atomic uint32_t cancel;
    _Atomic uint32_t head;  // consumer's; release after reading a slot, acquired by room
    _Atomic uint32_t tail;  // producer's; release after writing a slot, acquired by take_tokens
    _Atomic uint32_t want;  // free slots the producer waits for; 0: none
    _Atomic uint32_t ended; // release after writing `last`, acquired by take_last
    bool delivered;         // consumer's: `last` was handed out
    slot ring[HD_STREAM_SLOTS];
    struct {
        hd_event_kind kind;
        hd_finish finish;
        hd_usage usage;
        hd_err error;
    } last;
};

size_t hd_stream_bytes(void)
{
    return sizeof(hd_stream);
}

hd_stream *hd_stream_create(hd_bell *bell)
{
    hd_stream *s = hd_calloc(1, sizeof(*s));
    if (!s) return NULL;
    atomic_init(&s->refs, 2);
    s->bell = bell_ref(bell);
    return s;
}

static void unref(hd_stream *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
    hd_bell_unref(s->bell);
    hd_free(s);
}

// ---- producer ------------------------------------------------------------------------------

int32_t hd_stream_room(const hd_stream *s)
{
    uint32_t head = atomic_load_explicit(&s->head, memory_order_acquire);
    return HD_STREAM_SLOTS - (int32_t)(atomic_load_explicit(&s->tail, memory_order_relaxed) - head);
}

// Sequentially consistent with take_tokens: either the consumer sees the wish, or the producer,
// which looks at the room again before it sleeps, sees the consumer's progress.
void hd_stream_want_room(hd_stream *s, int32_t n)
{
    atomic_store_explicit(&s->want, (uint32_t)n, memory_order_seq_cst);
}

void hd_stream_put(hd_stream *s, hd_event_kind kind, const hd_token_out *t)
{
    uint32_t tail = atomic_load_explicit(&s->tail, memory_order_relaxed);
    HD_ASSERT(hd_stream_room(s) > 0);
    slot *to = &s->ring[tail % HD_STREAM_SLOTS];
    to->kind = kind;
    to->token = *t;
    atomic_store_explicit(&s->tail, tail + 1, memory_order_release);
    ec_signal(&s->ec);
}

void hd_stream_end(hd_stream *s, hd_event_kind kind, hd_finish finish, const hd_usage *usage,
                   const hd_err *error)
{
    s->last.kind = kind;
    s->last.finish = finish;
    s->last.usage = *usage;
    if (error) s->last.error = *error;
    atomic_store_explicit(&s->ended, 1, memory_order_release);
    ec_signal(&s->ec);
    unref(s);
}

// Acquire: what the consumer did before it cancelled has happened.
bool hd_stream_cancelled(const hd_stream *s)
{
    return atomic_load_explicit(&s->cancel, memory_order_acquire) != 0;
}

// ---- consumer ------------------------------------------------------------------------------

// Moves as many tokens of one kind as fit into one event.
static bool take_tokens(hd_stream *s, hd_event *ev)
{
    uint32_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&s->tail, memory_order_acquire);
    if (head == tail) return false;
    ev->kind = s->ring[head % HD_STREAM_SLOTS].kind;
    ev->n = 0;
    ev->finish = HD_FINISH_NONE;
    for (; head != tail && ev->n < HD_EVENT_TOKENS; head++) {
        const slot *from = &s->ring[head % HD_STREAM_SLOTS];
        if (from->kind != ev->kind) break;
        ev->token[ev->n++] = from->token;
    }
    // Sequentially consistent rather than release only for hd_stream_want_room's sake.
    atomic_store_explicit(&s->head, head, memory_order_seq_cst);
    uint32_t want = atomic_load_explicit(&s->want, memory_order_seq_cst);
    // Exchanged, not stored: a wish made in between is answered too, at worst too early.
    if (want && HD_STREAM_SLOTS - (tail - head) >= want &&
        atomic_exchange_explicit(&s->want, 0, memory_order_seq_cst))
        hd_bell_ring(s->bell);
    return true;
}

// `ended` is read before the ring is found empty, so no token can slip in between.
static bool take(hd_stream *s, hd_event *ev)
{
    bool ended = atomic_load_explicit(&s->ended, memory_order_acquire) != 0;
    if (take_tokens(s, ev)) return true;
    if (!ended) return false;
    ev->kind = s->last.kind;
    ev->n = 0;
    ev->finish = s->last.finish;
    ev->usage = s->last.usage;
    ev->error = s->last.error;
    s->delivered = true;
    return true;
}

hd_event_kind hd_stream_next(hd_stream *s, hd_event *ev, int timeout_ms)
{
    int64_t end = 0;
    ev->kind = HD_EV_TIMEOUT;
    ev->n = 0;
    if (s->delivered) return HD_EV_TIMEOUT;
    for (;;) {
        uint32_t seen = ec_read(&s->ec);
        if (take(s, ev)) return ev->kind;
        if (timeout_ms == 0) return HD_EV_TIMEOUT;
        int64_t left = -1, now = hd_mono_ns();
        if (timeout_ms > 0) {
            if (end == 0) end = now + (int64_t)timeout_ms * 1000000;
            left = end - now;
            if (left <= 0) return HD_EV_TIMEOUT;
        }
        ec_wait(&s->ec, seen, left);
    }
}

void hd_stream_cancel(hd_stream *s)
{
    // Only the first one rings.
    if (atomic_exchange_explicit(&s->cancel, 1, memory_order_acq_rel) == 0) hd_bell_ring(s->bell);
}

void hd_stream_close(hd_stream *s)
{
    if (!s) return;
    if (!atomic_load_explicit(&s->ended, memory_order_acquire)) hd_stream_cancel(s);
    unref(s);
}
