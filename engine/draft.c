// Prompt lookup: hash chains over every run of HD_DRAFT_GRAM tokens, newest first.
#include "engine/draft.h"

#include "kernels/base/mem.h"

#include <string.h>

enum {
    CHAIN_MAX = 16, // places looked at
    MATCH_MAX = 32, // tokens compared at each
    SLOTS_MIN = 64,
};

static uint32_t slots_for(int64_t max_tokens)
{
    uint32_t n = SLOTS_MIN;
    while (n < max_tokens && n < UINT32_MAX / 4)
        n *= 2;
    return n;
}

int64_t hd_draft_bytes(int64_t max_tokens)
{
    return ((int64_t)slots_for(max_tokens) + max_tokens + 1) * (int64_t)sizeof(int32_t);
}

bool hd_draft_init(hd_draft *d, int32_t max_tokens)
{
    const uint32_t slots = slots_for(max_tokens);
    *d = (hd_draft){.mask = slots - 1, .n_known = HD_DRAFT_GRAM - 1};
    d->newest = hd_reallocarray(NULL, slots, sizeof(*d->newest));
    d->older = hd_reallocarray(NULL, (size_t)max_tokens + 1, sizeof(*d->older));
    if (!d->newest || !d->older) {
        hd_draft_fini(d);
        return false;
    }
    memset(d->newest, 0xff, slots * sizeof(*d->newest)); // -1 everywhere
    return true;
}

void hd_draft_fini(hd_draft *d)
{
    hd_free(d->newest);
    hd_free(d->older);
    *d = (hd_draft){0};
}

// Of the run that ends before `end`.
static int32_t *chain_of(const hd_draft *d, const int32_t *ids, int32_t end)
{
    uint32_t h = 0;
    for (int i = 1; i <= HD_DRAFT_GRAM; i++)
        h = (h ^ (uint32_t)ids[end - i]) * 0x9E3779B1u;
    return &d->newest[(h ^ (h >> 15)) & d->mask];
}

// The last run of all is left out: nothing follows it yet.
static void learn(hd_draft *d, const int32_t *ids, int32_t n_ids)
{
    for (; d->n_known < n_ids - 1; d->n_known++) {
        const int32_t end = d->n_known + 1;
        int32_t *chain = chain_of(d, ids, end);
        d->older[end] = *chain;
        *chain = end;
    }
}

// Tokens that agree before a and before b, a < b.
static int32_t agreement(const int32_t *ids, int32_t a, int32_t b)
{
    int32_t n = 0;
    while (n < MATCH_MAX && n < a && ids[a - 1 - n] == ids[b - 1 - n])
        n++;
    return n;
}

hd_guess hd_draft_guess(hd_draft *d, const int32_t *ids, int32_t n_ids, int32_t n, int32_t *out)
{
    hd_guess g = {0};
    int32_t from = -1;
    if (!d->newest || n <= 0 || n_ids <= HD_DRAFT_GRAM) return g;
    learn(d, ids, n_ids);
    int32_t end = *chain_of(d, ids, n_ids);
    for (int i = 0; end >= 0 && i < CHAIN_MAX && g.matched < MATCH_MAX; i++, end = d->older[end]) {
        const int32_t m = agreement(ids, end, n_ids);
        if (m < HD_DRAFT_GRAM || m <= g.matched) continue;
        g.matched = m;
        from = end;
    }
    if (from < 0) return g;
    for (; g.n < n; g.n++) { // past the end it goes on with what was guessed: a repetition
        const int32_t at = from + g.n;
        out[g.n] = at < n_ids ? ids[at] : out[at - n_ids];
    }
    return g;
}
