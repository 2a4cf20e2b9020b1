// Attention over the paged cache with an online softmax.
//
// A unit of work is a tile of up to TILE query rows of one sequence that share a KV head: all query
// heads of that KV head for a few tokens, or a slice of the heads when there are many. Its keys are
// cut at multiples of CHUNK positions; each chunk gives a partial (max, sum, weighted values), and
// partials are merged in order of position. Inside a chunk keys come in blocks at multiples of
// BLOCK, and a row's sums cover exactly the keys it sees. So a row's result does not depend on
// which rows share its tile, on pages, threads, or how a prompt was cut into steps.
//
// Many units: each worker takes whole units and merges as it goes. Few units (decoding): workers
// take chunks, partials wait in slots, and the same merge runs over them.
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum {
    TILE = 32,
    BLOCK = 64,
    CHUNK = 512,
    ITEMS = 4096,         // tiles of tokens planned at once
    SLOTS_MIN = 16,       // partials in flight when chunks are shared
    UNITS_PER_WORKER = 4, // with fewer units than this, chunks are shared
    HEADS_MIN = 4,        // a tile is not cut below this
};

typedef struct item { // tokens [tok, tok + n_tok) of the batch, all of sequence seq
    int32_t seq, tok, n_tok;
} item;

typedef struct job {
    hd_cpu *c;
    hd_tensor out, q;
    const hd_attn *a;
    const hd_batch *b;
    hd_kv_plane k, v;
    size_t k_row, v_row; // bytes of a cached row
    int group;           // query heads of a KV head
    int heads;           // of them in one tile
    int slices;          // tiles per token and KV head
    int tile_tok;
    const item *items;
    int n_items;
    char *work; // per worker
    size_t work_bytes;
    // Sharing chunks: task i of a wave is chunk slot_chunk[i] of unit slot_unit[i].
    float *slots, *states;
    int32_t *slot_unit, *slot_chunk;
    int n_slots, first_unit;
} job;

// (m, l, o) of every row of a tile: row r's weighted values are o[r * d_v ..], not yet divided by
// l.
typedef struct partial {
    float *m, *l, *o;
} partial;

typedef struct unit {
    const item *it;
    int kv, head, n_heads, rows; // heads [head, head + n_heads); row t * n_heads + h
} unit;

typedef struct scratch { // one worker's
    float *q, *score;
    partial part, state;
    int32_t *picked;
    char *k, *v; // gathered rows of a block
} scratch;

static size_t partial_floats(int d_v)
{
    return (size_t)TILE * ((size_t)d_v + 2);
}

static partial partial_at(float *p)
{
    partial r = {p, p + TILE, p + 2 * TILE};
    return r;
}

static void partial_clear(partial p, int rows, int d_v)
{
    for (int r = 0; r < rows; r++) {
        p.m[r] = -INFINITY;
        p.l[r] = 0.0f;
    }
    memset(p.o, 0, (size_t)rows * (size_t)d_v * sizeof(float));
}

static scratch scratch_of(const job *j, int worker)
{
    const hd_attn *a = j->a;
    float *f = (float *)(void *)(j->work + (size_t)worker * j->work_bytes);
    scratch s;
    s.q = f, f += (size_t)TILE * (size_t)a->d_qk;
    s.score = f, f += TILE * BLOCK;
    s.part = partial_at(f), f += partial_floats(a->d_v);
    s.state = partial_at(f), f += partial_floats(a->d_v);
    s.k = (char *)f;
    s.v = s.k + BLOCK * j->k_row;
    s.picked = (int32_t *)(void *)(s.v + BLOCK * j->v_row);
    return s;
}

static unit unit_at(const job *j, int i)
{
    unit u;
    int per_item = j->a->n_kv * j->slices, slice = i % j->slices;
    u.it = &j->items[i / per_item];
    u.kv = i % per_item / j->slices;
    u.head = u.kv * j->group + slice * j->heads;
    u.n_heads = hd_cpu_min(j->heads, j->group - slice * j->heads);
    u.rows = u.it->n_tok * u.n_heads;
    return u;
}

// ---- which keys ----------------------------------------------------------------------------

typedef struct range { // keys [lo, hi)
    int lo, hi;
} range;

// What token t of the batch sees: positions, or entries of its top-k list.
static range visible(const job *j, int t)
{
    range r = {0, j->b->pos[t] + 1};
    if (j->a->topk)
        r.hi = j->a->topk->cols;
    else if (j->a->window > 0)
        r.lo = hd_cpu_max(0, r.hi - j->a->window);
    return r;
}

