// Qwen2: the Qwen distills of R1 but the last. Query, key and value always have biases.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/dense.h"

static const hd_dense_family family = {
    .n_kv_heads = 32,
    .max_context = 32768,
    .bias_qkv = true,
    .reads_window = true,
    .gguf_name = "qwen2",
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

static const char *const hf_names[] = {"Qwen2ForCausalLM", NULL};

const hd_arch hd_arch_qwen2 = {
    .name = "qwen2",
    .hf_names = hf_names,
    .gguf_name = "qwen2",
    .configure = configure,
    .configure_gguf = configure_gguf,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
