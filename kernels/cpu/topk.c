// The K largest logits of each row, exactly, without sorting the row.
//
// One parallel pass takes the maximum of every 64 logits and a partial sum of exponentials of every
// section. The K-th largest of the block maxima bounds the result from below, because each of K
// blocks holds an element at least as large; so only blocks that reach it are looked at again, and
// their elements go through a heap of K, which is the output row itself.
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 64, SECTION = 4096, ROWS = 64 }; // ROWS: rows worked on at once

typedef struct section { // sum of exp(x - max) over its elements that are not NaN
    float max, sum;
} section;

typedef struct topk_job {
    const hd_cpu_fns *f;
    hd_tensor ids, vals, lse, logits;
    int n, n_blocks, n_sections; // of one row
    section *sections;           // [rows][n_sections]
    float *maxima, *spare;       // [rows][n_blocks] each
} topk_job;

// ---- maxima and exponentials ---------------------------------------------------------------

static float sum_exp(const topk_job *j, const float *x, int n, float max)
{
    double sum = 0.0;
    for (int i = 0; i < n; i += BLOCK) {
        float e[BLOCK];
        int len = hd_cpu_min(BLOCK, n - i);
        for (int k = 0; k < len; k++)
            e[k] = x[i + k] == x[i + k] ? x[i + k] : -INFINITY;
        sum += (double)j->f->exp_sum(e, max, len);
    }
    return (float)sum;
}

static void section_task(void *ctx, int task, int worker)
{
    const topk_job *j = ctx;
    (void)worker;
    int row = task / j->n_sections, s = task % j->n_sections, from = s * SECTION;
    const float *x = hd_cpu_row(j->logits, row);
    float *maxima = j->maxima + (int64_t)row * j->n_blocks, best = -INFINITY;
    int end = hd_cpu_min(from + SECTION, j->n);
    for (int i = from; i < end; i += BLOCK) {
        float m = j->f->max(x + i, hd_cpu_min(BLOCK, end - i));
        maxima[i / BLOCK] = m;
        if (m > best) best = m;
    }
    section *out = &j->sections[task];
    out->max = best;
    out->sum = isfinite(best) ? sum_exp(j, x + from, end - from, best) : 0.0f;
}

// log sum exp of a row: -inf when nothing is finite, +inf when a logit is.
static float combine(const section *s, int n)
{
    float max = -INFINITY;
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        if (s[i].max > max) max = s[i].max;
    if (!isfinite(max)) return max;
    for (int i = 0; i < n; i++)
        sum += (double)s[i].sum * exp((double)s[i].max - (double)max);
    return (float)((double)max + log(sum));
}

// ---- selection -----------------------------------------------------------------------------

// The k-th largest of x (k >= 1, k <= n); reorders x, which holds no NaN.
static float kth_largest(float *x, int n, int k)
{
    int lo = 0, hi = n - 1, at = k - 1;
    while (lo < hi) {
        float a = x[lo], b = x[lo + (hi - lo) / 2], c = x[hi];
        float pivot = a > b ? (b > c ? b : a > c ? c : a) : (a > c ? a : b > c ? c : b);
        int i = lo, l = hi;
        while (i <= l) { // x[lo..l] >= pivot >= x[i..hi] once they have passed each other
            while (x[i] > pivot)
                i++;
            while (x[l] < pivot)
                l--;
            if (i > l) break;
            float t = x[i];
            x[i++] = x[l];
            x[l--] = t;
        }
        if (at <= l)
            hi = l;
        else if (at >= i)
            lo = i;
        else
            break;
    }
    return x[at];
}

typedef struct heap { // the worst of the kept elements on top
    int32_t *id;
    float *val;
    int n, cap;
} heap;

// Whether element a stands behind element b in the result.
static bool worse(float va, int32_t ia, float vb, int32_t ib)
{
    return va < vb || (va == vb && ia > ib);
}

static void sift_down(heap *h, int at, int n, float val, int32_t id)
{
    for (;;) {
        int kid = 2 * at + 1;
        if (kid >= n) break;
        if (kid + 1 < n && worse(h->val[kid + 1], h->id[kid + 1], h->val[kid], h->id[kid])) kid++;
        if (!worse(h->val[kid], h->id[kid], val, id)) break;
        h->val[at] = h->val[kid];
        h->id[at] = h->id[kid];
        at = kid;
    }
    h->val[at] = val;
    h->id[at] = id;
}

