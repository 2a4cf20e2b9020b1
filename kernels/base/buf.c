// Byte ranges and growable buffers. No encoding knowledge: that is utf8.c and json.c.
#include "kernels/base/buf.h"

#include "kernels/base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_BYTES = 64 };

// ---- slices --------------------------------------------------------------------------------

hd_slice hd_slice_str(const char *zstr)
{
    return zstr ? hd_slice_of(zstr, strlen(zstr)) : hd_slice_of("", 0);
}

bool hd_slice_eq(hd_slice a, hd_slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool hd_slice_eq_str(hd_slice a, const char *zstr)
{
    return hd_slice_eq(a, hd_slice_str(zstr));
}

bool hd_slice_starts(hd_slice s, hd_slice prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

ptrdiff_t hd_slice_find(hd_slice s, hd_slice needle, size_t from)
{
    if (from > s.n || needle.n > s.n - from) return -1;
    if (needle.n == 0) return (ptrdiff_t)from;
    const char *hit = memmem(s.p + from, s.n - from, needle.p, needle.n);
    return hit ? hit - s.p : -1;
}

// ---- buffers -------------------------------------------------------------------------------

void hd_buf_fini(hd_buf *b)
{
    hd_free(b->data);
    memset(b, 0, sizeof(*b));
}

void hd_buf_clear(hd_buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->data) b->data[0] = '\0';
}

// cap counts payload bytes; one more is always there for the NUL.
bool hd_buf_reserve(hd_buf *b, size_t extra)
{
    if (b->failed) return false;
    if (b->data && extra <= b->cap - b->len) return true;
    size_t need, grown, bytes;
    if (!hd_add_size(b->len, extra, &need) || !hd_add_size(need, 1, &bytes)) {
        b->failed = true;
        return false;
    }
    // Half as much again keeps the copying linear and the slack of big documents bounded.
    if (hd_add_size(b->cap, b->cap / 2, &grown) && bytes < grown) bytes = grown;
    if (bytes < FIRST_BYTES) bytes = FIRST_BYTES;
    char *data = hd_realloc(b->data, bytes);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = bytes - 1;
    b->data[b->len] = '\0';
    return true;
}

void hd_buf_put(hd_buf *b, const void *p, size_t n)
{
    if (n == 0 || !hd_buf_reserve(b, n)) return;
    memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void hd_buf_puts(hd_buf *b, const char *zstr)
{
    hd_buf_put(b, zstr, strlen(zstr));
}

void hd_buf_putc(hd_buf *b, char c)
{
    hd_buf_put(b, &c, 1);
}

void hd_buf_put_slice(hd_buf *b, hd_slice s)
{
    hd_buf_put(b, s.p, s.n);
}

void hd_buf_printf(hd_buf *b, const char *fmt, ...)
{
    if (!hd_buf_reserve(b, 0)) return;
    // First try in the room there is; the answer tells how much is needed.
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t room = b->cap - b->len;
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(b->data + b->len, room + 1, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n <= room) {
            b->len += (size_t)n;
            return;
        }
        b->data[b->len] = '\0';
        if (n < 0) b->failed = true;
        if (!hd_buf_reserve(b, n < 0 ? 0 : (size_t)n)) return;
    }
    b->failed = true; // the arguments changed between the attempts
}
