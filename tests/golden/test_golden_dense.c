// Tiny llama, qwen2 and qwen3 checkpoints against the logits that transformers computed from the
// same files: whole prompts, token by token, in odd chunks, and several sequences in one batch.
// Needs the folder tests/golden; the program is run in the root of the repository.
#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/rng.h"
#include "models/model.h"
#include "tests/golden/stepper.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PROMPTS = 2, PAGE = 16, CONTEXT = 96 };

// Sums of float32 in another order differ by up to 4e-5 here. A norm epsilon of 1e-6 instead of
// 1e-5 moves a logit by 2e-3, a theta of 10001 instead of 10000 as much.
static const double tolerance = 1e-4;

// ---- what the reference said ---------------------------------------------------------------

typedef struct prompt {
    int32_t n;
    const int32_t *ids;
    const float *logits; // [n, vocab]
} prompt;

typedef struct golden {
    hd_buf file;
    int32_t vocab;
    prompt prompt[MAX_PROMPTS];
} golden;

static void golden_open(golden *g, const char *name)
{
    char path[256];
    hd_err err = {0};
    *g = (golden){0};
    snprintf(path, sizeof(path), "tests/golden/%s/golden.bin", name);
    if (hd_file_read(path, 1 << 20, &g->file, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    const int32_t *at = (const int32_t *)(const void *)g->file.data;
    const int32_t *end = at + g->file.len / 4;
    EXPECT(g->file.len > 12 && memcmp(at, "HDG1", 4) == 0);
    EXPECT_INT(at[1], MAX_PROMPTS);
    g->vocab = at[2];
    at += 3;
    for (int i = 0; i < MAX_PROMPTS; i++) {
        prompt *p = &g->prompt[i];
        p->n = at[0];
        EXPECT(p->n > 0 && p->n <= CONTEXT);
        p->ids = at + 1;
        p->logits = (const float *)(p->ids + p->n);
        at += 1 + p->n + p->n * g->vocab;
        EXPECT(at <= end);
    }
    EXPECT(at == end);
}

// Largest difference over tokens [from, from + n) of a prompt; NaN counts as infinite.
static double worst(const golden *g, int which, int32_t from, int32_t n, const float *got)
{
    const float *want = g->prompt[which].logits + (size_t)from * (size_t)g->vocab;
    double w = 0;
    for (size_t i = 0; i < (size_t)n * (size_t)g->vocab; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= w)) w = isnan(d) ? INFINITY : d;
    }
    return w;
}

// ---- ways of feeding a prompt --------------------------------------------------------------

typedef double (*feed_fn)(stepper *s, const golden *g, float *logits);

// Feeds prompt 0 to sequence 1 in chunks whose sizes repeat; its logits end up in `logits`.
static double feed_chunks(stepper *s, const golden *g, float *logits, const int *size, int n_sizes)
{
    const prompt *p = &g->prompt[0];
    stepper_reset(s);
    for (int32_t at = 0, i = 0; at < p->n; i++) {
        int32_t n = size[i % n_sizes];
        if (n > p->n - at) n = p->n - at;
        stepper_part part = {1, p->ids + at, n, logits + (size_t)at * (size_t)g->vocab};
        stepper_run(s, &part, 1);
        at += n;
    }
    return worst(g, 0, 0, p->n, logits);
}

static double whole(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){CONTEXT}, 1);
}

static double decode(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){1}, 1);
}

static double chunked(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){5, 16, 17, 1, 9}, 5);
}

// Three sequences, two of them with the same prompt, progress by random amounts in common steps;
// now and then one of them wants no logits.
static double mixed(stepper *s, const golden *g, float *logits)
{
    static const int prompt_of[] = {0, 1, 0};
    int32_t at[3] = {0};
    double w = 0;
    hd_rng rng;
    hd_rng_seed(&rng, 11);
    stepper_reset(s);
    for (int left = 1; left > 0;) {
        stepper_part part[3];
        int n_parts = 0;
        float *next = logits;
        left = 0;
        for (int i = 0; i < 3; i++) {
            const prompt *p = &g->prompt[prompt_of[i]];
            int32_t n = (int32_t)hd_rng_below(&rng, 4) ? (int32_t)hd_rng_below(&rng, 10) : 1;
            if (n > p->n - at[i]) n = p->n - at[i];
            if (n == 0) {
                left += p->n - at[i];
                continue;
            }
            float *rows = hd_rng_below(&rng, 5) ? next : NULL;
            part[n_parts++] = (stepper_part){i, p->ids + at[i], n, rows};
            if (rows) next += (size_t)n * (size_t)g->vocab;
            at[i] += n;
            left += p->n - at[i];
        }
        if (n_parts == 0) continue;
        stepper_run(s, part, n_parts);
        for (int i = 0; i < n_parts; i++)
            if (part[i].logits)
                w = fmax(w, worst(g, prompt_of[part[i].seq], at[part[i].seq] - part[i].n, part[i].n,
                                  part[i].logits));
    }
    return w;
}

// ---- cases ---------------------------------------------------------------------------------

typedef struct setup {
    const char *name;
    uint32_t features;
    bool deterministic;
    int threads;
} setup;

