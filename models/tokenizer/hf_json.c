// tokenizer.json and tokenizer_config.json: vocabulary, merges, added tokens, roles.
//
// Accepted are BPE models over the byte-level alphabet, and over characters with byte tokens for
// the rest. Limits are in tok_impl.h; the JSON text itself was checked by the parser. The file's
// "truncation" and "padding" concern training and are ignored. Not here: the other components
// (hf_parts.c).
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "models/tokenizer/hf_parts.h"

#include <string.h>

typedef struct loader {
    hd_tokenizer *t;
    const hd_json *root, *model, *vocab, *merges, *added, *config;
    hd_hf_parts parts;
    hd_map names;  // vocabulary texts as the file spells them -> id
    char *spelled; // those texts, close together: the merges look up three of them each
    size_t spelled_len;
    bool byte_fallback;
} loader;

// ---- model settings ------------------------------------------------------------------------

static hd_status refuse_unless_empty(const hd_json *model, const char *key, hd_err *err)
{
    const hd_json *v = hd_json_get(model, key);
    hd_slice s;
    if (hd_json_is_null(v) || (hd_json_str(v, &s) && s.n == 0)) return HD_OK;
    return HD_FAIL(err, HD_E_UNSUPPORTED, "model.%s: only null is supported", key);
}

static hd_status read_settings(loader *l, hd_err *err)
{
    hd_slice type = hd_slice_str("BPE");
    l->model = hd_json_get(l->root, "model");
    l->vocab = hd_json_get(l->model, "vocab");
    l->merges = hd_json_get(l->model, "merges");
    l->added = hd_json_get(l->root, "added_tokens");
    HD_TRY(hd_json_field_str(l->model, "type", HD_JSON_OPTIONAL, &type, err));
    HD_CHECK(hd_slice_eq_str(type, "BPE"), err, HD_E_UNSUPPORTED,
             "model.type '%.*s': only BPE is supported", (int)(type.n < 40 ? type.n : 40), type.p);
    HD_CHECK(hd_json_type(l->vocab) == HD_JSON_OBJECT, err, HD_E_INVAL,
             "model.vocab: found %s, expected an object", hd_json_type_name(l->vocab));
    HD_CHECK(hd_json_type(l->merges) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "model.merges: found %s, expected an array", hd_json_type_name(l->merges));
    HD_CHECK(hd_json_is_null(l->added) || hd_json_type(l->added) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "added_tokens: found %s, expected an array", hd_json_type_name(l->added));
    HD_TRY(refuse_unless_empty(l->model, "dropout", err));
    HD_TRY(refuse_unless_empty(l->model, "continuing_subword_prefix", err));
    HD_TRY(refuse_unless_empty(l->model, "end_of_word_suffix", err));
    HD_TRY(hd_json_field_bool(l->model, "byte_fallback", HD_JSON_OPTIONAL, &l->byte_fallback, err));
    HD_TRY(hd_json_field_bool(l->model, "fuse_unk", HD_JSON_OPTIONAL, &l->t->fuse_unk, err));
    return hd_json_field_bool(l->model, "ignore_merges", HD_JSON_OPTIONAL, &l->t->ignore_merges,
                              err);
}

static hd_status choose_model(loader *l, hd_err *err)
{
    HD_CHECK(l->parts.byte_level != l->byte_fallback, err, HD_E_UNSUPPORTED,
             "expected either a ByteLevel pre-tokenizer or model.byte_fallback, found %s",
             l->byte_fallback ? "both" : "neither");
    l->t->model = l->byte_fallback ? HD_MODEL_CHARS : HD_MODEL_BYTES;
    HD_CHECK(!l->parts.byte_level || !l->t->metaspace, err, HD_E_UNSUPPORTED,
             "blanks as U+2581 together with ByteLevel are not supported");
    return HD_OK;
}

// ---- vocabulary ----------------------------------------------------------------------------

