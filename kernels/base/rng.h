// A small seeded generator (xoshiro256**, seeded by splitmix64): one per request, never global.
#ifndef HADAL_KERNELS_BASE_RNG_H
#define HADAL_KERNELS_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_rng {
    uint64_t s[4];
} hd_rng;

void hd_rng_seed(hd_rng *r, uint64_t seed);
uint64_t hd_rng_u64(hd_rng *r);
double hd_rng_unit(hd_rng *r);                // uniform in [0, 1), 53 bits
uint32_t hd_rng_below(hd_rng *r, uint32_t n); // uniform in [0, n), n > 0
float hd_rng_normal(hd_rng *r);               // mean 0, variance 1 (tests and random weights)
uint64_t hd_rng_entropy(void);                // seed for requests that bring none

#ifdef __cplusplus
}
#endif

#endif
