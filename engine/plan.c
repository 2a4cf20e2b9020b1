// Which sequences take part in the next step, and with how many tokens.
//
//   decoding  all of them, the longest waiting first when they do not fit
//   prefill   what is left of the budget: aged ones, then by priority, then by arrival
//   pages     to whom the budget went, by rank; who outranks another may have his
//   drafts    what is left of tokens and pages
//
// A prefill that was passed over PLAN_AGED times takes precedence over every priority and, where
// decoding alone fills the step, over one decoding sequence: nothing waits for ever.
#include "engine/plan.h"

#include "engine/prefix.h"
#include "kernels/base/status.h"

#include <stddef.h>

enum {
    PLAN_AGED = 64,
    SITS_OUT = -1, // as take: there is no page for it in this step
};

static bool ready(const hd_plan_in *in, const hd_plan *out, int32_t i)
{
    return in->seq[i].todo > 0 && !in->seq[i].blocked && out->take[i] != SITS_OUT;
}

static bool aged(const hd_plan_seq *s)
{
    return s->waited >= PLAN_AGED;
}

// Whether decoding sequence a goes before b.
static bool decodes_first(const hd_plan_seq *a, const hd_plan_seq *b)
{
    if (a->waited != b->waited) return a->waited > b->waited;
    return a->rank.arrival < b->rank.arrival;
}

static bool prefills_first(const hd_plan_seq *a, const hd_plan_seq *b)
{
    if (aged(a) != aged(b)) return aged(a);
    if (aged(a) && a->waited != b->waited) return a->waited > b->waited;
    return hd_rank_before(&a->rank, &b->rank);
}

// The next sequence of one kind that is not in the step yet; -1 when there is none.
static int32_t best(const hd_plan_in *in, const hd_plan *out, bool decoding)
{
    int32_t found = -1;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (out->take[i] || !ready(in, out, i) || s->decoding != decoding) continue;
        if (found < 0 ||
            (decoding ? decodes_first(s, &in->seq[found]) : prefills_first(s, &in->seq[found])))
            found = i;
    }
    return found;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

// Puts sequences of one kind into the step while `seqs` places and `tokens` are left.
static void fill(const hd_plan_in *in, hd_plan *out, bool decoding, int32_t seqs, int32_t tokens)
{
    while (seqs > 0 && tokens > 0) {
        int32_t i = best(in, out, decoding);
        if (i < 0) return;
        out->take[i] = smaller(in->seq[i].todo, tokens);
        out->n_tokens += out->take[i];
        out->n_in_step++;
        tokens -= out->take[i];
        seqs--;
    }
}

// Decoding sequences all fit in the usual case: one pass, no search.
static void take_all_decoding(const hd_plan_in *in, hd_plan *out)
{
    for (int32_t i = 0; i < in->n_seqs; i++) {
        if (!ready(in, out, i) || !in->seq[i].decoding) continue;
        out->take[i] = in->seq[i].todo;
        out->n_tokens += in->seq[i].todo;
        out->n_in_step++;
    }
}

static void share_tokens(const hd_plan_in *in, hd_plan *out)
{
    int64_t decode_tokens = 0;
    int32_t decode_seqs = 0;
    bool starving = false; // an aged prefill waits
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (!ready(in, out, i)) continue;
        decode_seqs += s->decoding;
        decode_tokens += s->decoding ? s->todo : 0;
        starving |= !s->decoding && aged(s);
    }
    const int32_t keep = starving ? 1 : 0;
    if (decode_tokens <= in->max_tokens - keep && decode_seqs <= in->max_seqs - keep)
        take_all_decoding(in, out);
    else
        fill(in, out, true, in->max_seqs - keep, in->max_tokens - keep);
    const int32_t left = in->max_tokens - out->n_tokens;
    fill(in, out, false, in->max_seqs - out->n_in_step,
         out->n_in_step > 0 ? smaller(left, in->max_prompt) : left);
}

// ---- pages ---------------------------------------------------------------------------------

