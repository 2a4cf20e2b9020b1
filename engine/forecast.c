// Forecasts of size and cost, made on a dry model.
#include "engine/forecast.h"

#include "engine/kvpool.h"
#include "engine/room.h"

enum { SHORT_CONTEXT = 512 };

static double active_params(const hd_model *m)
{
    const hd_weight_totals *t = &m->totals;
    const hd_moe_cfg *moe = &m->cfg.moe;
    if (moe->n_experts == 0) return (double)t->params;
    const double idle = 1 - (double)moe->n_active / moe->n_experts;
    return (double)t->params - (double)t->expert_params * idle;
}

static hd_status step_cost(hd_model *dry, hd_dtype kv, int32_t tokens, int32_t context,
                           hd_plan_cost *out, hd_err *err)
{
    const hd_plan_caps caps = {
        .max_tokens = tokens,
        .max_seqs = 1,
        .max_out = 1,
        .max_context = context,
        .kv_dtype = kv,
    };
    return hd_model_plan(dry, &caps, out, err);
}

static int64_t sequences(const hd_memory_need *n, int32_t context)
{
    const uint64_t used = n->weights + n->buffers;
    const uint64_t pages = used < n->budget ? (n->budget - used) / n->page : 0;
    const int64_t per = ((int64_t)context + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS;
    return (int64_t)pages / per;
}

static hd_status add_context(hd_forecast *f, hd_model *dry, const hd_memory_need *need,
                             int32_t context, hd_err *err)
{
    hd_plan_cost cost;
    HD_TRY(step_cost(dry, f->kv, 1, context, &cost, err));
    HD_ASSERT(f->n_at < HD_FORECAST_MAX);
    f->kv_bytes_per_token = cost.kv_bytes_per_token;
    f->at[f->n_at++] = (hd_forecast_at){context, cost.decode, sequences(need, context)};
    return HD_OK;
}

static hd_status compute(const hd_engine_cfg *c, hd_model *dry, hd_forecast *f, hd_err *err)
{
    static const int32_t steps[] = {SHORT_CONTEXT, 4096, 16384, 65536};
    hd_stepper_caps caps;
    hd_memory_need need;
    hd_memory_share share;
    hd_plan_cost cost;
    hd_err why;
    HD_TRY(hd_room_plan(dry, c, HD_ROOM_OUT_BYTES, &caps, &need, err));
    *f = (hd_forecast){
        .cfg = dry->cfg,
        .weights = dry->totals,
        .weight_bytes = need.weights,
        .buffer_bytes = need.buffers,
        .memory = need.budget,
        .active_params = active_params(dry),
        .kv = c->kv,
        .threads = c->threads,
        .step_tokens = caps.max_tokens,
        .wanted_context = need.context,
    };
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (steps[i] < need.context) HD_TRY(add_context(f, dry, &need, steps[i], err));
    HD_TRY(add_context(f, dry, &need, need.context, err));
    const int32_t n = f->at[0].context;
    f->prefill_tokens = n < caps.max_tokens ? n : caps.max_tokens;
    HD_TRY(step_cost(dry, f->kv, f->prefill_tokens, f->prefill_tokens, &cost, err));
    f->prefill_flops = cost.step.flops / f->prefill_tokens;
    if (hd_memory_fit(&need, &share, &why) == HD_OK) f->context = share.context;
    return HD_OK;
}

hd_status hd_forecast_make(const hd_engine_cfg *settings, const hd_model_src *src,
                           const hd_model_cfg *cfg, hd_forecast *out, hd_err *err)
{
    const hd_device_cfg device = {.device = "dry"};
    const hd_model_opts opts = {.weights = settings->weights};
    hd_engine_cfg own = *settings;
    hd_backend *be = NULL;
    hd_model *m = NULL;
    bool bind;
    hd_room_machine(&own, &bind);
    hd_status st = hd_backend_open(&device, &be, err);
    if (st == HD_OK)
        st = src ? hd_model_open(src, be, &opts, &m, err)
                 : hd_model_open_dry(cfg, opts.weights, be, &m, err);
    if (st == HD_OK) st = compute(&own, m, out, err);
    hd_model_close(m);
    hd_backend_close(be);
    return st;
}
