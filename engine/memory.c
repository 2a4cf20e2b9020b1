// Sharing out the memory budget.
#include "engine/memory.h"

#include "engine/kvpool.h"

// A context shorter than this serves nobody: better to refuse than to start so.
enum { CONTEXT_MIN = 256 };

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static hd_status too_small(const hd_memory_need *n, int32_t context, int64_t pages, hd_err *err)
{
    return HD_FAIL(err, HD_E_LIMIT,
                   "memory: weights %.1f MiB + buffers %.1f MiB + cache for %d tokens %.1f MiB, "
                   "allowed %.1f MiB; raise --memory, or lower --max-context, --max-step-tokens or "
                   "the size of --weights",
                   mib(n->weights), mib(n->buffers), context, mib((uint64_t)pages * n->page),
                   mib(n->budget));
}

hd_status hd_memory_fit(const hd_memory_need *n, hd_memory_share *out, hd_err *err)
{
    const int64_t per_seq = ((int64_t)n->context + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS;
    const int64_t wanted = per_seq * n->max_seqs;
    const uint64_t used = n->weights + n->buffers;
    const uint64_t left = used < n->budget ? n->budget - used : 0;
    int32_t least = n->context;
    if (!n->context_is_wanted && least > CONTEXT_MIN) least = CONTEXT_MIN;
    const int64_t least_pages = ((int64_t)least + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS;

    uint64_t fit = left / n->page;
    if (fit > (uint64_t)wanted) fit = (uint64_t)wanted;
    if (fit > INT32_MAX) fit = INT32_MAX;
    if ((int64_t)fit < least_pages) return too_small(n, least, least_pages, err);
    out->pages = (int32_t)fit;
    out->context = n->context;
    if ((int64_t)fit < per_seq) out->context = out->pages * HD_PAGE_TOKENS;
    out->kv = fit * n->page;
    return HD_OK;
}
