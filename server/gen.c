// One generation: a request becomes token ids and goes to the engine; its tokens become text.
//
// Text passes detokenizer, stop strings and the reasoning splitter, in this order: a stop string
// counts wherever the model writes it, also in its reasoning.
//
// Prompts given as text are whole prompts that the caller has rendered, so added tokens spelled in
// them become themselves when the dialect says so (parse_special); fields of chat messages never
// do. Where the model wants a beginning-of-sequence token, a text prompt gets one unless it starts
// with it already; ids are taken as they are.
#include "server/gen.h"

#include "kernels/base/rng.h"
#include "server/stop.h"

#include <string.h>

typedef enum gen_state {
    RUN,         // tokens come
    STOPPING,    // a stop string matched; the engine's last event is awaited
    FLUSH,       // all tokens are here; detokenizer and stop strings may hold text
    FLUSH_SPLIT, // the splitter may hold text
    FINISHED,
    OVER // the last delta has been given out
} gen_state;

struct hd_gen {
    const hd_model_facts *facts;
    hd_stream *stream;
    hd_ids prompt;
    hd_token_out *prompt_lp;
    size_t n_prompt_lp, cap_prompt_lp;
    int32_t ends[HD_MAX_STOP_IDS], own[HD_MAX_STOP_IDS]; // all stop ids; those of the request
    int32_t n_ends, n_own;
    int32_t max_new, min_tokens, n_out, stop_id;
    bool ignore_eos, keep_stop, splits;
    hd_detok detok;
    hd_stop stop;
    hd_split split;
    hd_buf decoded, visible, token_text;
    hd_event ev;
    int32_t at; // tokens of ev given out
    gen_state state;
    hd_finish finish;
    hd_usage usage;
    uint64_t seed;
};

void hd_gen_request_init(hd_gen_request *rq, const hd_model_facts *facts)
{
    memset(rq, 0, sizeof(*rq));
    rq->sample = facts->defaults;
    rq->n = 1;
    rq->chat.add_generation_prompt = true;
    rq->chat.thinking = HD_UNSET;
}

// ---- prompt --------------------------------------------------------------------------------

static hd_status encode_text(const hd_tokenizer *t, const hd_gen_request *rq, hd_ids *out,
                             hd_err *err)
{
    const hd_tokenizer_info *info = hd_tokenizer_facts(t);
    unsigned flags = rq->parse_special ? HD_TOK_SPECIAL : 0;
    bool bos = info->add_bos && info->bos >= 0;
    if (bos) HD_CHECK(hd_ids_push(out, info->bos), err, HD_E_NOMEM, "out of memory");
    HD_TRY(hd_tokenize(t, rq->text, flags, out, err));
    if (bos && out->n > 1 && out->v[1] == info->bos) { // the caller wrote it
        memmove(out->v, out->v + 1, (out->n - 1) * sizeof(*out->v));
        out->n--;
    }
    return HD_OK;
}

static hd_status encode_chat(const hd_model_facts *f, const hd_gen_request *rq, hd_ids *out,
                             hd_err *err)
{
    hd_prompt p = {0};
    HD_CHECK(f->chat, err, HD_E_UNSUPPORTED,
             "messages: this server has no chat template for its model; send a rendered prompt");
    hd_status st = f->chat->render(&rq->chat, f->tokenizer, &p, err);
    if (st == HD_OK && p.text.failed) st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
    if (st == HD_OK) st = hd_tokenize_prompt(f->tokenizer, &p, 0, out, err);
    hd_prompt_fini(&p);
    return st;
}

static hd_status copy_ids(const hd_tokenizer *t, const hd_gen_request *rq, hd_ids *out, hd_err *err)
{
    int32_t vocab = hd_tokenizer_facts(t)->n_vocab;
    for (size_t i = 0; i < rq->n_ids; i++) {
        HD_CHECK(rq->ids[i] >= 0 && rq->ids[i] < vocab, err, HD_E_INVAL,
                 "prompt[%zu]: found token id %d, expected one in [0, %d)", i, (int)rq->ids[i],
                 (int)vocab);
        HD_CHECK(hd_ids_push(out, rq->ids[i]), err, HD_E_NOMEM, "out of memory");
    }
    return HD_OK;
}