static int32_t new_pages(const hd_plan_seq *s, int32_t take)
{
    const int64_t end = (int64_t)s->stored + take;
    const int32_t all = (int32_t)((end + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS);
    return all > s->pages ? all - s->pages : 0;
}

// Tokens that fit the pages it holds and `more` others.
static int32_t tokens_in(const hd_plan_seq *s, int32_t more)
{
    const int64_t n = ((int64_t)s->pages + more) * HD_PAGE_TOKENS - s->stored;
    return n < INT32_MAX ? (int32_t)n : INT32_MAX;
}

static bool outranks(const hd_plan_seq *a, const hd_plan_seq *b)
{
    return hd_rank_before(&a->rank, &b->rank);
}

// The lowest in rank of those that hold pages, `than` outranks and that could not go on anyway, or
// else of all that it outranks; -1 when there is none.
static int32_t victim_for(const hd_plan_in *in, const hd_plan_seq *than)
{
    int32_t found = -1;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (s->pages == 0 || s == than || !(s->blocked || outranks(than, s))) continue;
        const hd_plan_seq *f = found < 0 ? NULL : &in->seq[found];
        if (!f || (s->blocked != f->blocked ? s->blocked : outranks(f, s))) found = i;
    }
    return found;
}

// The highest in rank of those in the step that `last` outranks (NULL: of all); -1: none.
static int32_t next_in_rank(const hd_plan_in *in, const hd_plan *out, const hd_plan_seq *last)
{
    int32_t found = -1;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (out->take[i] <= 0 || (last && !outranks(last, s))) continue;
        if (found < 0 || outranks(s, &in->seq[found])) found = i;
    }
    return found;
}

// Pages by rank: who finds none left takes them from a lower rank, or sits out when there is none.
// Returns how many sit out; out->victim is set when one must go first.
static int32_t ration_pages(const hd_plan_in *in, hd_plan *out)
{
    const hd_plan_seq *last = NULL;
    int32_t n_out = 0;
    for (int32_t i; (i = next_in_rank(in, out, last)) >= 0;) {
        last = &in->seq[i];
        const int32_t fits = tokens_in(last, in->free_pages - out->n_pages);
        if (fits <= 0 && (out->victim = victim_for(in, last)) >= 0) return 0;
        if (fits < out->take[i]) out->take[i] = fits > 0 ? fits : SITS_OUT;
        n_out += fits <= 0;
        out->n_pages += new_pages(last, fits > 0 ? out->take[i] : 0);
    }
    return n_out;
}

static void count(const hd_plan_in *in, hd_plan *out)
{
    out->n_tokens = out->n_in_step = out->n_pages = 0;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        if (out->take[i] <= 0) continue;
        out->n_tokens += out->take[i];
        out->n_in_step++;
        out->n_pages += new_pages(&in->seq[i], out->take[i]);
    }
}

// What those who sit out leave of the budget goes to others, until it is shared out for good.
static void share(const hd_plan_in *in, hd_plan *out)
{
    for (;;) {
        share_tokens(in, out);
        count(in, out);
        if (out->n_pages <= in->free_pages) return;
        out->n_pages = 0;
        const int32_t n_out = ration_pages(in, out);
        count(in, out);
        if (n_out == 0) return;
        for (int32_t i = 0; i < in->n_seqs; i++)
            if (out->take[i] > 0) out->take[i] = 0;
        out->n_tokens = out->n_in_step = 0;
    }
}

static void share_rest(const hd_plan_in *in, hd_plan *out)
{
    int32_t left = smaller(in->max_draft, in->max_tokens - out->n_tokens);
    for (int32_t i = 0; i < in->n_seqs && left > 0; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (out->take[i] <= 0 || s->draft == 0) continue;
        const int32_t pages = new_pages(s, out->take[i]);
        const int32_t fits = tokens_in(s, pages + in->free_pages - out->n_pages) - out->take[i];
        const int32_t more = smaller(smaller(s->draft, left), fits);
        out->n_pages += new_pages(s, out->take[i] + more) - pages;
        out->take[i] += more;
        out->n_tokens += more;
        left -= more;
    }
}

hd_plan_verdict hd_plan_step(const hd_plan_in *in, hd_plan *out)
{
    HD_DASSERT(in->max_tokens > 0 && in->max_seqs > 0);
    out->n_tokens = out->n_in_step = out->n_pages = 0;
    out->victim = -1;
    for (int32_t i = 0; i < in->n_seqs; i++)
        out->take[i] = 0;
    share(in, out);
    if (out->victim >= 0) return HD_PLAN_PREEMPT;
    share_rest(in, out);
    for (int32_t i = 0; i < in->n_seqs; i++)
        if (out->take[i] == SITS_OUT) out->take[i] = 0;
    return out->n_in_step > 0 ? HD_PLAN_STEP : HD_PLAN_NOTHING;
}
