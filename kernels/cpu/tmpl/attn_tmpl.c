// Weighted sums of values, and scores of quantized keys: a template over a vocabulary
// (x86/fvec_avx2.h, x86/fvec_avx512.h, arm/fvec_neon.h), included by attn_<level>.c after it
// defines ACCS, the accumulators a tile may have. Scores of float keys are in dotf_tmpl.c.
//
// A tile of sums is up to four queries by some vectors of channels; its sums stay in registers
// while all keys pass in ascending order, one fused multiply-add per key and channel. So an
// element's value does not depend on the tile, nor on how keys are cut into calls. A tile of scores
// is four keys by some queries, its sums one vector per key and query, as in dotf_tmpl.c.
//
// Block formats (Q8_0 planes, FP8 weights) are decoded in registers for few queries. For more, some
// rows are decoded into floats first and then read by all: the same values, so the same results.

// ---- rows of any type ------------------------------------------------------------------------

HD_INLINE bool in_blocks(hd_dtype type)
{
    return type == HD_Q8_0 || type == HD_F8_B128;
}

// Where in a row of blocks element c begins a vector, and the scale of its block.
HD_INLINE const uint8_t *codes_at(hd_dtype type, const uint8_t *row, int c)
{
    if (type == HD_Q8_0)
        return row + (size_t)(c / HD_QK) * sizeof(hd_block_q8_0) + offsetof(hd_block_q8_0, qs) +
               c % HD_QK;
    return row + (size_t)(c / 128) * sizeof(hd_block_f8_b128) + offsetof(hd_block_f8_b128, q) +
           c % 128;
}
HD_INLINE vf scale_at(hd_dtype type, const uint8_t *row, int c)
{
    if (type == HD_Q8_0) return f_set(half_at(row + (size_t)(c / HD_QK) * sizeof(hd_block_q8_0)));
    return f_set(load_f32(row + (size_t)(c / 128) * sizeof(hd_block_f8_b128)) * 256.0f);
}

// Elements c .. c + WIDTH of a row, c a multiple of WIDTH; scale is that of their block, if any.
HD_INLINE vf scaled_at(hd_dtype type, const uint8_t *row, int c, vf scale)
{
    if (type == HD_Q8_0)
        return f_mul(f_load_i8(codes_at(type, row, c)), scale); // exact: 11 bits times 7
    if (type == HD_F8_B128) // the loader gives less by 2^8, the scale is more
        return f_mul(f_load_as(HD_F8_E4M3, codes_at(type, row, c)), scale);
    return f_load_as(type, row + (size_t)c * float_width(type));
}
HD_INLINE vf load_at(hd_dtype type, const uint8_t *row, int c)
{
    return scaled_at(type, row, c, in_blocks(type) ? scale_at(type, row, c) : f_zero());
}

// Elements c .. c + n of a row of blocks as floats; c and n multiples of 32.
HD_INLINE void decode_at(float *dst, hd_dtype type, const uint8_t *row, int c, int n)
{
    for (int i = 0; i < n; i += HD_QK) {
        vf scale = scale_at(type, row, c + i);
        for (int j = i; j < i + HD_QK; j += WIDTH)
            f_store(dst + j, scaled_at(type, row, c + j, scale));
    }
}

// ---- sums ------------------------------------------------------------------------------------

typedef struct pv_call { // the arguments of hd_pv_fn
    float *acc;
    int64_t acc_stride;
    const float *p;
    int64_t p_stride;
    int n_q;
    const uint8_t *v;
    size_t v_stride;
    int n_keys, d;
} pv_call;

// Queries q0.. (n_q of them) by n_vecs whole vectors of channels from c0 on.
HD_INLINE void tile_pv(const pv_call *c, int q0, int n_q, int c0, int n_vecs, hd_dtype type)
{
    const uint8_t *v = c->v;
    float *out = c->acc + q0 * c->acc_stride + c0;
    const float *p = c->p + q0 * c->p_stride;
    vf acc[4][ACCS];
    for (int i = 0; i < n_q; i++)
        for (int k = 0; k < n_vecs; k++)
            acc[i][k] = f_load(out + i * c->acc_stride + WIDTH * k);
    for (int j = 0; j < c->n_keys; j++, v += c->v_stride)
        for (int k = 0; k < n_vecs; k++) {
            vf x = load_at(type, v, c0 + WIDTH * k);
            for (int i = 0; i < n_q; i++)
                acc[i][k] = f_fmadd(f_set(p[i * c->p_stride + j]), x, acc[i][k]);
        }
    for (int i = 0; i < n_q; i++)
        for (int k = 0; k < n_vecs; k++)
            f_store(out + i * c->acc_stride + WIDTH * k, acc[i][k]);
}

