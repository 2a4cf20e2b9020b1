// Direct stepping: which rows are handed out, chunking, limits, and what feeding costs.
#include "engine/runner.h"
#include "tests/unit/engine_kit.h"

static hd_runner *open_runner(const hd_engine_cfg *c)
{
    hd_runner *r = NULL;
    hd_err err = {HD_OK, ""};
    hd_runner_open(c, &r, &err);
    EXPECT_STR(err.msg, "");
    return r;
}

typedef struct rows {
    int32_t n, first, last, stop_at;
    float logit[TINY_CONTEXT][TINY_VOCAB];
} rows;

static hd_status keep(void *ctx, int32_t pos, const float *logits, int32_t vocab)
{
    rows *r = ctx;
    EXPECT_INT(vocab, TINY_VOCAB);
    if (r->stop_at && pos == r->stop_at) return HD_E_IO;
    if (r->n == 0) r->first = pos;
    r->last = pos;
    memcpy(r->logit[r->n++], logits, sizeof(r->logit[0]));
    return HD_OK;
}

static void make_ids(int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = i * 37 % 250;
}

static void chunks_give_the_same_rows(void)
{
    enum { N = 200 };
    hd_engine_cfg c = kit_cfg();
    static rows whole, part;
    hd_err err;
    int32_t ids[N];
    make_ids(ids, N);
    hd_runner *r = open_runner(&c);
    EXPECT_INT(hd_runner_feed(r, ids, N, 0, HD_WANT_ALL, keep, &whole, &err), HD_OK);
    EXPECT_INT(whole.n, N);
    EXPECT_INT(whole.first, 0);
    EXPECT_INT(whole.last, N - 1);
    EXPECT_INT(hd_runner_len(r), N);
    const int32_t chunk[] = {1, 7, 64, 100000};
    for (int i = 0; i < 4; i++) {
        hd_runner_reset(r);
        EXPECT_INT(hd_runner_len(r), 0);
        part.n = 0;
        EXPECT_INT(hd_runner_feed(r, ids, N, chunk[i], HD_WANT_ALL, keep, &part, &err), HD_OK);
        EXPECT_INT(part.n, N);
        EXPECT(memcmp(whole.logit, part.logit, N * sizeof(whole.logit[0])) == 0);
    }
    hd_runner_close(r);
    hd_runner_close(NULL);
}

static void only_what_is_wanted(void)
{
    hd_engine_cfg c = kit_cfg();
    static rows all, got;
    hd_err err;
    int32_t ids[100];
    make_ids(ids, 100);
    c.max_step_tokens = 13;
    hd_runner *r = open_runner(&c);
    EXPECT_INT(hd_runner_feed(r, ids, 100, 0, HD_WANT_ALL, keep, &all, &err), HD_OK);
    hd_runner_reset(r);
    EXPECT_INT(hd_runner_feed(r, ids, 60, 0, HD_WANT_NONE, NULL, NULL, &err), HD_OK);
    EXPECT_INT(hd_runner_feed(r, ids + 60, 0, 0, HD_WANT_LAST, keep, &got, &err), HD_OK);
    EXPECT_INT(got.n, 0);
    EXPECT_INT(hd_runner_feed(r, ids + 60, 40, 0, HD_WANT_LAST, keep, &got, &err), HD_OK);
    EXPECT_INT(got.n, 1);
    EXPECT_INT(got.first, 99);
    EXPECT(memcmp(all.logit[99], got.logit[0], sizeof(got.logit[0])) == 0);
    hd_runner_close(r);
}

static void what_is_refused(void)
{
    hd_engine_cfg c = kit_cfg();
    static rows got;
    hd_err err;
    int32_t ids[TINY_CONTEXT + 1];
    make_ids(ids, TINY_CONTEXT + 1);
    hd_runner *r = open_runner(&c);
    EXPECT_INT(hd_runner_feed(r, ids, TINY_CONTEXT + 1, 0, HD_WANT_NONE, NULL, NULL, &err),
               HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "513");
    EXPECT_INT(hd_runner_feed(r, ids, TINY_CONTEXT, 0, HD_WANT_NONE, NULL, NULL, &err), HD_OK);
    EXPECT_INT(hd_runner_feed(r, ids, 1, 0, HD_WANT_NONE, NULL, NULL, &err), HD_E_LIMIT);
    hd_runner_reset(r);
    ids[5] = TINY_VOCAB;
    EXPECT_INT(hd_runner_feed(r, ids, 10, 0, HD_WANT_NONE, NULL, NULL, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "token 5 of 10: id 272");
    EXPECT_INT(hd_runner_len(r), 0);
    ids[5] = 0;
    got.stop_at = 7; // the reader's failure ends feeding
    EXPECT_INT(hd_runner_feed(r, ids, 10, 4, HD_WANT_ALL, keep, &got, &err), HD_E_IO);
    EXPECT_INT(got.n, 7);
    EXPECT_INT(hd_runner_len(r), 8);
    hd_runner_close(r);
}

// From the shapes of the tiny model: d 32, 2 layers, q|k|v 64 rows, o 32, gate|up 96, down 32 x 48,
// head 272; keys and values of 16 floats each.
static void cost_is_what_the_shapes_say(void)
{
    hd_engine_cfg c = kit_cfg();
    hd_dry_cost one, prompt, deep;
    hd_runner *r = open_runner(&c);
    const double layer = 64 * 32 + 32 * 32 + 96 * 32 + 32 * 48, head = 272 * 32;
    const double norms = 5 * 32, row = 32;
    hd_runner_cost(r, 1, 0, &one);
    // F32 in memory; the embedding gives one row.
    EXPECT_NEAR(one.weight_bytes, 4 * (2 * layer + head + norms + row), 0.02 * one.weight_bytes);
    EXPECT_NEAR(one.kv_bytes, 2 * 2 * 16 * 4 * 2, 1); // written and read back
    hd_runner_cost(r, 100, 0, &prompt);
    EXPECT(prompt.weight_bytes < 1.2 * one.weight_bytes); // one step reads the weights once
    // Matrices and attention over i keys for token i; norms and the like are a few percent more.
    const double attn = 2 * 2 * 4 * 16;
    double want = 2 * (2 * layer + head) + attn;
    EXPECT_NEAR(one.flops, 1.03 * want, 0.03 * want);
    want = 2 * (100 * 2 * layer + head) + attn * 5050;
    EXPECT_NEAR(prompt.flops, 1.03 * want, 0.03 * want);
    hd_runner_cost(r, 1, 400, &deep);
    EXPECT_NEAR(deep.kv_bytes, 2 * 2 * 16 * 4 * (401 + 1), 1);
    EXPECT(deep.weight_bytes == one.weight_bytes);
    hd_runner_close(r);
    c.max_step_tokens = 10; // the same prompt in ten steps
    r = open_runner(&c);
    hd_dry_cost steps;
    hd_runner_cost(r, 100, 0, &steps);
    EXPECT(steps.weight_bytes > 9 * one.weight_bytes);
    hd_runner_close(r);
}

HD_TEST_MAIN("runner", {"chunks_give_the_same_rows", chunks_give_the_same_rows},
             {"only_what_is_wanted", only_what_is_wanted}, {"what_is_refused", what_is_refused},
             {"cost_is_what_the_shapes_say", cost_is_what_the_shapes_say})
