// Packing of the CPU backend: what sources become, block scales, transposed sources, filling by
// several threads, and what is refused.
#include "kernels/cpu/cpu.h"
#include "tests/unit/be_kit.h"

static const kit_cfg one = {"cpu", 1, KIT_ALL_LEVELS, false};
static const kit_cfg three = {"cpu", 3, KIT_ALL_LEVELS, false};
static const kit_cfg ref = {"cpu", 1, 0, false};

static void packs_and_converts(void)
{
    static const hd_dtype wants[] = {HD_DTYPE_NONE, HD_F32, HD_F16, HD_BF16, HD_Q8_0};
    enum { N_OUT = 5, N_IN = 96 };
    kit k;
    kit_open(&k, one);
    float *w = kit_floats(&k, N_OUT * N_IN), code[N_IN], want[N_IN];
    for (int i = 0; i < 5; i++) {
        hd_weight_info info;
        hd_weight *p = kit_matrix(&k, w, HD_F32, 1, N_OUT, N_IN, wants[i]);
        const hd_dtype_traits *t = hd_dtype_get(i == 0 ? HD_F32 : wants[i]);
        k.ops->weight_info(k.be, p, &info);
        EXPECT_INT(info.n_out, N_OUT);
        EXPECT_INT(info.dtype, i == 0 ? HD_F32 : wants[i]);
        EXPECT(info.bytes >= hd_row_bytes(info.dtype, N_IN) * N_OUT);
        hd_tensor got = kit_rows_of(&k, p);
        for (int r = 0; r < N_OUT; r++) {
            t->from_f32(w + r * N_IN, code, N_IN);
            t->to_f32(code, want, N_IN);
            kit_expect_same(kit_row(got, r), want, N_IN);
        }
    }
    kit_close(&k);
}

static void pack_names_what_is_wrong(void)
{
    kit k;
    hd_err err;
    hd_weight *w = NULL;
    float data[80] = {0};
    kit_open(&k, one);
    hd_weight_src s = kit_src("layer.7.weight", data, HD_F32, 2, 40);
    hd_weight_spec spec = {"layer.7", &s, 1, 1, 40, HD_Q8_0};
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "layer.7.weight: rows of 40 elements");
    EXPECT(w == NULL);
    spec.want = HD_I8;
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    spec.want = HD_DTYPE_NONE;
    spec.n_in = 41;
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "layer.7.weight: shape [2, 40], expected [2, 41]");
    s.dtype = HD_I32;
    spec.n_in = 40;
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "i32");
    kit_close(&k);
}

static void pack_survives_no_memory(void)
{
    kit k;
    hd_err err;
    hd_weight *w = NULL;
    hd_status st = HD_E_NOMEM;
    kit_open(&k, one);
    float *data = kit_floats(&k, 64 * 4);
    hd_weight_src s = kit_src("w", data, HD_F32, 4, 64);
    hd_weight_spec spec = {"w", &s, 1, 1, 64, HD_Q8_0};
    int n = 0;
    for (; st != HD_OK; n++) {
        size_t before = hd_mem_big_bytes();
        hd_mem_fail_at(n + 1, false);
        st = hd_backend_pack(k.be, &spec, &w, &err);
        hd_mem_fail_at(0, false);
        if (st == HD_OK) break;
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(w == NULL);
        EXPECT_INT(hd_mem_big_bytes(), before);
    }
    EXPECT(n >= 3);
    k.ops->weight_free(k.be, w);
    k.ops->weight_free(k.be, NULL);
    kit_close(&k);
}

typedef struct fp8 { // rows [first, first + n_out) of a tensor with block scales
    int n_out, n_in, first, block_rows, block_cols;
    hd_dtype scale_dtype, want, stored;
} fp8;

static int blocks(int n, int block)
{
    return (n + block - 1) / block;
}

// Scales by powers of two, so that every type of scale holds them.
static float fp8_scale(const fp8 *f, int r, int c)
{
    int i = (f->first + r) / f->block_rows * blocks(f->n_in, f->block_cols) + c / f->block_cols;
    return ldexpf(1, i * 7 % 11 - 8);
}

