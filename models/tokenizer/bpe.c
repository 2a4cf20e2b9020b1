// Byte pair encoding with merges by rank: over bytes (GPT-2's byte-level form, which nearly all
// models use), and over characters with unknown ones spelled as byte tokens.
//
// A byte the vocabulary lacks is dropped unless there is an unknown token, as the reference does.
// Not here: splitting text into pieces.
#include "models/tokenizer/tok_impl.h"
#include "models/tokenizer/unicode.h"

static uint64_t ranked_pair(const void *ctx, const hd_symbol *a, const hd_symbol *b)
{
    const hd_u64map *merge = ctx;
    uint64_t value;
    uint64_t key = (uint64_t)(uint32_t)a->id << 32 | (uint32_t)b->id;
    return hd_u64map_get(merge, key, &value) ? value : HD_NO_MERGE;
}

static hd_status out_of_memory(hd_err *err)
{
    return HD_FAIL(err, HD_E_NOMEM, "encoding text: out of memory");
}

// One byte as a symbol. unk_open: the symbol before is an unknown token that takes this one in.
static bool push_byte(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece, size_t at,
                      bool *unk_open)
{
    int32_t id = t->byte_id[(unsigned char)piece.p[at]];
    if (id >= 0) {
        *unk_open = false;
        return hd_merge_push(s, id, at, 1);
    }
    if (t->unk < 0 || (*unk_open && t->fuse_unk)) return true;
    *unk_open = true;
    return hd_merge_push(s, t->unk, at, 1);
}

static bool push_chars(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece)
{
    bool unk_open = false;
    for (size_t at = 0, len; at < piece.n; at += len) {
        uint32_t id;
        hd_uc_decode(piece.p + at, &len);
        if (hd_map_get(&t->whole, hd_slice_of(piece.p + at, len), &id)) {
            if (!hd_merge_push(s, (int32_t)id, at, len)) return false;
            continue;
        }
        for (size_t i = 0; i < len; i++)
            if (!push_byte(t, s, piece, at + i, &unk_open)) return false;
    }
    return true;
}

static bool push_bytes(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece)
{
    bool unk_open = false;
    for (size_t at = 0; at < piece.n; at++)
        if (!push_byte(t, s, piece, at, &unk_open)) return false;
    return true;
}

hd_status hd_bpe_piece(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece, hd_ids *out,
                       hd_err *err)
{
    uint32_t id;
    if (t->ignore_merges && piece.n <= t->token_max && hd_map_get(&t->whole, piece, &id) &&
        !(t->flag[id] & HD_ID_CONTROL))
        return hd_ids_push(out, (int32_t)id) ? HD_OK : out_of_memory(err);
    s->n_sym = 0;
    bool ok = t->model == HD_MODEL_BYTES ? push_bytes(t, s, piece) : push_chars(t, s, piece);
    if (!ok || !hd_merge(s, ranked_pair, &t->merge)) return out_of_memory(err);
    for (size_t i = 0; i < s->n_sym; i++)
        if (!hd_ids_push(out, s->sym[i].id)) return out_of_memory(err);
    return HD_OK;
}
