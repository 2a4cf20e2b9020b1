// GGUF metadata: key-value pairs read once into a table, and the typed getters on it.
//
//   pair   = key:text type:u32 value
//   text   = n:u64 byte[n]
//   array  = type:u32 n:u64 element[n]
//
// Every count is compared with the bytes that are left before anything is allocated for it. What
// the keys mean for a model is not known here, except for the vocabulary's arrays, whose types and
// lengths must agree.
#include "kernels/base/utf8.h"
#include "models/weights/gguf_impl.h"

#include <inttypes.h>
#include <math.h>

enum { N_TYPES = HD_GGUF_F64 + 1, MIN_PAIR = 8 + 1 + 4 + 1 };

typedef struct type_row {
    const char *name;
    size_t bytes; // of one element in a file; 0 for text and array
} type_row;
static const type_row types[] = {
    [HD_GGUF_U8] = {"u8", 1},   [HD_GGUF_I8] = {"i8", 1},       [HD_GGUF_U16] = {"u16", 2},
    [HD_GGUF_I16] = {"i16", 2}, [HD_GGUF_U32] = {"u32", 4},     [HD_GGUF_I32] = {"i32", 4},
    [HD_GGUF_F32] = {"f32", 4}, [HD_GGUF_BOOL] = {"bool", 1},   [HD_GGUF_STRING] = {"string", 0},
    [HD_GGUF_U64] = {"u64", 8}, [HD_GGUF_ARRAY] = {"array", 0}, [HD_GGUF_I64] = {"i64", 8},
    [HD_GGUF_F64] = {"f64", 8},
};
_Static_assert(sizeof(types) / sizeof(types[0]) == N_TYPES, "a row per type");

const char *hd_gguf_type_name(uint32_t type)
{
    return type < N_TYPES ? types[type].name : "unknown";
}

// ---- bytes ---------------------------------------------------------------------------------

hd_status hd_gguf_need(const hd_gguf_reader *r, uint64_t bytes, hd_err *err)
{
    HD_CHECK(bytes <= r->n - r->at, err, HD_E_CORRUPT,
             "found the end of the file at byte %zu, expected %" PRIu64 " bytes from byte %zu on",
             r->n, bytes, r->at);
    return hd_weight_file_need(r->file, r->at + (size_t)bytes, err);
}

hd_status hd_gguf_u32(hd_gguf_reader *r, uint32_t *out, hd_err *err)
{
    HD_TRY(hd_gguf_need(r, 4, err));
    *out = hd_le32(r->p + r->at);
    r->at += 4;
    return HD_OK;
}

hd_status hd_gguf_u64(hd_gguf_reader *r, uint64_t *out, hd_err *err)
{
    HD_TRY(hd_gguf_need(r, 8, err));
    *out = hd_le64(r->p + r->at);
    r->at += 8;
    return HD_OK;
}

hd_status hd_gguf_text(hd_gguf_reader *r, uint64_t max, hd_slice *out, hd_err *err)
{
    uint64_t n;
    HD_TRY(hd_gguf_u64(r, &n, err));
    HD_CHECK(n <= max, err, HD_E_LIMIT,
             "found a text of %" PRIu64 " bytes, expected at most %" PRIu64, n, max);
    HD_TRY(hd_gguf_need(r, n, err));
    *out = hd_slice_of((const char *)r->p + r->at, (size_t)n);
    r->at += (size_t)n;
    return HD_OK;
}

// ---- values --------------------------------------------------------------------------------

static float f32_at(const uint8_t *p)
{
    return hd_f32_from_bits(hd_le32(p));
}

static double f64_at(const uint8_t *p)
{
    uint64_t u = hd_le64(p);
    double d;
    memcpy(&d, &u, sizeof(d));
    return d;
}

static hd_status read_bool(uint8_t byte, hd_err *err)
{
    HD_CHECK(byte <= 1, err, HD_E_CORRUPT, "found byte %u, expected 0 or 1 for a bool", byte);
    return HD_OK;
}

