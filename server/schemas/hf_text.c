// What the two "inputs" dialects share: the prompt, and writing answers and streams. They differ in
// the wrapping array, key names and framing.
//
// The last token of a stream is sent in one event with the whole text and the details, so it waits
// for the end, which follows at once.
#include "server/schemas/hf_text.h"

#include "server/sse.h"

#include <math.h>

// ---- reading -------------------------------------------------------------------------------

static hd_status read_list(const hd_fields *f, hd_call *call, const hd_json *v)
{
    hd_hf *x = call->extra;
    size_t n = hd_json_len(v), i = 0;
    HD_CHECK(n > 0 && n <= HD_MAX_CHOICES, f->err, HD_E_INVAL,
             "inputs: found an array of %zu, expected 1 to %d strings", n, HD_MAX_CHOICES);
    HD_CHECK(!call->rq.stream, f->err, HD_E_UNSUPPORTED,
             "inputs: found an array, expected a string when streaming");
    hd_prompt_in *p = hd_arena_alloc(f->a, n * sizeof(*p));
    x->inputs = hd_arena_alloc(f->a, n * sizeof(*x->inputs));
    HD_CHECK(p && x->inputs, f->err, HD_E_NOMEM, "out of memory");
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), i++) {
        HD_CHECK(hd_json_str(c, &p[i].text) && p[i].text.n > 0, f->err, HD_E_INVAL,
                 "inputs[%zu]: expected a string that is not empty", i);
        p[i].kind = HD_INPUT_TEXT;
        x->inputs[i] = p[i].text;
    }
    x->list = true;
    call->prompts = p;
    call->n_prompts = n;
    return HD_OK;
}

hd_status hd_hf_inputs(const hd_fields *f, hd_call *call, bool lmi)
{
    hd_gen_request *rq = &call->rq;
    const hd_json *v = hd_json_get(f->o, "inputs");
    hd_gen_request_init(rq, call->facts);
    hd_hf *x = hd_arena_alloc(f->a, sizeof(*x));
    HD_CHECK(x, f->err, HD_E_NOMEM, "out of memory");
    call->extra = x;
    x->a = f->a;
    x->lmi = lmi;
    rq->id = call->request_id;
    rq->kind = HD_INPUT_TEXT;
    rq->parse_special = true;
    rq->model = hd_slice_str(call->served_name);
    rq->framing = lmi ? HD_FRAME_JSONL : HD_FRAME_SSE;
    rq->words = HD_WORDS_TGI;
    HD_TRY(hd_take_bool(f, "stream", &rq->stream, NULL));
    if (call->shape != HD_SHAPE_ASKED) rq->stream = call->shape == HD_SHAPE_STREAM;
    if (lmi && hd_json_type(v) == HD_JSON_ARRAY) return read_list(f, call, v);
    HD_CHECK(hd_json_str(v, &rq->text), f->err, HD_E_INVAL, "inputs: found %s, expected a string",
             hd_json_type_name(v));
    HD_CHECK(rq->text.n > 0, f->err, HD_E_INVAL, "`inputs` cannot be empty");
    x->inputs = &rq->text;
    return HD_OK;
}

// ---- writing -------------------------------------------------------------------------------

static const char *finish_word(hd_finish f, hd_slice stop)
{
    if (f != HD_FINISH_STOP) return "length";
    return stop.n > 0 ? "stop_sequence" : "eos_token";
}

static void put_logprob(hd_buf *w, const hd_call *c, float logprob)
{
    const hd_hf *x = c->extra;
    hd_buf_puts(w, ",\"logprob\":");
    hd_json_put_f32(w, logprob);
    if (!x->lmi) return;
    hd_buf_puts(w, ",\"log_prob\":");
    hd_json_put_f32(w, logprob);
}

static void put_token(hd_buf *w, const hd_call *c, int32_t id, hd_slice text, float logprob,
                      bool special)
{
    hd_buf_printf(w, "{\"id\":%d,\"text\":", (int)id);
    hd_json_put_str(w, text);
    put_logprob(w, c, logprob);
    hd_buf_printf(w, ",\"special\":%s}", special ? "true" : "false");
}

// Special tokens show themselves, others what became visible with them: together the texts of the
// others are the answer.
static void put_delta_token(hd_buf *w, const hd_call *c, const hd_gen_delta *d)
{
    hd_buf text = {0};
    hd_delta_text(d, HD_PIECE_CONTENT, &text);
    put_token(w, c, d->token.id, d->special ? d->token_text : hd_buf_slice(&text), d->token.logprob,
              d->special);
    w->failed |= text.failed;
    hd_buf_fini(&text);
}

