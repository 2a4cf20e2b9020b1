// OpenAI text completions: prompts are whole texts or token ids that the caller has prepared.
// Special tokens spelled in a text prompt become themselves, as in the servers callers come from.
#include "server/schemas/openai.h"
#include "server/sse.h"

#include <math.h>

enum { DEFAULT_MAX_TOKENS = 16 };

static const char object[] = "text_completion";

// ---- reading -------------------------------------------------------------------------------

static hd_status read_prompt(const hd_fields *f, const hd_json *v, hd_prompt_in *out)
{
    hd_slice s;
    if (hd_json_str(v, &s)) {
        HD_CHECK(s.n > 0, f->err, HD_E_INVAL, "prompt: found an empty string, expected text");
        out->kind = HD_INPUT_TEXT;
        out->text = s;
        return HD_OK;
    }
    out->kind = HD_INPUT_IDS;
    // Too many for the context is told in the words of length errors, later.
    HD_TRY(hd_take_ids(f, "prompt", v, SIZE_MAX / 8, &out->ids, &out->n_ids));
    HD_CHECK(out->n_ids > 0, f->err, HD_E_INVAL,
             "prompt: found an empty array, expected token ids");
    return HD_OK;
}

static hd_status read_prompts(const hd_fields *f, hd_call *call)
{
    const hd_json *v = hd_json_get(f->o, "prompt"), *first = hd_json_first(v);
    hd_json_kind kind = hd_json_type(v);
    HD_CHECK(
        kind == HD_JSON_STRING || kind == HD_JSON_ARRAY, f->err, HD_E_INVAL,
        "prompt: found %s, expected a string, an array of strings, token ids or arrays of them",
        hd_json_type_name(v));
    // An array of numbers is one prompt; of strings or arrays, each is one.
    bool many = kind == HD_JSON_ARRAY && hd_json_type(first) != HD_JSON_NUMBER;
    size_t n = many ? hd_json_len(v) : 1, i = 0;
    HD_CHECK(n > 0, f->err, HD_E_INVAL, "prompt: found an empty array, expected a prompt");
    HD_CHECK(n * (size_t)call->rq.n <= HD_MAX_CHOICES, f->err, HD_E_LIMIT,
             "prompt: found %zu prompts times n = %d, expected at most %d answers", n,
             (int)call->rq.n, HD_MAX_CHOICES);
    hd_prompt_in *p = hd_arena_alloc(f->a, n * sizeof(*p));
    HD_CHECK(p, f->err, HD_E_NOMEM, "out of memory");
    if (!many) HD_TRY(read_prompt(f, v, &p[0]));
    for (const hd_json *c = many ? first : NULL; c; c = hd_json_next(c))
        HD_TRY(read_prompt(f, c, &p[i++]));
    call->prompts = p;
    call->n_prompts = n;
    return HD_OK;
}

static hd_status read_echo(const hd_fields *f, hd_call *call)
{
    hd_openai *x = call->extra;
    HD_TRY(hd_take_bool(f, "echo", &x->echo, NULL));
    x->offset = hd_arena_alloc(f->a, call->n_prompts * (size_t)call->rq.n * sizeof(*x->offset));
    x->echo_text = hd_arena_alloc(f->a, call->n_prompts * sizeof(*x->echo_text));
    HD_CHECK(x->offset && x->echo_text, f->err, HD_E_NOMEM, "out of memory");
    for (size_t i = 0; x->echo && i < call->n_prompts; i++) {
        const hd_prompt_in *p = &call->prompts[i];
        x->echo_text[i] = p->text;
        if (p->kind == HD_INPUT_TEXT) continue;
        hd_buf text = {0};
        hd_status st = hd_detokenize(call->facts->tokenizer, p->ids, p->n_ids, 0, &text, f->err);
        const char *copy = hd_arena_dup(f->a, text.data ? text.data : "", text.len);
        x->echo_text[i] = hd_slice_of(copy, text.len);
        hd_buf_fini(&text);
        HD_TRY(st);
        HD_CHECK(copy, f->err, HD_E_NOMEM, "out of memory");
    }
    return HD_OK;
}

