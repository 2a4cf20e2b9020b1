// The dry backend: wrong shapes are named, costs of small known cases are exact.
#include "tests/unit/be_kit.h"

static const kit_cfg dry = {"dry", 1, 0, false};

// A weight without data.
static hd_weight *shaped(kit *k, const char *name, hd_dtype t, int n_mat, int n_out, int n_in)
{
    hd_weight_src *src = kit_alloc(k, (size_t)n_mat * sizeof(*src));
    for (int m = 0; m < n_mat; m++)
        src[m] = kit_src(name, NULL, t, n_out, n_in);
    hd_weight_spec spec = {name, src, n_mat, 1, n_in, HD_DTYPE_NONE};
    return kit_pack(k, &spec);
}

static hd_tensor fake(hd_dtype t, int rows, int cols)
{
    hd_tensor x = {NULL, t, rows, cols, (int64_t)hd_row_bytes(t, cols)};
    return x;
}

// The first error since the backend was opened, then a fresh backend.
static void expect_error(kit *k, const char *text)
{
    hd_err err = {HD_OK, ""};
    EXPECT_INT(k->ops->sync(k->be, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, text);
    for (int i = 0; i < k->n_weight; i++)
        k->ops->weight_free(k->be, k->weight[i]);
    k->n_weight = 0;
    hd_backend_close(k->be);
    hd_device_cfg cfg = {"dry", NULL, 0, false, NULL};
    EXPECT_INT(hd_backend_open(&cfg, &k->be, &err), HD_OK);
}

static void holds_nothing(void)
{
    kit k;
    hd_err err;
    hd_weight_info info;
    void *p = &k;
    kit_open(&k, dry);
    EXPECT_INT(k.ops->alloc(k.be, (size_t)1 << 50, HD_MEM_KV, &p, &err), HD_OK);
    EXPECT(p == NULL);
    k.ops->upload(k.be, p, &k, 100);
    k.ops->release(k.be, p);
    hd_weight *w = shaped(&k, "huge", HD_Q4_K, 256, 2048, 7168);
    k.ops->weight_info(k.be, w, &info);
    EXPECT_INT(info.n_mat, 256);
    EXPECT_INT(info.bytes, 256LL * 2048 * 7168 / 256 * 144);
    kit_close(&k);
}

static void pack_checks_shapes(void)
{
    kit k;
    hd_err err;
    hd_weight *w = NULL;
    kit_open(&k, dry);
    hd_weight_src src[2] = {kit_src("a", NULL, HD_BF16, 4, 64), kit_src("b", NULL, HD_BF16, 4, 32)};
    hd_weight_spec spec = {"fused", src, 1, 2, 64, HD_DTYPE_NONE};
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "b: shape [4, 32], expected [4, 64]");
    EXPECT(w == NULL);
    src[1].n_in = 64;
    spec.want = HD_Q4_K;
    EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "a: rows of 64 elements");
    spec.want = HD_Q8_0;
    for (int n = 1; n <= 3; n++) {
        hd_mem_fail_at(n, false);
        EXPECT_INT(hd_backend_pack(k.be, &spec, &w, &err), HD_E_NOMEM);
        hd_mem_fail_at(0, false);
    }
    kit_close(&k);
}

// What scaled FP8 becomes is known without data.
static void sizes_of_fp8(void)
{
    static const struct {
        int n_in, block_cols;
        hd_dtype want, stored;
        int row_bytes;
    } cases[] = {{7168, 128, HD_DTYPE_NONE, HD_F8_B128, 7168 / 128 * 132},
                 {7168, 32, HD_DTYPE_NONE, HD_F32, 7168 * 4},
                 {200, 128, HD_DTYPE_NONE, HD_F32, 800},
                 {7168, 128, HD_Q4_K, HD_Q4_K, 7168 / 256 * 144},
                 {7168, 128, HD_BF16, HD_BF16, 7168 * 2}};
    kit k;
    kit_open(&k, dry);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        hd_weight_src s = kit_src("w", NULL, HD_F8_E4M3, 576, cases[i].n_in);
        s.scale_block_rows = 128;
        s.scale_block_cols = cases[i].block_cols;
        s.scale_rows = 5;
        s.scale_cols = (cases[i].n_in + s.scale_block_cols - 1) / s.scale_block_cols;
        hd_weight_spec spec = {"w", &s, 1, 1, s.n_in, cases[i].want};
        hd_weight_info info;
        k.ops->weight_info(k.be, kit_pack(&k, &spec), &info);
        EXPECT_INT(info.dtype, cases[i].stored);
        EXPECT_INT(info.bytes, 576 * cases[i].row_bytes);
    }
    hd_weight_info info;
    k.ops->weight_info(k.be, shaped(&k, "plain", HD_F8_E4M3, 1, 4, 128), &info);
    EXPECT_INT(info.dtype, HD_F8_E4M3);
    kit_close(&k);
}

