// A device for tests: the CPU under another name, which fails for good once the file exists that
// FAULTY_DEVICE names. Loaded by the real binary as libhadal_cuda.so (see t_fault.py); it links its
// own copy of the kernels and shares nothing with the binary but the interface of plugins.
#include "kernels/cpu/cpu_backend.h"

#include <stdlib.h>
#include <unistd.h>

hd_plugin_ops_fn hd_plugin_ops __attribute__((visibility("default")));

static hd_status sync_or_fail(hd_backend *be, hd_err *err)
{
    const char *fault = getenv("FAULTY_DEVICE");
    if (fault && access(fault, F_OK) == 0)
        return HD_FAIL(err, HD_E_DEVICE, "the device has fallen off the bus");
    return hd_cpu_ops.sync(be, err);
}

static hd_status open_cpu(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    hd_device_cfg cpu = *cfg;
    cpu.device = "cpu";
    HD_TRY(hd_cpu_ops.open(&cpu, out, err));
    (*out)->ops = hd_plugin_ops();
    return HD_OK;
}

const hd_backend_ops *hd_plugin_ops(void)
{
    static hd_backend_ops ops; // written with the same values by whoever comes first
    ops = hd_cpu_ops;
    ops.name = "faulty";
    ops.open = open_cpu;
    ops.sync = sync_or_fail;
    return &ops;
}