static hd_status read_number(hd_gguf_reader *r, hd_gguf_kv *kv, hd_err *err)
{
    size_t n = types[kv->type].bytes;
    HD_TRY(hd_gguf_need(r, n, err));
    const uint8_t *p = r->p + r->at;
    r->at += n;
    switch (kv->type) {
    case HD_GGUF_U8:
        kv->v.u = p[0];
        return HD_OK;
    case HD_GGUF_I8:
        kv->v.i = (int8_t)p[0];
        return HD_OK;
    case HD_GGUF_U16:
        kv->v.u = (uint16_t)(p[0] | p[1] << 8);
        return HD_OK;
    case HD_GGUF_I16:
        kv->v.i = (int16_t)(uint16_t)(p[0] | p[1] << 8);
        return HD_OK;
    case HD_GGUF_U32:
        kv->v.u = hd_le32(p);
        return HD_OK;
    case HD_GGUF_I32:
        kv->v.i = (int32_t)hd_le32(p);
        return HD_OK;
    case HD_GGUF_U64:
        kv->v.u = hd_le64(p);
        return HD_OK;
    case HD_GGUF_I64:
        kv->v.i = (int64_t)hd_le64(p);
        return HD_OK;
    case HD_GGUF_F32:
        kv->v.f = (double)f32_at(p);
        return HD_OK;
    case HD_GGUF_F64:
        kv->v.f = f64_at(p);
        return HD_OK;
    default:
        HD_DASSERT(kv->type == HD_GGUF_BOOL);
        kv->v.u = p[0];
        return read_bool(p[0], err);
    }
}

static hd_status read_texts(hd_gguf_reader *r, hd_gguf_kv *kv, hd_err *err)
{
    hd_gguf_array *a = &kv->v.arr;
    HD_CHECK(a->n <= (r->n - r->at) / 8, err, HD_E_CORRUPT,
             "found a count of %" PRIu64 " texts, expected at most the %zu bytes that are left / 8",
             a->n, r->n - r->at);
    kv->texts = hd_reallocarray(NULL, (size_t)a->n, sizeof(*kv->texts));
    HD_CHECK(kv->texts, err, HD_E_NOMEM, "no memory for %" PRIu64 " texts", a->n);
    a->str = kv->texts;
    for (uint64_t i = 0; i < a->n; i++) {
        hd_status st = hd_gguf_text(r, HD_GGUF_MAX_STRING, &kv->texts[i], err);
        if (st != HD_OK) return hd_err_prefix(err, st, "element %" PRIu64, i);
    }
    return HD_OK;
}

static hd_status read_array(hd_gguf_reader *r, hd_gguf_kv *kv, hd_err *err)
{
    hd_gguf_array *a = &kv->v.arr;
    uint32_t type;
    HD_TRY(hd_gguf_u32(r, &type, err));
    HD_CHECK(type != HD_GGUF_ARRAY, err, HD_E_CORRUPT,
             "found an array of arrays, expected numbers or texts in it");
    HD_CHECK(type < N_TYPES, err, HD_E_CORRUPT,
             "found element type %" PRIu32 ", expected a value type in [0, %d]", type, N_TYPES - 1);
    HD_TRY(hd_gguf_u64(r, &a->n, err));
    HD_CHECK(a->n <= HD_GGUF_MAX_ELEMS, err, HD_E_LIMIT,
             "found an array of %" PRIu64 " elements, expected at most %d", a->n,
             HD_GGUF_MAX_ELEMS);
    a->type = (hd_gguf_type)type;
    a->data = r->p + r->at;
    if (a->type == HD_GGUF_STRING) return read_texts(r, kv, err);
    size_t bytes = (size_t)a->n * types[type].bytes; // the limit above keeps it small
    HD_TRY(hd_gguf_need(r, bytes, err));
    r->at += bytes;
    for (uint64_t i = 0; a->type == HD_GGUF_BOOL && i < a->n; i++)
        HD_TRY(read_bool(a->data[i], err));
    return HD_OK;
}

static hd_status read_value(hd_gguf_reader *r, hd_gguf_kv *kv, hd_err *err)
{
    uint32_t type;
    HD_TRY(hd_gguf_u32(r, &type, err));
    HD_CHECK(type < N_TYPES, err, HD_E_CORRUPT,
             "found value type %" PRIu32 ", expected one in [0, %d]", type, N_TYPES - 1);
    kv->type = (hd_gguf_type)type;
    if (kv->type == HD_GGUF_ARRAY) return read_array(r, kv, err);
    if (kv->type != HD_GGUF_STRING) return read_number(r, kv, err);
    HD_TRY(hd_gguf_text(r, HD_GGUF_MAX_STRING, &kv->v.str, err));
    // Names, paths and templates: nobody writes NUL into them, except to hide what follows.
    HD_CHECK(!memchr(kv->v.str.p, '\0', kv->v.str.n), err, HD_E_CORRUPT,
             "found a NUL byte in the text, expected none");
    return HD_OK;
}

