// Float weights or keys times float rows: a template over a vocabulary (x86/fvec_avx2.h,
// x86/fvec_avx512.h, arm/fvec_neon.h). Included by dotf_<level>.c after it defines how many tokens
// share a tile's loads, TOKENS.
//
// Per row and token one accumulator vector, fused multiply-adds in ascending order, the last step
// padded with zeros; lanes are added at the end. Scores are the same product with keys as rows.
enum { ROWS = 4 };

HD_INLINE void tile_float(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    const size_t width = float_width(type), step = WIDTH * width;
    const uint8_t *w[ROWS], *next = mm_ahead(c, r0, ROWS);
    const float *x[TOKENS];
    const bool dense = c->w_stride == (size_t)c->n_in * width; // else rows do not follow each other
    vf acc[ROWS][TOKENS];
    for (int r = 0; r < ROWS; r++)
        w[r] = mm_row(c, r0 + r);
    HD_TILE
    for (int t = 0; t < n_tok; t++) {
        x[t] = (const float *)(const void *)mm_tok(c, t0 + t);
        for (int r = 0; r < ROWS; r++)
            acc[r][t] = f_zero();
    }
    int i = 0, left;
    for (; i + WIDTH <= c->n_in; i += WIDTH) {
        vf v[ROWS];
        for (int r = 0; r < ROWS; r++) {
            v[r] = f_load_as(type, w[r]);
            w[r] += step;
        }
        if (dense) next = mm_prefetch(next, ROWS * step);
        HD_TILE
        for (int t = 0; t < n_tok; t++) {
            vf a = f_load(x[t] + i);
            for (int r = 0; r < ROWS; r++)
                acc[r][t] = f_fmadd(v[r], a, acc[r][t]);
        }
    }
    if ((left = c->n_in - i) > 0) {
        HD_TILE
        for (int r = 0; r < ROWS; r++) {
            vf v = f_load_as_first(type, w[r], left);
            HD_TILE
            for (int t = 0; t < n_tok; t++)
                acc[r][t] = f_fmadd(v, f_load_first(x[t] + i, left), acc[r][t]);
        }
    }
    HD_TILE
    for (int t = 0; t < n_tok; t++) {
        vf4 s = f_sum4(acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
        if (type == HD_F8_E4M3) s = f4_times(s, 256.0f); // see f_load_as
        mm_store(c, r0, t0 + t, ROWS, s);
    }
}

// E4M3 in blocks of 128: every weight becomes the float it stands for, then the products and sums
// are those of F32, so the results are too. Where a scale is large or NaN, tiny_e4m3 will not do.
typedef struct f8_tile {
    const uint8_t *w[ROWS]; // the blocks' codes
    const float *x[TOKENS];
    float d[ROWS];
    vf acc[ROWS][TOKENS];
} f8_tile;

HD_INLINE void add_f8_blocks(f8_tile *b, int n_tok, int i, bool plain)
{
    vf d[ROWS];
    for (int r = 0; r < ROWS; r++)
        d[r] = f_set(plain ? b->d[r] * 0x1p120f : b->d[r]);
    for (int j = 0; j < 128; j += WIDTH) {
        vf v[ROWS];
        for (int r = 0; r < ROWS; r++)
            v[r] = f_mul(plain ? tiny_e4m3(b->w[r] + j)
                               : f_mul(f_load_as(HD_F8_E4M3, b->w[r] + j), f_set(256.0f)),
                         d[r]);
        HD_TILE
        for (int t = 0; t < n_tok; t++) {
            vf a = f_load(b->x[t] + i + j);
            for (int r = 0; r < ROWS; r++)
                b->acc[r][t] = f_fmadd(v[r], a, b->acc[r][t]);
        }
    }
}

HD_INLINE void tile_f8_b128(const mm_call *c, int r0, int t0, int n_tok)
{
    const uint8_t *w[ROWS], *next = mm_ahead(c, r0, ROWS);
    f8_tile b;
    for (int r = 0; r < ROWS; r++)
        w[r] = mm_row(c, r0 + r);
    HD_TILE
    for (int t = 0; t < n_tok; t++) {
        b.x[t] = (const float *)(const void *)mm_tok(c, t0 + t);
        for (int r = 0; r < ROWS; r++)
            b.acc[r][t] = f_zero();
    }
    for (int i = 0; i < c->n_in; i += 128) {
        bool plain = true;
        for (int r = 0; r < ROWS; r++) {
            b.d[r] = load_f32(w[r]);
            b.w[r] = w[r] + offsetof(hd_block_f8_b128, q);
            plain = plain && b.d[r] > -128.0f && b.d[r] < 128.0f;
            w[r] += sizeof(hd_block_f8_b128);
        }
        next = mm_prefetch(next, ROWS * sizeof(hd_block_f8_b128));
        if (plain)
            add_f8_blocks(&b, n_tok, i, true);
        else
            add_f8_blocks(&b, n_tok, i, false);
    }
    HD_TILE
    for (int t = 0; t < n_tok; t++)
        mm_store(c, r0, t0 + t, ROWS, f_sum4(b.acc[0][t], b.acc[1][t], b.acc[2][t], b.acc[3][t]));
}

HD_INLINE void tile_any(const mm_call *c, int r0, int t0, int n_tok, hd_dtype type)
{
    if (type == HD_F8_B128)
        tile_f8_b128(c, r0, t0, n_tok);
    else
        tile_float(c, r0, t0, n_tok, type);
}

HD_INLINE void sweep_float(const mm_call *c, hd_dtype type)
{
    for (int r = 0; r < c->n_rows; r += ROWS)
        for (int t = 0; t < c->n_tok;) {
            int left = c->n_tok - t;
            if (left > 2 && TOKENS > 2) {
                tile_any(c, r, t, TOKENS, type);
                t += TOKENS;
            } else if (left > 1) {
                tile_any(c, r, t, 2, type);
                t += 2;
            } else {
                tile_any(c, r, t++, 1, type);
            }
        }
}

MM(mm_f32, sweep_float(&c, HD_F32))
MM(mm_f16, sweep_float(&c, HD_F16))
MM(mm_bf16, sweep_float(&c, HD_BF16))
MM(mm_f8_e4m3, sweep_float(&c, HD_F8_E4M3))
MM(mm_f8_b128, sweep_float(&c, HD_F8_B128))

static void qk_f32(float *restrict score, int64_t score_stride, const float *restrict q,
                   size_t q_stride, int n_q, const void *restrict k, size_t k_stride, int n_keys,
                   int d)
{
    mm_f32(score, score_stride, k, k_stride, n_keys, q, q_stride, n_q, d);
}
static void qk_f16(float *restrict score, int64_t score_stride, const float *restrict q,
                   size_t q_stride, int n_q, const void *restrict k, size_t k_stride, int n_keys,
                   int d)
{
    mm_f16(score, score_stride, k, k_stride, n_keys, q, q_stride, n_q, d);
}
static void qk_bf16(float *restrict score, int64_t score_stride, const float *restrict q,
                    size_t q_stride, int n_q, const void *restrict k, size_t k_stride, int n_keys,
                    int d)
{
    mm_bf16(score, score_stride, k, k_stride, n_keys, q, q_stride, n_q, d);
}

static void fill_floats(hd_cpu_fns *f)
{
    f->mm[HD_F32] = mm_f32;
    f->mm[HD_F16] = mm_f16;
    f->mm[HD_BF16] = mm_bf16;
    f->mm[HD_F8_E4M3] = mm_f8_e4m3;
    f->mm[HD_F8_B128] = mm_f8_b128;
    f->qk[HD_F32] = qk_f32;
    f->qk[HD_F16] = qk_f16;
    f->qk[HD_BF16] = qk_bf16;
}
