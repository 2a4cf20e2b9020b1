// Paged attention of the CPU backend against a plain softmax, and its promise that a row's result
// depends on nothing but the row and its sequence.
#include "tests/unit/be_kit.h"

enum { MAX_SEQ = 4 };

typedef struct shape {
    int n_heads, n_kv, d_qk, d_v, window, page_rows;
    bool shared_v, sink; // shared_v: v is the first d_v columns of k
    hd_dtype type;
} shape;

// Sequences with keys and values for every position, and a cache with scattered pages.
typedef struct world {
    kit k;
    shape s;
    int n_seqs, len[MAX_SEQ], max_pages;
    float *key[MAX_SEQ], *value[MAX_SEQ], *query[MAX_SEQ];
    float *sink;
    int32_t page[MAX_SEQ * 64];
    hd_kv_plane k_plane, v_plane;
} world;

static int k_width(const shape *s)
{
    return s->n_kv * s->d_qk;
}
static int v_width(const shape *s)
{
    return s->n_kv * s->d_v;
}

static hd_kv_plane make_plane(world *w, int width, int n_pages)
{
    hd_kv_plane p = {NULL, w->s.type, width, w->s.page_rows};
    size_t bytes = hd_row_bytes(p.dtype, width) * (size_t)(n_pages * p.page_rows);
    p.base = kit_alloc(&w->k, bytes);
    memset(p.base, 0xff, bytes); // NaN in every type: reading what was never stored shows
    return p;
}

// Rounds what the cache will round, so that the plain softmax sees the same numbers.
static void round_to(kit *k, hd_dtype t, float *x, int n)
{
    void *stored = kit_alloc(k, hd_row_bytes(t, n));
    hd_dtype_get(t)->from_f32(x, stored, n);
    hd_dtype_get(t)->to_f32(stored, x, n);
}

static void world_open(world *w, kit_cfg cfg, shape s, int n_seqs, const int *len)
{
    memset(w, 0, sizeof(*w));
    kit_open(&w->k, cfg);
    w->s = s;
    w->n_seqs = n_seqs;
    for (int i = 0; i < n_seqs; i++) {
        int pages = (len[i] + s.page_rows - 1) / s.page_rows;
        w->max_pages = pages > w->max_pages ? pages : w->max_pages;
        w->len[i] = len[i];
        w->key[i] = kit_floats(&w->k, (int64_t)len[i] * k_width(&s));
        w->value[i] = kit_floats(&w->k, (int64_t)len[i] * v_width(&s));
        w->query[i] = kit_floats(&w->k, (int64_t)len[i] * s.n_heads * s.d_qk);
        round_to(&w->k, s.type, w->key[i], len[i] * k_width(&s));
        round_to(&w->k, s.type, w->value[i], len[i] * v_width(&s));
    }
    w->sink = kit_floats(&w->k, s.n_heads);
    EXPECT(n_seqs * w->max_pages <= MAX_SEQ * 64);
    int n_pages = n_seqs * w->max_pages + 1; // page 0 belongs to nobody
    for (int i = 0; i < n_pages - 1; i++)
        w->page[i] = 1 + i;
    for (int i = n_pages - 2; i > 0; i--) {
        int j = (int)hd_rng_below(&w->k.rng, (uint32_t)i + 1);
        int32_t t = w->page[i];
        w->page[i] = w->page[j];
        w->page[j] = t;
    }
    w->k_plane = make_plane(w, k_width(&s), n_pages);
    w->v_plane = make_plane(w, v_width(&s), n_pages);
}

