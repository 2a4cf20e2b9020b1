// hadal bench --concurrency: what many clients at once get from the whole engine, next to what the
// machine could give at most.
//
// Two bounds, from what the dry plan counts and what was measured in the same run:
//   memory   every decode step reads the weights once and each sequence's cache
//   compute  every token, of prompts too, costs its multiply-adds
// Both at once, nothing else, no waiting: real engines stay below the smaller one.
#include "engine/runner.h"
#include "kernels/base/clock.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "server/bench.h"
#include "server/bench_load.h"
#include "server/cli.h"

#include <string.h>
#include <unistd.h>

enum { MAX_CLIENTS = 4095, PROMPT_RUNS = 3, PROMPT_TOKENS = 512 };

typedef struct bounds { // output tokens per second
    double memory, compute;
} bounds;

typedef struct plan {
    const hd_config *c;
    hd_engine_cfg *cfg;
    hd_bench_list clients;
    int32_t prompt, answer, intrude;
    hd_bench_ops ops;
    double read;                    // bytes per second
    double prompt_rate, prompt_ops; // of one long prompt alone: tokens and operations per second
    bounds bound[HD_BENCH_CASES];
    hd_buf head;
} plan;

static hd_status read_settings(const hd_config *c, plan *p, hd_err *err)
{
    HD_TRY(hd_bench_parse("--concurrency", c->bench_clients, 1, MAX_CLIENTS, &p->clients, err));
    p->c = c;
    p->prompt = (int32_t)c->bench_prompt_tokens;
    p->answer = (int32_t)c->bench_answer_tokens;
    p->intrude = (int32_t)c->bench_intrude;
    return HD_OK;
}

static int32_t longest(const plan *p)
{
    const int32_t usual = p->prompt + p->answer, intruder = p->intrude ? p->intrude + 1 : 0;
    return usual > intruder ? usual : intruder;
}

// Places for all clients and the intruder, and a context just long enough unless one was asked for:
// cache for long contexts of many sequences would be taken for nothing.
static void size_engine(const plan *p)
{
    hd_engine_cfg *cfg = p->cfg;
    if (!hd_config_given(p->c, &p->c->max_context)) cfg->max_context = longest(p);
    cfg->max_seqs = hd_bench_longest(&p->clients) + (p->intrude > 0);
    // Answers to random prompts repeat themselves: guessing would measure that, not the machine.
    if (!hd_config_given(p->c, &p->c->speculate)) cfg->speculate = 0;
}

// ---- bounds --------------------------------------------------------------------------------

// A step of n sequences in the middle of their answers.
static bounds bounds_of(const plan *p, const hd_runner *r, int32_t n)
{
    hd_dry_cost one, many, prompt;
    hd_runner_cost(r, 1, p->prompt + p->answer / 2, &one);
    hd_runner_cost(r, n, 0, &many); // experts: how many are read depends on how many tokens choose
    hd_runner_cost(r, p->prompt, 0, &prompt);
    const double bytes = many.weight_bytes / n + one.kv_bytes;
    return (bounds){p->read / bytes, p->ops.per_s / (one.flops + prompt.flops / p->answer)};
}

// What the model's own multiplications reach at their best: many tokens of one prompt at once.
static hd_status time_prompt(plan *p, hd_runner *r, hd_err *err)
{
    int32_t ids[PROMPT_TOKENS], n = PROMPT_TOKENS;
    const hd_model_facts *f = hd_runner_facts(r);
    hd_dry_cost cost;
    if (n > f->max_context) n = f->max_context;
    hd_bench_random_ids(ids, n, f->cfg.vocab, 1);
    hd_runner_cost(r, n, 0, &cost);
    for (int i = 0; i <= PROMPT_RUNS; i++) { // the first one warms up
        hd_runner_reset(r);
        const int64_t t0 = hd_mono_ns();
        HD_TRY(hd_runner_feed(r, ids, n, 0, HD_WANT_LAST, NULL, NULL, err));
        const double rate = n / ((double)(hd_mono_ns() - t0) / 1e9);
        if (i > 0 && rate > p->prompt_rate) p->prompt_rate = rate;
    }
    p->prompt_ops = cost.flops / n * p->prompt_rate;
    return HD_OK;
}