static hd_status read_key(hd_gguf_reader *r, hd_slice *key, hd_err *err)
{
    HD_TRY(hd_gguf_text(r, HD_GGUF_MAX_KEY_BYTES, key, err));
    HD_CHECK(key->n > 0, err, HD_E_CORRUPT, "found an empty key, expected a name");
    for (size_t i = 0; i < key->n; i++)
        HD_CHECK(key->p[i] > ' ' && key->p[i] < 0x7F, err, HD_E_CORRUPT,
                 "key '%s': found byte 0x%02x, expected printable ASCII", hd_show(*key).text,
                 (unsigned char)key->p[i]);
    return HD_OK;
}

hd_status hd_gguf_meta_read(hd_gguf_reader *r, uint64_t n_kv, hd_gguf_meta *m, hd_err *err)
{
    HD_CHECK(n_kv <= HD_GGUF_MAX_KEYS, err, HD_E_LIMIT,
             "found a count of %" PRIu64 " keys, expected at most %d", n_kv, HD_GGUF_MAX_KEYS);
    HD_TRY(hd_gguf_need(r, n_kv * MIN_PAIR, err));
    m->kv = hd_calloc((size_t)n_kv, sizeof(*m->kv));
    HD_CHECK(m->kv && hd_map_reserve(&m->by_key, (uint32_t)n_kv), err, HD_E_NOMEM,
             "no memory for %" PRIu64 " keys", n_kv);
    while (m->n < n_kv) {
        hd_gguf_kv *kv = &m->kv[m->n];
        hd_status st = read_key(r, &kv->key, err);
        if (st != HD_OK) return hd_err_prefix(err, st, "key %zu of %" PRIu64, m->n + 1, n_kv);
        hd_map_put_result put = hd_map_put(&m->by_key, kv->key, (uint32_t)m->n);
        HD_CHECK(put != HD_MAP_NOMEM, err, HD_E_NOMEM, "no memory for %" PRIu64 " keys", n_kv);
        HD_CHECK(put == HD_MAP_NEW, err, HD_E_CORRUPT,
                 "key '%s': found twice, expected every key once", hd_show(kv->key).text);
        m->n++; // from here on fini releases it
        st = read_value(r, kv, err);
        if (st != HD_OK) return hd_err_prefix(err, st, "key '%s'", hd_show(kv->key).text);
        HD_CHECK(r->at <= HD_GGUF_MAX_HEADER, err, HD_E_LIMIT,
                 "key '%s': found it to end at byte %zu, expected metadata of at most %d bytes",
                 hd_show(kv->key).text, r->at, HD_GGUF_MAX_HEADER);
    }
    return HD_OK;
}

void hd_gguf_meta_fini(hd_gguf_meta *m)
{
    for (size_t i = 0; i < m->n; i++)
        hd_free(m->kv[i].texts);
    hd_free(m->kv);
    hd_map_fini(&m->by_key);
    *m = (hd_gguf_meta){0};
}

// ---- lookups -------------------------------------------------------------------------------

const hd_gguf_kv *hd_gguf_meta_find(const hd_gguf_meta *m, const char *key)
{
    uint32_t i;
    return hd_map_get(&m->by_key, hd_slice_str(key), &i) ? &m->kv[i] : NULL;
}

static bool is_signed(hd_gguf_type t)
{
    return t == HD_GGUF_I8 || t == HD_GGUF_I16 || t == HD_GGUF_I32 || t == HD_GGUF_I64;
}

static bool is_unsigned(hd_gguf_type t)
{
    return t == HD_GGUF_U8 || t == HD_GGUF_U16 || t == HD_GGUF_U32 || t == HD_GGUF_U64;
}

static bool is_float(hd_gguf_type t)
{
    return t == HD_GGUF_F32 || t == HD_GGUF_F64;
}

static hd_status wrong_type(const hd_gguf_kv *kv, const char *expected, hd_err *err)
{
    bool array = kv->type == HD_GGUF_ARRAY;
    return HD_FAIL(err, HD_E_INVAL, "key '%s': found %s%s, expected %s", hd_show(kv->key).text,
                   array ? "an array of " : "",
                   hd_gguf_type_name(array ? kv->v.arr.type : kv->type), expected);
}

