// Making sequences out of requests: checks, copies, and what a request used.
#include "engine/seq.h"

#include "kernels/base/mem.h"

#include <math.h>
#include <string.h>

// ---- checks --------------------------------------------------------------------------------

static hd_status check_number(const char *name, float v, float min, bool min_ok, float max,
                              hd_err *err)
{
    bool ok = isfinite(v) && (v > min || (min_ok && v == min)) && v <= max;
    HD_CHECK(ok, err, HD_E_INVAL, "%s: %g, expected a number in %c%g, %g]", name, (double)v,
             min_ok ? '[' : '(', (double)min, (double)max);
    return HD_OK;
}

static hd_status check_params(const hd_sample_params *p, hd_err *err)
{
    const float most = 1e6f;
    HD_TRY(check_number("temperature", p->temperature, 0, true, most, err));
    HD_TRY(check_number("top_p", p->top_p, 0, false, 1, err));
    HD_TRY(check_number("min_p", p->min_p, 0, true, 1, err));
    HD_TRY(check_number("repetition_penalty", p->repetition_penalty, 0, false, most, err));
    HD_TRY(check_number("presence_penalty", p->presence_penalty, -most, true, most, err));
    HD_TRY(check_number("frequency_penalty", p->frequency_penalty, -most, true, most, err));
    HD_CHECK(p->top_k >= 0, err, HD_E_INVAL, "top_k: %d, expected at least 0", p->top_k);
    HD_CHECK(p->n_logprobs >= 0 && p->n_logprobs <= HD_MAX_LOGPROBS, err, HD_E_INVAL,
             "logprobs: %d alternatives, expected 0 to %d", p->n_logprobs, HD_MAX_LOGPROBS);
    HD_CHECK(p->min_tokens >= 0, err, HD_E_INVAL, "min_tokens: %d, expected at least 0",
             p->min_tokens);
    return HD_OK;
}

static hd_status check(const hd_request *rq, const hd_seq_limits *lim, hd_err *err)
{
    HD_CHECK(rq->n_prompt >= 1, err, HD_E_INVAL, "the prompt is empty, expected at least 1 token");
    HD_CHECK(rq->max_new_tokens >= 1, err, HD_E_INVAL, "max_new_tokens: %d, expected at least 1",
             rq->max_new_tokens);
    HD_CHECK(rq->max_new_tokens <= lim->max_context - (int64_t)rq->n_prompt, err, HD_E_LIMIT,
             "%d prompt tokens and up to %d new ones: the context holds %d", rq->n_prompt,
             rq->max_new_tokens, lim->max_context);
    const int64_t pool = (int64_t)lim->pages * HD_PAGE_TOKENS;
    HD_CHECK((int64_t)rq->n_prompt + rq->max_new_tokens - 1 <= pool, err, HD_E_LIMIT,
             "%d prompt tokens and up to %d new ones: the cache holds %lld", rq->n_prompt,
             rq->max_new_tokens, (long long)pool);
    HD_CHECK(rq->n_stop_ids >= 0 && rq->n_stop_ids <= HD_MAX_STOP_IDS, err, HD_E_LIMIT,
             "%d stop ids, expected at most %d", rq->n_stop_ids, HD_MAX_STOP_IDS);
    for (int32_t i = 0; i < rq->n_prompt; i++)
        HD_CHECK(rq->prompt[i] >= 0 && rq->prompt[i] < lim->vocab_in, err, HD_E_INVAL,
                 "prompt token %d of %d: id %d, expected one in [0, %d)", i, rq->n_prompt,
                 rq->prompt[i], lim->vocab_in);
    return check_params(&rq->sample, err);
}

// ---- life ----------------------------------------------------------------------------------

// The request's own stop ids and the model's, or none at all.
static hd_status make_sampler(hd_seq *q, const hd_request *rq, const hd_seq_limits *lim,
                              hd_err *err)
{
    hd_request full = *rq;
    const size_t own = rq->sample.ignore_eos ? 0 : (size_t)rq->n_stop_ids;
    const size_t n = own + (rq->sample.ignore_eos ? 0 : lim->n_stop_ids);
    int32_t *stop = hd_reallocarray(NULL, n + 1, sizeof(*stop));
    HD_CHECK(stop, err, HD_E_NOMEM, "no memory for %zu stop ids", n);
    if (own) memcpy(stop, rq->stop_ids, own * sizeof(*stop));
    if (n > own) memcpy(stop + own, lim->stop_ids, (n - own) * sizeof(*stop));
    full.stop_ids = stop;
    full.n_stop_ids = (int32_t)n;
    hd_status st = hd_sampler_create(&full, lim->vocab_out, &q->sampler, err);
    hd_free(stop);
    return st;
}

