// hadal bench: prompt and answer speed of one sequence at given depths of context, next to the
// memory roofline that was measured in the same run. Many clients at once: bench_clients.c.
#include "engine/runner.h"
#include "kernels/base/clock.h"
#include "kernels/base/cpu.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "server/bench.h"
#include "server/cli.h"
#include "server/cmd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_REPEAT = 1000 };

typedef struct result { // of one case
    const char *kind;   // "pp" or "tg"
    int32_t n, depth;
    double best, median; // tokens per second
    double bytes, flops; // of the whole case, from the plan
} result;

hd_status hd_bench_parse(const char *flag, const char *text, int32_t min, int32_t max,
                         hd_bench_list *out, hd_err *err)
{
    out->n = 0;
    for (const char *p = text; *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        HD_CHECK(end != p && (*end == ',' || !*end) && v >= min && v <= max &&
                     out->n < HD_BENCH_CASES,
                 err, HD_E_INVAL,
                 "%s: found '%.40s', expected up to %d numbers from %d to %d, as in 128,512", flag,
                 text, HD_BENCH_CASES, (int)min, (int)max);
        out->v[out->n++] = (int32_t)v;
        p = *end ? end + 1 : end;
    }
    return HD_OK;
}

int32_t hd_bench_longest(const hd_bench_list *l)
{
    int32_t most = 0;
    for (int i = 0; i < l->n; i++)
        most = l->v[i] > most ? l->v[i] : most;
    return most;
}

void hd_bench_random_ids(int32_t *ids, int32_t n, int32_t vocab, uint64_t seed)
{
    hd_rng rng;
    hd_rng_seed(&rng, seed);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (int32_t)hd_rng_below(&rng, (uint32_t)vocab);
}

int hd_bench_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Feeds the depth (not timed), then times n tokens: all at once (pp) or one by one (tg).
static hd_status time_once(hd_runner *r, const int32_t *ids, const result *c, double *seconds,
                           hd_err *err)
{
    hd_runner_reset(r);
    if (c->depth) HD_TRY(hd_runner_feed(r, ids, c->depth, 0, HD_WANT_NONE, NULL, NULL, err));
    bool one_by_one = c->kind[0] == 't';
    int64_t t0 = hd_mono_ns();
    if (!one_by_one)
        HD_TRY(hd_runner_feed(r, ids + c->depth, c->n, 0, HD_WANT_LAST, NULL, NULL, err));
    for (int32_t i = 0; one_by_one && i < c->n; i++)
        HD_TRY(hd_runner_feed(r, ids + c->depth + i, 1, 0, HD_WANT_LAST, NULL, NULL, err));
    *seconds = (double)(hd_mono_ns() - t0) / 1e9;
    return HD_OK;
}

static void add_cost(const hd_runner *r, result *c)
{
    hd_dry_cost cost;
    int32_t step = c->kind[0] == 't' ? 1 : c->n;
    for (int32_t i = 0; i < c->n; i += step) {
        hd_runner_cost(r, step, c->depth + i, &cost);
        c->bytes += cost.weight_bytes + cost.kv_bytes;
        c->flops += cost.flops;
    }
}

static hd_status measure(hd_runner *r, const int32_t *ids, int repeat, result *c, hd_err *err)
{
    double rate[MAX_REPEAT], s;
    HD_TRY(time_once(r, ids, c, &s, err)); // warms caches and clocks
    for (int i = 0; i < repeat; i++) {
        HD_TRY(time_once(r, ids, c, &s, err));
        rate[i] = c->n / s;
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r%s%d @%d: %d of %d ", c->kind, (int)c->n, (int)c->depth, i + 1,
                    repeat);
    }
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    qsort(rate, (size_t)repeat, sizeof(rate[0]), hd_bench_by_value);
    c->best = rate[repeat - 1];
    c->median = rate[repeat / 2];
    add_cost(r, c);
    return HD_OK;
}

static void print_result(const hd_config *cfg, const result *c, double roof)
{
    double gbs = c->bytes / c->n * c->best, gflops = c->flops / c->n * c->best / 1e9;
    if (cfg->json)
        printf("{\"test\": \"%s%d\", \"depth\": %d, \"tokens_per_s_best\": %.3f, "
               "\"tokens_per_s_median\": %.3f, \"gb_per_s\": %.3f, \"percent_of_read_roof\": %.1f, "
               "\"gflop_per_s\": %.2f}\n",
               c->kind, (int)c->n, (int)c->depth, c->best, c->median, gbs / 1e9, 100 * gbs / roof,
               gflops);
    else
        printf("%s%-6d %8d %12.2f %12.2f %10.2f %9.1f %% %11.1f\n", c->kind, (int)c->n,
               (int)c->depth, c->best, c->median, gbs / 1e9, 100 * gbs / roof, gflops);
    fflush(stdout);
}

