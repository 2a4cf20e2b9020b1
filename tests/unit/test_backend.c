// Opening devices, linear, and the row-wise operations of the CPU backend.
#include "kernels/cpu/cpu.h"
#include "tests/unit/be_kit.h"

#include <stdio.h>

static const kit_cfg one = {"cpu", 1, KIT_ALL_LEVELS, false};
static const kit_cfg three = {"cpu", 3, KIT_ALL_LEVELS, false};
static const kit_cfg ref = {"cpu", 1, 0, false};

// ---- opening -------------------------------------------------------------------------------

static hd_status open_status(const char *device, hd_err *err)
{
    hd_backend *be = NULL;
    hd_device_cfg cfg = {device, NULL, KIT_ALL_LEVELS, false, NULL};
    hd_status st = hd_backend_open(&cfg, &be, err);
    EXPECT((st == HD_OK) == (be != NULL));
    if (st == HD_OK) EXPECT_INT(be->ops->abi, HD_BACKEND_ABI);
    hd_backend_close(be);
    return st;
}

static void opens_devices(void)
{
    hd_err err;
    unsetenv("HADAL_PLUGIN_DIR");
    EXPECT_INT(open_status("cpu", &err), HD_OK);
    EXPECT_INT(open_status("dry", &err), HD_OK);
    EXPECT_INT(open_status("tpu", &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "device tpu: expected auto, cpu, dry or cuda:N");
    EXPECT_INT(open_status("cuda:x", &err), HD_E_INVAL);
    EXPECT_INT(open_status("cuda:", &err), HD_E_INVAL);
    EXPECT_INT(open_status("cuda0", &err), HD_E_INVAL);
    hd_backend_close(NULL);
}

static void refuses_broken_plugins(void)
{
    hd_err err;
    char path[256];
    EXPECT_INT(setenv("HADAL_PLUGIN_DIR", hd_test_tmpdir(), 1), 0);
    EXPECT_INT(open_status("auto", &err), HD_OK);
    if (open_status("cuda:0", &err) != HD_E_NOTFOUND)
        hd_test_skip("a CUDA plugin lies beside the tests");
    EXPECT_CONTAINS(err.msg, "libhadal_cuda.so");
    snprintf(path, sizeof(path), "%s/libhadal_cuda.so", hd_test_tmpdir());
    FILE *f = fopen(path, "w");
    EXPECT(f && fputs("not a library", f) >= 0 && fclose(f) == 0);
    EXPECT_INT(open_status("cuda:0", &err), HD_E_DEVICE);
    EXPECT_CONTAINS(err.msg, path);
    EXPECT_INT(open_status("auto", &err), HD_OK);
}

// Opens a device while the fake plugin is of one kind; its name, or NULL on failure.
static const char *open_with(const char *kind, const char *device, hd_err *err)
{
    hd_backend *be = NULL;
    hd_device_cfg cfg = {device, NULL, KIT_ALL_LEVELS, false, NULL};
    err->msg[0] = '\0';
    EXPECT_INT(setenv("HADAL_FAKE_PLUGIN", kind, 1), 0);
    const char *name = hd_backend_open(&cfg, &be, err) == HD_OK ? be->ops->name : NULL;
    hd_backend_close(be);
    return name;
}

static void judges_plugins(void)
{
    static const char *const kinds[] = {"none", "old", "short", "empty"};
    hd_err err;
    char old[32], expected[32];
    snprintf(old, sizeof(old), "ABI %d of", HD_BACKEND_ABI + 1);
    snprintf(expected, sizeof(expected), "expected %d of", HD_BACKEND_ABI);
    EXPECT_INT(setenv("HADAL_PLUGIN_DIR", HADAL_FAKE_PLUGIN_DIR, 1), 0);
    for (int i = 0; i < 4; i++) {
        EXPECT(!open_with(kinds[i], "cuda:0", &err));
        if (i == 0) EXPECT_CONTAINS(err.msg, "this build offers no device");
        if (i == 1) EXPECT_CONTAINS(err.msg, old);
        if (i == 2) EXPECT_CONTAINS(err.msg, expected);
        EXPECT_STR(open_with(kinds[i], "auto", &err), "cpu");
    }
    EXPECT_STR(open_with("works", "cuda:0", &err), "fake");
    EXPECT(!open_with("works", "cuda:1", &err));
    EXPECT_STR(open_with("works", "auto", &err), "fake");
}

static void open_survives_no_memory(void)
{
    hd_err err;
    for (int n = 1;; n++) {
        hd_mem_fail_at(n, false);
        hd_status st = open_status("cpu", &err);
        hd_mem_fail_at(0, false);
        if (st == HD_OK) {
            EXPECT(n > 1);
            return;
        }
        EXPECT_INT(st, HD_E_NOMEM);
    }
}

// ---- linear --------------------------------------------------------------------------------

// How far a product may be from the exact one: half a step of each quantized activation times its
// weight, and rounding of sums.
static double bound(hd_dtype t, const float *w, const float *x, int n, bool own)
{
    int block = t == HD_F8_B128 ? 1 : hd_dtype_get(t)->block; // of quantized activations
    double b = 0, mass = 0;
    for (int i = 0; i < n; i++)
        mass += fabs((double)w[i] * (double)x[i]);
    for (int i = 0; own && block > 1 && i < n; i += block) {
        double most = 0;
        for (int c = i; c < i + block; c++)
            most = fmax(most, fabs((double)x[c]));
        for (int c = i; c < i + block; c++)
            b += fabs((double)w[c]) * most / 127 * 0.5;
    }
    // Codes and minima of a block may be far larger than what they sum up to.
    return b * 1.001 + 1e-5 * (mass + 1);
}

static void linear_case(kit *k, hd_dtype t, int rows, int n_out, int n_in, bool with_bias)
{
    void *data = kit_blocks(k, t, (int64_t)n_out * n_in);
    hd_weight *w = kit_matrix(k, data, t, 1, n_out, n_in, HD_DTYPE_NONE);
    bool own = !hd_cpu_by_gemm(hd_cpu_of(k->be), w->part, rows);
    hd_tensor dense = kit_rows_of(k, w);
    hd_tensor x = kit_tensor(k, rows, n_in), out = kit_tensor(k, rows, n_out);
    float *b = kit_floats(k, n_out);
    k->ops->linear(k->be, out, x, w, with_bias ? kit_vector(k, b, n_out) : NULL);
    kit_expect_padding(out);
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < n_out; o++) {
            const float *wr = kit_row(dense, o), *xr = kit_row(x, r);
            double want = kit_dot(wr, xr, n_in) + (with_bias ? (double)b[o] : 0);
            EXPECT_NEAR(kit_row(out, r)[o], want, bound(t, wr, xr, n_in, own));
        }
}

