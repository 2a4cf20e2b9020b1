// From edited logits to a token.
//
// What is sampled is defined over the whole vocabulary (edited logits in rank order: descending,
// ties by lower id):
//   y = edits(logit); weight w = exp((y - y_best) / temperature)
//   top_k   the first k ranks
//   top_p   of these the fewest first ranks that hold p of their weight
//   min_p   of these the ranks with w >= min_p
//   one uniform draw u: the first rank whose cumulated weight passes u times the weight kept
//
// The shortcut sees only K candidates. Unknown tokens' logits are at most the last candidate's, so
// some first ranks are certain; lse tells how much weight is unknown. Where every value the unknown
// could take gives the same token, that token it is; else the whole row is asked for. Sums are in
// double, in rank order (totals of a row: in order of ids).
#include "engine/sampler_impl.h"

#include <math.h>

// ---- how much weight is unknown ------------------------------------------------------------

typedef struct range {
    double lo, hi;
} range;

// Weight of all tokens that are not candidates. With x = exp(logit - y_best), a = 1 / temperature:
// n values of x, each at most x_last, whose sum r the log-sum-exp gives; the range of sum x^a is
//   a >= 1   [r^a n^(1-a), r x_last^(a-1)]
//   a <  1   [r x_last^(a-1), r^a n^(1-a)]
// (convexity; the largest value). Edited tokens among them are counted on their own.
static range unknown_weight(const hd_sampler *s, const hd_candidates *c, double y_best)
{
    const double a = 1.0 / (double)s->p.temperature, n = (double)c->vocab - c->n;
    const double last = (double)c->logit[c->n - 1] - y_best;
    const double total = exp((double)c->lse - y_best);
    // The device sums floats: relative error of the total.
    const double error = total * (4e-6 + 2.4e-7 * fabs((double)c->lse));
    double r = total;
    range w = {0, 0};
    if (n <= 0) return w;
    for (int32_t i = 0; i < c->n; i++)
        r -= exp((double)c->logit[i] - y_best);
    const double r_hi = fmax(r, 0) + error, r_lo = fmax(r - error, 0);
    if (a >= 1) {
        w.lo = r_lo > 0 ? exp(a * log(r_lo) + (1 - a) * log(n)) : 0;
        w.hi = r_hi * exp((a - 1) * last);
    } else {
        w.lo = isfinite(last) ? r_lo * exp((a - 1) * last) : 0;
        w.hi = exp(a * log(r_hi) + (1 - a) * log(n));
    }
    w.hi = fmin(w.hi, n * exp(a * last));
    for (int32_t i = 0; i < s->n_entry; i++) {
        const hd_sample_entry *e = &s->entry[i];
        if (e->seen == s->row) continue;
        w.lo -= exp(a * last);
        if (!hd_sample_bars(s, e))
            w.hi += exp(a * ((double)hd_sample_edit(s, e, c->logit[c->n - 1]) - y_best));
    }
    w.lo = fmax(w.lo, 0);
    return w;
}

// ---- choosing from the candidates ----------------------------------------------------------

// The fewest first ranks whose weight reaches `want`; n + 1 when the first n do not.
static int32_t ranks_reaching(const double *weight, int32_t n, double want)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weight[i];
        if (sum >= want) return i + 1;
    }
    return n + 1;
}

// The first rank whose cumulated weight passes `target`; n when none does.
static int32_t rank_passing(const double *weight, int32_t n, double target)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weight[i];
        if (sum > target) return i;
    }
    return n;
}

static double sum_of(const double *weight, int32_t n)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += weight[i];
    return sum;
}

// The last rank with any weight: where a draw ends that rounding carried past the total.
static int32_t last_weighted(const double *weight, int32_t n)
{
    while (n > 1 && weight[n - 1] == 0)
        n--;
    return n - 1;
}

// Index into s->known of the token at the draw, out of the first `keep` ranks.
static int32_t draw_known(const hd_sampler *s, int32_t keep)
{
    int32_t at = rank_passing(s->weight, keep, s->draw * sum_of(s->weight, keep));
    return at < keep ? at : last_weighted(s->weight, keep);
}

