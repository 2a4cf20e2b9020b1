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
    const hd_status st = open_plugin("cuda", &cuda, out, &why);
    if (st == HD_OK) return HD_OK;
    // Whoever brought a plugin wanted its device.
    HD_LOG(st == HD_E_NOTFOUND ? HD_LOG_INFO : HD_LOG_WARN, "device", "using the CPU",
           hd_f_str("reason", why.msg));
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

// ---- weights -------------------------------------------------------------------------------

hd_status hd_backend_pack(hd_backend *be, const hd_weight_spec *spec, hd_weight **out, hd_err *err)
{
    *out = NULL;
    HD_TRY(be->ops->weight_new(be, spec, out, err));
    hd_status st = be->ops->weight_fill(be, *out, spec, 0, spec->n_mat, err);
    if (st == HD_OK) return HD_OK;
    be->ops->weight_free(be, *out);
    *out = NULL;
    return st;
}

bool hd_weight_src_scaled(const hd_weight_src *s)
{
    return s->scale || s->scale_rows > 0;
}

// Whether every 128 codes along a row share one scale.
bool hd_weight_src_fits_f8(const hd_weight_src *s)
{
    const int32_t block = hd_dtype_get(HD_F8_B128)->block;
    return s->dtype == HD_F8_E4M3 && hd_weight_src_scaled(s) && s->n_in % block == 0 &&
           (s->scale_block_cols % block == 0 || s->scale_block_cols >= s->n_in);
}

hd_dtype hd_weight_stored_as(const hd_weight_spec *spec, const hd_weight_src *s)
{
    if (spec->n_in == 1) return HD_F32;
    if (spec->want != HD_DTYPE_NONE) return spec->want;
    if (hd_weight_src_fits_f8(s)) return HD_F8_B128;
    if (hd_weight_src_scaled(s)) return HD_F32; // the product needs more bits than BF16 has
    if ((unsigned)s->dtype >= HD_DTYPE_COUNT) return HD_F32; // refused by the check
    return hd_dtype_get(s->dtype)->is_weight ? s->dtype : HD_F32;
}

// A matrix may be some rows of a scaled tensor, so there may be more scales than it needs.
static hd_status check_scale(const hd_weight_src *s, hd_err *err)
{
    if (!hd_weight_src_scaled(s)) return HD_OK;
    HD_CHECK(s->scale_dtype == HD_F32 || s->scale_dtype == HD_BF16 || s->scale_dtype == HD_F16 ||
                 s->scale_dtype == HD_F8_E8M0,
             err, HD_E_UNSUPPORTED, "%s: block scales of type %s, expected f32, bf16, f16 or e8m0",
             s->name, hd_dtype_name(s->scale_dtype));
    HD_CHECK(hd_dtype_get(s->dtype)->block == 1, err, HD_E_UNSUPPORTED,
             "%s: block scales beside type %s, expected a scalar type", s->name,
             hd_dtype_name(s->dtype));
    HD_CHECK(!s->transposed, err, HD_E_UNSUPPORTED, "%s: transposed with block scales", s->name);
    HD_CHECK(s->scale_block_rows > 0 && s->scale_block_cols > 0 && s->scale_first_row >= 0, err,
             HD_E_INVAL,
             "%s: scale blocks of [%d, %d] from row %d on, expected at least [1, 1] and 0", s->name,
             (int)s->scale_block_rows, (int)s->scale_block_cols, (int)s->scale_first_row);
    int64_t last = (int64_t)s->scale_first_row + s->n_out;
    int64_t rows = (last + s->scale_block_rows - 1) / s->scale_block_rows;
    int64_t cols = ((int64_t)s->n_in + s->scale_block_cols - 1) / s->scale_block_cols;
    HD_CHECK(s->scale_rows >= rows && s->scale_cols == cols, err, HD_E_INVAL,
             "%s: block scales of shape [%d, %d], expected [%lld, %lld] for rows %d to %lld",
             s->name, (int)s->scale_rows, (int)s->scale_cols, (long long)rows, (long long)cols,
             (int)s->scale_first_row, (long long)last);
    return HD_OK;
}

hd_status hd_weight_src_check(const hd_weight_src *s, const hd_weight_spec *spec, int32_t n_out,
                              hd_dtype to, hd_err *err)
{
    HD_CHECK((unsigned)s->dtype < HD_DTYPE_COUNT && hd_dtype_get(s->dtype)->is_float, err,
             HD_E_UNSUPPORTED, "%s: type %s cannot be a weight", s->name, hd_dtype_name(s->dtype));
    HD_CHECK(s->n_in == spec->n_in && s->n_out == n_out && n_out > 0, err, HD_E_INVAL,
             "%s: shape [%d, %d], expected [%d, %d]", s->name, (int)s->n_out, (int)s->n_in,
             (int)n_out, (int)spec->n_in);
    HD_TRY(check_scale(s, err));
    const hd_dtype_traits *from = hd_dtype_get(s->dtype), *target = hd_dtype_get(to);
    bool as_is = to == s->dtype && !s->transposed && !hd_weight_src_scaled(s);
    HD_CHECK(target->is_weight && (as_is || target->from_f32), err, HD_E_UNSUPPORTED,
             "%s: type %s cannot be converted to %s", s->name, from->name, target->name);
    int32_t along = s->transposed ? s->n_out : s->n_in; // what the source's rows run along
    HD_CHECK(along % from->block == 0, err, HD_E_UNSUPPORTED,
             "%s: rows of %d elements do not divide into blocks of %d (%s)", s->name, (int)along,
             (int)from->block, from->name);
    HD_CHECK(s->n_in % target->block == 0, err, HD_E_UNSUPPORTED,
             "%s: rows of %d elements do not divide into blocks of %d (%s)", s->name, (int)s->n_in,
             (int)target->block, target->name);
    return HD_OK;
}

// ---- latent attention ----------------------------------------------------------------------

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Absorbed, a group of tokens at a time: queries in latent space and weighted latents. Expanded, at
// least one head at a time: its keys and values.
int32_t hd_mla_work_floats(const hd_mla *a, const hd_batch *b)
{
    int64_t tokens = smaller(b->n_tokens, HD_MLA_GROUP_TOKENS);
    int64_t keys = smaller((int64_t)b->max_pages * a->plane->page_rows, HD_MLA_EXPAND_KEYS);
    int64_t absorbed = tokens * a->n_heads * (2 * (int64_t)a->d_latent + a->d_rope);
    int64_t expanded = keys * ((int64_t)a->d_nope + a->d_rope + a->d_v);
    int64_t most = absorbed > expanded ? absorbed : expanded;
    HD_ASSERT(most < INT32_MAX);
    return (int32_t)most;
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
