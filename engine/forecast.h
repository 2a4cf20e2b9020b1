// What a model will need: sizes, costs and how far a given memory goes. Nothing is measured and no
// weight is read: every number comes from a forward pass on the dry backend, or from what loading
// would do with the same settings.
#ifndef HADAL_ENGINE_FORECAST_H
#define HADAL_ENGINE_FORECAST_H

#include "engine/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HD_FORECAST_MAX = 8 };

typedef struct hd_forecast_at { // at one length of sequences
    int32_t context;
    hd_dry_cost decode; // of one more token
    int64_t sequences;  // of this length that the memory holds
} hd_forecast_at;

typedef struct hd_forecast {
    hd_model_cfg cfg;
    hd_weight_totals weights;
    uint64_t weight_bytes, buffer_bytes, memory;
    double active_params; // a token's own experts, and everything else whole
    hd_dtype kv;
    size_t kv_bytes_per_token;
    int threads;
    int32_t step_tokens;    // of the largest step, which the buffers are made for
    int32_t prefill_tokens; // of the step that the next number is about
    double prefill_flops;   // per token
    int32_t wanted_context;
    int32_t context; // of one sequence that fits; 0: none does
    int32_t n_at;
    hd_forecast_at at[HD_FORECAST_MAX]; // the shortest first, wanted_context last
} hd_forecast;

// Of the files of src or, with src NULL, of cfg alone with the types of published checkpoints.
// settings->model may be NULL.
hd_status hd_forecast_make(const hd_engine_cfg *settings, const hd_model_src *src,
                           const hd_model_cfg *cfg, hd_forecast *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
