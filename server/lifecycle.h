// Life of the serving process: state, signals, drain. The state is one atomic that /ping reads.
#ifndef HADAL_SERVER_LIFECYCLE_H
#define HADAL_SERVER_LIFECYCLE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_life { HD_LIFE_LOADING, HD_LIFE_READY, HD_LIFE_DRAINING, HD_LIFE_FAILED } hd_life;

typedef struct hd_lifecycle hd_lifecycle;

// Takes SIGTERM and SIGINT over; they are blocked in this and later threads except while waiting.
hd_lifecycle *hd_lifecycle_create(void);
void hd_lifecycle_destroy(hd_lifecycle *l);
hd_life hd_lifecycle_get(const hd_lifecycle *l);
void hd_lifecycle_set(hd_lifecycle *l, hd_life s);
// Only when the state is still `from`: loading may end when draining has begun.
void hd_lifecycle_move(hd_lifecycle *l, hd_life from, hd_life to);
void hd_lifecycle_progress(hd_lifecycle *l, double fraction); // 0..1, shown by /ping while loading
double hd_lifecycle_fraction(const hd_lifecycle *l);
// Waits for SIGTERM or SIGINT up to timeout_ms (-1: for ever); returns the signal or 0.
int hd_lifecycle_wait(hd_lifecycle *l, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
