// Writing rows into the paged cache.
#include "kernels/cpu/cpu.h"

enum { TOKENS = 16 }; // tokens a task takes

typedef struct store_job {
    void (*write)(void *restrict dst, const float *restrict src, int n);
    const hd_kv_plane *dst;
    hd_tensor src;
    const hd_batch *b;
    size_t row_bytes;
} store_job;

static void store_task(void *ctx, int task, int worker)
{
    const store_job *j = ctx;
    const hd_batch *b = j->b;
    (void)worker;
    int t = task * TOKENS, end = hd_cpu_min(t + TOKENS, b->n_tokens), seq = 0;
    for (; t < end; t++) {
        while (b->q_start[seq + 1] <= t)
            seq++;
        int32_t pos = b->pos[t], rows = j->dst->page_rows;
        HD_DASSERT(pos / rows < b->max_pages);
        int64_t page = b->page[(int64_t)seq * b->max_pages + pos / rows];
        int64_t row = page * rows + pos % rows;
        j->write((char *)j->dst->base + (size_t)row * j->row_bytes, hd_cpu_row(j->src, t),
                 j->src.cols);
    }
}

void hd_cpu_kv_store(hd_backend *be, const hd_kv_plane *dst, hd_tensor src, const hd_batch *b)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(src.cols == dst->width && src.rows == b->n_tokens);
    HD_ASSERT(c->fns.kv_write[dst->dtype]);
    HD_ASSERT(dst->width % hd_dtype_get(dst->dtype)->block == 0);
    store_job j = {c->fns.kv_write[dst->dtype], dst, src, b, hd_row_bytes(dst->dtype, dst->width)};
    hd_cpu_run(c, store_task, &j, hd_cpu_tiles(b->n_tokens, TOKENS),
               (double)b->n_tokens * dst->width);
}
