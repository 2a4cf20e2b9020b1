// A backend that decodes weights by the contract of hd_weight_src and remembers how they were
// filled: the binder's tests look at what it was given.
#ifndef HADAL_TESTS_UNIT_BIND_SPY_H
#define HADAL_TESTS_UNIT_BIND_SPY_H

#include "kernels/backend.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <pthread.h>

enum { MAX_FILLS = 4096 };

typedef struct fill_call {
    int32_t first, n;
} fill_call;

typedef struct spy {
    hd_backend base;
    hd_backend_ops ops;
    pthread_mutex_t lock;
    int live, n_fills;
    int fail_at;    // the so-manieth fill fails; 0: none
    bool untouched; // sources are not read
    fill_call fill[MAX_FILLS];
} spy;

typedef struct decoded { // what a weight is here
    hd_weight_spec spec; // src is copied
    hd_weight_src *src;
    int32_t n_out;
    float *v; // [n_mat, n_out, n_in]
    int *filled;
} decoded;

static inline decoded *decoded_of(hd_weight *w)
{
    return (decoded *)(void *)w;
}

static inline void spy_free(hd_backend *be, hd_weight *w)
{
    decoded *d = decoded_of(w);
    if (!d) return;
    ((spy *)be)->live--;
    hd_free(d->src);
    hd_free(d->v);
    hd_free(d->filled);
    hd_free(d);
}

static inline hd_status spy_new(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                                hd_err *err)
{
    spy *s = (spy *)be;
    const size_t n_src = (size_t)spec->n_mat * (size_t)spec->n_part;
    decoded *d = hd_calloc(1, sizeof(*d));
    *out = NULL;
    if (!d) return hd_fail(err, HD_E_NOMEM, "no memory");
    s->live++;
    d->spec = *spec;
    d->src = hd_calloc(n_src, sizeof(*d->src));
    d->filled = hd_calloc((size_t)spec->n_mat, sizeof(int));
    for (int32_t p = 0; p < spec->n_part; p++)
        d->n_out += spec->src[p].n_out;
    const size_t per = (size_t)d->n_out * (size_t)spec->n_in;
    d->v = hd_calloc(s->untouched ? 1 : (size_t)spec->n_mat * per, sizeof(float));
    if (!d->src || !d->filled || !d->v) {
        spy_free(be, (hd_weight *)(void *)d);
        return hd_fail(err, HD_E_NOMEM, "no memory");
    }
    memcpy(d->src, spec->src, n_src * sizeof(*d->src));
    *out = (hd_weight *)(void *)d;
    return HD_OK;
}

static inline float scale_at(const hd_weight_src *s, int32_t r, int32_t c)
{
    float f;
    if (!s->scale) return 1;
    const int64_t i = (int64_t)((s->scale_first_row + r) / s->scale_block_rows) * s->scale_cols +
                      c / s->scale_block_cols;
    EXPECT(i < (int64_t)s->scale_rows * s->scale_cols);
    hd_dtype_get(s->scale_dtype)
        ->to_f32((const char *)s->scale + (size_t)i * hd_row_bytes(s->scale_dtype, 1), &f, 1);
    return f;
}

// One source as [n_out, n_in].
static inline void decode(const hd_weight_src *s, float *out)
{
    const int32_t rows = s->transposed ? s->n_in : s->n_out;
    const int32_t cols = s->transposed ? s->n_out : s->n_in;
    float row[128];
    EXPECT(cols <= 128);
    for (int32_t r = 0; r < rows; r++) {
        hd_dtype_get(s->dtype)->to_f32(
            (const char *)s->data + (size_t)r * hd_row_bytes(s->dtype, cols), row, cols);
        for (int32_t c = 0; c < cols; c++)
            out[s->transposed ? c * rows + r : r * cols + c] = row[c] * scale_at(s, r, c);
    }
}

static inline hd_status spy_fill(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                                 int32_t first, int32_t n, hd_err *err)
{
    spy *s = (spy *)be;
    decoded *d = decoded_of(w);
    pthread_mutex_lock(&s->lock);
    const int call = s->n_fills++;
    s->fill[call % MAX_FILLS] = (fill_call){first, n};
    pthread_mutex_unlock(&s->lock);
    if (call + 1 == s->fail_at) return hd_fail(err, HD_E_DEVICE, "%s: out of luck", spec->name);
    for (int32_t m = first; m < first + n; m++) {
        float *to = d->v + (s->untouched ? 0 : (size_t)m * (size_t)d->n_out * (size_t)spec->n_in);
        d->filled[m]++;
        for (int32_t p = 0; p < spec->n_part && !s->untouched; p++) {
            const hd_weight_src *src = &d->src[m * spec->n_part + p];
            decode(src, to);
            to += (size_t)src->n_out * (size_t)src->n_in;
        }
    }
    return HD_OK;
}

static inline void spy_info(const hd_backend *be, const hd_weight *w, hd_weight_info *out)
{
    const decoded *d = (const decoded *)(const void *)w;
    (void)be;
    *out = (hd_weight_info){d->spec.n_mat, d->n_out, d->spec.n_in, d->spec.src[0].dtype, 1};
}

static inline void spy_open(spy *s)
{
    *s = (spy){.ops = {.name = "spy",
                       .weight_new = spy_new,
                       .weight_fill = spy_fill,
                       .weight_free = spy_free,
                       .weight_info = spy_info}};
    s->base.ops = &s->ops;
    pthread_mutex_init(&s->lock, NULL);
}

static inline void spy_close(spy *s)
{
    EXPECT_INT(s->live, 0);
    pthread_mutex_destroy(&s->lock);
}

#endif
