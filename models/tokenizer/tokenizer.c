// A tokenizer as an object: building it entry by entry, opening, facts, special tokens, stops.
//
// The readers (hf_json.c, gguf_vocab.c) fill it through the hd_tok_* functions; afterwards nothing
// changes. Not here: file formats, encoding, decoding.
#include "models/tokenizer/tokenizer.h"

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"
#include "models/tokenizer/unicode.h"

#include <string.h>

// ---- memory --------------------------------------------------------------------------------

hd_status hd_tok_create(hd_tokenizer **out, hd_err *err)
{
    *out = NULL;
    hd_tokenizer *t = hd_calloc(1, sizeof(*t));
    if (!t) return HD_FAIL(err, HD_E_NOMEM, "tokenizer: out of memory");
    t->info.bos = t->info.eos = t->info.pad = t->unk = -1;
    for (int b = 0; b < 256; b++)
        t->byte_id[b] = -1;
    *out = t;
    return HD_OK;
}

void hd_tokenizer_close(hd_tokenizer *t)
{
    if (!t) return;
    hd_free(t->token);
    hd_free(t->flag);
    hd_free(t->score);
    hd_free(t->pool);
    hd_map_fini(&t->whole);
    hd_u64map_fini(&t->merge);
    hd_pretok_fini(&t->pretok);
    hd_added_fini(&t->raw);
    hd_added_fini(&t->normal);
    hd_added_fini(&t->special);
    hd_free(t->stop);
    hd_free(t);
}

hd_status hd_tok_reserve(hd_tokenizer *t, int64_t n_ids, size_t pool_bytes, hd_err *err)
{
    HD_CHECK(n_ids > 0, err, HD_E_CORRUPT, "vocabulary: no entries");
    HD_CHECK(n_ids <= HD_TOK_IDS, err, HD_E_LIMIT, "vocabulary: id %lld, at most %d allowed",
             (long long)n_ids - 1, HD_TOK_IDS - 1);
    t->token = hd_calloc((size_t)n_ids, sizeof(*t->token));
    t->flag = hd_calloc((size_t)n_ids, sizeof(*t->flag));
    t->pool = hd_alloc(pool_bytes);
    if (!t->token || !t->flag || !t->pool)
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary of %lld ids: out of memory", (long long)n_ids);
    t->n_ids = (int32_t)n_ids;
    t->pool_cap = pool_bytes;
    return HD_OK;
}

char *hd_tok_pool(hd_tokenizer *t, size_t n)
{
    HD_ASSERT(n <= t->pool_cap - t->pool_len);
    char *p = t->pool + t->pool_len;
    t->pool_len += n;
    return p;
}

hd_slice hd_tok_copy(hd_tokenizer *t, hd_slice text)
{
    char *p = hd_tok_pool(t, text.n);
    if (text.n > 0) memcpy(p, text.p, text.n);
    return hd_slice_of(p, text.n);
}

// ---- entries -------------------------------------------------------------------------------

// 256 printable code points stand for the bytes: themselves where printable Latin-1, else U+0100
// upwards in order of the byte.
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xAC) || (cp >= 0xAE && cp <= 0xFF))
        return (int)cp;
    if (cp >= 0x100 && cp <= 0x120) return (int)(cp - 0x100);        // 00..20
    if (cp >= 0x121 && cp <= 0x142) return (int)(cp - 0x121 + 0x7F); // 7F..A0
    return cp == 0x143 ? 0xAD : -1;
}

bool hd_bytelevel_decode(hd_slice s, char *dst, size_t *n)
{
    *n = 0;
    for (size_t at = 0, len; at < s.n; at += len) {
        int byte = alphabet_byte(hd_uc_decode(s.p + at, &len));
        if (byte < 0) {
            memcpy(dst, s.p, s.n);
            *n = s.n;
            return false;
        }
        dst[(*n)++] = (char)byte;
    }
    return true;
}

hd_status hd_tok_put_whole(hd_tokenizer *t, hd_slice text, int32_t id, hd_err *err)
{
    if (hd_map_put(&t->whole, text, (uint32_t)id) == HD_MAP_NOMEM)
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary: out of memory");
    if (text.n > t->token_max) t->token_max = text.n;
    return HD_OK;
}

static hd_status find_joined(const hd_map *names, hd_slice left, hd_slice right, uint32_t *id,
                             hd_err *err)
{
    char small[512], *joined = small;
    size_t n = left.n + right.n;
    if (n > sizeof(small)) joined = hd_alloc(n);
    if (!joined) return HD_FAIL(err, HD_E_NOMEM, "merges: out of memory");
    memcpy(joined, left.p, left.n);
    memcpy(joined + left.n, right.p, right.n);
    bool found = hd_map_get(names, hd_slice_of(joined, n), id);
    if (joined != small) hd_free(joined);
    return found ? HD_OK : HD_E_NOTFOUND;
}

