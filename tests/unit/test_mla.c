// Latent attention of the CPU backend, both ways: against the definition in double precision,
// against the same made of other operations bit for bit, and its promises about threads, company
// and memory.
#include "kernels/base/cpu.h"
#include "tests/unit/be_kit.h"

enum { MAX_SEQ = 70, MAX_POS = 320 };

typedef struct shape {
    int n_heads, d_nope, d_rope, d_v, d_latent, page_rows;
    hd_dtype plane, uk, uv;
} shape;

typedef struct world {
    kit k;
    shape s;
    int n_seqs, len[MAX_SEQ], max_pages;
    float *latent[MAX_SEQ], *query[MAX_SEQ]; // as the cache holds them
    double *key[MAX_SEQ], *value[MAX_SEQ];   // [len, n_heads * d_nope], [len, n_heads * d_v]
    float *uk, *uv; // [n_heads, d_nope, d_latent], [n_heads, d_v, d_latent]
    hd_weight *kv_b, *uk_alone, *uv_alone;
    int32_t *page;
    hd_kv_plane plane;
} world;

static int q_width(const shape *s)
{
    return s->n_heads * (s->d_nope + s->d_rope);
}
static int out_width(const shape *s)
{
    return s->n_heads * s->d_v;
}
static int plane_width(const shape *s)
{
    return s->d_latent + s->d_rope;
}

// ---- a model of one layer ------------------------------------------------------------------

// Random matrices of about unit gain in the format; *decoded holds what they stand for.
static void *matrices(kit *k, hd_dtype t, int n_mat, int n_out, int n_in, float **decoded)
{
    int64_t n = (int64_t)n_mat * n_out * n_in;
    float *f = kit_floats(k, n);
    void *data = kit_alloc(k, hd_row_bytes(t, n));
    for (int64_t i = 0; i < n; i++)
        f[i] /= sqrtf((float)n_in);
    hd_dtype_get(t)->from_f32(f, data, n);
    hd_dtype_get(t)->to_f32(data, f, n);
    *decoded = f;
    return data;
}

static void make_weights(world *w)
{
    const shape *s = &w->s;
    const char *uk = matrices(&w->k, s->uk, s->n_heads, s->d_nope, s->d_latent, &w->uk);
    const char *uv = matrices(&w->k, s->uv, s->n_heads, s->d_v, s->d_latent, &w->uv);
    size_t uk_bytes = hd_row_bytes(s->uk, (int64_t)s->d_nope * s->d_latent);
    size_t uv_bytes = hd_row_bytes(s->uv, (int64_t)s->d_v * s->d_latent);
    hd_weight_src *src = kit_alloc(&w->k, (size_t)s->n_heads * 2 * sizeof(*src));
    for (int h = 0; h < s->n_heads; h++) {
        src[2 * h] = kit_src("uk", uk + (size_t)h * uk_bytes, s->uk, s->d_nope, s->d_latent);
        src[2 * h + 1] = kit_src("uv", uv + (size_t)h * uv_bytes, s->uv, s->d_v, s->d_latent);
    }
    hd_weight_spec spec = {"kv_b", src, s->n_heads, 2, s->d_latent, HD_DTYPE_NONE};
    w->kv_b = kit_pack(&w->k, &spec);
    w->uk_alone = kit_matrix(&w->k, uk, s->uk, s->n_heads, s->d_nope, s->d_latent, HD_DTYPE_NONE);
    w->uv_alone = kit_matrix(&w->k, uv, s->uv, s->n_heads, s->d_v, s->d_latent, HD_DTYPE_NONE);
}

// Pages in random order; page 0 belongs to nobody.
static void make_plane(world *w)
{
    const shape *s = &w->s;
    int n = w->n_seqs * w->max_pages;
    w->page = kit_alloc(&w->k, (size_t)n * sizeof(int32_t));
    for (int i = 0; i < n; i++) {
        int j = (int)hd_rng_below(&w->k.rng, (uint32_t)i + 1);
        w->page[i] = w->page[j];
        w->page[j] = 1 + i;
    }
    w->plane = (hd_kv_plane){NULL, s->plane, plane_width(s), s->page_rows};
    size_t bytes = hd_row_bytes(s->plane, plane_width(s)) * (size_t)((n + 1) * s->page_rows);
    w->plane.base = kit_alloc(&w->k, bytes);
    memset(w->plane.base, 0xff, bytes); // NaN in every type: reading what was never stored shows
}

