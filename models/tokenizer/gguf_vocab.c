// The vocabulary in a GGUF file's metadata: "gpt2" (byte-level BPE) and "llama" (SentencePiece).
//
// Roles are found by text as well as by id, because files in the wild carry wrong ids. Filler that
// converters add to reach a round size ("[PAD123]", or typed unused) is not vocabulary: it is
// neither matched nor printed. Not here: chat templates.
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE }; // token_type

typedef struct loader {
    const hd_gguf *g;
    hd_tokenizer *t;
    hd_gguf_array tokens, types, scores, merges;
    hd_map names;
} loader;

// ---- arrays --------------------------------------------------------------------------------

// An optional array that must be as long as the vocabulary.
static hd_status parallel_array(const loader *l, const char *key, hd_gguf_type want,
                                hd_gguf_array *out, hd_err *err)
{
    hd_status st = hd_gguf_get_array(l->g, key, want, out, err);
    if (st == HD_E_NOTFOUND) return HD_OK;
    HD_TRY(st);
    HD_CHECK(out->n == l->tokens.n, err, HD_E_CORRUPT, "%s: %llu elements for %llu tokens", key,
             (unsigned long long)out->n, (unsigned long long)l->tokens.n);
    return HD_OK;
}

static hd_status required(hd_status st, const char *key, hd_err *err)
{
    if (st == HD_E_NOTFOUND) return HD_FAIL(err, HD_E_CORRUPT, "%s: missing", key);
    return st;
}

static int32_t type_of(const loader *l, size_t id)
{
    int32_t type = NORMAL;
    if (l->types.n > 0) memcpy(&type, l->types.data + id * sizeof(type), sizeof(type));
    return type;
}

static bool is_filler(hd_slice text, size_t id, int32_t type)
{
    char pad[32];
    snprintf(pad, sizeof(pad), "[PAD%zu]", id);
    return type == UNUSED || (type == USER_DEFINED && hd_slice_eq_str(text, pad));
}

// ---- entries -------------------------------------------------------------------------------

static bool is_added(int32_t type)
{
    return type == CONTROL || type == USER_DEFINED || type == UNKNOWN;
}

static hd_status put_bytes(loader *l, hd_slice text, int32_t id, hd_err *err)
{
    hd_tokenizer *t = l->t;
    char *p = hd_tok_pool(t, text.n);
    size_t n;
    bool mapped = hd_bytelevel_decode(text, p, &n);
    t->token[id] = hd_slice_of(p, n);
    if (mapped && n == 1 && t->byte_id[(unsigned char)p[0]] < 0)
        t->byte_id[(unsigned char)p[0]] = id;
    return mapped && t->ignore_merges ? hd_tok_put_whole(t, t->token[id], id, err) : HD_OK;
}

static hd_status put_scored(loader *l, hd_slice text, int32_t id, int32_t type, hd_err *err)
{
    hd_tokenizer *t = l->t;
    int byte = hd_byte_token(text);
    char *p = hd_tok_pool(t, text.n);
    if (type == BYTE) {
        HD_CHECK(byte >= 0, err, HD_E_CORRUPT, "token %d is typed as a byte, expected <0xXX>", id);
        if (t->byte_id[byte] < 0) t->byte_id[byte] = id;
        *p = (char)byte;
        t->token[id] = hd_slice_of(p, 1);
        return HD_OK;
    }
    t->token[id] = hd_slice_of(p, hd_metaspace_decode(text, p));
    return hd_tok_put_whole(t, hd_tok_copy(t, text), id, err);
}

static hd_status put_entry(loader *l, size_t i, hd_err *err)
{
    hd_slice text = l->tokens.str[i];
    int32_t id = (int32_t)i, type = type_of(l, i);
    HD_CHECK(text.n <= HD_TOK_TEXT, err, HD_E_LIMIT, "token %d: %zu bytes, at most %d allowed", id,
             text.n, HD_TOK_TEXT);
    HD_CHECK(hd_utf8_is_valid(text), err, HD_E_CORRUPT, "token %d is not UTF-8", id);
    if (text.n == 0 || is_filler(text, i, type)) return HD_OK;
    l->t->flag[id] |= HD_ID_KNOWN;
    // Of equal texts the first counts.
    if (hd_map_put(&l->names, text, (uint32_t)id) == HD_MAP_NOMEM)
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary: out of memory");
    if (is_added(type)) {
        hd_added_def d = {.id = id, .text = text, .control = type != USER_DEFINED};
        return hd_tok_add_special(l->t, &d, err);
    }
    if (l->t->model == HD_MODEL_BYTES) return put_bytes(l, text, id, err);
    return put_scored(l, text, id, type, err);
}

