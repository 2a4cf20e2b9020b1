// What a model will need: sizes, costs and how far a given memory goes. Private to `hadal inspect`.
#ifndef HADAL_SERVER_INSPECT_PLAN_H
#define HADAL_SERVER_INSPECT_PLAN_H

#include "engine/forecast.h"
#include "server/config.h"

// The forecast of src or, with src NULL, of cfg alone with these settings.
hd_status hd_inspect_plan(const hd_config *c, const hd_model_src *src, const hd_model_cfg *cfg,
                          hd_forecast *out, hd_err *err);
void hd_inspect_plan_rows(const hd_forecast *p);
hd_status hd_inspect_plan_json(const hd_forecast *p, hd_err *err); // one line

// One row of `hadal inspect`: a name and what there is to say about it.
void hd_inspect_row(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *hd_inspect_human(double bytes, char out[32]); // "1.25 GB"; returns out

#endif
