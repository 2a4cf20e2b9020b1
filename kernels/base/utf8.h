// UTF-8: strict decoding, validation, lossy repair and streaming.
//
// "Lossy" follows the Unicode recommendation (and Rust, hence HF tokenizers): each maximal subpart
// of an ill-formed sequence becomes one U+FFFD. No state outside the arguments.
#ifndef HADAL_KERNELS_BASE_UTF8_H
#define HADAL_KERNELS_BASE_UTF8_H

#include "kernels/base/buf.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_UTF8_REPLACEMENT 0xFFFD

// Decodes one code point at p[0..n), n > 0. Returns its length 1..4, or -k when the first k >= 1
// bytes form a maximal ill-formed subpart, or 0 when all n bytes (n < 4) are a proper prefix of a
// longer sequence.
int hd_utf8_decode(const char *p, size_t n, uint32_t *cp);
int hd_utf8_encode(uint32_t cp, char out[4]); // length; cp must be a scalar value

// Offset of the first ill-formed byte, or n when the text is valid.
size_t hd_utf8_valid(const char *p, size_t n);
static inline bool hd_utf8_is_valid(hd_slice s)
{
    return hd_utf8_valid(s.p, s.n) == s.n;
}
// Appends s to out with every ill-formed part replaced.
void hd_utf8_append_lossy(hd_buf *out, hd_slice s);

// Incremental form: push appends what is decided to out and keeps back at most 3 bytes; flush
// turns the rest into U+FFFD. The concatenation equals hd_utf8_append_lossy of the whole.
typedef struct hd_utf8_stream {
    char held[4];
    int n_held;
} hd_utf8_stream;
void hd_utf8_push(hd_utf8_stream *s, hd_buf *out, hd_slice bytes);
void hd_utf8_flush(hd_utf8_stream *s, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
