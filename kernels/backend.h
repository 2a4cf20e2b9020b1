// The device contract: one table of operations, implemented by cpu and dry (linked in) and by
// plugins (opened at run time).
//
// A backend belongs to one thread at a time (the loader, then the scheduler). Compute operations
// enqueue in order, never allocate, and return nothing: the first device error is kept and reported
// by sync. Tensors are row-major; unless an operation says otherwise activations are F32, inputs
// and outputs do not overlap except where "in place" is said, and any column view is legal. rows
// may be 0: the operation then does nothing.
//
// Determinism: on the own-kernel paths a row's result depends only on that row and its sequence,
// never on other rows, the number of threads or the chunking. Paths through BLAS are exempt and are
// switched off by hd_device_cfg.deterministic.
#ifndef HADAL_KERNELS_BACKEND_H
#define HADAL_KERNELS_BACKEND_H

#include "kernels/base/pool.h"
#include "kernels/base/status.h"
#include "kernels/batch.h"
#include "kernels/comm.h"
#include "kernels/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_BACKEND_ABI = 2 };

typedef struct hd_backend hd_backend;
typedef struct hd_backend_ops hd_backend_ops;
typedef struct hd_weight hd_weight; // packed, device-resident; owned by its backend

struct hd_backend { // first member of every implementation's own struct
    const hd_backend_ops *ops;
};

typedef struct hd_device_cfg {
    const char *device;    // "auto", "cpu", "dry", "cuda:0"
    hd_pool *pool;         // borrowed; NULL runs on the calling thread alone
    uint32_t cpu_features; // allowed HD_CPU_* bits; what the machine lacks is dropped
    bool deterministic;
    hd_backend *host; // for devices that keep some weights in host memory, else NULL
} hd_device_cfg;

typedef enum hd_mem_use { HD_MEM_KV, HD_MEM_SCRATCH, HD_MEM_STAGING } hd_mem_use;

// ---- weights -------------------------------------------------------------------------------

typedef struct hd_weight_src { // one matrix [n_out, n_in] as found on disk, rows contiguous
    const char *name;
    const void *data;  // any alignment; NULL on the dry backend
    const void *scale; // block scales [scale_rows, scale_cols] of dtype scale_dtype, or NULL
    hd_dtype dtype, scale_dtype;
    int32_t n_out, n_in;
    int32_t scale_rows, scale_cols, scale_block_rows, scale_block_cols;
    int32_t scale_first_row; // row of the scaled tensor at which this matrix begins
    bool transposed;         // data holds [n_in, n_out] instead; not together with scale
} hd_weight_src;

// n_mat matrices of one shape (experts, heads), each made of n_part sources stacked by rows (fused
// q|k|v or gate|up): src[mat * n_part + part]. Part p has the same n_out in every matrix; dtypes
// may differ between parts. A vector (norm gain, bias) is a matrix with n_in = 1, kept as F32.
typedef struct hd_weight_spec {
    const char *name; // for messages
    const hd_weight_src *src;
    int32_t n_mat, n_part, n_in;
    hd_dtype want; // target type; HD_DTYPE_NONE keeps each source's own
} hd_weight_spec;

typedef struct hd_weight_info {
    int32_t n_mat, n_out, n_in; // n_out: sum over parts
    hd_dtype dtype;             // of the first part as stored
    size_t bytes;               // device memory held
} hd_weight_info;

// ---- parameters of operations --------------------------------------------------------------

typedef enum hd_rope_pairing {
    HD_ROPE_HALF,       // pairs (i, i + n_rot/2)
    HD_ROPE_INTERLEAVED // pairs (2i, 2i + 1)
} hd_rope_pairing;

typedef struct hd_rope {
    int32_t d_head;       // columns per head; x.cols is a multiple
    int32_t first, n_rot; // rotated slice of each head: [first, first + n_rot)
    hd_rope_pairing pairing;
    float magnitude;       // factor on cos and sin (YaRN), normally 1
    const float *inv_freq; // [n_rot / 2] in host memory, lives as long as the model
} hd_rope;                 // angle = (float)pos * inv_freq[i], in float as transformers does