static void names_wrong_shapes(void)
{
    kit k;
    kit_open(&k, dry);
    k.ops->linear(k.be, fake(HD_F32, 3, 8), fake(HD_F32, 3, 33),
                  shaped(&k, "layer.2.q", HD_BF16, 1, 8, 32), NULL);
    k.ops->add(k.be, fake(HD_F32, 1, 2), fake(HD_F32, 2, 1), 1); // only the first is kept
    expect_error(&k, "linear: w (layer.2.q): shape [1, 8, 32], expected [1, 8, 33]");

    k.ops->linear(k.be, fake(HD_F32, 2, 8), fake(HD_F32, 3, 32), shaped(&k, "w", HD_BF16, 1, 8, 32),
                  NULL);
    expect_error(&k, "linear: out: shape [2, 8], expected [3, 8]");

    k.ops->linear(k.be, fake(HD_F32, 2, 8), fake(HD_BF16, 2, 32),
                  shaped(&k, "w", HD_BF16, 1, 8, 32), NULL);
    expect_error(&k, "linear: x: type bf16, expected f32");

    hd_tensor tight = fake(HD_F32, 2, 32);
    tight.stride = 64;
    k.ops->linear(k.be, fake(HD_F32, 2, 8), tight, shaped(&k, "w", HD_BF16, 1, 8, 32), NULL);
    expect_error(&k, "linear: x: rows of 128 bytes lie 64 bytes apart");

    k.ops->rmsnorm(k.be, fake(HD_F32, 1, 48), fake(HD_F32, 1, 48), NULL,
                   shaped(&k, "g", HD_F32, 1, 32, 1), 1e-6f);
    expect_error(&k, "rmsnorm: x: 48 columns, expected a multiple of 32 (gain)");

    hd_rope r = {64, 32, 40, HD_ROPE_HALF, 1, NULL};
    k.ops->rope(k.be, fake(HD_F32, 1, 128), NULL, &r);
    expect_error(&k, "rope: slice [32, 72) of heads of 64 columns, expected an even slice inside");

    hd_kv_plane plane = {NULL, HD_BF16, 100, 64};
    hd_batch b = {.n_tokens = 4, .n_seqs = 1, .max_q = 4, .max_pages = 1};
    k.ops->kv_store(k.be, &plane, fake(HD_F32, 4, 96), &b);
    expect_error(&k, "kv_store: src: shape [4, 96], expected [4, 100]");

    hd_attn a = {8, 2, 32, 32, 0, 1, &plane, &plane, NULL, NULL};
    k.ops->attn(k.be, fake(HD_F32, 4, 256), fake(HD_F32, 4, 256), &a, &b);
    expect_error(&k, "attn: k_plane: width 100, expected 64");

    hd_gate g = {16, 4, 0, 0, HD_GATE_SOFTMAX, HD_GROUP_NONE, false, 1, NULL};
    k.ops->moe_route(k.be, fake(HD_I32, 2, 4), fake(HD_F32, 2, 4), fake(HD_F32, 2, 15), &g);
    expect_error(&k, "moe_route: scores: shape [2, 15], expected [2, 16]");

    hd_act act = {HD_ACT_SILU, 0};
    k.ops->moe_ffn(k.be, fake(HD_F32, 2, 32), fake(HD_F32, 2, 32), fake(HD_I32, 2, 4),
                   fake(HD_F32, 2, 4), shaped(&k, "gu", HD_BF16, 16, 96, 32),
                   shaped(&k, "dn", HD_BF16, 16, 32, 64), act);
    expect_error(&k, "moe_ffn: gate_up (gu): shape [16, 96, 32], expected [16, 128, 32]");

    k.ops->glu(k.be, fake(HD_F32, 2, 16), fake(HD_F32, 2, 31), act);
    expect_error(&k, "glu: gate_up: shape [2, 31], expected [2, 32]");

    k.ops->linear_heads(k.be, fake(HD_F32, 2, 16), fake(HD_F32, 2, 12),
                        shaped(&k, "h", HD_BF16, 4, 4, 4));
    expect_error(&k, "linear_heads: x: shape [2, 12], expected [2, 16]");

    k.ops->embed(k.be, fake(HD_F32, 2, 16), shaped(&k, "emb", HD_BF16, 1, 100, 32), NULL);
    expect_error(&k, "embed: table (emb): shape [1, 100, 32], expected [1, 100, 16]");

    k.ops->topk(k.be, fake(HD_I32, 2, 5), fake(HD_F32, 2, 4), fake(HD_F32, 2, 1),
                fake(HD_F32, 2, 100));
    expect_error(&k, "topk: vals: shape [2, 4], expected [2, 5]");

    k.ops->gather(k.be, fake(HD_F32, 2, 5), fake(HD_F32, 9, 4), NULL);
    expect_error(&k, "gather: out: shape [2, 5], expected [2, 4]");
    kit_close(&k);
}