static void world_open(world *w, kit_cfg cfg, shape s, int n_seqs, const int *len)
{
    memset(w, 0, sizeof(*w));
    kit_open(&w->k, cfg);
    w->s = s;
    w->n_seqs = n_seqs;
    make_weights(w);
    for (int i = 0; i < n_seqs; i++) {
        int pages = (len[i] + s.page_rows - 1) / s.page_rows;
        int64_t n = (int64_t)len[i] * plane_width(&s);
        EXPECT(len[i] <= MAX_POS);
        w->max_pages = pages > w->max_pages ? pages : w->max_pages;
        w->len[i] = len[i];
        w->latent[i] = kit_floats(&w->k, n);
        w->query[i] = kit_floats(&w->k, (int64_t)len[i] * q_width(&s));
        void *stored = kit_alloc(&w->k, hd_row_bytes(s.plane, n));
        hd_dtype_get(s.plane)->from_f32(w->latent[i], stored, n);
        hd_dtype_get(s.plane)->to_f32(stored, w->latent[i], n);
    }
    make_plane(w);
}

// ---- one step ------------------------------------------------------------------------------

typedef struct ragged { // sequence s gets tokens [from[s], to[s])
    hd_batch b;
    hd_tensor latent, q;
    int32_t pos[4096], start[MAX_SEQ + 1];
} ragged;

static void gather(world *w, const int *from, const int *to, ragged *r)
{
    int n = 0;
    r->start[0] = 0;
    for (int i = 0; i < w->n_seqs; i++) {
        for (int p = from[i]; p < to[i]; p++)
            r->pos[n++] = p;
        r->start[i + 1] = n;
    }
    EXPECT(n <= 4096);
    r->b = (hd_batch){.n_tokens = n, .n_seqs = w->n_seqs, .max_pages = w->max_pages};
    r->b.pos = r->pos;
    r->b.q_start = r->start;
    r->b.kv_len = to;
    r->b.page = w->page;
    r->latent = kit_tensor(&w->k, n, plane_width(&w->s));
    r->q = kit_tensor(&w->k, n, q_width(&w->s));
    for (int i = 0, t = 0; i < w->n_seqs; i++)
        for (int p = from[i]; p < to[i]; p++, t++) {
            memcpy(kit_row(r->latent, t), w->latent[i] + (int64_t)p * r->latent.cols,
                   (size_t)r->latent.cols * 4);
            memcpy(kit_row(r->q, t), w->query[i] + (int64_t)p * r->q.cols, (size_t)r->q.cols * 4);
        }
}

static hd_mla params(const world *w, hd_mla_path path)
{
    const shape *s = &w->s;
    hd_mla a = {s->n_heads, s->d_nope, s->d_rope, s->d_v, s->d_latent, 0, &w->plane, w->kv_b, path};
    a.scale = 1.0f / sqrtf((float)(s->d_nope + s->d_rope));
    return a;
}

// Results go to out[s] at their positions.
static void step(world *w, hd_mla_path path, const int *from, const int *to, float *const *out)
{
    static ragged r;
    gather(w, from, to, &r);
    hd_mla a = params(w, path);
    hd_tensor o = kit_tensor(&w->k, r.b.n_tokens, out_width(&w->s));
    hd_tensor work = kit_tensor(&w->k, 1, hd_mla_work_floats(&a, &r.b));
    w->k.ops->step_begin(w->k.be, 1);
    w->k.ops->kv_store(w->k.be, &w->plane, r.latent, &r.b);
    w->k.ops->mla(w->k.be, o, r.q, &a, &r.b, work);
    w->k.ops->step_end(w->k.be);
    kit_expect_padding(o);
    kit_expect_padding(work);
    for (int i = 0, t = 0; i < w->n_seqs; i++)
        for (int p = from[i]; p < to[i]; p++, t++)
            memcpy(out[i] + (int64_t)p * o.cols, kit_row(o, t), (size_t)o.cols * 4);
}

static void alloc_out(world *w, float **out)
{
    for (int i = 0; i < w->n_seqs; i++)
        out[i] = kit_floats(&w->k, (int64_t)w->len[i] * out_width(&w->s));
}

// ---- against the definition ----------------------------------------------------------------

