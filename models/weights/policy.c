// The rules of --weights, in one place.
#include "models/weights/policy.h"

hd_status hd_policy_check(hd_dtype weights, hd_err *err)
{
    if (weights == HD_DTYPE_NONE) return HD_OK;
    HD_CHECK(weights < HD_DTYPE_COUNT, err, HD_E_INVAL, "weights as type number %d: no such type",
             (int)weights);
    const hd_dtype_traits *t = hd_dtype_get(weights);
    HD_CHECK(t->is_weight && t->from_f32, err, HD_E_UNSUPPORTED,
             "weights as %s: this type can not be written; use f32, f16, bf16 or q8_0", t->name);
    return HD_OK;
}

hd_dtype hd_policy_want(hd_dtype weights, hd_weight_use use, hd_dtype stored, int32_t n_in)
{
    if (use == HD_USE_VECTOR) return HD_F32;
    if (weights == HD_DTYPE_NONE) return hd_dtype_get(stored)->is_weight ? HD_DTYPE_NONE : HD_F32;
    const hd_dtype_traits *t = hd_dtype_get(weights);
    if (use == HD_USE_EMBEDDING && t->block_bytes < t->block) { // less than 8 bits an element
        weights = HD_Q8_0;
        t = hd_dtype_get(weights);
    }
    if (n_in % t->block != 0) return hd_dtype_get(stored)->is_weight ? HD_DTYPE_NONE : HD_F32;
    return weights;
}
