// Who may run: the waiting queue, its order, and the pages a sequence starts with.
//
// A sequence starts with pages for all its known tokens, as many of them as possible from the
// prefix cache; those for its answer come as it grows. When they run out, one of lower rank gives
// its own back and waits again (the plan says who). The one of highest rank never does, so it ends,
// and then another is the highest. One whose reader is slow gives way to whoever waits.
#include "engine/sched_impl.h"
#include "kernels/base/log.h"

#include <string.h>

enum {
    OVERTAKEN_MAX = 32, // a waiting request that was passed so often goes first
    PREEMPTED_MAX = 2,  // and so does one that gave way so often
};

// ---- numbers others see: with the lock held ------------------------------------------------

void hd_sched_count_pages(hd_sched *s)
{
    s->stats.pages_used = hd_kvpool_total(s->l->kv) - hd_kvpool_free(s->l->kv);
    s->stats.pages_cached = hd_kvpool_cached(s->l->kv);
}

void hd_sched_leave_queue(hd_sched *s, const hd_seq *q)
{
    s->queued_tokens -= q->n_prompt;
    s->queued_bytes -= q->bytes;
}

// Who wants to know how likely the prompt was needs it computed.
static bool looks_up(const hd_sched *s, const hd_seq *q)
{
    return s->l->cfg.prefix_cache && !hd_seq_reports_prompt(q);
}

// ---- letting others go first ---------------------------------------------------------------

static bool in_prefill(const hd_seq *q)
{
    return !hd_seq_decodes(q) && q->kv.n_tokens < q->n_prompt;
}

// Full pages of tokens that q and r begin with alike, in tokens. The last token of q is not among
// them: it is always computed, for its logits.
static int32_t common_tokens(const hd_seq *q, const hd_seq *r)
{
    const int32_t most = (q->n_ids - 1 < r->n_prompt ? q->n_ids - 1 : r->n_prompt);
    const size_t page = HD_PAGE_TOKENS * sizeof(*q->ids);
    int32_t n = 0;
    while (n + HD_PAGE_TOKENS <= most && memcmp(q->ids + n, r->ids + n, page) == 0)
        n += HD_PAGE_TOKENS;
    return n;
}

static bool still_behind(const hd_sched *s, const hd_seq *q)
{
    if (q->leader_tokens == 0 || q->rank.urgent) return false;
    for (int32_t i = 0; i < s->n_run; i++) {
        const hd_seq *r = s->run[i];
        if (r->rank.arrival == q->leader) return r->kv.n_tokens < q->leader_tokens;
    }
    return false;
}

// Looks for a running sequence that is about to compute what q could then share. Waiting for it
// costs q little and saves the work of a page at least.
static bool falls_in_behind(const hd_sched *s, hd_seq *q)
{
    q->leader_tokens = 0;
    if (q->rank.urgent || !looks_up(s, q)) return false;
    for (int32_t i = 0; i < s->n_run; i++) {
        const hd_seq *r = s->run[i];
        if (!in_prefill(r) || r->kv.salt != q->kv.salt || hd_seq_reports_prompt(r)) continue;
        const int32_t n = common_tokens(q, r);
        if (n <= r->kv.n_tokens || n <= q->kv.n_tokens || n <= q->leader_tokens) continue;
        q->leader = r->rank.arrival;
        q->leader_tokens = n;
    }
    return q->leader_tokens > 0;
}

// One that lost its pages because its reader is slow waits for the reader.
static bool waits_for_reader(hd_seq *q)
{
    const int32_t n = hd_sched_slots_for(q, 1);
    if (hd_stream_room(q->stream) >= n) return false;
    hd_stream_want_room(q->stream, n);
    return hd_stream_room(q->stream) < n;
}

// ---- admission -----------------------------------------------------------------------------

static hd_seq **first_in_line(hd_sched *s)
{
    hd_seq **first = NULL;
    for (hd_seq **at = &s->waiting; *at; at = &(*at)->next)
        if (!(*at)->held_back && (!first || hd_rank_before(&(*at)->rank, &(*first)->rank)))
            first = at;
    return first;
}

