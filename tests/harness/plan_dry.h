// Plans of a configuration alone: what the engine does with the files of a model.
#ifndef HADAL_TESTS_HARNESS_PLAN_DRY_H
#define HADAL_TESTS_HARNESS_PLAN_DRY_H

#include "models/model.h"

static inline hd_status hd_test_plan(const hd_model_cfg *cfg, const hd_plan_caps *caps,
                                     hd_plan_cost *out, hd_err *err)
{
    const hd_device_cfg device = {.device = "dry"};
    const hd_weight_types as_published = HD_WEIGHTS_ALL(HD_DTYPE_NONE);
    hd_backend *be = NULL;
    hd_model *m = NULL;
    hd_status st = hd_backend_open(&device, &be, err);
    if (st == HD_OK) st = hd_model_open_dry(cfg, as_published, be, &m, err);
    if (st == HD_OK) st = hd_model_plan(m, caps, out, err);
    hd_model_close(m);
    hd_backend_close(be);
    return st;
}

#endif
