// normalizer, pre_tokenizer, post_processor and decoder of a tokenizer.json.
//
// Each component is an object with a "type"; a "Sequence" holds several. Only what the supported
// models need is accepted: a setting that would change ids and is not implemented is refused, not
// ignored. Not here: model and added tokens (hf_json.c).
#include "models/tokenizer/hf_parts.h"

typedef struct reader {
    hd_tokenizer *t;
    hd_hf_parts *parts;
    bool last; // ByteLevel has been read: it must be the last pre-tokenizer
} reader;

typedef hd_status (*component_fn)(reader *r, const hd_json *node, hd_slice type, hd_err *err);

// Calls fn for a component, or for each one in its sequence. Depth is bounded by the parser's.
static hd_status each(reader *r, const hd_json *node, const char *list, component_fn fn,
                      hd_err *err)
{
    hd_slice type;
    if (hd_json_is_null(node)) return HD_OK;
    HD_CHECK(hd_json_type(node) == HD_JSON_OBJECT, err, HD_E_INVAL, "found %s, expected an object",
             hd_json_type_name(node));
    HD_TRY(hd_json_field_str(node, "type", HD_JSON_REQUIRED, &type, err));
    if (!hd_slice_eq_str(type, "Sequence")) return fn(r, node, type, err);
    const hd_json *items = hd_json_get(node, list);
    HD_CHECK(hd_json_type(items) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "field '%s': found %s, expected an array", list, hd_json_type_name(items));
    for (const hd_json *v = hd_json_first(items); v; v = hd_json_next(v))
        HD_TRY(each(r, v, list, fn, err));
    return HD_OK;
}

static hd_status unsupported(hd_slice type, hd_err *err)
{
    return HD_FAIL(err, HD_E_UNSUPPORTED, "type '%.*s' is not supported",
                   (int)(type.n < 40 ? type.n : 40), type.p);
}

// A text that must be one certain text.
static hd_status expect_str(const hd_json *node, const char *key, const char *want, hd_err *err)
{
    hd_slice s;
    HD_TRY(hd_json_field_str(node, key, HD_JSON_REQUIRED, &s, err));
    HD_CHECK(hd_slice_eq_str(s, want), err, HD_E_UNSUPPORTED, "%s '%.*s': only '%s' is supported",
             key, (int)(s.n < 40 ? s.n : 40), s.p, want);
    return HD_OK;
}

// {"pattern": {"String": from}, "content": to}
static hd_status expect_replace(const hd_json *node, const char *from, const char *to, hd_err *err)
{
    const hd_json *pattern = hd_json_get(node, "pattern");
    HD_CHECK(hd_json_get(pattern, "String"), err, HD_E_UNSUPPORTED,
             "Replace: only a String pattern is supported");
    HD_TRY(expect_str(pattern, "String", from, err));
    return expect_str(node, "content", to, err);
}

// ---- normalizer ----------------------------------------------------------------------------

static hd_status normalizer(reader *r, const hd_json *node, hd_slice type, hd_err *err)
{
    if (hd_slice_eq_str(type, "NFC")) {
        r->t->nfc = true;
        return HD_OK;
    }
    if (hd_slice_eq_str(type, "Prepend")) {
        r->t->prefix = HD_PREFIX_EACH;
        return expect_str(node, "prepend", HD_METASPACE, err);
    }
    if (hd_slice_eq_str(type, "Replace")) {
        r->t->metaspace = true;
        return expect_replace(node, " ", HD_METASPACE, err);
    }
    return unsupported(type, err);
}

// ---- pre_tokenizer -------------------------------------------------------------------------

static hd_status split(reader *r, const hd_json *node, hd_err *err)
{
    bool invert = false;
    hd_slice text;
    const hd_json *pattern = hd_json_get(node, "pattern");
    hd_regex_kind kind = HD_REGEX_PATTERN;
    HD_TRY(expect_str(node, "behavior", "Isolated", err));
    HD_TRY(hd_json_field_bool(node, "invert", HD_JSON_OPTIONAL, &invert, err));
    HD_CHECK(!invert, err, HD_E_UNSUPPORTED, "Split: invert is not supported");
    if (hd_json_get(pattern, "String")) kind = HD_REGEX_LITERAL;
    HD_TRY(hd_json_field_str(pattern, kind == HD_REGEX_LITERAL ? "String" : "Regex",
                             HD_JSON_REQUIRED, &text, err));
    return hd_pretok_add_regex(&r->t->pretok, text, kind, err);
}

static hd_status byte_level(reader *r, const hd_json *node, hd_err *err)
{
    bool prefix = true, regex = true;
    HD_TRY(hd_json_field_bool(node, "add_prefix_space", HD_JSON_OPTIONAL, &prefix, err));
    HD_TRY(hd_json_field_bool(node, "use_regex", HD_JSON_OPTIONAL, &regex, err));
    HD_CHECK(!prefix, err, HD_E_UNSUPPORTED, "ByteLevel: add_prefix_space is not supported");
    r->parts->byte_level = true;
    r->last = true;
    return regex ? hd_pretok_add_scan(&r->t->pretok, hd_scan_gpt2, err) : HD_OK;
}

