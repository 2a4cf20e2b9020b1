// Private to the CPU backend: its state, packed weights, and the helpers its files share.
//
// Owner: the thread that owns the backend. pack may run on several threads at once and only reads
// the table of kernels here. Work memory is sized for the largest batch of a shape when the shape
// is first used and then kept, so that steps after a first one allocate nothing.
#ifndef HADAL_KERNELS_CPU_CPU_H
#define HADAL_KERNELS_CPU_CPU_H

#include "kernels/backend.h"
#include "kernels/cpu/fns.h"

typedef struct hd_cpu_part { // rows [first, first + n_out) of every matrix
    hd_dtype dtype;
    hd_act_fmt fmt; // what the kernels want on the other side
    int32_t first, n_out;
    size_t row_bytes; // rows are contiguous
    size_t mat_bytes; // from one matrix to the next, a multiple of 64
    char *data;       // 64-byte aligned
} hd_cpu_part;

struct hd_weight {
    int32_t n_mat, n_part, n_out, n_in;
    unsigned fmts; // bit f: some part multiplies activations of format f
    size_t bytes;
    char *data; // hd_alloc_big(bytes)
    hd_cpu_part part[];
};

typedef struct hd_cpu_block { // work memory, grows only
    void *p;
    size_t bytes;
} hd_cpu_block;

enum {
    HD_CPU_OWN_ROWS = 16,  // more rows go through BLAS, unless the type is fast
    HD_CPU_ROW_CHUNK = 64, // rows quantized at once on the own path
    HD_CPU_ROPES = 4,      // cached tables of cos and sin
    HD_CPU_ROPE_ROWS = 4096,
};

typedef struct hd_cpu_rope { // cos and sin of [rows][n_pairs], valid within one step
    uint64_t step;           // 0: never filled
    const int32_t *pos;
    const float *inv_freq;
    float magnitude;
    int32_t rows, n_pairs;
    hd_cpu_block table;
} hd_cpu_rope;

typedef struct hd_cpu {
    hd_backend base;
    hd_pool *pool;
    int n_workers;
    bool own_only; // no BLAS: deterministic was asked for, or this build has none
    bool in_step;
    uint64_t step; // counts step_begin
    hd_err err;    // first failure; code HD_OK: none
    hd_cpu_fns fns;
    bool fast[HD_DTYPE_COUNT]; // block types whose kernels beat decoding and BLAS at any size
    hd_cpu_block act[HD_ACT_FMT_COUNT];
    hd_cpu_block gemm;                              // see gemm.c
    hd_cpu_block attn_work, attn_items, attn_slots; // attn.c
    hd_cpu_block mla;                               // mla.c
    hd_cpu_block moe_plan, moe_x, moe_h, moe_tmp;   // moe.c
    hd_cpu_block topk;                              // topk.c
    hd_cpu_rope rope[HD_CPU_ROPES];
    int next_rope;
} hd_cpu;

static inline hd_cpu *hd_cpu_of(hd_backend *be)
{
    return (hd_cpu *)be;
}

// ---- cpu_backend.c -------------------------------------------------------------------------

// At least `bytes` of block; NULL after recording the failure for sync. Contents are not kept.
void *hd_cpu_reserve(hd_cpu *c, hd_cpu_block *b, size_t bytes);

// Runs the tasks in the pool, or here when `work` (multiply-adds, elements) is too little to share.
void hd_cpu_run(hd_cpu *c, hd_pool_fn fn, void *ctx, int n_tasks, double work);

// Row r of a tensor of floats, and the distance of its rows in floats.
static inline float *hd_cpu_row(hd_tensor t, int64_t r)
{
    return (float *)(void *)((char *)t.data + r * t.stride);
}
static inline int64_t hd_cpu_ld(hd_tensor t)
{
    return t.stride / (int64_t)sizeof(float);
}
static inline int hd_cpu_tiles(int n, int tile)
{
    return (n + tile - 1) / tile;
}
static inline int hd_cpu_min(int a, int b)
{
    return a < b ? a : b;
}
static inline int hd_cpu_max(int a, int b)
{
    return a > b ? a : b;
}

static inline bool hd_cpu_by_gemm(const hd_cpu *c, const hd_cpu_part *p, int rows)
{
    return rows > HD_CPU_OWN_ROWS && !c->own_only && !c->fast[p->dtype];
}

// ---- pack.c --------------------------------------------------------------------------------

