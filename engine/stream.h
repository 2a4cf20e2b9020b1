// One request's output: a ring with one producer (the scheduler) and one consumer, a cancel flag,
// and two references. Also the bell that wakes the scheduler.
//
//   ring: slots [head, tail), tail - head <= HD_STREAM_SLOTS; head belongs to the consumer, tail to
//   the producer. The last event (done, error) has a place of its own, so it never waits for room.
//
// The consumer's side is public (engine.h). Atomics of the engine live in stream.c alone.
#ifndef HADAL_ENGINE_STREAM_H
#define HADAL_ENGINE_STREAM_H

#include "engine/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- bell ----------------------------------------------------------------------------------

// Anybody rings, the scheduler waits. Counted references: streams that outlive their engine still
// ring it.
typedef struct hd_bell hd_bell;

hd_bell *hd_bell_create(void); // one reference; NULL: memory
void hd_bell_unref(hd_bell *b);
void hd_bell_ring(hd_bell *b);
// Rings so far. What is looked at between the count and the wait cannot be missed.
uint32_t hd_bell_count(const hd_bell *b);
// Returns when the bell was rung after `seen` was counted, or after timeout_ms.
void hd_bell_wait(hd_bell *b, uint32_t seen, int timeout_ms);

// ---- the scheduler's side of a stream ------------------------------------------------------

enum { HD_STREAM_SLOTS = 64 };

// Two references: the consumer's and the scheduler's. Keeps the bell. NULL: memory.
hd_stream *hd_stream_create(hd_bell *bell);
size_t hd_stream_bytes(void);               // memory of one
int32_t hd_stream_room(const hd_stream *s); // free slots
// Waits for the consumer: it rings the bell when there are n free slots.
void hd_stream_want_room(hd_stream *s, int32_t n);
// kind: HD_EV_PROMPT or HD_EV_TOKENS. There must be room.
void hd_stream_put(hd_stream *s, hd_event_kind kind, const hd_token_out *t);
// kind, finish, usage and error of the last event; drops the scheduler's reference.
void hd_stream_end(hd_stream *s, hd_event_kind kind, hd_finish finish, const hd_usage *usage,
                   const hd_err *error);
bool hd_stream_cancelled(const hd_stream *s);

#ifdef __cplusplus
}
#endif

#endif
