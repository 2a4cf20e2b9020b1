// Reading fields of request bodies. Knows no dialect.
#include "server/schemas/common.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// "the number 3", "'abc'", "an array" and so on.
static const char *found(const hd_json *v, char out[64])
{
    hd_slice s;
    double f;
    int64_t i;
    if (hd_json_i64(v, &i))
        snprintf(out, 64, "%" PRId64, i);
    else if (hd_json_f64(v, &f))
        snprintf(out, 64, "%g", f);
    else if (hd_json_str(v, &s))
        snprintf(out, 64, "a string");
    else
        snprintf(out, 64, "%s", hd_json_type_name(v));
    return out;
}

static const hd_json *get(const hd_fields *f, const char *key, bool *has)
{
    const hd_json *v = hd_json_get(f->o, key);
    if (hd_json_is_null(v)) v = NULL;
    if (has) *has = v != NULL;
    return v;
}

hd_status hd_take_i64(const hd_fields *f, const char *key, int64_t min, int64_t max, int64_t *out,
                      bool *has)
{
    const hd_json *v = get(f, key, has);
    char text[64];
    int64_t i;
    if (!v) return HD_OK;
    HD_CHECK(hd_json_i64(v, &i) && i >= min && i <= max, f->err, HD_E_INVAL,
             "%s%s: found %s, expected an integer in [%" PRId64 ", %" PRId64 "]", f->path, key,
             found(v, text), min, max);
    *out = i;
    return HD_OK;
}

hd_status hd_take_i32(const hd_fields *f, const char *key, int32_t min, int32_t max, int32_t *out,
                      bool *has)
{
    int64_t i = *out;
    HD_TRY(hd_take_i64(f, key, min, max, &i, has));
    *out = (int32_t)i;
    return HD_OK;
}

hd_status hd_take_f32(const hd_fields *f, const char *key, double min, double max, float *out,
                      bool *has)
{
    const hd_json *v = get(f, key, has);
    char text[64];
    double d;
    if (!v) return HD_OK;
    HD_CHECK(hd_json_f64(v, &d) && d >= min && d <= max, f->err, HD_E_INVAL,
             "%s%s: found %s, expected a number in [%g, %g]", f->path, key, found(v, text), min,
             max);
    *out = (float)d;
    return HD_OK;
}

hd_status hd_take_bool(const hd_fields *f, const char *key, bool *out, bool *has)
{
    const hd_json *v = get(f, key, has);
    char text[64];
    HD_CHECK(!v || hd_json_bool(v, out), f->err, HD_E_INVAL, "%s%s: found %s, expected a boolean",
             f->path, key, found(v, text));
    return HD_OK;
}

hd_status hd_take_str(const hd_fields *f, const char *key, hd_slice *out, bool *has)
{
    const hd_json *v = get(f, key, has);
    char text[64];
    HD_CHECK(!v || hd_json_str(v, out), f->err, HD_E_INVAL, "%s%s: found %s, expected a string",
             f->path, key, found(v, text));
    return HD_OK;
}

// Different texts give different salts but for one chance in 2^64; 0 is for those without.
static uint64_t salt_of(hd_slice text)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * 0x100000001b3u;
    return text.n > 0 && h == 0 ? 1 : text.n > 0 ? h : 0;
}

hd_status hd_take_scheduling(const hd_fields *f, hd_gen_request *rq)
{
    hd_slice salt = {0};
    int32_t later = 0;
    bool speculate = true;
    HD_TRY(hd_take_i32(f, "priority", -1000000, 1000000, &later, NULL));
    HD_TRY(hd_take_str(f, "cache_salt", &salt, NULL));
    HD_TRY(hd_take_bool(f, "speculate", &speculate, NULL));
    rq->priority = -later;
    rq->cache_salt = salt_of(salt);
    rq->no_speculation = !speculate;
    return HD_OK;
}

hd_status hd_take_seed(const hd_fields *f, const char *key, hd_gen_request *rq)
{
    const hd_json *v = get(f, key, NULL);
    char text[64];
    uint64_t u;
    int64_t i;
    if (!v) return HD_OK;
    if (hd_json_u64(v, &u))
        rq->sample.seed = u;
    else if (hd_json_i64(v, &i))
        rq->sample.seed = (uint64_t)i;
    else
        return HD_FAIL(f->err, HD_E_INVAL, "%s%s: found %s, expected a 64-bit integer", f->path,
                       key, found(v, text));
    rq->has_seed = true;
    return HD_OK;
}