static void put_top(hd_buf *w, const hd_call *c, const hd_token_out *t)
{
    const hd_tokenizer *tok = c->facts->tokenizer;
    hd_buf_putc(w, '[');
    for (int32_t k = 0; k < t->n_top; k++) {
        hd_buf_puts(w, k ? "," : "");
        put_token(w, c, t->top[k].id, hd_token_bytes(tok, t->top[k].id), t->top[k].logprob,
                  hd_token_is_special(tok, t->top[k].id));
    }
    hd_buf_putc(w, ']');
}

static void put_seed(hd_buf *w, const hd_hf *x, uint64_t seed)
{
    if (x->sampled)
        hd_buf_printf(w, ",\"seed\":%llu", (unsigned long long)seed);
    else
        hd_buf_puts(w, ",\"seed\":null");
}

static void put_prefill(hd_buf *w, const hd_call *c, const hd_choice *ch)
{
    hd_buf_puts(w, ",\"prefill\":[");
    for (size_t i = 0; i < ch->n_prompt; i++) {
        const hd_token_out *t = &ch->prompt[i];
        hd_buf_printf(w, "%s{\"id\":%d,\"text\":", i ? "," : "", (int)t->id);
        hd_put_token_str(w, c->facts->tokenizer, t->id);
        put_logprob(w, c, t->logprob);
        hd_buf_putc(w, '}');
    }
    hd_buf_putc(w, ']');
}

// The members of "details", and of each entry of "best_of_sequences".
static void put_detail_members(hd_buf *w, const hd_call *c, const hd_choice *ch)
{
    hd_buf_printf(w, "\"finish_reason\":\"%s\",\"generated_tokens\":%d",
                  finish_word(ch->finish, ch->stop), (int)ch->usage.completion_tokens);
    put_seed(w, c->extra, ch->seed);
    put_prefill(w, c, ch);
    hd_buf_puts(w, ",\"tokens\":[");
    for (size_t i = 0; i < ch->n_tokens; i++) {
        hd_buf_puts(w, i ? "," : "");
        put_delta_token(w, c, &ch->token[i]);
    }
    hd_buf_putc(w, ']');
    if (c->rq.sample.n_logprobs > 0) {
        hd_buf_puts(w, ",\"top_tokens\":[");
        for (size_t i = 0; i < ch->n_tokens; i++) {
            hd_buf_puts(w, i ? "," : "");
            put_top(w, c, &ch->token[i].token);
        }
        hd_buf_putc(w, ']');
    }
}

static void put_full_text(hd_buf *w, const hd_hf *x, size_t prompt, hd_slice content)
{
    hd_buf text = {0};
    if (x->full_text) hd_buf_put_slice(&text, x->inputs[prompt]);
    hd_buf_put_slice(&text, content);
    hd_json_put_str(w, hd_buf_slice(&text));
    w->failed |= text.failed;
    hd_buf_fini(&text);
}

// The likeliest of n answers, by mean log-probability of their tokens.
static size_t likeliest(const hd_choice *choice, size_t n)
{
    size_t best = 0;
    double best_mean = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < choice[i].n_tokens; k++)
            sum += choice[i].token[k].token.logprob;
        double mean = choice[i].n_tokens ? sum / (double)choice[i].n_tokens : -INFINITY;
        if (mean <= best_mean) continue;
        best_mean = mean;
        best = i;
    }
    return best;
}

static void put_others(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n, size_t best)
{
    const hd_hf *x = c->extra;
    const char *sep = ",\"best_of_sequences\":[";
    for (size_t i = 0; i < n; i++) {
        if (i == best) continue;
        hd_buf_puts(w, sep);
        hd_buf_puts(w, "{\"generated_text\":");
        put_full_text(w, x, 0, choice[i].content);
        hd_buf_putc(w, ',');
        put_detail_members(w, c, &choice[i]);
        hd_buf_putc(w, '}');
        sep = ",";
    }
    hd_buf_putc(w, ']');
}

static void put_answer(hd_buf *w, const hd_call *c, size_t prompt, const hd_choice *choice,
                       size_t n)
{
    const hd_hf *x = c->extra;
    size_t best = n > 1 ? likeliest(choice, n) : 0;
    hd_buf_puts(w, "{\"generated_text\":");
    put_full_text(w, x, prompt, choice[best].content);
    if (x->details) {
        hd_buf_puts(w, ",\"details\":{");
        put_detail_members(w, c, &choice[best]);
        if (n > 1) put_others(w, c, choice, n, best);
        hd_buf_putc(w, '}');
    }
    hd_buf_putc(w, '}');
}

