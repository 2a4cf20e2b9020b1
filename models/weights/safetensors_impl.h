// Between the safetensors reader's two halves: one file, and a folder of files. Private to them and
// to the tests of the index.
#ifndef HADAL_MODELS_WEIGHTS_SAFETENSORS_IMPL_H
#define HADAL_MODELS_WEIGHTS_SAFETENSORS_IMPL_H

#include "kernels/base/json.h"
#include "models/weights/source_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_ST_MAX_HEADER = 100 * 1000 * 1000,
    HD_ST_MAX_TENSORS = 1 << 20,
    HD_ST_MAX_NAME = 1024,
    HD_ST_MAX_SHARDS = 4096,
};

// Reads the header of s->file[file] and appends its tensors, sorted by address. Messages do not
// name the file.
hd_status hd_st_read_file(hd_source *s, int32_t file, hd_err *err);

// model.safetensors.index.json: which tensor is in which shard.
typedef struct hd_st_index { // a zeroed one is empty
    hd_json *root;           // owns the texts below
    hd_slice *name;          // [n]
    uint32_t *shard_of;      // [n]
    size_t n;
    hd_map by_name;
    hd_slice *shard; // [n_shards] plain file names, NUL-terminated
    uint32_t n_shards;
    double total_size; // < 0: not given
} hd_st_index;

// Takes root over in every case.
hd_status hd_st_index_read(hd_st_index *x, hd_json *root, hd_err *err);
void hd_st_index_fini(hd_st_index *x);
extern const hd_json_limits hd_st_index_limits;

#ifdef __cplusplus
}
#endif

#endif