static void write_head(const plan *p, const hd_model_facts *f, hd_buf *b)
{
    if (p->c->json) {
        hd_buf_puts(b, "{\"model\": ");
        hd_json_put_str(b, hd_slice_str(f->src->name));
        hd_buf_printf(b,
                      ", \"weight_bytes\": %llu, \"threads\": %d, \"isa\": \"%s\", \"device\": "
                      "\"%s\", \"read_roof_gb_per_s\": %.2f, \"compute_roof_gflop_per_s\": %.1f, "
                      "\"compute_roof_of\": \"%s\", \"prompt_tokens_per_s\": %.1f, "
                      "\"prompt_gflop_per_s\": %.1f}\n",
                      (unsigned long long)f->weight_bytes, (int)f->threads, f->isa, f->device,
                      p->read / 1e9, p->ops.per_s / 1e9, p->ops.how, p->prompt_rate,
                      p->prompt_ops / 1e9);
    } else {
        hd_buf_printf(
            b,
            "%s: %.1f MB of weights, %d threads, %s on %s\n"
            "roofs of these threads: memory reads %.1f GB/s; %s, %.1f GFLOP/s in registers\n"
            "one prompt alone: %.1f tokens/s, %.1f GFLOP/s, %.1f %% of the compute roof\n"
            "each request: prompt of %d tokens, answer of %d\n\n"
            "                answers     all  TTFT ms         ITL ms              tok/s at most "
            "by\n"
            "clients requests  tok/s   tok/s      p50     p99    p50     p99  memory compute "
            "of roof\n",
            f->src->name, (double)f->weight_bytes / 1e6, (int)f->threads, f->isa, f->device,
            p->read / 1e9, p->ops.how, p->ops.per_s / 1e9, p->prompt_rate, p->prompt_ops / 1e9,
            100 * p->prompt_ops / p->ops.per_s, (int)p->prompt, (int)p->answer);
    }
}

static hd_status with_runner(void *ctx, hd_err *err)
{
    plan *p = ctx;
    hd_runner *r = NULL;
    hd_status st = hd_runner_open(p->cfg, &r, err);
    if (st == HD_OK && longest(p) > hd_runner_facts(r)->max_context)
        st = HD_FAIL(err, HD_E_LIMIT, "%d tokens are asked for, the context holds %d",
                     (int)longest(p), (int)hd_runner_facts(r)->max_context);
    if (st == HD_OK) {
        p->read = hd_runner_read_bandwidth(r);
        st = time_prompt(p, r, err);
    }
    if (st == HD_OK) {
        for (int i = 0; i < p->clients.n; i++)
            p->bound[i] = bounds_of(p, r, p->clients.v[i]);
        write_head(p, hd_runner_facts(r), &p->head);
        if (p->head.failed) st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
    }
    hd_runner_close(r);
    return st;
}

// ---- cases ---------------------------------------------------------------------------------

static void print_case(const plan *p, const hd_load_case *c, const bounds *b,
                       const hd_load_result *r)
{
    const double answers = (double)r->answered / r->seconds;
    const double all = ((double)r->answered + (double)c->requests * (double)c->prompt) / r->seconds;
    const double share = 100 * answers / (b->memory < b->compute ? b->memory : b->compute);
    if (p->c->json)
        printf("{\"test\": \"clients%d\", \"requests\": %d, \"prompt_tokens\": %d, "
               "\"answer_tokens\": %d, \"answered_tokens\": %lld, \"answer_tokens_per_s\": %.3f, "
               "\"tokens_per_s\": %.3f, "
               "\"ttft_ms_p50\": %.3f, \"ttft_ms_p99\": %.3f, \"itl_ms_p50\": %.3f, "
               "\"itl_ms_p99\": %.3f, \"memory_bound_tokens_per_s\": %.2f, "
               "\"compute_bound_tokens_per_s\": %.2f, \"percent_of_roof\": %.1f}\n",
               (int)c->clients, (int)c->requests, (int)c->prompt, (int)c->answer,
               (long long)r->answered, answers, all, r->first.p50, r->first.p99, r->between.p50,
               r->between.p99, b->memory, b->compute, share);
    else
        printf("%7d %8d %7.1f %7.1f %8.1f %7.1f %6.1f %7.1f %7.0f %7.0f %5.1f %%\n",
               (int)c->clients, (int)c->requests, answers, all, r->first.p50, r->first.p99,
               r->between.p50, r->between.p99, b->memory, b->compute, share);
    fflush(stdout);
}