// The last n < WIDTH channels of one query.
HD_INLINE void edge_pv(const pv_call *c, int q, int c0, int n, hd_dtype type)
{
    const uint8_t *v = c->v + (size_t)c0 * float_width(type);
    float *out = c->acc + q * c->acc_stride + c0;
    vf acc = f_load_first(out, n);
    for (int j = 0; j < c->n_keys; j++, v += c->v_stride)
        acc = f_fmadd(f_set(c->p[q * c->p_stride + j]), f_load_as_first(type, v, n), acc);
    f_store_first(out, acc, n);
}

// All channels of n_q queries.
HD_INLINE void strip_pv(const pv_call *c, int q0, int n_q, hd_dtype type)
{
    const int wide = n_q == 3 ? ACCS / 4 : ACCS / n_q, narrow = wide / 4;
    int c0 = 0;
    for (; c0 + wide * WIDTH <= c->d; c0 += wide * WIDTH)
        tile_pv(c, q0, n_q, c0, wide, type);
    if (narrow > 1)
        for (; c0 + narrow * WIDTH <= c->d; c0 += narrow * WIDTH)
            tile_pv(c, q0, n_q, c0, narrow, type);
    for (; c0 + WIDTH <= c->d; c0 += WIDTH)
        tile_pv(c, q0, n_q, c0, 1, type);
    if (c0 < c->d)
        for (int i = 0; i < n_q; i++)
            edge_pv(c, q0 + i, c0, c->d - c0, type);
}

HD_INLINE void strips_pv(const pv_call *c, hd_dtype type)
{
    int q = 0;
    for (; q + 4 <= c->n_q; q += 4)
        strip_pv(c, q, 4, type);
    if (c->n_q - q == 3)
        strip_pv(c, q, 3, type);
    else if (c->n_q - q == 2)
        strip_pv(c, q, 2, type);
    else if (c->n_q - q == 1)
        strip_pv(c, q, 1, type);
}

HD_INLINE void sweep_pv(const pv_call *c, hd_dtype type)
{
    enum { KEYS = 64, CHANNELS = 64 }; // 16 KiB: half of a first-level cache
    if (!in_blocks(type) || c->n_q <= 4) {
        strips_pv(c, type);
        return;
    }
    float tile[KEYS * CHANNELS];
    for (int j = 0; j < c->n_keys; j += KEYS)
        for (int c0 = 0; c0 < c->d; c0 += CHANNELS) {
            pv_call t = *c;
            t.acc += c0;
            t.p += j;
            t.v = (const uint8_t *)tile;
            t.v_stride = CHANNELS * sizeof(float);
            t.n_keys = c->n_keys - j < KEYS ? c->n_keys - j : KEYS;
            t.d = c->d - c0 < CHANNELS ? c->d - c0 : CHANNELS;
            for (int i = 0; i < t.n_keys; i++)
                decode_at(tile + i * CHANNELS, type, c->v + (size_t)(j + i) * c->v_stride, c0, t.d);
            strips_pv(&t, HD_F32);
        }
}

#define PV(name, type)                                                                             \
    static void name(float *restrict acc, int64_t acc_stride, const float *restrict p,             \
                     int64_t p_stride, int n_q, const void *restrict v, size_t v_stride,           \
                     int n_keys, int d)                                                            \
    {                                                                                              \
        const pv_call c = {acc, acc_stride, p, p_stride, n_q, v, v_stride, n_keys, d};             \
        sweep_pv(&c, type);                                                                        \
    }

