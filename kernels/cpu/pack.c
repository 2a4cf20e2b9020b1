// Packing: sources decoded, converted where asked, and laid out for the kernels.
//
// The layout is the canonical one: each part keeps its rows contiguous in its own format. A part
// whose source already has the target format is copied byte for byte.
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

enum { ALIGN = 64 };

// ---- what a source becomes -----------------------------------------------------------------

// Formats we multiply by stay; other floats become F32, or BF16 when they carry block scales: an
// FP8 value times its scale needs more than 8 bits.
static hd_dtype natural_dtype(const hd_weight_src *s)
{
    if (s->scale) return HD_BF16;
    return hd_dtype_get(s->dtype)->is_weight ? s->dtype : HD_F32;
}

static hd_status check_scale(const hd_weight_src *s, hd_err *err)
{
    if (!s->scale) return HD_OK;
    HD_CHECK(s->scale_dtype == HD_F32 || s->scale_dtype == HD_BF16 || s->scale_dtype == HD_F16 ||
                 s->scale_dtype == HD_F8_E8M0,
             err, HD_E_UNSUPPORTED, "%s: block scales of type %s, expected f32, bf16, f16 or e8m0",
             s->name, hd_dtype_name(s->scale_dtype));
    HD_CHECK(hd_dtype_get(s->dtype)->block == 1, err, HD_E_UNSUPPORTED,
             "%s: block scales beside type %s, expected a scalar type", s->name,
             hd_dtype_name(s->dtype));
    HD_CHECK(s->scale_block_rows > 0 && s->scale_block_cols > 0, err, HD_E_INVAL,
             "%s: scale blocks of [%d, %d], expected at least [1, 1]", s->name,
             (int)s->scale_block_rows, (int)s->scale_block_cols);
    int64_t rows = ((int64_t)s->n_out + s->scale_block_rows - 1) / s->scale_block_rows;
    int64_t cols = ((int64_t)s->n_in + s->scale_block_cols - 1) / s->scale_block_cols;
    HD_CHECK(s->scale_rows == rows && s->scale_cols == cols, err, HD_E_INVAL,
             "%s: block scales of shape [%d, %d], expected [%lld, %lld]", s->name,
             (int)s->scale_rows, (int)s->scale_cols, (long long)rows, (long long)cols);
    return HD_OK;
}

static hd_status check_src(const hd_weight_src *s, const hd_weight_spec *spec, int32_t n_out,
                           hd_dtype to, hd_err *err)
{
    HD_CHECK((unsigned)s->dtype < HD_DTYPE_COUNT && hd_dtype_get(s->dtype)->is_float, err,
             HD_E_UNSUPPORTED, "%s: type %s cannot be a weight", s->name, hd_dtype_name(s->dtype));
    HD_CHECK(s->n_in == spec->n_in && s->n_out == n_out && n_out > 0, err, HD_E_INVAL,
             "%s: shape [%d, %d], expected [%d, %d]", s->name, (int)s->n_out, (int)s->n_in,
             (int)n_out, (int)spec->n_in);
    HD_CHECK(s->data, err, HD_E_INVAL, "%s: no data", s->name);
    HD_TRY(check_scale(s, err));
    const hd_dtype_traits *from = hd_dtype_get(s->dtype), *target = hd_dtype_get(to);
    HD_CHECK(target->is_weight && (to == s->dtype || target->from_f32), err, HD_E_UNSUPPORTED,
             "%s: type %s cannot be converted to %s", s->name, from->name, target->name);
    int32_t block = from->block > target->block ? from->block : target->block;
    HD_CHECK(s->n_in % block == 0, err, HD_E_UNSUPPORTED,
             "%s: rows of %d elements do not divide into blocks of %d (%s)", s->name, (int)s->n_in,
             (int)block, from->block > target->block ? from->name : target->name);
    return HD_OK;
}

// ---- layout --------------------------------------------------------------------------------

static const hd_weight_src *src_at(const hd_weight_spec *spec, int32_t mat, int32_t part)
{
    return &spec->src[(int64_t)mat * spec->n_part + part];
}

static hd_dtype target_dtype(const hd_weight_spec *spec, const hd_weight_src *s)
{
    if (spec->n_in == 1) return HD_F32;
    return spec->want == HD_DTYPE_NONE ? natural_dtype(s) : spec->want;
}

// A vector is one run of floats whatever its number of parts, so its parts are not padded.
static hd_status lay_out(hd_weight *w, const hd_cpu *c, const hd_weight_spec *spec, hd_err *err)
{
    for (int32_t p = 0; p < spec->n_part; p++) {
        const hd_weight_src *s = src_at(spec, 0, p);
        hd_cpu_part *part = &w->part[p];
        part->dtype = target_dtype(spec, s);
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

static float scale_value(const hd_weight_src *s, int64_t i)
{
    const char *p = s->scale;
    float f;
    hd_dtype_get(s->scale_dtype)->to_f32(p + (size_t)i * hd_row_bytes(s->scale_dtype, 1), &f, 1);
    return f;
}

// Row r of a source as floats.
static void decode_row(const hd_cpu *c, const hd_weight_src *s, int32_t r, float *row)
{
    size_t bytes = hd_row_bytes(s->dtype, s->n_in);
    c->fns.decode[s->dtype]((const char *)s->data + (size_t)r * bytes, row, s->n_in);
    if (!s->scale) return;
    int64_t first = (int64_t)(r / s->scale_block_rows) * s->scale_cols;
    for (int32_t b = 0; b < s->scale_cols; b++) {
        float scale = scale_value(s, first + b);
        int64_t from = (int64_t)b * s->scale_block_cols, to = from + s->scale_block_cols;
        for (int64_t i = from; i < to && i < s->n_in; i++)
            row[i] *= scale;
    }
}

static void fill_matrix(const hd_cpu *c, const hd_cpu_part *p, const hd_weight_src *s, int32_t mat,
                        float *row)
{
    char *dst = p->data + (size_t)mat * p->mat_bytes;
    if (p->dtype == s->dtype && !s->scale) {
        memcpy(dst, s->data, p->row_bytes * (size_t)p->n_out);
        return;
    }
    const hd_dtype_traits *to = hd_dtype_get(p->dtype);
    for (int32_t r = 0; r < p->n_out; r++) {
        decode_row(c, s, r, row);
        to->from_f32(row, dst + (size_t)r * p->row_bytes, s->n_in);
    }
}

static hd_status fill(const hd_cpu *c, hd_weight *w, const hd_weight_spec *spec, hd_err *err)
{
    float *row = hd_alloc((size_t)spec->n_in * sizeof(float));
    HD_CHECK(row, err, HD_E_NOMEM, "%s: no memory for a row of %d elements", spec->name,
             (int)spec->n_in);
    for (int32_t m = 0; m < spec->n_mat; m++)
        for (int32_t p = 0; p < spec->n_part; p++)
            fill_matrix(c, &w->part[p], src_at(spec, m, p), m, row);
    hd_free(row);
    return HD_OK;
}

// ---- the operations ------------------------------------------------------------------------

hd_status hd_cpu_pack(hd_backend *be, const hd_weight_spec *spec, hd_weight **out, hd_err *err)
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
    if (st == HD_OK) st = fill(c, w, spec, err);
    if (st != HD_OK) {
        hd_cpu_weight_free(be, w);
        return st;
    }
    *out = w;
    return HD_OK;
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
