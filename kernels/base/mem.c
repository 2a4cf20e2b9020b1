// Allocation with a failure hook, big huge-page blocks, arenas. Never logs, never aborts.
#include "kernels/base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(WITH_ASAN)
#define WITH_ASAN 1
#endif

#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
enum { REDZONE = 16 };
static void poison(const void *p, size_t n)
{
    __asan_poison_memory_region(p, n);
}
static void unpoison(const void *p, size_t n)
{
    __asan_unpoison_memory_region(p, n);
}
#else
enum { REDZONE = 0 };
static void poison(const void *p, size_t n)
{
    (void)p;
    (void)n;
}
static void unpoison(const void *p, size_t n)
{
    (void)p;
    (void)n;
}
#endif

// A single heap object beyond this is refused before malloc sees it: nothing legitimate is that
// large, and the sanitizers end the process on such a request where malloc returns NULL.
static const size_t heap_object_max = ((size_t)1 << 40) - 4096;
static const size_t huge_page = (size_t)2 << 20;

// ---- counting and failing ------------------------------------------------------------------

// All relaxed: the counters order nothing, each is read for its own value only.
static _Atomic uint64_t seen;      // allocations asked for since the process began
static _Atomic uint64_t seen_mark; // value of `seen` at the last hd_mem_fail_at
static _Atomic uint64_t fail_rule; // 0, or the number of the failing allocation * 2 + persistent
static _Atomic size_t big_bytes;
static _Thread_local uint64_t thread_allocs;

// Counts one allocation; true when the hook wants it to fail.
static bool must_fail(void)
{
    thread_allocs++;
    uint64_t number = atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed) + 1;
    uint64_t rule = atomic_load_explicit(&fail_rule, memory_order_relaxed);
    if (rule == 0) return false;
    return number == rule >> 1 || ((rule & 1) && number > rule >> 1);
}

uint64_t hd_mem_fail_at(int64_t nth, bool persistent)
{
    uint64_t now = atomic_load_explicit(&seen, memory_order_relaxed);
    uint64_t rule = nth <= 0 ? 0 : (now + (uint64_t)nth) << 1 | (persistent ? 1 : 0);
    atomic_store_explicit(&fail_rule, rule, memory_order_relaxed);
    return now - atomic_exchange_explicit(&seen_mark, now, memory_order_relaxed);
}

size_t hd_mem_big_bytes(void)
{
    return atomic_load_explicit(&big_bytes, memory_order_relaxed);
}

uint64_t hd_mem_thread_allocs(void)
{
    return thread_allocs;
}

// ---- heap ----------------------------------------------------------------------------------

void *hd_alloc(size_t bytes)
{
    if (must_fail() || bytes > heap_object_max) return NULL;
    return malloc(bytes ? bytes : 1);
}

void *hd_calloc(size_t n, size_t bytes)
{
    size_t all;
    if (must_fail() || !hd_mul_size(n, bytes, &all) || all > heap_object_max) return NULL;
    return calloc(1, all ? all : 1);
}

void *hd_realloc(void *p, size_t bytes)
{
    if (must_fail() || bytes > heap_object_max) return NULL;
    return realloc(p, bytes ? bytes : 1);
}

void *hd_reallocarray(void *p, size_t n, size_t bytes)
{
    size_t all;
    if (!hd_mul_size(n, bytes, &all)) all = SIZE_MAX; // refused below, and counted
    return hd_realloc(p, all);
}

char *hd_strdup(const char *s)
{
    return hd_strndup(s, strlen(s));
}

