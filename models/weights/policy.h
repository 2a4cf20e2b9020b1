// Which type a tensor has in memory. Pure; private to models/.
#ifndef HADAL_MODELS_WEIGHTS_POLICY_H
#define HADAL_MODELS_WEIGHTS_POLICY_H

#include "models/weights/binder.h"

#ifdef __cplusplus
extern "C" {
#endif

// Refuses a target that cannot be written or multiplied by; HD_DTYPE_NONE is fine.
hd_status hd_policy_check(hd_dtype weights, hd_err *err);

// Target of a tensor stored as `stored` with rows of n_in elements; HD_DTYPE_NONE keeps it as it
// is, also where rows are no multiple of the wanted block.
hd_dtype hd_policy_want(hd_dtype weights, hd_weight_use use, hd_dtype stored, int32_t n_in);

#ifdef __cplusplus
}
#endif

#endif