void hd_hf_answer(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    const hd_hf *x = c->extra;
    bool array = (!x->lmi && c->shape != HD_SHAPE_OBJECT) || x->list;
    size_t each = (size_t)c->rq.n;
    if (array) hd_buf_putc(w, '[');
    for (size_t i = 0; i < n; i += each) {
        hd_buf_puts(w, i ? "," : "");
        put_answer(w, c, i / each, choice + i, each);
    }
    if (array) hd_buf_putc(w, ']');
}

void hd_hf_begin(hd_buf *w, const hd_call *c, int32_t choice)
{
    hd_hf *x = c->extra;
    (void)w;
    (void)choice;
    x->index = 0;
    x->has_last = x->last_special = false;
    x->last_text = x->last_top = hd_slice_of("", 0);
}

// Copies the last token, and text that comes behind it, until the end.
static void hold_last(hd_buf *w, const hd_call *c, const hd_gen_delta *d)
{
    hd_hf *x = c->extra;
    hd_buf text = {0}, top = {0};
    // Text held back until a special token came: it takes the token's place, for what readers
    // collect is the text of ordinary tokens.
    if (d->kind == HD_GEN_TEXT && x->last_special)
        x->last_special = false;
    else
        hd_buf_put_slice(&text, x->last_text);
    hd_delta_text(d, HD_PIECE_CONTENT, &text);
    if (d->kind == HD_GEN_TOKEN) {
        x->has_last = true;
        x->last_id = d->token.id;
        x->last_logprob = d->token.logprob;
        x->last_special = d->special;
        if (d->special) {
            hd_buf_clear(&text);
            hd_buf_put_slice(&text, d->token_text);
        }
        put_top(&top, c, &d->token);
        x->last_top = hd_slice_of(hd_arena_dup(x->a, top.data, top.len), top.len);
    }
    x->last_text = hd_slice_of(hd_arena_dup(x->a, text.data ? text.data : "", text.len), text.len);
    w->failed |= text.failed || top.failed || !x->last_text.p || !x->last_top.p;
    hd_buf_fini(&text);
    hd_buf_fini(&top);
}

static void open_event(hd_buf *w, const hd_call *c)
{
    hd_hf *x = c->extra;
    x->index++;
    hd_frame_open(w, c->rq.framing);
    hd_buf_printf(w, "{\"index\":%d,\"token\":", x->lmi ? 0 : (int)x->index);
}

void hd_hf_delta(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d)
{
    (void)choice;
    if (d->kind == HD_GEN_DONE) return;
    if (d->kind == HD_GEN_TEXT || d->last) {
        hold_last(w, c, d);
        return;
    }
    open_event(w, c);
    put_delta_token(w, c, d);
    if (c->rq.sample.n_logprobs > 0) {
        hd_buf_puts(w, ",\"top_tokens\":");
        put_top(w, c, &d->token);
    }
    hd_buf_puts(w, ",\"generated_text\":null,\"details\":null}");
    hd_frame_close(w, c->rq.framing);
}

void hd_hf_end(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    hd_hf *x = c->extra;
    const hd_choice *ch = &choice[0];
    HD_ASSERT(n == 1);
    open_event(w, c);
    // Without a last token (the request ended between two) an empty special one stands for the end.
    if (x->has_last)
        put_token(w, c, x->last_id, x->last_text, x->last_logprob, x->last_special);
    else
        put_token(w, c, 0, x->last_text, NAN, true);
    if (c->rq.sample.n_logprobs > 0) {
        hd_buf_puts(w, ",\"top_tokens\":");
        hd_buf_put_slice(w, x->last_top.n ? x->last_top : hd_slice_str("[]"));
    }
    hd_buf_puts(w, ",\"generated_text\":");
    put_full_text(w, x, 0, ch->content);
    if (x->details) {
        hd_buf_printf(w, ",\"details\":{\"finish_reason\":\"%s\",\"generated_tokens\":%d",
                      finish_word(ch->finish, ch->stop), (int)ch->usage.completion_tokens);
        put_seed(w, x, ch->seed);
        hd_buf_printf(w, ",\"input_length\":%d}}", (int)ch->usage.prompt_tokens);
    } else {
        hd_buf_puts(w, ",\"details\":null}");
    }
    hd_frame_close(w, c->rq.framing);
}