static void print_intrusion(const plan *p, const hd_load_case *c, const hd_load_result *r)
{
    if (p->c->json)
        printf("{\"test\": \"clients%d+intrude%d\", \"itl_ms_p50_before\": %.3f, "
               "\"itl_ms_p99_before\": %.3f, \"itl_ms_p50\": %.3f, \"itl_ms_p99\": %.3f, "
               "\"itl_ms_max\": %.3f, \"intruder_ttft_ms\": %.1f}\n",
               (int)c->clients, (int)c->intrude, r->calm.p50, r->calm.p99, r->disturbed.p50,
               r->disturbed.p99, r->disturbed.max, r->intruder_ms);
    else
        printf("%7d + prompt of %d: ITL p50 %.1f, p99 %.1f before; p50 %.1f, p99 %.1f, max %.1f "
               "while it is read, in %.1f ms\n",
               (int)c->clients, (int)c->intrude, r->calm.p50, r->calm.p99, r->disturbed.p50,
               r->disturbed.p99, r->disturbed.max, r->intruder_ms);
    fflush(stdout);
}

static hd_status run_cases(const plan *p, hd_engine *e, hd_err *err)
{
    uint64_t seed = 1; // of the next prompt; every request of this process has its own
    hd_load_result r;
    const hd_load_case warm = {
        .clients = 1, .requests = 1, .prompt = p->prompt, .answer = p->answer};
    HD_TRY(hd_load_run(e, &warm, &seed, &r, err));
    for (int i = 0; i < p->clients.n; i++) {
        hd_load_case one = warm;
        one.clients = p->clients.v[i];
        one.requests = (int32_t)p->c->bench_requests;
        if (one.requests == 0) one.requests = one.clients > 4 ? 2 * one.clients : 8;
        HD_TRY(hd_load_run(e, &one, &seed, &r, err));
        print_case(p, &one, &p->bound[i], &r);
        if (!p->intrude) continue;
        const int32_t room = hd_engine_facts(e)->max_context - p->prompt;
        one.answer = HD_LOAD_INTRUDE_ANSWER < room ? HD_LOAD_INTRUDE_ANSWER : room;
        one.intrude = p->intrude;
        HD_TRY(hd_load_intrude(e, &one, &seed, &r, err));
        print_intrusion(p, &one, &r);
    }
    return HD_OK;
}

hd_status hd_bench_clients(const hd_config *c, hd_engine_cfg *cfg, hd_err *err)
{
    plan p = {.cfg = cfg};
    hd_engine *e = NULL;
    hd_cli_meter meter = {0};
    HD_TRY(read_settings(c, &p, err));
    size_engine(&p);
    hd_status st = hd_bench_measure_ops(cfg, &p.ops, err);
    if (st == HD_OK) st = hd_bench_apart(with_runner, &p, err);
    cfg->progress = hd_cli_progress;
    cfg->progress_ctx = &meter;
    if (st == HD_OK) st = hd_engine_open(cfg, &e, err);
    hd_cli_progress_end(&meter);
    if (st == HD_OK) fwrite(p.head.data, 1, p.head.len, stdout);
    if (st == HD_OK) st = run_cases(&p, e, err);
    hd_engine_close(e, 0);
    hd_buf_fini(&p.head);
    return st;
}