// Largest id and bytes of text, over base and added entries.
static hd_status measure(const loader *l, int64_t *n_ids, size_t *bytes, hd_err *err)
{
    int64_t id;
    hd_slice s;
    for (const hd_json *v = hd_json_first(l->vocab); v; v = hd_json_next(v)) {
        s = hd_json_key(v);
        HD_CHECK(hd_json_i64(v, &id) && id >= 0 && id < HD_TOK_IDS, err, HD_E_INVAL,
                 "model.vocab['%.*s']: expected an id in [0, %d]", (int)(s.n < 40 ? s.n : 40), s.p,
                 HD_TOK_IDS - 1);
        HD_CHECK(s.n <= HD_TOK_TEXT, err, HD_E_LIMIT,
                 "model.vocab: token %lld has %zu bytes, at most %d allowed", (long long)id, s.n,
                 HD_TOK_TEXT);
        if (id >= *n_ids) *n_ids = id + 1;
        *bytes += 2 * s.n;
    }
    for (const hd_json *v = hd_json_first(l->added); v; v = hd_json_next(v)) {
        HD_TRY(hd_json_field_i64(v, "id", HD_JSON_REQUIRED, 0, HD_TOK_IDS - 1, &id, err));
        HD_TRY(hd_json_field_str(v, "content", HD_JSON_REQUIRED, &s, err));
        HD_CHECK(s.n > 0 && s.n <= HD_TOK_TEXT, err, HD_E_INVAL,
                 "added token %lld: %zu bytes, expected 1 to %d", (long long)id, s.n, HD_TOK_TEXT);
        if (id >= *n_ids) *n_ids = id + 1;
        *bytes += 5 * s.n; // itself, and its normal form, which may be thrice as long
    }
    return HD_OK;
}

static hd_status put_entry(loader *l, hd_slice text, int32_t id, hd_err *err)
{
    hd_tokenizer *t = l->t;
    HD_CHECK(!(t->flag[id] & HD_ID_KNOWN), err, HD_E_CORRUPT, "model.vocab: two tokens have id %d",
             id);
    t->flag[id] |= HD_ID_KNOWN;
    char *key = l->spelled + l->spelled_len;
    memcpy(key, text.p, text.n);
    l->spelled_len += text.n;
    switch (hd_map_put(&l->names, hd_slice_of(key, text.n), (uint32_t)id)) {
    case HD_MAP_NOMEM:
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary: out of memory");
    case HD_MAP_EXISTS:
        return HD_FAIL(err, HD_E_CORRUPT, "model.vocab: the text of token %d occurs twice", id);
    default:
        break;
    }
    char *p = hd_tok_pool(t, text.n);
    if (t->model == HD_MODEL_BYTES) {
        size_t n;
        bool mapped = hd_bytelevel_decode(text, p, &n);
        t->token[id] = hd_slice_of(p, n);
        if (mapped && n == 1) t->byte_id[(unsigned char)p[0]] = id;
        return mapped && t->ignore_merges ? hd_tok_put_whole(t, t->token[id], id, err) : HD_OK;
    }
    int byte = hd_byte_token(text);
    if (byte >= 0) {
        t->byte_id[byte] = id;
        *p = (char)byte;
        t->token[id] = hd_slice_of(p, 1);
        return HD_OK;
    }
    t->token[id] = hd_slice_of(p, hd_metaspace_decode(text, p));
    return HD_OK;
}

static hd_status read_vocab(loader *l, hd_err *err)
{
    int64_t n_ids = 0;
    size_t bytes = 0;
    HD_TRY(measure(l, &n_ids, &bytes, err));
    HD_TRY(hd_tok_reserve(l->t, n_ids, bytes, err));
    uint32_t n = (uint32_t)hd_json_len(l->vocab);
    l->spelled = hd_alloc(bytes);
    bool whole = l->t->ignore_merges || l->t->model == HD_MODEL_CHARS;
    if (!l->spelled || !hd_map_reserve(&l->names, n) || (whole && !hd_map_reserve(&l->t->whole, n)))
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary of %u tokens: out of memory", n);
    for (const hd_json *v = hd_json_first(l->vocab); v; v = hd_json_next(v)) {
        int64_t id = -1;
        hd_json_i64(v, &id);
        HD_TRY(put_entry(l, hd_json_key(v), (int32_t)id, err));
    }
    int missing = 0;
    for (int b = 0; b < 256; b++)
        missing += l->t->byte_id[b] < 0;
    HD_CHECK(missing == 0 || l->t->model != HD_MODEL_CHARS, err, HD_E_CORRUPT,
             "byte_fallback, but %d of the 256 byte tokens <0x00>..<0xFF> are missing", missing);
    if (missing > 0)
        HD_LOG(HD_LOG_DEBUG, "tokenizer", "vocabulary lacks bytes", hd_f_int("count", missing));
    return HD_OK;
}