hd_status hd_gguf_meta_i64(const hd_gguf_meta *m, const char *key, int64_t min, int64_t max,
                           int64_t *out, hd_err *err)
{
    const hd_gguf_kv *kv = hd_gguf_meta_find(m, key);
    if (!kv) return HD_E_NOTFOUND;
    if (is_unsigned(kv->type)) {
        HD_CHECK(max >= 0 && kv->v.u <= (uint64_t)max && (min < 0 || kv->v.u >= (uint64_t)min), err,
                 HD_E_INVAL,
                 "key '%s': found %" PRIu64 ", expected an integer in [%" PRId64 ", %" PRId64 "]",
                 key, kv->v.u, min, max);
        *out = (int64_t)kv->v.u;
        return HD_OK;
    }
    if (!is_signed(kv->type)) return wrong_type(kv, "an integer", err);
    HD_CHECK(kv->v.i >= min && kv->v.i <= max, err, HD_E_INVAL,
             "key '%s': found %" PRId64 ", expected an integer in [%" PRId64 ", %" PRId64 "]", key,
             kv->v.i, min, max);
    *out = kv->v.i;
    return HD_OK;
}

// Absent keys leave *out NULL.
static hd_status find_array(const hd_gguf_meta *m, const char *key, hd_gguf_type want,
                            const hd_gguf_array **out, hd_err *err)
{
    const hd_gguf_kv *kv = hd_gguf_meta_find(m, key);
    *out = NULL;
    if (!kv) return HD_OK;
    if (kv->type == HD_GGUF_ARRAY && (want == HD_GGUF_ARRAY || want == kv->v.arr.type)) {
        *out = &kv->v.arr;
        return HD_OK;
    }
    char expected[32] = "an array of ";
    strcat(expected, want == HD_GGUF_ARRAY ? "any type" : hd_gguf_type_name(want));
    return wrong_type(kv, want == HD_GGUF_ARRAY ? "an array" : expected, err);
}

static hd_status same_length(const hd_gguf_array *a, const char *key, uint64_t n_tokens,
                             hd_err *err)
{
    HD_CHECK(!a || a->n == n_tokens, err, HD_E_CORRUPT,
             "key '%s': found %" PRIu64 " elements, expected %" PRIu64
             ", one for each of tokenizer.ggml.tokens",
             key, a->n, n_tokens);
    return HD_OK;
}

hd_status hd_gguf_meta_check(const hd_gguf_meta *m, hd_err *err)
{
    const char *const type_key = "tokenizer.ggml.token_type", *const score_key =
                                                                  "tokenizer.ggml.scores";
    const hd_gguf_array *tokens, *type, *scores, *merges;
    HD_TRY(find_array(m, "tokenizer.ggml.tokens", HD_GGUF_STRING, &tokens, err));
    HD_TRY(find_array(m, "tokenizer.ggml.merges", HD_GGUF_STRING, &merges, err));
    HD_TRY(find_array(m, type_key, HD_GGUF_I32, &type, err));
    HD_TRY(find_array(m, score_key, HD_GGUF_F32, &scores, err));
    uint64_t n = tokens ? tokens->n : 0;
    HD_TRY(same_length(type, type_key, n, err));
    HD_TRY(same_length(scores, score_key, n, err));
    for (uint64_t i = 0; i < n; i++)
        HD_CHECK(tokens->str[i].n <= HD_GGUF_MAX_TOKEN, err, HD_E_LIMIT,
                 "key 'tokenizer.ggml.tokens': element %" PRIu64
                 ": found %zu bytes, expected at most %d",
                 i, tokens->str[i].n, HD_GGUF_MAX_TOKEN);
    return HD_OK;
}

// ---- public getters ------------------------------------------------------------------------

// Puts the file's name in front of what a lookup reported; passes HD_OK and "absent" through.
static hd_status named(const hd_gguf *g, hd_status st, hd_err *err)
{
    if (st == HD_OK || st == HD_E_NOTFOUND) return st;
    return hd_err_prefix(err, st, "%s", g->src.file[0].name);
}

hd_status hd_gguf_get_i64(const hd_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                          hd_err *err)
{
    return named(g, hd_gguf_meta_i64(&g->meta, key, min, max, out, err), err);
}

