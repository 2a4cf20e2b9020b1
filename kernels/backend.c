// Opening a device by name, plugins included, and the scratch allocator.
//
// Plugins are looked for beside the binary (../lib/hadal) and then in HADAL_PLUGIN_DIR, never where
// models lie. An opened plugin stays mapped until the process ends: device runtimes do not survive
// being unloaded.
#include "kernels/backend.h"

#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/dry/dry_backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- plugins -------------------------------------------------------------------------------

enum { PATH_CAP = 4096 };

// dir/libhadal_NAME.so when such a file exists.
static bool plugin_in(const char *dir, const char *sub, const char *name, char path[PATH_CAP])
{
    int n = snprintf(path, PATH_CAP, "%s%s/libhadal_%s.so", dir, sub, name);
    return n > 0 && n < PATH_CAP && hd_path_stat(path, NULL) == HD_PATH_FILE;
}

static bool find_plugin(const char *name, char path[PATH_CAP])
{
    char exe[PATH_CAP];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    if (n > 0) {
        exe[n] = '\0';
        char *slash = strrchr(exe, '/');
        if (slash) *slash = '\0';
        if (slash && plugin_in(exe, "/../lib/hadal", name, path)) return true;
    }
    const char *dir = getenv("HADAL_PLUGIN_DIR");
    return dir && *dir && plugin_in(dir, "", name, path);
}

static hd_status load_plugin(const char *path, const hd_backend_ops **out, hd_err *err)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    HD_CHECK(so, err, HD_E_DEVICE, "plugin %s: %s", path, dlerror());
    hd_plugin_ops_fn *get = NULL;
    void *symbol = dlsym(so, "hd_plugin_ops");
    memcpy(&get, &symbol, sizeof(get)); // ISO C has no cast from object to function pointer
    hd_status st = HD_OK;
    const hd_backend_ops *ops = get ? get() : NULL;
    if (!get)
        st = HD_FAIL(err, HD_E_DEVICE, "plugin %s: no symbol hd_plugin_ops", path);
    else if (!ops)
        st = HD_FAIL(err, HD_E_UNSUPPORTED, "plugin %s: this build offers no device", path);
    else if (ops->abi != HD_BACKEND_ABI || ops->size != sizeof(hd_backend_ops))
        st = HD_FAIL(err, HD_E_DEVICE, "plugin %s: ABI %u of %u bytes, expected %u of %zu", path,
                     (unsigned)ops->abi, (unsigned)ops->size, (unsigned)HD_BACKEND_ABI,
                     sizeof(hd_backend_ops));
    if (st != HD_OK)
        dlclose(so);
    else
        *out = ops;
    return st;
}

static hd_status open_plugin(const char *name, const hd_device_cfg *cfg, hd_backend **out,
                             hd_err *err)
{
    char path[PATH_CAP];
    const hd_backend_ops *ops = NULL;
    HD_CHECK(find_plugin(name, path), err, HD_E_NOTFOUND,
             "device %s: no libhadal_%s.so in ../lib/hadal beside the binary or in "
             "HADAL_PLUGIN_DIR",
             cfg->device, name);
    HD_TRY(load_plugin(path, &ops, err));
    return ops->open(cfg, out, err);
}

// ---- opening -------------------------------------------------------------------------------

static bool is_cuda(const char *device)
{
    if (strncmp(device, "cuda", 4) != 0) return false;
    if (device[4] == '\0') return true;
    size_t digits = device[4] == ':' ? strspn(device + 5, "0123456789") : 0;
    return digits > 0 && digits <= 3 && device[5 + digits] == '\0';
}

static hd_status open_auto(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    hd_err why = {HD_OK, ""};
    hd_device_cfg cuda = *cfg;
    cuda.device = "cuda:0";
    if (open_plugin("cuda", &cuda, out, &why) == HD_OK) return HD_OK;
    HD_LOG(HD_LOG_INFO, "device", "using the CPU", hd_f_str("reason", why.msg));
    return hd_cpu_ops.open(cfg, out, err);
}

hd_status hd_backend_open(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    const char *device = cfg->device ? cfg->device : "auto";
    *out = NULL;
    if (strcmp(device, "auto") == 0) return open_auto(cfg, out, err);
    if (strcmp(device, "cpu") == 0) return hd_cpu_ops.open(cfg, out, err);
    if (strcmp(device, "dry") == 0) return hd_dry_ops.open(cfg, out, err);
    if (is_cuda(device)) return open_plugin("cuda", cfg, out, err);
    return HD_FAIL(err, HD_E_INVAL, "device %.40s: expected auto, cpu, dry or cuda:N", device);
}

void hd_backend_close(hd_backend *be)
{
    if (be) be->ops->close(be);
}

// ---- scratch -------------------------------------------------------------------------------

hd_tensor hd_scratch_tensor(hd_scratch *s, hd_dtype dtype, int32_t rows, int32_t cols)
{
    enum { ALIGN = 64 };
    size_t row = hd_row_bytes(dtype, cols), bytes, end;
    bool fits = hd_mul_size(row, (size_t)rows, &bytes) && hd_align_size(bytes, ALIGN, &bytes) &&
                hd_add_size(s->used, bytes, &end);
    HD_ASSERT(fits && (!s->base || end <= s->cap));
    hd_tensor t = {s->base ? s->base + s->used : NULL, dtype, rows, cols, (int64_t)row};
    s->used = end;
    if (end > s->peak) s->peak = end;
    return t;
}
