// Prompts of trusted and untrusted pieces, lists of ids.
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"

#include <string.h>

bool hd_ids_push(hd_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        int32_t *v = hd_reallocarray(ids->v, cap, sizeof(*v));
        if (!v) return false;
        ids->v = v;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return true;
}

void hd_ids_fini(hd_ids *ids)
{
    hd_free(ids->v);
    memset(ids, 0, sizeof(*ids));
}

void hd_prompt_mark(hd_prompt *p, size_t from)
{
    size_t to = p->text.len;
    if (from == to || p->text.failed) return;
    if (p->n_trusted > 0 && p->trusted[p->n_trusted - 1].to == from) {
        p->trusted[p->n_trusted - 1].to = to;
        return;
    }
    if (p->n_trusted == p->cap_trusted) {
        size_t cap = p->cap_trusted ? p->cap_trusted * 2 : 8;
        hd_span *v = hd_reallocarray(p->trusted, cap, sizeof(*v));
        if (!v) {
            p->text.failed = true;
            return;
        }
        p->trusted = v;
        p->cap_trusted = cap;
    }
    hd_span span = {from, to};
    p->trusted[p->n_trusted++] = span;
}

void hd_prompt_trusted(hd_prompt *p, hd_slice s)
{
    size_t from = p->text.len;
    hd_buf_put_slice(&p->text, s);
    hd_prompt_mark(p, from);
}

void hd_prompt_trusted_str(hd_prompt *p, const char *zstr)
{
    hd_prompt_trusted(p, hd_slice_str(zstr));
}

void hd_prompt_user(hd_prompt *p, hd_slice s)
{
    hd_buf_put_slice(&p->text, s);
}

void hd_prompt_fini(hd_prompt *p)
{
    hd_buf_fini(&p->text);
    hd_free(p->trusted);
    memset(p, 0, sizeof(*p));
}

hd_marked hd_marked_of(const hd_prompt *p)
{
    hd_marked m = {hd_buf_slice(&p->text), p->trusted, p->n_trusted};
    return m;
}
