// What the readers of configurations share; private to models/. The public side is config.h.
//
// Each architecture's configure() is a list of these calls: one line per field, with the default
// that the published implementation of that family uses.
#ifndef HADAL_MODELS_CONFIG_READ_H
#define HADAL_MODELS_CONFIG_READ_H

#include "models/config.h"

#ifdef __cplusplus
extern "C" {
#endif

// Ranges, divisibility and products that hold for every architecture, whatever the file format.
hd_status hd_config_check(const hd_model_cfg *cfg, hd_err *err);

// ---- config.json ---------------------------------------------------------------------------

// An integer field in [min, max]; absent or null leaves *out alone when optional.
hd_status hd_config_i32(const hd_json *config, const char *key, hd_json_need need, int32_t min,
                        int32_t max, int32_t *out, hd_err *err);
// The same with null as a value of its own: absent is `otherwise`, null is 0.
hd_status hd_config_nullable_i32(const hd_json *config, const char *key, int32_t min, int32_t max,
                                 int32_t otherwise, int32_t *out, hd_err *err);
// What every family has: the sizes without those of attention, max_context (whose default the
// caller has put there), norm_eps, tied.
hd_status hd_config_sizes_json(const hd_json *config, hd_model_cfg *cfg, hd_err *err);
// Refuses what changes the computation and is not implemented: activations other than SiLU, partial
// rotary embeddings.
hd_status hd_config_refuse_json(const hd_json *config, hd_err *err);
// Refuses any quantization_config, or with may_be_fp8 any but FP8 E4M3 with scales per block, whose
// shape it stores.
hd_status hd_config_quant_json(const hd_json *config, bool may_be_fp8, hd_model_cfg *cfg,
                               hd_err *err);
// rope_theta with rope_scaling, or rope_parameters. max_context is the default of the original
// context length.
hd_status hd_config_rope_json(const hd_json *config, int32_t max_context, hd_rope_cfg *out,
                              hd_err *err);
// Refuses a sliding window that could hide a token within max_context from another.
hd_status hd_config_window_json(const hd_json *config, int32_t n_layers, int32_t max_context,
                                hd_err *err);

// ---- GGUF ----------------------------------------------------------------------------------

// The integer "{arch}.{key}" in [min, max].
hd_status hd_config_gguf_i32(const hd_gguf *g, const char *arch, const char *key, hd_json_need need,
                             int32_t min, int32_t max, int32_t *out, hd_err *err);
hd_status hd_config_gguf_f64(const hd_gguf *g, const char *arch, const char *key, hd_json_need need,
                             double min, double max, double *out, hd_err *err);
// A boolean; absent leaves *out alone.
hd_status hd_config_gguf_bool(const hd_gguf *g, const char *arch, const char *key, bool *out,
                              hd_err *err);
// What hd_config_sizes_json reads, as far as GGUF has it; max_context is required, vocab included.
hd_status hd_config_sizes_gguf(const hd_gguf *g, const char *arch, hd_model_cfg *cfg, hd_err *err);
// Rows of the embedding: as many as the vocabulary has pieces.
hd_status hd_config_gguf_vocab(const hd_gguf *g, const char *arch, int32_t *out, hd_err *err);
// rope.freq_base and rope.scaling.*; rope_freqs.weight is a tensor and is found when binding.
hd_status hd_config_rope_gguf(const hd_gguf *g, const char *arch, int32_t max_context,
                              hd_rope_cfg *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
