// xoshiro256** (Blackman and Vigna) with splitmix64 seeding. Not for secrets.
#include "kernels/base/rng.h"

#include "kernels/base/clock.h"
#include "kernels/base/status.h"

#include <math.h>
#include <sys/random.h>
#include <unistd.h>

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void hd_rng_seed(hd_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

uint64_t hd_rng_u64(hd_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

double hd_rng_unit(hd_rng *r)
{
    return (double)(hd_rng_u64(r) >> 11) * 0x1p-53;
}

// The upper half of a product of a 32-bit draw and n, with the draws that would favour some
// results thrown away (Lemire 2019).
uint32_t hd_rng_below(hd_rng *r, uint32_t n)
{
    HD_ASSERT(n > 0);
    uint32_t unfair = (0u - n) % n; // 2^32 mod n
    uint64_t m;
    do {
        m = (hd_rng_u64(r) >> 32) * n;
    } while ((uint32_t)m < unfair);
    return (uint32_t)(m >> 32);
}

// Box-Muller; the second value is dropped, so that the state stays four words.
float hd_rng_normal(hd_rng *r)
{
    double u = 1.0 - hd_rng_unit(r); // (0, 1]: the logarithm is finite
    double v = hd_rng_unit(r);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint64_t hd_rng_entropy(void)
{
    uint64_t x;
    if (getrandom(&x, sizeof(x), GRND_NONBLOCK) == (ssize_t)sizeof(x)) return x;
    // Early boot or a filtered syscall: differs between processes and calls, which is enough here.
    uint64_t state = (uint64_t)hd_mono_ns() ^ (uint64_t)getpid() << 40;
    return splitmix(&state);
}