static void every_type(kit_cfg cfg)
{
    for (int t = 0; t < HD_DTYPE_COUNT; t++) {
        const hd_dtype_traits *tr = hd_dtype_get((hd_dtype)t);
        if (!tr->is_weight) continue;
        kit k;
        kit_open(&k, cfg);
        linear_case(&k, (hd_dtype)t, 1, 70, 2 * 256, false);
        linear_case(&k, (hd_dtype)t, 5, 33, 3 * 256, true);
        linear_case(&k, (hd_dtype)t, 17, 150, 3 * 256, true);
        if (tr->block == 1) linear_case(&k, (hd_dtype)t, 3, 7, 75, true);
        kit_close(&k);
    }
}
static void linear_ref(void)
{
    every_type(ref);
}
static void linear_best(void)
{
    every_type(three);
}

static void linear_of_no_rows(void)
{
    kit k;
    kit_open(&k, one);
    hd_weight *w = kit_matrix(&k, kit_floats(&k, 64), HD_F32, 1, 2, 32, HD_Q8_0);
    hd_tensor x = kit_tensor(&k, 1, 32), out = kit_tensor(&k, 1, 2);
    float before = kit_row(out, 0)[0];
    x.rows = out.rows = 0;
    k.ops->linear(k.be, out, x, w, NULL);
    EXPECT(kit_row(out, 0)[0] == before);
    kit_close(&k);
}