static hd_status parse(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err)
{
    hd_fields f = {body, "", a, err};
    hd_slice suffix = {"", 0};
    HD_TRY(hd_openai_common(&f, call, "cmpl"));
    hd_openai *x = call->extra;
    hd_gen_request *rq = &call->rq;
    HD_TRY(hd_take_str(&f, "suffix", &suffix, NULL));
    HD_CHECK(suffix.n == 0, err, HD_E_UNSUPPORTED, "suffix: not supported by this model");
    HD_TRY(read_prompts(&f, call));
    HD_TRY(read_echo(&f, call));
    rq->kind = HD_INPUT_TEXT;
    rq->parse_special = true;
    rq->max_new_tokens = DEFAULT_MAX_TOKENS;
    if (call->cfg->default_max_new_tokens > 0)
        rq->max_new_tokens = (int32_t)call->cfg->default_max_new_tokens;
    HD_TRY(hd_take_i32(&f, "max_tokens", 1, INT32_MAX, &rq->max_new_tokens, NULL));
    HD_CHECK(rq->sample.min_tokens <= rq->max_new_tokens, err, HD_E_INVAL,
             "min_tokens: found %d, expected at most max_tokens %d", (int)rq->sample.min_tokens,
             (int)rq->max_new_tokens);
    HD_TRY(hd_take_i32(&f, "logprobs", 0, HD_MAX_LOGPROBS, &rq->sample.n_logprobs, &x->logprobs));
    rq->sample.want_logprob = call->keep_tokens = x->logprobs;
    rq->prompt_logprobs = x->logprobs && x->echo && !rq->stream;
    return hd_refuse(&f, "prompt_logprobs", "use echo with logprobs");
}

// ---- writing -------------------------------------------------------------------------------

static size_t characters(hd_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += (s.p[i] & 0xC0) != 0x80;
    return n;
}

// Four parallel lists; rows are collected first, then written.
typedef struct rows {
    hd_buf tokens, logprobs, top, offsets;
} rows;

static void add_row(rows *r, const hd_call *c, const hd_token_out *t, size_t offset)
{
    const char *comma = r->tokens.len ? "," : "";
    hd_buf_puts(&r->tokens, comma);
    hd_put_token_str(&r->tokens, c->facts->tokenizer, t->id);
    hd_buf_puts(&r->logprobs, comma);
    hd_json_put_f32(&r->logprobs, t->logprob); // the first prompt token has none: null
    hd_buf_puts(&r->top, comma);
    if (isnan(t->logprob) || c->rq.sample.n_logprobs == 0) {
        hd_buf_puts(&r->top, "null");
    } else {
        for (int32_t k = 0; k < t->n_top; k++) {
            hd_buf_putc(&r->top, k ? ',' : '{');
            hd_put_token_str(&r->top, c->facts->tokenizer, t->top[k].id);
            hd_buf_putc(&r->top, ':');
            hd_json_put_f32(&r->top, t->top[k].logprob);
        }
        hd_buf_puts(&r->top, t->n_top ? "}" : "{}");
    }
    hd_buf_printf(&r->offsets, "%s%zu", comma, offset);
}

static void put_rows(hd_buf *w, rows *r)
{
    hd_buf_puts(w, ",\"logprobs\":{\"tokens\":[");
    hd_buf_put_slice(w, hd_buf_slice(&r->tokens));
    hd_buf_puts(w, "],\"token_logprobs\":[");
    hd_buf_put_slice(w, hd_buf_slice(&r->logprobs));
    hd_buf_puts(w, "],\"top_logprobs\":[");
    hd_buf_put_slice(w, hd_buf_slice(&r->top));
    hd_buf_puts(w, "],\"text_offset\":[");
    hd_buf_put_slice(w, hd_buf_slice(&r->offsets));
    hd_buf_puts(w, "]}");
    w->failed |= r->tokens.failed || r->logprobs.failed || r->top.failed || r->offsets.failed;
    hd_buf_fini(&r->tokens);
    hd_buf_fini(&r->logprobs);
    hd_buf_fini(&r->top);
    hd_buf_fini(&r->offsets);
}

static void add_prompt_rows(rows *r, const hd_call *c, const hd_token_out *t, size_t n)
{
    size_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        add_row(r, c, &t[i], offset);
        offset += characters(hd_token_bytes(c->facts->tokenizer, t[i].id));
    }
}

