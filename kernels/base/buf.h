// Borrowed byte ranges and growable byte buffers.
//
// A buffer that fails to grow remembers it (`failed`) and ignores later writes: callers write
// freely and check once at the end. Owner: whoever initialised it. One thread at a time.
#ifndef HADAL_KERNELS_BASE_BUF_H
#define HADAL_KERNELS_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_slice {
    const char *p;
    size_t n;
} hd_slice;

typedef struct hd_buf { // invariant: len <= cap; data[len] == 0 whenever data != NULL
    char *data;
    size_t len, cap;
    bool failed;
} hd_buf;

static inline hd_slice hd_slice_of(const char *p, size_t n)
{
    hd_slice s = {p, n};
    return s;
}
hd_slice hd_slice_str(const char *zstr); // NULL gives an empty slice
bool hd_slice_eq(hd_slice a, hd_slice b);
bool hd_slice_eq_str(hd_slice a, const char *zstr);
bool hd_slice_starts(hd_slice s, hd_slice prefix);
// Byte offset of the first occurrence at or after `from`, or -1.
ptrdiff_t hd_slice_find(hd_slice s, hd_slice needle, size_t from);

// A zeroed hd_buf is a valid empty buffer.
void hd_buf_fini(hd_buf *b);  // frees and zeroes
void hd_buf_clear(hd_buf *b); // keeps the memory, clears `failed`
bool hd_buf_reserve(hd_buf *b, size_t extra);
void hd_buf_put(hd_buf *b, const void *p, size_t n);
void hd_buf_puts(hd_buf *b, const char *zstr);
void hd_buf_putc(hd_buf *b, char c);
void hd_buf_put_slice(hd_buf *b, hd_slice s);
void hd_buf_printf(hd_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline hd_slice hd_buf_slice(const hd_buf *b)
{
    hd_slice s = {b->data ? b->data : "", b->len};
    return s;
}

#ifdef __cplusplus
}
#endif

#endif