// One step: sequence s gets tokens [from[s], to[s]). Results go to out[s] at their positions.
static void step(world *w, const int *from, const int *to, float *const *out)
{
    const shape *s = &w->s;
    int32_t pos[4096], start[MAX_SEQ + 1] = {0}, n = 0;
    hd_batch b = {.n_seqs = w->n_seqs, .max_pages = w->max_pages, .page = w->page};
    for (int i = 0; i < w->n_seqs; i++) {
        for (int p = from[i]; p < to[i]; p++)
            pos[n++] = p;
        start[i + 1] = n;
    }
    b.n_tokens = n;
    b.pos = pos;
    b.q_start = start;
    b.kv_len = to;
    hd_tensor q = kit_tensor(&w->k, n, s->n_heads * s->d_qk);
    hd_tensor o = kit_tensor(&w->k, n, s->n_heads * s->d_v);
    hd_tensor key = kit_tensor(&w->k, n, k_width(s)), value = kit_tensor(&w->k, n, v_width(s));
    hd_tensor sink = {w->sink, HD_F32, 1, s->n_heads, 4 * (int64_t)s->n_heads};
    for (int i = 0, t = 0; i < w->n_seqs; i++)
        for (int p = from[i]; p < to[i]; p++, t++) {
            memcpy(kit_row(key, t), w->key[i] + (int64_t)p * key.cols, (size_t)key.cols * 4);
            memcpy(kit_row(value, t), w->value[i] + (int64_t)p * value.cols,
                   (size_t)value.cols * 4);
            memcpy(kit_row(q, t), w->query[i] + (int64_t)p * q.cols, (size_t)q.cols * 4);
        }
    hd_attn a = {s->n_heads,  s->n_kv,
                 s->d_qk,     s->d_v,
                 s->window,   1.0f / sqrtf((float)s->d_qk),
                 &w->k_plane, s->shared_v ? NULL : &w->v_plane,
                 NULL,        s->sink ? &sink : NULL};
    w->k.ops->step_begin(w->k.be, 1);
    w->k.ops->kv_store(w->k.be, &w->k_plane, key, &b);
    if (!s->shared_v) w->k.ops->kv_store(w->k.be, &w->v_plane, value, &b);
    w->k.ops->attn(w->k.be, o, q, &a, &b);
    w->k.ops->step_end(w->k.be);
    kit_expect_padding(o);
    for (int i = 0, t = 0; i < w->n_seqs; i++)
        for (int p = from[i]; p < to[i]; p++, t++)
            memcpy(out[i] + (int64_t)p * o.cols, kit_row(o, t), (size_t)o.cols * 4);
}

// ---- against a plain softmax ---------------------------------------------------------------

// Keys lo..hi, or those of a list.
static void plain(const world *w, int seq, int pos, int head, const int32_t *list, int n,
                  double *out)
{
    const shape *s = &w->s;
    int kv = head / (s->n_heads / s->n_kv), lo = 0;
    double score[4096], max = -INFINITY, sum = 0;
    const float *q = w->query[seq] + (int64_t)pos * s->n_heads * s->d_qk + head * s->d_qk;
    if (!list) n = pos + 1;
    if (!list && s->window > 0 && n > s->window) lo = n - s->window;
    for (int i = lo; i < n; i++) {
        int p = list ? list[i] : i;
        const float *k = w->key[seq] + (int64_t)p * k_width(s) + kv * s->d_qk;
        score[i] = kit_dot(q, k, s->d_qk) / sqrt(s->d_qk);
        max = fmax(max, score[i]);
    }
    if (s->sink) {
        max = fmax(max, (double)w->sink[head]);
        sum = exp((double)w->sink[head] - max);
    }
    for (int c = 0; c < s->d_v; c++)
        out[c] = 0;
    for (int i = lo; i < n; i++) {
        int p = list ? list[i] : i;
        const float *v = s->shared_v ? w->key[seq] + (int64_t)p * k_width(s) + kv * s->d_qk
                                     : w->value[seq] + (int64_t)p * v_width(s) + kv * s->d_v;
        double e = exp(score[i] - max);
        sum += e;
        for (int c = 0; c < s->d_v; c++)
            out[c] += e * (double)v[c];
    }
    for (int c = 0; c < s->d_v; c++)
        out[c] /= sum;
}

static void expect_plain(const world *w, int seq, int pos, const float *got)
{
    double want[1024];
    for (int h = 0; h < w->s.n_heads; h++) {
        plain(w, seq, pos, h, NULL, 0, want);
        for (int c = 0; c < w->s.d_v; c++)
            EXPECT_NEAR(got[h * w->s.d_v + c], want[c], 1e-5);
    }
}

// Whole prompts, checked at positions around every border.
static void prefill_case(kit_cfg cfg, shape s, int n_seqs, const int *len)
{
    world w;
    float *out[MAX_SEQ];
    int from[MAX_SEQ] = {0};
    world_open(&w, cfg, s, n_seqs, len);
    for (int i = 0; i < n_seqs; i++)
        out[i] = kit_floats(&w.k, (int64_t)len[i] * s.n_heads * s.d_v);
    step(&w, from, len, out);
    for (int i = 0; i < n_seqs; i++)
        for (int p = 0; p < len[i]; p++) {
            bool border = p < 3 || p % 64 < 2 || p % 64 == 63 || p == len[i] - 1;
            if (border || hd_rng_below(&w.k.rng, 16) == 0)
                expect_plain(&w, i, p, out[i] + (int64_t)p * s.n_heads * s.d_v);
        }
    kit_close(&w.k);
}

static const kit_cfg best = {"cpu", 3, KIT_ALL_LEVELS, false};
static const kit_cfg ref = {"cpu", 1, 0, false};

