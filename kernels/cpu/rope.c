// Rotary embedding. cos and sin are computed once per step for each set of positions and
// frequencies, and serve q and k of every layer.
//
// Within a step the positions behind one address must not change; outside a step nothing is kept.
#include "kernels/cpu/cpu.h"

#include <math.h>

enum { ROWS = 8 }; // rows a task takes

typedef struct rope_job {
    const hd_cpu_fns *f;
    const hd_rope *r;
    const int32_t *pos;
    hd_tensor x;
    float *table; // row t: n_pairs cosines, then n_pairs sines
    int rows, n_pairs;
} rope_job;

static void angles_task(void *ctx, int task, int worker)
{
    const rope_job *j = ctx;
    (void)worker;
    for (int t = task * ROWS; t < hd_cpu_min((task + 1) * ROWS, j->rows); t++) {
        float *c = j->table + (int64_t)t * 2 * j->n_pairs, *s = c + j->n_pairs;
        for (int i = 0; i < j->n_pairs; i++) {
            float angle = (float)j->pos[t] * j->r->inv_freq[i];
            c[i] = cosf(angle) * j->r->magnitude;
            s[i] = sinf(angle) * j->r->magnitude;
        }
    }
}

static void rotate_task(void *ctx, int task, int worker)
{
    const rope_job *j = ctx;
    (void)worker;
    for (int t = task * ROWS; t < hd_cpu_min((task + 1) * ROWS, j->rows); t++) {
        const float *c = j->table + (int64_t)t * 2 * j->n_pairs, *s = c + j->n_pairs;
        for (int h = 0; h < j->x.cols; h += j->r->d_head) {
            float *x = hd_cpu_row(j->x, t) + h + j->r->first;
            if (j->r->pairing == HD_ROPE_HALF)
                j->f->rotate(x, x + j->n_pairs, c, s, j->n_pairs);
            else
                j->f->rotate_pairs(x, c, s, j->n_pairs);
        }
    }
}

static bool same_table(const hd_cpu *c, const hd_cpu_rope *e, const rope_job *j)
{
    return c->in_step && e->step == c->step && e->pos == j->pos && e->rows >= j->rows &&
           e->n_pairs == j->n_pairs && e->inv_freq == j->r->inv_freq &&
           e->magnitude == j->r->magnitude;
}

// The table for j, from this step's earlier uses or computed now. NULL: no memory.
static float *find_table(hd_cpu *c, rope_job *j)
{
    for (int i = 0; i < HD_CPU_ROPES; i++)
        if (same_table(c, &c->rope[i], j)) return c->rope[i].table.p;
    hd_cpu_rope *e = &c->rope[c->next_rope];
    c->next_rope = (c->next_rope + 1) % HD_CPU_ROPES;
    e->step = 0;
    size_t row_bytes = 2 * (size_t)j->n_pairs * sizeof(float);
    j->table = hd_cpu_reserve(c, &e->table, row_bytes * HD_CPU_ROPE_ROWS);
    if (!j->table) return NULL;
    hd_cpu_run(c, angles_task, j, hd_cpu_tiles(j->rows, ROWS), 16.0 * j->rows * j->n_pairs);
    e->step = c->step;
    e->pos = j->pos;
    e->inv_freq = j->r->inv_freq;
    e->magnitude = j->r->magnitude;
    e->rows = j->rows;
    e->n_pairs = j->n_pairs;
    return j->table;
}

void hd_cpu_rope_op(hd_backend *be, hd_tensor x, const int32_t *pos, const hd_rope *r)
{
    hd_cpu *c = hd_cpu_of(be);
    HD_DASSERT(x.cols % r->d_head == 0 && r->n_rot % 2 == 0 && r->first + r->n_rot <= r->d_head);
    for (int t = 0; t < x.rows; t += HD_CPU_ROPE_ROWS) {
        int n = hd_cpu_min(HD_CPU_ROPE_ROWS, x.rows - t);
        rope_job j = {&c->fns, r, pos + t, hd_tensor_rows(x, t, n), NULL, n, r->n_rot / 2};
        if (n == 0 || j.n_pairs == 0) return;
        j.table = find_table(c, &j);
        if (!j.table) return;
        hd_cpu_run(c, rotate_task, &j, hd_cpu_tiles(n, ROWS), (double)n * x.cols);
    }
}
