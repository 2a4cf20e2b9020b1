// Tiny llama, qwen2 and qwen3 checkpoints against the logits that transformers computed from the
// same files: whole prompts, token by token, in odd chunks, and several sequences in one batch.
#include "tests/golden/golden_kit.h"
#include "tests/harness/test.h"

#include <stdio.h>

// Sums of float32 in another order differ by up to 4e-5 here. A norm epsilon of 1e-6 instead of
// 1e-5 moves a logit by 2e-3, a theta of 10001 instead of 10000 as much.
static const double tolerance = 1e-4;

// With weights as F32; and as they are in the file, which is exact too where it is a scalar type.
typedef enum stored { STORED_EXACT, STORED_ROUNDS } stored;

static void run(const char *name, const golden *g, const golden_setup *u, hd_dtype weights)
{
    golden_bench b;
    char label[64];
    snprintf(label, sizeof(label), "%-4s %s", hd_dtype_name(weights), u->name);
    golden_bench_open(&b, name, g, u, weights, HD_F32);
    // Own kernels promise the same bits however a prompt is cut.
    golden_run(&b, g, label, u->deterministic, tolerance);
    golden_bench_close(&b);
}

static void check(const char *name, const char *reference, stored how)
{
    golden g;
    golden_open(&g, reference);
    for (const golden_setup *u = golden_setups; u->name; u++) {
        if (!golden_can_run(u)) {
            printf("%-20s      %-11s not on this machine\n", name, u->name);
            continue;
        }
        run(name, &g, u, HD_F32);
        if (how == STORED_EXACT) run(name, &g, u, HD_DTYPE_NONE);
    }
    golden_close(&g);
}

static void llama_linear(void)
{
    check("llama_linear", "llama_linear", STORED_EXACT);
}

static void llama_plain_tied(void)
{
    check("llama_plain_tied", "llama_plain_tied", STORED_EXACT);
}

static void llama_mqa(void)
{
    check("llama_mqa", "llama_mqa", STORED_EXACT);
}

static void llama_bias(void)
{
    check("llama_bias", "llama_bias", STORED_EXACT);
}

static void llama3(void)
{
    check("llama3", "llama3", STORED_EXACT);
}

static void qwen2(void)
{
    check("qwen2", "qwen2", STORED_EXACT);
}

static void qwen3_yarn(void)
{
    check("qwen3_yarn", "qwen3_yarn", STORED_EXACT);
}

static void qwen3_yarn_explicit(void)
{
    check("qwen3_yarn_explicit", "qwen3_yarn_explicit", STORED_EXACT);
}

static void llama3_gguf(void)
{
    check("llama3_gguf", "llama3", STORED_EXACT);
}

static void qwen2_gguf(void)
{
    check("qwen2_gguf", "qwen2_gguf", STORED_ROUNDS);
}

// Kernels for Q8_0 round activations to 8 bits of a block's largest value: about 0.5% of noise in
// each of the eight matrices on the way, so 1.5 to 2% of the logits' spread in the end. A part of
// q|k|v or gate|up in the wrong place makes it 100%.
static void q8_0_as_stored(void)
{
    golden g;
    golden_open(&g, "qwen2_gguf");
    for (const golden_setup *u = golden_setups; u->name; u++) {
        if (!golden_can_run(u)) continue;
        golden_bench b;
        golden_bench_open(&b, "qwen2_gguf", &g, u, HD_DTYPE_NONE, HD_F32);
        golden_whole(&b.s, &g, b.logits);
        double error = golden_relative(&g, b.logits);
        golden_bench_close(&b);
        printf("%-20s none %-11s relative error %.4f\n", "qwen2_gguf", u->name, error);
        EXPECT(error < 0.04);
    }
    golden_close(&g);
}

HD_TEST_MAIN("golden_dense", {"llama_linear", llama_linear}, {"llama_plain_tied", llama_plain_tied},
             {"llama_mqa", llama_mqa}, {"llama_bias", llama_bias}, {"llama3", llama3},
             {"qwen2", qwen2}, {"qwen3_yarn", qwen3_yarn},
             {"qwen3_yarn_explicit", qwen3_yarn_explicit}, {"llama3_gguf", llama3_gguf},
             {"qwen2_gguf", qwen2_gguf}, {"q8_0_as_stored", q8_0_as_stored})
