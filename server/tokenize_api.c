// POST /tokenize and /detokenize, in the shapes that callers know: TGI's for bodies with 'inputs',
// vLLM's for 'prompt' and 'messages'. Text work only; the engine is not asked.
#include "kernels/base/clock.h"
#include "server/answer.h"
#include "server/schemas/common.h"

#include <string.h>

typedef struct work {
    const hd_model_facts *facts;
    const hd_config *cfg;
    hd_arena *arena;
    hd_json *doc;
    hd_ids ids;
    bool tgi, strings;
    hd_buf w;
} work;

// ---- tokenize ------------------------------------------------------------------------------

static hd_status read_prompt(work *k, hd_gen_request *rq, hd_err *err)
{
    const hd_fields f = {k->doc, "", k->arena, err};
    const hd_json *messages = hd_json_get(k->doc, "messages");
    bool special = true;
    hd_gen_request_init(rq, k->facts);
    rq->parse_special = true;
    HD_TRY(hd_take_bool(&f, "return_token_strs", &k->strings, NULL));
    HD_TRY(hd_take_bool(&f, "add_special_tokens", &special, NULL));
    HD_CHECK(special, err, HD_E_UNSUPPORTED, "add_special_tokens: only true is supported");
    if (!hd_json_is_null(messages)) {
        rq->kind = HD_INPUT_CHAT;
        HD_TRY(hd_conversation_parse(messages, (size_t)k->cfg->max_messages, k->arena, &rq->chat,
                                     err));
        rq->chat.add_generation_prompt = true;
        return hd_take_bool(&f, "add_generation_prompt", &rq->chat.add_generation_prompt, NULL);
    }
    const hd_json *inputs = hd_json_get(k->doc, "inputs");
    k->tgi = !hd_json_is_null(inputs);
    const char *key = k->tgi ? "inputs" : "prompt";
    HD_CHECK(hd_json_str(hd_json_get(k->doc, key), &rq->text), err, HD_E_INVAL,
             "%s: found %s, expected a string", key, hd_json_type_name(hd_json_get(k->doc, key)));
    HD_CHECK(rq->text.n > 0, err, HD_E_INVAL, "%s: found an empty string, expected text", key);
    return HD_OK;
}

// Offsets count characters of the input. Tokens that are not in it (a beginning of sequence) are
// empty ranges; a character cut by two tokens belongs to both.
static void put_tgi(work *k, hd_slice text)
{
    const hd_tokenizer *t = k->facts->tokenizer;
    size_t byte = 0, chars = 0;
    hd_buf_putc(&k->w, '[');
    for (size_t i = 0; i < k->ids.n; i++) {
        hd_slice s = hd_token_bytes(t, k->ids.v[i]), rest = {text.p + byte, text.n - byte};
        size_t start = chars, stop = chars;
        bool cut = byte < text.n && (text.p[byte] & 0xC0) == 0x80; // begins inside a character
        // SentencePiece puts a blank before the first word.
        if (byte == 0 && s.n > 1 && s.p[0] == ' ' && !hd_slice_starts(rest, s)) s.p++, s.n--;
        if (s.n > 0 && hd_slice_starts(rest, s)) {
            for (size_t j = 0; j < s.n; j++)
                chars += (s.p[j] & 0xC0) != 0x80;
            start -= cut && start > 0;
            stop = chars;
            byte += s.n;
        }
        hd_buf_printf(&k->w, "%s{\"id\":%d,\"text\":", i ? "," : "", (int)k->ids.v[i]);
        hd_put_token_str(&k->w, t, k->ids.v[i]);
        hd_buf_printf(&k->w, ",\"start\":%zu,\"stop\":%zu}", start, stop);
    }
    hd_buf_putc(&k->w, ']');
}

static void put_vllm(work *k)
{
    hd_buf_printf(&k->w, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", k->ids.n,
                  (int)k->facts->max_context);
    for (size_t i = 0; i < k->ids.n; i++)
        hd_buf_printf(&k->w, "%s%d", i ? "," : "", (int)k->ids.v[i]);
    hd_buf_puts(&k->w, "],\"token_strs\":");
    for (size_t i = 0; k->strings && i < k->ids.n; i++) {
        hd_buf_putc(&k->w, i ? ',' : '[');
        hd_put_token_str(&k->w, k->facts->tokenizer, k->ids.v[i]);
    }
    hd_buf_puts(&k->w, k->strings ? "]}" : "null}");
}

static hd_status tokenize(work *k, hd_err *err)
{
    hd_gen_request rq;
    HD_TRY(read_prompt(k, &rq, err));
    HD_TRY(hd_gen_encode(k->facts, &rq, &k->ids, err));
    if (k->tgi)
        put_tgi(k, rq.text);
    else
        put_vllm(k);
    return HD_OK;
}

// ---- detokenize ----------------------------------------------------------------------------

static hd_status detokenize(work *k, hd_err *err)
{
    const hd_fields f = {k->doc, "", k->arena, err};
    const hd_json *ids = hd_json_get(k->doc, "tokens");
    const hd_tokenizer *t = k->facts->tokenizer;
    int32_t vocab = hd_tokenizer_facts(t)->n_vocab;
    const int32_t *v;
    hd_buf text = {0};
    size_t n;
    HD_TRY(hd_take_ids(&f, "tokens", ids, SIZE_MAX / 8, &v, &n));
    for (size_t i = 0; i < n; i++)
        HD_CHECK(v[i] < vocab, err, HD_E_INVAL, "tokens[%zu]: found %d, expected one in [0, %d)", i,
                 (int)v[i], (int)vocab);
    hd_status st = hd_detokenize(t, v, n, 0, &text, err);
    hd_buf_puts(&k->w, "{\"prompt\":");
    hd_json_put_str(&k->w, hd_buf_slice(&text));
    hd_buf_putc(&k->w, '}');
    k->w.failed |= text.failed;
    hd_buf_fini(&text);
    return st;
}

// ---- both ----------------------------------------------------------------------------------

static void handle(hd_server *sv, hd_http_req *rq, hd_http_rsp *rs,
                   hd_status (*run)(work *, hd_err *))
{
    hd_engine *e = atomic_load_explicit(&sv->engine, memory_order_acquire);
    work k = {.facts = hd_engine_facts(e), .cfg = sv->cfg, .arena = hd_http_arena(rq)};
    int64_t start_ns = hd_mono_ns();
    hd_err err = {0};
    hd_status st = hd_json_parse(hd_http_body(rq), &hd_json_request_limits, &k.doc, &err);
    if (st == HD_OK && hd_json_type(k.doc) != HD_JSON_OBJECT)
        st = HD_FAIL(&err, HD_E_INVAL, "body: found %s, expected an object",
                     hd_json_type_name(k.doc));
    if (st == HD_OK) st = run(&k, &err);
    if (st == HD_OK && k.w.failed) st = HD_FAIL(&err, HD_E_NOMEM, "out of memory");
    if (st == HD_OK)
        hd_http_reply(rs, 200, "application/json", hd_buf_slice(&k.w));
    else
        hd_answer_error(sv, rq, rs, k.tgi ? &hd_schema_tgi : NULL, &err, start_ns);
    hd_buf_fini(&k.w);
    hd_ids_fini(&k.ids);
    hd_json_free(k.doc);
}

void hd_handle_tokenize(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, tokenize);
}

void hd_handle_detokenize(void *server, hd_http_req *rq, hd_http_rsp *rs)
{
    handle(server, rq, rs, detokenize);
}