// Codes without NaN; the scales of the whole tensor, which has some rows behind those asked for.
static hd_weight_src fp8_src(kit *k, const fp8 *f)
{
    hd_weight_src s = kit_src("fp8.weight", kit_blocks(k, HD_F8_E4M3, (int64_t)f->n_out * f->n_in),
                              HD_F8_E4M3, f->n_out, f->n_in);
    s.scale_block_rows = f->block_rows;
    s.scale_block_cols = f->block_cols;
    s.scale_rows = blocks(f->first + f->n_out, f->block_rows) + (f->first > 0);
    s.scale_cols = blocks(f->n_in, f->block_cols);
    s.scale_first_row = f->first;
    s.scale_dtype = f->scale_dtype;
    size_t width = hd_row_bytes(f->scale_dtype, 1);
    char *stored = kit_alloc(k, width * (size_t)(s.scale_rows * s.scale_cols));
    for (int i = 0; i < s.scale_rows * s.scale_cols; i++) {
        float v = ldexpf(1, i * 7 % 11 - 8);
        if (f->scale_dtype == HD_F8_E8M0)
            stored[i] = (char)(127 + i * 7 % 11 - 8);
        else
            hd_dtype_get(f->scale_dtype)->from_f32(&v, stored + width * (size_t)i, 1);
    }
    s.scale = stored;
    return s;
}

static void fp8_case(kit *k, fp8 f)
{
    float exact[512], want[512];
    uint8_t block[4 * 512];
    hd_weight_src s = fp8_src(k, &f);
    hd_weight_spec spec = {"fp8", &s, 1, 1, f.n_in, f.want};
    hd_weight_info info;
    hd_weight *p = kit_pack(k, &spec);
    hd_tensor got = kit_rows_of(k, p);
    const hd_dtype_traits *t = hd_dtype_get(f.stored);
    k->ops->weight_info(k->be, p, &info);
    EXPECT_INT(info.dtype, f.stored);
    for (int r = 0; r < f.n_out; r++) {
        const uint8_t *q = (const uint8_t *)s.data + r * f.n_in;
        for (int c = 0; c < f.n_in; c++)
            exact[c] = hd_e4m3_f32(q[c]) * fp8_scale(&f, r, c);
        memcpy(want, exact, sizeof(want));
        if (f.want != HD_DTYPE_NONE) { // re-encoded; by itself nothing is lost
            t->from_f32(exact, block, f.n_in);
            t->to_f32(block, want, f.n_in);
        }
        kit_expect_same(kit_row(got, r), want, f.n_in);
    }
}

static void packs_fp8_blocks(void)
{
    static const fp8 cases[] = {
        {130, 256, 0, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128},
        {576, 128, 0, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128}, // 5 rows of blocks
        {130, 384, 0, 128, 128, HD_F8_E8M0, HD_DTYPE_NONE, HD_F8_B128},
        {130, 384, 0, 128, 128, HD_BF16, HD_DTYPE_NONE, HD_F8_B128},
        {130, 384, 0, 128, 128, HD_F16, HD_DTYPE_NONE, HD_F8_B128},
        {70, 512, 0, 32, 256, HD_F32, HD_DTYPE_NONE, HD_F8_B128},
        {9, 128, 0, 1, 200, HD_F32, HD_DTYPE_NONE, HD_F8_B128}, // a scale per row
        {9, 256, 64, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128},
        {130, 256, 64, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128},
        {130, 256, 127, 128, 128, HD_F8_E8M0, HD_DTYPE_NONE, HD_F8_B128},
        {130, 256, 575, 128, 128, HD_F32, HD_F32, HD_F32},
        {130, 200, 0, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F32}, // rows end inside a block
        {40, 256, 0, 32, 32, HD_F8_E8M0, HD_DTYPE_NONE, HD_F32},
        {130, 200, 0, 128, 128, HD_F8_E8M0, HD_F32, HD_F32},
        {130, 200, 3, 128, 128, HD_BF16, HD_BF16, HD_BF16},
        {130, 256, 3, 128, 128, HD_F32, HD_BF16, HD_BF16},
        {130, 256, 3, 128, 128, HD_F32, HD_Q8_0, HD_Q8_0},
        {130, 256, 3, 128, 128, HD_F32, HD_Q4_K, HD_Q4_K},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        kit k;
        kit_open(&k, i % 2 ? one : ref);
        fp8_case(&k, cases[i]);
        kit_close(&k);
    }
}