static const shape gqa = {4, 2, 16, 12, 0, 64, false, false, HD_F32};
static const shape mha = {2, 2, 20, 12, 0, 16, false, false, HD_BF16};
static const shape mqa = {40, 1, 16, 16, 0, 48, false, false, HD_F16};
static const shape mla = {6, 1, 24, 16, 0, 64, true, false, HD_BF16};
static const shape bytes = {4, 2, 64, 32, 0, 16, false, false, HD_Q8_0};
static const shape sliding = {4, 2, 16, 16, 70, 64, false, false, HD_F32};
static const shape sinks = {4, 2, 16, 16, 33, 32, false, true, HD_BF16};

static void softmax_best(void)
{
    static const int len[3] = {200, 1, 77}, long_len[1] = {1100};
    prefill_case(best, gqa, 3, len);
    prefill_case(best, gqa, 1, long_len);
    prefill_case(best, mha, 3, len);
    prefill_case(best, mqa, 3, len);
    prefill_case(best, bytes, 3, len);
    prefill_case(best, mla, 3, len);
    prefill_case(best, sliding, 3, len);
    prefill_case(best, sinks, 3, len);
}

static void softmax_ref(void)
{
    static const int len[2] = {130, 65};
    prefill_case(ref, gqa, 2, len);
    prefill_case(ref, mha, 2, len);
    prefill_case(ref, mla, 2, len);
    prefill_case(ref, bytes, 2, len);
    prefill_case(ref, sliding, 2, len);
    prefill_case(ref, sinks, 2, len);
}

// ---- chunks, company, threads --------------------------------------------------------------

// The first sequence in pieces, alone on one thread, against all of it at once in company on three.
static void pieces_case(uint32_t features, shape s, const int *len, const int *cut, int n_cuts)
{
    kit_cfg alone_cfg = {"cpu", 1, features, false}, crowd_cfg = {"cpu", 3, features, false};
    world alone, crowd;
    float *a[MAX_SEQ] = {NULL}, *c[MAX_SEQ];
    int from[MAX_SEQ] = {0}, width = s.n_heads * s.d_v;
    world_open(&crowd, crowd_cfg, s, 3, len);
    world_open(&alone, alone_cfg, s, 3, len); // the same seed: the same contents
    for (int i = 0; i < 3; i++) {
        a[i] = kit_floats(&alone.k, (int64_t)len[i] * width);
        c[i] = kit_floats(&crowd.k, (int64_t)len[i] * width);
    }
    step(&crowd, from, len, c);
    int at[MAX_SEQ] = {0}, to[MAX_SEQ] = {0};
    for (int i = 0; i < n_cuts; i++) {
        to[0] = cut[i];
        step(&alone, at, to, a);
        at[0] = cut[i];
    }
    EXPECT_INT(at[0], len[0]);
    for (int p = 0; p < len[0]; p++)
        kit_expect_same(a[0] + (int64_t)p * width, c[0] + (int64_t)p * width, width);
    kit_close(&alone.k);
    kit_close(&crowd.k);
}

static void prefill_in_pieces(void)
{
    static const int len[3] = {600, 5, 90}, cut[] = {1, 64, 127, 400, 401, 599, 600};
    const shape shapes[] = {gqa, mha, mla, sliding, sinks, bytes};
    for (int i = 0; i < 6; i++) {
        pieces_case(KIT_ALL_LEVELS, shapes[i], len, cut, 7);
        if (i < 2) pieces_case(0, shapes[i], len, cut, 7);
    }
}

// Decoding far into a sequence shares chunks of keys between workers; prefill does not.
static void decode_equals_prefill(void)
{
    static const int len[3] = {1100, 2, 60}, cut[] = {1000, 1001, 1024, 1098, 1099, 1100};
    pieces_case(KIT_ALL_LEVELS, gqa, len, cut, 6);
    pieces_case(KIT_ALL_LEVELS, mla, len, cut, 6);
}

static void many_sequences_decode(void)
{
    world w, w1;
    static const int len[MAX_SEQ] = {1100, 1030, 700, 513}; // 10 chunks: more than one wave
    kit_cfg one = {"cpu", 1, KIT_ALL_LEVELS, false};
    float *a[MAX_SEQ], *b[MAX_SEQ];
    int zero[MAX_SEQ] = {0}, before[MAX_SEQ], last[MAX_SEQ], width = mla.n_heads * mla.d_v;
    world_open(&w, best, mla, MAX_SEQ, len);
    world_open(&w1, one, mla, MAX_SEQ, len);
    for (int i = 0; i < MAX_SEQ; i++) {
        a[i] = kit_floats(&w.k, (int64_t)len[i] * width);
        b[i] = kit_floats(&w1.k, (int64_t)len[i] * width);
        last[i] = len[i] - 1;
        before[i] = len[i] - 2;
    }
    step(&w, zero, before, a);
    step(&w, before, last, a); // leaves its partials behind for the next one
    step(&w, last, len, a);
    step(&w1, zero, len, b);
    for (int i = 0; i < MAX_SEQ; i++) {
        const float *x = a[i] + (int64_t)last[i] * width, *y = b[i] + (int64_t)last[i] * width;
        kit_expect_same(x, y, width);
        expect_plain(&w, i, last[i], x);
    }
    kit_close(&w.k);
    kit_close(&w1.k);
}

