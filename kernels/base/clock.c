// Monotonic and wall time from the operating system. No sleeping, no local time zones.
#include "kernels/base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t hd_mono_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t real_now_ns(void *ctx)
{
    (void)ctx;
    return hd_mono_ns();
}

const hd_clock hd_clock_real = {real_now_ns, NULL};

int64_t hd_wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec;
}

void hd_wall_text(char out[32])
{
    struct timespec t;
    struct tm d;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &d);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &d);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(t.tv_nsec / 1000000));
}
