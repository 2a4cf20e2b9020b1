// Paged key/value memory: pages of HD_PAGE_TOKENS tokens, every layer's planes cut from one block,
// shared by sequences that begin alike.
//
//   held    by one or more sequences, which count it
//   cached  by nobody, but its tokens are in the prefix index: found again, or evicted when needed
//   free    neither
//
// held + cached + free = total, and the sum of all sequences' pages is the sum of all counts. Only
// full pages are ever shared, and nobody writes into a full page again.
//
// Belongs to the scheduler thread.
#ifndef HADAL_ENGINE_KVPOOL_H
#define HADAL_ENGINE_KVPOOL_H

#include "engine/prefix.h"
#include "kernels/backend.h"
#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_kvpool hd_kvpool;

typedef struct hd_kvseq { // one sequence's pages in order; a zeroed one is empty
    int32_t *page;
    int32_t n_pages, cap_pages;
    int32_t n_tokens; // stored
    int32_t n_known;  // first so many pages are in the prefix index
    uint64_t salt;    // set before attach and commit: tenants never share across salts
} hd_kvseq;

size_t hd_kvpool_page_bytes(const hd_arch *arch, const hd_model_cfg *cfg, hd_dtype dtype);
// share: keep full pages for sequences to come.
hd_status hd_kvpool_create(const hd_arch *arch, const hd_model_cfg *cfg, hd_backend *be,
                           hd_dtype dtype, int32_t n_pages, bool share, hd_kvpool **out,
                           hd_err *err);
void hd_kvpool_destroy(hd_kvpool *p);
const hd_kv_plane *hd_kvpool_planes(const hd_kvpool *p); // [n_layers][n_planes]
int32_t hd_kvpool_total(const hd_kvpool *p);
int32_t hd_kvpool_free(const hd_kvpool *p); // that can be had now: free and cached
int32_t hd_kvpool_cached(const hd_kvpool *p);

bool hd_kvseq_init(hd_kvseq *s, int32_t max_tokens); // false: memory
// Gives an empty sequence the cached pages of its beginning, as long a run of full pages of
// ids[0..n) as there is. Returns how many tokens they hold.
int32_t hd_kvseq_attach(hd_kvpool *p, hd_kvseq *s, const int32_t *ids, int32_t n);
// Makes room for n_tokens in all (cap_pages is set once by init, so this never allocates memory).
// False: exhausted, nothing changed.
bool hd_kvseq_reserve(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens);
// Offers the pages that are full by now to others; ids are the tokens stored. Where another has
// stored the same in the meantime, the sequence goes over to its page.
void hd_kvseq_commit(hd_kvpool *p, hd_kvseq *s, const int32_t *ids);
void hd_kvseq_release(hd_kvpool *p, hd_kvseq *s); // all pages
void hd_kvseq_fini(hd_kvseq *s);                  // after release

#ifdef __cplusplus
}
#endif

#endif
