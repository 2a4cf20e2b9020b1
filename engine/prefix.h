// The index of the prefix cache: which page holds the keys and values of which tokens.
//
// A tree in a hash table. A node is one page full of tokens behind its parent's, so that a node
// stands for the whole prefix up to its end. Nodes are found by parent and by all of their tokens,
// never by a hash alone; the roots of different salts are different, so tenants share nothing.
//
// Knows page numbers, not memory: who may be evicted is the pool's to say. Belongs to the scheduler
// thread; all memory is taken at creation.
#ifndef HADAL_ENGINE_PREFIX_H
#define HADAL_ENGINE_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_PAGE_TOKENS = 64,
    HD_PREFIX_NONE = -1, // no page: not found, or the parent of a first page
};

typedef struct hd_prefix hd_prefix;

hd_prefix *hd_prefix_create(int32_t n_pages); // NULL: memory
void hd_prefix_destroy(hd_prefix *x);         // NULL is legal

// The page that holds ids[0..HD_PAGE_TOKENS) behind the page `parent` (HD_PREFIX_NONE: they are a
// sequence's first), or HD_PREFIX_NONE. A parent is a page in the index.
int32_t hd_prefix_find(const hd_prefix *x, int32_t parent, uint64_t salt, const int32_t *ids);
// Adds `page`, which is not in the index, for tokens that nothing was found for. Copies ids.
void hd_prefix_insert(hd_prefix *x, int32_t page, int32_t parent, uint64_t salt,
                      const int32_t *ids);
// Takes a page out again. None may have it as parent.
void hd_prefix_remove(hd_prefix *x, int32_t page);
bool hd_prefix_has(const hd_prefix *x, int32_t page);

#ifdef __cplusplus
}
#endif

#endif