// Parts of a fused weight keep their own types and write consecutive columns.
static void fused_parts(void)
{
    enum { N_IN = 256, ROWS = 4 };
    static const hd_dtype type[3] = {HD_Q4_K, HD_Q8_0, HD_BF16};
    static const int n_out[3] = {70, 3, 20}, first[3] = {0, 70, 73};
    kit k;
    kit_open(&k, one);
    hd_weight_src src[3];
    hd_weight *alone[3];
    for (int p = 0; p < 3; p++) {
        void *data = kit_blocks(&k, type[p], n_out[p] * N_IN);
        src[p] = kit_src("part", data, type[p], n_out[p], N_IN);
        alone[p] = kit_matrix(&k, data, type[p], 1, n_out[p], N_IN, HD_DTYPE_NONE);
    }
    hd_weight_spec spec = {"fused", src, 1, 3, N_IN, HD_DTYPE_NONE};
    hd_weight *w = kit_pack(&k, &spec);
    float *b = kit_floats(&k, 93);
    for (int rows = ROWS; rows <= 20; rows += 16) {
        hd_tensor x = kit_tensor(&k, rows, N_IN), out = kit_tensor(&k, rows, 93);
        k.ops->linear(k.be, out, x, w, kit_vector(&k, b, 93));
        kit_expect_padding(out);
        for (int p = 0; p < 3; p++) {
            hd_tensor want = kit_tensor(&k, rows, n_out[p]);
            k.ops->linear(k.be, want, x, alone[p], kit_vector(&k, b + first[p], n_out[p]));
            for (int r = 0; r < rows; r++)
                kit_expect_same(kit_row(out, r) + first[p], kit_row(want, r), n_out[p]);
        }
    }
    kit_close(&k);
}

// A row's result with the own kernels: the same alone, in company, and on any number of threads.
static void company_case(kit_cfg cfg, hd_dtype t, int rows)
{
    enum { N_OUT = 700, N_IN = 512 };
    kit k, m;
    kit_open(&k, cfg);
    cfg.threads = 3;
    kit_open(&m, cfg);
    void *data = kit_blocks(&k, t, (int64_t)N_OUT * N_IN);
    hd_weight *w = kit_matrix(&k, data, t, 1, N_OUT, N_IN, HD_DTYPE_NONE);
    hd_weight *w3 = kit_matrix(&m, data, t, 1, N_OUT, N_IN, HD_DTYPE_NONE);
    hd_tensor x = kit_tensor(&k, rows, N_IN), all = kit_tensor(&k, rows, N_OUT);
    hd_tensor alone = kit_tensor(&k, 1, N_OUT), threaded = kit_tensor(&k, rows, N_OUT);
    k.ops->linear(k.be, all, x, w, NULL);
    m.ops->step_begin(m.be, 0);
    m.ops->linear(m.be, threaded, x, w3, NULL);
    m.ops->step_end(m.be);
    for (int r = 0; r < rows; r++) {
        k.ops->linear(k.be, alone, hd_tensor_rows(x, r, 1), w, NULL);
        kit_expect_same(kit_row(all, r), kit_row(alone, 0), N_OUT);
        kit_expect_same(kit_row(all, r), kit_row(threaded, r), N_OUT);
    }
    kit_close(&m);
    kit_close(&k);
}

static void rows_ignore_company(void)
{
    static const hd_dtype types[] = {HD_F32, HD_BF16, HD_Q8_0, HD_Q4_K, HD_Q6_K, HD_F8_B128};
    for (int i = 0; i < 6; i++) {
        company_case(one, types[i], 16);
        company_case(one, types[i], 7);
        company_case(ref, types[i], 3);
    }
}

static void deterministic_means_any_number_of_rows(void)
{
    kit_cfg cfg = {"cpu", 1, KIT_ALL_LEVELS, true};
    company_case(cfg, HD_Q4_K, 70);
    company_case(cfg, HD_F32, 130);
}

static void heads_equal_matrices(void)
{
    enum { HEADS = 5, N_IN = 64, N_OUT = 40 };
    kit k;
    kit_open(&k, three);
    for (int rows = 3; rows <= 19; rows += 16) {
        void *data = kit_blocks(&k, HD_Q8_0, HEADS * N_IN * N_OUT);
        hd_weight *w = kit_matrix(&k, data, HD_Q8_0, HEADS, N_OUT, N_IN, HD_DTYPE_NONE);
        hd_tensor x = kit_tensor(&k, rows, HEADS * N_IN), out = kit_tensor(&k, rows, HEADS * N_OUT);
        k.ops->linear_heads(k.be, out, x, w);
        kit_expect_padding(out);
        for (int h = 0; h < HEADS; h++) {
            const char *mat = (const char *)data + h * (int)hd_row_bytes(HD_Q8_0, N_IN) * N_OUT;
            hd_weight *one_head = kit_matrix(&k, mat, HD_Q8_0, 1, N_OUT, N_IN, HD_DTYPE_NONE);
            hd_tensor want = kit_tensor(&k, rows, N_OUT);
            k.ops->linear(k.be, want, hd_tensor_cols(x, h * N_IN, N_IN), one_head, NULL);
            for (int r = 0; r < rows; r++)
                kit_expect_same(kit_row(out, r) + h * N_OUT, kit_row(want, r), N_OUT);
        }
    }
    kit_close(&k);
}