static void expect_refused(kit *k, const hd_weight_src *s, hd_status want, const char *text)
{
    hd_err err = {HD_OK, ""};
    hd_weight *w = NULL;
    hd_weight_spec spec = {"fp8", s, 1, 1, s->n_in, HD_DTYPE_NONE};
    EXPECT_INT(hd_backend_pack(k->be, &spec, &w, &err), want);
    EXPECT_STR(err.msg, text);
    EXPECT(w == NULL);
}

// The same on the dry backend, which has no data to look at.
static void refuses_fp8_scales(const char *device)
{
    const fp8 f = {130, 256, 0, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128};
    bool dry = strcmp(device, "dry") == 0;
    kit k;
    kit_cfg cfg = {device, 1, KIT_ALL_LEVELS, false};
    kit_open(&k, cfg);
    const hd_weight_src good = fp8_src(&k, &f);
    hd_weight_src s = good;
    s.scale_cols = 1;
    expect_refused(&k, &s, HD_E_INVAL,
                   "fp8.weight: block scales of shape [2, 1], expected [2, 2] for rows 0 to 130");
    s = good;
    s.scale_first_row = 127;
    expect_refused(&k, &s, HD_E_INVAL,
                   "fp8.weight: block scales of shape [2, 2], expected [3, 2] for rows 127 to 257");
    s.scale_first_row = INT32_MAX;
    EXPECT(hd_weight_src_check(&s, &(hd_weight_spec){"fp8", &s, 1, 1, 256, HD_DTYPE_NONE}, 130,
                               HD_F8_B128, NULL) == HD_E_INVAL);
    s = good;
    s.scale_block_rows = 0;
    expect_refused(&k, &s, HD_E_INVAL,
                   "fp8.weight: scale blocks of [0, 128] from row 0 on, expected at least [1, 1] "
                   "and 0");
    s = good;
    s.scale_dtype = HD_I8;
    expect_refused(&k, &s, HD_E_UNSUPPORTED,
                   "fp8.weight: block scales of type i8, expected f32, bf16, f16 or e8m0");
    s = good;
    s.dtype = HD_Q8_0;
    expect_refused(&k, &s, HD_E_UNSUPPORTED,
                   "fp8.weight: block scales beside type q8_0, expected a scalar type");
    s = good;
    s.transposed = true;
    expect_refused(&k, &s, HD_E_UNSUPPORTED, "fp8.weight: transposed with block scales");
    s = good;
    s.scale = NULL;
    if (!dry) expect_refused(&k, &s, HD_E_INVAL, "fp8.weight: no data of block scales");
    s.dtype = HD_DTYPE_NONE;
    expect_refused(&k, &s, HD_E_UNSUPPORTED, "fp8.weight: type none cannot be a weight");
    kit_close(&k);
}

static void refuses_wrong_fp8_scales(void)
{
    refuses_fp8_scales("cpu");
    refuses_fp8_scales("dry");
}

