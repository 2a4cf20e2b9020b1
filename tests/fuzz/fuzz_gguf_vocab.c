// Any bytes as a GGUF file with a vocabulary. What loads must encode and decode a fixed text within
// its own ids; a refusal has a message.
#include "kernels/base/log.h"
#include "models/tokenizer/tokenizer.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void quiet(void *ctx, hd_slice line)
{
    (void)ctx;
    (void)line;
}

static void check(const hd_tokenizer *t, unsigned flags)
{
    static const char text[] =
        " ab ba<x><s>\xE2\x96\x81 \xC3\xA9 \xFF aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    hd_ids ids = {0};
    hd_buf back = {0};
    HD_ASSERT(hd_tokenize(t, hd_slice_of(text, sizeof(text) - 1), flags, &ids, NULL) == HD_OK);
    for (size_t i = 0; i < ids.n; i++)
        HD_ASSERT(ids.v[i] >= 0 && ids.v[i] < hd_tokenizer_facts(t)->n_vocab);
    HD_ASSERT(hd_detokenize(t, ids.v, ids.n, 0, &back, NULL) == HD_OK);
    HD_ASSERT(hd_utf8_is_valid(hd_buf_slice(&back)));
    hd_buf_fini(&back);
    hd_ids_fini(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_gguf *g = NULL;
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    hd_log_set_sink(quiet, NULL);
    if (size > 1 << 16 ||
        hd_gguf_open_mem(hd_slice_of((const char *)data, size), &g, &err) != HD_OK)
        return 0;
    hd_status st = hd_tokenizer_from_gguf(g, &t, &err);
    hd_gguf_close(g);
    HD_ASSERT((st == HD_OK) == (t != NULL) && (st == HD_OK || err.msg[0]));
    if (t) {
        check(t, 0);
        check(t, HD_TOK_BOS | HD_TOK_SPECIAL);
    }
    hd_tokenizer_close(t);
    return 0;
}