// ---- steps, memory, errors -----------------------------------------------------------------

static void work_memory_failures_reach_sync(void)
{
    kit k;
    hd_err err;
    kit_open(&k, one);
    hd_weight *w = kit_matrix(&k, kit_floats(&k, 64), HD_F32, 1, 2, 32, HD_Q8_0);
    hd_tensor x = kit_tensor(&k, 1, 32), out = kit_tensor(&k, 1, 2), again = kit_tensor(&k, 1, 2);
    hd_mem_fail_at(1, true);
    k.ops->linear(k.be, out, x, w, NULL);
    hd_mem_fail_at(0, false);
    EXPECT_INT(k.ops->sync(k.be, &err), HD_E_NOMEM);
    EXPECT_CONTAINS(err.msg, "cpu: no memory");
    EXPECT_INT(k.ops->sync(k.be, &err), HD_OK);
    k.ops->linear(k.be, again, x, w, NULL);
    EXPECT_INT(k.ops->sync(k.be, &err), HD_OK);
    EXPECT(isfinite(kit_row(again, 0)[0]));
    kit_close(&k);
}

// Through BLAS results may depend on the number of rows, but not on the number of threads.
static void threads_do_not_change_gemm(void)
{
    enum { ROWS = 700, N_OUT = 300, N_IN = 1100 };
    kit k, m;
    kit_open(&k, one);
    kit_open(&m, three);
    void *data = kit_blocks(&k, HD_BF16, N_OUT * N_IN);
    hd_weight *w = kit_matrix(&k, data, HD_BF16, 1, N_OUT, N_IN, HD_DTYPE_NONE);
    hd_weight *w3 = kit_matrix(&m, data, HD_BF16, 1, N_OUT, N_IN, HD_DTYPE_NONE);
    hd_tensor x = kit_tensor(&k, ROWS, N_IN), a = kit_tensor(&k, ROWS, N_OUT);
    hd_tensor b = kit_tensor(&k, ROWS, N_OUT);
    k.ops->linear(k.be, a, x, w, NULL);
    m.ops->linear(m.be, b, x, w3, NULL);
    for (int r = 0; r < ROWS; r++)
        kit_expect_same(kit_row(a, r), kit_row(b, r), N_OUT);
    kit_close(&m);
    kit_close(&k);
}

static void second_step_allocates_nothing(void)
{
    kit k;
    kit_open(&k, three);
    hd_weight *w = kit_matrix(&k, kit_floats(&k, 256 * 256), HD_F32, 1, 256, 256, HD_Q8_0);
    hd_tensor x = kit_tensor(&k, 40, 256), out = kit_tensor(&k, 40, 256);
    uint64_t before = 0;
    for (int step = 0; step < 3; step++) {
        int rows = step == 0 ? 1 : step == 1 ? 16 : 40;
        if (step == 1) before = hd_mem_thread_allocs();
        k.ops->step_begin(k.be, 1);
        k.ops->linear(k.be, hd_tensor_rows(out, 0, rows), hd_tensor_rows(x, 0, rows), w, NULL);
        k.ops->step_end(k.be);
    }
    EXPECT_INT(hd_mem_thread_allocs(), before);
    kit_close(&k);
}

static void memory_and_copies(void)
{
    kit k;
    hd_err err;
    void *p = NULL;
    char text[] = "bytes", back[6];
    kit_open(&k, one);
    EXPECT_INT(k.ops->alloc(k.be, 1000, HD_MEM_KV, &p, &err), HD_OK);
    EXPECT_INT((uintptr_t)p % 64, 0);
    k.ops->upload(k.be, p, text, sizeof(text));
    k.ops->download(k.be, back, p, sizeof(back));
    EXPECT_STR(back, "bytes");
    k.ops->release(k.be, p);
    k.ops->release(k.be, NULL);
    EXPECT_INT(k.ops->alloc(k.be, SIZE_MAX - 8, HD_MEM_KV, &p, &err), HD_E_NOMEM);
    EXPECT(p == NULL);
    kit_close(&k);
}