// ---- lists ---------------------------------------------------------------------------------

static hd_status one_stop(const hd_fields *f, const char *key, const hd_json *v, hd_slice *out)
{
    char text[64];
    HD_CHECK(hd_json_str(v, out), f->err, HD_E_INVAL, "%s%s: found %s, expected strings", f->path,
             key, found(v, text));
    HD_CHECK(out->n > 0, f->err, HD_E_INVAL, "%s%s: found an empty string, expected text", f->path,
             key);
    HD_CHECK(out->n <= HD_STOP_BYTES, f->err, HD_E_LIMIT,
             "%s%s: found a string of %zu bytes, expected at most %d", f->path, key, out->n,
             HD_STOP_BYTES);
    return HD_OK;
}

hd_status hd_take_stop(const hd_fields *f, const char *key, int64_t most, hd_gen_request *rq)
{
    const hd_json *v = get(f, key, NULL);
    bool list = hd_json_type(v) == HD_JSON_ARRAY;
    size_t n = list ? hd_json_len(v) : 1, i = 0;
    if (!v || n == 0) return HD_OK;
    HD_CHECK(n <= (size_t)most, f->err, HD_E_LIMIT,
             "%s%s: found %zu stop strings, expected at most %" PRId64, f->path, key, n, most);
    hd_slice *words = hd_arena_alloc(f->a, n * sizeof(*words));
    HD_CHECK(words, f->err, HD_E_NOMEM, "out of memory");
    if (!list) HD_TRY(one_stop(f, key, v, &words[0]));
    for (const hd_json *c = list ? hd_json_first(v) : NULL; c; c = hd_json_next(c))
        HD_TRY(one_stop(f, key, c, &words[i++]));
    rq->stop = words;
    rq->n_stop = n;
    return HD_OK;
}

hd_status hd_take_ids(const hd_fields *f, const char *key, const hd_json *v, size_t most,
                      const int32_t **out, size_t *n)
{
    char text[64];
    size_t len = hd_json_len(v), i = 0;
    HD_CHECK(hd_json_type(v) == HD_JSON_ARRAY, f->err, HD_E_INVAL,
             "%s%s: found %s, expected an array of token ids", f->path, key, found(v, text));
    HD_CHECK(len <= most, f->err, HD_E_LIMIT, "%s%s: found %zu token ids, expected at most %zu",
             f->path, key, len, most);
    int32_t *ids = hd_arena_alloc(f->a, (len ? len : 1) * sizeof(*ids));
    HD_CHECK(ids, f->err, HD_E_NOMEM, "out of memory");
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), i++) {
        int64_t id;
        HD_CHECK(hd_json_i64(c, &id) && id >= 0 && id <= INT32_MAX, f->err, HD_E_INVAL,
                 "%s%s[%zu]: found %s, expected a token id", f->path, key, i, found(c, text));
        ids[i] = (int32_t)id;
    }
    *out = ids;
    *n = len;
    return HD_OK;
}

hd_status hd_refuse(const hd_fields *f, const char *key, const char *why)
{
    HD_CHECK(!get(f, key, NULL), f->err, HD_E_UNSUPPORTED, "%s%s: not supported (%s)", f->path, key,
             why);
    return HD_OK;
}

hd_status hd_refuse_unless(const hd_fields *f, const char *key, double off, const char *why)
{
    double d;
    const hd_json *v = get(f, key, NULL);
    if (hd_json_f64(v, &d) && d - off == 0) return HD_OK;
    return hd_refuse(f, key, why);
}

// ---- writing -------------------------------------------------------------------------------

const char *hd_finish_openai(hd_finish f)
{
    return f == HD_FINISH_STOP ? "stop" : "length"; // a deadline cuts the length too
}

void hd_delta_text(const hd_gen_delta *d, hd_piece_kind kind, hd_buf *joined)
{
    for (size_t i = 0; i < d->n_pieces; i++)
        if (d->piece[i].kind == kind) hd_buf_put_slice(joined, d->piece[i].text);
}

void hd_put_token_str(hd_buf *w, const hd_tokenizer *t, int32_t id)
{
    hd_json_put_str(w, hd_token_bytes(t, id)); // ill-formed parts become U+FFFD there
}
