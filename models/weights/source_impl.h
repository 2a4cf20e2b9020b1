// What the readers of this folder share: the inside of hd_source, the files behind it, and showing
// texts that come out of files. Private to models/weights.
#ifndef HADAL_MODELS_WEIGHTS_SOURCE_IMPL_H
#define HADAL_MODELS_WEIGHTS_SOURCE_IMPL_H

#include "kernels/base/file.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "models/weights/source.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_weight_file {
    char *name;       // the path, or its last component when that is long
    hd_filemap map;   // empty when the bytes are the caller's
    const uint8_t *p; // content; NULL when n is 0
    size_t n;
} hd_weight_file;

// A zeroed one is empty. invariant: the tensors of one file stand together, sorted by address.
struct hd_source {
    hd_file_access access; // to the files
    hd_weight_file *file;
    int32_t n_files;
    hd_source_tensor *t;
    size_t n, cap;
    hd_map by_name; // name -> index in t
    uint64_t bytes;
    hd_arena texts; // names that had to be unescaped
    bool borrowed;  // everything above belongs to somebody else
};

// The messages name path.
hd_status hd_weight_file_open(hd_weight_file *f, const char *path, hd_file_access access,
                              hd_err *err);
// The first `bytes` bytes of p, which has so many, may be touched afterwards.
hd_status hd_weight_file_need(hd_weight_file *f, size_t bytes, hd_err *err);
// Borrows bytes; the file is called "memory".
hd_status hd_weight_file_mem(hd_weight_file *f, hd_slice bytes, hd_err *err);
void hd_weight_file_close(hd_weight_file *f);

// Appends a copy of t.
hd_status hd_source_push(hd_source *s, const hd_source_tensor *t, hd_err *err);
// Sorts the tensors from index `from` on by address, then by size.
void hd_source_sort(hd_source *s, size_t from);
// Puts the names of the tensors from index `from` on into map; a name that is there already is an
// error.
hd_status hd_source_names(const hd_source *s, size_t from, hd_map *map, hd_err *err);
// Builds by_name and the sum of bytes once all tensors are there.
hd_status hd_source_seal(hd_source *s, hd_err *err);
void hd_source_fini(hd_source *s); // releases what s holds, not s

// Dimensions of one tensor multiplied with `bytes` one by one; false on overflow.
bool hd_shape_bytes(const uint64_t *shape, int32_t rank, uint64_t bytes, uint64_t *out);

// Texts from files as they may stand in a message: printable ASCII, one line, bounded. Used as
// hd_show(name).text inside a call's arguments.
typedef struct hd_shown {
    char text[112];
} hd_shown;
hd_shown hd_show(hd_slice text);
hd_shown hd_show_shape(const uint64_t *shape, int32_t rank); // "[4096, 128]"

static inline uint32_t hd_le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t hd_le64(const uint8_t *p)
{
    return (uint64_t)hd_le32(p) | (uint64_t)hd_le32(p + 4) << 32;
}

#ifdef __cplusplus
}
#endif

#endif