static hd_status read_tokens(loader *l, hd_err *err)
{
    static const char key[] = "tokenizer.ggml.tokens";
    HD_TRY(required(hd_gguf_get_array(l->g, key, HD_GGUF_STRING, &l->tokens, err), key, err));
    HD_TRY(parallel_array(l, "tokenizer.ggml.token_type", HD_GGUF_I32, &l->types, err));
    size_t n = (size_t)l->tokens.n, bytes = 0;
    HD_CHECK(l->tokens.n <= HD_TOK_IDS, err, HD_E_LIMIT, "%s: %llu, at most %d allowed", key,
             (unsigned long long)l->tokens.n, HD_TOK_IDS);
    while (n > 0 && is_filler(l->tokens.str[n - 1], n - 1, type_of(l, n - 1)))
        n--;
    for (size_t i = 0; i < n; i++)
        bytes += 2 * l->tokens.str[i].n;
    HD_TRY(hd_tok_reserve(l->t, (int64_t)n, bytes, err));
    bool whole = l->t->ignore_merges || l->t->model == HD_MODEL_SCORE;
    if (!hd_map_reserve(&l->names, (uint32_t)n) ||
        (whole && !hd_map_reserve(&l->t->whole, (uint32_t)n)))
        return HD_FAIL(err, HD_E_NOMEM, "vocabulary of %zu tokens: out of memory", n);
    for (size_t i = 0; i < n; i++)
        HD_TRY(put_entry(l, i, err));
    return HD_OK;
}

static hd_status read_scores(loader *l, hd_err *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    HD_TRY(parallel_array(l, key, HD_GGUF_F32, &l->scores, err));
    l->t->score = hd_calloc((size_t)l->t->n_ids, sizeof(*l->t->score));
    if (!l->t->score) return HD_FAIL(err, HD_E_NOMEM, "scores: out of memory");
    if (l->scores.n == 0) return HD_OK;
    memcpy(l->t->score, l->scores.data, (size_t)l->t->n_ids * sizeof(*l->t->score));
    for (int32_t id = 0; id < l->t->n_ids; id++)
        HD_CHECK(!isnan(l->t->score[id]), err, HD_E_CORRUPT, "%s: token %d: not a number", key, id);
    return HD_OK;
}

// "left right", cut at the first blank that is not the first byte.
static hd_status read_merges(loader *l, hd_err *err)
{
    static const char key[] = "tokenizer.ggml.merges";
    HD_TRY(required(hd_gguf_get_array(l->g, key, HD_GGUF_STRING, &l->merges, err), key, err));
    HD_CHECK(l->merges.n <= HD_TOK_MERGES, err, HD_E_LIMIT, "%s: %llu, at most %d allowed", key,
             (unsigned long long)l->merges.n, HD_TOK_MERGES);
    if (!hd_u64map_reserve(&l->t->merge, (uint32_t)l->merges.n))
        return HD_FAIL(err, HD_E_NOMEM, "merges: out of memory");
    for (size_t i = 0; i < (size_t)l->merges.n; i++) {
        hd_slice s = l->merges.str[i];
        const char *blank = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
        HD_CHECK(blank, err, HD_E_CORRUPT, "%s[%zu]: expected two texts and a blank", key, i);
        size_t n = (size_t)(blank - s.p);
        HD_TRY(hd_tok_put_merge(l->t, &l->names, i, hd_slice_of(s.p, n),
                                hd_slice_of(blank + 1, s.n - n - 1), err));
    }
    return HD_OK;
}

// ---- settings ------------------------------------------------------------------------------

// An id in the metadata; one outside the vocabulary counts as absent.
static hd_status role(const loader *l, const char *name, int32_t *out, hd_err *err)
{
    char key[64];
    int64_t id = -1;
    snprintf(key, sizeof(key), "tokenizer.ggml.%s_token_id", name);
    hd_status st = hd_gguf_get_i64(l->g, key, INT64_MIN, INT64_MAX, &id, err);
    if (st == HD_E_NOTFOUND) return HD_OK;
    HD_TRY(st);
    if (id < 0 || id >= l->t->n_ids)
        HD_LOG(HD_LOG_WARN, "tokenizer", "token id outside the vocabulary is ignored",
               hd_f_str("key", key), hd_f_int("id", id));
    else
        *out = (int32_t)id;
    return HD_OK;
}

