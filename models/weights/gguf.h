// GGUF v2/v3 files: metadata and tensor directory, split sets included.
//
// Opening maps the file(s) and checks everything once (limits in gguf.c); afterwards all accessors
// are pure and thread-safe. Strings are borrowed from the mapping and are not NUL-terminated.
#ifndef HADAL_MODELS_WEIGHTS_GGUF_H
#define HADAL_MODELS_WEIGHTS_GGUF_H

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_gguf hd_gguf;

typedef enum hd_gguf_type { // value types of the file format
    HD_GGUF_U8 = 0,
    HD_GGUF_I8,
    HD_GGUF_U16,
    HD_GGUF_I16,
    HD_GGUF_U32,
    HD_GGUF_I32,
    HD_GGUF_F32,
    HD_GGUF_BOOL,
    HD_GGUF_STRING,
    HD_GGUF_ARRAY,
    HD_GGUF_U64,
    HD_GGUF_I64,
    HD_GGUF_F64,
} hd_gguf_type;

// path names a single file, or part 1 of a split set (name-00001-of-00007.gguf); the other parts
// are found beside it. Vocabulary-only files (no tensors) are legal.
hd_status hd_gguf_open(const char *path, hd_file_access access, hd_gguf **out, hd_err *err);
// The same on bytes in memory (fuzzing, tests); bytes must outlive the result. No split sets.
hd_status hd_gguf_open_mem(hd_slice bytes, hd_gguf **out, hd_err *err);
void hd_gguf_close(hd_gguf *g);

// ---- metadata ------------------------------------------------------------------------------

// The typed getters return HD_OK and set *out; or HD_E_NOTFOUND (err untouched, *out untouched)
// when the key is absent; or HD_E_INVAL with "key 'x': found string, expected ..." on another type.
// Integers of any width are accepted where the value fits.
hd_status hd_gguf_get_i64(const hd_gguf *g, const char *key, int64_t min, int64_t max, int64_t *out,
                          hd_err *err);
hd_status hd_gguf_get_f64(const hd_gguf *g, const char *key, double *out, hd_err *err);
hd_status hd_gguf_get_bool(const hd_gguf *g, const char *key, bool *out, hd_err *err);
hd_status hd_gguf_get_str(const hd_gguf *g, const char *key, hd_slice *out, hd_err *err);

typedef struct hd_gguf_array {
    hd_gguf_type type; // of the elements
    uint64_t n;
    const uint8_t *data; // packed little-endian elements, unaligned
    const hd_slice *str; // element texts when type is HD_GGUF_STRING, else NULL
} hd_gguf_array;
// want: HD_GGUF_ARRAY accepts any element type.
hd_status hd_gguf_get_array(const hd_gguf *g, const char *key, hd_gguf_type want,
                            hd_gguf_array *out, hd_err *err);
bool hd_gguf_has(const hd_gguf *g, const char *key);

// Walks all keys in file order for `hadal inspect`; scalars and strings are rendered as text,
// arrays as "[type x n]". i < hd_gguf_n_keys.
size_t hd_gguf_n_keys(const hd_gguf *g);
hd_slice hd_gguf_key(const hd_gguf *g, size_t i);
void hd_gguf_value_text(const hd_gguf *g, size_t i, size_t max_chars, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