hd_status hd_tok_put_merge(hd_tokenizer *t, const hd_map *names, size_t rank, hd_slice left,
                           hd_slice right, hd_err *err)
{
    uint32_t a, b, ab;
    hd_status st = HD_E_NOTFOUND;
    if (hd_map_get(names, left, &a) && hd_map_get(names, right, &b))
        st = find_joined(names, left, right, &ab, err);
    if (st == HD_E_NOTFOUND)
        return HD_FAIL(err, HD_E_CORRUPT,
                       "merge %zu: '%.*s' and '%.*s': the parts or the result are not in the "
                       "vocabulary",
                       rank, (int)(left.n < 40 ? left.n : 40), left.p,
                       (int)(right.n < 40 ? right.n : 40), right.p);
    HD_TRY(st);
    if (t->flag[ab] & HD_ID_CONTROL) return HD_OK;
    switch (hd_u64map_put(&t->merge, (uint64_t)a << 32 | b, (uint64_t)rank << 32 | ab)) {
    case HD_MAP_NOMEM:
        return HD_FAIL(err, HD_E_NOMEM, "merges: out of memory");
    case HD_MAP_EXISTS:
        return HD_FAIL(err, HD_E_CORRUPT, "merge %zu repeats an earlier one", rank);
    default:
        return HD_OK;
    }
}

// ---- added tokens --------------------------------------------------------------------------

static bool contains(hd_slice s, const char *part)
{
    return hd_slice_find(s, hd_slice_str(part), 0) >= 0;
}

static bool ends(hd_slice s, const char *tail)
{
    size_t n = strlen(tail);
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

// Readers do not see role markers and the like. What files call special is no help: DeepSeek's
// tokenizer.json says no for <｜User｜>, GGUF converters say yes for tool markup, which whoever
// splits the output needs to see.
static bool is_hidden(hd_slice text, bool control)
{
    if (contains(text, "think") || contains(text, "tool") || contains(text, "DSML")) return false;
    return control || (hd_slice_starts(text, hd_slice_str("<|")) && ends(text, "|>")) ||
           (hd_slice_starts(text, hd_slice_str("<\uff5c")) && ends(text, "\uff5c>"));
}

// The text of a token that is matched behind the normaliser.
static hd_status normalised(const hd_tokenizer *t, hd_slice text, hd_prompt *out, hd_err *err)
{
    hd_marked m = {text, NULL, 0};
    if (t->nfc) return hd_nfc_append(out, &m, 0, text.n, err);
    hd_prompt_user(out, text);
    return out->text.failed ? HD_FAIL(err, HD_E_NOMEM, "added tokens: out of memory") : HD_OK;
}

hd_status hd_tok_add_special(hd_tokenizer *t, const hd_added_def *d, hd_err *err)
{
    bool always = t->model == HD_MODEL_BYTES && !d->control && hd_added_is_reserved_byte(d->text);
    hd_added a = {hd_tok_copy(t, d->text), d->id, always, d->lstrip, d->rstrip};
    // An entry of the base vocabulary keeps its bytes: U+00E9 also stands for the byte E9.
    if (!t->token[d->id].p) t->token[d->id] = a.text;
    t->flag[d->id] |= HD_ID_KNOWN | HD_ID_ADDED;
    if (d->control) t->flag[d->id] |= HD_ID_CONTROL;
    if (!always && is_hidden(d->text, d->control)) t->flag[d->id] |= HD_ID_HIDDEN;
    t->info.n_added++;
    if (!always) HD_TRY(hd_added_put(&t->special, &a, err));
    if (d->kind == HD_ADDED_RAW) return hd_added_put(&t->raw, &a, err);
    hd_prompt text = {0};
    hd_status st = normalised(t, d->text, &text, err);
    if (st == HD_OK) {
        a.text = hd_tok_copy(t, hd_buf_slice(&text.text));
        st = hd_added_put(&t->normal, &a, err);
    }
    hd_prompt_fini(&text);
    return st;
}

hd_status hd_tok_add_stop(hd_tokenizer *t, int64_t id, hd_err *err)
{
    size_t at = 0;
    if (id < 0 || id >= t->n_ids) return HD_OK;
    while (at < t->n_stop && t->stop[at] < id)
        at++;
    if (at < t->n_stop && t->stop[at] == id) return HD_OK;
    int32_t *v = hd_reallocarray(t->stop, t->n_stop + 1, sizeof(*v));
    if (!v) return HD_FAIL(err, HD_E_NOMEM, "stop tokens: out of memory");
    memmove(v + at + 1, v + at, (t->n_stop - at) * sizeof(*v));
    v[at] = (int32_t)id;
    t->stop = v;
    t->n_stop++;
    return HD_OK;
}

#define DS_EOS  "<\uff5cend\u2581of\u2581sentence\uff5c>"
#define DS_USER "<\uff5cUser\uff5c>"

hd_status hd_tok_finish(hd_tokenizer *t, hd_err *err)
{
    static const char *const texts[] = {DS_EOS,          "<|EOT|>",    "<|im_end|>",
                                        "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>",
                                        "<|eom_id|>",    "</s>"};
    hd_added_sort(&t->raw);
    hd_added_sort(&t->normal);
    hd_added_sort(&t->special);
    t->info.kind = t->model == HD_MODEL_BYTES ? "bpe" : "spm";
    if (!t->info.pretok) t->info.pretok = t->pretok.n > 0 ? hd_pretok_name(&t->pretok) : "none";
    t->info.n_vocab = t->n_ids;
    HD_TRY(hd_tok_add_stop(t, t->info.eos, err));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int32_t id = hd_token_special(t, hd_slice_str(texts[i]));
        bool plain = strcmp(texts[i], "</s>") == 0 && id >= 0 && !(t->flag[id] & HD_ID_CONTROL);
        if (!plain) HD_TRY(hd_tok_add_stop(t, id, err));
    }
    // A model that begins to write the user's turn has run away.
    if (hd_token_special(t, hd_slice_str(DS_EOS)) >= 0)
        HD_TRY(hd_tok_add_stop(t, hd_token_special(t, hd_slice_str(DS_USER)), err));
    return HD_OK;
}

