// Llama: deepseek-llm, -math and -coder, and the Llama distills of R1.
#include "models/arch/archs.h"
#include "models/arch/decoder.h"
#include "models/arch/dense.h"

// The GGUF converter permutes the rows of q and k within each head, so that the two halves of a
// rotated pair become neighbours: there, and only there, RoPE is interleaved.
static const hd_dense_family family = {
    .max_context = 2048,
    .reads_attn_bias = true,
    .reads_mlp_bias = true,
    .gguf_name = "llama",
    .gguf_pairing = HD_ROPE_INTERLEAVED,
};

static hd_status configure(hd_model_cfg *cfg, const hd_json *config, hd_err *err)
{
    return hd_dense_configure(&family, cfg, config, err);
}

static hd_status configure_gguf(hd_model_cfg *cfg, const hd_gguf *g, hd_err *err)
{
    return hd_dense_configure_gguf(&family, cfg, g, err);
}

static const char *const hf_names[] = {"LlamaForCausalLM", NULL};

const hd_arch hd_arch_llama = {
    .name = "llama",
    .hf_names = hf_names,
    .gguf_name = "llama",
    .configure = configure,
    .configure_gguf = configure_gguf,
    .kv_spec = hd_decoder_kv_spec,
    .bind = hd_decoder_bind,
    .forward = hd_decoder_forward,
    .unbind = hd_decoder_unbind,
};