// ---- memory --------------------------------------------------------------------------------

typedef struct call {
    world *w;
    float *out[MAX_SEQ];
    const int *from, *to;
} call;

static void run_call(void *ctx)
{
    call *c = ctx;
    step(c->w, c->from, c->to, c->out);
}

static void survives_no_memory_and_then_needs_none(void)
{
    static const int len[1] = {130}, from[1] = {0}, mid[1] = {129};
    world w;
    call c = {.w = &w, .from = from, .to = mid};
    world_open(&w, best, gqa, 1, len);
    c.out[0] = kit_floats(&w.k, (int64_t)len[0] * gqa.n_heads * gqa.d_v);
    kit_expect_survives(&w.k, run_call, &c);
    uint64_t before = hd_mem_thread_allocs();
    c.from = mid;
    c.to = len;
    run_call(&c);
    EXPECT_INT(hd_mem_thread_allocs(), before);
    for (int p = 100; p < len[0]; p++)
        expect_plain(&w, 0, p, c.out[0] + (int64_t)p * gqa.n_heads * gqa.d_v);
    kit_close(&w.k);
}

// ---- chosen positions ----------------------------------------------------------------------

static void topk_case(shape s)
{
    enum { LEN = 800, K = 600, TOKENS = 3 };
    static const int len[1] = {LEN};
    world w;
    int from[1] = {0}, width = s.n_heads * s.d_v, n_valid = 0;
    world_open(&w, best, s, 1, len);
    float *out[1] = {kit_floats(&w.k, (int64_t)LEN * width)};
    step(&w, from, len, out);
    int32_t pos[TOKENS] = {5, LEN / 2, LEN - 1}, start[2] = {0, TOKENS}, valid[K];
    hd_batch b = {.n_tokens = TOKENS, .n_seqs = 1, .max_pages = w.max_pages, .page = w.page};
    b.pos = pos;
    b.q_start = start;
    b.kv_len = len;
    hd_tensor q = kit_tensor(&w.k, TOKENS, s.n_heads * s.d_qk), o = kit_tensor(&w.k, TOKENS, width);
    hd_tensor list = kit_ints(&w.k, TOKENS, K);
    for (int t = 0; t < TOKENS; t++) {
        memcpy(kit_row(q, t), w.query[0] + (int64_t)pos[t] * q.cols, (size_t)q.cols * 4);
        for (int i = 0; i < K; i++) // every third position from the end, then nothing
            kit_ids(list, t)[i] = pos[t] - 3 * i >= 0 ? pos[t] - 3 * i : -1;
        kit_ids(list, t)[K - 1] = pos[t] + 1; // not visible: left out
    }
    hd_attn a = {s.n_heads,  s.n_kv,
                 s.d_qk,     s.d_v,
                 0,          1.0f / sqrtf((float)s.d_qk),
                 &w.k_plane, s.shared_v ? NULL : &w.v_plane,
                 &list,      NULL};
    w.k.ops->attn(w.k.be, o, q, &a, &b);
    kit_expect_padding(o);
    for (int t = 0; t < TOKENS; t++) {
        for (n_valid = 0; n_valid < K && kit_ids(list, t)[n_valid] >= 0; n_valid++)
            valid[n_valid] = kit_ids(list, t)[n_valid];
        for (int h = 0; h < s.n_heads; h++) {
            double want[1024];
            plain(&w, 0, pos[t], h, valid, n_valid, want);
            for (int c = 0; c < s.d_v; c++)
                EXPECT_NEAR(kit_row(o, t)[h * s.d_v + c], want[c], 1e-5);
        }
    }
    kit_close(&w.k);
}

static void chosen_positions(void)
{
    topk_case(gqa);
    topk_case(mla);
    topk_case(bytes);
}

HD_TEST_MAIN("attn", {"softmax_best", softmax_best}, {"softmax_ref", softmax_ref},
             {"prefill_in_pieces", prefill_in_pieces},
             {"decode_equals_prefill", decode_equals_prefill},
             {"many_sequences_decode", many_sequences_decode},
             {"survives_no_memory_and_then_needs_none", survives_no_memory_and_then_needs_none},
             {"chosen_positions", chosen_positions})
