// Any JSON as tokenizer.json. What loads must encode and decode a fixed text within its own ids:
//   - every id is inside the vocabulary, and the streamed text equals the whole;
//   - a refusal has a message and leaves nothing behind.
// A top-level array of two is read as [tokenizer.json, tokenizer_config.json].
#include "models/tokenizer/tokenizer.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] =
    "Hello  w\xC3\xB6rld, it's 12345 \xE4\xB8\xAD\xE6\x96\x87\n\n e\xCC\x81 \xFF"
    "<s></s><think>\t\xF0\x9F\x9A\x80\xE3\x80\x80"
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

static void check(const hd_tokenizer *t, unsigned flags)
{
    hd_ids ids = {0};
    hd_buf whole = {0}, streamed = {0};
    hd_err err = {0};
    hd_detok d;
    hd_status st = hd_tokenize(t, hd_slice_of(text, sizeof(text) - 1), flags, &ids, &err);
    HD_ASSERT(st == HD_OK || st == HD_E_LIMIT || st == HD_E_UNSUPPORTED);
    HD_ASSERT(st == HD_OK || ids.n == 0);
    hd_detok_init(&d, t, flags & HD_TOK_SPECIAL ? HD_DETOK_SKIP_SPECIAL : 0);
    for (size_t i = 0; i < ids.n; i++) {
        HD_ASSERT(ids.v[i] >= 0 && ids.v[i] < hd_tokenizer_facts(t)->n_vocab);
        hd_detok_push(&d, ids.v[i], &streamed);
        HD_ASSERT(hd_utf8_is_valid(hd_buf_slice(&streamed)));
    }
    hd_detok_flush(&d, &streamed);
    HD_ASSERT(hd_detokenize(t, ids.v, ids.n, d.flags, &whole, &err) == HD_OK);
    HD_ASSERT(hd_slice_eq(hd_buf_slice(&whole), hd_buf_slice(&streamed)));
    hd_buf_fini(&whole);
    hd_buf_fini(&streamed);
    hd_ids_fini(&ids);
}

static void facts(const hd_tokenizer *t)
{
    const hd_tokenizer_info *info = hd_tokenizer_facts(t);
    size_t n;
    const int32_t *stop = hd_tokenizer_stops(t, &n);
    HD_ASSERT(info->bos < info->n_vocab && info->eos < info->n_vocab && info->pad < info->n_vocab);
    HD_ASSERT(!info->add_bos || info->bos >= 0);
    for (size_t i = 0; i < n; i++)
        HD_ASSERT(stop[i] >= 0 && stop[i] < info->n_vocab && (i == 0 || stop[i] > stop[i - 1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hd_json_limits limits = {1 << 16, 20000, 32};
    hd_json *json = NULL;
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    if (hd_json_parse(hd_slice_of((const char *)data, size), &limits, &json, &err) != HD_OK)
        return 0;
    const hd_json *file = json, *config = NULL;
    if (hd_json_type(json) == HD_JSON_ARRAY) {
        file = hd_json_first(json);
        config = hd_json_next(file);
    }
    hd_status st = hd_tokenizer_from_json(file, config, &t, &err);
    HD_ASSERT((st == HD_OK) == (t != NULL) && (st == HD_OK || err.msg[0]));
    hd_json_free(json);
    if (t) {
        facts(t);
        check(t, 0);
        check(t, HD_TOK_BOS | HD_TOK_SPECIAL);
    }
    hd_tokenizer_close(t);
    return 0;
}