static void offer(heap *h, float val, int32_t id)
{
    if (h->n == h->cap) {
        if (worse(h->val[0], h->id[0], val, id)) sift_down(h, 0, h->n, val, id);
        return;
    }
    int at = h->n++;
    while (at > 0 && worse(val, id, h->val[(at - 1) / 2], h->id[(at - 1) / 2])) {
        h->val[at] = h->val[(at - 1) / 2];
        h->id[at] = h->id[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->val[at] = val;
    h->id[at] = id;
}

// Empties the heap from its worst element on, filling the row from its end.
static void sort_best_first(heap *h)
{
    for (int n = h->n - 1; n > 0; n--) {
        float val = h->val[n];
        int32_t id = h->id[n];
        h->val[n] = h->val[0];
        h->id[n] = h->id[0];
        sift_down(h, 0, n, val, id);
    }
}

// NaN logits fill what is left, then ids of -1.
static void fill_rest(heap *h, const float *x, int n)
{
    for (int i = 0; i < n && h->n < h->cap; i++) {
        if (x[i] == x[i]) continue;
        h->val[h->n] = x[i];
        h->id[h->n++] = i;
    }
    for (; h->n < h->cap; h->n++) {
        h->val[h->n] = -INFINITY;
        h->id[h->n] = -1;
    }
}

static bool any_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (isfinite(x[i])) return true;
    return false;
}

static void select_task(void *ctx, int row, int worker)
{
    const topk_job *j = ctx;
    (void)worker;
    const float *x = hd_cpu_row(j->logits, row);
    const float *maxima = j->maxima + (int64_t)row * j->n_blocks;
    float *spare = j->spare + (int64_t)row * j->n_blocks;
    heap h = {(int32_t *)(void *)hd_cpu_row(j->ids, row), hd_cpu_row(j->vals, row), 0, j->ids.cols};
    float lse = combine(j->sections + (int64_t)row * j->n_sections, j->n_sections),
          bound = -INFINITY;
    *hd_cpu_row(j->lse, row) = lse;
    // A finite lse has a finite logit in it; an infinite one needs a look.
    if (!isfinite(lse) && !any_finite(x, j->n)) {
        fill_rest(&h, x, 0);
        return;
    }
    memcpy(spare, maxima, (size_t)j->n_blocks * sizeof(float));
    if (h.cap <= j->n_blocks) bound = kth_largest(spare, j->n_blocks, h.cap);
    for (int b = 0; b < j->n_blocks; b++) {
        if (maxima[b] < bound) continue;
        int end = hd_cpu_min((b + 1) * BLOCK, j->n);
        for (int i = b * BLOCK; i < end; i++)
            if (x[i] >= bound) offer(&h, x[i], i); // false for NaN
    }
    sort_best_first(&h);
    fill_rest(&h, x, j->n);
}

void hd_cpu_topk(hd_backend *be, hd_tensor ids, hd_tensor vals, hd_tensor lse, hd_tensor logits)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(ids.rows == logits.rows && vals.rows == logits.rows && lse.rows == logits.rows);
    HD_DASSERT(ids.cols == vals.cols && lse.cols == 1 && ids.dtype == HD_I32);
    int n = logits.cols, n_blocks = hd_cpu_tiles(n, BLOCK), n_sections = hd_cpu_tiles(n, SECTION);
    size_t row_bytes = (size_t)n_sections * sizeof(section) + 2 * (size_t)n_blocks * sizeof(float);
    section *work = hd_cpu_reserve(c, &c->topk, ROWS * row_bytes);
    if (!work) return;
    for (int r = 0; r < logits.rows; r += ROWS) {
        int rows = hd_cpu_min(ROWS, logits.rows - r);
        float *maxima = (float *)(void *)(work + (int64_t)ROWS * n_sections);
        topk_job j = {&c->fns,
                      hd_tensor_rows(ids, r, rows),
                      hd_tensor_rows(vals, r, rows),
                      hd_tensor_rows(lse, r, rows),
                      hd_tensor_rows(logits, r, rows),
                      n,
                      n_blocks,
                      n_sections,
                      work,
                      maxima,
                      maxima + (int64_t)ROWS * n_blocks};
        hd_cpu_run(c, section_task, &j, rows * n_sections, 4.0 * rows * n);
        hd_cpu_run(c, select_task, &j, rows, (double)rows * n);
    }
}