// Characters are looked up by the texts of the file; control tokens are not text.
static hd_status index_chars(loader *l, hd_err *err)
{
    for (const hd_json *v = hd_json_first(l->vocab); v; v = hd_json_next(v)) {
        int64_t id = -1;
        hd_slice text = hd_json_key(v);
        hd_json_i64(v, &id);
        if ((l->t->flag[id] & HD_ID_CONTROL) || hd_byte_token(text) >= 0) continue;
        HD_TRY(hd_tok_put_whole(l->t, hd_tok_copy(l->t, text), (int32_t)id, err));
    }
    return HD_OK;
}

// ---- merges --------------------------------------------------------------------------------

// "left right" or ["left", "right"].
static hd_status merge_parts(const hd_json *v, size_t rank, hd_slice *left, hd_slice *right,
                             hd_err *err)
{
    hd_slice s;
    if (hd_json_str(v, &s)) {
        const char *blank = memchr(s.p, ' ', s.n);
        HD_CHECK(blank && !memchr(blank + 1, ' ', (size_t)(s.p + s.n - blank) - 1), err,
                 HD_E_CORRUPT, "model.merges[%zu]: expected two texts with one blank between",
                 rank);
        *left = hd_slice_of(s.p, (size_t)(blank - s.p));
        *right = hd_slice_of(blank + 1, (size_t)(s.p + s.n - blank) - 1);
        return HD_OK;
    }
    const hd_json *first = hd_json_first(v), *second = hd_json_next(first);
    HD_CHECK(hd_json_type(v) == HD_JSON_ARRAY && hd_json_len(v) == 2 && hd_json_str(first, left) &&
                 hd_json_str(second, right),
             err, HD_E_CORRUPT, "model.merges[%zu]: expected two texts", rank);
    return HD_OK;
}

static hd_status read_merges(loader *l, hd_err *err)
{
    size_t n = hd_json_len(l->merges), rank = 0;
    HD_CHECK(n <= HD_TOK_MERGES, err, HD_E_LIMIT, "model.merges: %zu, at most %d allowed", n,
             HD_TOK_MERGES);
    if (!hd_u64map_reserve(&l->t->merge, (uint32_t)n))
        return HD_FAIL(err, HD_E_NOMEM, "%zu merges: out of memory", n);
    for (const hd_json *v = hd_json_first(l->merges); v; v = hd_json_next(v), rank++) {
        hd_slice left, right;
        HD_TRY(merge_parts(v, rank, &left, &right, err));
        HD_TRY(hd_tok_put_merge(l->t, &l->names, rank, left, right, err));
    }
    return HD_OK;
}

// ---- added tokens --------------------------------------------------------------------------

static hd_status read_added_one(loader *l, const hd_json *v, hd_err *err)
{
    int64_t id = 0;
    bool single_word = false;
    uint32_t known;
    hd_added_def d = {0};
    HD_TRY(hd_json_field_i64(v, "id", HD_JSON_REQUIRED, 0, HD_TOK_IDS - 1, &id, err));
    HD_TRY(hd_json_field_str(v, "content", HD_JSON_REQUIRED, &d.text, err));
    HD_TRY(hd_json_field_bool(v, "special", HD_JSON_OPTIONAL, &d.control, err));
    bool normal = !d.control;
    HD_TRY(hd_json_field_bool(v, "normalized", HD_JSON_OPTIONAL, &normal, err));
    HD_TRY(hd_json_field_bool(v, "lstrip", HD_JSON_OPTIONAL, &d.lstrip, err));
    HD_TRY(hd_json_field_bool(v, "rstrip", HD_JSON_OPTIONAL, &d.rstrip, err));
    HD_TRY(hd_json_field_bool(v, "single_word", HD_JSON_OPTIONAL, &single_word, err));
    HD_CHECK(!single_word, err, HD_E_UNSUPPORTED, "single_word is not supported");
    // A text that is in the vocabulary keeps that id, whatever is written here.
    if (hd_map_get(&l->names, d.text, &known)) id = known;
    HD_CHECK((l->t->flag[id] & (HD_ID_KNOWN | HD_ID_ADDED)) == 0 ||
                 hd_map_get(&l->names, d.text, NULL),
             err, HD_E_CORRUPT, "another token has this id");
    d.id = (int32_t)id;
    d.kind = normal ? HD_ADDED_NORMALISED : HD_ADDED_RAW;
    return hd_tok_add_special(l->t, &d, err);
}

