// One safetensors file: n:u64, n bytes of JSON, data.
//
//   {"name": {"dtype": "BF16", "shape": [4, 8], "data_offsets": [begin, end]}, ...}
//
// The data must be covered without holes or overlaps, to the last byte. The header is scanned as a
// whole, then taken apart entry by entry, so a header of 100 MB never stands in memory as a tree.
// Not here: folders and shards (safetensors_index.c), what tensors mean, writing.
#include "models/weights/safetensors_impl.h"

#include <inttypes.h>

enum { LENGTH_BYTES = 8, HEADER_DEPTH = 4, ENTRY_BYTES = 4096, ENTRY_NODES = 64 };

// At most 14 values per tensor: the object, its three fields, eight dimensions, two offsets.
static const hd_json_limits header_limits = {HD_ST_MAX_HEADER, 16 * (size_t)HD_ST_MAX_TENSORS,
                                             HEADER_DEPTH};
static const hd_json_limits entry_limits = {ENTRY_BYTES, ENTRY_NODES, HEADER_DEPTH};
static const hd_json_limits metadata_limits = {HD_ST_MAX_HEADER, 1 << 16, HEADER_DEPTH};

// ---- taking the header apart ---------------------------------------------------------------

// Walks over text that the scanner has accepted. Each step stays inside the text all the same,
// because a mapped file can change between the two passes.
typedef struct walker {
    const char *p, *end;
} walker;

static void skip_blanks(walker *w)
{
    while (w->p < w->end && (*w->p == ' ' || *w->p == '\n' || *w->p == '\r' || *w->p == '\t'))
        w->p++;
}

static bool take(walker *w, char c)
{
    skip_blanks(w);
    if (w->p == w->end || *w->p != c) return false;
    w->p++;
    return true;
}

// The string at the walker, quotes included.
static bool take_string(walker *w, hd_slice *raw)
{
    const char *start = w->p;
    if (w->p == w->end || *w->p != '"') return false;
    for (w->p++; w->p < w->end; w->p++) {
        if (*w->p == '\\' && w->p + 1 < w->end) {
            w->p++;
        } else if (*w->p == '"') {
            w->p++;
            *raw = hd_slice_of(start, (size_t)(w->p - start));
            return true;
        }
    }
    return false;
}

// The value at the walker, up to the comma or brace behind it.
static bool take_value(walker *w, hd_slice *raw)
{
    skip_blanks(w);
    const char *start = w->p;
    hd_slice ignored;
    for (int depth = 0; w->p < w->end;) {
        char c = *w->p;
        if (c == '"') {
            if (!take_string(w, &ignored)) return false;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}')) break;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        w->p++;
    }
    *raw = hd_slice_of(start, (size_t)(w->p - start));
    return w->p < w->end;
}

// The text of a key: borrowed when it stands in the file as it is, else a copy in s->texts.
static hd_status key_text(hd_source *s, hd_slice raw, hd_slice *out, hd_err *err)
{
    *out = hd_slice_of(raw.p + 1, raw.n - 2);
    if (!memchr(raw.p, '\\', raw.n)) return HD_OK;
    hd_json *node;
    hd_slice text;
    HD_TRY(hd_json_parse(raw, &header_limits, &node, err));
    char *copy = NULL;
    if (hd_json_str(node, &text)) copy = hd_arena_dup(&s->texts, text.p, text.n);
    if (copy) *out = hd_slice_of(copy, text.n);
    hd_json_free(node);
    HD_CHECK(copy, err, HD_E_NOMEM, "no memory for the names of tensors");
    return HD_OK;
}

// ---- one tensor ----------------------------------------------------------------------------

static hd_status read_dtype(const hd_json *v, hd_dtype *out, hd_err *err)
{
    // Known to the format and not to us.
    static const char *const others[] = {"F4",          "F6_E2M3",     "F6_E3M2",
                                         "F8_E4M3FNUZ", "F8_E5M2FNUZ", "C64"};
    hd_slice name;
    HD_CHECK(hd_json_str(v, &name), err, HD_E_CORRUPT, "dtype: found %s, expected a string",
             hd_json_type_name(v));
    *out = hd_dtype_by_safetensors(name.p, name.n);
    if (*out != HD_DTYPE_NONE) return HD_OK;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        HD_CHECK(!hd_slice_eq_str(name, others[i]), err, HD_E_UNSUPPORTED,
                 "dtype: found %s, which this version cannot decode; expected one such as BF16, "
                 "F16, F32 or F8_E4M3",
                 others[i]);
    return HD_FAIL(err, HD_E_CORRUPT, "dtype: found '%s', expected one such as BF16, F16 or F32",
                   hd_show(name).text);
}

