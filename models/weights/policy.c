// The rules of --weights, in one place.
#include "models/weights/policy.h"

static hd_status check(const char *what, hd_dtype type, hd_err *err)
{
    if (type == HD_DTYPE_NONE) return HD_OK;
    HD_CHECK(type < HD_DTYPE_COUNT, err, HD_E_INVAL, "%s as type number %d: no such type", what,
             (int)type);
    const hd_dtype_traits *t = hd_dtype_get(type);
    HD_CHECK(t->is_weight && t->from_f32, err, HD_E_UNSUPPORTED,
             "%s as %s: this type can not be written; use f32, f16, bf16, q8_0 or q4_k", what,
             t->name);
    return HD_OK;
}

hd_status hd_policy_check(const hd_weight_types *weights, hd_err *err)
{
    HD_TRY(check("weights", weights->all, err));
    HD_TRY(check("experts", weights->experts, err));
    return check("attention", weights->attention, err);
}

hd_dtype hd_policy_target(const hd_weight_types *weights, hd_weight_use use)
{
    switch (use) {
    case HD_USE_VECTOR:
    case HD_USE_ROUTER:
        return HD_DTYPE_NONE;
    case HD_USE_ATTENTION:
    case HD_USE_LATENT:
        return weights->attention;
    case HD_USE_EXPERT:
        return weights->experts;
    case HD_USE_MATRIX:
    case HD_USE_EMBEDDING:
    case HD_USE_HEAD:
        break;
    }
    return weights->all;
}

// Latent attention reads its up-projection itself, not through the matrix kernels.
static bool attention_reads(hd_dtype t)
{
    return t == HD_F32 || t == HD_F16 || t == HD_BF16 || t == HD_Q8_0 || t == HD_F8_B128;
}

// The wanted type or, for rows it does not divide, one of the same width with smaller blocks.
static hd_dtype fitting(hd_dtype want, int32_t n_in)
{
    const hd_dtype neighbour = want == HD_Q4_K ? HD_Q4_1 : want == HD_Q6_K ? HD_Q8_0 : want;
    if (n_in % hd_dtype_get(want)->block == 0) return want;
    return n_in % hd_dtype_get(neighbour)->block == 0 ? neighbour : HD_DTYPE_NONE;
}

static hd_dtype keep(hd_dtype stored)
{
    return hd_dtype_get(stored)->is_weight ? HD_DTYPE_NONE : HD_F32;
}

// The choice of an expert hangs on small differences of the router's scores.
static hd_dtype want_router(hd_dtype stored)
{
    return stored == HD_F32 || stored == HD_F16 || stored == HD_BF16 ? HD_DTYPE_NONE : HD_F32;
}

static hd_dtype want_latent(hd_dtype target, hd_dtype stored, int32_t n_in)
{
    hd_dtype fit = target == HD_DTYPE_NONE ? HD_DTYPE_NONE : fitting(target, n_in);
    if (fit == HD_DTYPE_NONE) return attention_reads(stored) ? HD_DTYPE_NONE : HD_F16;
    return attention_reads(fit) ? fit : HD_F16;
}

hd_dtype hd_policy_want(const hd_weight_types *weights, hd_weight_use use, hd_dtype stored,
                        int32_t n_in)
{
    hd_dtype target = hd_policy_target(weights, use);
    if (use == HD_USE_VECTOR) return HD_F32;
    if (use == HD_USE_ROUTER) return want_router(stored);
    if (use == HD_USE_LATENT) return want_latent(target, stored, n_in);
    if (target == HD_DTYPE_NONE) return keep(stored);
    const hd_dtype_traits *t = hd_dtype_get(target);
    if (use == HD_USE_EMBEDDING && t->block_bytes < t->block) // less than 8 bits an element
        target = HD_Q8_0;
    hd_dtype fit = fitting(target, n_in);
    return fit == HD_DTYPE_NONE ? keep(stored) : fit;
}