static range within(range r, int lo, int hi)
{
    range w = {hd_cpu_max(r.lo, lo), hd_cpu_min(r.hi, hi)};
    return w;
}

// Chunks that hold a visible key of the unit.
static range unit_chunks(const job *j, const unit *u)
{
    range first = visible(j, u->it->tok), last = visible(j, u->it->tok + u->it->n_tok - 1);
    range c = {first.lo / CHUNK, (last.hi + CHUNK - 1) / CHUNK};
    return c;
}

static const char *plane_row(const job *j, const hd_kv_plane *p, size_t row_bytes, int seq, int pos)
{
    int64_t page = j->b->page[(int64_t)seq * j->b->max_pages + pos / p->page_rows];
    return (const char *)p->base + (size_t)(page * p->page_rows + pos % p->page_rows) * row_bytes;
}

// Keys [key, limit) as far as they lie one after another in the plane; their number in *n.
static const char *key_run(const job *j, const hd_kv_plane *p, size_t row_bytes, int seq, int key,
                           int limit, int *n)
{
    *n = hd_cpu_min(limit - key, p->page_rows - key % p->page_rows);
    return plane_row(j, p, row_bytes, seq, key);
}

// ---- one block of keys ---------------------------------------------------------------------

typedef struct block { // keys from..to of the unit, where to find them, and its rows' ranges
    int base, from, to;
    const char *k, *v; // gathered rows, first one key `from`; NULL: look into the pages
    range tok[TILE];
    bool even; // all tokens see from..to
} block;

static void scores(const job *j, const unit *u, const scratch *s, const block *b)
{
    const hd_attn *a = j->a;
    size_t skip = hd_row_bytes(j->k.dtype, (int64_t)u->kv * a->d_qk);
    for (int key = b->from, n; key < b->to; key += n) {
        const char *k = b->k;
        n = b->to - key;
        if (!k) k = key_run(j, &j->k, j->k_row, u->it->seq, key, b->to, &n);
        j->c->fns.qk[j->k.dtype](s->score + (key - b->base), BLOCK, s->q,
                                 (size_t)a->d_qk * sizeof(float), u->rows, k + skip, j->k_row, n,
                                 a->d_qk);
    }
}

static void softmax_row(const job *j, partial p, int r, float *score, int n)
{
    const hd_cpu_fns *f = &j->c->fns;
    float best = f->max(score, n);
    if (best > p.m[r]) {
        float keep = expf(p.m[r] - best); // 0 the first time
        p.m[r] = best;
        p.l[r] *= keep;
        f->scale(p.o + (int64_t)r * j->a->d_v, keep, j->a->d_v);
    }
    p.l[r] += f->exp_sum(score, p.m[r], n);
}

static void add_values(const job *j, const unit *u, const scratch *s, const block *b, range keys,
                       int row, int rows)
{
    const hd_attn *a = j->a;
    size_t skip = hd_row_bytes(j->v.dtype, (int64_t)u->kv * (a->v_plane ? a->d_v : a->d_qk));
    for (int key = keys.lo, n; key < keys.hi; key += n) {
        const char *v = b->v ? b->v + (size_t)(key - b->from) * j->v_row : NULL;
        n = keys.hi - key;
        if (!v) v = key_run(j, &j->v, j->v_row, u->it->seq, key, keys.hi, &n);
        j->c->fns.pv[j->v.dtype](s->part.o + (int64_t)row * a->d_v, a->d_v,
                                 s->score + (int64_t)row * BLOCK + (key - b->base), BLOCK, rows,
                                 v + skip, j->v_row, n, a->d_v);
    }
}

static void run_block(const job *j, const unit *u, const scratch *s, const block *b)
{
    scores(j, u, s, b);
    for (int t = 0; t < u->it->n_tok; t++)
        for (int h = 0; h < u->n_heads; h++) {
            int r = t * u->n_heads + h, n = b->tok[t].hi - b->tok[t].lo;
            if (n > 0)
                softmax_row(j, s->part, r, s->score + r * BLOCK + (b->tok[t].lo - b->base), n);
        }
    if (b->even) {
        range all = {b->from, b->to};
        add_values(j, u, s, b, all, 0, u->rows);
        return;
    }
    for (int t = 0; t < u->it->n_tok; t++)
        add_values(j, u, s, b, b->tok[t], t * u->n_heads, u->n_heads);
}

// ---- one chunk -----------------------------------------------------------------------------