static void scratch_repeats_addresses(void)
{
    static _Alignas(64) char memory[4096];
    hd_scratch s = {memory, sizeof(memory), 0, 0}, dry = {0};
    for (int i = 0; i < 2; i++) {
        size_t mark = hd_scratch_mark(&s);
        hd_tensor a = hd_scratch_tensor(&s, HD_F32, 3, 5), b = hd_scratch_tensor(&s, HD_I32, 1, 1);
        EXPECT(a.data == memory && b.data == memory + 64);
        EXPECT_INT(a.stride, 20);
        hd_scratch_release(&s, mark);
    }
    EXPECT_INT(s.peak, 128);
    EXPECT(hd_scratch_tensor(&dry, HD_F32, 1000, 1000).data == NULL);
    EXPECT_INT(dry.peak, 4000000);
}

// ---- row-wise operations -------------------------------------------------------------------

static void rmsnorm_groups_and_add(void)
{
    enum { ROWS = 11, COLS = 96, D = 32 };
    kit k;
    kit_open(&k, three);
    float *gain = kit_floats(&k, D), want[COLS];
    hd_weight *g = kit_vector(&k, gain, D);
    for (int with_add = 0; with_add < 2; with_add++) {
        hd_tensor x = kit_tensor(&k, ROWS, COLS), add = kit_tensor(&k, ROWS, COLS);
        hd_tensor out = kit_tensor(&k, ROWS, COLS), sum = kit_tensor(&k, ROWS, COLS);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLS; c++)
                kit_row(sum, r)[c] = kit_row(x, r)[c] + (with_add ? kit_row(add, r)[c] : 0.0f);
        k.ops->rmsnorm(k.be, out, x, with_add ? &add : NULL, g, 1e-6f);
        kit_expect_padding(out);
        for (int r = 0; r < ROWS; r++) {
            kit_expect_same(kit_row(x, r), kit_row(sum, r), COLS);
            for (int c = 0; c < COLS; c += D) {
                double mean = kit_dot(kit_row(x, r) + c, kit_row(x, r) + c, D) / D;
                for (int i = 0; i < D; i++)
                    want[c + i] = (float)(kit_row(x, r)[c + i] / sqrt(mean + 1e-6) * gain[i]);
            }
            for (int c = 0; c < COLS; c++)
                EXPECT_NEAR(kit_row(out, r)[c], want[c], 2e-6 * (fabs((double)want[c]) + 0.01));
        }
        k.ops->rmsnorm(k.be, x, x, NULL, g, 1e-6f); // in place
        for (int r = 0; r < ROWS; r++)
            kit_expect_same(kit_row(x, r), kit_row(out, r), COLS);
    }
    kit_close(&k);
}

static void rope_case(kit *k, hd_rope_pairing pairing, const int32_t *pos, int rows)
{
    enum { D = 24, FIRST = 8, ROT = 12, HEADS = 3 };
    float freq[ROT / 2], saved[HEADS * D];
    for (int i = 0; i < ROT / 2; i++)
        freq[i] = powf(10000.0f, -(float)i / (ROT / 2));
    hd_rope r = {D, FIRST, ROT, pairing, 1.25f, freq};
    hd_tensor x = kit_tensor(k, rows, HEADS * D), y = kit_tensor(k, rows, HEADS * D);
    for (int t = 0; t < rows; t++)
        memcpy(kit_row(y, t), kit_row(x, t), sizeof(saved));
    k->ops->rope(k->be, x, pos, &r);
    kit_expect_padding(x);
    for (int t = 0; t < rows; t++)
        for (int h = 0; h < HEADS; h++) {
            const float *in = kit_row(y, t) + h * D, *out = kit_row(x, t) + h * D;
            for (int c = 0; c < D; c++)
                if (c < FIRST || c >= FIRST + ROT) EXPECT(in[c] == out[c]);
            for (int i = 0; i < ROT / 2; i++) {
                int a = FIRST + (pairing == HD_ROPE_HALF ? i : 2 * i);
                int b = pairing == HD_ROPE_HALF ? a + ROT / 2 : a + 1;
                float angle = (float)pos[t] * freq[i];
                double c = 1.25 * cos((double)angle), s = 1.25 * sin((double)angle);
                EXPECT_NEAR(out[a], in[a] * c - in[b] * s, 3e-6);
                EXPECT_NEAR(out[b], in[b] * c + in[a] * s, 3e-6);
            }
        }
}

