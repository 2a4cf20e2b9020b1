// What one thread of this machine can do at best: sequential reading, and the loops of
// kernels/base/roof.h.
#include "kernels/base/roof.h"

#include "tests/kern/checkkern.h"

double roof_read(const void *p, size_t bytes)
{
    const uint64_t *q = p;
    size_t n = bytes / sizeof(*q);
    double best = 1e9;
    volatile uint64_t sink;
    for (int i = 0; i < 3; i++) {
        uint64_t a = 0, b = 0;
        double start = kern_now();
        for (size_t j = 0; j + 16 <= n; j += 16) {
            __builtin_prefetch(q + j + 1024);
            __builtin_prefetch(q + j + 1032);
            for (int k = 0; k < 16; k += 2) {
                a += q[j + (size_t)k];
                b += q[j + (size_t)k + 1];
            }
        }
        double s = kern_now() - start;
        sink = a + b;
        (void)sink;
        if (s < best) best = s;
    }
    return (double)bytes / best * 1e-9;
}

static double rate(hd_roof r)
{
    double best = 1e9;
    for (int i = 0; i < 40; i++) {
        double start = kern_now();
        r.run();
        double s = kern_now() - start;
        if (s < best) best = s;
    }
    return r.ops / best * 1e-9;
}

double roof_f32(uint32_t features)
{
    return rate(hd_roof_f32(features));
}

double roof_i8(uint32_t features)
{
    return rate(hd_roof_i8(features));
}
