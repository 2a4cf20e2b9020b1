// Needs of memory from settings and a dry model. Reads no weights, opens no device.
#include "engine/room.h"

#include "engine/kvpool.h"
#include "kernels/base/cpu.h"

enum {
    OUT_ROWS_MIN = 8,
    MEMORY_RESERVE = 16,  // of what the machine allows, one part in so many stays free, and
    OWN_BYTES = 96 << 20, // for tokenizer, connections and bodies; of a small machine an eighth
};

// The cache fills all it is given, so what is left must do for everything else.
static uint64_t share_for_model(uint64_t memory)
{
    const uint64_t own = memory / 8 < OWN_BYTES ? memory / 8 : OWN_BYTES;
    return memory - memory / MEMORY_RESERVE - own;
}

void hd_room_machine(hd_engine_cfg *cfg, bool *bind)
{
    hd_cpu_budget b;
    hd_cpu_budget_read("/", &b);
    if (cfg->threads == 0) cfg->threads = b.threads;
    if (cfg->memory == 0) cfg->memory = share_for_model(b.memory);
    *bind = cfg->bind == HD_BIND_ON || (cfg->bind == HD_BIND_AUTO && cfg->threads == b.affinity &&
                                        (b.quota == 0 || b.quota >= cfg->threads));
}

static int32_t wanted_context(const hd_model_cfg *m, const hd_engine_cfg *c)
{
    return c->max_context > 0 && c->max_context < m->max_context ? c->max_context : m->max_context;
}

static int32_t out_rows(const hd_model_cfg *m, const hd_engine_cfg *c, uint64_t out_bytes)
{
    uint64_t rows = out_bytes / ((uint64_t)m->vocab * sizeof(float));
    if (rows < OUT_ROWS_MIN) rows = OUT_ROWS_MIN;
    if (rows > (uint64_t)c->max_step_tokens) rows = (uint64_t)c->max_step_tokens;
    return c->max_seqs + (int32_t)rows;
}

hd_status hd_room_plan(hd_model *dry, const hd_engine_cfg *cfg, uint64_t out_bytes,
                       hd_stepper_caps *caps, hd_memory_need *need, hd_err *err)
{
    const hd_model_cfg *m = &dry->cfg;
    const hd_plan_caps largest = {
        .max_tokens = cfg->max_step_tokens,
        .max_seqs = cfg->max_seqs,
        .max_out = out_rows(m, cfg, out_bytes),
        .max_context = wanted_context(m, cfg),
        .kv_dtype = cfg->kv,
    };
    hd_plan_cost cost;
    HD_TRY(hd_model_plan(dry, &largest, &cost, err));
    *caps = (hd_stepper_caps){
        .max_tokens = largest.max_tokens,
        .max_seqs = largest.max_seqs,
        .max_out = largest.max_out,
        .max_context = largest.max_context,
        .vocab = m->vocab,
        .scratch_bytes = cost.scratch_bytes,
    };
    *need = (hd_memory_need){
        .budget = cfg->memory,
        .weights = dry->weight_bytes,
        .buffers = cost.scratch_bytes + hd_stepper_bytes(m, caps),
        .page = hd_kvpool_page_bytes(dry->arch, m, cfg->kv),
        .context = largest.max_context,
        .context_is_wanted = cfg->max_context > 0,
        .max_seqs = cfg->max_seqs,
    };
    return HD_OK;
}