// [len, n_heads * d] = the sequence's latents times w's matrices.
static double *expanded(world *w, int seq, const float *mat, int d)
{
    const shape *s = &w->s;
    int rows = s->n_heads * d;
    double *x = kit_alloc(&w->k, (size_t)w->len[seq] * (size_t)rows * sizeof(double));
    for (int p = 0; p < w->len[seq]; p++)
        for (int r = 0; r < rows; r++)
            x[p * rows + r] = kit_dot(w->latent[seq] + (int64_t)p * plane_width(s),
                                      mat + (int64_t)r * s->d_latent, s->d_latent);
    return x;
}

static void define(const world *w, int seq, int pos, int head, double *out)
{
    const shape *s = &w->s;
    const float *q = w->query[seq] + (int64_t)pos * q_width(s) + head * (s->d_nope + s->d_rope);
    double score[MAX_POS], max = -INFINITY, sum = 0;
    for (int p = 0; p <= pos; p++) {
        const double *k = w->key[seq] + (p * s->n_heads + head) * s->d_nope;
        const float *r = w->latent[seq] + (int64_t)p * plane_width(s) + s->d_latent;
        score[p] = kit_dot(q + s->d_nope, r, s->d_rope);
        for (int i = 0; i < s->d_nope; i++)
            score[p] += (double)q[i] * k[i];
        score[p] /= sqrt(s->d_nope + s->d_rope);
        max = fmax(max, score[p]);
    }
    for (int c = 0; c < s->d_v; c++)
        out[c] = 0;
    for (int p = 0; p <= pos; p++) {
        double e = exp(score[p] - max);
        sum += e;
        for (int c = 0; c < s->d_v; c++)
            out[c] += e * w->value[seq][(p * s->n_heads + head) * s->d_v + c];
    }
    for (int c = 0; c < s->d_v; c++)
        out[c] /= sum;
}

// Values are about 1 and every sum has some hundred terms, so errors stay near 1e-6.
static void expect_defined(const world *w, int seq, int pos, const float *got)
{
    double want[512];
    for (int h = 0; h < w->s.n_heads; h++) {
        define(w, seq, pos, h, want);
        for (int c = 0; c < w->s.d_v; c++)
            EXPECT_NEAR(got[h * w->s.d_v + c], want[c], 1e-5);
    }
}

// A prompt beside an empty sequence and a short one; decoding beside a prompt; a long piece beside
// decoding.
static void defined_case(kit_cfg cfg, shape s, hd_mla_path path)
{
    enum { STEPS = 4 };
    static const int at[STEPS][3] = {{0, 0, 0}, {130, 0, 5}, {131, 70, 6}, {150, 71, 77}};
    world w;
    float *out[MAX_SEQ];
    world_open(&w, cfg, s, 3, at[STEPS - 1]);
    alloc_out(&w, out);
    for (int i = 0; i + 1 < STEPS; i++)
        step(&w, path, at[i], at[i + 1], out);
    for (int i = 0; i < 3; i++) {
        w.key[i] = expanded(&w, i, w.uk, s.d_nope);
        w.value[i] = expanded(&w, i, w.uv, s.d_v);
        for (int p = 0; p < w.len[i]; p++) {
            bool border = p < 2 || p % s.page_rows < 1 || p % 64 == 63 || p >= w.len[i] - 2;
            if (border || hd_rng_below(&w.k.rng, 16) == 0)
                expect_defined(&w, i, p, out[i] + (int64_t)p * out_width(&s));
        }
    }
    kit_close(&w.k);
}

static const kit_cfg best = {"cpu", 2, KIT_ALL_LEVELS, false};
static const kit_cfg avx2 = {"cpu", 1, HD_CPU_AVX2, false};
static const kit_cfg ref = {"cpu", 1, 0, false};
static const shape small = {4, 24, 16, 20, 64, 16, HD_F32, HD_F32, HD_F32};
static const shape odd = {3, 17, 6, 133, 96, 13, HD_BF16, HD_F16, HD_F32};
static const shape wide = {40, 16, 8, 16, 32, 48, HD_F32, HD_BF16, HD_BF16};
static const shape blocks = {2, 24, 32, 20, 128, 16, HD_Q8_0, HD_F8_B128, HD_F8_B128};

