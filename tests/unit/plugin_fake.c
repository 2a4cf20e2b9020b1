// A plugin that is whatever HADAL_FAKE_PLUGIN says: "none" offers no device, "old" has another ABI,
// "short" another size, "empty" finds no device when it is opened, "works" opens.
#include "kernels/backend.h"

#include <stdlib.h>
#include <string.h>

hd_plugin_ops_fn hd_plugin_ops __attribute__((visibility("default")));

static void close_nothing(hd_backend *be)
{
    (void)be;
}

static hd_status open_device(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    static hd_backend device;
    (void)err; // a plugin may link nothing of ours, so it cannot format a message here
    if (strcmp(cfg->device, "cuda:0") != 0 || !strcmp(getenv("HADAL_FAKE_PLUGIN"), "empty"))
        return HD_E_DEVICE;
    device.ops = hd_plugin_ops();
    *out = &device;
    return HD_OK;
}

const hd_backend_ops *hd_plugin_ops(void)
{
    static hd_backend_ops ops;
    const char *kind = getenv("HADAL_FAKE_PLUGIN");
    memset(&ops, 0, sizeof(ops));
    ops.abi = HD_BACKEND_ABI + (strcmp(kind, "old") == 0);
    ops.size = (uint32_t)sizeof(ops) - 8 * (strcmp(kind, "short") == 0);
    ops.name = "fake";
    ops.open = open_device;
    ops.close = close_nothing;
    return strcmp(kind, "none") == 0 ? NULL : &ops;
}
