// DeepSeek-V2: V2, V2-Lite, Coder-V2, V2.5. Latent attention; a softmax chooses experts, in the big
// models within the best groups. GGUF knows V2 and V3 by one name, which this row serves.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/sparse.h"
#include "models/config_read.h"

// "gready" is how the published configuration class spells its default.
static const hd_topk_method methods[] = {{"greedy", HD_GROUP_NONE},
                                         {"gready", HD_GROUP_NONE},
                                         {"group_limited_greedy", HD_GROUP_MAX},
                                         {NULL, HD_GROUP_NONE}};

static const hd_sparse_family family = {
    .moe = {.d_expert = 1407, .every = 1, .score = HD_GATE_SOFTMAX, .scale = 1},
    .method = methods,
    .mla = {.d_latent = 512, .q_lora = 1536, .d_nope = 128, .d_rope = 64, .d_v = 128},
    .max_context = 2048,
};

// The published code either normalises (several experts) or applies the factor, transformers always
// applies it and never normalises. No published model asks for both; we do not choose a side.
static hd_status settle(hd_moe_cfg *m, const char *norm, const char *factor, hd_err *err)
{
    m->normalize &= m->n_active > 1;
    HD_CHECK(!m->normalize || m->scale == 1, err, HD_E_UNSUPPORTED,
             "%s true together with %s %g is not supported: implementations disagree on its "
             "meaning",
             norm, factor, m->scale);
    return HD_OK;
}

static hd_status configure(hd_model_cfg *cfg, const hd_json *config, hd_err *err)
{
    HD_TRY(hd_sparse_configure(&family, cfg, config, err));
    return settle(&cfg->moe, "norm_topk_prob", "routed_scaling_factor", err);
}

static hd_status configure_gguf(hd_model_cfg *cfg, const hd_gguf *g, hd_err *err)
{
    HD_TRY(hd_sparse_configure_gguf("deepseek2", cfg, g, err));
    if (cfg->moe.score == HD_GATE_SIGMOID) { // V3: nothing else differs from here on
        cfg->arch = hd_arch_deepseek_v3.name;
        return HD_OK;
    }
    return settle(&cfg->moe, "key 'deepseek2.expert_weights_norm'", "expert_weights_scale", err);
}

static const char *const hf_names[] = {"DeepseekV2ForCausalLM", NULL};

const hd_arch hd_arch_deepseek_v2 = {
    .name = "deepseek_v2",
    .hf_names = hf_names,
    .gguf_name = "deepseek2",
    .configure = configure,
    .configure_gguf = configure_gguf,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