static void print_head(const hd_config *cfg, const hd_model_facts *f, double roof)
{
    hd_buf b = {0};
    if (cfg->json) {
        hd_buf_puts(&b, "{\"model\": ");
        hd_json_put_str(&b, hd_slice_str(f->src->name));
        hd_buf_printf(&b,
                      ", \"weight_bytes\": %llu, \"threads\": %d, \"isa\": \"%s\", \"device\": "
                      "\"%s\", \"read_roof_gb_per_s\": %.2f}\n",
                      (unsigned long long)f->weight_bytes, (int)f->threads, f->isa, f->device,
                      roof / 1e9);
    } else {
        hd_buf_printf(
            &b,
            "%s: %.1f MB of weights, %d threads, %s on %s; memory reads %.1f GB/s\n\n"
            "test        depth   best tok/s median tok/s       GB/s    of roof     GFLOP/s\n",
            f->src->name, (double)f->weight_bytes / 1e6, (int)f->threads, f->isa, f->device,
            roof / 1e9);
    }
    fwrite(b.data, 1, b.len, stdout);
    hd_buf_fini(&b);
}

static hd_status bench(const hd_config *c, hd_runner *r, hd_err *err)
{
    const hd_model_facts *f = hd_runner_facts(r);
    hd_bench_list pp, tg, depth;
    HD_TRY(hd_bench_parse("--pp", c->bench_prompt, 1, HD_MAX_CONTEXT, &pp, err));
    HD_TRY(hd_bench_parse("--tg", c->bench_gen, 1, HD_MAX_CONTEXT, &tg, err));
    HD_TRY(hd_bench_parse("--depth", c->bench_depth, 0, HD_MAX_CONTEXT, &depth, err));
    int32_t longest = hd_bench_longest(&pp), deepest = hd_bench_longest(&depth);
    if (hd_bench_longest(&tg) > longest) longest = hd_bench_longest(&tg);
    HD_CHECK(longest + deepest <= f->max_context, err, HD_E_LIMIT,
             "%d tokens are asked for, the context holds %d", (int)(longest + deepest),
             (int)f->max_context);
    int32_t *ids = hd_reallocarray(NULL, (size_t)(longest + deepest), sizeof(*ids));
    HD_CHECK(ids, err, HD_E_NOMEM, "out of memory");
    hd_bench_random_ids(ids, longest + deepest, f->cfg.vocab, 1);
    double roof = hd_runner_read_bandwidth(r);
    print_head(c, f, roof);
    hd_status st = HD_OK;
    for (int d = 0; st == HD_OK && d < depth.n; d++)
        for (int i = 0; st == HD_OK && i < pp.n + tg.n; i++) {
            result one = {.kind = i < pp.n ? "pp" : "tg", .depth = depth.v[d]};
            one.n = i < pp.n ? pp.v[i] : tg.v[i - pp.n];
            st = measure(r, ids, (int)c->repeat, &one, err);
            if (st == HD_OK) print_result(c, &one, roof);
        }
    hd_free(ids);
    return st;
}

// One sequence at a time: prompts and answers at depths.
static hd_status bench_alone(const hd_config *c, hd_engine_cfg *cfg, hd_err *err)
{
    hd_runner *r = NULL;
    hd_cli_meter meter = {0};
    cfg->progress = hd_cli_progress;
    cfg->progress_ctx = &meter;
    hd_status st = hd_runner_open(cfg, &r, err);
    hd_cli_progress_end(&meter);
    if (st == HD_OK) st = bench(c, r, err);
    hd_runner_close(r);
    return st;
}

int hd_cmd_bench(int argc, char **argv)
{
    hd_config c;
    hd_engine_cfg cfg;
    hd_err err = {0};
    int code;
    if (!hd_cli_settings(&c, HD_CMD_BENCH, argc, argv, &code)) return code;
    hd_status st = hd_config_engine(&c, &cfg, &err);
    if (st == HD_OK)
        st = c.bench_clients ? hd_bench_clients(&c, &cfg, &err) : bench_alone(&c, &cfg, &err);
    if (st == HD_OK) st = hd_cli_flush(&err);
    return st == HD_OK ? 0 : hd_cli_fail(&err);
}
