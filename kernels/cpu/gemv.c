// Multiplying few rows by a weight with the own kernels; also where linear decides between them and
// BLAS. Every output is one kernel's dot product, so tiles, threads and company change nothing.
#include "kernels/base/status.h"
#include "kernels/cpu/cpu.h"

enum {
    TILE_BYTES = 64 * 1024, // at least
    TILES_PER_WORKER = 2,   // more would even out workers of different speed
    GEMM_TOKENS = 512,
};

// ---- quantized activations -----------------------------------------------------------------

typedef struct quant_job {
    hd_quant_act_fn *quant;
    hd_tensor x;
    char *dst;
    size_t stride;
} quant_job;

static void quant_task(void *ctx, int task, int worker)
{
    const quant_job *j = ctx;
    (void)worker;
    j->quant(j->dst + (size_t)task * j->stride, hd_cpu_row(j->x, task), j->x.cols);
}

bool hd_cpu_quantize(hd_cpu *c, unsigned fmts, hd_tensor x, hd_cpu_acts *out)
{
    HD_DASSERT(x.rows <= HD_CPU_ROW_CHUNK);
    out->row[HD_ACT_F32] = x.data;
    out->stride[HD_ACT_F32] = (size_t)x.stride;
    for (int f = HD_ACT_F32 + 1; f < HD_ACT_FMT_COUNT; f++) {
        if (!(fmts >> f & 1)) continue;
        size_t stride = hd_act_row_bytes((hd_act_fmt)f, x.cols);
        char *dst = hd_cpu_reserve(c, &c->act[f], stride * HD_CPU_ROW_CHUNK);
        if (!dst) return false;
        quant_job j = {c->fns.quant_act[f], x, dst, stride};
        hd_cpu_run(c, quant_task, &j, x.rows, (double)x.rows * x.cols);
        out->row[f] = dst;
        out->stride[f] = stride;
    }
    return true;
}

// ---- tiles ---------------------------------------------------------------------------------

int hd_cpu_tile_rows(const hd_cpu_part *p)
{
    size_t rows = TILE_BYTES / p->row_bytes / 16 * 16;
    return rows < 16 ? 16 : rows > 256 ? 256 : (int)rows;
}

void hd_cpu_mm(const hd_cpu *c, const hd_cpu_part *p, int32_t mat, int32_t row, int n,
               const char *act, size_t act_stride, int n_tok, int n_in, float *out,
               int64_t out_stride)
{
    c->fns.mm[p->dtype](out, out_stride, hd_cpu_weight_row(p, mat, row), p->row_bytes, n, act,
                        act_stride, n_tok, n_in);
}

// Tasks count tiles of the chosen parts one after another: with `gemm` those that go through BLAS
// for this number of rows, else the others.
typedef struct tile {
    const hd_cpu_part *part;
    int32_t row;
    int n;
} tile;

// A kernel asks for the bytes behind those it multiplies. At the end of a tile these belong to the
// next one, which another worker takes: so tiles are as long as sharing them out evenly allows.
static int tile_rows(const hd_cpu *c, const hd_cpu_part *p, bool gemm)
{
    if (gemm) return HD_CPU_GEMM_ROWS;
    const int least = hd_cpu_tile_rows(p);
    const int share = hd_cpu_tiles(p->n_out, TILES_PER_WORKER * c->n_workers);
    return share > least ? (share + 15) / 16 * 16 : least;
}

static int tiles_of(const hd_cpu *c, const hd_cpu_part *p, int rows, bool gemm)
{
    if (hd_cpu_by_gemm(c, p, rows) != gemm) return 0;
    return hd_cpu_tiles(p->n_out, tile_rows(c, p, gemm));
}

static int count_tiles(const hd_cpu *c, const hd_weight *w, int rows, bool gemm)
{
    int n = 0;
    for (int p = 0; p < w->n_part; p++)
        n += tiles_of(c, &w->part[p], rows, gemm);
    return n;
}

static tile find_tile(const hd_cpu *c, const hd_weight *w, int rows, bool gemm, int i)
{
    const hd_cpu_part *p = w->part;
    int n;
    for (; (n = tiles_of(c, p, rows, gemm)) <= i; p++)
        i -= n;
    int size = tile_rows(c, p, gemm);
    tile t = {p, p->first + i * size, hd_cpu_min(size, p->n_out - i * size)};
    return t;
}

// ---- linear --------------------------------------------------------------------------------

