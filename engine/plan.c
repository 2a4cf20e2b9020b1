// Which sequences take part in the next step, and with how many tokens.
//
//   decoding  all of them, the longest waiting first when they do not fit
//   prefill   what is left of the budget: aged ones, then by priority, then by arrival
//
// A prefill that was passed over PLAN_AGED times takes precedence over every priority and, where
// decoding alone fills the step, over one decoding sequence: nothing waits for ever.
#include "engine/plan.h"

#include "kernels/base/status.h"

enum { PLAN_AGED = 64 };

static bool ready(const hd_plan_seq *s)
{
    return s->todo > 0 && !s->blocked;
}

static bool aged(const hd_plan_seq *s)
{
    return s->waited >= PLAN_AGED;
}

// Whether decoding sequence a goes before b.
static bool decodes_first(const hd_plan_seq *a, const hd_plan_seq *b)
{
    if (a->waited != b->waited) return a->waited > b->waited;
    return a->arrival < b->arrival;
}

static bool prefills_first(const hd_plan_seq *a, const hd_plan_seq *b)
{
    if (aged(a) != aged(b)) return aged(a);
    if (aged(a) && a->waited != b->waited) return a->waited > b->waited;
    if (!aged(a) && a->priority != b->priority) return a->priority > b->priority;
    return a->arrival < b->arrival;
}

// The next sequence of one kind that is not in the step yet; -1 when there is none.
static int32_t best(const hd_plan_in *in, const hd_plan *out, bool decoding)
{
    int32_t found = -1;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        if (!ready(s) || s->decoding != decoding || out->take[i]) continue;
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
        if (!ready(&in->seq[i]) || !in->seq[i].decoding) continue;
        out->take[i] = in->seq[i].todo;
        out->n_tokens += in->seq[i].todo;
        out->n_in_step++;
    }
}

bool hd_plan_step(const hd_plan_in *in, hd_plan *out)
{
    int64_t decode_tokens = 0;
    int32_t decode_seqs = 0;
    bool starving = false; // an aged prefill waits
    HD_DASSERT(in->max_tokens > 0 && in->max_seqs > 0);
    out->n_tokens = out->n_in_step = 0;
    for (int32_t i = 0; i < in->n_seqs; i++) {
        const hd_plan_seq *s = &in->seq[i];
        out->take[i] = 0;
        if (!ready(s)) continue;
        decode_seqs += s->decoding;
        decode_tokens += s->decoding ? s->todo : 0;
        starving |= !s->decoding && aged(s);
    }
    const int32_t keep = starving ? 1 : 0;
    if (decode_tokens <= in->max_tokens - keep && decode_seqs <= in->max_seqs - keep)
        take_all_decoding(in, out);
    else
        fill(in, out, true, in->max_seqs - keep, in->max_tokens - keep);
    fill(in, out, false, in->max_seqs - out->n_in_step, in->max_tokens - out->n_tokens);
    return out->n_in_step > 0;
}