hd_status hd_gguf_get_f64(const hd_gguf *g, const char *key, double *out, hd_err *err)
{
    const hd_gguf_kv *kv = hd_gguf_meta_find(&g->meta, key);
    if (!kv) return HD_E_NOTFOUND;
    double v;
    if (is_float(kv->type))
        v = kv->v.f;
    else if (is_unsigned(kv->type))
        v = (double)kv->v.u;
    else if (is_signed(kv->type))
        v = (double)kv->v.i;
    else
        return named(g, wrong_type(kv, "a number", err), err);
    if (!isfinite(v))
        return named(
            g, HD_FAIL(err, HD_E_INVAL, "key '%s': found %f, expected a finite number", key, v),
            err);
    *out = v;
    return HD_OK;
}

hd_status hd_gguf_get_bool(const hd_gguf *g, const char *key, bool *out, hd_err *err)
{
    const hd_gguf_kv *kv = hd_gguf_meta_find(&g->meta, key);
    if (!kv) return HD_E_NOTFOUND;
    if (kv->type != HD_GGUF_BOOL) return named(g, wrong_type(kv, "bool", err), err);
    *out = kv->v.u != 0;
    return HD_OK;
}

hd_status hd_gguf_get_str(const hd_gguf *g, const char *key, hd_slice *out, hd_err *err)
{
    const hd_gguf_kv *kv = hd_gguf_meta_find(&g->meta, key);
    if (!kv) return HD_E_NOTFOUND;
    if (kv->type != HD_GGUF_STRING) return named(g, wrong_type(kv, "string", err), err);
    *out = kv->v.str;
    return HD_OK;
}

hd_status hd_gguf_get_array(const hd_gguf *g, const char *key, hd_gguf_type want,
                            hd_gguf_array *out, hd_err *err)
{
    const hd_gguf_array *a;
    hd_status st = find_array(&g->meta, key, want, &a, err);
    if (st != HD_OK) return named(g, st, err);
    if (!a) return HD_E_NOTFOUND;
    *out = *a;
    return HD_OK;
}

bool hd_gguf_has(const hd_gguf *g, const char *key)
{
    return hd_gguf_meta_find(&g->meta, key) != NULL;
}

// ---- walking -------------------------------------------------------------------------------

size_t hd_gguf_n_keys(const hd_gguf *g)
{
    return g->meta.n;
}

hd_slice hd_gguf_key(const hd_gguf *g, size_t i)
{
    HD_ASSERT(i < g->meta.n);
    return g->meta.kv[i].key;
}

// One line: control characters are escaped, ill-formed UTF-8 is replaced.
static void put_text(hd_buf *out, hd_slice s, size_t max_chars)
{
    for (size_t at = 0, chars = 0; at < s.n; chars++) {
        if (chars == max_chars) {
            hd_buf_puts(out, "...");
            return;
        }
        uint32_t cp;
        int len = hd_utf8_decode(s.p + at, s.n - at, &cp);
        size_t used = len > 0 ? (size_t)len : len < 0 ? (size_t)-len : s.n - at;
        if (len <= 0)
            hd_utf8_append_lossy(out, hd_slice_of(s.p + at, used));
        else if (cp == '\n')
            hd_buf_puts(out, "\\n");
        else if (cp < ' ' || (cp >= 0x7F && cp < 0xA0))
            hd_buf_printf(out, "\\x%02x", (unsigned)cp);
        else
            hd_buf_put(out, s.p + at, used);
        at += used;
    }
}

void hd_gguf_value_text(const hd_gguf *g, size_t i, size_t max_chars, hd_buf *out)
{
    HD_ASSERT(i < g->meta.n);
    const hd_gguf_kv *kv = &g->meta.kv[i];
    if (kv->type == HD_GGUF_STRING)
        put_text(out, kv->v.str, max_chars);
    else if (kv->type == HD_GGUF_ARRAY)
        hd_buf_printf(out, "[%s x %" PRIu64 "]", hd_gguf_type_name(kv->v.arr.type), kv->v.arr.n);
    else if (kv->type == HD_GGUF_BOOL)
        hd_buf_puts(out, kv->v.u ? "true" : "false");
    else if (is_float(kv->type))
        hd_buf_printf(out, "%.*g", kv->type == HD_GGUF_F32 ? 7 : 15, kv->v.f);
    else if (is_signed(kv->type))
        hd_buf_printf(out, "%" PRId64, kv->v.i);
    else
        hd_buf_printf(out, "%" PRIu64, kv->v.u);
}
