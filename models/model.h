// A model: configuration, architecture recipe and packed weights on one backend.
//
// Opening: config -> architecture -> bind (names to packed weights) -> plan. Owner: the engine.
// After opening, forward belongs to the scheduler thread; everything else is immutable.
#ifndef HADAL_MODELS_MODEL_H
#define HADAL_MODELS_MODEL_H

#include "kernels/backend.h"
#include "models/config.h"
#include "models/model_src.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_model hd_model;
typedef struct hd_binder hd_binder;
typedef struct hd_source hd_source;

typedef struct hd_kv_spec { // what one layer caches, per token
    int32_t n_planes;
    struct {
        int32_t width, ratio, window; // ratio 1, window 0: one row per token, all kept
    } plane[4];
} hd_kv_spec;

typedef struct hd_step { // everything one forward pass may touch
    hd_backend *be;
    hd_comm *comm;
    const hd_batch *batch;
    const hd_kv_plane *kv; // [n_layers][n_planes], layer-major
    hd_scratch *tmp;
    hd_tensor
        hidden; // out [n_out, d_model]: normed input of the head; may have data NULL: not wanted
    hd_tensor logits; // out [n_out, vocab] F32
} hd_step;

enum { // bits of hd_arch.needs: families of hd_backend_ops that may be absent
    HD_NEEDS_DSA = 1,
    HD_NEEDS_V4 = 2
};

typedef struct hd_arch {
    const char *name;            // "llama"
    const char *const *hf_names; // config.json "architectures" it serves, NULL-terminated
    const char *gguf_name;       // general.architecture, or NULL
    uint64_t needs;              // optional op families required
    hd_status (*configure)(hd_model_cfg *cfg, const hd_json *config, hd_err *err);
    hd_status (*configure_gguf)(hd_model_cfg *cfg, const hd_gguf *g, hd_err *err);
    void (*kv_spec)(const hd_model_cfg *cfg, int layer, hd_kv_spec *out);
    hd_status (*bind)(hd_model *m, hd_binder *b,
                      hd_err *err);           // allocates the layers, then hd_bind calls
    void (*forward)(hd_model *m, hd_step *s); // the recipe
    void (*unbind)(hd_model *m);              // frees what bind allocated
} hd_arch;

extern const hd_arch *const hd_arch_list[]; // NULL-terminated
const hd_arch *hd_arch_by_hf_name(hd_slice name);
const hd_arch *hd_arch_by_gguf_name(hd_slice name);

typedef struct hd_weight_totals {   // of all weights of a model
    uint64_t params;                // elements, every tensor counted once
    uint64_t expert_params;         // those of routed experts among them
    uint64_t bytes[HD_DTYPE_COUNT]; // in memory, by the type of a weight's first part
} hd_weight_totals;

struct hd_model {
    const hd_arch *arch;
    hd_model_cfg cfg;
    hd_backend *be;  // borrowed
    void *layers;    // the architecture's own weights
    float *inv_freq; // [n_rot / 2]
    hd_rope rope;
    uint64_t weight_bytes; // device memory of all packed weights
    hd_weight_totals totals;
};

// Types of matrices in memory; HD_DTYPE_NONE keeps what the file has.
typedef struct hd_weight_types {
    hd_dtype all;       // whatever the others do not name: dense and shared FFNs, embedding, head
    hd_dtype experts;   // routed experts
    hd_dtype attention; // projections of attention
} hd_weight_types;
#define HD_WEIGHTS_ALL(type)                                                                       \
    {                                                                                              \
        (type), (type), (type)                                                                     \
    } // initializer: one type for everything

typedef struct hd_model_opts {
    hd_weight_types weights;
    hd_pool *pool; // packs in parallel; borrowed; may be NULL
    // Called from the loading thread at most every 100 ms and once at the end.
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_ctx;
    const volatile int *cancel; // non-zero: stop loading with HD_E_CANCELLED; may be NULL
} hd_model_opts;

// On a dry backend this reads the files' headers alone, for planning with the types they have.
hd_status hd_model_open(const hd_model_src *src, hd_backend *be, const hd_model_opts *opts,
                        hd_model **out, hd_err *err);
// The same with the files of src already open, for those who open two models of them.
hd_status hd_model_files_open(const hd_model_src *src, hd_source **out, hd_err *err);
void hd_model_files_close(hd_source *files); // NULL is legal; models that are open need it no more
hd_status hd_model_open_files(const hd_model_src *src, const hd_source *files, hd_backend *be,
                              const hd_model_opts *opts, hd_model **out, hd_err *err);
// Without files: shapes come from cfg alone, types are those of the published checkpoints (BF16, or
// FP8 with scales when cfg names its blocks; embeddings, head and routers BF16).
hd_status hd_model_open_dry(const hd_model_cfg *cfg, hd_weight_types weights, hd_backend *dry,
                            hd_model **out, hd_err *err);
void hd_model_close(hd_model *m);

typedef struct hd_plan_caps { // the largest step the engine will ask for
    int32_t max_tokens, max_seqs, max_out, max_context;
    hd_dtype kv_dtype;
} hd_plan_caps;
typedef struct hd_plan_cost {
    size_t scratch_bytes;      // exact need of hd_step.tmp
    size_t kv_bytes_per_token; // all layers and planes
    hd_dry_cost step;          // of that largest step
    hd_dry_cost decode;        // of one token of one sequence at max_context
} hd_plan_cost;

// Runs the forward pass of a model that is open on a dry backend: exact scratch, costs, and a shape
// check of every op.
hd_status hd_model_plan(hd_model *dry, const hd_plan_caps *caps, hd_plan_cost *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
