// The prefix index: hash chains over page numbers.
//
// A parent is named by its page, and a page keeps its node as long as it has children: children go
// first. So (parent, salt, tokens) is the node's whole identity.
#include "engine/prefix.h"

#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/status.h"

#include <string.h>

typedef struct node {
    int32_t parent, n_children;
    int32_t next; // in its chain
    uint32_t bucket;
    uint64_t salt;
    bool used;
    int32_t ids[HD_PAGE_TOKENS];
} node;

struct hd_prefix {
    node *node;     // [n_pages], by page
    int32_t *chain; // [mask + 1] first page of each
    uint32_t mask;
    uint64_t seed; // nobody outside can tell which prompts share a chain
};

hd_prefix *hd_prefix_create(int32_t n_pages)
{
    hd_prefix *x = hd_calloc(1, sizeof(*x));
    uint64_t chains = 16;
    if (!x) return NULL;
    while (chains < 2 * (uint64_t)n_pages && chains < UINT32_MAX / 2)
        chains *= 2;
    x->mask = (uint32_t)(chains - 1);
    x->seed = hd_rng_entropy();
    x->node = hd_calloc((size_t)n_pages, sizeof(*x->node));
    x->chain = hd_reallocarray(NULL, (size_t)chains, sizeof(*x->chain));
    if (!x->node || !x->chain) {
        hd_prefix_destroy(x);
        return NULL;
    }
    memset(x->chain, 0xff, (size_t)chains * sizeof(*x->chain)); // HD_PREFIX_NONE everywhere
    return x;
}

void hd_prefix_destroy(hd_prefix *x)
{
    if (!x) return;
    hd_free(x->node);
    hd_free(x->chain);
    hd_free(x);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ (h >> 29);
}

static uint32_t bucket_of(const hd_prefix *x, int32_t parent, uint64_t salt, const int32_t *ids)
{
    uint64_t h = mix(mix(x->seed, salt), (uint32_t)parent);
    for (int i = 0; i < HD_PAGE_TOKENS; i++)
        h = mix(h, (uint32_t)ids[i]);
    return (uint32_t)(h ^ (h >> 32)) & x->mask;
}

static bool is(const node *n, int32_t parent, uint64_t salt, const int32_t *ids)
{
    return n->parent == parent && n->salt == salt && memcmp(n->ids, ids, sizeof(n->ids)) == 0;
}

int32_t hd_prefix_find(const hd_prefix *x, int32_t parent, uint64_t salt, const int32_t *ids)
{
    HD_DASSERT(parent == HD_PREFIX_NONE || x->node[parent].used);
    int32_t page = x->chain[bucket_of(x, parent, salt, ids)];
    while (page != HD_PREFIX_NONE && !is(&x->node[page], parent, salt, ids))
        page = x->node[page].next;
    return page;
}

void hd_prefix_insert(hd_prefix *x, int32_t page, int32_t parent, uint64_t salt, const int32_t *ids)
{
    node *n = &x->node[page];
    HD_ASSERT(!n->used && page != parent);
    HD_ASSERT(parent == HD_PREFIX_NONE || x->node[parent].used);
    *n = (node){.parent = parent, .salt = salt, .used = true};
    memcpy(n->ids, ids, sizeof(n->ids));
    n->bucket = bucket_of(x, parent, salt, ids);
    n->next = x->chain[n->bucket];
    x->chain[n->bucket] = page;
    if (parent != HD_PREFIX_NONE) x->node[parent].n_children++;
}

void hd_prefix_remove(hd_prefix *x, int32_t page)
{
    node *n = &x->node[page];
    HD_ASSERT(n->used && n->n_children == 0);
    int32_t *at = &x->chain[n->bucket];
    while (*at != page)
        at = &x->node[*at].next;
    *at = n->next;
    if (n->parent != HD_PREFIX_NONE) x->node[n->parent].n_children--;
    n->used = false;
}

bool hd_prefix_has(const hd_prefix *x, int32_t page)
{
    return x->node[page].used;
}