// An array of integers; at most max of them.
static hd_status read_integers(const hd_json *v, const char *what, size_t max, uint64_t *out,
                               size_t *n, hd_err *err)
{
    HD_CHECK(hd_json_type(v) == HD_JSON_ARRAY, err, HD_E_CORRUPT, "%s: found %s, expected an array",
             what, hd_json_type_name(v));
    *n = 0;
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c)) {
        HD_CHECK(*n < max, err, HD_E_LIMIT, "%s: found %zu numbers, expected at most %zu", what,
                 hd_json_len(v), max);
        double found = 0;
        HD_CHECK(hd_json_f64(c, &found), err, HD_E_CORRUPT, "%s: found %s, expected integers", what,
                 hd_json_type_name(c));
        HD_CHECK(hd_json_u64(c, &out[*n]) && out[*n] <= INT64_MAX, err, HD_E_CORRUPT,
                 "%s: element %zu: found %.15g, expected an integer in [0, 2^63)", what, *n, found);
        ++*n;
    }
    return HD_OK;
}

// False when a number is written with a sign, a fraction or an exponent. The only other bare words
// of JSON were refused before as not being numbers.
static bool plain_numbers(hd_slice text)
{
    walker w = {text.p, text.p + text.n};
    hd_slice ignored;
    while (w.p < w.end) {
        if (*w.p == '"') {
            if (!take_string(&w, &ignored)) return false;
            continue;
        }
        if (strchr("+-.eE", *w.p) && *w.p) return false;
        w.p++;
    }
    return true;
}

static hd_status read_fields(const hd_json *entry, hd_source_tensor *t, uint64_t offsets[2],
                             hd_err *err)
{
    const hd_json *dtype = hd_json_get(entry, "dtype"), *shape = hd_json_get(entry, "shape"),
                  *data = hd_json_get(entry, "data_offsets");
    HD_CHECK(hd_json_type(entry) == HD_JSON_OBJECT, err, HD_E_CORRUPT,
             "found %s, expected an object", hd_json_type_name(entry));
    // A field we do not know could change what the others mean.
    HD_CHECK(dtype && shape && data && hd_json_len(entry) == 3, err, HD_E_CORRUPT,
             "found %zu fields, expected dtype, shape and data_offsets once each",
             hd_json_len(entry));
    size_t rank, n;
    HD_TRY(read_dtype(dtype, &t->dtype, err));
    HD_TRY(read_integers(shape, "shape", HD_SOURCE_MAX_RANK, t->shape, &rank, err));
    HD_TRY(read_integers(data, "data_offsets", 2, offsets, &n, err));
    HD_CHECK(n == 2, err, HD_E_CORRUPT, "data_offsets: found %zu numbers, expected 2", n);
    t->rank = (int32_t)rank;
    return HD_OK;
}

static hd_status check_size(hd_source_tensor *t, const uint64_t offsets[2], size_t n_data,
                            hd_err *err)
{
    uint64_t begin = offsets[0], end = offsets[1];
    HD_CHECK(begin <= end && end <= n_data, err, HD_E_CORRUPT,
             "data_offsets: found [%" PRIu64 ", %" PRIu64
             "], expected them in order and at most %zu, the bytes of data",
             begin, end, n_data);
    uint64_t element = (uint64_t)hd_dtype_get(t->dtype)->block_bytes;
    bool fits = hd_shape_bytes(t->shape, t->rank, element, &t->bytes);
    HD_CHECK(fits, err, HD_E_CORRUPT, "shape: found %s, expected less than 2^64 bytes",
             hd_show_shape(t->shape, t->rank).text);
    HD_CHECK(t->bytes == end - begin, err, HD_E_CORRUPT,
             "data_offsets: found %" PRIu64 " bytes, expected %" PRIu64 " for shape %s of %s",
             end - begin, t->bytes, hd_show_shape(t->shape, t->rank).text, hd_dtype_name(t->dtype));
    return HD_OK;
}

static hd_status read_tensor(hd_slice raw, hd_source_tensor *t, const uint8_t *data, size_t n_data,
                             hd_err *err)
{
    hd_json *entry;
    uint64_t offsets[2];
    HD_TRY(hd_json_parse(raw, &entry_limits, &entry, err));
    hd_status st = read_fields(entry, t, offsets, err);
    hd_json_free(entry);
    HD_TRY(st);
    HD_CHECK(plain_numbers(raw), err, HD_E_CORRUPT,
             "found a number with a sign, a fraction or an exponent, expected plain digits");
    HD_TRY(check_size(t, offsets, n_data, err));
    t->data = data + offsets[0];
    return HD_OK;
}

// Texts for humans; only their form is checked.
static hd_status check_metadata(hd_slice raw, hd_err *err)
{
    hd_json *root;
    HD_TRY(hd_json_parse(raw, &metadata_limits, &root, err));
    hd_status st = HD_OK;
    if (hd_json_type(root) != HD_JSON_OBJECT)
        st = HD_FAIL(err, HD_E_CORRUPT, "found %s, expected an object", hd_json_type_name(root));
    for (const hd_json *c = hd_json_first(root); c && st == HD_OK; c = hd_json_next(c))
        if (hd_json_type(c) != HD_JSON_STRING)
            st = HD_FAIL(err, HD_E_CORRUPT, "'%s': found %s, expected a string",
                         hd_show(hd_json_key(c)).text, hd_json_type_name(c));
    hd_json_free(root);
    return st;
}

// ---- the whole header ----------------------------------------------------------------------

