// Printing what a model will need.
#include "server/inspect_plan.h"

#include "kernels/base/json.h"

#include <inttypes.h>
#include <stdarg.h>

void hd_inspect_row(const char *name, const char *fmt, ...)
{
    va_list ap;
    printf("%-18s", name);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

const char *hd_inspect_human(double bytes, char out[32])
{
    static const char *const unit[] = {"B", "KB", "MB", "GB", "TB"};
    int u = 0;
    for (; bytes >= 1000 && u < 4; u++)
        bytes /= 1000;
    snprintf(out, 32, u ? "%.2f %s" : "%.0f %s", bytes, unit[u]);
    return out;
}

// ---- rows ----------------------------------------------------------------------------------

static const char *count(double n, char out[32])
{
    const bool billions = n >= 1e8;
    snprintf(out, 32, "%.3f %c", n / (billions ? 1e9 : 1e6), billions ? 'B' : 'M');
    return out;
}

static void row_weights(const hd_forecast *p)
{
    const hd_weight_totals *t = &p->weights;
    char text[32], a[32], b[32];
    hd_inspect_row("parameters",
                   "%s, of them %s active for a token (embedding and head count whole)",
                   count((double)t->params, a), count(p->active_params, b));
    hd_inspect_row("weights", "%s in memory", hd_inspect_human((double)p->weight_bytes, text));
    for (int d = 0; d < HD_DTYPE_COUNT; d++)
        if (t->bytes[d])
            hd_inspect_row("", "%-8s %s", hd_dtype_name((hd_dtype)d),
                           hd_inspect_human((double)t->bytes[d], text));
}

static void row_costs(const hd_forecast *p)
{
    char a[32], b[32];
    hd_inspect_row("kv per token", "%zu bytes (%s)", p->kv_bytes_per_token, hd_dtype_name(p->kv));
    for (int i = 0; i<p->n_at; i += p->n_at> 1 ? p->n_at - 1 : 1) {
        const hd_forecast_at *at = &p->at[i];
        hd_inspect_row(i ? "" : "a decoded token",
                       "at context %d reads %s of weights and %s of cache, %.2f GFLOP",
                       (int)at->context, hd_inspect_human(at->decode.weight_bytes, a),
                       hd_inspect_human(at->decode.kv_bytes, b), at->decode.flops / 1e9);
    }
    hd_inspect_row("a prompt token", "%.2f GFLOP in a step of %d", p->prefill_flops / 1e9,
                   (int)p->prefill_tokens);
}

static void row_memory(const hd_forecast *p)
{
    char a[32], b[32], d[32];
    hd_inspect_row("threads", "%d", p->threads);
    hd_inspect_row("memory", "%s allowed; weights %s, buffers %s for steps of %d tokens",
                   hd_inspect_human((double)p->memory, a),
                   hd_inspect_human((double)p->weight_bytes, b),
                   hd_inspect_human((double)p->buffer_bytes, d), (int)p->step_tokens);
    if (p->weight_bytes > p->memory) {
        hd_inspect_row("fits", "no: the weights alone are larger than the memory");
        return;
    }
    if (p->context == 0) {
        hd_inspect_row("fits",
                       "no: what weights and buffers leave holds no sequence of this context");
        return;
    }
    hd_inspect_row("fits", "one sequence of %d tokens%s", (int)p->context,
                   p->context < p->wanted_context ? " (the model allows more)" : "");
    for (int i = 0; i < p->n_at; i++)
        if (p->at[i].sequences > 0)
            hd_inspect_row("", "%" PRId64 " sequences of %d tokens", p->at[i].sequences,
                           (int)p->at[i].context);
}

void hd_inspect_plan_rows(const hd_forecast *p)
{
    row_weights(p);
    row_costs(p);
    row_memory(p);
}

// ---- JSON ----------------------------------------------------------------------------------

static void put_weights(const hd_forecast *p, hd_buf *out)
{
    const hd_weight_totals *t = &p->weights;
    bool first = true;
    hd_buf_puts(out, "{\"architecture\": ");
    hd_json_put_str(out, hd_slice_str(p->cfg.arch));
    hd_buf_printf(out,
                  ", \"parameters\": %" PRIu64 ", \"active_parameters\": %.0f, \"weight_bytes\": "
                  "%" PRIu64 ", \"weight_bytes_by_type\": {",
                  t->params, p->active_params, p->weight_bytes);
    for (int d = 0; d < HD_DTYPE_COUNT; d++)
        if (t->bytes[d]) {
            hd_buf_printf(out, "%s\"%s\": %" PRIu64, first ? "" : ", ", hd_dtype_name((hd_dtype)d),
                          t->bytes[d]);
            first = false;
        }
    hd_buf_puts(out, "}");
}

static void put_contexts(const hd_forecast *p, hd_buf *out)
{
    for (int i = 0; i < p->n_at; i++) {
        const hd_forecast_at *at = &p->at[i];
        hd_buf_printf(out,
                      "%s{\"context\": %d, \"decode_weight_bytes\": %.0f, \"decode_kv_bytes\": "
                      "%.0f, \"decode_flops\": %.0f, \"sequences\": %" PRId64 "}",
                      i ? ", " : "", (int)at->context, at->decode.weight_bytes, at->decode.kv_bytes,
                      at->decode.flops, p->context > 0 ? at->sequences : 0);
    }
}

hd_status hd_inspect_plan_json(const hd_forecast *p, hd_err *err)
{
    hd_buf out = {0};
    put_weights(p, &out);
    hd_buf_printf(&out, ", \"kv_type\": \"%s\", \"kv_bytes_per_token\": %zu, \"contexts\": [",
                  hd_dtype_name(p->kv), p->kv_bytes_per_token);
    put_contexts(p, &out);
    hd_buf_printf(&out,
                  "], \"prefill_tokens\": %d, \"prefill_flops_per_token\": %.0f, "
                  "\"buffer_bytes\": %" PRIu64 ", \"memory_bytes\": %" PRIu64
                  ", \"weights_fit\": %s, \"fits\": %s, \"context\": %d}\n",
                  (int)p->prefill_tokens, p->prefill_flops, p->buffer_bytes, p->memory,
                  p->weight_bytes <= p->memory ? "true" : "false",
                  p->context > 0 ? "true" : "false", (int)p->context);
    hd_status st = out.failed ? HD_FAIL(err, HD_E_NOMEM, "out of memory") : HD_OK;
    if (st == HD_OK) fwrite(out.data, 1, out.len, stdout);
    hd_buf_fini(&out);
    return st;
}

hd_status hd_inspect_plan(const hd_config *c, const hd_model_src *src, const hd_model_cfg *cfg,
                          hd_forecast *out, hd_err *err)
{
    hd_config own = *c;
    hd_engine_cfg settings;
    if (!own.model) own.model = c->plan; // settings want the name of a model
    HD_TRY(hd_config_engine(&own, &settings, err));
    return hd_forecast_make(&settings, src, cfg, out, err);
}
