// A set of named tensors on disk: safetensors (single or sharded) or GGUF (single or split).
//
// Opening parses headers only and checks offsets, sizes, overlaps and dtype x shape against the
// limits of each reader. Lookup is by hash. Immutable afterwards: any thread. Data may be
// unaligned; copy or use unaligned loads. Files are mapped, or read where that is asked for or the
// file system cannot map: then a tensor's data is an address for hd_source_copy, and nothing lies
// there.
#ifndef HADAL_MODELS_WEIGHTS_SOURCE_H
#define HADAL_MODELS_WEIGHTS_SOURCE_H

#include "kernels/base/buf.h"
#include "kernels/base/file.h"
#include "kernels/base/status.h"
#include "kernels/dtype.h"
#include "models/weights/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_SOURCE_MAX_RANK = 8 };

typedef struct hd_source_tensor {
    hd_slice name; // borrowed from the source
    hd_dtype dtype;
    int32_t rank; // 0: scalar
    uint64_t
        shape[HD_SOURCE_MAX_RANK]; // outermost first, as PyTorch prints it (GGUF's ne reversed)
    const void *data;
    uint64_t bytes;
    int32_t file; // index of the shard
} hd_source_tensor;

typedef struct hd_source hd_source;

// dir holds model.safetensors, or model.safetensors.index.json with its shards.
hd_status hd_source_open_safetensors(const char *dir, hd_file_access access, hd_source **out,
                                     hd_err *err);
// Borrows g, which must outlive the source.
hd_status hd_source_open_gguf(const hd_gguf *g, hd_source **out, hd_err *err);
// One safetensors file in memory (fuzzing, tests).
hd_status hd_source_open_safetensors_mem(hd_slice bytes, hd_source **out, hd_err *err);
void hd_source_close(hd_source *s);

size_t hd_source_count(const hd_source *s);
const hd_source_tensor *hd_source_at(const hd_source *s, size_t i);        // in file order
const hd_source_tensor *hd_source_find(const hd_source *s, hd_slice name); // NULL when absent
uint64_t hd_source_bytes(const hd_source *s);                              // sum of tensor payloads
int32_t hd_source_files(const hd_source *s);
const char *hd_source_file_name(const hd_source *s, int32_t file);

bool hd_source_in_memory(const hd_source *s); // data may be touched
// Copies bytes out of one tensor's data, wherever they are.
hd_status hd_source_copy(const hd_source *s, const void *at, size_t bytes, void *to, hd_err *err);

// Page-cache hints for one tensor: will be read soon; has been consumed.
void hd_source_want(const hd_source *s, const hd_source_tensor *t);
void hd_source_drop(const hd_source *s, const hd_source_tensor *t);
// The same for bytes [offset, offset + bytes) of it.
void hd_source_want_range(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                          uint64_t bytes);
void hd_source_drop_range(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                          uint64_t bytes);

#ifdef __cplusplus
}
#endif

#endif
