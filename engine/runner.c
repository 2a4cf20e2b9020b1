// Direct stepping: one sequence, on the caller's thread, through the same stepper as serving.
#include "engine/runner.h"

#include "engine/load.h"
#include "engine/probe.h"
#include "kernels/base/mem.h"

enum { OUT_BYTES = 64 << 20 }; // for rows of logits

struct hd_runner {
    hd_loaded l;
    hd_kvseq kv;
};

hd_status hd_runner_open(const hd_engine_cfg *cfg, hd_runner **out, hd_err *err)
{
    hd_engine_cfg own = *cfg;
    *out = NULL;
    own.max_seqs = 1;
    own.prefix_cache = false;
    hd_runner *r = hd_calloc(1, sizeof(*r));
    HD_CHECK(r, err, HD_E_NOMEM, "no memory for the runner");
    hd_status st = hd_load(&own, HD_LOAD_IDS, OUT_BYTES, &r->l, err);
    if (st == HD_OK && !hd_kvseq_init(&r->kv, r->l.facts.max_context))
        st = HD_FAIL(err, HD_E_NOMEM, "no memory for a sequence of %d tokens",
                     r->l.facts.max_context);
    if (st != HD_OK) {
        hd_runner_close(r);
        return st;
    }
    if (r->l.bind) hd_pool_bind(r->l.pool);
    hd_load_log_ready(&r->l);
    hd_load_progress(&r->l, HD_LOAD_DONE, 0, 0);
    *out = r;
    return HD_OK;
}

void hd_runner_close(hd_runner *r)
{
    if (!r) return;
    if (r->l.kv) hd_kvseq_release(r->l.kv, &r->kv);
    hd_kvseq_fini(&r->kv);
    hd_loaded_close(&r->l);
    hd_free(r);
}

const hd_model_facts *hd_runner_facts(const hd_runner *r)
{
    return &r->l.facts;
}

void hd_runner_reset(hd_runner *r)
{
    hd_kvseq_release(r->l.kv, &r->kv);
}

int32_t hd_runner_len(const hd_runner *r)
{
    return r->kv.n_tokens;
}

// ---- feeding -------------------------------------------------------------------------------

typedef struct feed { // who reads the logits
    hd_logits_fn fn;
    void *ctx;
} feed;

static hd_status check(const hd_runner *r, const int32_t *ids, int32_t n, hd_err *err)
{
    const int32_t vocab = r->l.model->cfg.vocab, context = r->l.facts.max_context;
    HD_CHECK(n >= 0 && n <= context - r->kv.n_tokens, err, HD_E_LIMIT,
             "%d tokens behind %d others: the context holds %d", n, r->kv.n_tokens, context);
    for (int32_t i = 0; i < n; i++)
        HD_CHECK(ids[i] >= 0 && ids[i] < vocab, err, HD_E_INVAL,
                 "token %d of %d: id %d, expected one in [0, %d)", i, n, ids[i], vocab);
    return HD_OK;
}

static hd_status step(hd_runner *r, const int32_t *ids, int32_t n, int32_t n_out, const feed *f,
                      hd_err *err)
{
    hd_stepper *st = r->l.step;
    const int32_t first_out = r->kv.n_tokens + n - n_out;
    const bool room = hd_kvseq_reserve(r->l.kv, &r->kv, r->kv.n_tokens + n);
    HD_ASSERT(room); // the pool holds one sequence of the full context
    hd_stepper_begin(st, r->kv.n_pages);
    hd_stepper_add(st, &r->kv, ids, n, n_out);
    HD_TRY(hd_stepper_run(st, 0, err));
    r->kv.n_tokens += n;
    for (int32_t i = 0; i < n_out && f->fn; i++) {
        hd_status status =
            f->fn(f->ctx, first_out + i, hd_stepper_logits(st, i), r->l.model->cfg.vocab);
        HD_CHECK(status == HD_OK, err, status, "the reader of logits at position %d failed",
                 first_out + i);
    }
    return HD_OK;
}

hd_status hd_runner_feed(hd_runner *r, const int32_t *ids, int32_t n, int32_t chunk,
                         hd_runner_want want, hd_logits_fn fn, void *ctx, hd_err *err)
{
    const feed f = {fn, ctx};
    const int32_t rows = hd_stepper_max_out(r->l.step);
    HD_TRY(check(r, ids, n, err));
    if (chunk <= 0 || chunk > r->l.cfg.max_step_tokens) chunk = r->l.cfg.max_step_tokens;
    if (want == HD_WANT_ALL && chunk > rows) chunk = rows;
    for (int32_t at = 0, m; at < n; at += m) {
        m = n - at < chunk ? n - at : chunk;
        int32_t n_out = want == HD_WANT_ALL ? m : want == HD_WANT_LAST && at + m == n ? 1 : 0;
        HD_TRY(step(r, ids + at, m, n_out, &f, err));
    }
    return HD_OK;
}

// ---- cost ----------------------------------------------------------------------------------

static void add(hd_dry_cost *sum, const hd_dry_cost *c)
{
    sum->flops += c->flops;
    sum->weight_bytes += c->weight_bytes;
    sum->kv_bytes += c->kv_bytes;
    sum->act_bytes += c->act_bytes;
    sum->n_ops += c->n_ops;
}

// One sequence of n tokens that ends at depth + n is the largest step of such a plan.
void hd_runner_cost(const hd_runner *r, int32_t n, int32_t depth, hd_dry_cost *out)
{
    *out = (hd_dry_cost){0};
    for (int32_t at = 0, m; at < n; at += m) {
        hd_plan_cost cost;
        m = n - at < r->l.cfg.max_step_tokens ? n - at : r->l.cfg.max_step_tokens;
        const hd_plan_caps caps = {
            .max_tokens = m,
            .max_seqs = 1,
            .max_out = 1,
            .max_context = depth + at + m,
            .kv_dtype = r->l.cfg.kv,
        };
        if (hd_model_plan(r->l.dry, &caps, &cost, NULL) != HD_OK) return;
        add(out, &cost.step);
    }
}

double hd_runner_read_bandwidth(hd_runner *r)
{
    return hd_probe_read_bandwidth(r->l.pool);
}
