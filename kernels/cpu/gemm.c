// Multiplying many rows: a tile of weights becomes floats, then BLAS multiplies. The only file that
// knows cblas.
//
// BLAS runs on one thread inside each of our workers; its own pool would fight ours. Tile sizes are
// fixed, so the number of threads does not change results, but BLAS may sum in another order for
// another number of rows: this path is exempt from the promise that a row ignores its company.
#include "kernels/cpu/cpu.h"

#ifdef HADAL_HAVE_OPENBLAS

#include <cblas.h>

enum { K_STEP = 512 }; // a multiple of every block; 128 x 512 floats fit half of a 512 KiB L2

bool hd_cpu_gemm_built(void)
{
    return true;
}

hd_status hd_cpu_gemm_open(hd_cpu *c, hd_err *err)
{
    openblas_set_num_threads(1);
    size_t bytes = (size_t)c->n_workers * HD_CPU_GEMM_ROWS * K_STEP * sizeof(float);
    if (hd_cpu_reserve(c, &c->gemm, bytes)) return HD_OK;
    hd_status st = c->err.code;
    if (err) *err = c->err;
    return st;
}

void hd_cpu_gemm_tile(hd_cpu *c, int worker, const hd_cpu_part *p, int32_t mat, int32_t row, int n,
                      const float *x, int64_t ldx, int n_tok, int n_in, float *out, int64_t ldo)
{
    const char *w = hd_cpu_weight_row(p, mat, row);
    float *tile = (float *)c->gemm.p + (int64_t)worker * HD_CPU_GEMM_ROWS * K_STEP;
    // F32 takes the same steps, so that a type changes no sum: weights kept in blocks of FP8 give
    // what they give as floats.
    for (int k = 0; k < n_in; k += K_STEP) {
        int len = hd_cpu_min(K_STEP, n_in - k);
        size_t skip = hd_row_bytes(p->dtype, k);
        const float *rows = (const float *)(const void *)(w + skip);
        for (int r = 0; p->dtype != HD_F32 && r < n; r++)
            c->fns.decode[p->dtype](w + (size_t)r * p->row_bytes + skip, tile + r * K_STEP, len);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n_tok, n, len, 1.0f, x + k, (int)ldx,
                    p->dtype == HD_F32 ? rows : tile, p->dtype == HD_F32 ? n_in : K_STEP,
                    k ? 1.0f : 0.0f, out, (int)ldo);
    }
}

#else

bool hd_cpu_gemm_built(void)
{
    return false;
}

hd_status hd_cpu_gemm_open(hd_cpu *c, hd_err *err)
{
    (void)c;
    return HD_FAIL(err, HD_E_UNSUPPORTED, "this build has no BLAS");
}

void hd_cpu_gemm_tile(hd_cpu *c, int worker, const hd_cpu_part *p, int32_t mat, int32_t row, int n,
                      const float *x, int64_t ldx, int n_tok, int n_in, float *out, int64_t ldo)
{
    (void)c, (void)worker, (void)p, (void)mat, (void)row, (void)n, (void)x, (void)ldx;
    (void)n_tok, (void)n_in, (void)out, (void)ldo;
    HD_ASSERT(!"own_only is set in this build");
}

#endif
