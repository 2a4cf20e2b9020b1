// Counting, and writing Prometheus text. vLLM's names are written beside ours because dashboards
// know them; series of features that this version lacks (speculation, tokens per step) are left
// out rather than invented.
#include "server/metrics.h"

#include "kernels/base/cpu.h"
#include "kernels/base/json.h"

#include <stdio.h>
#include <string.h>

// ---- counting ------------------------------------------------------------------------------

static const double seconds[HD_HIST_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08,
                                                0.1,   0.15,   0.25,  0.5,  0.75, 1.0,  2.5,  5.0,
                                                7.5,   10,     20,    40,   80,   160,  320,  640};
static const double tokens[HD_HIST_BUCKETS] = {1,    2,    5,    10,    20,    50,    100,   200,
                                               500,  1000, 2000, 4000,  8000,  16000, 24000, 32000,
                                               48e3, 64e3, 96e3, 128e3, 192e3, 256e3, 512e3, 1e6};

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void observe(hd_hist *h, const double *bounds, double value, uint64_t sum)
{
    size_t i = 0;
    while (i < HD_HIST_BUCKETS && value > bounds[i])
        i++;
    add(&h->bucket[i], 1);
    add(&h->sum, sum);
}

static void observe_ns(hd_hist *h, int64_t ns)
{
    if (ns < 0) ns = 0;
    observe(h, seconds, (double)ns / 1e9, (uint64_t)ns);
}

static void observe_tokens(hd_hist *h, int32_t n)
{
    observe(h, tokens, n, (uint64_t)n);
}

void hd_metrics_gap(hd_metrics *m, int64_t ns)
{
    observe_ns(&m->gap, ns);
}

void hd_metrics_first(hd_metrics *m, int64_t ns)
{
    observe_ns(&m->ttft, ns);
}

void hd_metrics_choice(hd_metrics *m, const hd_usage *u, hd_finish finish)
{
    add(&m->finished[finish], 1);
    add(&m->n_tokens_in, (uint64_t)u->prompt_tokens);
    add(&m->n_tokens_out, (uint64_t)u->completion_tokens);
    if (finish == HD_FINISH_DEADLINE) add(&m->deadline, 1);
    if (finish != HD_FINISH_STOP && finish != HD_FINISH_LENGTH && finish != HD_FINISH_DEADLINE)
        return; // times of what was cut short would blur the others
    observe_tokens(&m->tokens_in, u->prompt_tokens);
    observe_tokens(&m->tokens_out, u->completion_tokens);
    observe_ns(&m->queue, u->queue_ns);
    observe_ns(&m->prefill, u->prefill_ns);
    observe_ns(&m->decode, u->decode_ns);
    observe_ns(&m->inference, u->prefill_ns + u->decode_ns);
    if (u->completion_tokens > 1)
        observe_ns(&m->per_token, u->decode_ns / (u->completion_tokens - 1));
}

void hd_metrics_request(hd_metrics *m, int64_t total_ns, hd_status code)
{
    add(&m->requests, 1);
    if (code == HD_OK)
        observe_ns(&m->e2e, total_ns);
    else
        add(code == HD_E_CANCELLED ? &m->cancelled : &m->failed, 1);
}

static const int statuses[HD_METRIC_STATUSES] = {400, 401, 403, 404, 405, 408, 409, 413,
                                                 415, 422, 424, 429, 500, 501, 503, 504};

void hd_metrics_refused(hd_metrics *m, int status)
{
    size_t i = 0;
    while (i < HD_METRIC_STATUSES && statuses[i] != status)
        i++;
    add(&m->refused[i], 1);
}

int64_t hd_metrics_wait_ns(const hd_metrics *m, int32_t waiting, int32_t at_once)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= HD_HIST_BUCKETS; i++)
        n += get(&m->inference.bucket[i]);
    if (n == 0 || at_once < 1) return 0;
    return (int64_t)((double)get(&m->inference.sum) / (double)n * waiting / at_once);
}

