// Loops on registers, each compiled for its own instruction set. They compute nothing of use; the
// results are only kept alive.
#include "kernels/base/roof.h"

#include "kernels/base/cpu.h"

enum { ROUNDS = 100000, CHAINS = 12 };

#ifdef __x86_64__
#include <immintrin.h>

// Twelve chains hide the latency of four cycles on two pipes; as separate variables they stay in
// registers. The empty asm keeps the compiler from folding the loop.
#define EACH(M) M(a) M(b) M(c) M(d) M(e) M(f) M(g) M(h) M(i) M(j) M(k) M(l)
#define KEEP(v) __asm__ volatile("" : "+x"(v));
#define LOOP()                                                                                     \
    EACH(START)                                                                                    \
    for (int r = 0; r < ROUNDS; r++) {                                                             \
        EACH(STEP)                                                                                 \
        EACH(KEEP)                                                                                 \
    }

__attribute__((target("avx512f,avx512vnni"))) static void bytes_512vnni(void)
{
    const __m512i x = _mm512_set1_epi32(0x01010101);
#define START(v) __m512i v = x;
#define STEP(v)  v = _mm512_dpbusd_epi32(v, x, x);
    LOOP()
#undef START
#undef STEP
}

// Without VNNI a product of bytes takes vpmaddubsw and, to stay in 32 bits, vpmaddwd and an
// addition: what is counted is the first alone.
__attribute__((target("avx2"))) static void bytes_256(void)
{
    const __m256i x = _mm256_set1_epi8(1);
#define START(v) __m256i v = x;
#define STEP(v)  v = _mm256_maddubs_epi16(v, x);
    LOOP()
#undef START
#undef STEP
}

__attribute__((target("avx512f"))) static void floats_512(void)
{
    const __m512 x = _mm512_set1_ps(0.5f);
#define START(v) __m512 v = x;
#define STEP(v)  v = _mm512_fmadd_ps(v, x, x);
    LOOP()
#undef START
#undef STEP
}

__attribute__((target("avx2,fma"))) static void floats_256(void)
{
    const __m256 x = _mm256_set1_ps(0.5f);
#define START(v) __m256 v = x;
#define STEP(v)  v = _mm256_fmadd_ps(v, x, x);
    LOOP()
#undef START
#undef STEP
}
#endif

// What the compiler makes of it for the least processor of its kind.
static void floats_plain(void)
{
    volatile float x = 0.5f;
    float v[CHAINS], f = x;
    for (int k = 0; k < CHAINS; k++)
        v[k] = f;
    for (int r = 0; r < ROUNDS; r++)
        for (int k = 0; k < CHAINS; k++)
            v[k] = v[k] * f + f;
    for (int k = 0; k < CHAINS; k++)
        x = v[k];
}

static void nothing(void) {}

static hd_roof loop_of(void (*run)(void), double ops, const char *how)
{
    hd_roof r = {run, ops * ROUNDS * CHAINS, how};
    return r;
}

hd_roof hd_roof_f32(uint32_t features)
{
#ifdef __x86_64__
    if (features & HD_CPU_AVX512) return loop_of(floats_512, 32, "float products, AVX-512");
    if (features & HD_CPU_AVX2) return loop_of(floats_256, 16, "float products, AVX2");
#else
    (void)features;
#endif
    return loop_of(floats_plain, 2, "float products, plain C");
}

hd_roof hd_roof_i8(uint32_t features)
{
#ifdef __x86_64__
    if (features & HD_CPU_AVX512VNNI)
        return loop_of(bytes_512vnni, 128, "8-bit products, AVX-512 VNNI");
    if (features & HD_CPU_AVX2) return loop_of(bytes_256, 64, "8-bit products, AVX2");
#else
    (void)features;
#endif
    return loop_of(nothing, 0, "no 8-bit products");
}