PV(pv_f32, HD_F32)
PV(pv_f16, HD_F16)
PV(pv_bf16, HD_BF16)
PV(pv_q8_0, HD_Q8_0)
PV(pv_f8_b128, HD_F8_B128)

// ---- scores of quantized keys ----------------------------------------------------------------

enum { QK_KEYS = 4, QK_QUERIES = ACCS / QK_KEYS };

// Keys k0.. (as many as remain) by n_q queries from q0 on; keys are the call's rows w, queries its
// act.
HD_INLINE void tile_qk(const mm_call *c, int k0, int q0, int n_q, hd_dtype type)
{
    const uint8_t *k[QK_KEYS];
    const float *q[QK_QUERIES];
    vf acc[QK_KEYS][QK_QUERIES];
    for (int r = 0; r < QK_KEYS; r++)
        k[r] = mm_row(c, k0 + r);
    HD_TILE
    for (int t = 0; t < n_q; t++) {
        q[t] = (const float *)(const void *)mm_tok(c, q0 + t);
        for (int r = 0; r < QK_KEYS; r++)
            acc[r][t] = f_zero();
    }
    for (int b = 0; b < c->n_in; b += HD_QK) {
        vf scale[QK_KEYS];
        for (int r = 0; r < QK_KEYS; r++)
            scale[r] = in_blocks(type) ? scale_at(type, k[r], b) : f_zero();
        for (int i = b; i < b + HD_QK; i += WIDTH) {
            vf v[QK_KEYS];
            for (int r = 0; r < QK_KEYS; r++)
                v[r] = scaled_at(type, k[r], i, scale[r]);
            HD_TILE
            for (int t = 0; t < n_q; t++) {
                vf a = f_load(q[t] + i);
                for (int r = 0; r < QK_KEYS; r++)
                    acc[r][t] = f_fmadd(v[r], a, acc[r][t]);
            }
        }
    }
    HD_TILE
    for (int t = 0; t < n_q; t++)
        mm_store(c, k0, q0 + t, QK_KEYS, f_sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]));
}

// All queries against the keys from k0 on.
HD_INLINE void strip_qk(const mm_call *c, int k0, hd_dtype type)
{
    int t = 0;
    for (; t + QK_QUERIES <= c->n_tok; t += QK_QUERIES)
        tile_qk(c, k0, t, QK_QUERIES, type);
    for (; t + 2 <= c->n_tok; t += 2)
        tile_qk(c, k0, t, 2, type);
    if (t < c->n_tok) tile_qk(c, k0, t, 1, type);
}

HD_INLINE void sweep_qk(const mm_call *c, hd_dtype type)
{
    enum { WIDEST = 1024 };
    float rows[QK_KEYS * WIDEST];
    const bool decode = c->n_tok > QK_QUERIES && c->n_in <= WIDEST;
    for (int k = 0; k < c->n_rows; k += QK_KEYS) {
        if (!decode) {
            strip_qk(c, k, type);
            continue;
        }
        mm_call t = *c;
        t.out += k;
        t.w = (const uint8_t *)rows;
        t.w_stride = (size_t)c->n_in * sizeof(float);
        t.n_rows = c->n_rows - k < QK_KEYS ? c->n_rows - k : QK_KEYS;
        for (int r = 0; r < t.n_rows; r++)
            decode_at(rows + r * c->n_in, type, mm_row(c, k + r), 0, c->n_in);
        strip_qk(&t, 0, HD_F32);
    }
}

static void qk_q8_0(float *restrict score, int64_t score_stride, const float *restrict q,
                    size_t q_stride, int n_q, const void *restrict k, size_t k_stride, int n_keys,
                    int d)
{
    const mm_call c = {score,    score_stride, k, k_stride, n_keys, (const uint8_t *)q,
                       q_stride, n_q,          d};
    sweep_qk(&c, HD_Q8_0);
}

static void fill_attn(hd_cpu_fns *f)
{
    f->pv[HD_F32] = pv_f32;
    f->pv[HD_F16] = pv_f16;
    f->pv[HD_BF16] = pv_bf16;
    f->pv[HD_Q8_0] = pv_q8_0;
    f->pv[HD_F8_B128] = pv_f8_b128;
    f->qk[HD_Q8_0] = qk_q8_0;
}