typedef struct hd_attn { // GQA; absorbed MLA is n_kv = 1, d_qk = d_latent + d_rope, v_plane = NULL
    int32_t n_heads, n_kv, d_qk, d_v;
    int32_t window; // 0: none; else a token sees itself and the window - 1 before it
    float scale;
    const hd_kv_plane *k_plane, *v_plane; // v_plane NULL: v is the first d_v columns of k
    const hd_tensor *topk, *sink; // NULL, or [n_tokens, k] I32 visible positions (-1: none);
} hd_attn;                        // NULL, or [1, n_heads] F32 logits of a sink

// Which way an MLA layer is computed; both give the same values up to rounding.
typedef enum hd_mla_path {
    HD_MLA_AUTO,     // expanded for sequences with many queries in this step, else absorbed
    HD_MLA_ABSORBED, // queries move into the latent space: 2 d_latent + d_rope MACs a query-key
                     // pair
    HD_MLA_EXPANDED  // keys and values of every head are computed from the latents first
} hd_mla_path;

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): per token the cache
// holds the normed latent c and one rotated key part r for all heads. Head h with W_UK [d_nope,
// d_latent] and W_UV [d_v, d_latent]: score = scale * (q_nope . W_UK c + q_rope . r), value W_UV c.
typedef struct hd_mla {
    int32_t n_heads, d_nope, d_rope, d_v, d_latent;
    float scale;
    const hd_kv_plane *plane; // width d_latent + d_rope: c, then r
    const hd_weight *kv_b;    // n_mat = n_heads, two parts: W_UK rows, W_UV rows; n_in = d_latent
    hd_mla_path path;
} hd_mla;

typedef enum hd_act_kind { HD_ACT_SILU } hd_act_kind;
typedef struct hd_act {
    hd_act_kind kind;
    float limit; // > 0: gate = min(gate, limit), up = clamp(up, +-limit) before the product
} hd_act;

typedef enum hd_gate_score {
    HD_GATE_SOFTMAX,
    HD_GATE_SIGMOID,
    HD_GATE_SQRT_SOFTPLUS
} hd_gate_score;
typedef enum hd_gate_group {
    HD_GROUP_NONE,
    HD_GROUP_MAX, // group score: its best; other groups' scores become 0 (V2)
    HD_GROUP_TOP2 // group score: sum of its two best biased; other groups become -inf (V3)
} hd_gate_group;

typedef struct hd_gate {
    int32_t n_experts, n_active, n_group, topk_group;
    hd_gate_score score;
    hd_gate_group group;
    bool normalize;        // weights / (sum + 1e-20)
    float scale;           // then times scale
    const hd_weight *bias; // [n_experts] added for choosing only, or NULL
} hd_gate;                 // ties: the lower expert index wins

// ---- the table -----------------------------------------------------------------------------

typedef struct hd_ops_dsa hd_ops_dsa;   // V3.2: layernorm, rotate, index_topk
typedef struct hd_ops_v4 hd_ops_v4;     // V4: hyper-connections, KV compressor
typedef struct hd_ops_lora hd_ops_lora; // adapters

struct hd_backend_ops { // abi and size are checked at load; a plugin exports only hd_plugin_ops()
    uint32_t abi, size;
    const char *name;
    hd_status (*open)(const hd_device_cfg *cfg, hd_backend **out, hd_err *err);
    void (*close)(hd_backend *be);
    hd_status (*alloc)(hd_backend *be, size_t bytes, hd_mem_use use, void **out, hd_err *err);
    void (*release)(hd_backend *be, void *p);
    void (*upload)(hd_backend *be, void *dst, const void *src, size_t bytes);
    void (*download)(hd_backend *be, void *dst, const void *src, size_t bytes);
    // Waits for everything enqueued; reports the first (sticky) device error.
    hd_status (*sync)(hd_backend *be, hd_err *err);

