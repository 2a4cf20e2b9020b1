#include "tests/golden/golden_kit.h"

#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// ---- what the reference said ---------------------------------------------------------------

void golden_open(golden *g, const char *name)
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
    EXPECT_INT(at[1], GOLDEN_PROMPTS);
    g->vocab = at[2];
    at += 3;
    for (int i = 0; i < GOLDEN_PROMPTS; i++) {
        golden_prompt *p = &g->prompt[i];
        p->n = at[0];
        EXPECT(p->n > 0 && p->n <= GOLDEN_CONTEXT);
        p->ids = at + 1;
        p->logits = (const float *)(p->ids + p->n);
        at += 1 + p->n + p->n * g->vocab;
        EXPECT(at <= end);
    }
    EXPECT(at == end);
    const golden_prompt *p = &g->prompt[0];
    for (int i = 0; i < p->n * g->vocab; i++)
        g->spread += (double)p->logits[i] * (double)p->logits[i];
    g->spread = sqrt(g->spread / (p->n * g->vocab));
}

void golden_close(golden *g)
{
    hd_buf_fini(&g->file);
}

double golden_worst(const golden *g, int which, int32_t from, int32_t n, const float *got)
{
    const float *want = g->prompt[which].logits + (size_t)from * (size_t)g->vocab;
    double w = 0;
    for (size_t i = 0; i < (size_t)n * (size_t)g->vocab; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (!(d <= w)) w = isnan(d) ? INFINITY : d;
    }
    return w;
}

double golden_relative(const golden *g, const float *got)
{
    const golden_prompt *p = &g->prompt[0];
    double error = 0;
    for (int i = 0; i < p->n * g->vocab; i++)
        error += pow((double)got[i] - (double)p->logits[i], 2);
    return sqrt(error / (p->n * g->vocab)) / g->spread;
}

// ---- ways of feeding a prompt --------------------------------------------------------------

// Feeds prompt 0 to sequence 1 in chunks whose sizes repeat.
static double feed_chunks(stepper *s, const golden *g, float *logits, const int *size, int n_sizes)
{
    const golden_prompt *p = &g->prompt[0];
    stepper_reset(s);
    for (int32_t at = 0, i = 0; at < p->n; i++) {
        int32_t n = size[i % n_sizes];
        if (n > p->n - at) n = p->n - at;
        stepper_part part = {1, p->ids + at, n, logits + (size_t)at * (size_t)g->vocab};
        stepper_run(s, &part, 1);
        at += n;
    }
    return golden_worst(g, 0, 0, p->n, logits);
}

double golden_whole(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){GOLDEN_CONTEXT}, 1);
}

double golden_decode(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){1}, 1);
}

double golden_chunked(stepper *s, const golden *g, float *logits)
{
    return feed_chunks(s, g, logits, (const int[]){5, 16, 17, 1, 9}, 5);
}

// Three sequences, two of them with the same prompt, progress by random amounts in common steps;
// now and then one of them wants no logits.
double golden_mixed(stepper *s, const golden *g, float *logits)
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
            const golden_prompt *p = &g->prompt[prompt_of[i]];
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
                w = fmax(w, golden_worst(g, prompt_of[part[i].seq], at[part[i].seq] - part[i].n,
                                         part[i].n, part[i].logits));
    }
    return w;
}

// ---- levels and models ---------------------------------------------------------------------

const golden_setup golden_setups[] = {
    {"ref", 0, true, 1, HD_FILE_MAP},
    {"ref+blas", 0, false, 2, HD_FILE_READ},
    {"avx2", HD_CPU_AVX2, true, 1, HD_FILE_READ},
    {"avx512", HD_CPU_AVX2 | HD_CPU_AVX512, true, 2, HD_FILE_MAP},
    {"avx512+blas", HD_CPU_AVX2 | HD_CPU_AVX512, false, 1, HD_FILE_MAP},
    {NULL, 0, false, 0, HD_FILE_MAP},
};

bool golden_can_run(const golden_setup *u)
{
    return (u->features & hd_cpu_detect()) == u->features;
}

static void open_model(golden_bench *b, hd_file_access access, hd_dtype weights)
{
    const hd_model_opts opts = {.weights = HD_WEIGHTS_ALL(weights), .pool = b->pool};
    char path[256];
    hd_err err = {0};
    snprintf(path, sizeof(path), "tests/golden/%s", b->name);
    if (hd_model_src_open(path, access, &b->src, &err) != HD_OK ||
        hd_model_open(b->src, b->be, &opts, &b->m, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", b->name, err.msg);
}

void golden_bench_open(golden_bench *b, const char *name, const golden *g, const golden_setup *u,
                       hd_dtype weights, hd_dtype kv)
{
    hd_err err = {0};
    *b = (golden_bench){.name = name};
    hd_log_set_level(HD_LOG_WARN);
    EXPECT_INT(hd_pool_create(u->threads, &b->pool, &err), HD_OK);
    const hd_device_cfg device = {"cpu", b->pool, u->features, u->deterministic, NULL};
    EXPECT_INT(hd_backend_open(&device, &b->be, &err), HD_OK);
    open_model(b, u->access, weights);
    EXPECT_INT(b->m->cfg.vocab, g->vocab);
    stepper_open(&b->s, b->m, kv, GOLDEN_PAGE, GOLDEN_CONTEXT, GOLDEN_CONTEXT);
    b->logits = calloc((size_t)GOLDEN_CONTEXT * (size_t)g->vocab, sizeof(float));
    b->first = calloc((size_t)GOLDEN_CONTEXT * (size_t)g->vocab, sizeof(float));
    EXPECT(b->logits != NULL && b->first != NULL);
}

void golden_bench_close(golden_bench *b)
{
    free(b->logits);
    free(b->first);
    stepper_close(&b->s);
    hd_model_close(b->m);
    hd_model_src_close(b->src);
    hd_backend_close(b->be);
    hd_pool_destroy(b->pool);
}

void golden_run(golden_bench *b, const golden *g, const char *label, bool same_bits,
                double tolerance)
{
    golden_feed *const feeds[] = {golden_whole, golden_decode, golden_chunked, golden_mixed};
    const size_t bytes = (size_t)g->prompt[0].n * (size_t)g->vocab * sizeof(float);
    double w[4];
    w[0] = golden_whole(&b->s, g, b->first);
    for (int i = 1; i < 4; i++) {
        w[i] = feeds[i](&b->s, g, b->logits);
        if (same_bits && feeds[i] != golden_mixed) EXPECT(memcmp(b->logits, b->first, bytes) == 0);
    }
    printf("%-20s %-25s whole %.1e  decode %.1e  chunked %.1e  mixed %.1e\n", b->name, label, w[0],
           w[1], w[2], w[3]);
    for (int i = 0; i < 4; i++)
        EXPECT(w[i] <= tolerance);
}
