// Which type a tensor has in memory. Pure; private to models/.
#ifndef HADAL_MODELS_WEIGHTS_POLICY_H
#define HADAL_MODELS_WEIGHTS_POLICY_H

#include "models/weights/binder.h"

#ifdef __cplusplus
extern "C" {
#endif

// Refuses targets that cannot be written or multiplied by; HD_DTYPE_NONE is fine.
hd_status hd_policy_check(const hd_weight_types *weights, hd_err *err);

// The entry of weights that speaks for this use; HD_DTYPE_NONE for what is never re-quantized.
hd_dtype hd_policy_target(const hd_weight_types *weights, hd_weight_use use);

// Type in memory of a tensor with rows of n_in elements; HD_DTYPE_NONE keeps it as it is. `stored`
// is what it would be if kept: HD_F8_B128 for FP8 with block scales. Where rows are no multiple of
// the wanted block, a type of the same width takes its place, or else the tensor is kept.
hd_dtype hd_policy_want(const hd_weight_types *weights, hd_weight_use use, hd_dtype stored,
                        int32_t n_in);

#ifdef __cplusplus
}
#endif

#endif