static void matches_the_definition(void)
{
    const shape all[] = {odd, blocks, small, wide};
    for (int path = HD_MLA_AUTO; path <= HD_MLA_EXPANDED; path++) {
        for (int i = 0; i < 4; i++)
            defined_case(best, all[i], (hd_mla_path)path);
        for (int i = 0; i < 2; i++) {
            defined_case(avx2, all[i], (hd_mla_path)path);
            defined_case(ref, all[i], (hd_mla_path)path);
        }
    }
}

// Every type of weights and planes. W_UV in Q8_0 multiplies 8-bit activations, which no tolerance
// worth having covers: it is compared bit by bit below.
static void every_type_matches(void)
{
    static const hd_dtype types[] = {HD_F32, HD_F16, HD_BF16, HD_Q8_0, HD_F8_B128};
    shape s = {2, 24, 32, 20, 128, 16, HD_F32, HD_F32, HD_F32};
    for (int t = 0; t < 5; t++)
        for (int p = 0; p < 4; p++) {
            s.plane = types[p];
            s.uk = types[t];
            s.uv = types[t] == HD_Q8_0 ? HD_F32 : types[t];
            defined_case(best, s, HD_MLA_ABSORBED);
            if (types[t] != HD_Q8_0) defined_case(best, s, HD_MLA_EXPANDED);
        }
}

static void v2_lite_shape(void)
{
    static const shape s = {16, 128, 64, 128, 512, 64, HD_BF16, HD_BF16, HD_BF16};
    static const int zero[1] = {0}, most[1] = {69}, all[1] = {70};
    for (int path = HD_MLA_ABSORBED; path <= HD_MLA_EXPANDED; path++) {
        world w;
        float *out[1];
        world_open(&w, best, s, 1, all);
        alloc_out(&w, out);
        step(&w, (hd_mla_path)path, zero, most, out);
        step(&w, (hd_mla_path)path, most, all, out);
        w.key[0] = expanded(&w, 0, w.uk, s.d_nope);
        w.value[0] = expanded(&w, 0, w.uv, s.d_v);
        for (int p = 0; p < 70; p += 23)
            expect_defined(&w, 0, p, out[0] + (int64_t)p * out_width(&s));
        kit_close(&w.k);
    }
}

// ---- against other operations --------------------------------------------------------------

static const kit_cfg exact = {"cpu", 2, KIT_ALL_LEVELS, true};

// Absorbed with W_UV = 1 gives weighted latents, which linear_heads takes through the real W_UV.
static void absorbed_by_parts(world *w, ragged *r, hd_tensor out)
{
    shape s = w->s;
    float *one = kit_alloc(&w->k, (size_t)(s.d_latent * s.d_latent) * sizeof(float));
    hd_weight_src *src = kit_alloc(&w->k, (size_t)s.n_heads * 2 * sizeof(*src));
    size_t bytes = hd_row_bytes(HD_F32, (int64_t)s.d_nope * s.d_latent);
    for (int i = 0; i < s.d_latent; i++)
        one[i * s.d_latent + i] = 1;
    for (int h = 0; h < s.n_heads; h++) {
        const char *uk = (const char *)w->uk + (size_t)h * bytes;
        src[2 * h] = kit_src("uk", uk, HD_F32, s.d_nope, s.d_latent);
        src[2 * h + 1] = kit_src("one", one, HD_F32, s.d_latent, s.d_latent);
    }
    hd_weight_spec spec = {"one", src, s.n_heads, 2, s.d_latent, HD_DTYPE_NONE};
    hd_mla a = params(w, HD_MLA_ABSORBED);
    a.kv_b = kit_pack(&w->k, &spec);
    a.d_v = s.d_latent;
    hd_tensor latent = kit_tensor(&w->k, r->b.n_tokens, s.n_heads * s.d_latent);
    hd_tensor work = kit_tensor(&w->k, 1, hd_mla_work_floats(&a, &r->b));
    w->k.ops->mla(w->k.be, latent, r->q, &a, &r->b, work);
    w->k.ops->linear_heads(w->k.be, out, latent, w->uv_alone);
}

