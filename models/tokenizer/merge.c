// The merge loop of every model: of all neighbouring pairs the one with the best rank is merged,
// the leftmost of equals, until none is left.
//
// Short pieces (nearly all of them) look at every pair each time. Long ones, where that would be a
// square, keep candidates in a heap over a linked list; entries whose pair has changed since are
// recognised by their rank and skipped. Not here: what a pair merges to.
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"

#include <string.h>

enum { SHORT = 40, HEAP_WAYS = 4 };
#define NONE UINT32_MAX

// ---- memory --------------------------------------------------------------------------------

static bool grow(void **p, size_t *cap, size_t want, size_t size)
{
    if (want <= *cap) return true;
    size_t n = *cap * 2 > want ? *cap * 2 : want;
    if (n < 64) n = 64;
    void *q = hd_reallocarray(*p, n, size);
    if (!q) return false;
    *p = q;
    *cap = n;
    return true;
}

bool hd_merge_push(hd_merge_scratch *s, int32_t id, size_t at, size_t n)
{
    if (s->n_sym == s->cap_sym) {
        void *p = s->sym;
        if (!grow(&p, &s->cap_sym, s->n_sym + 1, sizeof(*s->sym))) return false;
        s->sym = p;
    }
    hd_symbol sym = {id, (uint32_t)at, (uint32_t)n};
    s->sym[s->n_sym++] = sym;
    return true;
}

static bool reserve_nodes(hd_merge_scratch *s)
{
    if (s->n_sym <= s->cap_node) return true;
    size_t n = s->n_sym;
    hd_free(s->prev);
    hd_free(s->next);
    hd_free(s->pair);
    s->cap_node = 0;
    s->prev = hd_reallocarray(NULL, n, sizeof(*s->prev));
    s->next = hd_reallocarray(NULL, n, sizeof(*s->next));
    s->pair = hd_reallocarray(NULL, n, sizeof(*s->pair));
    if (!s->prev || !s->next || !s->pair) return false;
    s->cap_node = n;
    return true;
}

void hd_merge_fini(hd_merge_scratch *s)
{
    hd_free(s->sym);
    hd_free(s->prev);
    hd_free(s->next);
    hd_free(s->pair);
    hd_free(s->heap);
    memset(s, 0, sizeof(*s));
}

// ---- short pieces --------------------------------------------------------------------------

static inline uint32_t rank_of(uint64_t pair)
{
    return (uint32_t)(pair >> 32);
}

static void merge_short(hd_merge_scratch *s, hd_pair_fn pair_of, const void *ctx)
{
    hd_symbol *sym = s->sym;
    uint64_t pair[SHORT];
    size_t n = s->n_sym;
    for (size_t i = 0; i + 1 < n; i++)
        pair[i] = pair_of(ctx, &sym[i], &sym[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank_of(pair[i]) < rank_of(pair[best])) best = i;
        if (pair[best] == HD_NO_MERGE) break;
        sym[best].id = (int32_t)(uint32_t)pair[best];
        sym[best].n += sym[best + 1].n;
        memmove(&sym[best + 1], &sym[best + 2], (n - best - 2) * sizeof(*sym));
        memmove(&pair[best], &pair[best + 1], (n - best - 2) * sizeof(*pair));
        n--;
        if (best + 1 < n) pair[best] = pair_of(ctx, &sym[best], &sym[best + 1]);
        if (best > 0) pair[best - 1] = pair_of(ctx, &sym[best - 1], &sym[best]);
    }
    s->n_sym = n;
}

// ---- long pieces ---------------------------------------------------------------------------

static void sift_down(uint64_t *heap, size_t n, size_t i)
{
    uint64_t key = heap[i];
    for (;;) {
        size_t child = i * HEAP_WAYS + 1, least = child;
        if (child >= n) break;
        size_t last = child + HEAP_WAYS < n ? child + HEAP_WAYS : n;
        for (size_t c = child + 1; c < last; c++)
            if (heap[c] < heap[least]) least = c;
        if (heap[least] >= key) break;
        heap[i] = heap[least];
        i = least;
    }
    heap[i] = key;
}

static bool heap_push(hd_merge_scratch *s, uint64_t pair, uint32_t at)
{
    if (pair == HD_NO_MERGE) return true;
    if (s->n_heap == s->cap_heap) {
        void *p = s->heap;
        if (!grow(&p, &s->cap_heap, s->n_heap + 1, sizeof(*s->heap))) return false;
        s->heap = p;
    }
    uint64_t key = (uint64_t)rank_of(pair) << 32 | at;
    size_t i = s->n_heap++;
    while (i > 0 && s->heap[(i - 1) / HEAP_WAYS] > key) {
        s->heap[i] = s->heap[(i - 1) / HEAP_WAYS];
        i = (i - 1) / HEAP_WAYS;
    }
    s->heap[i] = key;
    return true;
}

static uint64_t heap_pop(hd_merge_scratch *s)
{
    uint64_t key = s->heap[0];
    s->heap[0] = s->heap[--s->n_heap];
    if (s->n_heap > 0) sift_down(s->heap, s->n_heap, 0);
    return key;
}

// Symbol i swallows its successor; the pairs on both sides are looked up anew.
static bool merge_node(hd_merge_scratch *s, uint32_t i, hd_pair_fn pair_of, const void *ctx)
{
    uint32_t gone = s->next[i], after = s->next[gone], before = s->prev[i];
    s->sym[i].id = (int32_t)(uint32_t)s->pair[i];
    s->sym[i].n += s->sym[gone].n;
    s->pair[gone] = HD_NO_MERGE;
    s->next[i] = after;
    s->pair[i] = HD_NO_MERGE;
    if (after != NONE) {
        s->prev[after] = i;
        s->pair[i] = pair_of(ctx, &s->sym[i], &s->sym[after]);
    }
    if (!heap_push(s, s->pair[i], i)) return false;
    if (before == NONE) return true;
    s->pair[before] = pair_of(ctx, &s->sym[before], &s->sym[i]);
    return heap_push(s, s->pair[before], before);
}

static bool merge_long(hd_merge_scratch *s, hd_pair_fn pair_of, const void *ctx)
{
    if (!reserve_nodes(s)) return false;
    uint32_t n = (uint32_t)s->n_sym;
    s->n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        s->prev[i] = i > 0 ? i - 1 : NONE;
        s->next[i] = i + 1 < n ? i + 1 : NONE;
        s->pair[i] = i + 1 < n ? pair_of(ctx, &s->sym[i], &s->sym[i + 1]) : HD_NO_MERGE;
        if (!heap_push(s, s->pair[i], i)) return false;
    }
    while (s->n_heap > 0) {
        uint64_t key = heap_pop(s);
        uint32_t i = (uint32_t)key;
        if (rank_of(s->pair[i]) != rank_of(key)) continue; // the pair has changed since
        if (!merge_node(s, i, pair_of, ctx)) return false;
    }
    size_t kept = 0;
    for (uint32_t i = 0; i != NONE; i = s->next[i])
        s->sym[kept++] = s->sym[i];
    s->n_sym = kept;
    return true;
}

bool hd_merge(hd_merge_scratch *s, hd_pair_fn pair, const void *ctx)
{
    if (s->n_sym > SHORT) return merge_long(s, pair, ctx);
    if (s->n_sym > 1) merge_short(s, pair, ctx);
    return true;
}
