// The decoder that every family here shares: what it caches, tensor names, binding and the forward
// pass. What differs between families is in hd_model_cfg. Private to models/arch.
#ifndef HADAL_MODELS_ARCH_DECODER_H
#define HADAL_MODELS_ARCH_DECODER_H

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

void hd_decoder_kv_spec(const hd_model_cfg *cfg, int layer, hd_kv_spec *out);
hd_status hd_decoder_bind(hd_model *m, hd_binder *b, hd_err *err);
void hd_decoder_forward(hd_model *m, hd_step *s);
void hd_decoder_unbind(hd_model *m);

#ifdef __cplusplus
}
#endif

#endif