    // Packing takes two steps, so that one large weight can be filled by many threads: weight_new
    // checks the whole spec and takes the memory; weight_fill decodes matrices [first, first + n),
    // re-quantizes if asked and writes the device's own layout, after which their sources are not
    // needed any more. Unlike the rest both may be called by several threads at once, weight_fill
    // with disjoint ranges of one weight.
    hd_status (*weight_new)(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                            hd_err *err);
    hd_status (*weight_fill)(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                             int32_t first, int32_t n, hd_err *err);
    void (*weight_free)(hd_backend *be, hd_weight *w); // NULL is legal
    void (*weight_info)(const hd_backend *be, const hd_weight *w, hd_weight_info *out);

    // Brackets one forward pass. True: a captured graph of this shape was replayed, skip the
    // forward.
    bool (*step_begin)(hd_backend *be, uint64_t shape);
    void (*step_end)(hd_backend *be);

    // out[i] = table row ids[i]; out [n, d_model], ids in backend memory.
    void (*embed)(hd_backend *be, hd_tensor out, const hd_weight *table, const int32_t *ids);
    // add given: x += add first, in place. Then every group of d = (length of gain) columns of x is
    // normalised on its own: out = x * rsqrt(mean(x^2) + eps) * gain. d divides cols. out may be x.
    void (*rmsnorm)(hd_backend *be, hd_tensor out, hd_tensor x, const hd_tensor *add,
                    const hd_weight *gain, float eps);
    // out [n, n_out] = x [n, n_in] * w^T (+ bias [n_out]).
    void (*linear)(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w,
                   const hd_weight *bias);
    // One matrix per head: out[:, h * n_out ...] = x[:, h * n_in ...] * w[h]^T.
    void (*linear_heads)(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w);
    void (*rope)(hd_backend *be, hd_tensor x, const int32_t *pos, const hd_rope *r); // in place
    // Row t of src [n_tokens, width] goes to its token's place in the plane, converted to its
    // dtype.
    void (*kv_store)(hd_backend *be, const hd_kv_plane *dst, hd_tensor src, const hd_batch *b);
    // Causal: token at position p sees positions 0..p of its own sequence.
    // q [n_tokens, n_heads * d_qk] -> out [n_tokens, n_heads * d_v]; head h uses KV head
    // h/(H/n_kv).
    void (*attn)(hd_backend *be, hd_tensor out, hd_tensor q, const hd_attn *a, const hd_batch *b);
    // q [n_tokens, n_heads * (d_nope + d_rope)], rotated -> out [n_tokens, n_heads * d_v]. Causal
    // as attn. work: at least hd_mla_work_floats(a, b) floats in one row.
    void (*mla)(hd_backend *be, hd_tensor out, hd_tensor q, const hd_mla *a, const hd_batch *b,
                hd_tensor work);
    // scores [n, n_experts] raw gate logits -> ids [n, n_active] I32, wts [n, n_active] F32.
    void (*moe_route)(hd_backend *be, hd_tensor ids, hd_tensor wts, hd_tensor scores,
                      const hd_gate *g);
    // out [n, d] = sum over k of wts * down[e](act(gate_up[e](x))), experts in k order.
    void (*moe_ffn)(hd_backend *be, hd_tensor out, hd_tensor x, hd_tensor ids, hd_tensor wts,
                    const hd_weight *gate_up, const hd_weight *down, hd_act act);
    // out [n, f] = act(gate) * up with gate_up [n, 2 f] = gate | up. out may be the first half.
    void (*glu)(hd_backend *be, hd_tensor out, hd_tensor gate_up, hd_act act);
    void (*add)(hd_backend *be, hd_tensor x, hd_tensor y, float scale); // x += scale*y
    void (*gather)(hd_backend *be, hd_tensor out, hd_tensor x,
                   const int32_t *rows); // out[i]=x[rows[i]]
    // The K = ids.cols largest of each row, descending, ties by lower id; lse [n, 1] = log sum exp.
    // NaN logits sort last; a row without a finite value gives ids -1.
    void (*topk)(hd_backend *be, hd_tensor ids, hd_tensor vals, hd_tensor lse, hd_tensor logits);
    void (*all_reduce)(hd_backend *be, hd_tensor x, hd_comm *comm);