// The first n ranks are all there is: no more than top_k, or everything.
static int32_t pick_from_all(const hd_sampler *s, int32_t n)
{
    const double *w = s->weight;
    int32_t keep = n;
    if (s->p.top_p < 1) keep = ranks_reaching(w, n, (double)s->p.top_p * sum_of(w, n));
    if (keep > n) keep = n;
    for (int32_t i = 1; i < keep; i++)
        if (w[i] < (double)s->p.min_p) keep = i;
    return draw_known(s, keep);
}

// As above, but behind the first n ranks there is more: nothing above weight `bound`, and `total`
// is the weight of all. Only a token that every value in the range leads to is one.
static int32_t pick_from_some(const hd_sampler *s, int32_t n, range total, double bound)
{
    const double *w = s->weight, p = (double)s->p.top_p;
    // Ranks kept: somewhere in [lo, hi]; n + 1 stands for more than n.
    int32_t lo = n + 1, hi = n + 1;
    if (!isfinite(total.hi)) return HD_SAMPLE_NEEDS_ROW;
    if (p < 1) {
        lo = ranks_reaching(w, n, p * total.lo);
        hi = ranks_reaching(w, n, p * total.hi);
    }
    if (s->p.min_p > 0) {
        int32_t m = 1;
        while (m < n && w[m] >= (double)s->p.min_p)
            m++;
        if (m == n && bound >= (double)s->p.min_p) m = n + 1;
        lo = lo < m ? lo : m;
        hi = hi < m ? hi : m;
    }
    if (lo == hi && hi <= n) return draw_known(s, hi);
    if (p < 1 || s->p.min_p > 0) return HD_SAMPLE_NEEDS_ROW;
    lo = rank_passing(w, n, s->draw * total.lo);
    hi = rank_passing(w, n, s->draw * total.hi);
    return lo == hi && hi < n ? hi : HD_SAMPLE_NEEDS_ROW;
}

static double bound_weight(const hd_sampler *s, const hd_sample_view *v)
{
    return exp(((double)v->bound - (double)s->known[0].y) / (double)s->p.temperature);
}

int32_t hd_sample_from_candidates(hd_sampler *s, const hd_candidates *c, const hd_sample_view *v)
{
    if (v->complete && v->n == 0) return HD_SAMPLE_NO_LOGITS;
    if (v->n_sure == 0) return HD_SAMPLE_NEEDS_ROW;
    const double y_best = (double)s->known[0].y;
    if (!isfinite(y_best)) return HD_SAMPLE_NO_LOGITS;
    if (hd_sample_is_greedy(s)) return 0;
    const double a = 1.0 / (double)s->p.temperature;
    for (int32_t i = 0; i < v->n; i++)
        s->weight[i] = exp(((double)s->known[i].y - y_best) * a);
    const int32_t k = s->p.top_k > 0 && s->p.top_k < s->vocab ? s->p.top_k : s->vocab;
    if (k <= v->n_sure || v->complete) return pick_from_all(s, k < v->n_sure ? k : v->n_sure);
    const double slack = 1e-9, known = sum_of(s->weight, v->n);
    const range rest = unknown_weight(s, c, y_best);
    range total = {(known + rest.lo) * (1 - slack), (known + rest.hi) * (1 + slack)};
    if (k < s->vocab) total.lo = sum_of(s->weight, v->n_sure); // top_k may cut all the rest off
    return pick_from_some(s, v->n_sure, total, bound_weight(s, v));
}

// ---- choosing from the row -----------------------------------------------------------------

// Every token's edited logit, in order of ids. False: NaN.
static bool edit_row(const hd_sampler *s, const hd_candidates *c)
{
    for (int32_t i = 0; i < c->vocab; i++) {
        if (isnan(c->row[i])) return false;
        c->work[i] = (hd_ranked){c->row[i], i};
    }
    for (int32_t i = 0; i < s->n_entry; i++) {
        const hd_sample_entry *e = &s->entry[i];
        c->work[e->id].y = hd_sample_bars(s, e) ? -INFINITY : hd_sample_edit(s, e, c->row[e->id]);
    }
    return true;
}

static void sift_down(hd_ranked *heap, int32_t at, int32_t n)
{
    const hd_ranked r = heap[at];
    for (int32_t kid; (kid = 2 * at + 1) < n; at = kid) {
        if (kid + 1 < n && hd_sample_before(heap[kid + 1], heap[kid])) kid++;
        if (!hd_sample_before(heap[kid], r)) break;
        heap[at] = heap[kid];
    }
    heap[at] = r;
}

