// What OpenAI's two dialects share. Extensions known from vLLM are read where the engine has them;
// known fields that it has not, and that would change the answer, are refused by name.
#include "server/schemas/openai.h"

#include "server/sse.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- reading -------------------------------------------------------------------------------

static hd_status read_bias(const hd_fields *f, hd_call *call)
{
    const hd_json *v = hd_json_get(f->o, "logit_bias");
    int32_t vocab = hd_tokenizer_facts(call->facts->tokenizer)->n_vocab;
    size_t n = hd_json_len(v), i = 0;
    if (hd_json_is_null(v)) return HD_OK;
    HD_CHECK(hd_json_type(v) == HD_JSON_OBJECT, f->err, HD_E_INVAL,
             "logit_bias: found %s, expected an object from token ids to numbers",
             hd_json_type_name(v));
    HD_CHECK(n <= HD_MAX_LOGIT_BIAS, f->err, HD_E_LIMIT,
             "logit_bias: found %zu entries, expected at most %d", n, HD_MAX_LOGIT_BIAS);
    if (n == 0) return HD_OK;
    hd_logit_bias *bias = hd_arena_alloc(f->a, n * sizeof(*bias));
    HD_CHECK(bias, f->err, HD_E_NOMEM, "out of memory");
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), i++) {
        hd_slice key = hd_json_key(c);
        char *end;
        double d;
        errno = 0;
        long id = strtol(key.p, &end, 10);
        HD_CHECK(key.n > 0 && end == key.p + key.n && !errno && id >= 0 && id < vocab, f->err,
                 HD_E_INVAL, "logit_bias: found the key '%.20s', expected a token id below %d",
                 key.p, (int)vocab);
        HD_CHECK(hd_json_f64(c, &d) && d >= -100 && d <= 100, f->err, HD_E_INVAL,
                 "logit_bias.%ld: expected a number in [-100, 100]", id);
        bias[i] = (hd_logit_bias){(int32_t)id, (float)d};
    }
    call->rq.bias = bias;
    call->rq.n_bias = n;
    return HD_OK;
}

static hd_status read_sampling(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    hd_sample_params *p = &rq->sample;
    int32_t vocab = hd_tokenizer_facts(call->facts->tokenizer)->n_vocab, top_k = p->top_k;
    HD_TRY(hd_take_f32(f, "temperature", 0, 100, &p->temperature, NULL));
    HD_TRY(hd_take_f32(f, "top_p", 1e-6, 1, &p->top_p, NULL));
    HD_TRY(hd_take_i32(f, "top_k", -1, vocab, &top_k, NULL));
    p->top_k = top_k > 0 ? top_k : 0;
    HD_TRY(hd_take_f32(f, "min_p", 0, 1, &p->min_p, NULL));
    HD_TRY(hd_take_f32(f, "frequency_penalty", -2, 2, &p->frequency_penalty, NULL));
    HD_TRY(hd_take_f32(f, "presence_penalty", -2, 2, &p->presence_penalty, NULL));
    HD_TRY(hd_take_f32(f, "repetition_penalty", 1e-3, 100, &p->repetition_penalty, NULL));
    HD_TRY(hd_refuse_unless(f, "typical_p", 1, "only 1"));
    HD_TRY(hd_take_seed(f, "seed", rq));
    HD_TRY(hd_take_i32(f, "min_tokens", 0, call->facts->max_context, &p->min_tokens, NULL));
    HD_TRY(hd_take_bool(f, "ignore_eos", &p->ignore_eos, NULL));
    HD_TRY(hd_take_scheduling(f, rq));
    return read_bias(f, call);
}

static hd_status read_stops(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    const hd_json *ids = hd_json_get(f->o, "stop_token_ids");
    bool skip_special = true;
    HD_TRY(hd_take_stop(f, "stop", call->cfg->max_stop, rq));
    if (!hd_json_is_null(ids))
        HD_TRY(
            hd_take_ids(f, "stop_token_ids", ids, HD_MAX_STOP_IDS, &rq->stop_ids, &rq->n_stop_ids));
    HD_TRY(hd_take_bool(f, "include_stop_str_in_output", &rq->keep_stop, NULL));
    HD_TRY(hd_take_bool(f, "skip_special_tokens", &skip_special, NULL));
    rq->show_special = !skip_special;
    return HD_OK;
}