static const setup setups[] = {
    {"ref", 0, true, 1},
    {"ref+blas", 0, false, 2},
    {"avx2", HD_CPU_AVX2, true, 1},
    {"avx512", HD_CPU_AVX2 | HD_CPU_AVX512, true, 2},
    {"avx512+blas", HD_CPU_AVX2 | HD_CPU_AVX512, false, 1},
};

static hd_model *open_model(const char *path, hd_backend *be, hd_pool *pool, hd_dtype weights,
                            hd_model_src **src)
{
    const hd_model_opts opts = {.weights = weights, .pool = pool};
    hd_model *m;
    hd_err err = {0};
    if (hd_model_src_open(path, src, &err) != HD_OK ||
        hd_model_open(*src, be, &opts, &m, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return m;
}

typedef struct bench { // one model open on one backend
    hd_pool *pool;
    hd_backend *be;
    hd_model_src *src;
    hd_model *m;
    stepper s;
    float *logits, *first; // [CONTEXT, vocab]
} bench;

static void bench_open(bench *b, const char *name, const golden *g, const setup *u,
                       hd_dtype weights)
{
    char path[256];
    hd_err err = {0};
    snprintf(path, sizeof(path), "tests/golden/%s", name);
    *b = (bench){0};
    EXPECT_INT(hd_pool_create(u->threads, &b->pool, &err), HD_OK);
    const hd_device_cfg device = {"cpu", b->pool, u->features, u->deterministic, NULL};
    EXPECT_INT(hd_backend_open(&device, &b->be, &err), HD_OK);
    b->m = open_model(path, b->be, b->pool, weights, &b->src);
    EXPECT_INT(b->m->cfg.vocab, g->vocab);
    stepper_open(&b->s, b->m, HD_F32, PAGE, CONTEXT, CONTEXT);
    b->logits = calloc((size_t)CONTEXT * (size_t)g->vocab, sizeof(float));
    b->first = calloc((size_t)CONTEXT * (size_t)g->vocab, sizeof(float));
    EXPECT(b->logits != NULL && b->first != NULL);
}

static void bench_close(bench *b)
{
    free(b->logits);
    free(b->first);
    stepper_close(&b->s);
    hd_model_close(b->m);
    hd_model_src_close(b->src);
    hd_backend_close(b->be);
    hd_pool_destroy(b->pool);
}

static void run_setup(const char *name, const golden *g, const setup *u, hd_dtype weights)
{
    static const feed_fn feeds[] = {whole, decode, chunked, mixed};
    const size_t bytes = (size_t)g->prompt[0].n * (size_t)g->vocab * sizeof(float);
    bench b;
    double w[4];
    bench_open(&b, name, g, u, weights);
    w[0] = whole(&b.s, g, b.first);
    for (int i = 1; i < 4; i++) {
        w[i] = feeds[i](&b.s, g, b.logits);
        // Own kernels promise the same bits however a prompt is cut.
        if (u->deterministic && feeds[i] != mixed) EXPECT(memcmp(b.logits, b.first, bytes) == 0);
    }
    printf("%-20s %-4s %-11s whole %.1e  decode %.1e  chunked %.1e  mixed %.1e\n", name,
           hd_dtype_name(weights), u->name, w[0], w[1], w[2], w[3]);
    bench_close(&b);
    for (int i = 0; i < 4; i++)
        EXPECT(w[i] <= tolerance);
}

static bool can_run(const setup *u)
{
    return (u->features & hd_cpu_detect()) == u->features;
}

// With weights as F32; and as they are in the file, which is exact too where it is a scalar type.
typedef enum stored { STORED_EXACT, STORED_ROUNDS } stored;

static void check(const char *name, const char *reference, stored how)
{
    golden g;
    golden_open(&g, reference);
    for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
        if (!can_run(&setups[i])) {
            printf("%-20s      %-11s not on this machine\n", name, setups[i].name);
            continue;
        }
        run_setup(name, &g, &setups[i], HD_F32);
        if (how == STORED_EXACT) run_setup(name, &g, &setups[i], HD_DTYPE_NONE);
    }
    hd_buf_fini(&g.file);
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
    for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
        if (!can_run(&setups[i])) continue;
        bench b;
        const prompt *p = &g.prompt[0];
        double error = 0, spread = 0;
        bench_open(&b, "qwen2_gguf", &g, &setups[i], HD_DTYPE_NONE);
        whole(&b.s, &g, b.logits);
        for (int k = 0; k < p->n * g.vocab; k++) {
            error += pow((double)b.logits[k] - (double)p->logits[k], 2);
            spread += pow((double)p->logits[k], 2);
        }
        bench_close(&b);
        printf("%-20s none %-11s relative error %.4f\n", "qwen2_gguf", setups[i].name,
               sqrt(error / spread));
        EXPECT(sqrt(error / spread) < 0.04);
    }
    hd_buf_fini(&g.file);
}

HD_TEST_MAIN("golden_dense", {"llama_linear", llama_linear}, {"llama_plain_tied", llama_plain_tied},
             {"llama_mqa", llama_mqa}, {"llama_bias", llama_bias}, {"llama3", llama3},
             {"qwen2", qwen2}, {"qwen3_yarn", qwen3_yarn},
             {"qwen3_yarn_explicit", qwen3_yarn_explicit}, {"llama3_gguf", llama3_gguf},
             {"qwen2_gguf", qwen2_gguf}, {"q8_0_as_stored", q8_0_as_stored})
