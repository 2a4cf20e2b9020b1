// Row-wise operations: rmsnorm, gated units, sums, gathering and embedding rows.
#include "kernels/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 }; // rows a task takes

// ---- rmsnorm -------------------------------------------------------------------------------

typedef struct norm_job {
    const hd_cpu_fns *f;
    hd_tensor out, x, add;
    const float *gain;
    int d;
    float eps;
} norm_job;

static void norm_row(const norm_job *j, int r)
{
    float *x = hd_cpu_row(j->x, r), *out = hd_cpu_row(j->out, r);
    if (j->add.data) j->f->axpy(x, hd_cpu_row(j->add, r), 1.0f, j->x.cols);
    for (int c = 0; c < j->x.cols; c += j->d) {
        float mean = j->f->sum_squares(x + c, j->d) / (float)j->d;
        j->f->norm_mul(out + c, x + c, j->gain, 1.0f / sqrtf(mean + j->eps), j->d);
    }
}

static void norm_task(void *ctx, int task, int worker)
{
    const norm_job *j = ctx;
    (void)worker;
    for (int r = task * ROWS; r < hd_cpu_min((task + 1) * ROWS, j->x.rows); r++)
        norm_row(j, r);
}

void hd_cpu_rmsnorm(hd_backend *be, hd_tensor out, hd_tensor x, const hd_tensor *add,
                    const hd_weight *gain, float eps)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(x.cols % gain->n_out == 0 && out.cols == x.cols && out.rows == x.rows);
    HD_DASSERT(!add || (add->rows == x.rows && add->cols == x.cols));
    norm_job j = {&c->fns, out, x, {0}, hd_cpu_vector(gain), gain->n_out, eps};
    if (add) j.add = *add;
    hd_cpu_run(c, norm_task, &j, hd_cpu_tiles(x.rows, ROWS), (double)x.rows * x.cols);
}

// ---- glu, add ------------------------------------------------------------------------------

typedef struct pair_job {
    const hd_cpu_fns *f;
    hd_tensor out, in;
    float factor; // of add; limit of glu
} pair_job;

static void glu_task(void *ctx, int task, int worker)
{
    const pair_job *j = ctx;
    (void)worker;
    for (int r = task * ROWS; r < hd_cpu_min((task + 1) * ROWS, j->out.rows); r++) {
        const float *gate = hd_cpu_row(j->in, r);
        j->f->silu_mul(hd_cpu_row(j->out, r), gate, gate + j->out.cols, j->factor, j->out.cols);
    }
}

void hd_cpu_glu(hd_backend *be, hd_tensor out, hd_tensor gate_up, hd_act act)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(gate_up.cols == 2 * out.cols && gate_up.rows == out.rows);
    pair_job j = {&c->fns, out, gate_up, act.limit};
    hd_cpu_run(c, glu_task, &j, hd_cpu_tiles(out.rows, ROWS), 2.0 * out.rows * gate_up.cols);
}

static void add_task(void *ctx, int task, int worker)
{
    const pair_job *j = ctx;
    (void)worker;
    for (int r = task * ROWS; r < hd_cpu_min((task + 1) * ROWS, j->out.rows); r++)
        j->f->axpy(hd_cpu_row(j->out, r), hd_cpu_row(j->in, r), j->factor, j->out.cols);
}

void hd_cpu_add(hd_backend *be, hd_tensor x, hd_tensor y, float scale)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(x.cols == y.cols && x.rows == y.rows);
    pair_job j = {&c->fns, x, y, scale};
    hd_cpu_run(c, add_task, &j, hd_cpu_tiles(x.rows, ROWS), (double)x.rows * x.cols);
}

// ---- gather, embed -------------------------------------------------------------------------

void hd_cpu_gather(hd_backend *be, hd_tensor out, hd_tensor x, const int32_t *rows)
{
    (void)be;
    HD_DASSERT(out.cols == x.cols && out.dtype == x.dtype);
    size_t bytes = hd_row_bytes(x.dtype, x.cols);
    for (int i = 0; i < out.rows; i++) {
        HD_DASSERT(rows[i] >= 0 && rows[i] < x.rows);
        memcpy((char *)out.data + i * out.stride, (const char *)x.data + rows[i] * x.stride, bytes);
    }
}

typedef struct embed_job {
    const hd_cpu_fns *f;
    hd_tensor out;
    const hd_weight *table;
    const int32_t *ids;
} embed_job;

static void embed_task(void *ctx, int task, int worker)
{
    const embed_job *j = ctx;
    (void)worker;
    for (int i = task * ROWS; i < hd_cpu_min((task + 1) * ROWS, j->out.rows); i++) {
        int32_t id = j->ids[i];
        HD_ASSERT(id >= 0 && id < j->table->n_out);
        const hd_cpu_part *p = hd_cpu_part_of(j->table, id);
        j->f->decode[p->dtype](hd_cpu_weight_row(p, 0, id), hd_cpu_row(j->out, i), j->out.cols);
    }
}

void hd_cpu_embed(hd_backend *be, hd_tensor out, const hd_weight *table, const int32_t *ids)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(out.cols == table->n_in && table->n_mat == 1);
    embed_job j = {&c->fns, out, table, ids};
    hd_cpu_run(c, embed_task, &j, hd_cpu_tiles(out.rows, ROWS), (double)out.rows * out.cols);
}
