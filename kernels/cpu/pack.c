// Packing: sources decoded, converted where asked, and laid out for the kernels.
//
// The layout is the canonical one: each part keeps its rows contiguous in its own format. A part
// whose source already has the target format is copied byte for byte. What a source becomes and
// which sources are refused is common to all devices: backend.c.
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { ALIGN = 64 };

// ---- layout --------------------------------------------------------------------------------

static const hd_weight_src *src_at(const hd_weight_spec *spec, int32_t mat, int32_t part)
{
    return &spec->src[(int64_t)mat * spec->n_part + part];
}

static hd_status check_src(const hd_weight_src *s, const hd_weight_spec *spec, int32_t n_out,
                           hd_dtype to, hd_err *err)
{
    HD_TRY(hd_weight_src_check(s, spec, n_out, to, err));
    HD_CHECK(s->data, err, HD_E_INVAL, "%s: no data", s->name);
    HD_CHECK(s->scale || !hd_weight_src_scaled(s), err, HD_E_INVAL, "%s: no data of block scales",
             s->name);
    return HD_OK;
}

// A vector is one run of floats whatever its number of parts, so its parts are not padded.
static hd_status lay_out(hd_weight *w, const hd_cpu *c, const hd_weight_spec *spec, hd_err *err)
{
    for (int32_t p = 0; p < spec->n_part; p++) {
        const hd_weight_src *s = src_at(spec, 0, p);
        hd_cpu_part *part = &w->part[p];
        part->dtype = hd_weight_stored_as(spec, s);
        for (int32_t m = 0; m < spec->n_mat; m++)
            HD_TRY(check_src(src_at(spec, m, p), spec, s->n_out, part->dtype, err));
        HD_CHECK(c->fns.mm[part->dtype], err, HD_E_UNSUPPORTED, "%s: no kernel for type %s",
                 s->name, hd_dtype_name(part->dtype));
        part->fmt = c->fns.act_fmt[part->dtype];
        part->first = w->n_out;
        part->n_out = s->n_out;
        part->row_bytes = hd_row_bytes(part->dtype, spec->n_in);
        size_t mat_bytes, all;
        bool fits = hd_mul_size(part->row_bytes, (size_t)s->n_out, &mat_bytes) &&
                    (spec->n_in == 1 || hd_align_size(mat_bytes, ALIGN, &mat_bytes)) &&
                    hd_mul_size(mat_bytes, (size_t)spec->n_mat, &all) && all < SIZE_MAX / 4 &&
                    s->n_out <= INT32_MAX - w->n_out;
        HD_CHECK(fits, err, HD_E_LIMIT, "%s: too large", s->name);
        part->mat_bytes = mat_bytes;
        w->n_out += s->n_out;
        w->fmts |= 1u << part->fmt;
        w->bytes += all;
        HD_CHECK(w->bytes < SIZE_MAX / 4, err, HD_E_LIMIT, "%s: too large", spec->name);
    }
    return HD_OK;
}

// Gives the parts their places in the weight's memory.
static hd_status place(hd_weight *w, const char *name, hd_err *err)
{
    w->data = hd_alloc_big(w->bytes);
    HD_CHECK(w->data, err, HD_E_NOMEM, "%s: no memory for %zu bytes", name, w->bytes);
    char *at = w->data;
    for (int32_t p = 0; p < w->n_part; p++) {
        w->part[p].data = at;
        at += w->part[p].mat_bytes * (size_t)w->n_mat;
    }
    return HD_OK;
}

// ---- contents ------------------------------------------------------------------------------

typedef struct filler { // work memory of one weight_fill; a thread has its own
    const hd_cpu *c;
    float *row;   // [n_in]
    float *scale; // scales of a row of blocks
    float *mat;   // a transposed source decoded, [n_in, n_out]
} filler;

// The scales of row r's blocks as floats.
static void decode_scales(const filler *f, const hd_weight_src *s, int32_t r)
{
    int64_t block_row = ((int64_t)s->scale_first_row + r) / s->scale_block_rows;
    const char *p = s->scale;
    p += (size_t)block_row * hd_row_bytes(s->scale_dtype, s->scale_cols);
    hd_dtype_get(s->scale_dtype)->to_f32(p, f->scale, s->scale_cols);
}

// Row r of a source as floats.
static void decode_row(const filler *f, const hd_weight_src *s, int32_t r)
{
    if (s->transposed) {
        for (int32_t i = 0; i < s->n_in; i++)
            f->row[i] = f->mat[(int64_t)i * s->n_out + r];
        return;
    }
    size_t bytes = hd_row_bytes(s->dtype, s->n_in);
    f->c->fns.decode[s->dtype]((const char *)s->data + (size_t)r * bytes, f->row, s->n_in);
    if (!s->scale) return;
    decode_scales(f, s, r);
    for (int32_t b = 0; b < s->scale_cols; b++) {
        int64_t from = (int64_t)b * s->scale_block_cols, left = s->n_in - from;
        int n = (int)(left < s->scale_block_cols ? left : s->scale_block_cols);
        f->c->fns.scale(f->row + from, f->scale[b], n);
    }
}

static bool has_nan_code(const uint8_t *q)
{
    uint8_t found = 0;
    for (int i = 0; i < 128; i++)
        found |= (q[i] & 0x7f) == 0x7f;
    return found;
}