typedef struct linear_job { // also linear_heads: head h reads columns h * n_in, writes h * n_out
    hd_cpu *c;
    const hd_weight *w;
    const float *bias;
    hd_tensor out, x;
    hd_cpu_acts acts;
    int rows;  // of the whole call; x and out may be a piece of it
    int tiles; // per matrix
} linear_job;

static void finish_tile(const linear_job *j, float *out, int64_t ldo, int n_tok, const tile *t)
{
    if (!j->bias) return;
    for (int i = 0; i < n_tok; i++)
        j->c->fns.add_bias(out + i * ldo, j->bias + t->row, t->n);
}

static void own_task(void *ctx, int task, int worker)
{
    const linear_job *j = ctx;
    (void)worker;
    int32_t mat = task / j->tiles;
    tile t = find_tile(j->c, j->w, j->rows, false, task % j->tiles);
    hd_act_fmt f = t.part->fmt;
    int64_t ldo = hd_cpu_ld(j->out), col = (int64_t)mat * j->w->n_out + t.row;
    float *out = hd_cpu_row(j->out, 0) + col;
    const char *act = j->acts.row[f] + (size_t)mat * hd_act_row_bytes(f, j->w->n_in);
    hd_cpu_mm(j->c, t.part, mat, t.row, t.n, act, j->acts.stride[f], j->x.rows, j->w->n_in, out,
              ldo);
    finish_tile(j, out, ldo, j->x.rows, &t);
}

static void gemm_task(void *ctx, int task, int worker)
{
    const linear_job *j = ctx;
    int blocks = hd_cpu_tiles(j->x.rows, GEMM_TOKENS);
    int32_t mat = task / blocks / j->tiles;
    tile t = find_tile(j->c, j->w, j->rows, true, task / blocks % j->tiles);
    int first = task % blocks * GEMM_TOKENS, n_tok = hd_cpu_min(GEMM_TOKENS, j->x.rows - first);
    int64_t ldo = hd_cpu_ld(j->out), col = (int64_t)mat * j->w->n_out + t.row;
    float *out = hd_cpu_row(j->out, first) + col;
    hd_cpu_gemm_tile(j->c, worker, t.part, mat, t.row, t.n,
                     hd_cpu_row(j->x, first) + (int64_t)mat * j->w->n_in, hd_cpu_ld(j->x), n_tok,
                     j->w->n_in, out, ldo);
    finish_tile(j, out, ldo, n_tok, &t);
}

static void run_gemm(linear_job *j, double work)
{
    j->tiles = count_tiles(j->c, j->w, j->rows, true);
    hd_cpu_run(j->c, gemm_task, j, j->w->n_mat * j->tiles * hd_cpu_tiles(j->x.rows, GEMM_TOKENS),
               work * j->rows);
}

static void run_own(linear_job *j, double work)
{
    const hd_weight *w = j->w;
    hd_tensor out = j->out, x = j->x;
    j->tiles = count_tiles(j->c, w, j->rows, false);
    for (int r = 0; j->tiles > 0 && r < x.rows; r += HD_CPU_ROW_CHUNK) {
        int n = hd_cpu_min(HD_CPU_ROW_CHUNK, x.rows - r);
        j->out = hd_tensor_rows(out, r, n);
        j->x = hd_tensor_rows(x, r, n);
        if (!hd_cpu_quantize(j->c, w->fmts, j->x, &j->acts)) return;
        hd_cpu_run(j->c, own_task, j, w->n_mat * j->tiles, work * n);
    }
}

static void run_linear(linear_job *j)
{
    double work =
        (double)j->w->n_mat * j->w->n_out * j->w->n_in; // of a row, if no part is left out
    j->rows = j->x.rows;
    run_gemm(j, work);
    run_own(j, work);
}

void hd_cpu_linear(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w,
                   const hd_weight *bias)
{
    HD_DASSERT(w->n_mat == 1 && x.cols == w->n_in && out.cols == w->n_out && out.rows == x.rows);
    HD_DASSERT(!bias || bias->n_out == w->n_out);
    linear_job j = {.c = hd_cpu_of(be), .w = w, .out = out, .x = x};
    if (bias) j.bias = hd_cpu_vector(bias);
    run_linear(&j);
}

void hd_cpu_linear_heads(hd_backend *be, hd_tensor out, hd_tensor x, const hd_weight *w)
{
    HD_DASSERT(x.cols == w->n_mat * w->n_in && out.cols == w->n_mat * w->n_out);
    HD_DASSERT(out.rows == x.rows);
    linear_job j = {.c = hd_cpu_of(be), .w = w, .out = out, .x = x};
    run_linear(&j);
}