static void add_token_row(rows *r, const hd_call *c, const hd_gen_delta *d, size_t *offset)
{
    if (!d->ends) add_row(r, c, &d->token, *offset);
    for (size_t i = 0; i < d->n_pieces; i++)
        *offset += characters(d->piece[i].text);
}

static void put_choice_logprobs(hd_buf *w, const hd_call *c, const hd_choice *ch, hd_slice echo)
{
    rows r = {0};
    size_t offset = characters(echo);
    if (ch->prompt) add_prompt_rows(&r, c, ch->prompt, ch->n_prompt);
    for (size_t i = 0; i < ch->n_tokens; i++)
        add_token_row(&r, c, &ch->token[i], &offset);
    put_rows(w, &r);
}

static void answer(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    const hd_openai *x = c->extra;
    hd_openai_open(w, c, object);
    for (size_t i = 0; i < n; i++) {
        hd_buf text = {0};
        hd_slice echo = x->echo ? x->echo_text[i / (size_t)c->rq.n] : hd_slice_of("", 0);
        hd_buf_put_slice(&text, echo);
        hd_buf_put_slice(&text, choice[i].content);
        hd_buf_printf(w, "%s{\"index\":%zu,\"text\":", i ? "," : "", i);
        hd_json_put_str(w, hd_buf_slice(&text));
        if (x->logprobs)
            put_choice_logprobs(w, c, &choice[i], echo);
        else
            hd_buf_puts(w, ",\"logprobs\":null");
        hd_openai_finish(w, choice[i].finish, choice[i].stop, choice[i].stop_id);
        hd_buf_putc(w, '}');
        w->failed |= text.failed;
        hd_buf_fini(&text);
    }
    hd_buf_puts(w, "],\"usage\":");
    hd_openai_usage(w, c, choice, n);
    hd_buf_putc(w, '}');
}

static void open_chunk(hd_buf *w, const hd_call *c, int32_t choice, hd_slice text)
{
    hd_frame_open(w, c->rq.framing);
    hd_openai_open(w, c, object);
    hd_buf_printf(w, "{\"index\":%d,\"text\":", (int)choice);
    hd_json_put_str(w, text);
}

// The prompt's text; its log-probabilities are known only at the end and stay out of streams.
static void begin(hd_buf *w, const hd_call *c, int32_t choice)
{
    const hd_openai *x = c->extra;
    if (!x->echo) return;
    hd_slice text = x->echo_text[choice / c->rq.n];
    x->offset[choice] = characters(text);
    open_chunk(w, c, choice, text);
    hd_buf_puts(w, ",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}");
    hd_openai_chunk_close(w, c, NULL);
}

static void delta(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d)
{
    const hd_openai *x = c->extra;
    hd_buf text = {0};
    bool done = d->kind == HD_GEN_DONE, token = d->kind == HD_GEN_TOKEN;
    bool logprobs = x->logprobs && token && !d->ends;
    hd_delta_text(d, HD_PIECE_CONTENT, &text);
    if (text.len > 0 || logprobs || done || (token && !d->last)) {
        open_chunk(w, c, choice, hd_buf_slice(&text));
        rows r = {0};
        if (logprobs) {
            add_token_row(&r, c, d, &x->offset[choice]);
            put_rows(w, &r);
        } else {
            hd_buf_puts(w, ",\"logprobs\":null");
        }
        if (done)
            hd_openai_finish(w, d->finish, d->stop, d->stop_id);
        else
            hd_buf_puts(w, ",\"finish_reason\":null,\"stop_reason\":null");
        hd_buf_putc(w, '}');
        hd_openai_chunk_close(w, c, d);
    }
    w->failed |= text.failed;
    hd_buf_fini(&text);
}

static void end(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    hd_openai_stream_end(w, c, object, choice, n);
}

const hd_schema hd_schema_openai_completions = {.name = "openai_completions",
                                                .key = "prompt",
                                                .parse = parse,
                                                .answer = answer,
                                                .begin = begin,
                                                .delta = delta,
                                                .end = end,
                                                .error = hd_openai_error,
                                                .status = hd_openai_status};
