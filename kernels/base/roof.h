// Loops of independent multiply-adds on registers: what a processor can do at best, so that speeds
// can be stated as a share of it. Who measures chooses threads and clocks; nothing here keeps
// state.
#ifndef HADAL_KERNELS_BASE_ROOF_H
#define HADAL_KERNELS_BASE_ROOF_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_roof {
    void (*run)(void); // some hundred microseconds of work on the calling thread
    double ops;        // multiplications and additions in one run
    const char *how;   // "float products, AVX2"
} hd_roof;

// The best loop for floats, and for bytes, that HD_CPU_* features allow; the caller makes sure that
// the machine has them. Without vector products of bytes their ops are 0 and run does nothing.
hd_roof hd_roof_f32(uint32_t features);
hd_roof hd_roof_i8(uint32_t features);

#ifdef __cplusplus
}
#endif

#endif