typedef struct ranking { // popped ranks gather at the end of the heap: rank i at [vocab - 1 - i]
    hd_ranked *heap;
    int32_t vocab, n_popped;
    double a, y_best;
} ranking;

static double weight_of(const ranking *r, hd_ranked x)
{
    return exp(((double)x.y - r->y_best) * r->a);
}

static hd_ranked at_rank(const ranking *r, int32_t i)
{
    return r->heap[r->vocab - 1 - i];
}

static double pop(ranking *r)
{
    const int32_t left = r->vocab - 1 - r->n_popped++;
    const hd_ranked top = r->heap[0];
    r->heap[0] = r->heap[left];
    r->heap[left] = top;
    sift_down(r->heap, 0, left);
    return weight_of(r, top);
}

// Number of ranks kept by top_p and min_p out of k whose weight is `total`; pops as far as needed.
static int32_t cut(ranking *r, const hd_sample_params *p, int32_t k, double total)
{
    double sum = 0;
    for (int32_t i = 0; i < k; i++) {
        double w = i < r->n_popped ? weight_of(r, at_rank(r, i)) : pop(r);
        if (i > 0 && w < (double)p->min_p) return i;
        sum += w;
        if (p->top_p < 1 && sum >= (double)p->top_p * total) return i + 1;
    }
    return k;
}

// The token at `draw` of the first `keep` ranks' weight; pops as far as needed.
static hd_ranked draw_ranked(ranking *r, int32_t keep, double total, double draw)
{
    double sum = 0;
    hd_ranked last = {0, -1};
    for (int32_t i = 0; i < keep; i++) {
        double w = i < r->n_popped ? weight_of(r, at_rank(r, i)) : pop(r);
        if (w > 0 || i == 0) last = at_rank(r, i);
        sum += w;
        if (sum > draw * total) break;
    }
    return last;
}

// Weight of all tokens, in order of ids. What is left out could not be seen in the sum.
static double row_weight(const ranking *r)
{
    const double least = -50;
    double sum = 0;
    for (int32_t i = 0; i < r->vocab; i++) {
        double x = ((double)r->heap[i].y - r->y_best) * r->a;
        if (x > least) sum += exp(x);
    }
    return sum;
}

// Sorts as many ranks as the choice takes.
static int32_t pick_sorted(const hd_sampler *s, ranking *r, int32_t k, double total)
{
    int32_t keep = k;
    for (int32_t i = r->vocab / 2 - 1; i >= 0; i--)
        sift_down(r->heap, i, r->vocab);
    if (k < r->vocab)
        for (total = 0; r->n_popped < k;)
            total += pop(r);
    if (s->p.top_p < 1 || s->p.min_p > 0) {
        keep = cut(r, &s->p, k, total);
        total = 0;
        for (int32_t i = 0; i < keep; i++)
            total += weight_of(r, at_rank(r, i));
    }
    return draw_ranked(r, keep, total, s->draw).id;
}

int32_t hd_sample_from_row(hd_sampler *s, const hd_candidates *c, const hd_sample_view *v)
{
    ranking r = {.heap = c->work, .vocab = c->vocab};
    int32_t best = 0, k = r.vocab;
    double total = 0;
    if (!edit_row(s, c)) return HD_SAMPLE_NO_LOGITS;
    for (int32_t i = 1; i < r.vocab; i++)
        if (r.heap[i].y > r.heap[best].y) best = i;
    r.y_best = (double)r.heap[best].y;
    if (!isfinite(r.y_best)) return HD_SAMPLE_NO_LOGITS;
    if (hd_sample_is_greedy(s)) return best;

    r.a = 1.0 / (double)s->p.temperature;
    if (s->p.top_k > 0 && s->p.top_k < k) k = s->p.top_k;
    if (k == r.vocab) {
        total = row_weight(&r);
        // Often only the total was missing.
        const range exact = {total, total};
        int32_t at = HD_SAMPLE_NEEDS_ROW;
        if (v->n_sure > 0) at = pick_from_some(s, v->n_sure, exact, bound_weight(s, v));
        if (at >= 0) return s->known[at].id;
    }
    return pick_sorted(s, &r, k, total);
}
