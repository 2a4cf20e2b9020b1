// SentencePiece-type vocabularies: blanks written as U+2581, and for GGUF files with scores the
// merge of whichever neighbours spell the best-scored entry.
//
// Only ordinary entries take part in merging, so text cannot assemble a control token. Not here:
// normalisation charts (those of T5-like models are refused when a file is opened).
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"
#include "models/tokenizer/unicode.h"

#include <string.h>

// ---- blanks --------------------------------------------------------------------------------

static bool begins_blank(hd_slice s)
{
    return hd_slice_starts(s, hd_slice_str(" ")) || hd_slice_starts(s, hd_slice_str(HD_METASPACE));
}

void hd_spm_escape(const hd_tokenizer *t, hd_slice text, bool at_start, hd_buf *out)
{
    bool wanted = t->prefix == HD_PREFIX_EACH ||
                  (t->prefix == HD_PREFIX_META_EACH && !begins_blank(text)) ||
                  (t->prefix == HD_PREFIX_META_FIRST && at_start && !begins_blank(text));
    if (wanted) hd_buf_puts(out, HD_METASPACE);
    for (size_t at = 0; at < text.n;) {
        const char *blank = memchr(text.p + at, ' ', text.n - at);
        size_t end = blank ? (size_t)(blank - text.p) : text.n;
        hd_buf_put(out, text.p + at, end - at);
        if (blank) hd_buf_puts(out, HD_METASPACE);
        at = end + 1;
    }
}

size_t hd_metaspace_decode(hd_slice s, char *dst)
{
    size_t n = 0;
    const size_t mark = sizeof(HD_METASPACE) - 1;
    for (size_t at = 0; at < s.n;) {
        bool blank = s.n - at >= mark && memcmp(s.p + at, HD_METASPACE, mark) == 0;
        dst[n++] = blank ? ' ' : s.p[at];
        at += blank ? mark : 1;
    }
    return n;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

int hd_byte_token(hd_slice s)
{
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int high = hex_digit(s.p[3]), low = hex_digit(s.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// ---- merging by score ----------------------------------------------------------------------

typedef struct scored {
    const hd_tokenizer *t;
    const char *text;
} scored;

// Order-preserving: a higher score gives a smaller rank. Scores are not NaN, so UINT32_MAX, which
// means "no merge", does not occur.
static uint32_t rank_of_score(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return ~ascending;
}

static uint64_t scored_pair(const void *ctx, const hd_symbol *a, const hd_symbol *b)
{
    const scored *c = ctx;
    uint32_t id;
    size_t n = (size_t)a->n + b->n;
    if (n > c->t->token_max) return HD_NO_MERGE;
    if (!hd_map_get(&c->t->whole, hd_slice_of(c->text + a->at, n), &id)) return HD_NO_MERGE;
    return (uint64_t)rank_of_score(c->t->score[id]) << 32 | id;
}

// A symbol without an entry is one character: its bytes, else the unknown token.
static bool put_unknown(const hd_tokenizer *t, hd_slice text, hd_ids *out)
{
    bool all = true;
    for (size_t i = 0; i < text.n; i++)
        all = all && t->byte_id[(unsigned char)text.p[i]] >= 0;
    if (!all) return t->unk < 0 || hd_ids_push(out, t->unk);
    for (size_t i = 0; i < text.n; i++)
        if (!hd_ids_push(out, t->byte_id[(unsigned char)text.p[i]])) return false;
    return true;
}

hd_status hd_spm_piece(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece, hd_ids *out,
                       hd_err *err)
{
    scored ctx = {t, piece.p};
    bool ok = true;
    s->n_sym = 0;
    for (size_t at = 0, len; ok && at < piece.n; at += len) {
        uint32_t id;
        hd_uc_decode(piece.p + at, &len);
        bool known = hd_map_get(&t->whole, hd_slice_of(piece.p + at, len), &id);
        ok = hd_merge_push(s, known ? (int32_t)id : -1, at, len);
    }
    ok = ok && hd_merge(s, scored_pair, &ctx);
    for (size_t i = 0; ok && i < s->n_sym; i++) {
        const hd_symbol *sym = &s->sym[i];
        ok = sym->id >= 0 ? hd_ids_push(out, sym->id)
                          : put_unknown(t, hd_slice_of(piece.p + sym->at, sym->n), out);
    }
    return ok ? HD_OK : HD_FAIL(err, HD_E_NOMEM, "encoding text: out of memory");
}
