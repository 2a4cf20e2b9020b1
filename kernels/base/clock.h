// Time. Production uses hd_clock_real; tests hand in a clock they move themselves.
#ifndef HADAL_KERNELS_BASE_CLOCK_H
#define HADAL_KERNELS_BASE_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_clock {
    int64_t (*now_ns)(void *ctx); // monotonic
    void *ctx;
} hd_clock;

extern const hd_clock hd_clock_real;

static inline int64_t hd_now_ns(const hd_clock *c)
{
    return c->now_ns(c->ctx);
}
int64_t hd_mono_ns(void);      // hd_clock_real without the indirection
int64_t hd_wall_seconds(void); // Unix time, for "created" fields and log lines
// RFC 3339 UTC with milliseconds, e.g. 2026-11-24T03:04:05.678Z; out is NUL-terminated.
void hd_wall_text(char out[32]);

#ifdef __cplusplus
}
#endif

#endif
