// Weighted sums of values: a template over a vocabulary (fvec_avx2.h, fvec_avx512.h), included by
// attn_<level>.c after it defines ACCS, the accumulators a tile may have.
//
// A tile is up to four queries by some vectors of channels; its sums stay in registers while all
// keys pass in ascending order, one fused multiply-add per key and channel. So an element's value
// does not depend on the tile, nor on how keys are cut into calls.
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
    const size_t width = float_width(type);
    const uint8_t *v = c->v + (size_t)c0 * width;
    float *out = c->acc + q0 * c->acc_stride + c0;
    const float *p = c->p + q0 * c->p_stride;
    vf acc[4][ACCS];
    for (int i = 0; i < n_q; i++)
        for (int k = 0; k < n_vecs; k++)
            acc[i][k] = f_load(out + i * c->acc_stride + WIDTH * k);
    for (int j = 0; j < c->n_keys; j++, v += c->v_stride)
        for (int k = 0; k < n_vecs; k++) {
            vf x = f_load_as(type, v + (size_t)(WIDTH * k) * width);
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
    const int wide = ACCS / n_q, narrow = wide / 4;
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

HD_INLINE void sweep_pv(const pv_call *c, hd_dtype type)
{
    int q = 0;
    for (; q + 4 <= c->n_q; q += 4)
        strip_pv(c, q, 4, type);
    for (; q + 2 <= c->n_q; q += 2)
        strip_pv(c, q, 2, type);
    if (q < c->n_q) strip_pv(c, q, 1, type);
}

static void pv_f32(float *restrict acc, int64_t acc_stride, const float *restrict p,
                   int64_t p_stride, int n_q, const void *restrict v, size_t v_stride, int n_keys,
                   int d)
{
    const pv_call c = {acc, acc_stride, p, p_stride, n_q, v, v_stride, n_keys, d};
    sweep_pv(&c, HD_F32);
}
static void pv_f16(float *restrict acc, int64_t acc_stride, const float *restrict p,
                   int64_t p_stride, int n_q, const void *restrict v, size_t v_stride, int n_keys,
                   int d)
{
    const pv_call c = {acc, acc_stride, p, p_stride, n_q, v, v_stride, n_keys, d};
    sweep_pv(&c, HD_F16);
}
static void pv_bf16(float *restrict acc, int64_t acc_stride, const float *restrict p,
                    int64_t p_stride, int n_q, const void *restrict v, size_t v_stride, int n_keys,
                    int d)
{
    const pv_call c = {acc, acc_stride, p, p_stride, n_q, v, v_stride, n_keys, d};
    sweep_pv(&c, HD_BF16);
}

static void fill_values(hd_cpu_fns *f)
{
    f->pv[HD_F32] = pv_f32;
    f->pv[HD_F16] = pv_f16;
    f->pv[HD_BF16] = pv_bf16;
}