static hd_status metaspace(reader *r, const hd_json *node, hd_err *err)
{
    bool cut = true, prefix = true;
    hd_slice scheme = {0};
    HD_TRY(expect_str(node, "replacement", HD_METASPACE, err));
    HD_TRY(hd_json_field_bool(node, "split", HD_JSON_OPTIONAL, &cut, err));
    HD_TRY(hd_json_field_bool(node, "add_prefix_space", HD_JSON_OPTIONAL, &prefix, err));
    HD_TRY(hd_json_field_str(node, "prepend_scheme", HD_JSON_OPTIONAL, &scheme, err));
    r->t->metaspace = true;
    if (hd_slice_eq_str(scheme, "first"))
        r->t->prefix = HD_PREFIX_META_FIRST;
    else if (hd_slice_eq_str(scheme, "always") || (scheme.n == 0 && prefix))
        r->t->prefix = HD_PREFIX_META_EACH;
    else if (scheme.n > 0 && !hd_slice_eq_str(scheme, "never"))
        return HD_FAIL(err, HD_E_UNSUPPORTED, "Metaspace: prepend_scheme '%.*s'",
                       (int)(scheme.n < 40 ? scheme.n : 40), scheme.p);
    return cut ? hd_pretok_add_scan(&r->t->pretok, hd_scan_metaspace, err) : HD_OK;
}

static hd_status pre_tokenizer(reader *r, const hd_json *node, hd_slice type, hd_err *err)
{
    HD_CHECK(!r->last, err, HD_E_UNSUPPORTED, "nothing may follow ByteLevel");
    if (hd_slice_eq_str(type, "Split")) return split(r, node, err);
    if (hd_slice_eq_str(type, "ByteLevel")) return byte_level(r, node, err);
    if (hd_slice_eq_str(type, "Metaspace")) return metaspace(r, node, err);
    if (hd_slice_eq_str(type, "Digits")) {
        bool one_by_one = false;
        HD_TRY(hd_json_field_bool(node, "individual_digits", HD_JSON_OPTIONAL, &one_by_one, err));
        return hd_pretok_add_scan(&r->t->pretok, one_by_one ? hd_scan_digit : hd_scan_digit_run,
                                  err);
    }
    return unsupported(type, err);
}

// ---- post_processor ------------------------------------------------------------------------

// "single": any special tokens, the text, any special tokens. Those behind the text are for
// training; a prompt goes on.
static hd_status post_processor(reader *r, const hd_json *node, hd_slice type, hd_err *err)
{
    if (hd_slice_eq_str(type, "ByteLevel")) return HD_OK; // offsets only
    if (!hd_slice_eq_str(type, "TemplateProcessing")) return unsupported(type, err);
    const hd_json *items = hd_json_get(node, "single");
    HD_CHECK(hd_json_type(items) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "TemplateProcessing: field 'single': found %s, expected an array",
             hd_json_type_name(items));
    for (const hd_json *v = hd_json_first(items); v; v = hd_json_next(v)) {
        const hd_json *special = hd_json_get(v, "SpecialToken");
        if (!special) break;
        HD_CHECK(r->parts->bos.n == 0, err, HD_E_UNSUPPORTED,
                 "TemplateProcessing: more than one token before the text");
        HD_TRY(hd_json_field_str(special, "id", HD_JSON_REQUIRED, &r->parts->bos, err));
    }
    return HD_OK;
}

// ---- decoder -------------------------------------------------------------------------------

static hd_status decoder(reader *r, const hd_json *node, hd_slice type, hd_err *err)
{
    if (hd_slice_eq_str(type, "ByteLevel") || hd_slice_eq_str(type, "ByteFallback") ||
        hd_slice_eq_str(type, "Fuse"))
        return HD_OK;
    if (hd_slice_eq_str(type, "Replace")) return expect_replace(node, HD_METASPACE, " ", err);
    if (hd_slice_eq_str(type, "Metaspace")) {
        r->t->strip_prefix = r->t->prefix != HD_PREFIX_NONE;
        return HD_OK;
    }
    if (hd_slice_eq_str(type, "Strip")) {
        int64_t start = 0, stop = 0;
        HD_TRY(expect_str(node, "content", " ", err));
        HD_TRY(hd_json_field_i64(node, "start", HD_JSON_REQUIRED, 0, 1, &start, err));
        HD_TRY(hd_json_field_i64(node, "stop", HD_JSON_REQUIRED, 0, 0, &stop, err));
        r->t->strip_prefix = start == 1;
        return HD_OK;
    }
    return unsupported(type, err);
}

hd_status hd_hf_parts_read(const hd_json *root, hd_tokenizer *t, hd_hf_parts *out, hd_err *err)
{
    static const struct {
        const char *key, *list;
        component_fn fn;
    } kinds[] = {
        {"normalizer", "normalizers", normalizer},
        {"pre_tokenizer", "pretokenizers", pre_tokenizer},
        {"post_processor", "processors", post_processor},
        {"decoder", "decoders", decoder},
    };
    reader r = {.t = t, .parts = out};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        hd_status st = each(&r, hd_json_get(root, kinds[i].key), kinds[i].list, kinds[i].fn, err);
        if (st != HD_OK) return hd_err_prefix(err, st, "%s", kinds[i].key);
    }
    return HD_OK;
}