// Keys and values of all positions by linear_heads, then ordinary attention.
static void expanded_by_parts(world *w, ragged *r, hd_tensor out)
{
    shape s = w->s;
    int n = r->b.n_tokens, d_qk = s.d_nope + s.d_rope;
    int32_t page = 0;
    hd_tensor x = kit_tensor(&w->k, n, s.n_heads * s.d_latent);
    hd_tensor nope = kit_tensor(&w->k, n, s.n_heads * s.d_nope);
    float *v = kit_floats(&w->k, n * out_width(&s)), *k = kit_floats(&w->k, n * q_width(&s));
    hd_tensor value = {v, HD_F32, n, out_width(&s), 4 * (int64_t)out_width(&s)};
    for (int p = 0; p < n; p++)
        for (int h = 0; h < s.n_heads; h++)
            memcpy(kit_row(x, p) + h * s.d_latent, w->latent[0] + (int64_t)p * plane_width(&s),
                   (size_t)s.d_latent * 4);
    w->k.ops->linear_heads(w->k.be, nope, x, w->uk_alone);
    w->k.ops->linear_heads(w->k.be, value, x, w->uv_alone);
    for (int p = 0; p < n; p++)
        for (int h = 0; h < s.n_heads; h++) {
            float *to = k + (p * s.n_heads + h) * d_qk;
            memcpy(to, kit_row(nope, p) + h * s.d_nope, (size_t)s.d_nope * 4);
            memcpy(to + s.d_nope, w->latent[0] + (int64_t)p * plane_width(&s) + s.d_latent,
                   (size_t)s.d_rope * 4);
        }
    hd_kv_plane kp = {k, HD_F32, q_width(&s), n}, vp = {v, HD_F32, out_width(&s), n};
    hd_attn a = {.n_heads = s.n_heads,
                 .n_kv = s.n_heads,
                 .d_qk = d_qk,
                 .d_v = s.d_v,
                 .scale = params(w, HD_MLA_AUTO).scale,
                 .k_plane = &kp,
                 .v_plane = &vp};
    hd_batch b = r->b;
    b.page = &page;
    b.max_pages = 1;
    w->k.ops->attn(w->k.be, out, r->q, &a, &b);
}

static void equals_its_parts(void)
{
    static const hd_dtype types[] = {HD_F32, HD_F16, HD_BF16, HD_Q8_0, HD_F8_B128};
    static const int zero[1] = {0}, all[1] = {150};
    static ragged r;
    for (int t = 0; t < 5; t++)
        for (int path = HD_MLA_ABSORBED; path <= HD_MLA_EXPANDED; path++) {
            world w;
            float *out[1];
            shape s = {3, 40, 32, 20, 128, 16, types[t < 4 ? t : 0], types[t], types[t]};
            world_open(&w, exact, s, 1, all);
            alloc_out(&w, out);
            step(&w, (hd_mla_path)path, zero, all, out);
            gather(&w, zero, all, &r);
            hd_tensor parts = kit_tensor(&w.k, all[0], out_width(&s));
            if (path == HD_MLA_ABSORBED)
                absorbed_by_parts(&w, &r, parts);
            else
                expanded_by_parts(&w, &r, parts);
            for (int p = 0; p < all[0]; p++)
                kit_expect_same(out[0] + (int64_t)p * parts.cols, kit_row(parts, p), parts.cols);
            kit_close(&w.k);
        }
}

// ---- threads, company, choice --------------------------------------------------------------

// The first sequence in pieces, alone on one thread, against all of it at once in company on two.
static void pieces_case(shape s, hd_mla_path path, bool deterministic)
{
    enum { CUTS = 7 };
    static const int len[3] = {300, 5, 90}, cut[CUTS] = {1, 64, 127, 200, 201, 299, 300};
    const kit_cfg alone_cfg = {"cpu", 1, KIT_ALL_LEVELS, deterministic};
    const kit_cfg crowd_cfg = {"cpu", 2, KIT_ALL_LEVELS, deterministic};
    world alone, crowd;
    float *a[1], *c[MAX_SEQ];
    int from[3] = {0}, at[1] = {0};
    world_open(&alone, alone_cfg, s, 1, len);
    world_open(&crowd, crowd_cfg, s, 3, len);
    memcpy(crowd.latent[0], alone.latent[0], (size_t)(len[0] * plane_width(&s)) * 4);
    memcpy(crowd.query[0], alone.query[0], (size_t)(len[0] * q_width(&s)) * 4);
    alloc_out(&alone, a);
    alloc_out(&crowd, c);
    step(&crowd, path, from, len, c);
    for (int i = 0; i < CUTS; i++) {
        step(&alone, path, at, &cut[i], a);
        at[0] = cut[i];
    }
    kit_expect_same(a[0], c[0], len[0] * out_width(&s));
    kit_close(&alone.k);
    kit_close(&crowd.k);
}

