// DeepSeek-V3: V3, R1, V3.1, Prover-V2-671B. V2's layers; experts are chosen by sigmoid scores with
// a learned correction, within the best groups. From GGUF it comes by the row of V2.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/sparse.h"

static const hd_topk_method methods[] = {{"noaux_tc", HD_GROUP_TOP2}, {NULL, HD_GROUP_NONE}};

static const hd_sparse_family family = {
    .moe = {.n_experts = 256,
            .n_active = 8,
            .d_expert = 2048,
            .n_shared = 1,
            .first = 3,
            .every = 1,
            .score = HD_GATE_SIGMOID,
            .n_group = 8,
            .topk_group = 4,
            .normalize = true,
            .scale = 2.5,
            .bias = true},
    .method = methods,
    .mla = {.d_latent = 512, .q_lora = 1536, .d_nope = 128, .d_rope = 64, .d_v = 128},
    .max_context = 4096,
    .reads_interleave = true,
};

static hd_status configure(hd_model_cfg *cfg, const hd_json *config, hd_err *err)
{
    return hd_sparse_configure(&family, cfg, config, err);
}

static const char *const hf_names[] = {"DeepseekV3ForCausalLM", NULL};

const hd_arch hd_arch_deepseek_v3 = {
    .name = "deepseek_v3",
    .hf_names = hf_names,
    .configure = configure,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