hd_status hd_cpu_weight_new(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                            hd_err *err);
hd_status hd_cpu_weight_fill(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                             int32_t first, int32_t n, hd_err *err);
void hd_cpu_weight_free(hd_backend *be, hd_weight *w);
void hd_cpu_weight_info(const hd_backend *be, const hd_weight *w, hd_weight_info *out);
const hd_cpu_part *hd_cpu_part_of(const hd_weight *w, int32_t row);
static inline const char *hd_cpu_weight_row(const hd_cpu_part *p, int32_t mat, int32_t row)
{
    return p->data + (size_t)mat * p->mat_bytes + (size_t)(row - p->first) * p->row_bytes;
}
// The values of a vector (n_in = 1).
static inline const float *hd_cpu_vector(const hd_weight *w)
{
    return (const float *)(const void *)w->data;
}

// ---- gemv.c --------------------------------------------------------------------------------

typedef struct hd_cpu_acts { // the same rows in each format a weight wants
    const char *row[HD_ACT_FMT_COUNT];
    size_t stride[HD_ACT_FMT_COUNT];
} hd_cpu_acts;

// Rows of x (at most HD_CPU_ROW_CHUNK) in the formats of `fmts`. False: no memory.
bool hd_cpu_quantize(hd_cpu *c, unsigned fmts, hd_tensor x, hd_cpu_acts *out);
// out[t * out_stride + r] for weight rows [row, row + n) of one part, with the own kernels.
void hd_cpu_mm(const hd_cpu *c, const hd_cpu_part *p, int32_t mat, int32_t row, int n,
               const char *act, size_t act_stride, int n_tok, int n_in, float *out,
               int64_t out_stride);
// Rows of a part one task takes: about 64 KiB of weights, fixed by the shape.
int hd_cpu_tile_rows(const hd_cpu_part *p);

void hd_cpu_linear(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w,
                   const hd_weight *bias);
void hd_cpu_linear_heads(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w);

// ---- gemm.c --------------------------------------------------------------------------------

enum { HD_CPU_GEMM_ROWS = 128 }; // weight rows of a tile

bool hd_cpu_gemm_built(void); // whether this build has BLAS
hd_status hd_cpu_gemm_open(hd_cpu *c, hd_err *err);
// out [n_tok, n] = x [n_tok, n_in] * rows^T for weight rows [row, row + n) of one part, n at most
// HD_CPU_GEMM_ROWS; ldx and ldo in floats.
void hd_cpu_gemm_tile(hd_cpu *c, int worker, const hd_cpu_part *p, int32_t mat, int32_t row, int n,
                      const float *x, int64_t ldx, int n_tok, int n_in, float *out, int64_t ldo);

// ---- the other operations ------------------------------------------------------------------

void hd_cpu_attn(hd_backend *be, hd_tensor out, hd_tensor q, const hd_attn *a, const hd_batch *b);
void hd_cpu_mla(hd_backend *be, hd_tensor out, hd_tensor q, const hd_mla *a, const hd_batch *b,
                hd_tensor work);
void hd_cpu_kv_store(hd_backend *be, const hd_kv_plane *dst, hd_tensor src, const hd_batch *b);
void hd_cpu_rope_op(hd_backend *be, hd_tensor x, const int32_t *pos, const hd_rope *r);
void hd_cpu_rmsnorm(hd_backend *be, hd_tensor out, hd_tensor x, const hd_tensor *add,
                    const hd_weight *gain, float eps);
void hd_cpu_embed(hd_backend *be, hd_tensor out, const hd_weight *table, const int32_t *ids);
void hd_cpu_glu(hd_backend *be, hd_tensor out, hd_tensor gate_up, hd_act act);
void hd_cpu_add(hd_backend *be, hd_tensor x, hd_tensor y, float scale);
void hd_cpu_gather(hd_backend *be, hd_tensor out, hd_tensor x, const int32_t *rows);
void hd_cpu_moe_route(hd_backend *be, hd_tensor ids, hd_tensor wts, hd_tensor scores,
                      const hd_gate *g);
void hd_cpu_moe_ffn(hd_backend *be, hd_tensor out, hd_tensor x, hd_tensor ids, hd_tensor wts,
                    const hd_weight *gate_up, const hd_weight *down, hd_act act);
void hd_cpu_topk(hd_backend *be, hd_tensor ids, hd_tensor vals, hd_tensor lse, hd_tensor logits);

#endif
