// UTF-8 by the table of well-formed sequences (Unicode 3.9, table 3-7): a lead byte fixes the
// length and the range of the second byte, all later bytes are 80..BF. Normalisation, case and
// properties of characters are not done here.
#include "kernels/base/utf8.h"

#include "kernels/base/status.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; // U+FFFD

int hd_utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    HD_DASSERT(n > 0);
    unsigned char lead = (unsigned char)p[0];
    if (lead < 0x80) {
        *cp = lead;
        return 1;
    }
    int len = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (len == 0) return -1;
    // The second byte carries the limits: no overlong forms, no surrogates, nothing above 10FFFF.
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    uint32_t value = lead & (0x7Fu >> len);
    for (int i = 1; i < len; i++) {
        if ((size_t)i == n) return 0;
        unsigned char c = (unsigned char)p[i];
        if (c < low || c > high) return -i;
        value = value << 6 | (c & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    *cp = value;
    return len;
}

int hd_utf8_encode(uint32_t cp, char out[4])
{
    HD_DASSERT(cp < 0xD800 || (cp > 0xDFFF && cp < 0x110000));
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    int len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = len - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3F));
        cp >>= 6;
    }
    out[0] = (char)(0xFFu << (8 - len) | cp); // as many leading ones as bytes, then a zero
    return len;
}

// Length of the leading run of ASCII; eight bytes at a time, for most text is nothing else.
static size_t ascii_run(const char *p, size_t n)
{
    size_t i = 0;
    for (uint64_t w; n - i >= sizeof(w); i += sizeof(w)) {
        memcpy(&w, p + i, sizeof(w));
        if (w & 0x8080808080808080u) break;
    }
    while (i < n && (unsigned char)p[i] < 0x80)
        i++;
    return i;
}

size_t hd_utf8_valid(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        i += ascii_run(p + i, n - i);
        uint32_t cp;
        for (int len; i < n && (unsigned char)p[i] >= 0x80; i += (size_t)len) {
            len = hd_utf8_decode(p + i, n - i, &cp);
            if (len <= 0) return i;
        }
    }
    return n;
}

// Appends what can be decided without knowing what follows; returns the number of bytes done,
// at most three fewer than n.
static size_t append_decided(hd_buf *out, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        size_t good = hd_utf8_valid(p + i, n - i);
        hd_buf_put(out, p + i, good);
        i += good;
        if (i == n) break;
        uint32_t cp;
        int len = hd_utf8_decode(p + i, n - i, &cp);
        if (len == 0) break;
        hd_buf_put(out, replacement, 3);
        i += (size_t)-len;
    }
    return i;
}

void hd_utf8_append_lossy(hd_buf *out, hd_slice s)
{
    if (append_decided(out, s.p, s.n) < s.n) hd_buf_put(out, replacement, 3);
}

void hd_utf8_push(hd_utf8_stream *s, hd_buf *out, hd_slice bytes)
{
    size_t i = 0;
    // What is held is a proper prefix of a sequence: feed it byte by byte until it is decided.
    while (s->n_held > 0 && i < bytes.n) {
        s->held[s->n_held] = bytes.p[i];
        uint32_t cp;
        int len = hd_utf8_decode(s->held, (size_t)s->n_held + 1, &cp);
        if (len < 0) { // the new byte broke it and is looked at again below
            hd_buf_put(out, replacement, 3);
            s->n_held = 0;
            break;
        }
        i++;
        s->n_held++;
        if (len > 0) {
            hd_buf_put(out, s->held, (size_t)len);
            s->n_held = 0;
        }
    }
    if (i == bytes.n) return;
    i += append_decided(out, bytes.p + i, bytes.n - i);
    s->n_held = (int)(bytes.n - i);
    if (s->n_held > 0) memcpy(s->held, bytes.p + i, (size_t)s->n_held);
}

void hd_utf8_flush(hd_utf8_stream *s, hd_buf *out)
{
    if (s->n_held > 0) hd_buf_put(out, replacement, 3);
    s->n_held = 0;
}