static void chunk_of_pages(const job *j, const unit *u, const scratch *s, int chunk)
{
    block b = {.k = NULL};
    for (b.base = chunk * CHUNK; b.base < (chunk + 1) * CHUNK; b.base += BLOCK) {
        b.from = INT32_MAX;
        b.to = 0;
        for (int t = 0; t < u->it->n_tok; t++) {
            b.tok[t] = within(visible(j, u->it->tok + t), b.base, b.base + BLOCK);
            if (b.tok[t].lo >= b.tok[t].hi) continue;
            b.from = hd_cpu_min(b.from, b.tok[t].lo);
            b.to = hd_cpu_max(b.to, b.tok[t].hi);
        }
        b.even = true;
        for (int t = 0; t < u->it->n_tok; t++)
            b.even = b.even && b.tok[t].lo == b.from && b.tok[t].hi == b.to;
        if (b.from < b.to) run_block(j, u, s, &b);
    }
}

// Copies the listed rows of a block side by side; skips entries that name no visible position.
static int gather_block(const job *j, const unit *u, const scratch *s, const int32_t *list, int n)
{
    int kept = 0, pos = j->b->pos[u->it->tok];
    for (int i = 0; i < n; i++)
        if (list[i] >= 0 && list[i] <= pos) s->picked[kept++] = list[i];
    for (int i = 0; i < kept; i++) {
        const char *k = plane_row(j, &j->k, j->k_row, u->it->seq, s->picked[i]);
        memcpy(s->k + (size_t)i * j->k_row, k, j->k_row);
        if (!j->a->v_plane) continue;
        const char *v = plane_row(j, &j->v, j->v_row, u->it->seq, s->picked[i]);
        memcpy(s->v + (size_t)i * j->v_row, v, j->v_row);
    }
    return kept;
}

static void chunk_of_list(const job *j, const unit *u, const scratch *s, int chunk)
{
    const int32_t *list = (const int32_t *)(const void *)hd_cpu_row(*j->a->topk, u->it->tok);
    int end = hd_cpu_min((chunk + 1) * CHUNK, j->a->topk->cols);
    for (int i = chunk * CHUNK; i < end; i += BLOCK) {
        int n = gather_block(j, u, s, list + i, hd_cpu_min(BLOCK, end - i));
        block b = {.to = n, .k = s->k, .v = j->a->v_plane ? s->v : s->k, .even = true};
        b.tok[0].hi = n;
        if (n > 0) run_block(j, u, s, &b);
    }
}

// The queries of the tile side by side, already scaled.
static void load_queries(const job *j, const unit *u, const scratch *s)
{
    int d = j->a->d_qk;
    for (int t = 0; t < u->it->n_tok; t++) {
        const float *q = hd_cpu_row(j->q, u->it->tok + t) + (int64_t)u->head * d;
        float *dst = s->q + (int64_t)t * u->n_heads * d;
        for (int i = 0; i < u->n_heads * d; i++)
            dst[i] = q[i] * j->a->scale;
    }
}

// The partial of one chunk into s->part; queries are loaded.
static void run_chunk(const job *j, const unit *u, const scratch *s, int chunk)
{
    partial_clear(s->part, u->rows, j->a->d_v);
    if (j->a->topk)
        chunk_of_list(j, u, s, chunk);
    else
        chunk_of_pages(j, u, s, chunk);
}

// ---- merging -------------------------------------------------------------------------------

static void merge(const job *j, const unit *u, partial into, partial from)
{
    int d = j->a->d_v;
    for (int r = 0; r < u->rows; r++) {
        if (from.m[r] == -INFINITY && from.l[r] == 0.0f) continue; // saw no key
        float m = from.m[r] > into.m[r] ? from.m[r] : into.m[r];
        float a = expf(into.m[r] - m), b = expf(from.m[r] - m);
        into.m[r] = m;
        into.l[r] = into.l[r] * a + from.l[r] * b;
        float *o = into.o + (int64_t)r * d;
        j->c->fns.scale(o, a, d);
        j->c->fns.axpy(o, from.o + (int64_t)r * d, b, d);
    }
}

