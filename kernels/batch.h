// What one step consumes: views of memory, the ragged batch, planes of cached keys and values.
//
// All three are plain values filled by the engine (batch), the model (tensors) and the KV pool
// (planes). Pointers are in the backend's memory and borrowed.
#ifndef HADAL_KERNELS_BATCH_H
#define HADAL_KERNELS_BATCH_H

#include "kernels/dtype.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_tensor { // view, row-major, non-owning; heads are folded into cols
    void *data;            // address in the backend's memory; NULL on the dry backend
    hd_dtype dtype;
    int32_t rows, cols;
    int64_t stride; // bytes between rows
} hd_tensor;

// Columns [from, from + n) of t. The dtype must be a scalar one.
static inline hd_tensor hd_tensor_cols(hd_tensor t, int32_t from, int32_t n)
{
    hd_tensor v = t;
    if (t.data) v.data = (char *)t.data + hd_row_bytes(t.dtype, from);
    v.cols = n;
    return v;
}
// Rows [from, from + n) of t.
static inline hd_tensor hd_tensor_rows(hd_tensor t, int32_t from, int32_t n)
{
    hd_tensor v = t;
    if (t.data) v.data = (char *)t.data + from * t.stride;
    v.rows = n;
    return v;
}

typedef struct hd_kv_plane { // one cached quantity of one layer: [n_pages, page_rows, width]
    void *base;
    hd_dtype dtype;
    int32_t width, page_rows; // page_rows = page_tokens / ratio (ratio > 1: compressed streams)
} hd_kv_plane;

typedef struct hd_batch { // one step over ragged sequences; arrays live in backend memory
    int32_t n_tokens, n_seqs, n_out, max_q, max_pages;
    const int32_t *token;   // [n_tokens]
    const int32_t *pos;     // [n_tokens] position inside its sequence
    const int32_t *q_start; // [n_seqs + 1] token range of each sequence
    const int32_t *kv_len;  // [n_seqs] visible tokens once this step is stored
    const int32_t *page;    // [n_seqs, max_pages] page ids in order
    const int32_t *out_row; // [n_out] tokens whose logits are wanted, ascending
    const int16_t *adapter; // [n_seqs] LoRA slot or -1; NULL when none is loaded
} hd_batch;

#ifdef __cplusplus
}
#endif

#endif
