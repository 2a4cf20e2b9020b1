// Ids to text, streamed or whole: token bytes in, complete UTF-8 out.
//
// Whole decoding is streaming with a flush, so both agree by construction.
#include "models/tokenizer/tok_impl.h"

void hd_detok_init(hd_detok *d, const hd_tokenizer *t, unsigned flags)
{
    hd_detok fresh = {.t = t, .flags = flags};
    *d = fresh;
}

void hd_detok_push(hd_detok *d, int32_t id, hd_buf *out)
{
    const hd_tokenizer *t = d->t;
    if ((d->flags & HD_DETOK_SKIP_SPECIAL) && hd_token_is_special(t, id)) return;
    hd_slice bytes = hd_token_bytes(t, id);
    if (bytes.n == 0) return;
    if (!d->started && t->strip_prefix && bytes.p[0] == ' ' && !(t->flag[id] & HD_ID_ADDED)) {
        bytes.p++;
        bytes.n--;
    }
    d->started = true;
    hd_utf8_push(&d->utf8, out, bytes);
}

void hd_detok_flush(hd_detok *d, hd_buf *out)
{
    hd_utf8_flush(&d->utf8, out);
}

hd_status hd_detokenize(const hd_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                        hd_buf *out, hd_err *err)
{
    hd_detok d;
    hd_detok_init(&d, t, flags);
    for (size_t i = 0; i < n; i++)
        hd_detok_push(&d, ids[i], out);
    hd_detok_flush(&d, out);
    return out->failed ? HD_FAIL(err, HD_E_NOMEM, "decoding tokens: out of memory") : HD_OK;
}
