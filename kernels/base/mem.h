// Memory: checked sizes, allocation that tests can make fail, large blocks, arenas.
//
// All heap memory of the program comes from here, so that "fail the Nth allocation" reaches every
// path. Nothing here logs or aborts: exhausted memory is NULL or HD_E_NOMEM.
//
// Threads: allocation functions may be called by any thread; an arena belongs to one.
#ifndef HADAL_KERNELS_BASE_MEM_H
#define HADAL_KERNELS_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Sizes from outside go through these: false (and *out untouched) on overflow.
static inline bool hd_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool hd_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
// Rounds n up to a multiple of the power of two a; false on overflow.
static inline bool hd_align_size(size_t n, size_t a, size_t *out)
{
    size_t t;
    if (__builtin_add_overflow(n, a - 1, &t)) return false;
    *out = t & ~(a - 1);
    return true;
}

// ---- heap ----------------------------------------------------------------------------------

// NULL when memory is exhausted. A size of 0 returns a unique pointer. hd_free(NULL) is legal.
void *hd_alloc(size_t bytes);
void *hd_calloc(size_t n, size_t bytes); // checked product, zeroed
void *hd_realloc(void *p, size_t bytes); // p untouched on failure
void *hd_reallocarray(void *p, size_t n, size_t bytes);
char *hd_strdup(const char *s);
char *hd_strndup(const char *s, size_t n); // copies n bytes and adds a NUL
void hd_free(void *p);

// Zero-filled block for weights, KV and scratch: 2 MiB aligned, transparent huge pages asked for,
// pages not touched. Give the same size to hd_free_big.
void *hd_alloc_big(size_t bytes);
void hd_free_big(void *p, size_t bytes);

// Bytes now held by hd_alloc_big, and number of heap allocations made so far by this thread
// (the decode step must not move the latter).
size_t hd_mem_big_bytes(void);
uint64_t hd_mem_thread_allocs(void);

// Test hook: the nth allocation from now (1 = the next, counted over all threads) fails, and with
// persistent every later one too. nth <= 0 switches it off. Returns how many allocations were seen
// since the last call.
uint64_t hd_mem_fail_at(int64_t nth, bool persistent);

// ---- arena ---------------------------------------------------------------------------------

// Bump allocator: nothing is freed one by one. Under AddressSanitizer objects are separated by
// poisoned redzones and a reset arena is poisoned whole.
//
//   chunks: [newest | ... | oldest], used <= cap in each; total <= limit
typedef struct hd_arena_chunk hd_arena_chunk;
typedef struct hd_arena {
    hd_arena_chunk *head;
    size_t chunk_bytes; // size of ordinary chunks
    size_t limit;       // cap on the sum of chunks
    size_t total;
} hd_arena;

void hd_arena_init(hd_arena *a, size_t chunk_bytes, size_t limit);
void *hd_arena_alloc(hd_arena *a, size_t bytes); // 16-byte aligned, zeroed; NULL: memory or limit
void *hd_arena_dup(hd_arena *a, const void *p, size_t bytes); // copy with a NUL behind it
void hd_arena_reset(hd_arena *a);                             // keeps one chunk
void hd_arena_fini(hd_arena *a);

#ifdef __cplusplus
}
#endif

#endif