// E4M3 with block scales as HD_F8_B128: the codes as they are, each 128 with a copy of their scale.
// Keeps the promises of hd_block_f8_b128 to the kernels.
static hd_status copy_f8_row(const filler *f, const hd_weight_src *s, int32_t r, char *dst,
                             hd_err *err)
{
    const uint8_t *q = (const uint8_t *)s->data + (size_t)r * (size_t)s->n_in;
    hd_block_f8_b128 *b = (hd_block_f8_b128 *)(void *)dst;
    decode_scales(f, s, r);
    for (int32_t i = 0; i < s->n_in; i += 128, q += 128, b++) {
        b->d = f->scale[i / s->scale_block_cols];
        HD_CHECK(!(fabsf(b->d) >= HD_F8_B128_MAX_D) || isinf(b->d), err, HD_E_CORRUPT,
                 "%s: block scale %g at row %d, column %d, expected less than 2^120", s->name,
                 (double)b->d, (int)r, (int)i);
        if (has_nan_code(q)) b->d = NAN;
        memcpy(b->q, q, 128);
    }
    return HD_OK;
}

static hd_status fill_matrix(const filler *f, const hd_cpu_part *p, const hd_weight_src *s,
                             int32_t mat, hd_err *err)
{
    char *dst = p->data + (size_t)mat * p->mat_bytes;
    if (p->dtype == s->dtype && !s->scale && !s->transposed) {
        memcpy(dst, s->data, p->row_bytes * (size_t)p->n_out);
        return HD_OK;
    }
    if (s->transposed) f->c->fns.decode[s->dtype](s->data, f->mat, (int64_t)s->n_in * s->n_out);
    bool codes = p->dtype == HD_F8_B128 && hd_weight_src_fits_f8(s);
    for (int32_t r = 0; r < p->n_out; r++, dst += p->row_bytes) {
        if (codes) {
            HD_TRY(copy_f8_row(f, s, r, dst, err));
        } else {
            decode_row(f, s, r);
            f->c->fns.encode[p->dtype](f->row, dst, s->n_in);
        }
    }
    return HD_OK;
}

// Enough work memory for every source of the spec.
static hd_status open_filler(filler *f, const hd_weight_spec *spec, hd_err *err)
{
    size_t mat = 0, scales = 0;
    for (int64_t i = 0; i < (int64_t)spec->n_mat * spec->n_part; i++) {
        const hd_weight_src *s = &spec->src[i];
        size_t elements = s->transposed ? (size_t)s->n_in * (size_t)s->n_out : 0;
        if (elements > mat) mat = elements;
        if (s->scale && (size_t)s->scale_cols > scales) scales = (size_t)s->scale_cols;
    }
    f->row = hd_reallocarray(NULL, mat + scales + (size_t)spec->n_in, sizeof(float));
    HD_CHECK(f->row, err, HD_E_NOMEM, "%s: no memory for a row of %d elements", spec->name,
             (int)spec->n_in);
    f->scale = f->row + spec->n_in;
    f->mat = f->scale + scales;
    return HD_OK;
}

// ---- the operations ------------------------------------------------------------------------

hd_status hd_cpu_weight_new(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                            hd_err *err)
{
    const hd_cpu *c = hd_cpu_of(be);
    *out = NULL;
    HD_CHECK(spec->n_mat > 0 && spec->n_part > 0 && spec->n_in > 0, err, HD_E_INVAL,
             "%s: %d matrices of %d parts with rows of %d, expected at least one of each",
             spec->name, (int)spec->n_mat, (int)spec->n_part, (int)spec->n_in);
    HD_CHECK(spec->want == HD_DTYPE_NONE || (unsigned)spec->want < HD_DTYPE_COUNT, err, HD_E_INVAL,
             "%s: unknown target type %d", spec->name, (int)spec->want);
    hd_weight *w = hd_calloc(1, sizeof(*w) + (size_t)spec->n_part * sizeof(w->part[0]));
    HD_CHECK(w, err, HD_E_NOMEM, "%s: no memory for a weight", spec->name);
    w->n_mat = spec->n_mat;
    w->n_part = spec->n_part;
    w->n_in = spec->n_in;
    hd_status st = lay_out(w, c, spec, err);
    if (st == HD_OK) st = place(w, spec->name, err);
    if (st != HD_OK) {
        hd_cpu_weight_free(be, w);
        return st;
    }
    *out = w;
    return HD_OK;
}

hd_status hd_cpu_weight_fill(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                             int32_t first, int32_t n, hd_err *err)
{
    filler f = {.c = hd_cpu_of(be)};
    hd_status st = HD_OK;
    HD_ASSERT(first >= 0 && n >= 0 && n <= spec->n_mat - first);
    HD_TRY(open_filler(&f, spec, err));
    for (int32_t m = first; st == HD_OK && m < first + n; m++)
        for (int32_t p = 0; st == HD_OK && p < spec->n_part; p++)
            st = fill_matrix(&f, &w->part[p], src_at(spec, m, p), m, err);
    hd_free(f.row);
    return st;
}

void hd_cpu_weight_free(hd_backend *be, hd_weight *w)
{
    (void)be;
    if (!w) return;
    hd_free_big(w->data, w->bytes);
    hd_free(w);
}

void hd_cpu_weight_info(const hd_backend *be, const hd_weight *w, hd_weight_info *out)
{
    (void)be;
    out->n_mat = w->n_mat;
    out->n_out = w->n_out;
    out->n_in = w->n_in;
    out->dtype = w->part[0].dtype;
    out->bytes = w->bytes;
}

const hd_cpu_part *hd_cpu_part_of(const hd_weight *w, int32_t row)
{
    const hd_cpu_part *p = w->part;
    while (row >= p->first + p->n_out)
        p++;
    return p;
}
