// Text to ids: the pipeline drawn in tok_impl.h, from whole prompts down to pieces.
//
// Everything a call needs lives in its encoder, so that any number of calls run at once. On failure
// the caller's list is as it was. Not here: matching, splitting and merging themselves.
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"

typedef struct encoder {
    const hd_tokenizer *t;
    hd_ids *out;
    hd_merge_scratch merge;
    hd_regex_scratch *regex;
    hd_buf escaped; // a stretch with its blanks as U+2581
    bool at_start;  // nothing of the text has been encoded
} encoder;

static hd_status on_piece(void *ctx, hd_slice piece, hd_err *err)
{
    encoder *e = ctx;
    if (e->t->model == HD_MODEL_SCORE) return hd_spm_piece(e->t, &e->merge, piece, e->out, err);
    return hd_bpe_piece(e->t, &e->merge, piece, e->out, err);
}

// Text without special tokens.
static hd_status encode_plain(encoder *e, hd_slice text, hd_err *err)
{
    const hd_pretok_sink sink = {on_piece, e};
    if (text.n == 0) return HD_OK;
    if (e->t->metaspace) {
        hd_buf_clear(&e->escaped);
        hd_spm_escape(e->t, text, e->at_start, &e->escaped);
        if (e->escaped.failed) return HD_FAIL(err, HD_E_NOMEM, "encoding text: out of memory");
        text = hd_buf_slice(&e->escaped);
    }
    e->at_start = false;
    return hd_pretok_run(&e->t->pretok, text, &e->regex, &sink, err);
}

static hd_status push_special(encoder *e, int32_t id, hd_err *err)
{
    e->at_start = false;
    if (hd_ids_push(e->out, id)) return HD_OK;
    return HD_FAIL(err, HD_E_NOMEM, "encoding text: out of memory");
}

// text[from..end) after normalising.
static hd_status encode_normal(encoder *e, const hd_marked *m, size_t from, size_t end, hd_err *err)
{
    while (from < end) {
        hd_added_match a = {end, end, -1};
        bool found = hd_added_next(&e->t->normal, m, from, end, &a);
        HD_TRY(encode_plain(e, hd_slice_of(m->text.p + from, a.from - from), err));
        if (found) HD_TRY(push_special(e, a.id, err));
        from = a.to;
    }
    return HD_OK;
}

static hd_status encode_stretch(encoder *e, const hd_marked *m, size_t from, size_t end,
                                hd_err *err)
{
    if (!e->t->nfc || !hd_nfc_may_change(hd_slice_of(m->text.p + from, end - from)))
        return encode_normal(e, m, from, end, err);
    hd_prompt composed = {0};
    hd_status st = hd_nfc_append(&composed, m, from, end, err);
    if (st == HD_OK) {
        hd_marked n = hd_marked_of(&composed);
        st = encode_normal(e, &n, 0, n.text.n, err);
    }
    hd_prompt_fini(&composed);
    return st;
}

static hd_status encode_raw(encoder *e, const hd_marked *m, hd_err *err)
{
    for (size_t from = 0; from < m->text.n;) {
        hd_added_match a = {m->text.n, m->text.n, -1};
        bool found = hd_added_next(&e->t->raw, m, from, m->text.n, &a);
        HD_TRY(encode_stretch(e, m, from, a.from, err));
        if (found) HD_TRY(push_special(e, a.id, err));
        from = a.to;
    }
    return HD_OK;
}

static hd_status encode_valid(const hd_tokenizer *t, const hd_marked *m, unsigned flags,
                              hd_ids *out, hd_err *err)
{
    encoder e = {.t = t, .out = out, .at_start = true};
    size_t before = out->n;
    bool bos = (flags & HD_TOK_BOS) && t->info.bos >= 0;
    hd_status st = HD_OK;
    if (bos && !hd_ids_push(out, t->info.bos))
        st = HD_FAIL(err, HD_E_NOMEM, "encoding text: out of memory");
    if (st == HD_OK) st = encode_raw(&e, m, err);
    // A text that brings its own does not get a second one.
    if (bos && out->n > before + 1 && out->v[before + 1] == t->info.bos) {
        for (size_t i = before + 1; i < out->n; i++)
            out->v[i - 1] = out->v[i];
        out->n--;
    }
    hd_merge_fini(&e.merge);
    hd_regex_scratch_free(e.regex);
    hd_buf_fini(&e.escaped);
    if (st != HD_OK) out->n = before;
    return st;
}

static hd_status encode(const hd_tokenizer *t, const hd_marked *m, unsigned flags, hd_ids *out,
                        hd_err *err)
{
    HD_CHECK(m->text.n <= HD_TOK_INPUT, err, HD_E_LIMIT, "text of %zu bytes: at most %d allowed",
             m->text.n, (int)HD_TOK_INPUT);
    if (hd_utf8_is_valid(m->text)) return encode_valid(t, m, flags, out, err);
    hd_prompt repaired = {0};
    hd_status st = HD_OK;
    hd_lossy_append(&repaired, m);
    if (repaired.text.failed) st = HD_FAIL(err, HD_E_NOMEM, "repairing UTF-8: out of memory");
    hd_marked r = hd_marked_of(&repaired);
    if (st == HD_OK) st = encode_valid(t, &r, flags, out, err);
    hd_prompt_fini(&repaired);
    return st;
}

hd_status hd_tokenize(const hd_tokenizer *t, hd_slice text, unsigned flags, hd_ids *out,
                      hd_err *err)
{
    const hd_span all = {0, text.n};
    hd_marked m = {text, &all, (flags & HD_TOK_SPECIAL) && text.n > 0 ? 1 : 0};
    if (!m.text.p) m.text.p = "";
    return encode(t, &m, flags, out, err);
}

hd_status hd_tokenize_prompt(const hd_tokenizer *t, const hd_prompt *p, unsigned flags, hd_ids *out,
                             hd_err *err)
{
    HD_CHECK(!p->text.failed, err, HD_E_NOMEM, "building the prompt: out of memory");
    hd_marked m = hd_marked_of(p);
    return encode(t, &m, flags, out, err);
}
