// How the memory budget is shared out: what weights and buffers leave becomes KV pages. Pure.
#ifndef HADAL_ENGINE_MEMORY_H
#define HADAL_ENGINE_MEMORY_H

#include "kernels/base/status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_memory_need {
    uint64_t budget;        // bytes for everything
    uint64_t weights;       // bytes of packed weights
    uint64_t buffers;       // scratch, logits, staging
    uint64_t page;          // bytes of one KV page
    int32_t context;        // tokens a sequence may have, as wanted
    bool context_is_wanted; // asked for by name: it may not be lowered
    int32_t max_seqs;
} hd_memory_need;

typedef struct hd_memory_share {
    int32_t pages, context;
    uint64_t kv; // bytes of the pages
} hd_memory_share;

// pages never exceeds what max_seqs sequences of the full context hold, and always holds one such
// sequence. HD_E_LIMIT with the numbers and the remedies when that does not fit.
hd_status hd_memory_fit(const hd_memory_need *need, hd_memory_share *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
