// Binder: from tensor names to packed weights.
//
// An architecture's bind() is a straight list of hd_bind calls. The binder is sticky like a device:
// after the first failure every call returns without effect and finish reports it. Calls queue
// packing work; hd_binder_finish runs it on the pool, reports progress, drops consumed source pages
// and lists (at debug level) tensors nobody asked for. On the dry backend shapes are taken from the
// request.
//
// Threads: the loading thread alone; packing runs on the pool inside finish.
#ifndef HADAL_MODELS_WEIGHTS_BINDER_H
#define HADAL_MODELS_WEIGHTS_BINDER_H

#include "kernels/backend.h"
#include "models/model.h"
#include "models/weights/source.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_shard { HD_SHARD_NONE, HD_SHARD_ROWS, HD_SHARD_COLS, HD_SHARD_EXPERTS } hd_shard;

// What a tensor is for decides its type in memory (policy.c): matrices follow opts->weights,
// vectors stay F32, embeddings follow matrices but are never below 8 bits when re-quantized.
typedef enum hd_weight_use {
    HD_USE_MATRIX,
    HD_USE_VECTOR,
    HD_USE_EMBEDDING,
    HD_USE_HEAD
} hd_weight_use;

typedef struct hd_bind_part {
    const char *name; // full tensor name
    int32_t n_out;
} hd_bind_part;

hd_status hd_binder_open(const hd_source *src, hd_backend *be, const hd_model_opts *opts,
                         hd_binder **out, hd_err *err); // src NULL only on the dry backend
void hd_binder_close(hd_binder *b);

// One matrix [n_out, n_in] (or n_mat of them when the tensor is [n_mat, n_out, n_in]) named by fmt.
// *slot is set when finish packs it; it stays NULL on failure. Use n_in = 1 for vectors.
void hd_bind(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
             int32_t n_out, int32_t n_in, const char *fmt, ...)
    __attribute__((format(printf, 8, 9)));
// Several [n_out, n_in] tensors stacked by rows into one weight (q|k|v, gate|up).
void hd_bind_parts(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how,
                   const hd_bind_part *parts, int n_parts, int32_t n_in);
// True when the source has a tensor of that name (always true on the dry backend when want_dry).
bool hd_binder_has(const hd_binder *b, bool want_dry, const char *name);
// Copies a small F32/F16/BF16 vector of n elements to host memory; HD_E_NOTFOUND when absent.
hd_status hd_binder_vector(hd_binder *b, const char *name, int32_t n, float *out, hd_err *err);

hd_status hd_binder_finish(hd_binder *b, uint64_t *weight_bytes, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