static hd_status read_added(loader *l, hd_err *err)
{
    size_t i = 0;
    for (const hd_json *v = hd_json_first(l->added); v; v = hd_json_next(v), i++) {
        hd_status st = read_added_one(l, v, err);
        if (st != HD_OK) return hd_err_prefix(err, st, "added_tokens[%zu]", i);
    }
    return HD_OK;
}

// ---- roles ---------------------------------------------------------------------------------

static int32_t id_of_text(const loader *l, hd_slice text)
{
    uint32_t id;
    int32_t special = hd_token_special(l->t, text);
    if (special >= 0) return special;
    return hd_map_get(&l->names, text, &id) ? (int32_t)id : -1;
}

// "bos_token": "<s>" or {"content": "<s>", ...} or null.
static int32_t role(const loader *l, const char *key)
{
    const hd_json *v = hd_json_get(l->config, key);
    hd_slice text;
    if (hd_json_type(v) == HD_JSON_OBJECT) v = hd_json_get(v, "content");
    return hd_json_str(v, &text) ? id_of_text(l, text) : -1;
}

static int32_t first_known(const loader *l, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = hd_token_special(l->t, hd_slice_str(texts[i]));
        if (id >= 0) return id;
    }
    return -1;
}

static hd_status read_roles(loader *l, hd_err *err)
{
    static const char *const bos[] = {"<\uff5cbegin\u2581of\u2581sentence\uff5c>",
                                      "<|begin_of_text|>", "<s>"};
    static const char *const eos[] = {"<\uff5cend\u2581of\u2581sentence\uff5c>", "<|eot_id|>",
                                      "<|im_end|>", "<|endoftext|>", "</s>"};
    hd_tokenizer_info *info = &l->t->info;
    const hd_json *unk = hd_json_get(l->model, "unk_token");
    hd_slice text;
    if (hd_json_str(unk, &text) && text.n > 0) {
        l->t->unk = id_of_text(l, text);
        HD_CHECK(l->t->unk >= 0, err, HD_E_CORRUPT, "model.unk_token is not in the vocabulary");
    }
    info->bos = role(l, "bos_token");
    info->eos = role(l, "eos_token");
    info->pad = role(l, "pad_token");
    HD_TRY(hd_json_field_bool(l->config, "add_bos_token", HD_JSON_OPTIONAL, &info->add_bos, err));
    if (l->parts.bos.n > 0) {
        info->bos = id_of_text(l, l->parts.bos);
        HD_CHECK(info->bos >= 0, err, HD_E_CORRUPT,
                 "post_processor: its first token is not in the vocabulary");
        info->add_bos = true;
    }
    if (!l->config) { // nothing names them: go by their usual texts
        if (info->bos < 0) info->bos = first_known(l, bos, sizeof(bos) / sizeof(bos[0]));
        info->eos = first_known(l, eos, sizeof(eos) / sizeof(eos[0]));
    }
    info->add_bos = info->add_bos && info->bos >= 0;
    return HD_OK;
}

// ---- all of it -----------------------------------------------------------------------------

static hd_status load(loader *l, hd_err *err)
{
    HD_TRY(hd_hf_parts_read(l->root, l->t, &l->parts, err));
    HD_TRY(read_settings(l, err));
    HD_TRY(choose_model(l, err));
    HD_TRY(read_vocab(l, err));
    HD_TRY(read_added(l, err));
    if (l->t->model == HD_MODEL_CHARS) HD_TRY(index_chars(l, err));
    HD_TRY(read_merges(l, err));
    hd_added_sort(&l->t->special);
    HD_TRY(read_roles(l, err));
    return hd_tok_finish(l->t, err);
}

hd_status hd_tokenizer_from_json(const hd_json *tokenizer, const hd_json *config,
                                 hd_tokenizer **out, hd_err *err)
{
    loader l = {.root = tokenizer, .config = config};
    *out = NULL;
    HD_TRY(hd_tok_create(&l.t, err));
    hd_status st = load(&l, err);
    hd_map_fini(&l.names);
    hd_free(l.spelled);
    if (st != HD_OK) {
        hd_tokenizer_close(l.t);
        return st;
    }
    *out = l.t;
    return HD_OK;
}