// Adds the sink, divides, writes. A row that saw nothing becomes 0.
static void finish(const job *j, const unit *u, partial p)
{
    int d = j->a->d_v;
    for (int r = 0; r < u->rows; r++) {
        int tok = u->it->tok + r / u->n_heads, head = u->head + r % u->n_heads;
        float l = p.l[r], keep = 1.0f;
        if (j->a->sink) {
            float sink = hd_cpu_row(*j->a->sink, 0)[head];
            float m = sink > p.m[r] ? sink : p.m[r];
            keep = expf(p.m[r] - m);
            l = l * keep + expf(sink - m);
        }
        float *out = hd_cpu_row(j->out, tok) + (int64_t)head * d, f = l == 0.0f ? 0.0f : keep / l;
        for (int i = 0; i < d; i++)
            out[i] = p.o[(int64_t)r * d + i] * f;
    }
}

// ---- whole units ---------------------------------------------------------------------------

static void unit_task(void *ctx, int task, int worker)
{
    const job *j = ctx;
    scratch s = scratch_of(j, worker);
    // Later tokens see more keys: the long ones first.
    unit u = unit_at(j, j->n_items * j->a->n_kv * j->slices - 1 - task);
    range chunks = unit_chunks(j, &u);
    load_queries(j, &u, &s);
    partial_clear(s.state, u.rows, j->a->d_v);
    for (int k = chunks.lo; k < chunks.hi; k++) {
        run_chunk(j, &u, &s, k);
        merge(j, &u, s.state, s.part);
    }
    finish(j, &u, s.state);
}

// ---- shared chunks -------------------------------------------------------------------------

static void chunk_task(void *ctx, int task, int worker)
{
    const job *j = ctx;
    scratch s = scratch_of(j, worker);
    unit u = unit_at(j, j->slot_unit[task]);
    s.part = partial_at(j->slots + (size_t)task * partial_floats(j->a->d_v));
    load_queries(j, &u, &s);
    run_chunk(j, &u, &s, j->slot_chunk[task]);
}

// Merges the wave's partials of one unit; after its last chunk writes the result.
static void merge_task(void *ctx, int task, int worker)
{
    const job *j = ctx;
    (void)worker;
    int id = j->first_unit + task, last = -1;
    size_t size = partial_floats(j->a->d_v);
    unit u = unit_at(j, id);
    range chunks = unit_chunks(j, &u);
    partial state = partial_at(j->states + (size_t)id * size);
    for (int i = 0; i < j->n_slots; i++) {
        if (j->slot_unit[i] != id) continue;
        last = j->slot_chunk[i];
        if (last == chunks.lo) partial_clear(state, u.rows, j->a->d_v);
        merge(j, &u, state, partial_at(j->slots + (size_t)i * size));
    }
    if (last == chunks.hi - 1) finish(j, &u, state);
}

static void run_shared(job *j, int n_units, int max_slots, double work)
{
    int id = 0, chunk = -1; // next chunk to place; -1: the unit's first
    while (id < n_units) {
        j->n_slots = 0;
        j->first_unit = id;
        int end = id;
        while (id < n_units && j->n_slots < max_slots) {
            unit u = unit_at(j, id);
            range chunks = unit_chunks(j, &u);
            if (chunk < 0) chunk = chunks.lo;
            j->slot_unit[j->n_slots] = id;
            j->slot_chunk[j->n_slots++] = chunk++;
            end = id + 1;
            if (chunk == chunks.hi) {
                id++;
                chunk = -1;
            }
        }
        hd_cpu_run(j->c, chunk_task, j, j->n_slots, work);
        hd_cpu_run(j->c, merge_task, j, end - j->first_unit, work);
    }
}

// ---- the operation -------------------------------------------------------------------------

// Work memory of all kinds; false when there is none. Sizes follow from the shape of the heads
// alone.
static bool reserve(job *j, int max_slots, int max_units)
{
    hd_cpu *c = j->c;
    const hd_attn *a = j->a;
    size_t size = partial_floats(a->d_v) * sizeof(float);
    size_t bytes = (size_t)TILE * (size_t)(a->d_qk + BLOCK) * sizeof(float) + 2 * size;
    bytes += BLOCK * (j->k_row + j->v_row + sizeof(int32_t));
    j->work_bytes = (bytes + 63) / 64 * 64;
    j->work = hd_cpu_reserve(c, &c->attn_work, j->work_bytes * (size_t)c->n_workers);
    size_t per_slot = size + 2 * sizeof(int32_t);
    j->slots =
        hd_cpu_reserve(c, &c->attn_slots, (size_t)max_slots * per_slot + (size_t)max_units * size);
    j->items = hd_cpu_reserve(c, &c->attn_items, ITEMS * sizeof(item));
    if (!j->work || !j->slots || !j->items) return false;
    j->states = j->slots + (size_t)max_slots * partial_floats(a->d_v);
    j->slot_unit = (int32_t *)(void *)(j->states + (size_t)max_units * partial_floats(a->d_v));
    j->slot_chunk = j->slot_unit + max_slots;
    return true;
}