// A NaN code makes its block NaN, not only itself; so does a NaN scale. A scale too large for the
// kernels is refused.
static void keeps_the_promises_of_fp8_blocks(void)
{
    const fp8 f = {3, 256, 0, 1, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128};
    kit k;
    kit_open(&k, one);
    hd_weight_src s = fp8_src(&k, &f);
    uint8_t *q = kit_alloc(&k, 3 * 256);
    float *scale = kit_alloc(&k, 6 * sizeof(float));
    memcpy(q, s.data, 3 * 256);
    memcpy(scale, s.scale, 6 * sizeof(float));
    q[256 + 128 + 5] = 0xff;
    scale[1] = INFINITY;
    scale[4] = NAN;
    s.data = q;
    s.scale = scale;
    hd_weight_spec spec = {"fp8", &s, 1, 1, 256, HD_DTYPE_NONE};
    hd_tensor got = kit_rows_of(&k, kit_pack(&k, &spec)), x = kit_tensor(&k, 1, 256);
    hd_tensor out = kit_tensor(&k, 1, 3);
    for (int c = 0; c < 256; c++) {
        EXPECT(c < 128 ? isfinite(kit_row(got, 0)[c]) : !isfinite(kit_row(got, 0)[c]));
        EXPECT(c < 128 ? isfinite(kit_row(got, 1)[c]) : isnan(kit_row(got, 1)[c]));
        EXPECT(c >= 128 ? isfinite(kit_row(got, 2)[c]) : isnan(kit_row(got, 2)[c]));
    }
    k.ops->linear(k.be, out, x, k.weight[k.n_weight - 1], NULL);
    for (int r = 0; r < 3; r++)
        EXPECT(!isfinite(kit_row(out, 0)[r]));
    scale[3] = 0x1p120f;
    expect_refused(&k, &s, HD_E_CORRUPT,
                   "fp8.weight: block scale 1.32923e+36 at row 1, column 128, expected less than "
                   "2^120");
    kit_close(&k);
}

// Kept in blocks or expanded, the same bits come out, with the own kernels and through BLAS.
static void fp8_equals_floats(void)
{
    enum { N_OUT = 200, N_IN = 1152 };
    const fp8 f = {N_OUT, N_IN, 0, 128, 128, HD_F32, HD_DTYPE_NONE, HD_F8_B128};
    static const int rows[] = {1, 2, 5, 16, 17, 60};
    static const kit_cfg cfgs[] = {{"cpu", 1, 0, false}, {"cpu", 3, KIT_ALL_LEVELS, false}};
    for (int i = 0; i < 2; i++) {
        kit k;
        kit_open(&k, cfgs[i]);
        hd_weight_src s = fp8_src(&k, &f);
        hd_weight_spec kept = {"fp8", &s, 1, 1, N_IN, HD_DTYPE_NONE}, expanded = kept;
        expanded.want = HD_F32;
        hd_weight *a = kit_pack(&k, &kept), *b = kit_pack(&k, &expanded);
        for (int n = 0; n < 6; n++) {
            hd_tensor x = kit_tensor(&k, rows[n], N_IN), y = kit_tensor(&k, rows[n], N_OUT);
            hd_tensor z = kit_tensor(&k, rows[n], N_OUT);
            k.ops->linear(k.be, y, x, a, NULL);
            k.ops->linear(k.be, z, x, b, NULL);
            for (int r = 0; r < rows[n]; r++)
                kit_expect_same(kit_row(y, r), kit_row(z, r), N_OUT);
        }
        kit_close(&k);
    }
}

static void transposed_case(kit *k, hd_dtype from, hd_dtype want, int n_out, int n_in)
{
    const hd_dtype_traits *t = hd_dtype_get(from);
    hd_weight_src s = kit_src("k_b", kit_blocks(k, from, (int64_t)n_in * n_out), from, n_out, n_in);
    s.transposed = true;
    hd_weight_spec spec = {"kv_b", &s, 1, 1, n_in, want};
    hd_tensor got = kit_rows_of(k, kit_pack(k, &spec));
    float *all = kit_floats(k, (int64_t)n_in * n_out), row[256], exact[256];
    uint8_t block[4 * 256];
    const hd_dtype_traits *to = hd_dtype_get(want == HD_DTYPE_NONE ? from : want);
    t->to_f32(s.data, all, (int64_t)n_in * n_out);
    for (int r = 0; r < n_out; r++) {
        for (int c = 0; c < n_in; c++)
            exact[c] = all[c * n_out + r];
        to->from_f32(exact, block, n_in);
        to->to_f32(block, row, n_in);
        kit_expect_same(kit_row(got, r), row, n_in);
    }
}

