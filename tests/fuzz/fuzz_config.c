// Any bytes as config.json and as GGUF metadata: what is accepted can be planned, whatever its
// numbers.
#include "models/config.h"
#include "models/model.h"
#include "tests/harness/plan_dry.h"

#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const hd_model_cfg *c)
{
    const hd_plan_caps caps = {8, 3, 5, 96, HD_BF16};
    hd_plan_cost cost;
    hd_err err = {0};
    float f[4], m;
    HD_ASSERT(hd_test_plan(c, &caps, &cost, &err) == HD_OK);
    HD_ASSERT(cost.scratch_bytes > 0 && cost.kv_bytes_per_token > 0 && cost.step.n_ops > 0);
    hd_rope_frequencies(&c->rope, 8, NULL, f, &m);
    for (int i = 0; i < 4; i++)
        HD_ASSERT(isfinite(f[i]) && f[i] >= 0);
    HD_ASSERT(isfinite(m) && m > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const hd_json_limits limits = {1 << 20, 5000, 40};
    const hd_slice bytes = {(const char *)data, size};
    hd_model_cfg cfg;
    hd_err err = {0};
    hd_json *j;
    hd_gguf *g;
    if (hd_json_parse(bytes, &limits, &j, &err) == HD_OK) {
        err = (hd_err){0};
        if (hd_config_from_json(j, &cfg, &err) == HD_OK)
            check_accepted(&cfg);
        else
            HD_ASSERT(err.msg[0] != '\0');
        hd_json_free(j);
    }
    if (hd_gguf_open_mem(bytes, &g, &err) == HD_OK) {
        err = (hd_err){0};
        if (hd_config_from_gguf(g, &cfg, &err) == HD_OK)
            check_accepted(&cfg);
        else
            HD_ASSERT(err.msg[0] != '\0');
        hd_gguf_close(g);
    }
    return 0;
}