// Rough number of multiply-adds of the planned items.
static double work_of(const job *j)
{
    double keys = 0;
    for (int i = 0; i < j->n_items; i++) {
        range r = visible(j, j->items[i].tok + j->items[i].n_tok - 1);
        keys += (double)j->items[i].n_tok * (r.hi - r.lo);
    }
    return keys * j->a->n_heads * (j->a->d_qk + j->a->d_v);
}

static void run_items(job *j, int max_slots, int max_units)
{
    int n_units = j->n_items * j->a->n_kv * j->slices, n_chunks = 0;
    for (int i = 0; i < n_units && n_units < max_units; i++) {
        unit u = unit_at(j, i);
        range r = unit_chunks(j, &u);
        n_chunks += r.hi - r.lo;
    }
    double work = work_of(j);
    if (j->c->n_workers > 1 && n_units < max_units && n_chunks > n_units)
        run_shared(j, n_units, max_slots, work);
    else
        hd_cpu_run(j->c, unit_task, j, n_units, work);
}

// Tasks of one slice of the heads: chunks, because few units share theirs; counted up to `enough`.
static int count_chunks(const job *j, int enough)
{
    int n = 0;
    for (int t = 0; t < j->b->n_tokens && n < enough; t += j->tile_tok) {
        range r = visible(j, t);
        n += j->a->n_kv * ((r.hi + CHUNK - 1) / CHUNK - r.lo / CHUNK);
    }
    return n;
}

// Tiles take as many heads as fit, because each tile reads all keys; fewer when that leaves workers
// idle. Results do not depend on it.
static void slice_heads(job *j)
{
    int enough = 2 * j->c->n_workers, per_slice = count_chunks(j, enough);
    j->heads = hd_cpu_min(j->group, TILE);
    while (j->heads > HEADS_MIN && per_slice * hd_cpu_tiles(j->group, j->heads) < enough)
        j->heads = (j->heads + 1) / 2;
    j->slices = hd_cpu_tiles(j->group, j->heads);
}

void hd_cpu_attn(hd_backend *be, hd_tensor out, hd_tensor q, const hd_attn *a, const hd_batch *b)
{
    hd_cpu *c = hd_cpu_of(be);
    job j = {.c = c, .out = out, .q = q, .a = a, .b = b, .k = *a->k_plane};
    j.v = a->v_plane ? *a->v_plane : *a->k_plane;
    HD_ASSERT(c->fns.qk[j.k.dtype] && c->fns.pv[j.v.dtype]);
    HD_DASSERT(a->n_heads % a->n_kv == 0 && q.cols == a->n_heads * a->d_qk);
    HD_DASSERT(out.cols == a->n_heads * a->d_v && q.rows == b->n_tokens);
    HD_DASSERT(j.k.width == a->n_kv * a->d_qk);
    HD_ASSERT(a->d_qk % hd_dtype_get(j.k.dtype)->block == 0);
    HD_ASSERT(a->d_v % hd_dtype_get(j.v.dtype)->block == 0);
    HD_DASSERT(a->v_plane ? j.v.width == a->n_kv * a->d_v : a->d_v <= a->d_qk);
    j.k_row = hd_row_bytes(j.k.dtype, j.k.width);
    j.v_row = hd_row_bytes(j.v.dtype, j.v.width);
    j.group = a->n_heads / a->n_kv;
    j.tile_tok = a->topk ? 1 : hd_cpu_max(1, TILE / j.group);
    slice_heads(&j);
    int max_units = UNITS_PER_WORKER * c->n_workers;
    int max_slots = hd_cpu_max(SLOTS_MIN, max_units);
    if (b->n_tokens == 0 || !reserve(&j, max_slots, max_units)) return;
    item *items = c->attn_items.p;
    for (int seq = 0; seq < b->n_seqs; seq++)
        for (int t = b->q_start[seq]; t < b->q_start[seq + 1]; t += j.tile_tok) {
            item it = {seq, t, hd_cpu_min(j.tile_tok, b->q_start[seq + 1] - t)};
            items[j.n_items++] = it;
            if (j.n_items < ITEMS) continue;
            run_items(&j, max_slots, max_units);
            j.n_items = 0;
        }
    if (j.n_items > 0) run_items(&j, max_slots, max_units);
}
