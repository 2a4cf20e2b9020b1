// Added tokens: sets of literal texts, matched leftmost-longest and only in trusted bytes.
//
// Exception, "always" tokens: DeepSeek's first models list the characters of the thirteen bytes
// that UTF-8 never uses (C0, C1, F5..FF, written as U+00C0 ... U+00FF by the byte-level alphabet)
// as added tokens. Real text with such a letter was therefore trained as that token: "Führer" holds
// id 100014 in deepseek-llm. Where a file does not call them special, they are ordinary vocabulary
// and match everywhere.
//
// A sorted array is narrowed byte by byte; no automaton, as candidates are rare (texts begin with
// '<' as a rule) and texts are short. Not here: single_word, which no supported model uses.
#include "kernels/base/mem.h"
#include "models/tokenizer/tok_impl.h"
#include "models/tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

// ---- sets ----------------------------------------------------------------------------------

hd_status hd_added_put(hd_added_set *s, const hd_added *a, hd_err *err)
{
    HD_CHECK(a->text.n > 0, err, HD_E_INVAL, "added token %d: empty text", a->id);
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 64;
        hd_added *v = hd_reallocarray(s->v, cap, sizeof(*v));
        if (!v) return HD_FAIL(err, HD_E_NOMEM, "added tokens: out of memory");
        s->v = v;
        s->cap = cap;
    }
    s->v[s->n++] = *a;
    return HD_OK;
}

static int compare_text(hd_slice a, hd_slice b)
{
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare(const void *pa, const void *pb)
{
    const hd_added *a = pa, *b = pb;
    int c = compare_text(a->text, b->text);
    return c != 0 ? c : (a->id > b->id) - (a->id < b->id);
}

void hd_added_sort(hd_added_set *s)
{
    uint32_t kept = 0;
    if (s->n > 0) qsort(s->v, s->n, sizeof(*s->v), compare);
    for (uint32_t i = 0; i < s->n; i++)
        if (kept == 0 || !hd_slice_eq(s->v[i].text, s->v[kept - 1].text)) s->v[kept++] = s->v[i];
    s->n = kept;
    memset(s->first, 0, sizeof(s->first));
    for (uint32_t i = 0; i < s->n; i++) {
        s->first[(unsigned char)s->v[i].text.p[0] + 1]++;
        s->any_always = s->any_always || s->v[i].always;
    }
    for (int b = 0; b < 256; b++)
        s->first[b + 1] += s->first[b];
}

void hd_added_fini(hd_added_set *s)
{
    hd_free(s->v);
    memset(s, 0, sizeof(*s));
}

int32_t hd_added_find(const hd_added_set *s, hd_slice text)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int c = compare_text(s->v[mid].text, text);
        if (c == 0) return s->v[mid].id;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

bool hd_added_is_reserved_byte(hd_slice text)
{
    if (text.n != 2 || (unsigned char)text.p[0] != 0xC3) return false;
    unsigned char byte = (unsigned char)(0xC0 | ((unsigned char)text.p[1] & 0x3F));
    return byte == 0xC0 || byte == 0xC1 || byte >= 0xF5;
}

// ---- matching ------------------------------------------------------------------------------

// In v[lo..hi), which agree before `depth`, the first entry whose byte there is >= b. All are
// longer than depth.
static uint32_t lower_bound(const hd_added *v, uint32_t lo, uint32_t hi, size_t depth, unsigned b)
{
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if ((unsigned char)v[mid].text.p[depth] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

// The longest allowed entry that p[0..n) begins with, or NULL.
static const hd_added *longest(const hd_added_set *s, const char *p, size_t n, bool only_always)
{
    const hd_added *best = NULL;
    uint32_t lo = s->first[(unsigned char)p[0]], hi = s->first[(unsigned char)p[0] + 1];
    for (size_t depth = 1; lo < hi; depth++) {
        if (s->v[lo].text.n == depth) { // the shortest comes first
            if (s->v[lo].always || !only_always) best = &s->v[lo];
            lo++;
        }
        if (depth == n) break;
        unsigned b = (unsigned char)p[depth];
        lo = lower_bound(s->v, lo, hi, depth, b);
        hi = lower_bound(s->v, lo, hi, depth, b + 1);
    }
    return best;
}

static size_t blanks_back(const char *s, size_t at, size_t bound)
{
    while (at > bound) {
        size_t last = at - 1, len;
        while (last > bound && ((unsigned char)s[last] & 0xC0) == 0x80)
            last--;
        if (!(hd_uc_class(hd_uc_decode(s + last, &len)) & HD_UC_SPACE)) break;
        at = last;
    }
    return at;
}

static size_t blanks_forward(const char *s, size_t at, size_t bound)
{
    size_t len;
    while (at < bound && (hd_uc_class(hd_uc_decode(s + at, &len)) & HD_UC_SPACE))
        at += len;
    return at;
}

size_t hd_marked_seek(const hd_marked *m, size_t at)
{
    size_t lo = 0, hi = m->n_trusted;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (m->trusted[mid].to <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool hd_added_next(const hd_added_set *s, const hd_marked *m, size_t from, size_t end,
                   hd_added_match *out)
{
    if (s->n == 0) return false;
    const char *p = m->text.p;
    size_t k = hd_marked_seek(m, from);
    for (size_t at = from; at < end;) {
        bool trusted = k < m->n_trusted && m->trusted[k].from <= at;
        size_t stop = trusted ? m->trusted[k].to : k < m->n_trusted ? m->trusted[k].from : end;
        if (stop > end) stop = end;
        if (!trusted && !s->any_always) at = stop;
        for (; at < stop; at++) {
            if (s->first[(unsigned char)p[at]] == s->first[(unsigned char)p[at] + 1]) continue;
            const hd_added *a = longest(s, p + at, stop - at, !trusted);
            if (!a) continue;
            out->from = a->lstrip ? blanks_back(p, at, from) : at;
            out->to = at + a->text.n;
            if (a->rstrip) out->to = blanks_forward(p, out->to, end);
            out->id = a->id;
            return true;
        }
        k += trusted;
    }
    return false;
}