static void rope_both_pairings(void)
{
    enum { ROWS = 21 };
    kit k;
    int32_t pos[ROWS];
    kit_open(&k, three);
    for (int i = 0; i < ROWS; i++)
        pos[i] = i < 5 ? i : 1000 * i;
    rope_case(&k, HD_ROPE_HALF, pos, ROWS);
    rope_case(&k, HD_ROPE_INTERLEAVED, pos, ROWS);
    for (int step = 0; step < 2; step++) { // positions change behind the same address
        k.ops->step_begin(k.be, 1);
        for (int use = 0; use < 3; use++)
            rope_case(&k, HD_ROPE_HALF, pos, use == 0 ? 7 : ROWS);
        k.ops->step_end(k.be);
        for (int i = 0; i < ROWS; i++)
            pos[i] += 17;
    }
    pos[3] = 99; // and outside of steps
    rope_case(&k, HD_ROPE_HALF, pos, ROWS);
    kit_close(&k);
}

static double silu(double g)
{
    return g / (1 + exp(-g));
}

static void glu_with_and_without_limit(void)
{
    enum { ROWS = 9, F = 37 };
    kit k;
    kit_open(&k, three);
    for (int i = 0; i < 2; i++) {
        float limit = i ? 0.7f : 0.0f;
        hd_act act = {HD_ACT_SILU, limit};
        hd_tensor x = kit_tensor(&k, ROWS, 2 * F), out = kit_tensor(&k, ROWS, F);
        k.ops->glu(k.be, out, x, act);
        kit_expect_padding(out);
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < F; c++) {
                double g = kit_row(x, r)[c], u = kit_row(x, r)[F + c];
                if (i) g = fmin(g, limit), u = fmax(fmin(u, limit), -limit);
                EXPECT_NEAR(kit_row(out, r)[c], silu(g) * u, 2e-6);
            }
        k.ops->glu(k.be, hd_tensor_cols(x, 0, F), x, act); // onto the gate
        for (int r = 0; r < ROWS; r++)
            kit_expect_same(kit_row(x, r), kit_row(out, r), F);
    }
    kit_close(&k);
}

static void add_and_gather(void)
{
    enum { ROWS = 10, COLS = 37 };
    kit k;
    int32_t pick[4] = {9, 0, 3, 3};
    kit_open(&k, three);
    hd_tensor x = kit_tensor(&k, ROWS, COLS), y = kit_tensor(&k, ROWS, COLS);
    hd_tensor sum = kit_tensor(&k, ROWS, COLS), out = kit_tensor(&k, 4, COLS);
    for (int r = 0; r < ROWS; r++)
        memcpy(kit_row(sum, r), kit_row(x, r), COLS * sizeof(float));
    k.ops->add(k.be, sum, y, 0.5f);
    kit_expect_padding(sum);
    for (int r = 0; r < ROWS; r++) // half of y is exact, so fusing changes nothing
        for (int c = 0; c < COLS; c++)
            EXPECT(kit_row(sum, r)[c] == kit_row(x, r)[c] + 0.5f * kit_row(y, r)[c]);
    k.ops->gather(k.be, out, sum, pick);
    kit_expect_padding(out);
    for (int i = 0; i < 4; i++)
        kit_expect_same(kit_row(out, i), kit_row(sum, pick[i]), COLS);
    k.ops->all_reduce(k.be, out, &hd_comm_self);
    for (int i = 0; i < 4; i++)
        kit_expect_same(kit_row(out, i), kit_row(sum, pick[i]), COLS);
    kit_close(&k);
}

HD_TEST_MAIN("backend", {"opens_devices", opens_devices},
             {"refuses_broken_plugins", refuses_broken_plugins}, {"judges_plugins", judges_plugins},
             {"open_survives_no_memory", open_survives_no_memory}, {"linear_ref", linear_ref},
             {"linear_best", linear_best}, {"linear_of_no_rows", linear_of_no_rows},
             {"fused_parts", fused_parts}, {"rows_ignore_company", rows_ignore_company},
             {"deterministic_means_any_number_of_rows", deterministic_means_any_number_of_rows},
             {"heads_equal_matrices", heads_equal_matrices},
             {"work_memory_failures_reach_sync", work_memory_failures_reach_sync},
             {"threads_do_not_change_gemm", threads_do_not_change_gemm},
             {"second_step_allocates_nothing", second_step_allocates_nothing},
             {"memory_and_copies", memory_and_copies},
             {"scratch_repeats_addresses", scratch_repeats_addresses},
             {"rmsnorm_groups_and_add", rmsnorm_groups_and_add},
             {"rope_both_pairings", rope_both_pairings},
             {"glu_with_and_without_limit", glu_with_and_without_limit},
             {"add_and_gather", add_and_gather})