    // Optional families, NULL when absent; hd_arch.needs names them and loading fails with their
    // name.
    const hd_ops_dsa *dsa;
    const hd_ops_v4 *v4;
    const hd_ops_lora *lora;
};

// The only symbol of a plugin: its table, or NULL when this build of it offers no device.
typedef const hd_backend_ops *hd_plugin_ops_fn(void);

// Opens cfg->device. "auto": the first usable plugin, else cpu (logged once with the reason); an
// explicit device that cannot be opened is an error.
hd_status hd_backend_open(const hd_device_cfg *cfg, hd_backend **out, hd_err *err);
void hd_backend_close(hd_backend *be); // NULL is legal

// weight_new and weight_fill of all matrices; *out is NULL on failure.
hd_status hd_backend_pack(hd_backend *be, const hd_weight_spec *spec, hd_weight **out, hd_err *err);

// What implementations share of packing. The type a source is kept in: spec->want, or the smallest
// one that keeps its values: itself where it can be multiplied by, HD_F8_B128 for E4M3 whose block
// scales fit, else F32. And the check of everything about a source but its data, against n_out
// and the type it becomes.
hd_dtype hd_weight_stored_as(const hd_weight_spec *spec, const hd_weight_src *s);
bool hd_weight_src_scaled(const hd_weight_src *s); // scale_rows > 0 says so where data is NULL
bool hd_weight_src_fits_f8(const hd_weight_src *s);
hd_status hd_weight_src_check(const hd_weight_src *s, const hd_weight_spec *spec, int32_t n_out,
                              hd_dtype to, hd_err *err);

// Work memory of one mla call: grows with the batch's n_tokens and with the keys it can see
// (max_pages whole pages), bounded by HD_MLA_EXPAND_KEYS. A sequence that sees more keys than that
// is always absorbed.
enum { HD_MLA_GROUP_TOKENS = 64, HD_MLA_EXPAND_KEYS = 32768 };
int32_t hd_mla_work_floats(const hd_mla *a, const hd_batch *b);

// ---- scratch -------------------------------------------------------------------------------

// Bump allocator in backend memory for one forward pass: the same sequence of calls gives the same
// addresses. On the dry backend base is NULL and only `peak` matters.
typedef struct hd_scratch {
    char *base;
    size_t cap, used, peak;
} hd_scratch;

// rows x cols, 64-byte aligned, contiguous. Panics past cap (the plan computed it) unless base is
// NULL.
hd_tensor hd_scratch_tensor(hd_scratch *s, hd_dtype dtype, int32_t rows, int32_t cols);
static inline size_t hd_scratch_mark(const hd_scratch *s)
{
    return s->used;
}
static inline void hd_scratch_release(hd_scratch *s, size_t mark)
{
    s->used = mark;
}

// ---- the dry backend -----------------------------------------------------------------------

// What a forward pass on "dry" would have cost; cleared by step_begin. The first shape error (op,
// operand, found, expected) is reported by sync.
typedef struct hd_dry_cost {
    double flops;        // 2 per multiply-add
    double weight_bytes; // read from weights, each matrix once per step
    double kv_bytes;     // read from and written to the cache
    double act_bytes;    // activations in and out of operations
    int64_t n_ops;
} hd_dry_cost;

void hd_dry_get_cost(const hd_backend *dry, hd_dry_cost *out);

#ifdef __cplusplus
}
#endif

#endif