hd_status hd_gen_encode(const hd_model_facts *f, const hd_gen_request *rq, hd_ids *out, hd_err *err)
{
    switch (rq->kind) {
    case HD_INPUT_TEXT:
        HD_TRY(encode_text(f->tokenizer, rq, out, err));
        break;
    case HD_INPUT_IDS:
        HD_TRY(copy_ids(f->tokenizer, rq, out, err));
        break;
    case HD_INPUT_CHAT:
        HD_TRY(encode_chat(f, rq, out, err));
        break;
    }
    if (rq->truncate > 0 && out->n > (size_t)rq->truncate) {
        size_t drop = out->n - (size_t)rq->truncate;
        memmove(out->v, out->v + drop, (out->n - drop) * sizeof(*out->v));
        out->n -= drop;
    }
    HD_CHECK(out->n > 0, err, HD_E_INVAL, "prompt: found no tokens, expected at least one");
    return HD_OK;
}

// How many tokens may be generated; an error when the prompt leaves no room for what was asked.
static hd_status fit(const hd_gen_request *rq, int32_t context, size_t n, int32_t *max_new,
                     hd_err *err)
{
    bool tgi = rq->words == HD_WORDS_TGI;
    int32_t want = rq->max_new_tokens;
    if (n >= (size_t)context)
        return tgi ? HD_FAIL(err, HD_E_LIMIT, "`inputs` must have less than %d tokens. Given: %zu",
                             (int)context, n)
                   : HD_FAIL(err, HD_E_LIMIT,
                             "This model's maximum context length is %d tokens. However, your "
                             "prompt has %zu tokens. Please shorten it.",
                             (int)context, n);
    int32_t room = context - (int32_t)n;
    if (want > room)
        return tgi ? HD_FAIL(err, HD_E_LIMIT,
                             "`inputs` tokens + `max_new_tokens` must be <= %d. Given: %zu "
                             "`inputs` tokens and %d `max_new_tokens`",
                             (int)context, n, (int)want)
                   : HD_FAIL(err, HD_E_LIMIT,
                             "This model's maximum context length is %d tokens. However, you "
                             "requested %lld tokens (%zu in the prompt, %d in the completion). "
                             "Please reduce the length of the prompt or completion.",
                             (int)context, (long long)n + want, n, (int)want);
    *max_new = want > 0 ? want : room;
    return HD_OK;
}

// ---- start ---------------------------------------------------------------------------------

static bool has_id(const int32_t *ids, int32_t n, int32_t id)
{
    for (int32_t i = 0; i < n; i++)
        if (ids[i] == id) return true;
    return false;
}

static hd_status collect_stop_ids(hd_gen *g, const hd_gen_request *rq, hd_err *err)
{
    size_t n;
    const int32_t *model = hd_tokenizer_stops(g->facts->tokenizer, &n);
    HD_CHECK(n + rq->n_stop_ids <= HD_MAX_STOP_IDS, err, HD_E_LIMIT,
             "stop_token_ids: found %zu ids, expected at most %d", rq->n_stop_ids,
             HD_MAX_STOP_IDS - (int)n);
    for (size_t i = 0; i < n; i++)
        g->ends[g->n_ends++] = model[i];
    for (size_t i = 0; i < rq->n_stop_ids; i++) {
        g->own[g->n_own++] = rq->stop_ids[i];
        if (!has_id(g->ends, g->n_ends, rq->stop_ids[i])) g->ends[g->n_ends++] = rq->stop_ids[i];
    }
    return HD_OK;
}

static hd_status prepare(hd_gen *g, const hd_gen_request *rq, int32_t choice, hd_err *err)
{
    const hd_model_facts *f = g->facts;
    // Integers up to 2^53 survive JSON readers that know only doubles.
    g->seed = rq->has_seed ? rq->sample.seed + (uint64_t)choice : hd_rng_entropy() >> 11;
    g->min_tokens = rq->sample.min_tokens;
    g->ignore_eos = rq->sample.ignore_eos;
    g->keep_stop = rq->keep_stop;
    g->stop_id = -1;
    HD_CHECK(hd_stop_init(&g->stop, rq->stop, rq->n_stop, rq->keep_stop), err, HD_E_NOMEM,
             "out of memory");
    HD_TRY(collect_stop_ids(g, rq, err));
    HD_TRY(hd_gen_encode(f, rq, &g->prompt, err));
    HD_TRY(fit(rq, f->max_context, g->prompt.n, &g->max_new, err));
    hd_detok_init(&g->detok, f->tokenizer, rq->show_special ? 0 : HD_DETOK_SKIP_SPECIAL);
    g->detok.started = true; // the answer goes on behind the prompt: its first blank counts
    g->splits = rq->split_reasoning && rq->kind == HD_INPUT_CHAT && f->chat->think;
    if (g->splits) hd_split_init(&g->split, f->chat->think(&rq->chat));
    return HD_OK;
}

