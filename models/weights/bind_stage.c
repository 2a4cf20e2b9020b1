// Binder, the reading: what a task packs is copied out of files that are not in memory, one
// tensor's rows after the other, by the thread that packs it. A task's memory is its own, so that
// nothing depends on who else reads the same tensor (a tied head, the scales of a fused matrix).
#include "models/weights/binder_impl.h"

static size_t scale_bytes(const hd_weight_src *s)
{
    return s->scale ? hd_row_bytes(s->scale_dtype, s->scale_cols) * (size_t)s->scale_rows : 0;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

// Copies *from to `to` and lets it point there.
static hd_status fetch(const hd_binder *b, const char *name, const void **from, size_t bytes,
                       char *to, hd_err *err)
{
    hd_status st = hd_source_copy(b->src, *from, bytes, to, err);
    *from = to;
    return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "tensor %s", name);
}

static hd_status read_sources(const hd_binder *b, hd_weight_src *src, int64_t n, char *to,
                              hd_err *err)
{
    for (hd_weight_src *s = src; s < src + n; s++) {
        HD_TRY(fetch(b, s->name, &s->data, hd_bind_src_bytes(s), to, err));
        to += aligned(hd_bind_src_bytes(s));
        if (!s->scale) continue;
        HD_TRY(fetch(b, s->name, &s->scale, scale_bytes(s), to, err));
        to += aligned(scale_bytes(s));
    }
    return HD_OK;
}

hd_status hd_bind_stage_open(const hd_binder *b, const hd_bind_task *t, hd_bind_stage *out,
                             hd_err *err)
{
    const hd_bind_job *j = t->job;
    const int64_t first = (int64_t)t->first * j->spec.n_part, n = (int64_t)t->n * j->spec.n_part;
    const size_t all = (size_t)j->spec.n_mat * (size_t)j->spec.n_part;
    size_t bytes = 0;
    for (int64_t i = first; i < first + n; i++)
        bytes += aligned(hd_bind_src_bytes(&j->src[i])) + aligned(scale_bytes(&j->src[i]));
    *out = (hd_bind_stage){hd_reallocarray(NULL, all, sizeof(*out->src)), hd_alloc(bytes)};
    hd_status st = HD_OK;
    if (!out->src || !out->bytes)
        st = HD_FAIL(err, HD_E_NOMEM, "tensor %s: no memory to read %zu bytes", j->src[first].name,
                     bytes);
    if (st == HD_OK) {
        memcpy(out->src, j->src, all * sizeof(*out->src));
        st = read_sources(b, out->src + first, n, out->bytes, err);
    }
    if (st != HD_OK) hd_bind_stage_close(out);
    return st;
}

void hd_bind_stage_close(hd_bind_stage *s)
{
    hd_free(s->src);
    hd_free(s->bytes);
    *s = (hd_bind_stage){0};
}