static void absorbed_ignores_company(void)
{
    const shape shapes[] = {small, odd, wide, blocks};
    for (int i = 0; i < 4; i++) {
        pieces_case(shapes[i], HD_MLA_ABSORBED, false);
        pieces_case(shapes[i], HD_MLA_AUTO, true);
    }
    shape q8 = blocks;
    q8.uk = q8.uv = HD_Q8_0;
    pieces_case(q8, HD_MLA_ABSORBED, false);
}

// More sequences than a group takes, some without a token, and a prompt across a border of groups.
static void many_sequences_decode(void)
{
    static const int zero[MAX_SEQ] = {0};
    int len[MAX_SEQ], last[MAX_SEQ];
    world w;
    float *out[MAX_SEQ], *want[MAX_SEQ];
    for (int i = 0; i < MAX_SEQ; i++) {
        len[i] = 2 + i % 5;
        last[i] = i % 7 == 3 ? len[i] : i == 60 ? 0 : len[i] - 1;
    }
    world_open(&w, best, small, MAX_SEQ, len);
    alloc_out(&w, out);
    alloc_out(&w, want);
    step(&w, HD_MLA_ABSORBED, zero, len, want);
    step(&w, HD_MLA_ABSORBED, last, len, out);
    for (int i = 0; i < MAX_SEQ; i++)
        for (int p = last[i]; p < len[i]; p++)
            kit_expect_same(out[i] + (int64_t)p * out_width(&small),
                            want[i] + (int64_t)p * out_width(&small), out_width(&small));
    kit_close(&w.k);
}

static void expanded_ignores_threads(void)
{
    static const int len[3] = {300, 5, 90}, zero[3] = {0};
    const kit_cfg cfgs[] = {{"cpu", 1, KIT_ALL_LEVELS, false}, {"cpu", 2, KIT_ALL_LEVELS, false}};
    const shape shapes[] = {small, odd, wide, blocks};
    for (int i = 0; i < 4; i++) {
        world w[2];
        float *out[2][MAX_SEQ];
        for (int t = 0; t < 2; t++) {
            world_open(&w[t], cfgs[t], shapes[i], 3, len);
            alloc_out(&w[t], out[t]);
            step(&w[t], HD_MLA_EXPANDED, zero, len, out[t]);
        }
        for (int seq = 0; seq < 3; seq++)
            kit_expect_same(out[0][seq], out[1][seq], len[seq] * out_width(&shapes[i]));
        kit_close(&w[0].k);
        kit_close(&w[1].k);
    }
}

// Which way AUTO went shows in the bits: a whole prompt expanded, decoding beside it absorbed, and
// with few queries behind many keys absorbed too.
static void chooses_by_shape(void)
{
    static const int start[3] = {0}, mid[3] = {200, 0, 250}, end[3] = {201, 90, 270};
    enum { PATHS = 3 };
    static world w[PATHS];
    float *out[PATHS][MAX_SEQ];
    for (int p = 0; p < PATHS; p++) {
        world_open(&w[p], best, small, 3, end);
        alloc_out(&w[p], out[p]);
        step(&w[p], (hd_mla_path)p, start, mid, out[p]);
        step(&w[p], (hd_mla_path)p, mid, end, out[p]);
    }
    const int width = out_width(&small);
    for (int seq = 0; seq < 3; seq++)
        for (int p = 0; p < end[seq]; p++) {
            bool absorbed = seq == 0 ? p == 200 : seq == 2 && p >= 250;
            int64_t at = (int64_t)p * width;
            const float *got = out[HD_MLA_AUTO][seq] + at;
            kit_expect_same(got, out[absorbed ? HD_MLA_ABSORBED : HD_MLA_EXPANDED][seq] + at,
                            width);
        }
    // The two ways do differ in bits.
    EXPECT(memcmp(out[1][1], out[2][1], (size_t)(end[1] * width) * 4) != 0);
    for (int p = 0; p < PATHS; p++)
        kit_close(&w[p].k);
}

