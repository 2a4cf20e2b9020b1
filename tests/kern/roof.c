// What one thread of this machine can do at best: sequential reading, fused multiply-adds, 8-bit
// products. Loops of independent instructions on registers; the results are only kept alive.
#include "kernels/base/cpu.h"
#include "tests/kern/checkkern.h"

enum { ROUNDS = 100000, CHAINS = 12 };

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

#ifdef __x86_64__
#include <immintrin.h>

// Twelve chains hide the latency of four cycles on two pipes; as separate variables they stay in
// registers. The empty asm keeps the compiler from folding the loop.
#define EACH(M) M(a) M(b) M(c) M(d) M(e) M(f) M(g) M(h) M(i) M(j) M(k) M(l)
#define KEEP(v) __asm__ volatile("" : "+x"(v));

__attribute__((target("avx2,fma"))) static void fma_256(void)
{
    __m256 x = _mm256_set1_ps(0.5f);
#define START(v) __m256 v = x;
#define STEP(v)  v = _mm256_fmadd_ps(v, x, x);
    EACH(START)
    for (int r = 0; r < ROUNDS; r++) {
        EACH(STEP)
        EACH(KEEP)
    }
#undef START
#undef STEP
}

__attribute__((target("avx512f"))) static void fma_512(void)
{
    __m512 x = _mm512_set1_ps(0.5f);
#define START(v) __m512 v = x;
#define STEP(v)  v = _mm512_fmadd_ps(v, x, x);
    EACH(START)
    for (int r = 0; r < ROUNDS; r++) {
        EACH(STEP)
        EACH(KEEP)
    }
#undef START
#undef STEP
}

// Without VNNI a product of bytes takes vpmaddubsw and, to stay in 32 bits, vpmaddwd and an
// addition: what is counted is the first alone.
__attribute__((target("avx2"))) static void i8_256(void)
{
    __m256i x = _mm256_set1_epi8(1);
#define START(v) __m256i v = x;
#define STEP(v)  v = _mm256_maddubs_epi16(v, x);
    EACH(START)
    for (int r = 0; r < ROUNDS; r++) {
        EACH(STEP)
        EACH(KEEP)
    }
#undef START
#undef STEP
}

__attribute__((target("avx512f,avx512vnni"))) static void i8_512vnni(void)
{
    __m512i x = _mm512_set1_epi32(0x01010101);
#define START(v) __m512i v = x;
#define STEP(v)  v = _mm512_dpbusd_epi32(v, x, x);
    EACH(START)
    for (int r = 0; r < ROUNDS; r++) {
        EACH(STEP)
        EACH(KEEP)
    }
#undef START
#undef STEP
}

static double rate(void (*loop)(void), double ops_per_instruction)
{
    double best = 1e9;
    for (int i = 0; i < 40; i++) {
        double start = kern_now();
        loop();
        double s = kern_now() - start;
        if (s < best) best = s;
    }
    return ops_per_instruction * ROUNDS * CHAINS / best * 1e-9;
}

double roof_f32(uint32_t features)
{
    return features & HD_CPU_AVX512 ? rate(fma_512, 32) : rate(fma_256, 16);
}

double roof_i8(uint32_t features)
{
    return features & HD_CPU_AVX512VNNI ? rate(i8_512vnni, 128) : rate(i8_256, 64);
}
#else
double roof_f32(uint32_t features)
{
    (void)features;
    return 0;
}

double roof_i8(uint32_t features)
{
    (void)features;
    return 0;
}
#endif
