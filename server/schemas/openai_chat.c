// OpenAI chat completions, with the fields that vLLM and TGI added.
//
// Tool calling is not part of this version: requests with tools are refused unless tool_choice is
// "none", because the answer would be plain text where the caller expects calls.
#include "server/schemas/openai.h"
#include "server/sse.h"

#include <math.h>

static const char chunk[] = "chat.completion.chunk";

// ---- reading -------------------------------------------------------------------------------

static hd_status refuse_tools(const hd_fields *f)
{
    const hd_json *tools = hd_json_get(f->o, "tools"), *choice = hd_json_get(f->o, "tool_choice");
    hd_slice s;
    if (hd_json_str(choice, &s) && hd_slice_eq_str(s, "none")) return HD_OK;
    HD_CHECK(hd_json_is_null(tools) ||
                 (hd_json_type(tools) == HD_JSON_ARRAY && hd_json_len(tools) == 0),
             f->err, HD_E_UNSUPPORTED,
             "tools: not supported yet; leave them out or set tool_choice to \"none\"");
    HD_CHECK(hd_json_is_null(choice) || (hd_json_str(choice, &s) && hd_slice_eq_str(s, "auto")),
             f->err, HD_E_UNSUPPORTED, "tool_choice: not supported yet, only \"none\" is");
    return HD_OK;
}

// thinking: {"type": "enabled"}; reasoning_effort: "none" switches off, everything else on.
static hd_status read_thinking(const hd_fields *f, hd_conversation *chat)
{
    const hd_json *kwargs = hd_json_get(f->o, "chat_template_kwargs");
    const hd_json *thinking = hd_json_get(f->o, "thinking");
    hd_fields in = {kwargs, "chat_template_kwargs.", f->a, f->err};
    hd_slice effort = {"", 0}, type;
    bool on = false, has = false, alias = false;
    HD_TRY(hd_take_str(f, "reasoning_effort", &effort, &has));
    if (has) chat->thinking = hd_slice_eq_str(effort, "none") ? HD_NO : HD_YES;
    if (hd_json_str(hd_json_get(thinking, "type"), &type))
        chat->thinking = hd_slice_eq_str(type, "disabled") ? HD_NO : HD_YES;
    HD_CHECK(hd_json_is_null(kwargs) || hd_json_type(kwargs) == HD_JSON_OBJECT, f->err, HD_E_INVAL,
             "chat_template_kwargs: found %s, expected an object", hd_json_type_name(kwargs));
    HD_TRY(hd_take_bool(&in, "enable_thinking", &on, &has));
    HD_TRY(hd_take_bool(&in, "thinking", &on, &alias));
    if (has || alias) chat->thinking = on ? HD_YES : HD_NO;
    if (!hd_json_is_null(kwargs)) chat->vars = kwargs;
    return hd_refuse(f, "thinking_token_budget", "thinking is switched on or off as a whole");
}

static hd_status read_messages(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    hd_openai *x = call->extra;
    x->echo_text = hd_arena_alloc(f->a, sizeof(*x->echo_text));
    HD_CHECK(x->echo_text, f->err, HD_E_NOMEM, "out of memory");
    bool open = true, go_on = false, reasoning = true, add_special = false, has_open;
    HD_CHECK(call->facts->chat, f->err, HD_E_UNSUPPORTED,
             "messages: this server has no chat template for its model; send 'prompt' or 'inputs'");
    HD_TRY(hd_conversation_parse(hd_json_get(f->o, "messages"), (size_t)call->cfg->max_messages,
                                 f->a, &rq->chat, f->err));
    HD_TRY(hd_take_bool(f, "add_generation_prompt", &open, &has_open));
    HD_TRY(hd_take_bool(f, "continue_final_message", &go_on, NULL));
    HD_CHECK(!go_on || !has_open || !open, f->err, HD_E_INVAL,
             "continue_final_message: found true together with add_generation_prompt true, "
             "expected one of them");
    if (has_open) rq->chat.add_generation_prompt = open;
    if (go_on) {
        const hd_message *last = &rq->chat.messages[rq->chat.n_messages - 1];
        HD_CHECK(last->role == HD_ROLE_ASSISTANT, f->err, HD_E_INVAL,
                 "continue_final_message: the last message is not the assistant's");
        rq->chat.continue_final = true;
        rq->chat.add_generation_prompt = false;
        x->echo_text[0] = last->content;
    }
    HD_TRY(hd_take_bool(f, "echo", &x->echo, NULL));
    HD_TRY(hd_take_bool(f, "add_special_tokens", &add_special, NULL));
    HD_CHECK(!add_special, f->err, HD_E_UNSUPPORTED,
             "add_special_tokens: found true, only false is supported: templates write their own");
    HD_TRY(hd_take_bool(f, "include_reasoning", &reasoning, NULL));
    x->drop_reasoning = !reasoning;
    rq->kind = HD_INPUT_CHAT;
    rq->split_reasoning = true;
    return read_thinking(f, &rq->chat);
}