static hd_status read_stream(const hd_fields *f, hd_call *call)
{
    hd_openai *x = call->extra;
    const hd_json *options = hd_json_get(f->o, "stream_options");
    hd_fields in = {options, "stream_options.", f->a, f->err};
    HD_TRY(hd_take_bool(f, "stream", &call->rq.stream, NULL));
    if (call->shape == HD_SHAPE_UNARY) call->rq.stream = false;
    if (hd_json_is_null(options)) return HD_OK;
    HD_CHECK(hd_json_type(options) == HD_JSON_OBJECT, f->err, HD_E_INVAL,
             "stream_options: found %s, expected an object", hd_json_type_name(options));
    HD_TRY(hd_take_bool(&in, "include_usage", &x->include_usage, NULL));
    HD_TRY(hd_take_bool(&in, "continuous_usage_stats", &x->continuous_usage, NULL));
    call->rq.include_usage = x->include_usage;
    return HD_OK;
}

static hd_status refuse_unsupported(const hd_fields *f)
{
    static const char *const fields[] = {
        "structured_outputs", "guided_json", "guided_regex", "guided_choice",
        "guided_grammar",     "grammar",     "functions",    "logits_processors",
        "prompt_embeds",      "audio"};
    const hd_json *format = hd_json_get(f->o, "response_format");
    hd_slice type;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        HD_TRY(hd_refuse(f, fields[i], "this version cannot constrain or extend answers so"));
    bool text = hd_json_is_null(format) ||
                (hd_json_str(hd_json_get(format, "type"), &type) && hd_slice_eq_str(type, "text"));
    HD_CHECK(text, f->err, HD_E_UNSUPPORTED,
             "response_format: only {\"type\":\"text\"} is supported");
    bool beams = false;
    HD_TRY(hd_take_bool(f, "use_beam_search", &beams, NULL));
    HD_CHECK(!beams, f->err, HD_E_UNSUPPORTED, "use_beam_search: not supported");
    return HD_OK;
}

hd_status hd_openai_common(const hd_fields *f, hd_call *call, const char *id_prefix)
{
    hd_gen_request *rq = &call->rq;
    hd_slice model = {"", 0};
    int32_t best_of = 1;
    bool has_best_of;
    hd_gen_request_init(rq, call->facts);
    call->extra = hd_arena_alloc(f->a, sizeof(hd_openai));
    HD_CHECK(call->extra, f->err, HD_E_NOMEM, "out of memory");
    rq->id = call->request_id;
    snprintf(call->id, sizeof(call->id), "%s-%s", id_prefix, call->request_id);
    HD_TRY(hd_take_str(f, "model", &model, NULL));
    rq->model = model.n ? model : hd_slice_str(call->served_name);
    HD_CHECK(!call->cfg->strict_model_name || hd_slice_eq_str(rq->model, call->served_name), f->err,
             HD_E_NOTFOUND, "model: found '%.80s', expected '%.80s'", rq->model.p,
             call->served_name);
    HD_TRY(read_sampling(f, call));
    HD_TRY(read_stops(f, call));
    HD_TRY(read_stream(f, call));
    HD_TRY(refuse_unsupported(f));
    HD_TRY(hd_take_i32(f, "n", 1, HD_MAX_CHOICES, &rq->n, NULL));
    HD_TRY(hd_take_i32(f, "best_of", 1, HD_MAX_CHOICES, &best_of, &has_best_of));
    HD_CHECK(!has_best_of || best_of == 1 || best_of == rq->n, f->err, HD_E_UNSUPPORTED,
             "best_of: not supported beyond n");
    return hd_take_i32(f, "truncate_prompt_tokens", 1, call->facts->max_context, &rq->truncate,
                       NULL);
}

// ---- writing -------------------------------------------------------------------------------

void hd_openai_open(hd_buf *w, const hd_call *c, const char *object)
{
    hd_buf_puts(w, "{\"id\":");
    hd_json_put_str(w, hd_slice_str(c->id));
    hd_buf_printf(w, ",\"object\":\"%s\",\"created\":%lld,\"model\":", object,
                  (long long)c->created);
    hd_json_put_str(w, c->rq.model);
    hd_buf_puts(w, ",\"system_fingerprint\":\"hadal-" HADAL_VERSION "\",\"choices\":[");
}