static hd_status read_entry(hd_source *s, walker *w, int32_t file, const uint8_t *data,
                            size_t n_data, int *n_metadata, hd_err *err)
{
    hd_slice key, value, name;
    skip_blanks(w);
    bool taken = take_string(w, &key) && take(w, ':') && take_value(w, &value);
    HD_CHECK(taken, err, HD_E_CORRUPT,
             "header: found it changed while it was read, expected a file that stays as it is");
    HD_TRY(key_text(s, key, &name, err));
    if (hd_slice_eq_str(name, "__metadata__")) {
        HD_CHECK(++*n_metadata == 1, err, HD_E_CORRUPT,
                 "__metadata__: found twice, expected it once at most");
        hd_status st = check_metadata(value, err);
        return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "__metadata__");
    }
    HD_CHECK(name.n >= 1 && name.n <= HD_ST_MAX_NAME, err, HD_E_LIMIT,
             "tensor '%s': found a name of %zu bytes, expected 1 to %d", hd_show(name).text, name.n,
             HD_ST_MAX_NAME);
    HD_CHECK(s->n < HD_ST_MAX_TENSORS, err, HD_E_LIMIT,
             "tensor '%s': found more than %d tensors, expected at most that", hd_show(name).text,
             HD_ST_MAX_TENSORS);
    hd_source_tensor t = {.name = name, .file = file};
    hd_status st = read_tensor(value, &t, data, n_data, err);
    if (st != HD_OK) return hd_err_prefix(err, st, "tensor '%s'", hd_show(name).text);
    return hd_source_push(s, &t, err);
}

static hd_status read_entries(hd_source *s, hd_slice header, int32_t file, const uint8_t *data,
                              size_t n_data, hd_err *err)
{
    walker w = {header.p, header.p + header.n};
    int n_metadata = 0;
    if (!take(&w, '{') || take(&w, '}')) return HD_OK;
    do
        HD_TRY(read_entry(s, &w, file, data, n_data, &n_metadata, err));
    while (take(&w, ','));
    return HD_OK;
}

static hd_status check_cover(const hd_source *s, size_t from, const uint8_t *data, size_t n_data,
                             hd_err *err)
{
    uint64_t at = 0;
    for (size_t i = from; i < s->n; i++) {
        const hd_source_tensor *t = &s->t[i];
        uint64_t begin = (uint64_t)((const uint8_t *)t->data - data);
        HD_CHECK(begin == at, err, HD_E_CORRUPT,
                 "tensor '%s': found its data at offset %" PRIu64 ", expected %" PRIu64
                 ", where the tensor before it ends",
                 hd_show(t->name).text, begin, at);
        at = begin + t->bytes;
    }
    HD_CHECK(at == n_data, err, HD_E_CORRUPT,
             "found %zu bytes of data, expected %" PRIu64 ", the end of the last tensor", n_data,
             at);
    return HD_OK;
}

// Finds the header and the data behind it.
static hd_status split_file(hd_weight_file *f, hd_slice *header, size_t *data_at, hd_err *err)
{
    HD_CHECK(f->n >= LENGTH_BYTES, err, HD_E_CORRUPT,
             "found %zu bytes, expected at least the %d bytes of the header's length", f->n,
             LENGTH_BYTES);
    HD_TRY(hd_weight_file_need(f, LENGTH_BYTES, err));
    uint64_t n = hd_le64(f->p);
    HD_CHECK(n <= HD_ST_MAX_HEADER, err, HD_E_LIMIT,
             "found a header of %" PRIu64 " bytes, expected at most %d", n, HD_ST_MAX_HEADER);
    HD_CHECK(n <= f->n - LENGTH_BYTES, err, HD_E_CORRUPT,
             "found a header of %" PRIu64 " bytes, expected at most %zu, the rest of the file", n,
             f->n - LENGTH_BYTES);
    HD_TRY(hd_weight_file_need(f, LENGTH_BYTES + (size_t)n, err));
    *header = hd_slice_of((const char *)f->p + LENGTH_BYTES, (size_t)n);
    HD_CHECK(n > 0 && header->p[0] == '{', err, HD_E_CORRUPT,
             "found a header that begins with '%s', expected '{'",
             hd_show(hd_slice_of(header->p, n > 0)).text);
    *data_at = LENGTH_BYTES + (size_t)n;
    return HD_OK;
}

hd_status hd_st_read_file(hd_source *s, int32_t file, hd_err *err)
{
    hd_weight_file *f = &s->file[file];
    hd_slice header = {0};
    size_t data_at = 0, from = s->n;
    HD_TRY(split_file(f, &header, &data_at, err));
    hd_status st = hd_json_scan(header, &header_limits, err);
    if (st != HD_OK) return hd_err_prefix(err, st, "header");
    HD_TRY(read_entries(s, header, file, f->p + data_at, f->n - data_at, err));
    hd_map names = {0};
    st = hd_source_names(s, from, &names, err);
    hd_map_fini(&names);
    HD_TRY(st);
    hd_source_sort(s, from);
    return check_cover(s, from, f->p + data_at, f->n - data_at, err);
}