static hd_status read_length(const hd_fields *f, hd_call *call)
{
    hd_gen_request *rq = &call->rq;
    int32_t a = 0, b = 0;
    bool has_a, has_b;
    HD_TRY(hd_take_i32(f, "max_tokens", 1, INT32_MAX, &a, &has_a));
    HD_TRY(hd_take_i32(f, "max_completion_tokens", 1, INT32_MAX, &b, &has_b));
    rq->max_new_tokens = (int32_t)call->cfg->default_max_new_tokens;
    if (has_a || has_b) rq->max_new_tokens = !has_b || (has_a && a < b) ? a : b;
    HD_CHECK(!rq->max_new_tokens || rq->sample.min_tokens <= rq->max_new_tokens, f->err, HD_E_INVAL,
             "min_tokens: found %d, expected at most max_tokens %d", (int)rq->sample.min_tokens,
             (int)rq->max_new_tokens);
    return HD_OK;
}

static hd_status parse(const hd_json *body, hd_arena *a, hd_call *call, hd_err *err)
{
    hd_fields f = {body, "", a, err};
    HD_TRY(hd_openai_common(&f, call, "chatcmpl"));
    hd_openai *x = call->extra;
    hd_sample_params *p = &call->rq.sample;
    HD_TRY(read_messages(&f, call));
    HD_TRY(refuse_tools(&f));
    HD_TRY(read_length(&f, call));
    HD_TRY(hd_take_bool(&f, "logprobs", &x->logprobs, NULL));
    HD_TRY(hd_take_i32(&f, "top_logprobs", 0, HD_MAX_LOGPROBS, &p->n_logprobs, NULL));
    HD_CHECK(x->logprobs || p->n_logprobs == 0, err, HD_E_INVAL,
             "top_logprobs: found %d without logprobs, expected logprobs to be true",
             (int)p->n_logprobs);
    p->want_logprob = call->keep_tokens = x->logprobs;
    return hd_refuse(&f, "prompt_logprobs", "only for answers");
}

// ---- writing -------------------------------------------------------------------------------

static void put_token(hd_buf *w, const hd_tokenizer *t, int32_t id, float logprob)
{
    hd_slice bytes = hd_token_bytes(t, id);
    hd_buf_puts(w, "{\"token\":");
    hd_put_token_str(w, t, id);
    hd_buf_puts(w, ",\"logprob\":");
    hd_json_put_f32(w,
                    isfinite(logprob) ? logprob : -9999.0f); // as OpenAI marks "practically never"
    hd_buf_puts(w, ",\"bytes\":[");
    for (size_t i = 0; i < bytes.n; i++)
        hd_buf_printf(w, "%s%d", i ? "," : "", (unsigned char)bytes.p[i]);
    hd_buf_putc(w, ']');
}

// The token that ends an answer is not part of it.
static void put_logprobs(hd_buf *w, const hd_call *c, const hd_gen_delta *d, size_t n)
{
    const hd_tokenizer *t = c->facts->tokenizer;
    bool first = true;
    hd_buf_puts(w, ",\"logprobs\":{\"content\":[");
    for (size_t i = 0; i < n; i++) {
        if (d[i].ends) continue;
        const hd_token_out *tok = &d[i].token;
        if (!first) hd_buf_putc(w, ',');
        first = false;
        put_token(w, t, tok->id, tok->logprob);
        hd_buf_puts(w, ",\"top_logprobs\":[");
        for (int32_t k = 0; k < tok->n_top; k++) {
            if (k) hd_buf_putc(w, ',');
            put_token(w, t, tok->top[k].id, tok->top[k].logprob);
            hd_buf_putc(w, '}');
        }
        hd_buf_puts(w, "]}");
    }
    hd_buf_puts(w, "]}");
}

