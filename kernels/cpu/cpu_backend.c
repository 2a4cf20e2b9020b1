// The CPU backend: opening, memory, steps, and its operation table. The loops of each family of
// operations are in the files beside this one, the arithmetic in fns.h's kernels.
#include "kernels/cpu/cpu_backend.h"

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cpu/cpu.h"

#include <string.h>

// Below this many multiply-adds or elements a fork-join (1 to 10 us) costs more than it saves.
static const double share_min = 128 * 1024;

// ---- work memory and tasks -----------------------------------------------------------------

void *hd_cpu_reserve(hd_cpu *c, hd_cpu_block *b, size_t bytes)
{
    if (bytes <= b->bytes) return b->p;
    hd_free_big(b->p, b->bytes);
    b->p = hd_alloc_big(bytes);
    b->bytes = b->p ? bytes : 0;
    if (!b->p && c->err.code == HD_OK)
        hd_fail(&c->err, HD_E_NOMEM, "cpu: no memory for %zu bytes of work space", bytes);
    return b->p;
}

void hd_cpu_run(hd_cpu *c, hd_pool_fn fn, void *ctx, int n_tasks, double work)
{
    if (work >= share_min && n_tasks > 1) {
        hd_pool_run(c->pool, fn, ctx, n_tasks);
        return;
    }
    for (int i = 0; i < n_tasks; i++)
        fn(ctx, i, 0);
}

// ---- life ----------------------------------------------------------------------------------

static void cpu_close(hd_backend *be)
{
    if (!be) return;
    hd_cpu *c = hd_cpu_of(be);
    hd_cpu_block *const blocks[] = {&c->act[HD_ACT_Q8_32],
                                    &c->act[HD_ACT_Q8_256],
                                    &c->gemm,
                                    &c->attn_work,
                                    &c->attn_items,
                                    &c->attn_slots,
                                    &c->mla,
                                    &c->moe_plan,
                                    &c->moe_x,
                                    &c->moe_h,
                                    &c->moe_tmp,
                                    &c->topk};
    for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
        hd_free_big(blocks[i]->p, blocks[i]->bytes);
    for (int i = 0; i < HD_CPU_ROPES; i++)
        hd_free_big(c->rope[i].table.p, c->rope[i].table.bytes);
    hd_free(c);
}

// Integer products of 8-bit activations run at least twice as fast as BLAS on decoded weights
// (Zen 4, 8960 x 1536, 64 rows, one loaded core: q4_k 94 against 27 GFLOP/s with VNNI, 60 against
// 31 with AVX2). The scalar reference does not.
static void find_fast_types(hd_cpu *c)
{
    hd_cpu_fns ref;
    hd_fill_ref(&ref);
    for (int t = 0; t < HD_DTYPE_COUNT; t++)
        c->fast[t] = c->fns.act_fmt[t] != HD_ACT_F32 && c->fns.mm[t] != ref.mm[t];
}

static hd_status cpu_open(const hd_device_cfg *cfg, hd_backend **out, hd_err *err)
{
    *out = NULL;
    hd_cpu *c = hd_calloc(1, sizeof(*c));
    HD_CHECK(c, err, HD_E_NOMEM, "cpu: no memory for the backend");
    c->base.ops = &hd_cpu_ops;
    c->pool = cfg->pool;
    c->n_workers = hd_pool_size(cfg->pool);
    c->own_only = cfg->deterministic || !hd_cpu_gemm_built();
    hd_cpu_fns_fill(&c->fns, cfg->cpu_features);
    find_fast_types(c);
    hd_status st = c->own_only ? HD_OK : hd_cpu_gemm_open(c, err);
    if (st != HD_OK) {
        cpu_close(&c->base);
        return st;
    }
    HD_LOG(HD_LOG_INFO, "device", "CPU", hd_f_str("kernels", c->fns.level),
           hd_f_int("threads", c->n_workers), hd_f_bool("blas", !c->own_only));
    *out = &c->base;
    return HD_OK;
}

// ---- memory --------------------------------------------------------------------------------

// The size sits in front of the block, so that release can hand it back.
enum { ALLOC_HEAD = 64 };

static hd_status cpu_alloc(hd_backend *be, size_t bytes, hd_mem_use use, void **out, hd_err *err)
{
    (void)be;
    (void)use;
    size_t all;
    char *p = hd_add_size(bytes, ALLOC_HEAD, &all) ? hd_alloc_big(all) : NULL;
    *out = NULL;
    HD_CHECK(p, err, HD_E_NOMEM, "cpu: no memory for a block of %zu bytes", bytes);
    memcpy(p, &all, sizeof(all));
    *out = p + ALLOC_HEAD;
    return HD_OK;
}

static void cpu_release(hd_backend *be, void *p)
{
    (void)be;
    if (!p) return;
    char *head = (char *)p - ALLOC_HEAD;
    size_t all;
    memcpy(&all, head, sizeof(all));
    hd_free_big(head, all);
}

static void cpu_copy(hd_backend *be, void *dst, const void *src, size_t bytes)
{
    (void)be;
    if (bytes) memcpy(dst, src, bytes);
}

// What fails here is work memory. Once reported it is forgotten: the next step may fit.
static hd_status cpu_sync(hd_backend *be, hd_err *err)
{
    hd_cpu *c = hd_cpu_of(be);
    hd_status st = c->err.code;
    if (st == HD_OK) return HD_OK;
    if (err) *err = c->err;
    c->err.code = HD_OK;
    return st;
}

// ---- steps ---------------------------------------------------------------------------------

static bool cpu_step_begin(hd_backend *be, uint64_t shape)
{
    (void)shape;
    hd_cpu *c = hd_cpu_of(be);
    c->step++;
    c->in_step = true;
    if (c->pool) hd_pool_begin(c->pool);
    return false;
}

static void cpu_step_end(hd_backend *be)
{
    hd_cpu *c = hd_cpu_of(be);
    c->in_step = false;
    if (c->pool) hd_pool_end(c->pool);
}

static void cpu_all_reduce(hd_backend *be, hd_tensor x, hd_comm *comm)
{
    (void)be;
    if (comm && comm->world > 1) comm->all_reduce(comm, x);
}

const hd_backend_ops hd_cpu_ops = {
    .abi = HD_BACKEND_ABI,
    .size = sizeof(hd_backend_ops),
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
    .sync = cpu_sync,
    .weight_new = hd_cpu_weight_new,
    .weight_fill = hd_cpu_weight_fill,
    .weight_free = hd_cpu_weight_free,
    .weight_info = hd_cpu_weight_info,
    .step_begin = cpu_step_begin,
    .step_end = cpu_step_end,
    .embed = hd_cpu_embed,
    .rmsnorm = hd_cpu_rmsnorm,
    .linear = hd_cpu_linear,
    .linear_heads = hd_cpu_linear_heads,
    .rope = hd_cpu_rope_op,
    .kv_store = hd_cpu_kv_store,
    .attn = hd_cpu_attn,
    .mla = hd_cpu_mla,
    .moe_route = hd_cpu_moe_route,
    .moe_ffn = hd_cpu_moe_ffn,
    .glu = hd_cpu_glu,
    .add = hd_cpu_add,
    .gather = hd_cpu_gather,
    .topk = hd_cpu_topk,
    .all_reduce = cpu_all_reduce,
};