// ---- opening -------------------------------------------------------------------------------

// eos_token_id: an integer or a list of them.
static hd_status stops_of_config(hd_tokenizer *t, const hd_json *config, hd_err *err)
{
    const hd_json *v = hd_json_get(config, "eos_token_id");
    int64_t id;
    if (hd_json_i64(v, &id)) return hd_tok_add_stop(t, id, err);
    if (hd_json_type(v) != HD_JSON_ARRAY) return HD_OK;
    for (v = hd_json_first(v); v; v = hd_json_next(v))
        if (hd_json_i64(v, &id)) HD_TRY(hd_tok_add_stop(t, id, err));
    return HD_OK;
}

static hd_status open_folder(const hd_model_src *src, hd_tokenizer **out, hd_err *err)
{
    hd_json *json = NULL;
    char *path = hd_path_join(src->path, "tokenizer.json");
    hd_status st = HD_OK;
    if (!path) return HD_FAIL(err, HD_E_NOMEM, "tokenizer: out of memory");
    if (hd_path_stat(path, NULL) != HD_PATH_FILE)
        st = HD_FAIL(err, HD_E_NOTFOUND,
                     "%s: there is no such file, and no other kind of "
                     "tokenizer is read from a folder",
                     path);
    if (st == HD_OK) st = hd_json_parse_file(path, &hd_json_file_limits, &json, err);
    if (st == HD_OK) {
        st = hd_tokenizer_from_json(json, src->tokenizer_config, out, err);
        if (st != HD_OK) hd_err_prefix(err, st, "%s", path);
    }
    const hd_json *config = src->generation_config ? src->generation_config : src->config;
    if (st == HD_OK) st = stops_of_config(*out, config, err);
    hd_json_free(json);
    hd_free(path);
    return st;
}

hd_status hd_tokenizer_open(const hd_model_src *src, hd_tokenizer **out, hd_err *err)
{
    *out = NULL;
    hd_status st;
    if (src->gguf) {
        st = hd_tokenizer_from_gguf(src->gguf, out, err);
        if (st != HD_OK) hd_err_prefix(err, st, "%s", src->path);
    } else {
        st = open_folder(src, out, err);
    }
    if (st != HD_OK) {
        hd_tokenizer_close(*out);
        *out = NULL;
    }
    return st;
}

// ---- facts ---------------------------------------------------------------------------------

const hd_tokenizer_info *hd_tokenizer_facts(const hd_tokenizer *t)
{
    return &t->info;
}

int32_t hd_token_special(const hd_tokenizer *t, hd_slice text)
{
    return hd_added_find(&t->special, text);
}

hd_slice hd_token_bytes(const hd_tokenizer *t, int32_t id)
{
    if (id < 0 || id >= t->n_ids || !t->token[id].p) return hd_slice_of("", 0);
    return t->token[id];
}

bool hd_token_is_special(const hd_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_ids && (t->flag[id] & HD_ID_HIDDEN);
}

const int32_t *hd_tokenizer_stops(const hd_tokenizer *t, size_t *n)
{
    *n = t->n_stop;
    return t->stop;
}