char *hd_strndup(const char *s, size_t n)
{
    size_t bytes;
    if (!hd_add_size(n, 1, &bytes)) bytes = SIZE_MAX; // refused below, and counted
    char *copy = hd_alloc(bytes);
    if (!copy) return NULL;
    if (n) memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void hd_free(void *p)
{
    free(p);
}

// ---- big blocks ----------------------------------------------------------------------------

static bool whole_pages(size_t bytes, size_t *out)
{
    return hd_align_size(bytes ? bytes : 1, (size_t)sysconf(_SC_PAGESIZE), out);
}

void *hd_alloc_big(size_t bytes)
{
    size_t size, mapped;
    if (must_fail() || !whole_pages(bytes, &size) || !hd_add_size(size, huge_page, &mapped))
        return NULL;
    char *raw = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return NULL;
    // Mapped with room for the alignment; what sticks out on either side goes back.
    size_t lead = (huge_page - ((uintptr_t)raw & (huge_page - 1))) & (huge_page - 1);
    size_t tail = mapped - lead - size;
    char *p = raw + lead;
    if (lead) munmap(raw, lead);
    if (tail) munmap(p + size, tail);
    // A wish: kernels without transparent huge pages refuse it and small pages work as well.
    if (size >= huge_page) (void)madvise(p, size, MADV_HUGEPAGE);
    atomic_fetch_add_explicit(&big_bytes, size, memory_order_relaxed);
    return p;
}

void hd_free_big(void *p, size_t bytes)
{
    size_t size;
    if (!p || !whole_pages(bytes, &size)) return;
    munmap(p, size);
    atomic_fetch_sub_explicit(&big_bytes, size, memory_order_relaxed);
}

// ---- arena ---------------------------------------------------------------------------------

enum { ARENA_ALIGN = 16 };

struct hd_arena_chunk {
    hd_arena_chunk *next; // older
    size_t cap, used;     // of data; used is a multiple of ARENA_ALIGN
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

void hd_arena_init(hd_arena *a, size_t chunk_bytes, size_t limit)
{
    a->head = NULL;
    a->chunk_bytes = chunk_bytes;
    a->limit = limit;
    a->total = 0;
}

// Puts a chunk with room for `need` bytes in front. Larger needs get whole multiples of
// chunk_bytes, so that the small objects behind a large one find room too.
static bool add_chunk(hd_arena *a, size_t need)
{
    size_t left = a->limit - a->total, cap = a->chunk_bytes, bytes;
    if (need > left) return false;
    if (need > cap) {
        size_t parts = cap ? need / cap + (need % cap != 0) : 0;
        if (!hd_mul_size(parts, cap, &cap) || cap < need) cap = need;
    }
    if (cap > left) cap = left;
    if (!hd_add_size(cap, sizeof(hd_arena_chunk), &bytes)) return false;
    hd_arena_chunk *c = hd_alloc(bytes);
    if (!c) return false;
    c->next = a->head;
    c->cap = cap;
    c->used = 0;
    poison(c->data, cap);
    a->head = c;
    a->total += cap;
    return true;
}

void *hd_arena_alloc(hd_arena *a, size_t bytes)
{
    size_t need;
    if (!hd_align_size(bytes ? bytes : 1, ARENA_ALIGN, &need) || !hd_add_size(need, REDZONE, &need))
        return NULL;
    hd_arena_chunk *c = a->head;
    if (!c || need > c->cap - c->used) {
        if (!add_chunk(a, need)) return NULL;
        c = a->head;
    }
    unsigned char *p = c->data + c->used;
    c->used += need;
    unpoison(p, bytes);
    memset(p, 0, bytes);
    return p;
}

void *hd_arena_dup(hd_arena *a, const void *p, size_t bytes)
{
    size_t with_nul;
    if (!hd_add_size(bytes, 1, &with_nul)) return NULL;
    char *copy = hd_arena_alloc(a, with_nul);
    if (copy && bytes) memcpy(copy, p, bytes);
    return copy;
}

static void free_chunk(hd_arena *a, hd_arena_chunk *c)
{
    a->total -= c->cap;
    unpoison(c->data, c->cap);
    hd_free(c);
}

// The smallest chunk stays: what one unusually large round needed is not held for ever.
void hd_arena_reset(hd_arena *a)
{
    if (!a->head) return;
    hd_arena_chunk *keep = a->head;
    for (hd_arena_chunk *c = keep; c; c = c->next)
        if (c->cap < keep->cap) keep = c;
    while (a->head) {
        hd_arena_chunk *c = a->head;
        a->head = c->next;
        if (c != keep) free_chunk(a, c);
    }
    keep->next = NULL;
    keep->used = 0;
    poison(keep->data, keep->cap);
    a->head = keep;
}

void hd_arena_fini(hd_arena *a)
{
    while (a->head) {
        hd_arena_chunk *c = a->head;
        a->head = c->next;
        free_chunk(a, c);
    }
}
