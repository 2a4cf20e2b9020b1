// TGI's generate dialect: reading and errors. Validation speaks TGI's words, because callers parse
// them. Greedy unless sampling is asked for, explicitly or by a sampling parameter.
#include "server/schemas/hf_text.h"
#include "server/sse.h"

#include <inttypes.h>

enum { MAX_TOP_N = 5 };

static hd_status positive(const hd_fields *f, const char *key, double max, float *out, bool *has)
{
    const hd_json *v = hd_json_get(f->o, key);
    double d;
    HD_CHECK(!hd_json_f64(v, &d) || d > 0, f->err, HD_E_INVAL, "`%s` must be strictly positive",
             key);
    return hd_take_f32(f, key, 1e-6, max, out, has);
}

// A number in (0, 1); exactly 1 is tolerated and means off.
static hd_status fraction(const hd_fields *f, const char *key, float *out, bool *has)
{
    const hd_json *v = hd_json_get(f->o, key);
    double d;
    HD_CHECK(!hd_json_f64(v, &d) || (d > 0 && d <= 1), f->err, HD_E_INVAL,
             "`%s` must be > 0.0 and < 1.0", key);
    return hd_take_f32(f, key, 1e-9, 1, out, has);
}

static hd_status read_sampling(const hd_fields *f, hd_call *call)
{
    hd_hf *x = call->extra;
    hd_sample_params *p = &call->rq.sample;
    int32_t vocab = hd_tokenizer_facts(call->facts->tokenizer)->n_vocab;
    float temperature = 1, typical = 1;
    bool sample = hd_json_is_null(f->o), has[4];
    const hd_json *k = hd_json_get(f->o, "top_k"), *pen = hd_json_get(f->o, "frequency_penalty");
    double d;
    int64_t i;
    hd_sample_params_init(p);
    HD_TRY(hd_take_bool(f, "do_sample", &sample, NULL));
    HD_TRY(positive(f, "temperature", 100, &temperature, &has[0]));
    HD_CHECK(!hd_json_i64(k, &i) || i > 0, f->err, HD_E_INVAL, "`top_k` must be strictly positive");
    HD_TRY(hd_take_i32(f, "top_k", 1, vocab, &p->top_k, &has[1]));
    HD_TRY(fraction(f, "top_p", &p->top_p, &has[2]));
    HD_TRY(fraction(f, "typical_p", &typical, &has[3]));
    HD_CHECK(typical - 1 == 0, f->err, HD_E_UNSUPPORTED, "`typical_p` is not supported");
    HD_TRY(positive(f, "repetition_penalty", 100, &p->repetition_penalty, NULL));
    HD_CHECK(!hd_json_f64(pen, &d) || (d >= -2 && d <= 2), f->err, HD_E_INVAL,
             "`frequency_penalty` must be >= -2.0 and <= 2.0");
    HD_TRY(hd_take_f32(f, "frequency_penalty", -2, 2, &p->frequency_penalty, NULL));
    HD_TRY(hd_take_seed(f, "seed", &call->rq));
    HD_TRY(hd_take_scheduling(f, &call->rq));
    x->sampled = sample || has[0] || has[1] || has[2] || has[3];
    p->temperature = x->sampled ? temperature : 0;
    return HD_OK;
}

static hd_status read_length(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    const hd_json *v = hd_json_get(f->o, "max_new_tokens"), *t = hd_json_get(f->o, "truncate");
    int32_t context = call->facts->max_context;
    int64_t i;
    rq->max_new_tokens = (int32_t)call->cfg->default_max_new_tokens;
    HD_CHECK(!hd_json_i64(v, &i) || i > 0, f->err, HD_E_INVAL,
             "`max_new_tokens` must be strictly positive");
    HD_TRY(hd_take_i32(f, "max_new_tokens", 1, INT32_MAX, &rq->max_new_tokens, NULL));
    HD_CHECK(!hd_json_i64(t, &i) || (i > 0 && i < context), f->err, HD_E_INVAL,
             "`truncate` must be strictly positive and less than %d. Given: %" PRId64, (int)context,
             i);
    return hd_take_i32(f, "truncate", 1, context, &rq->truncate, NULL);
}

// TGI calls the field "stop"; many callers send LMI's "stop_sequences".
static hd_status read_stop(const hd_fields *f, hd_call *call)
{
    static const char *const keys[] = {"stop", "stop_sequences"};
    int64_t most = call->cfg->max_stop;
    for (int i = 0; i < 2; i++) {
        size_t n = hd_json_len(hd_json_get(f->o, keys[i]));
        HD_CHECK(n <= (size_t)most, f->err, HD_E_INVAL,
                 "`%s` supports up to %" PRId64 " stop sequences. Given: %zu", keys[i], most, n);
        HD_TRY(hd_take_stop(f, keys[i], most, &call->rq));
    }
    call->rq.keep_stop = true;
    return HD_OK;
}