// Both names that clients know, or the configured one; only where the model reasoned.
static void put_reasoning(hd_buf *w, const hd_call *c, hd_slice text)
{
    int64_t field = c->cfg->reasoning_field;
    if (field != HD_REASON_PLAIN) {
        hd_buf_puts(w, "\"reasoning_content\":");
        hd_json_put_str(w, text);
    }
    if (field == HD_REASON_CONTENT) return;
    hd_buf_puts(w, field == HD_REASON_BOTH ? ",\"reasoning\":" : "\"reasoning\":");
    hd_json_put_str(w, text);
}

static void answer(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    const hd_openai *x = c->extra;
    hd_openai_open(w, c, "chat.completion");
    for (size_t i = 0; i < n; i++) {
        hd_buf text = {0};
        if (x->echo) hd_buf_put_slice(&text, x->echo_text[0]);
        hd_buf_put_slice(&text, choice[i].content);
        hd_buf_printf(w, "%s{\"index\":%zu,\"message\":{\"role\":\"assistant\",\"content\":",
                      i ? "," : "", i);
        hd_json_put_str(w, hd_buf_slice(&text));
        if (choice[i].reasoning.n > 0 && !x->drop_reasoning) {
            hd_buf_putc(w, ',');
            put_reasoning(w, c, choice[i].reasoning);
        }
        hd_buf_putc(w, '}');
        if (x->logprobs)
            put_logprobs(w, c, choice[i].token, choice[i].n_tokens);
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

static void open_chunk(hd_buf *w, const hd_call *c, int32_t choice)
{
    hd_frame_open(w, c->rq.framing);
    hd_openai_open(w, c, chunk);
    hd_buf_printf(w, "{\"index\":%d,\"delta\":{", (int)choice);
}

static void begin(hd_buf *w, const hd_call *c, int32_t choice)
{
    const hd_openai *x = c->extra;
    open_chunk(w, c, choice);
    hd_buf_puts(w, "\"role\":\"assistant\",\"content\":");
    hd_json_put_str(w, x->echo ? x->echo_text[0] : hd_slice_of("", 0));
    hd_buf_puts(w, "},\"logprobs\":null,\"finish_reason\":null}");
    hd_openai_chunk_close(w, c, NULL);
}

static void delta(hd_buf *w, const hd_call *c, int32_t choice, const hd_gen_delta *d)
{
    const hd_openai *x = c->extra;
    hd_buf content = {0}, reasoning = {0};
    bool done = d->kind == HD_GEN_DONE;
    hd_delta_text(d, HD_PIECE_CONTENT, &content);
    if (!x->drop_reasoning) hd_delta_text(d, HD_PIECE_REASONING, &reasoning);
    bool logprobs = x->logprobs && d->kind == HD_GEN_TOKEN && !d->ends;
    bool text = content.len > 0 || reasoning.len > 0;
    // One event a token, also while its text is held back; the last one's is the end's.
    if (text || logprobs || done || (d->kind == HD_GEN_TOKEN && !d->last)) {
        open_chunk(w, c, choice);
        if (reasoning.len > 0) put_reasoning(w, c, hd_buf_slice(&reasoning));
        if (!done && (content.len > 0 || reasoning.len == 0)) {
            hd_buf_puts(w, reasoning.len > 0 ? ",\"content\":" : "\"content\":");
            hd_json_put_str(w, hd_buf_slice(&content));
        }
        hd_buf_putc(w, '}');
        if (logprobs)
            put_logprobs(w, c, d, 1);
        else
            hd_buf_puts(w, ",\"logprobs\":null");
        if (done)
            hd_openai_finish(w, d->finish, d->stop, d->stop_id);
        else
            hd_buf_puts(w, ",\"finish_reason\":null");
        hd_buf_putc(w, '}');
        hd_openai_chunk_close(w, c, d);
    }
    w->failed |= content.failed || reasoning.failed;
    hd_buf_fini(&content);
    hd_buf_fini(&reasoning);
}

static void end(hd_buf *w, const hd_call *c, const hd_choice *choice, size_t n)
{
    hd_openai_stream_end(w, c, chunk, choice, n);
}

const hd_schema hd_schema_openai_chat = {.name = "openai_chat",
                                         .key = "messages",
                                         .parse = parse,
                                         .answer = answer,
                                         .begin = begin,
                                         .delta = delta,
                                         .end = end,
                                         .error = hd_openai_error,
                                         .status = hd_openai_status};