static hd_status submit(hd_gen *g, hd_engine *e, const hd_gen_request *rq, hd_err *err)
{
    hd_request r = {.prompt = g->prompt.v,
                    .n_prompt = (int32_t)g->prompt.n,
                    .max_new_tokens = g->max_new,
                    .sample = rq->sample,
                    .bias = rq->bias,
                    .n_bias = (int32_t)rq->n_bias,
                    .stop_ids = g->ends,
                    .n_stop_ids = g->n_ends,
                    .prompt_logprobs = rq->prompt_logprobs,
                    .deadline_ns = rq->deadline_ns,
                    .priority = rq->priority,
                    .cache_salt = rq->cache_salt,
                    .no_speculation = rq->no_speculation,
                    .id = rq->id};
    r.sample.seed = g->seed;
    return hd_engine_submit(e, &r, &g->stream, err);
}

hd_status hd_gen_start(hd_engine *e, const hd_gen_request *rq, int32_t choice, hd_gen **out,
                       hd_err *err)
{
    hd_gen *g = hd_calloc(1, sizeof(*g));
    *out = NULL;
    HD_CHECK(g, err, HD_E_NOMEM, "out of memory");
    g->facts = hd_engine_facts(e);
    hd_status st = prepare(g, rq, choice, err);
    if (st == HD_OK) st = submit(g, e, rq, err);
    if (st != HD_OK) {
        hd_gen_close(g);
        return st;
    }
    *out = g;
    return HD_OK;
}

void hd_gen_cancel(hd_gen *g)
{
    hd_stream_cancel(g->stream);
}

void hd_gen_close(hd_gen *g)
{
    if (!g) return;
    if (g->stream) hd_stream_close(g->stream);
    hd_stop_fini(&g->stop);
    if (g->splits) hd_split_fini(&g->split);
    hd_ids_fini(&g->prompt);
    hd_free(g->prompt_lp);
    hd_buf_fini(&g->decoded);
    hd_buf_fini(&g->visible);
    hd_buf_fini(&g->token_text);
    hd_free(g);
}

const int32_t *hd_gen_prompt(const hd_gen *g, size_t *n)
{
    *n = g->prompt.n;
    return g->prompt.v;
}

const hd_token_out *hd_gen_prompt_logprobs(const hd_gen *g, size_t *n)
{
    *n = g->n_prompt_lp;
    return g->prompt_lp;
}

// ---- text ----------------------------------------------------------------------------------

// What is visible becomes pieces of the delta. False: memory.
static bool put_pieces(hd_gen *g, hd_gen_delta *d)
{
    if (g->visible.failed) return false;
    if (g->splits) {
        d->n_pieces = hd_split_push(&g->split, hd_buf_slice(&g->visible), d->piece);
        return !g->split.held.failed && !g->split.out.failed;
    }
    if (g->visible.len > 0)
        d->piece[d->n_pieces++] = (hd_piece){HD_PIECE_CONTENT, hd_buf_slice(&g->visible)};
    return true;
}

static hd_gen_kind out_of_memory(hd_gen *g, hd_gen_delta *d)
{
    hd_stream_cancel(g->stream);
    g->state = OVER;
    hd_fail(&d->error, HD_E_NOMEM, "out of memory for the answer's text");
    return d->kind = HD_GEN_ERROR;
}

// Feeds decoded text to the stop strings. Text before min_tokens is not searched.
static bool feed_stop(hd_gen *g)
{
    if (g->n_out >= g->min_tokens)
        return hd_stop_push(&g->stop, hd_buf_slice(&g->decoded), &g->visible);
    hd_buf_put_slice(&g->visible, hd_buf_slice(&g->decoded));
    return false;
}

static hd_gen_kind next_token(hd_gen *g, hd_gen_delta *d)
{
    const hd_tokenizer *t = g->facts->tokenizer;
    const hd_token_out *tok = &g->ev.token[g->at++];
    g->n_out++;
    hd_buf_clear(&g->decoded);
    hd_buf_clear(&g->visible);
    hd_buf_clear(&g->token_text);
    hd_utf8_append_lossy(&g->token_text, hd_token_bytes(t, tok->id));
    d->token = *tok;
    d->special = hd_token_is_special(t, tok->id);
    d->ends = !g->ignore_eos && has_id(g->ends, g->n_ends, tok->id);
    if (d->ends && has_id(g->own, g->n_own, tok->id)) g->stop_id = tok->id;
    if (!d->ends || g->keep_stop) hd_detok_push(&g->detok, tok->id, &g->decoded);
    bool stopped = feed_stop(g);
    if (g->decoded.failed || g->token_text.failed || !put_pieces(g, d)) return out_of_memory(g, d);
    if (stopped) {
        hd_stream_cancel(g->stream);
        g->finish = HD_FINISH_STOP;
        g->state = STOPPING;
    }
    d->last = stopped || d->ends || g->n_out >= g->max_new;
    d->token_text = hd_buf_slice(&g->token_text);
    d->usage.prompt_tokens = (int32_t)g->prompt.n;
    d->usage.completion_tokens = g->n_out;
    return d->kind = HD_GEN_TOKEN;
}

