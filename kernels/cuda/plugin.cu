// Entry of libhadal_cuda.so. This build offers no device yet: hd_plugin_ops answers NULL, which
// hd_backend_open reports ("auto" then uses the CPU). The CUDA runtime may be linked, the driver
// library never: it comes with the host.
#include "kernels/backend.h"

extern "C" __attribute__((visibility("default"))) const hd_backend_ops *hd_plugin_ops(void)
{
    return nullptr;
}
