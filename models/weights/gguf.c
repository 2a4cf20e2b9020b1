// GGUF files: header, tensor directory, split sets.
//
//   file = "GGUF" version:u32 n_tensors:u64 n_keys:u64 pair[n_keys] info[n_tensors] pad data
//   info = name:text n_dims:u32 ne:u64[n_dims] type:u32 offset:u64      (offset counts from data)
//
// Written for hostile files: every product and sum is checked before it is used, types this build
// cannot decode are refused by name, tensors may come in any order but must not overlap. Metadata
// is read in gguf_meta.c. Not here: what keys and tensors mean, big-endian files, writing.
#include "models/weights/gguf.h"

#include "models/weights/gguf_impl.h"

#include <inttypes.h>

enum { HEAD_BYTES = 24, MIN_INFO = 8 + 1 + 4 + 4 + 8 };

// ---- tensor types --------------------------------------------------------------------------

// Names of GGML's types by id, for messages; NULL: never assigned, or removed.
static const char *const ggml_names[] = {
    [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
    [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
    [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
    [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
    [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
    [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
    [35] = "TQ2_0",  [39] = "MXFP4",   [40] = "NVFP4", [41] = "Q1_0",   [42] = "Q2_0",
};
enum { N_GGML = sizeof(ggml_names) / sizeof(ggml_names[0]) };

// Ids that GGML gave away and took back.
static bool was_removed(uint32_t id)
{
    return id == 4 || id == 5 || (id >= 31 && id <= 33) || (id >= 36 && id <= 38);
}

static bool is_ik_private(uint32_t id)
{
    return id == 36 || (id >= 97 && id <= 99) || (id >= 133 && id < 1000);
}

static hd_status refuse_type(uint32_t id, hd_err *err)
{
    if (id < N_GGML && ggml_names[id])
        return HD_FAIL(err, HD_E_UNSUPPORTED,
                       "found type %s (%" PRIu32 "), which this version cannot decode; expected "
                       "another quantization such as Q4_K, Q5_K, Q6_K or Q8_0",
                       ggml_names[id], id);
    if (was_removed(id))
        return HD_FAIL(err, HD_E_UNSUPPORTED,
                       "found type %" PRIu32 ", which was removed from the format%s; expected the "
                       "file to be made again with current tools",
                       id, is_ik_private(id) ? " (ik_llama.cpp uses it for I2_S)" : "");
    if (is_ik_private(id))
        return HD_FAIL(err, HD_E_UNSUPPORTED,
                       "found type %" PRIu32 ", private to ik_llama.cpp; expected a file with the "
                       "format's own types",
                       id);
    return HD_FAIL(err, HD_E_CORRUPT, "found unknown type %" PRIu32 ", expected a GGML type id",
                   id);
}

// ---- one tensor of the directory -----------------------------------------------------------

// ne comes with the contiguous dimension first.
static hd_status read_shape(hd_gguf_reader *r, hd_source_tensor *t, hd_err *err)
{
    uint32_t n_dims;
    HD_TRY(hd_gguf_u32(r, &n_dims, err));
    HD_CHECK(n_dims <= HD_GGUF_MAX_DIMS, err, HD_E_CORRUPT,
             "found %" PRIu32 " dimensions, expected at most %d", n_dims, HD_GGUF_MAX_DIMS);
    t->rank = (int32_t)n_dims;
    for (uint32_t d = n_dims; d-- > 0;) {
        HD_TRY(hd_gguf_u64(r, &t->shape[d], err));
        HD_CHECK(t->shape[d] >= 1 && t->shape[d] <= INT64_MAX, err, HD_E_CORRUPT,
                 "found a dimension of %" PRIu64 ", expected one in [1, 2^63)", t->shape[d]);
    }
    return HD_OK;
}

static hd_status read_type(hd_gguf_reader *r, hd_source_tensor *t, hd_err *err)
{
    uint32_t id;
    HD_TRY(hd_gguf_u32(r, &id, err));
    t->dtype = hd_dtype_by_ggml(id);
    if (t->dtype == HD_DTYPE_NONE) return refuse_type(id, err);
    uint64_t cols = t->rank > 0 ? t->shape[t->rank - 1] : 1, row;
    uint64_t block = (uint64_t)hd_dtype_get(t->dtype)->block;
    HD_CHECK(cols % block == 0, err, HD_E_CORRUPT,
             "found shape %s of type %s, expected rows of a multiple of %" PRIu64 " elements",
             hd_show_shape(t->shape, t->rank).text, hd_dtype_name(t->dtype), block);
    bool fits = hd_dtype_bytes(t->dtype, cols, &row) &&
                hd_shape_bytes(t->shape, t->rank - (t->rank > 0), row, &t->bytes);
    HD_CHECK(fits, err, HD_E_CORRUPT, "found shape %s of type %s, expected less than 2^64 bytes",
             hd_show_shape(t->shape, t->rank).text, hd_dtype_name(t->dtype));
    return HD_OK;
}

static hd_status read_info(hd_gguf_reader *r, uint64_t align, hd_source_tensor *t, uint64_t *offset,
                           hd_err *err)
{
    hd_status st = HD_OK;
    if ((st = read_shape(r, t, err)) != HD_OK || (st = read_type(r, t, err)) != HD_OK ||
        (st = hd_gguf_u64(r, offset, err)) != HD_OK)
        return st;
    HD_CHECK(*offset % align == 0, err, HD_E_CORRUPT,
             "found data at offset %" PRIu64 ", expected a multiple of %" PRIu64, *offset, align);
    return HD_OK;
}

static hd_status read_name(hd_gguf_reader *r, hd_slice *name, hd_err *err)
{
    HD_TRY(hd_gguf_text(r, HD_GGUF_MAX_NAME, name, err));
    HD_CHECK(name->n > 0, err, HD_E_CORRUPT, "found an empty name, expected one");
    HD_CHECK(!memchr(name->p, '\0', name->n), err, HD_E_CORRUPT,
             "name '%s': found a NUL byte, expected none", hd_show(*name).text);
    return HD_OK;
}

// ---- the directory -------------------------------------------------------------------------

// Turns offsets, kept in offset[] in the order of the directory, into addresses.
static hd_status place_tensors(hd_source *s, size_t from, const uint64_t *offset, size_t data_at,
                               hd_err *err)
{
    const hd_weight_file *f = &s->file[s->t[from].file];
    HD_CHECK(data_at <= f->n, err, HD_E_CORRUPT,
             "found %zu bytes, expected tensor data from byte %zu on", f->n, data_at);
    uint64_t room = f->n - data_at;
    for (size_t i = from; i < s->n; i++) {
        hd_source_tensor *t = &s->t[i];
        uint64_t at = offset[i - from];
        HD_CHECK(at <= room && t->bytes <= room - at, err, HD_E_CORRUPT,
                 "tensor '%s': found offset %" PRIu64 " and %" PRIu64
                 " bytes, expected both within the %" PRIu64 " bytes of data",
                 hd_show(t->name).text, at, t->bytes, room);
        t->data = f->p + data_at + at;
    }
    hd_source_sort(s, from);
    for (size_t i = from + 1; i < s->n; i++) {
        const hd_source_tensor *a = &s->t[i - 1], *b = &s->t[i];
        HD_CHECK((const uint8_t *)a->data + a->bytes <= (const uint8_t *)b->data, err, HD_E_CORRUPT,
                 "tensor '%s': found its data inside tensor '%s', expected no overlap",
                 hd_show(b->name).text, hd_show(a->name).text);
    }
    return HD_OK;
}

static hd_status read_directory(hd_gguf_reader *r, uint64_t n, uint64_t align, int32_t file,
                                hd_source *s, hd_err *err)
{
    if (n == 0) return HD_OK;
    size_t from = s->n, data_at = 0;
    uint64_t *offset = hd_reallocarray(NULL, (size_t)n, sizeof(*offset));
    hd_status st = HD_OK;
    if (!offset) st = HD_FAIL(err, HD_E_NOMEM, "no memory for %" PRIu64 " tensors", n);
    for (uint64_t i = 0; i < n && st == HD_OK; i++) {
        hd_source_tensor t = {.file = file};
        st = read_name(r, &t.name, err);
        if (st != HD_OK) {
            hd_err_prefix(err, st, "tensor %" PRIu64 " of %" PRIu64, i + 1, n);
            break;
        }
        st = read_info(r, align, &t, &offset[i], err);
        if (st != HD_OK) {
            hd_err_prefix(err, st, "tensor '%s'", hd_show(t.name).text);
            break;
        }
        st = hd_source_push(s, &t, err);
    }
    if (st == HD_OK && !hd_align_size(r->at, (size_t)align, &data_at))
        st = HD_FAIL(err, HD_E_CORRUPT, "found a header of %zu bytes, expected less", r->at);
    if (st == HD_OK) st = place_tensors(s, from, offset, data_at, err);
    hd_free(offset);
    return st;
}

// ---- one file ------------------------------------------------------------------------------

static hd_status read_magic(hd_gguf_reader *r, hd_err *err)
{
    uint32_t version;
    HD_TRY(hd_weight_file_need(r->file, r->n < 4 ? r->n : 4, err));
    HD_CHECK(r->n >= 4 && memcmp(r->p, "GGUF", 4) == 0, err, HD_E_INVAL,
             "found '%s' at its start, expected 'GGUF'",
             hd_show(hd_slice_of((const char *)r->p, r->n < 4 ? r->n : 4)).text);
    r->at = 4;
    HD_TRY(hd_gguf_u32(r, &version, err));
    HD_CHECK(version == 0 || (version & 0xFFFFFF) != 0, err, HD_E_UNSUPPORTED,
             "found version 0x%08" PRIx32 ", which means a big-endian file; expected little-endian",
             version);
    HD_CHECK(version == 2 || version == 3, err, HD_E_UNSUPPORTED,
             "found version %" PRIu32 ", expected 2 or 3", version);
    return HD_OK;
}

// The type is fixed by the format, unlike that of other integers.
static hd_status read_alignment(const hd_gguf_meta *m, uint64_t *align, hd_err *err)
{
    static const char key[] = "general.alignment";
    const hd_gguf_kv *kv = hd_gguf_meta_find(m, key);
    *align = 32;
    if (!kv) return HD_OK;
    HD_CHECK(kv->type == HD_GGUF_U32, err, HD_E_INVAL, "key '%s': found %s, expected u32", key,
             hd_gguf_type_name(kv->type));
    uint64_t a = kv->v.u;
    HD_CHECK(a >= HD_GGUF_MIN_ALIGN && a <= HD_GGUF_MAX_ALIGN && (a & (a - 1)) == 0, err,
             HD_E_INVAL, "key '%s': found %" PRIu64 ", expected a power of two in [%d, %d]", key, a,
             HD_GGUF_MIN_ALIGN, HD_GGUF_MAX_ALIGN);
    *align = a;
    return HD_OK;
}

static hd_status read_file(hd_source *s, int32_t file, hd_gguf_meta *m, hd_err *err)
{
    hd_weight_file *f = &s->file[file];
    hd_gguf_reader r = {f, f->p, f->n, 0};
    uint64_t n_tensors, n_keys, align;
    HD_TRY(read_magic(&r, err));
    HD_TRY(hd_gguf_u64(&r, &n_tensors, err));
    HD_TRY(hd_gguf_u64(&r, &n_keys, err));
    HD_CHECK(n_tensors <= HD_GGUF_MAX_TENSORS - s->n, err, HD_E_LIMIT,
             "found a count of %" PRIu64 " tensors, expected at most %zu", n_tensors,
             HD_GGUF_MAX_TENSORS - s->n);
    HD_TRY(hd_gguf_meta_read(&r, n_keys, m, err));
    HD_TRY(hd_gguf_meta_check(m, err));
    HD_TRY(read_alignment(m, &align, err));
    HD_TRY(hd_gguf_need(&r, n_tensors * MIN_INFO, err));
    return read_directory(&r, n_tensors, align, file, s, err);
}

static hd_status read_named_file(hd_source *s, int32_t file, hd_gguf_meta *m, hd_err *err)
{
    hd_status st = read_file(s, file, m, err);
    return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "%s", s->file[file].name);
}

// ---- split sets ----------------------------------------------------------------------------

static bool read_digits(const char *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(p[i] - '0');
    }
    return true;
}

bool hd_gguf_split_name(hd_slice file, size_t *n_stem, uint32_t *no, uint32_t *count)
{
    static const char form[] = "-00000-of-00000.gguf";
    const size_t n_form = sizeof(form) - 1;
    if (file.n < n_form) return false;
    const char *p = file.p + file.n - n_form;
    if (p[0] != '-' || memcmp(p + 6, "-of-", 4) != 0 || memcmp(p + 15, ".gguf", 5) != 0)
        return false;
    if (!read_digits(p + 1, no) || !read_digits(p + 10, count)) return false;
    *n_stem = file.n - n_form;
    return *no >= 1 && *no <= *count;
}

typedef struct split {
    int64_t no, count, tensors;
} split;

// Fills sp from the split.* keys; all stay 0 in a file that is complete by itself. Tools that merge
// a set leave split.count 0 behind.
static hd_status read_split(const hd_gguf_meta *m, split *sp, hd_err *err)
{
    *sp = (split){0};
    hd_status st = hd_gguf_meta_i64(m, "split.count", 0, HD_GGUF_MAX_PARTS, &sp->count, err);
    if (st == HD_E_NOTFOUND || (st == HD_OK && sp->count <= 1)) return HD_OK;
    HD_TRY(st);
    st = hd_gguf_meta_i64(m, "split.no", 0, sp->count - 1, &sp->no, err);
    HD_CHECK(st != HD_E_NOTFOUND, err, HD_E_CORRUPT,
             "found split.count but no split.no, expected both");
    HD_TRY(st);
    st = hd_gguf_meta_i64(m, "split.tensors.count", 0, HD_GGUF_MAX_TENSORS, &sp->tensors, err);
    HD_CHECK(st != HD_E_NOTFOUND, err, HD_E_CORRUPT,
             "found split.count but no split.tensors.count, expected both");
    return st;
}

// Writes the path of a part (from 1) into out. stem: path in front of "-00001".
static hd_status part_path(hd_slice stem, uint32_t part, const split *sp, hd_buf *out, hd_err *err)
{
    hd_buf_clear(out);
    hd_buf_put_slice(out, stem);
    hd_buf_printf(out, "-%05" PRIu32 "-of-%05" PRId64 ".gguf", part, sp->count);
    HD_CHECK(!out->failed, err, HD_E_NOMEM, "no memory for the path of part %" PRIu32, part);
    return HD_OK;
}

// The path that was opened must be that of part 1. Cuts *stem out of it.
static hd_status check_first(const char *path, const split *sp, hd_slice *stem, hd_err *err)
{
    hd_slice whole = hd_slice_str(path);
    size_t n_stem;
    uint32_t no, count;
    HD_CHECK(sp->no == 0, err, HD_E_INVAL,
             "found part %" PRId64 " of %" PRId64 ", expected to be given part 1", sp->no + 1,
             sp->count);
    HD_CHECK(hd_gguf_split_name(whole, &n_stem, &no, &count), err, HD_E_INVAL,
             "found part 1 of %" PRId64 " by its split.* keys, expected a name that ends in "
             "-00001-of-%05" PRId64 ".gguf",
             sp->count, sp->count);
    HD_CHECK(no == 1 && count == sp->count, err, HD_E_CORRUPT,
             "found part 1 of %" PRId64 " by its split.* keys, expected part %" PRIu32
             " of %" PRIu32 " as its name says",
             sp->count, no, count);
    *stem = hd_slice_of(path, n_stem);
    return HD_OK;
}

static hd_status check_part(const hd_gguf_meta *m, int64_t part, const split *first, hd_err *err)
{
    split sp;
    HD_TRY(read_split(m, &sp, err));
    HD_CHECK(sp.count == first->count && sp.no == part - 1 && sp.tensors == first->tensors, err,
             HD_E_CORRUPT,
             "found part %" PRId64 " of %" PRId64 " with %" PRId64 " tensors in all, expected part "
             "%" PRId64 " of %" PRId64 " with %" PRId64,
             sp.no + 1, sp.count, sp.tensors, part, first->count, first->tensors);
    return HD_OK;
}

static hd_status open_part(hd_source *s, int32_t file, const char *path, const split *first,
                           hd_err *err)
{
    HD_TRY(hd_weight_file_open(&s->file[file], path, s->access, err));
    s->n_files++;
    hd_gguf_meta m = {0};
    hd_status st = read_named_file(s, file, &m, err);
    if (st == HD_OK) {
        st = check_part(&m, file + 1, first, err);
        if (st != HD_OK) hd_err_prefix(err, st, "%s", s->file[file].name);
    }
    hd_gguf_meta_fini(&m);
    return st;
}

// Looks for all parts before it opens one, so that a missing file is reported at once.
static hd_status open_parts(hd_gguf *g, hd_slice stem, const split *sp, hd_err *err)
{
    hd_source *s = &g->src;
    hd_buf path = {0};
    hd_status st = HD_OK;
    for (uint32_t part = 2; part <= sp->count && st == HD_OK; part++) {
        st = part_path(stem, part, sp, &path, err);
        if (st == HD_OK && hd_path_stat(path.data, NULL) != HD_PATH_FILE)
            st = HD_FAIL(err, HD_E_NOTFOUND, "%s: not found, expected part %" PRIu32 " of %" PRId64,
                         path.data, part, sp->count);
    }
    if (st == HD_OK) {
        hd_weight_file *more = hd_reallocarray(s->file, (size_t)sp->count, sizeof(*more));
        if (more)
            s->file = more;
        else
            st = HD_FAIL(err, HD_E_NOMEM, "no memory for %" PRId64 " files", sp->count);
    }
    for (uint32_t part = 2; part <= sp->count && st == HD_OK; part++) {
        st = part_path(stem, part, sp, &path, err);
        if (st == HD_OK) st = open_part(s, (int32_t)part - 1, path.data, sp, err);
    }
    hd_buf_fini(&path);
    HD_TRY(st);
    HD_CHECK(s->n == (uint64_t)sp->tensors, err, HD_E_CORRUPT,
             "%s: found %zu tensors in %" PRId64 " parts, expected %" PRId64
             " (split.tensors.count)",
             s->file[0].name, s->n, sp->count, sp->tensors);
    return HD_OK;
}

// ---- opening -------------------------------------------------------------------------------

// path NULL: the only file is memory.
static hd_status read_all(hd_gguf *g, const char *path, hd_err *err)
{
    split sp;
    hd_slice stem = {0};
    const char *name = g->src.file[0].name;
    HD_TRY(read_named_file(&g->src, 0, &g->meta, err));
    hd_status st = read_split(&g->meta, &sp, err);
    if (st == HD_OK && sp.count > 1)
        st = path ? check_first(path, &sp, &stem, err)
                  : HD_FAIL(err, HD_E_UNSUPPORTED,
                            "found part %" PRId64 " of %" PRId64 ", expected a complete file",
                            sp.no + 1, sp.count);
    if (st != HD_OK) return hd_err_prefix(err, st, "%s", name);
    if (sp.count > 1) HD_TRY(open_parts(g, stem, &sp, err));
    st = hd_source_seal(&g->src, err);
    return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "%s", name);
}

static hd_status open_any(const char *path, hd_file_access access, hd_slice bytes, hd_gguf **out,
                          hd_err *err)
{
    *out = NULL;
    hd_gguf *g = hd_calloc(1, sizeof(*g));
    if (g) g->src.access = access;
    if (g) g->src.file = hd_calloc(1, sizeof(*g->src.file));
    if (!g || !g->src.file) {
        hd_free(g);
        return HD_FAIL(err, HD_E_NOMEM, "no memory to open a GGUF file");
    }
    hd_status st = path ? hd_weight_file_open(&g->src.file[0], path, access, err)
                        : hd_weight_file_mem(&g->src.file[0], bytes, err);
    if (st == HD_OK) {
        g->src.n_files = 1;
        st = read_all(g, path, err);
    }
    if (st != HD_OK) {
        hd_gguf_close(g);
        return st;
    }
    *out = g;
    return HD_OK;
}

hd_status hd_gguf_open(const char *path, hd_file_access access, hd_gguf **out, hd_err *err)
{
    return open_any(path, access, hd_slice_of(NULL, 0), out, err);
}

hd_status hd_gguf_open_mem(hd_slice bytes, hd_gguf **out, hd_err *err)
{
    return open_any(NULL, HD_FILE_MAP, bytes, out, err);
}

void hd_gguf_close(hd_gguf *g)
{
    if (!g) return;
    hd_gguf_meta_fini(&g->meta);
    hd_source_fini(&g->src);
    hd_free(g);
}

hd_status hd_source_open_gguf(const hd_gguf *g, hd_source **out, hd_err *err)
{
    *out = hd_alloc(sizeof(**out));
    HD_CHECK(*out, err, HD_E_NOMEM, "%s: no memory for its tensors", g->src.file[0].name);
    **out = g->src;
    (*out)->borrowed = true;
    return HD_OK;
}