// A sequence past the limit is absorbed even when expanding is asked for.
static void long_sequence_is_absorbed(void)
{
    enum { PAGE = 1024, KEYS = HD_MLA_EXPAND_KEYS + 1, PAGES = HD_MLA_EXPAND_KEYS / PAGE + 1 };
    static const int one[1] = {1};
    static const shape s = {2, 16, 16, 16, 32, PAGE, HD_F32, HD_F32, HD_F32};
    const int32_t pos = KEYS - 1, start[2] = {0, 1}, len = KEYS;
    int32_t page[PAGES];
    world w;
    world_open(&w, best, s, 1, one);
    w.plane.base = kit_floats(&w.k, (int64_t)PAGES * PAGE * plane_width(&s));
    for (int i = 0; i < PAGES; i++)
        page[i] = i;
    hd_batch b = {.n_tokens = 1, .n_seqs = 1, .max_pages = PAGES, .pos = &pos, .q_start = start};
    b.kv_len = &len;
    b.page = page;
    hd_tensor q = kit_tensor(&w.k, 1, q_width(&s)), out[2];
    for (int i = 0; i < 2; i++) {
        hd_mla a = params(&w, i == 0 ? HD_MLA_ABSORBED : HD_MLA_EXPANDED);
        hd_tensor work = kit_tensor(&w.k, 1, hd_mla_work_floats(&a, &b));
        out[i] = kit_tensor(&w.k, 1, out_width(&s));
        w.k.ops->mla(w.k.be, out[i], q, &a, &b, work);
    }
    kit_expect_same(kit_row(out[0], 0), kit_row(out[1], 0), out_width(&s));
    kit_close(&w.k);
}

// ---- memory --------------------------------------------------------------------------------

static void work_grows_with_the_batch(void)
{
    const hd_kv_plane plane = {NULL, HD_BF16, 576, 64};
    const hd_mla a = {16, 128, 64, 128, 512, 1, &plane, NULL, HD_MLA_AUTO};
    int32_t before = 0;
    for (int pages = 1; pages < 2000; pages += 37) {
        int32_t row = before;
        for (int n = 1; n < 200; n += 3) {
            hd_batch b = {.n_tokens = n, .max_pages = pages};
            int32_t floats = hd_mla_work_floats(&a, &b);
            EXPECT(floats >= row);
            row = floats;
            if (n == 1) {
                EXPECT(floats >= before);
                before = floats;
            }
        }
    }
    hd_batch b = {.n_tokens = 1 << 20, .max_pages = 1 << 20};
    EXPECT_INT(hd_mla_work_floats(&a, &b), HD_MLA_EXPAND_KEYS * (128 + 64 + 128));
}

typedef struct call {
    world *w;
    hd_mla_path path;
    float *out[MAX_SEQ];
    const int *from, *to;
} call;

static void run_call(void *ctx)
{
    call *c = ctx;
    step(c->w, c->path, c->from, c->to, c->out);
}

static void survives_no_memory_and_then_needs_none(void)
{
    static const int len[1] = {130}, from[1] = {0}, mid[1] = {100};
    for (int path = HD_MLA_ABSORBED; path <= HD_MLA_EXPANDED; path++) {
        world w;
        shape s = blocks;
        s.uk = s.uv = HD_Q8_0;
        call c = {.w = &w, .path = (hd_mla_path)path, .from = from, .to = mid};
        world_open(&w, exact, s, 1, len);
        alloc_out(&w, c.out);
        kit_expect_survives(&w.k, run_call, &c);
        uint64_t before = hd_mem_thread_allocs();
        run_call(&c);
        c.from = mid;
        c.to = len;
        run_call(&c);
        EXPECT_INT(hd_mem_thread_allocs(), before);
        kit_close(&w.k);
    }
}

HD_TEST_MAIN("mla", {"matches_the_definition", matches_the_definition},
             {"every_type_matches", every_type_matches}, {"v2_lite_shape", v2_lite_shape},
             {"equals_its_parts", equals_its_parts},
             {"absorbed_ignores_company", absorbed_ignores_company},
             {"many_sequences_decode", many_sequences_decode},
             {"expanded_ignores_threads", expanded_ignores_threads},
             {"chooses_by_shape", chooses_by_shape},
             {"long_sequence_is_absorbed", long_sequence_is_absorbed},
             {"work_grows_with_the_batch", work_grows_with_the_batch},
             {"survives_no_memory_and_then_needs_none", survives_no_memory_and_then_needs_none})
