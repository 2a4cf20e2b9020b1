// Scores of narrow float keys with AVX-512, included after dotf_tmpl.c, which has those of wide
// ones.
//
// A strip is sixteen keys, a vector has eight elements of two of them: vectors k and k + 4 have
// keys k, k + 4 and k + 8, k + 12. So the sums of a strip and a query come into one vector by
// exchanging and adding, for half of what adding across a vector for every score costs; with heads
// of 64 elements that was more than the products.
//
// Per score, eight lanes add one fused product per step, and are added at the end: the same
// whatever keys and queries share a call. The last elements are padded with zeros.
enum { KEYS = 16, PAIRS = 8, EIGHT = 8, QUERIES = 3, WIDEST = 256 };

typedef struct score_tile {
    const uint8_t *key[PAIRS][2];
    const float *q[QUERIES];
    vf sum[QUERIES][PAIRS];
} score_tile;

// Eight elements of two keys.
HD_INLINE vf load_two(hd_dtype type, const uint8_t *const key[2], size_t at)
{
    if (type == HD_F32)
        return _mm512_insertf32x8(
            _mm512_castps256_ps512(_mm256_loadu_ps((const float *)(const void *)(key[0] + at))),
            _mm256_loadu_ps((const float *)(const void *)(key[1] + at)), 1);
    __m256i two = _mm256_inserti128_si256(_mm256_castsi128_si256(load128(key[0] + at)),
                                          load128(key[1] + at), 1);
    return type == HD_F16 ? _mm512_cvtph_ps(two) : bf16_ps(two);
}

// Eight elements of every key times those of n_q queries, from element e on.
HD_INLINE void add_eight(hd_dtype type, score_tile *s, size_t at, int e, int n_q)
{
    vf q[QUERIES];
    for (int t = 0; t < n_q; t++)
        q[t] = _mm512_broadcast_f32x8(_mm256_loadu_ps(s->q[t] + e));
    for (int j = 0; j < PAIRS; j++) {
        vf k = load_two(type, s->key[j], at);
        for (int t = 0; t < n_q; t++)
            s->sum[t][j] = f_fmadd(k, q[t], s->sum[t][j]);
    }
}

// The last n < 8 elements, padded.
HD_INLINE void add_rest(hd_dtype type, score_tile *s, size_t at, int e, int n, int n_q)
{
    uint8_t key[PAIRS][2][EIGHT * sizeof(float)];
    float q[QUERIES][EIGHT];
    memset(key, 0, sizeof(key));
    memset(q, 0, sizeof(q));
    for (int j = 0; j < PAIRS; j++)
        for (int i = 0; i < 2; i++) {
            memcpy(key[j][i], s->key[j][i] + at, (size_t)n * float_width(type));
            s->key[j][i] = key[j][i];
        }
    for (int t = 0; t < n_q; t++) {
        memcpy(q[t], s->q[t] + e, (size_t)n * sizeof(float));
        s->q[t] = q[t];
    }
    add_eight(type, s, 0, 0, n_q);
}

// A query's sums, key i in element i.
HD_INLINE vf scores_of(const vf sum[PAIRS])
{
    vf a[4];
    for (int i = 0; i < 4; i++)
        a[i] = f_add(_mm512_shuffle_f32x4(sum[i], sum[i + 4], 0x88),
                     _mm512_shuffle_f32x4(sum[i], sum[i + 4], 0xdd));
    vf x = f_add(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
    vf y = f_add(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
    return f_add(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xee));
}

// Keys k0.. (as many as remain) by n_q queries from q0 on; keys are the call's rows, queries its
// tokens.
HD_INLINE void strip_scores(const mm_call *c, int k0, int q0, int n_q, hd_dtype type)
{
    score_tile s;
    int e = 0;
    for (int j = 0; j < PAIRS; j++)
        for (int i = 0; i < 2; i++)
            s.key[j][i] = mm_row(c, k0 + 8 * (j / 4) + j % 4 + 4 * i);
    for (int t = 0; t < n_q; t++) {
        s.q[t] = (const float *)(const void *)mm_tok(c, q0 + t);
        for (int j = 0; j < PAIRS; j++)
            s.sum[t][j] = f_zero();
    }
    for (; e + EIGHT <= c->n_in; e += EIGHT)
        add_eight(type, &s, (size_t)e * float_width(type), e, n_q);
    if (e < c->n_in) add_rest(type, &s, (size_t)e * float_width(type), e, c->n_in - e, n_q);
    for (int t = 0; t < n_q; t++) {
        float *out = c->out + (q0 + t) * c->out_stride + k0;
        if (k0 + KEYS <= c->n_rows)
            f_store(out, scores_of(s.sum[t]));
        else
            f_store_first(out, scores_of(s.sum[t]), c->n_rows - k0);
    }
}

HD_INLINE void sweep_scores(const mm_call *c, hd_dtype type)
{
    for (int k = 0; k < c->n_rows; k += KEYS) {
        int t = 0;
        for (; t + 3 <= c->n_tok; t += 3)
            strip_scores(c, k, t, 3, type);
        if (t + 2 <= c->n_tok)
            strip_scores(c, k, t, 2, type);
        else if (t < c->n_tok)
            strip_scores(c, k, t, 1, type);
    }
}

// Which kernel sums a score depends on its length alone.
#define QK(name, type, wide)                                                                       \
    static void name(float *restrict score, int64_t score_stride, const float *restrict q,         \
                     size_t q_stride, int n_q, const void *restrict k, size_t k_stride,            \
                     int n_keys, int d)                                                            \
    {                                                                                              \
        const mm_call c = {score,    score_stride, k, k_stride, n_keys, (const uint8_t *)q,        \
                           q_stride, n_q,          d};                                             \
        if (d > WIDEST)                                                                            \
            wide(score, score_stride, q, q_stride, n_q, k, k_stride, n_keys, d);                   \
        else                                                                                       \
            sweep_scores(&c, type);                                                                \
    }

QK(scores_f32, HD_F32, qk_f32)
QK(scores_f16, HD_F16, qk_f16)
QK(scores_bf16, HD_BF16, qk_bf16)

static void fill_scores(hd_cpu_fns *f)
{
    f->qk[HD_F32] = scores_f32;
    f->qk[HD_F16] = scores_f16;
    f->qk[HD_BF16] = scores_bf16;
}