// ---- writing -------------------------------------------------------------------------------

typedef struct page {
    hd_buf *w;
    hd_buf labels; // model_name="...",engine="0"
} page;

// A label's value: three characters are escaped, others stand for themselves.
static void put_label(hd_buf *w, const char *name, const char *value)
{
    hd_buf_printf(w, "%s=\"", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\n') {
            hd_buf_puts(w, "\\n");
            continue;
        }
        if (*p == '"' || *p == '\\') hd_buf_putc(w, '\\');
        hd_buf_putc(w, *p);
    }
    hd_buf_putc(w, '"');
}

static void head(page *p, const char *name, const char *type, const char *help)
{
    hd_buf_printf(p->w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void sample(page *p, const char *name, const char *key, const char *value, double v)
{
    hd_buf_printf(p->w, "%s{", name);
    hd_buf_put_slice(p->w, hd_buf_slice(&p->labels));
    if (key) {
        hd_buf_putc(p->w, ',');
        put_label(p->w, key, value);
    }
    hd_buf_puts(p->w, "} ");
    hd_json_put_f64(p->w, v);
    hd_buf_putc(p->w, '\n');
}

static void single(page *p, const char *name, const char *type, const char *help, double v)
{
    head(p, name, type, help);
    sample(p, name, NULL, NULL, v);
}

static void counter(page *p, const char *name, const char *help, const _Atomic uint64_t *c)
{
    single(p, name, "counter", help, (double)get(c));
}

// The count is the sum of the buckets as read, so that one page agrees with itself.
static void histogram(page *p, const char *name, const char *help, const hd_hist *h, bool time)
{
    const double *bounds = time ? seconds : tokens;
    char series[96], bound[32];
    uint64_t n = 0;
    head(p, name, "histogram", help);
    snprintf(series, sizeof(series), "%s_bucket", name);
    for (size_t i = 0; i <= HD_HIST_BUCKETS; i++) {
        n += get(&h->bucket[i]);
        if (i < HD_HIST_BUCKETS)
            snprintf(bound, sizeof(bound), "%g", bounds[i]);
        else
            snprintf(bound, sizeof(bound), "+Inf");
        sample(p, series, "le", bound, (double)n);
    }
    snprintf(series, sizeof(series), "%s_sum", name);
    sample(p, series, NULL, NULL, (double)get(&h->sum) / (time ? 1e9 : 1));
    snprintf(series, sizeof(series), "%s_count", name);
    sample(p, series, NULL, NULL, (double)n);
}

typedef struct row {
    const char *vllm, *own, *help;
    size_t offset;
    bool time;
} row;

#define AT(member) offsetof(hd_metrics, member)
static const row histograms[] = {
    {"vllm:time_to_first_token_seconds", "hadal_time_to_first_token_seconds",
     "From the request's arrival to its first token.", AT(ttft), true},
    {"vllm:inter_token_latency_seconds", "hadal_inter_token_seconds",
     "From one token of an answer to the next.", AT(gap), true},
    {"vllm:request_time_per_output_token_seconds", "hadal_time_per_output_token_seconds",
     "Mean time per token behind the first, one value per answer.", AT(per_token), true},
    {"vllm:e2e_request_latency_seconds", "hadal_request_seconds",
     "From the request's arrival to the end of its answer.", AT(e2e), true},
    {"vllm:request_queue_time_seconds", "hadal_queue_seconds", "Waiting before prefill.", AT(queue),
     true},
    {"vllm:request_prefill_time_seconds", "hadal_prefill_seconds",
     "From leaving the queue to the first token.", AT(prefill), true},
    {"vllm:request_decode_time_seconds", "hadal_decode_seconds",
     "From the first token to the last.", AT(decode), true},
    {"vllm:request_inference_time_seconds", "hadal_inference_seconds", "Prefill and decode.",
     AT(inference), true},
    {"vllm:request_prompt_tokens", "hadal_prompt_tokens", "Prompt tokens per answer.",
     AT(tokens_in), false},
    {"vllm:request_generation_tokens", "hadal_generation_tokens", "Generated tokens per answer.",
     AT(tokens_out), false},
};
static const row counters[] = {
    {"vllm:prompt_tokens_total", "hadal_prompt_tokens_total", "Prompt tokens processed.",
     AT(n_tokens_in), false},
    {"vllm:generation_tokens_total", "hadal_generation_tokens_total", "Tokens generated.",
     AT(n_tokens_out), false},
    {NULL, "hadal_requests_total", "Generation requests that have ended.", AT(requests), false},
    {NULL, "hadal_requests_cancelled_total", "Requests that were cancelled, most by their callers.",
     AT(cancelled), false},
    {NULL, "hadal_requests_failed_total", "Requests that ended with an error.", AT(failed), false},
    {NULL, "hadal_deadline_truncated_total", "Answers cut short by a deadline.", AT(deadline),
     false},
};
#undef AT

static void put_rows(page *p, const hd_metrics *m, bool vllm)
{
    for (size_t i = 0; i < sizeof(histograms) / sizeof(histograms[0]); i++) {
        const row *r = &histograms[i];
        const hd_hist *h = (const hd_hist *)(const void *)((const char *)m + r->offset);
        histogram(p, vllm ? r->vllm : r->own, r->help, h, r->time);
    }
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        const row *r = &counters[i];
        const char *name = vllm ? r->vllm : r->own;
        const void *c = (const char *)m + r->offset;
        if (name) counter(p, name, r->help, c);
    }
}

static void put_finished(page *p, const hd_metrics *m)
{
    static const char *const names[] = {"none", "stop", "length", "abort", "deadline", "error"};
    head(p, "hadal_finished_total", "counter", "Answers by why they ended.");
    for (size_t i = HD_FINISH_STOP; i <= HD_FINISH_ERROR; i++)
        sample(p, "hadal_finished_total", "reason", names[i], (double)get(&m->finished[i]));
    head(p, "hadal_refused_total", "counter", "Requests answered with an error, by HTTP status.");
    for (size_t i = 0; i <= HD_METRIC_STATUSES; i++) {
        char status[16] = "other";
        uint64_t n = get(&m->refused[i]);
        if (i < HD_METRIC_STATUSES) snprintf(status, sizeof(status), "%d", statuses[i]);
        if (n > 0) sample(p, "hadal_refused_total", "status", status, (double)n);
    }
}

// A deadline cuts the length too: in vLLM's words there is no third reason.
static void put_vllm(page *p, const hd_metrics *m, const hd_engine_stats *s)
{
    const char *name = "vllm:request_success_total";
    uint64_t length = get(&m->finished[HD_FINISH_LENGTH]) + get(&m->finished[HD_FINISH_DEADLINE]);
    single(p, "vllm:num_requests_running", "gauge", "Requests being computed.", s->running);
    single(p, "vllm:num_requests_waiting", "gauge", "Requests in the queue.", s->waiting);
    single(p, "vllm:kv_cache_usage_perc", "gauge", "Share of the cache in use, 0 to 1.",
           s->pages_total ? (double)s->pages_used / s->pages_total : 0);
    single(p, "vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up.",
           (double)s->prefix_asked);
    single(p, "vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the cache.",
           (double)s->prefix_found);
    single(p, "vllm:num_preemptions_total", "counter", "Requests that gave their cache back.",
           (double)s->preemptions);
    single(p, "vllm:spec_decode_num_draft_tokens_total", "counter", "Guessed tokens computed.",
           (double)s->drafted);
    single(p, "vllm:spec_decode_num_accepted_tokens_total", "counter", "Guessed tokens come true.",
           (double)s->accepted);
    head(p, name, "counter", "Answers by finish reason.");
    sample(p, name, "finished_reason", "stop", (double)get(&m->finished[HD_FINISH_STOP]));
    sample(p, name, "finished_reason", "length", (double)length);
    sample(p, name, "finished_reason", "abort", (double)get(&m->finished[HD_FINISH_CANCELLED]));
    put_rows(p, m, true);
}

static void put_load(page *p, const hd_metrics *m)
{
    static const char *const names[] = {"open", "weights", "plan", "warmup", "all"};
    head(p, "hadal_load_seconds", "gauge", "Time spent loading, by phase.");
    for (size_t i = 0; i <= HD_LOAD_PHASES; i++)
        sample(p, "hadal_load_seconds", "phase", names[i], (double)get(&m->load_ns[i]) / 1e9);
}

static void put_engine(page *p, const hd_metrics_view *v, const hd_engine_stats *s)
{
    const hd_model_facts *f = v->engine ? hd_engine_facts(v->engine) : NULL;
    single(p, "hadal_requests_running", "gauge", "Requests being computed.", s->running);
    single(p, "hadal_requests_waiting", "gauge", "Requests in the queue.", s->waiting);
    single(p, "hadal_kv_pages_used", "gauge", "Cache pages in use.", s->pages_used);
    single(p, "hadal_kv_pages", "gauge", "Cache pages.", s->pages_total);
    single(p, "hadal_kv_pages_cached", "gauge",
           "Cache pages of ended requests, kept for prompts that begin alike.", s->pages_cached);
    single(p, "hadal_prefix_cache_queries_total", "counter",
           "Prompt tokens looked up in the prefix cache.", (double)s->prefix_asked);
    single(p, "hadal_prefix_cache_hits_total", "counter",
           "Prompt tokens found in the prefix cache.", (double)s->prefix_found);
    single(p, "hadal_preemptions_total", "counter",
           "Times a running request gave its cache pages back.", (double)s->preemptions);
    single(p, "hadal_guessed_tokens_total", "counter", "Guessed tokens that were computed.",
           (double)s->drafted);
    single(p, "hadal_accepted_tokens_total", "counter", "Guessed tokens that came true.",
           (double)s->accepted);
    single(p, "hadal_steps_total", "counter", "Steps of the scheduler.", (double)s->steps);
    single(p, "hadal_http_active", "gauge", "HTTP requests between head and end.", v->active);
    single(p, "hadal_http_slots", "gauge", "HTTP requests served at the same time at most.",
           v->slots);
    single(p, "hadal_resident_bytes", "gauge", "Resident memory of the process.",
           (double)hd_cpu_rss_bytes());
    if (!f) return;
    head(p, "hadal_memory_bytes", "gauge", "Planned memory of the device, by use.");
    sample(p, "hadal_memory_bytes", "use", "weights", (double)f->weight_bytes);
    sample(p, "hadal_memory_bytes", "use", "kv", (double)f->kv_bytes);
    sample(p, "hadal_memory_bytes", "use", "scratch", (double)f->scratch_bytes);
    single(p, "hadal_threads", "gauge", "Threads that compute.", f->threads);
    single(p, "hadal_max_context_tokens", "gauge", "Longest context.", f->max_context);
    head(p, "hadal_info", "gauge", "What runs.");
    sample(p, "hadal_info", "isa", f->isa, 1);
}

void hd_metrics_write(hd_metrics *m, const hd_metrics_view *v, hd_buf *out)
{
    page p = {.w = out};
    hd_engine_stats s = {0};
    if (v->engine) hd_engine_stats_read(v->engine, &s);
    put_label(&p.labels, "model_name", v->model);
    hd_buf_puts(&p.labels, ",engine=\"0\"");
    single(&p, "hadal_ready", "gauge", "1 when /ping answers 200.", v->healthy);
    single(&p, "hadal_load_progress", "gauge", "How much of the model is loaded, 0 to 1.",
           v->progress);
    put_engine(&p, v, &s);
    put_load(&p, m);
    put_finished(&p, m);
    put_rows(&p, m, false);
    if (v->vllm) put_vllm(&p, m, &s);
    out->failed |= p.labels.failed;
    hd_buf_fini(&p.labels);
}