// Several answers of which the likeliest is shown.
static hd_status read_best_of(const hd_fields *f, hd_call *call)
{
    const hd_hf *x = call->extra;
    hd_gen_request *rq = &call->rq;
    const hd_json *v = hd_json_get(f->o, "best_of");
    int64_t most = call->cfg->max_best_of, i;
    HD_CHECK(!hd_json_i64(v, &i) || (i > 0 && i <= most), f->err, HD_E_INVAL,
             "`best_of` must be > 0 and <= %" PRId64 ". Given: %" PRId64, most, i);
    HD_TRY(hd_take_i32(f, "best_of", 1, (int32_t)most, &rq->n, NULL));
    if (rq->n == 1) return HD_OK;
    HD_CHECK(x->sampled, f->err, HD_E_INVAL, "you must use sampling when `best_of` is > 1");
    HD_CHECK(!rq->has_seed, f->err, HD_E_INVAL, "`seed` must not be set when `best_of` > 1");
    HD_CHECK(!rq->stream, f->err, HD_E_INVAL,
             "`best_of` != 1 is not supported when streaming tokens");
    return HD_OK;
}

static hd_status read_details(const hd_fields *f, hd_call *call)
{
    hd_hf *x = call->extra;
    hd_gen_request *rq = &call->rq;
    HD_TRY(hd_take_bool(f, "details", &x->details, NULL));
    HD_TRY(hd_take_bool(f, "decoder_input_details", &x->prefill, NULL));
    HD_TRY(hd_take_bool(f, "return_full_text", &x->full_text, NULL));
    HD_CHECK(!x->prefill || !rq->stream, f->err, HD_E_INVAL,
             "`decoder_input_details` == true is not supported when streaming tokens");
    HD_TRY(hd_take_i32(f, "top_n_tokens", 0, MAX_TOP_N, &rq->sample.n_logprobs, NULL));
    HD_TRY(read_best_of(f, call));
    HD_TRY(hd_refuse(f, "grammar", "this version cannot constrain answers"));
    HD_TRY(hd_refuse(f, "adapter_id", "no adapters are loaded"));
    x->prefill = x->prefill && x->details;
    rq->prompt_logprobs = x->prefill;
    rq->sample.want_logprob = rq->stream || x->details || rq->n > 1;
    call->keep_tokens = (x->details && !rq->stream) || rq->n > 1;
    return HD_OK;
}

static hd_status parse(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err)
{
    hd_fields f = {body, "", a, err};
    const hd_json *parameters = hd_json_get(body, "parameters");
    hd_fields in = {parameters, "parameters.", a, err};
    HD_TRY(hd_hf_inputs(&f, call, false));
    HD_CHECK(hd_json_is_null(parameters) || hd_json_type(parameters) == HD_JSON_OBJECT, err,
             HD_E_INVAL, "parameters: found %s, expected an object", hd_json_type_name(parameters));
    HD_TRY(read_sampling(&in, call));
    HD_TRY(read_length(&in, call));
    HD_TRY(read_stop(&in, call));
    return read_details(&in, call);
}

// ---- errors --------------------------------------------------------------------------------

static int status_of(const hd_err *e)
{
    switch (e->code) {
    case HD_E_INVAL:
    case HD_E_LIMIT:
    case HD_E_UNSUPPORTED:
    case HD_E_NOTFOUND:
        return 422;
    case HD_E_BUSY:
        return 429;
    case HD_E_CANCELLED:
    case HD_E_NOMEM:
        return 503;
    case HD_E_TIMEOUT:
        return 504;
    default:
        return 424;
    }
}

static void error(hd_buf *w, const hd_err *e, int status, bool in_stream, hd_framing framing)
{
    const char *type = "generation", *prefix = "Request failed during generation: ";
    hd_buf text = {0};
    if (status == 429) {
        type = "overloaded";
        prefix = "Model is overloaded: ";
    } else if (!in_stream && status >= 400 && status < 500 && status != 424) {
        type = "validation";
        prefix = "Input validation error: ";
    }
    hd_buf_printf(&text, "%s%s", prefix, e->msg);
    if (in_stream) hd_frame_open(w, framing);
    hd_buf_puts(w, "{\"error\":");
    hd_json_put_str(w, hd_buf_slice(&text));
    hd_buf_printf(w, ",\"error_type\":\"%s\"}", type);
    if (in_stream) hd_frame_close(w, framing);
    w->failed |= text.failed;
    hd_buf_fini(&text);
}

const hd_schema hd_schema_tgi = {.name = "tgi",
                                 .key = "inputs",
                                 .parse = parse,
                                 .answer = hd_hf_answer,
                                 .begin = hd_hf_begin,
                                 .delta = hd_hf_delta,
                                 .end = hd_hf_end,
                                 .error = error,
                                 .status = status_of};