static hd_status flag(const loader *l, const char *key, bool *out, hd_err *err)
{
    hd_status st = hd_gguf_get_bool(l->g, key, out, err);
    return st == HD_E_NOTFOUND ? HD_OK : st;
}

static hd_status read_pretok(loader *l, hd_err *err)
{
    hd_slice name = hd_slice_str("default");
    hd_tokenizer *t = l->t;
    hd_status st = hd_gguf_get_str(l->g, "tokenizer.ggml.pre", &name, err);
    if (st != HD_E_NOTFOUND) HD_TRY(st);
    if (hd_slice_eq_str(name, "default"))
        HD_LOG(HD_LOG_WARN, "tokenizer",
               "the file names no pre-tokenizer; gpt-2's is used and may split text differently "
               "from what the model was trained on");
    HD_TRY(hd_pretok_named(name, &t->pretok, &t->info.pretok, err));
    bool llama = strcmp(t->info.pretok, "llama-bpe") == 0;
    t->ignore_merges = llama;
    t->info.add_bos = llama;
    t->nfc = strcmp(t->info.pretok, "qwen2") == 0; // these models' own tokenizers compose first
    return HD_OK;
}

static hd_status read_roles(loader *l, hd_err *err)
{
    hd_tokenizer *t = l->t;
    int32_t eot = -1, eom = -1;
    HD_TRY(role(l, "bos", &t->info.bos, err));
    HD_TRY(role(l, "eos", &t->info.eos, err));
    HD_TRY(role(l, "padding", &t->info.pad, err));
    HD_TRY(role(l, "unknown", &t->unk, err));
    HD_TRY(role(l, "eot", &eot, err));
    HD_TRY(role(l, "eom", &eom, err));
    HD_TRY(hd_tok_add_stop(t, eot, err));
    HD_TRY(hd_tok_add_stop(t, eom, err));
    HD_TRY(flag(l, "tokenizer.ggml.add_bos_token", &t->info.add_bos, err));
    t->info.add_bos = t->info.add_bos && t->info.bos >= 0;
    return HD_OK;
}

// ---- all of it -----------------------------------------------------------------------------

static hd_status load(loader *l, hd_err *err)
{
    static const char key[] = "tokenizer.ggml.model";
    hd_tokenizer *t = l->t;
    hd_slice model;
    HD_TRY(required(hd_gguf_get_str(l->g, key, &model, err), key, err));
    bool bytes = hd_slice_eq_str(model, "gpt2"), blank = true;
    HD_CHECK(bytes || hd_slice_eq_str(model, "llama"), err, HD_E_UNSUPPORTED,
             "%s: '%.*s', expected gpt2 or llama", key, (int)(model.n < 40 ? model.n : 40),
             model.p);
    t->model = bytes ? HD_MODEL_BYTES : HD_MODEL_SCORE;
    if (bytes) {
        HD_TRY(read_pretok(l, err));
    } else {
        HD_TRY(flag(l, "tokenizer.ggml.add_space_prefix", &blank, err));
        t->metaspace = true;
        t->prefix = blank ? HD_PREFIX_EACH : HD_PREFIX_NONE;
        t->strip_prefix = blank;
        t->info.add_bos = true;
    }
    HD_TRY(read_tokens(l, err));
    HD_TRY(bytes ? read_merges(l, err) : read_scores(l, err));
    HD_TRY(read_roles(l, err));
    if (bytes) t->unk = -1; // bytes that have no symbol are dropped, as in the models' own files
    return hd_tok_finish(t, err);
}

hd_status hd_tokenizer_from_gguf(const hd_gguf *g, hd_tokenizer **out, hd_err *err)
{
    loader l = {.g = g};
    *out = NULL;
    HD_TRY(hd_tok_create(&l.t, err));
    hd_status st = load(&l, err);
    hd_map_fini(&l.names);
    if (st != HD_OK) {
        hd_tokenizer_close(l.t);
        return st;
    }
    *out = l.t;
    return HD_OK;
}
