// Binder: from tensor names to packed weights.
//
// An architecture's bind() is a straight list of hd_bind calls. The binder is sticky like a device:
// after the first failure every call returns without effect and finish reports it. Calls queue
// packing work; hd_binder_finish runs it on the pool in tasks of a few matrices, reports progress,
// drops consumed source pages and lists (at debug level) tensors nobody asked for. On the dry
// backend a source is not needed: shapes are then taken from the requests.
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

// What a tensor is for decides its type in memory (policy.c): matrices follow opts->weights.all,
// attention and experts their own entries; vectors and routers are never re-quantized; embeddings
// follow matrices but are never below 8 bits. Latent up-projections (kv_b) follow attention as far
// as attention can read the type (F32, F16, BF16, Q8_0, FP8 blocks); others become F16.
typedef enum hd_weight_use {
    HD_USE_MATRIX,
    HD_USE_VECTOR,
    HD_USE_EMBEDDING,
    HD_USE_HEAD,
    HD_USE_ATTENTION,
    HD_USE_LATENT,
    HD_USE_EXPERT,
    HD_USE_ROUTER
} hd_weight_use;

typedef struct hd_bind_part {
    const char *name; // full tensor name; in hd_bind_stack '#' stands for the matrix number
    int32_t n_out;
    bool transposed; // hd_bind_stack: each matrix is stored as [n_in, n_out]
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
// n_mat matrices of n_parts parts each (experts: gate|up). A part whose name has a '#' is one
// tensor [n_out, n_in] per matrix, else one tensor [n_mat, n_out, n_in].
void hd_bind_stack(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
                   const hd_bind_part *parts, int n_parts, int32_t n_in);
// One tensor [n_mat * (sum of rows), n_in] whose rows are, matrix by matrix, those of n_parts parts
// (kv_b: per head W_UK, then W_UV).
void hd_bind_rows(hd_binder *b, hd_weight **slot, hd_weight_use use, hd_shard how, int32_t n_mat,
                  const int32_t *rows, int n_parts, int32_t n_in, const char *name);
// FP8 tensors "X.weight" come with block scales "X.weight_scale_inv" over blocks of this shape.
// Without this call, or with blocks of 0, FP8 tensors are plain and scales are an error.
void hd_binder_set_fp8(hd_binder *b, int32_t block_rows, int32_t block_cols);
// Tensors with this prefix are known and not needed: they do not count as unused. prefix is copied.
void hd_binder_skip(hd_binder *b, const char *prefix);
// True when the source has a tensor of that name (always true on the dry backend when want_dry).
bool hd_binder_has(const hd_binder *b, bool want_dry, const char *name);
// Copies a small F32/F16/BF16 vector of n elements to host memory; HD_E_NOTFOUND when absent.
hd_status hd_binder_vector(hd_binder *b, const char *name, int32_t n, float *out, hd_err *err);

hd_status hd_binder_finish(hd_binder *b, uint64_t *weight_bytes, hd_err *err);
void hd_binder_totals(const hd_binder *b, hd_weight_totals *out); // after finish

#ifdef __cplusplus
}
#endif

#endif
