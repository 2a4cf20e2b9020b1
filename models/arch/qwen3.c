// Qwen3: the distill R1-0528-Qwen3-8B. Heads of q and k are normalised before they are rotated.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/dense.h"

static const hd_dense_family family = {
    .n_kv_heads = 32,
    .d_head = 128,
    .max_context = 32768,
    .reads_attn_bias = true,
    .reads_window = true,
    .qk_norm = true,
    .gguf_name = "qwen3",
    .gguf_pairing = HD_ROPE_HALF,
};

static hd_status configure(hd_model_cfg *cfg, const hd_json *config, hd_err *err)
{
    return hd_dense_configure(&family, cfg, config, err);
}

static hd_status configure_gguf(hd_model_cfg *cfg, const hd_gguf *g, hd_err *err)
{
    return hd_dense_configure_gguf(&family, cfg, g, err);
}

static const char *const hf_names[] = {"Qwen3ForCausalLM", NULL};

const hd_arch hd_arch_qwen3 = {
    .name = "qwen3",
    .hf_names = hf_names,
    .gguf_name = "qwen3",
    .configure = configure,
    .configure_gguf = configure_gguf,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
