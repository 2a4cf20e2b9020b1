// Rewriting text that remembers which of its bytes are trusted: ill-formed UTF-8 to U+FFFD, and
// canonical composition (NFC).
//
// NFC goes stretch by stretch. A character that cannot combine with what precedes it starts a new
// one, so almost all text is copied. Marks are put in order here because the library's way takes a
// square of their number; decomposition and composition are utf8proc's. Marks newer than the
// reference's tables (Unicode 9) are left alone, as there. Not here: NFKC.
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"
#include "models/tokenizer/tok_impl.h"
#include "models/tokenizer/unicode.h"

#include <string.h>
#include <utf8proc.h>

// End of the stretch of equal trust that begins at `at`; *k is its place among the ranges.
static size_t run_end(const hd_marked *m, size_t at, size_t k, bool *trusted)
{
    *trusted = k < m->n_trusted && m->trusted[k].from <= at;
    if (*trusted) return m->trusted[k].to;
    return k < m->n_trusted ? m->trusted[k].from : m->text.n;
}

void hd_lossy_append(hd_prompt *out, const hd_marked *m)
{
    size_t k = 0;
    for (size_t at = 0; at < m->text.n;) {
        bool trusted;
        size_t end = run_end(m, at, k, &trusted), before = out->text.len;
        hd_utf8_append_lossy(&out->text, hd_slice_of(m->text.p + at, end - at));
        if (trusted) hd_prompt_mark(out, before);
        k += trusted;
        at = end;
    }
}

// ---- stretches -----------------------------------------------------------------------------

// How a character takes part: those that join may combine with what stands in front.
typedef enum role { PLAIN, CHANGES, JOINS, INERT } role;

static role role_of(uint32_t cp)
{
    unsigned c = hd_uc_class(cp);
    if (c & HD_UC_M) return c & HD_UC_NFC ? INERT : JOINS;
    if (cp >= 0x1160 && cp <= 0x11FF) return JOINS; // vowel and final jamo
    return c & HD_UC_NFC ? CHANGES : PLAIN;
}

bool hd_nfc_may_change(hd_slice text)
{
    for (size_t at = 0, len; at < text.n; at += len) {
        if ((unsigned char)text.p[at] < 0xCC) { // below U+0300 nothing changes
            len = (unsigned char)text.p[at] < 0x80 ? 1 : 2;
            continue;
        }
        role p = role_of(hd_uc_decode(text.p + at, &len));
        if (p == JOINS || p == CHANGES) return true;
    }
    return false;
}

static void copy(hd_prompt *out, const hd_marked *m, size_t from, size_t end)
{
    size_t k = hd_marked_seek(m, from);
    while (from < end) {
        bool trusted;
        size_t stop = run_end(m, from, k, &trusted);
        if (stop > end) stop = end;
        hd_slice part = hd_slice_of(m->text.p + from, stop - from);
        trusted ? hd_prompt_trusted(out, part) : hd_prompt_user(out, part);
        k += trusted;
        from = stop;
    }
}

// ---- one stretch ---------------------------------------------------------------------------

static int combining_class(int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

// Stable order by combining class: by insertion when short, else by counting.
static bool order_marks(int32_t *cp, size_t n)
{
    enum { SHORT = 24, CLASSES = 256 };
    if (n <= SHORT) {
        for (size_t i = 1; i < n; i++) {
            int32_t c = cp[i];
            size_t j = i;
            for (; j > 0 && combining_class(cp[j - 1]) > combining_class(c); j--)
                cp[j] = cp[j - 1];
            cp[j] = c;
        }
        return true;
    }
    int32_t *old = hd_reallocarray(NULL, n, sizeof(*old));
    if (!old) return false;
    size_t start[CLASSES + 1] = {0};
    memcpy(old, cp, n * sizeof(*old));
    for (size_t i = 0; i < n; i++)
        start[(combining_class(cp[i]) & 0xFF) + 1]++;
    for (int c = 0; c < CLASSES; c++)
        start[c + 1] += start[c];
    for (size_t i = 0; i < n; i++)
        cp[start[combining_class(old[i]) & 0xFF]++] = old[i];
    hd_free(old);
    return true;
}

static bool order(int32_t *cp, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t from = i;
        while (i < n && combining_class(cp[i]) != 0)
            i++;
        if (i - from > 1 && !order_marks(cp + from, i - from)) return false;
        if (i < n) i++;
    }
    return true;
}

enum { LONGEST_DECOMPOSITION = 4 }; // canonical, of one character

// Appends the composed form of one stretch. cp has room for all its decompositions.
static bool compose(hd_buf *out, hd_slice text, int32_t *cp)
{
    size_t n = 0;
    for (size_t at = 0, len; at < text.n; at += len) {
        int boundary = 0;
        int32_t c = (int32_t)hd_uc_decode(text.p + at, &len);
        utf8proc_ssize_t got = utf8proc_decompose_char(c, cp + n, LONGEST_DECOMPOSITION,
                                                       UTF8PROC_DECOMPOSE, &boundary);
        if (got < 1 || got > LONGEST_DECOMPOSITION) { // unknown to the library: stays as it is
            cp[n] = c;
            got = 1;
        }
        n += (size_t)got;
    }
    if (!order(cp, n)) return false;
    utf8proc_ssize_t left =
        utf8proc_normalize_utf32(cp, (utf8proc_ssize_t)n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (utf8proc_ssize_t i = 0; i < left; i++) {
        char bytes[4];
        hd_buf_put(out, bytes, (size_t)hd_utf8_encode((uint32_t)cp[i], bytes));
    }
    return true;
}

static bool compose_stretch(hd_prompt *out, const hd_marked *m, size_t from, size_t end)
{
    enum { SMALL = 32 };
    int32_t small[SMALL * LONGEST_DECOMPOSITION], *cp = small;
    size_t before = out->text.len, k = hd_marked_seek(m, from);
    if (end - from > SMALL)
        cp = hd_reallocarray(NULL, end - from, sizeof(*cp) * LONGEST_DECOMPOSITION);
    if (!cp) return false;
    bool ok = compose(&out->text, hd_slice_of(m->text.p + from, end - from), cp);
    if (cp != small) hd_free(cp);
    if (ok && k < m->n_trusted && m->trusted[k].from <= from && m->trusted[k].to >= end)
        hd_prompt_mark(out, before);
    return ok;
}

hd_status hd_nfc_append(hd_prompt *out, const hd_marked *m, size_t from, size_t end, hd_err *err)
{
    bool ok = true;
    size_t plain = from; // text[plain..at) is to be copied
    for (size_t at = from, len; ok && at < end;) {
        role p = role_of(hd_uc_decode(m->text.p + at, &len));
        bool change = p == JOINS || p == CHANGES;
        size_t stop = at + len;
        while (p != INERT && stop < end && role_of(hd_uc_decode(m->text.p + stop, &len)) == JOINS) {
            stop += len;
            change = true;
        }
        if (change) {
            copy(out, m, plain, at);
            ok = compose_stretch(out, m, at, stop);
            plain = stop;
        }
        at = stop;
    }
    copy(out, m, plain, end);
    if (!ok || out->text.failed) return HD_FAIL(err, HD_E_NOMEM, "normalising text: out of memory");
    return HD_OK;
}
