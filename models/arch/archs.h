// The rows that arch_list.c collects; each is defined in the file of its name.
#ifndef HADAL_MODELS_ARCH_ARCHS_H
#define HADAL_MODELS_ARCH_ARCHS_H

#include "models/model.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const hd_arch hd_arch_llama;
extern const hd_arch hd_arch_qwen2;
extern const hd_arch hd_arch_qwen3;
extern const hd_arch hd_arch_deepseek;
extern const hd_arch hd_arch_deepseek_v2;
extern const hd_arch hd_arch_deepseek_v3;

#ifdef __cplusplus
}
#endif

#endif