static void put_usage(hd_buf *w, const hd_usage *u, int32_t reasoning)
{
    hd_buf_printf(w,
                  "{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d,"
                  "\"prompt_tokens_details\":{\"cached_tokens\":%d},"
                  "\"completion_tokens_details\":{\"reasoning_tokens\":%d}}",
                  (int)u->prompt_tokens, (int)u->completion_tokens,
                  (int)(u->prompt_tokens + u->completion_tokens), (int)u->cached_tokens,
                  (int)reasoning);
}

void hd_openai_usage(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    hd_usage sum = {0};
    int32_t reasoning = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % (size_t)c->rq.n == 0) {
            sum.prompt_tokens += choice[i].usage.prompt_tokens;
            sum.cached_tokens += choice[i].usage.cached_tokens;
        }
        sum.completion_tokens += choice[i].usage.completion_tokens;
        reasoning += choice[i].reasoning_tokens;
    }
    put_usage(w, &sum, reasoning);
}

void hd_openai_chunk_close(hd_buf *w, const hd_call *c, const hd_gen_delta *d)
{
    const hd_openai *x = c->extra;
    hd_buf_putc(w, ']');
    if (x->continuous_usage && d) {
        hd_buf_puts(w, ",\"usage\":");
        put_usage(w, &d->usage, 0);
    } else if (x->include_usage) {
        hd_buf_puts(w, ",\"usage\":null");
    }
    hd_buf_putc(w, '}');
    hd_frame_close(w, c->rq.framing);
}

void hd_openai_stream_end(hd_buf *w, const hd_call *c, const char *object, const hd_choice *choice,
                          size_t n)
{
    const hd_openai *x = c->extra;
    if (x->include_usage) {
        hd_frame_open(w, c->rq.framing);
        hd_openai_open(w, c, object);
        hd_buf_puts(w, "],\"usage\":");
        hd_openai_usage(w, c, choice, n);
        hd_buf_putc(w, '}');
        hd_frame_close(w, c->rq.framing);
    }
    hd_frame_done(w, c->rq.framing);
}

void hd_openai_finish(hd_buf *w, hd_finish finish, hd_slice stop, int32_t stop_id)
{
    hd_buf_printf(w, ",\"finish_reason\":\"%s\",\"stop_reason\":", hd_finish_openai(finish));
    if (stop.n > 0)
        hd_json_put_str(w, stop);
    else if (finish == HD_FINISH_DEADLINE)
        hd_buf_puts(w, "\"deadline\"");
    else if (stop_id >= 0)
        hd_buf_printf(w, "%d", (int)stop_id);
    else
        hd_buf_puts(w, "null");
}

// ---- errors --------------------------------------------------------------------------------

static const char *error_type(int status)
{
    switch (status) {
    case 401:
        return "AuthenticationError";
    case 404:
        return "NotFoundError";
    case 429:
        return "RateLimitError";
    case 501:
        return "NotImplementedError";
    case 503:
        return "ServiceUnavailableError";
    default:
        return status < 500 ? "BadRequestError" : "InternalServerError";
    }
}

// The field that a message "field: ..." is about, or nothing.
static hd_slice param_of(const char *msg)
{
    size_t n = strspn(msg, "abcdefghijklmnopqrstuvwxyz0123456789_.[]");
    bool is_field = n > 0 && strncmp(msg + n, ": ", 2) == 0;
    return hd_slice_of(msg, is_field ? n : 0);
}

void hd_openai_error(hd_buf *w, const hd_err *e, int status, bool in_stream, hd_framing framing)
{
    hd_slice param = param_of(e->msg);
    if (in_stream) hd_frame_open(w, framing);
    hd_buf_puts(w, "{\"error\":{\"message\":");
    hd_json_put_str(w, hd_slice_str(e->msg));
    hd_buf_printf(w, ",\"type\":\"%s\",\"param\":", error_type(status));
    if (param.n > 0 && status < 500)
        hd_json_put_str(w, param);
    else
        hd_buf_puts(w, "null");
    hd_buf_printf(w, ",\"code\":%d}}", status);
    if (!in_stream) return;
    hd_frame_close(w, framing);
    hd_frame_done(w, framing);
}

int hd_openai_status(const hd_err *e)
{
    return hd_http_status_of(e->code);
}