// The end of tokens: what was held back comes out.
static hd_gen_kind next_flush(hd_gen *g, hd_gen_delta *d)
{
    if (g->state == FLUSH) {
        hd_buf_clear(&g->decoded);
        hd_buf_clear(&g->visible);
        hd_detok_flush(&g->detok, &g->decoded);
        if (!feed_stop(g)) hd_stop_flush(&g->stop, &g->visible);
        g->state = FLUSH_SPLIT;
        if (!put_pieces(g, d)) return out_of_memory(g, d);
        if (d->n_pieces > 0) return d->kind = HD_GEN_TEXT;
    }
    if (g->state == FLUSH_SPLIT) {
        g->state = FINISHED;
        if (g->splits) d->n_pieces = hd_split_end(&g->split, d->piece);
        if (g->splits && g->split.out.failed) return out_of_memory(g, d);
        if (d->n_pieces > 0) return d->kind = HD_GEN_TEXT;
    }
    g->state = OVER;
    d->finish = g->finish;
    d->usage = g->usage;
    d->stop_id = g->finish == HD_FINISH_STOP ? g->stop_id : -1;
    if (g->stop.hit >= 0) {
        const hd_stop_word *w = &g->stop.word[g->stop.hit];
        d->stop = hd_slice_of(w->text, w->n);
    }
    return d->kind = HD_GEN_DONE;
}

// ---- events --------------------------------------------------------------------------------

static bool keep_prompt_logprobs(hd_gen *g)
{
    size_t need = g->n_prompt_lp + (size_t)g->ev.n;
    if (need > g->cap_prompt_lp) {
        size_t cap = g->cap_prompt_lp ? 2 * g->cap_prompt_lp : g->prompt.n;
        if (cap < need) cap = need;
        hd_token_out *p = hd_reallocarray(g->prompt_lp, cap, sizeof(*p));
        if (!p) return false;
        g->prompt_lp = p;
        g->cap_prompt_lp = cap;
    }
    memcpy(g->prompt_lp + g->n_prompt_lp, g->ev.token, (size_t)g->ev.n * sizeof(g->ev.token[0]));
    g->n_prompt_lp = need;
    return true;
}

// The engine's last event. A stop string has decided the outcome already.
static hd_gen_kind end_event(hd_gen *g, hd_gen_delta *d)
{
    bool stopped = g->state == STOPPING;
    g->usage = g->ev.usage;
    g->usage.prompt_tokens = (int32_t)g->prompt.n;
    g->usage.completion_tokens = g->n_out;
    if (g->ev.kind == HD_EV_ERROR && !stopped) {
        g->state = OVER;
        d->error = g->ev.error;
        d->usage = g->usage;
        return d->kind = HD_GEN_ERROR;
    }
    if (!stopped) g->finish = g->ev.finish;
    g->state = stopped ? FLUSH_SPLIT : FLUSH;
    return next_flush(g, d);
}

hd_gen_kind hd_gen_next(hd_gen *g, hd_gen_delta *d, int timeout_ms)
{
    memset(d, 0, sizeof(*d));
    d->stop_id = -1;
    d->seed = g->seed;
    HD_ASSERT(g->state != OVER);
    if (g->state == RUN && g->at < g->ev.n) return next_token(g, d);
    if (g->state != RUN && g->state != STOPPING) return next_flush(g, d);
    switch (hd_stream_next(g->stream, &g->ev, timeout_ms)) {
    case HD_EV_TIMEOUT:
        g->ev.n = 0;
        return d->kind = HD_GEN_WAIT;
    case HD_EV_PROMPT:
        g->at = g->ev.n; // none of them is output
        if (!keep_prompt_logprobs(g)) return out_of_memory(g, d);
        return d->kind = HD_GEN_WAIT;
    case HD_EV_TOKENS:
        g->at = 0;
        if (g->state == RUN && g->ev.n > 0) return next_token(g, d);
        g->ev.n = 0; // behind a stop string
        return d->kind = HD_GEN_WAIT;
    default:
        g->at = 0;
        g->ev.n = 0;
        return end_event(g, d);
    }
}