int64_t hd_seq_bytes(const hd_request *rq, bool speculate)
{
    const int64_t tokens = (int64_t)rq->n_prompt + rq->max_new_tokens;
    return (int64_t)sizeof(hd_seq) + (int64_t)hd_stream_bytes() + hd_sampler_bytes(rq) +
           (tokens + tokens / HD_PAGE_TOKENS) * (int64_t)sizeof(int32_t) +
           (speculate ? hd_draft_bytes(tokens) : 0);
}

static hd_status fill(hd_seq *q, const hd_request *rq, const hd_seq_limits *lim, hd_bell *bell,
                      hd_err *err)
{
    q->submit_ns = q->admit_ns = q->first_ns = q->blocked_ns = HD_SEQ_NEVER;
    q->n_ids = q->n_prompt = rq->n_prompt;
    q->max_new_tokens = rq->max_new_tokens;
    q->bytes = hd_seq_bytes(rq, lim->speculate);
    q->prompt_logprobs = rq->prompt_logprobs;
    q->n_logprobs = rq->sample.n_logprobs;
    q->rank.priority = rq->priority;
    q->deadline_ns = rq->deadline_ns;
    if (rq->id) strncpy(q->id, rq->id, sizeof(q->id) - 1);
    HD_TRY(make_sampler(q, rq, lim, err));
    q->k = hd_sampler_k(q->sampler);
    q->ids =
        hd_reallocarray(NULL, (size_t)rq->n_prompt + (size_t)rq->max_new_tokens, sizeof(*q->ids));
    bool ok = hd_kvseq_init(&q->kv, hd_seq_full_len(q));
    if (lim->speculate && !rq->no_speculation)
        ok = ok && hd_draft_init(&q->draft, rq->n_prompt + rq->max_new_tokens);
    q->kv.salt = rq->cache_salt;
    q->stream = q->ids && ok ? hd_stream_create(bell) : NULL;
    HD_CHECK(q->stream, err, HD_E_NOMEM, "no memory for a request of %d tokens",
             rq->n_prompt + rq->max_new_tokens);
    memcpy(q->ids, rq->prompt, (size_t)rq->n_prompt * sizeof(*q->ids));
    return HD_OK;
}

hd_status hd_seq_create(const hd_request *rq, const hd_seq_limits *lim, hd_bell *bell, hd_seq **out,
                        hd_err *err)
{
    *out = NULL;
    HD_TRY(check(rq, lim, err));
    hd_seq *q = hd_calloc(1, sizeof(*q));
    HD_CHECK(q, err, HD_E_NOMEM, "no memory for a request");
    hd_status st = fill(q, rq, lim, bell, err);
    if (st == HD_OK)
        *out = q;
    else
        hd_seq_destroy(q); // the stream comes last: a failed sequence has none
    return st;
}

void hd_seq_destroy(hd_seq *q)
{
    if (!q) return;
    hd_kvseq_fini(&q->kv);
    hd_sampler_destroy(q->sampler);
    hd_draft_fini(&q->draft);
    hd_free(q->ids);
    hd_free(q);
}

void hd_seq_usage(const hd_seq *q, int64_t now, hd_usage *out)
{
    *out = (hd_usage){
        .prompt_tokens = q->n_prompt,
        .cached_tokens = q->n_cached,
        .completion_tokens = q->n_ids - q->n_prompt,
    };
    const bool admitted = q->admit_ns != HD_SEQ_NEVER, began = q->first_ns != HD_SEQ_NEVER;
    out->queue_ns = (admitted ? q->admit_ns : now) - q->submit_ns;
    if (admitted) out->prefill_ns = (began ? q->first_ns : now) - q->admit_ns;
    if (began) out->decode_ns = now - q->first_ns;
}