static void counts_a_layer(void)
{
    enum { T = 3, D = 64, H = 4, KV = 2, DH = 16, F = 96 };
    kit k;
    hd_dry_cost c;
    kit_open(&k, dry);
    hd_weight *qkv = shaped(&k, "qkv", HD_BF16, 1, (H + 2 * KV) * DH, D);
    hd_weight *up = shaped(&k, "up", HD_Q8_0, 1, F, D);
    int32_t pos[T] = {9, 10, 0}, kv_len[2] = {11, 1}, start[3] = {0, 2, 3};
    hd_batch b = {.n_tokens = T, .n_seqs = 2, .max_q = 2, .max_pages = 1, .pos = pos};
    b.kv_len = kv_len;
    b.q_start = start;
    hd_kv_plane kp = {NULL, HD_BF16, KV * DH, 64}, vp = kp;
    hd_attn a = {H, KV, DH, DH, 0, 1, &kp, &vp, NULL, NULL};
    k.ops->step_begin(k.be, 1);
    k.ops->linear(k.be, fake(HD_F32, T, (H + 2 * KV) * DH), fake(HD_F32, T, D), qkv, NULL);
    k.ops->kv_store(k.be, &kp, fake(HD_F32, T, KV * DH), &b);
    k.ops->attn(k.be, fake(HD_F32, T, H * DH), fake(HD_F32, T, H * DH), &a, &b);
    k.ops->linear(k.be, fake(HD_F32, T, F), fake(HD_F32, T, D), up, NULL);
    k.ops->linear(k.be, fake(HD_F32, T, F), fake(HD_F32, T, D), up, NULL); // read once per step
    k.ops->step_end(k.be);
    hd_dry_get_cost(k.be, &c);
    EXPECT_INT(c.n_ops, 5);
    EXPECT_NEAR(c.flops, 2.0 * T * D * (8 * DH + 2 * F) + 2.0 * (10 + 11 + 1) * H * 2 * DH, 0.5);
    EXPECT_NEAR(c.weight_bytes, 2.0 * 8 * DH * D + F * D / 32 * 34, 0.5);
    EXPECT_NEAR(c.kv_bytes, 2.0 * T * KV * DH + (11 + 1) * 2 * 2.0 * KV * DH, 0.5);
    k.ops->step_begin(k.be, 1); // the next step starts from nothing and reads weights again
    k.ops->linear(k.be, fake(HD_F32, T, F), fake(HD_F32, T, D), up, NULL);
    hd_dry_get_cost(k.be, &c);
    EXPECT_INT(c.n_ops, 1);
    EXPECT_NEAR(c.weight_bytes, F * D / 32 * 34, 0.5);
    kit_close(&k);
}

static void counts_experts_and_unknown_batches(void)
{
    enum { E = 16, D = 64, F = 32, K = 3 };
    kit k;
    hd_dry_cost c;
    hd_act act = {HD_ACT_SILU, 0};
    kit_open(&k, dry);
    hd_weight *gu = shaped(&k, "gu", HD_BF16, E, 2 * F, D),
              *dn = shaped(&k, "dn", HD_BF16, E, D, F);
    for (int t = 2; t <= 20; t += 18) {
        double experts = t * K < E ? t * K : E;
        k.ops->step_begin(k.be, 1);
        k.ops->moe_ffn(k.be, fake(HD_F32, t, D), fake(HD_F32, t, D), fake(HD_I32, t, K),
                       fake(HD_F32, t, K), gu, dn, act);
        hd_dry_get_cost(k.be, &c);
        EXPECT_NEAR(c.weight_bytes, experts * 3 * F * D * 2, 0.5);
        EXPECT_NEAR(c.flops, 2.0 * t * K * 3 * F * D, 0.5);
    }
    // Without arrays every token sees max_pages pages; a window bounds it.
    hd_kv_plane kp = {NULL, HD_BF16, 40, 64};
    hd_batch b = {.n_tokens = 2, .n_seqs = 2, .max_q = 1, .max_pages = 10};
    hd_attn a = {8, 1, 40, 32, 0, 1, &kp, NULL, NULL, NULL};
    k.ops->step_begin(k.be, 1);
    k.ops->attn(k.be, fake(HD_F32, 2, 8 * 32), fake(HD_F32, 2, 8 * 40), &a, &b);
    hd_dry_get_cost(k.be, &c);
    EXPECT_NEAR(c.flops, 2.0 * 2 * 640 * 8 * 72, 0.5);
    EXPECT_NEAR(c.kv_bytes, 2.0 * 640 * 80, 0.5);
    a.window = 100;
    k.ops->step_begin(k.be, 1);
    k.ops->attn(k.be, fake(HD_F32, 2, 8 * 32), fake(HD_F32, 2, 8 * 40), &a, &b);
    hd_dry_get_cost(k.be, &c);
    EXPECT_NEAR(c.flops, 2.0 * 2 * 100 * 8 * 72, 0.5);
    EXPECT_NEAR(c.kv_bytes, 2.0 * 100 * 80, 0.5);
    kit_close(&k);
}

HD_TEST_MAIN("dry", {"holds_nothing", holds_nothing}, {"pack_checks_shapes", pack_checks_shapes},
             {"sizes_of_fp8", sizes_of_fp8}, {"names_wrong_shapes", names_wrong_shapes},
             {"counts_a_layer", counts_a_layer},
             {"counts_experts_and_unknown_batches", counts_experts_and_unknown_batches})
