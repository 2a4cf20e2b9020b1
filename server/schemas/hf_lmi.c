// AWS LMI's (DJL's) generate dialect: reading and errors. An answer has 30 tokens unless more are
// asked for, as there; --default-max-new-tokens changes that.
#include "server/schemas/hf_text.h"
#include "server/sse.h"

enum { DEFAULT_MAX_NEW_TOKENS = 30 };

static hd_status read_sampling(const hd_fields *f, hd_call *call)
{
    hd_hf *x = call->extra;
    hd_sample_params *p = &call->rq.sample;
    int32_t vocab = hd_tokenizer_facts(call->facts->tokenizer)->n_vocab, top_k = 0;
    bool sample = true;
    hd_sample_params_init(p);
    HD_TRY(hd_take_bool(f, "do_sample", &sample, NULL));
    HD_TRY(hd_take_f32(f, "temperature", 0, 100, &p->temperature, NULL));
    HD_TRY(hd_take_i32(f, "top_k", -1, vocab, &top_k, NULL));
    p->top_k = top_k > 0 ? top_k : 0;
    HD_TRY(hd_take_f32(f, "top_p", 1e-6, 1, &p->top_p, NULL));
    HD_TRY(hd_take_f32(f, "min_p", 0, 1, &p->min_p, NULL));
    HD_TRY(hd_take_f32(f, "repetition_penalty", 1e-3, 100, &p->repetition_penalty, NULL));
    HD_TRY(hd_take_f32(f, "presence_penalty", -2, 2, &p->presence_penalty, NULL));
    HD_TRY(hd_take_f32(f, "frequency_penalty", -2, 2, &p->frequency_penalty, NULL));
    HD_TRY(hd_refuse_unless(f, "typical_p", 1, "only 1"));
    HD_TRY(hd_take_seed(f, "seed", &call->rq));
    HD_TRY(hd_take_scheduling(f, &call->rq));
    HD_TRY(hd_take_bool(f, "ignore_eos_token", &p->ignore_eos, NULL));
    if (!sample) p->temperature = 0; // an explicit false is greedy whatever else is given
    x->sampled = p->temperature > 0;
    return HD_OK;
}

static hd_status read_stops(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    const hd_json *ids = hd_json_get(f->o, "stop_token_ids");
    bool skip = true;
    HD_TRY(hd_take_stop(f, "stop_sequences", call->cfg->max_stop, rq));
    HD_TRY(hd_take_stop(f, "stop", call->cfg->max_stop, rq));
    if (!hd_json_is_null(ids))
        HD_TRY(
            hd_take_ids(f, "stop_token_ids", ids, HD_MAX_STOP_IDS, &rq->stop_ids, &rq->n_stop_ids));
    HD_TRY(hd_take_bool(f, "include_stop_str_in_output", &rq->keep_stop, NULL));
    HD_TRY(hd_take_bool(f, "skip_special_tokens", &skip, NULL));
    rq->show_special = !skip;
    return HD_OK;
}

static hd_status read_output(const hd_fields *f, hd_call *call)
{
    hd_hf *x = call->extra;
    hd_gen_request *rq = &call->rq;
    static const char *const ones[] = {"n", "best_of", "num_beams", "top_n_tokens"};
    int32_t ignored = 0;
    HD_TRY(hd_take_bool(f, "details", &x->details, NULL));
    HD_TRY(hd_take_bool(f, "decoder_input_details", &x->prefill, NULL));
    HD_TRY(hd_take_bool(f, "return_full_text", &x->full_text, NULL));
    HD_CHECK(!x->prefill || !rq->stream, f->err, HD_E_INVAL,
             "decoder_input_details: not possible while streaming");
    for (size_t i = 0; i < sizeof(ones) / sizeof(ones[0]); i++) {
        int32_t v = 1;
        HD_TRY(hd_take_i32(f, ones[i], 0, INT32_MAX, &v, NULL));
        HD_CHECK(v <= 1, f->err, HD_E_UNSUPPORTED, "parameters.%s: found %d, only 1 is supported",
                 ones[i], (int)v);
    }
    HD_TRY(hd_refuse(f, "grammar", "this version cannot constrain answers"));
    HD_TRY(hd_refuse(f, "adapters", "no adapters are loaded"));
    // Details list the tokens' own log-probabilities only, whatever number is asked for.
    HD_TRY(hd_take_i32(f, "logprobs", 0, HD_MAX_LOGPROBS, &ignored, NULL));
    x->prefill = x->prefill && x->details;
    rq->prompt_logprobs = x->prefill;
    rq->sample.want_logprob = rq->stream || x->details;
    call->keep_tokens = x->details && !rq->stream;
    return HD_OK;
}

static hd_status parse(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err)
{
    hd_fields f = {body, "", a, err};
    const hd_json *parameters = hd_json_get(body, "parameters");
    hd_fields in = {parameters, "parameters.", a, err};
    HD_TRY(hd_hf_inputs(&f, call, true));
    hd_gen_request *rq = &call->rq;
    HD_CHECK(hd_json_is_null(parameters) || hd_json_type(parameters) == HD_JSON_OBJECT, err,
             HD_E_INVAL, "parameters: found %s, expected an object", hd_json_type_name(parameters));
    HD_TRY(read_sampling(&in, call));
    HD_TRY(read_stops(&in, call));
    rq->max_new_tokens = call->cfg->default_max_new_tokens > 0
                             ? (int32_t)call->cfg->default_max_new_tokens
                             : DEFAULT_MAX_NEW_TOKENS;
    HD_TRY(hd_take_i32(&in, "max_new_tokens", 1, INT32_MAX, &rq->max_new_tokens, NULL));
    HD_TRY(hd_take_i32(&in, "truncate", 1, call->facts->max_context, &rq->truncate, NULL));
    return read_output(&in, call);
}

// ---- errors --------------------------------------------------------------------------------

static int status_of(const hd_err *e)
{
    switch (e->code) {
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
    bool payload = e->code == HD_E_INVAL || e->code == HD_E_LIMIT || e->code == HD_E_UNSUPPORTED ||
                   e->code == HD_E_BUSY;
    if (in_stream) hd_frame_open(w, framing);
    hd_buf_puts(w, "{\"error\":");
    hd_json_put_str(w, hd_slice_str(e->msg));
    hd_buf_printf(w, ",\"code\":%d", in_stream ? 424 : status);
    if (in_stream)
        hd_buf_puts(w, ",\"generated_text\":null,\"token\":{\"id\":-1,\"text\":\"\",\"logprob\":-1,"
                       "\"log_prob\":-1,\"special\":true},\"details\":{\"finish_reason\":\"error\","
                       "\"generated_tokens\":null,\"inputs\":null}");
    else if (!payload)
        hd_buf_puts(w, ",\"message\":\"invoke handler failure\"");
    hd_buf_putc(w, '}');
    if (in_stream) hd_frame_close(w, framing);
}

const hd_schema hd_schema_lmi = {.name = "lmi",
                                 .key = "inputs",
                                 .parse = parse,
                                 .answer = hd_hf_answer,
                                 .begin = hd_hf_begin,
                                 .delta = hd_hf_delta,
                                 .end = hd_hf_end,
                                 .error = error,
                                 .status = status_of};