// Pages for all known tokens, and one more for everybody who runs: else it would soon have to give
// them back.
static bool take_pages(hd_sched *s, hd_seq *q)
{
    hd_kvpool *kv = s->l->kv;
    if (looks_up(s, q)) hd_kvseq_attach(kv, &q->kv, q->ids, q->n_ids - 1);
    q->held_back = falls_in_behind(s, q);
    // Counted first: pages that were taken and given back would be out of the cache for nothing.
    const int32_t need = (q->n_ids + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS - q->kv.n_pages;
    if (!q->held_back && hd_kvpool_free(kv) - need >= s->n_run)
        return hd_kvseq_reserve(kv, &q->kv, q->n_ids);
    hd_kvseq_release(kv, &q->kv);
    return false;
}

static void count_start(hd_sched *s, hd_seq *q)
{
    if (q->admit_ns == HD_SEQ_NEVER) {
        q->admit_ns = hd_now_ns(&s->l->cfg.clock);
        q->n_cached = q->kv.n_tokens < q->n_prompt ? q->kv.n_tokens : q->n_prompt;
        hd_sched_leave_queue(s, q);
        if (looks_up(s, q)) s->stats.prefix_asked += (uint64_t)q->n_prompt;
        s->stats.prefix_found += (uint64_t)q->n_cached;
    }
    s->stats.waiting--;
    s->stats.running++;
    hd_sched_count_pages(s);
}

static void start(hd_sched *s, hd_seq **at)
{
    hd_seq *q = *at;
    *at = q->next;
    q->next = NULL;
    for (hd_seq *w = s->waiting; w; w = w->next)
        if (w->rank.arrival < q->rank.arrival && ++w->waited >= OVERTAKEN_MAX)
            w->rank.urgent = true;
    q->waited = 0;
    q->running = true;
    s->run[s->n_run++] = q;
    pthread_mutex_lock(&s->lock);
    count_start(s, q);
    pthread_mutex_unlock(&s->lock);
}

// The running sequence of lowest rank whose reader has been slow for long; -1: none.
static int32_t slowest(const hd_sched *s)
{
    const int64_t now = hd_now_ns(&s->l->cfg.clock);
    const int64_t patience = (int64_t)s->l->cfg.slow_reader_ms * 1000000;
    int32_t found = -1;
    for (int32_t i = 0; i < s->n_run; i++) {
        const hd_seq *q = s->run[i];
        if (q->blocked_ns == HD_SEQ_NEVER || now - q->blocked_ns < patience) continue;
        if (found < 0 || hd_rank_before(&s->run[found]->rank, &q->rank)) found = i;
    }
    return found;
}

// The first in line is never passed by a smaller one: it would wait for ever.
void hd_sched_admit(hd_sched *s)
{
    if (!s->waiting || (s->n_run == s->l->cfg.max_seqs && slowest(s) < 0)) return;
    for (hd_seq *q = s->waiting; q; q = q->next)
        q->held_back = still_behind(s, q) || (q->n_preempted > 0 && waits_for_reader(q));
    for (hd_seq **first; (first = first_in_line(s)) != NULL;) {
        if (s->n_run < s->l->cfg.max_seqs && take_pages(s, *first)) {
            start(s, first);
            continue;
        }
        if ((*first)->held_back) continue;
        const int32_t slow = slowest(s);
        if (slow < 0) return;
        hd_sched_preempt(s, slow);
        s->waiting->held_back = true;
    }
}

void hd_sched_preempt(hd_sched *s, int32_t i)
{
    hd_seq *q = s->run[i];
    HD_LOG(HD_LOG_DEBUG, "sched", "pages taken away", hd_f_str("id", q->id),
           hd_f_int("tokens", q->kv.n_tokens), hd_f_int("running", s->n_run));
    s->n_run--;
    memmove(s->run + i, s->run + i + 1, (size_t)(s->n_run - i) * sizeof(*s->run));
    hd_kvseq_release(s->l->kv, &q->kv);
    q->running = false;
    q->blocked_ns = HD_SEQ_NEVER;
    q->waited = 0;
    if (++q->n_preempted >= PREEMPTED_MAX) q->rank.urgent = true;
    q->next = s->waiting;
    s->waiting = q;
    pthread_mutex_lock(&s->lock);
    s->stats.running--;
    s->stats.waiting++;
    s->stats.preemptions++;
    hd_sched_count_pages(s);
    pthread_mutex_unlock(&s->lock);
}