static void packs_transposed(void)
{
    hd_err err;
    hd_weight *w = NULL;
    kit k;
    kit_open(&k, one);
    transposed_case(&k, HD_F32, HD_DTYPE_NONE, 7, 33);
    transposed_case(&k, HD_BF16, HD_DTYPE_NONE, 64, 100);
    transposed_case(&k, HD_BF16, HD_Q8_0, 7, 96);
    transposed_case(&k, HD_Q8_0, HD_BF16, 64, 33); // blocks of the source run along n_out
    transposed_case(&k, HD_Q8_0, HD_DTYPE_NONE, 32, 64);
    transposed_case(&k, HD_Q4_K, HD_Q8_0, 256, 64);
    hd_weight_src s = kit_src("k_b", kit_blocks(&k, HD_Q8_0, 64 * 32), HD_Q8_0, 33, 64);
    hd_weight_spec spec = {"kv_b", &s, 1, 1, 64, HD_BF16};
    s.transposed = true;
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    EXPECT_STR(err.msg, "k_b: rows of 33 elements do not divide into blocks of 32 (q8_0)");
    s.n_out = 32;
    spec.want = HD_DTYPE_NONE;
    s.dtype = HD_Q5_0; // kept as it is it cannot be transposed: nobody writes it
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    EXPECT_STR(err.msg, "k_b: type q5_0 cannot be converted to q5_0");
    kit_close(&k);
}

// Matrices of two parts of different origin, filled by several threads at once.
typedef struct filling {
    kit *k;
    hd_weight *w;
    const hd_weight_spec *spec;
    hd_status st[8];
} filling;

static void fill_task(void *ctx, int task, int worker)
{
    filling *f = ctx;
    hd_err err;
    (void)worker;
    f->st[task] = f->k->ops->weight_fill(f->k->be, f->w, f->spec, 2 * task, 2, &err);
}

static void fills_by_ranges(void)
{
    enum { N_MAT = 16, N_IN = 128 };
    const fp8 f = {24, N_IN, 40, 32, 128, HD_F8_E8M0, HD_DTYPE_NONE, HD_F8_B128};
    kit k;
    hd_err err;
    hd_weight_src src[2 * N_MAT];
    kit_open(&k, three);
    for (int m = 0; m < N_MAT; m++) {
        src[2 * m] = fp8_src(&k, &f);
        src[2 * m + 1] = kit_src("b", kit_blocks(&k, HD_BF16, 9 * N_IN), HD_BF16, 9, N_IN);
        src[2 * m + 1].transposed = true;
    }
    hd_weight_spec spec = {"stack", src, N_MAT, 2, N_IN, HD_DTYPE_NONE};
    hd_weight *whole = kit_pack(&k, &spec);
    filling fill = {.k = &k, .spec = &spec};
    EXPECT_INT(k.ops->weight_new(k.be, &spec, &fill.w, &err), HD_OK);
    hd_pool_run(k.pool, fill_task, &fill, 8);
    for (int i = 0; i < 8; i++)
        EXPECT_INT(fill.st[i], HD_OK);
    EXPECT_INT(fill.w->bytes, whole->bytes);
    EXPECT(memcmp(fill.w->data, whole->data, whole->bytes) == 0);
    k.ops->weight_free(k.be, fill.w);
    kit_close(&k);
}

HD_TEST_MAIN("pack", {"packs_and_converts", packs_and_converts},
             {"pack_names_what_is_wrong", pack_names_what_is_wrong},
             {"pack_survives_no_memory", pack_survives_no_memory},
             {"packs_fp8_blocks", packs_fp8_blocks},
             {"refuses_wrong_fp8_scales", refuses_wrong_fp8_scales},
             {"keeps_the_promises_of_fp8_blocks", keeps_the_promises_of_fp8_blocks},
             {"fp8_equals_floats", fp8_equals_floats}, {"packs_transposed", packs_transposed},
             {"fills_by_ranges", fills_by_ranges})
