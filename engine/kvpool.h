// Paged key/value memory: pages of HD_PAGE_TOKENS tokens, every layer's planes cut from one block.
//
// Belongs to the scheduler thread. Invariant: free + sum of pages held by sequences = total.
#ifndef HADAL_ENGINE_KVPOOL_H
#define HADAL_ENGINE_KVPOOL_H

#include "kernels/backend.h"
#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_PAGE_TOKENS = 64 };

typedef struct hd_kvpool hd_kvpool;

typedef struct hd_kvseq { // one sequence's pages in order; a zeroed one is empty
    int32_t *page;
    int32_t n_pages, cap_pages;
    int32_t n_tokens; // stored
} hd_kvseq;

size_t hd_kvpool_page_bytes(const hd_arch *arch, const hd_model_cfg *cfg, hd_dtype dtype);
hd_status hd_kvpool_create(const hd_arch *arch, const hd_model_cfg *cfg, hd_backend *be,
                           hd_dtype dtype, int32_t n_pages, hd_kvpool **out, hd_err *err);
void hd_kvpool_destroy(hd_kvpool *p);
const hd_kv_plane *hd_kvpool_planes(const hd_kvpool *p); // [n_layers][n_planes]
int32_t hd_kvpool_total(const hd_kvpool *p);
int32_t hd_kvpool_free(const hd_kvpool *p);

// Makes room for n_tokens in all (cap_pages is set once by init, so this never allocates memory).
// False: exhausted, nothing changed.
bool hd_kvseq_init(hd_kvseq *s, int32_t max_tokens); // false: memory
bool hd_kvseq_reserve(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens);
void hd_kvseq_trim(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens); // gives back pages past n_tokens
void hd_kvseq_release(hd_kvpool *p, hd_kvseq *s);                // all pages
void hd_kvseq_fini(hd_kvseq *s);                                 // after release

#ifdef __cplusplus
}
#endif

#endif
