// What the fuzz targets of request dialects share. Any bytes as a body:
//   - a refusal is one of four codes and has a message, and its error body is valid JSON of at most
//     2048 bytes, whole or in a stream;
//   - what is accepted has numbers in range, and its answer and its stream are valid JSON, whatever
//     the texts in it are.
#ifndef HADAL_TESTS_FUZZ_FUZZ_REQUEST_H
#define HADAL_TESTS_FUZZ_FUZZ_REQUEST_H

#include "tests/harness/schema_kit.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const hd_json_limits fuzz_limits = {1 << 24, 1000000, 200};

// Answers may hold NUL characters (a model or a prompt of ids can say one), whose escape our own
// scanner refuses.
static inline void fuzz_is_json(hd_slice text)
{
    if (hd_slice_find(text, hd_slice_str("\\u0000"), 0) >= 0) return;
    HD_ASSERT(hd_json_scan(text, &fuzz_limits, NULL) == HD_OK);
}

// Every event is one JSON object, but for [DONE].
static inline void fuzz_is_stream(const hd_buf *b, hd_framing f)
{
    hd_slice all = hd_buf_slice(b), gap = hd_slice_str(f == HD_FRAME_JSONL ? "\n" : "\n\n");
    for (size_t at = 0; at < all.n;) {
        ptrdiff_t end = hd_slice_find(all, gap, at);
        HD_ASSERT(end >= 0);
        hd_slice line = hd_slice_of(all.p + at, (size_t)end - at);
        if (f != HD_FRAME_JSONL) {
            HD_ASSERT(hd_slice_starts(line, hd_slice_str("data: ")));
            line = hd_slice_of(line.p + 6, line.n - 6);
        }
        if (!hd_slice_eq_str(line, "[DONE]")) fuzz_is_json(line);
        at = (size_t)end + gap.n;
    }
}

static inline void fuzz_check_request(const hd_gen_request *rq)
{
    const hd_sample_params *p = &rq->sample;
    HD_ASSERT(p->temperature >= 0 && p->temperature <= 100);
    HD_ASSERT(p->top_k >= 0 && p->top_p > 0 && p->top_p <= 1 && p->min_p >= 0 && p->min_p <= 1);
    HD_ASSERT(p->repetition_penalty > 0 && fabsf(p->presence_penalty) <= 2);
    HD_ASSERT(fabsf(p->frequency_penalty) <= 2);
    HD_ASSERT(p->n_logprobs >= 0 && p->n_logprobs <= HD_MAX_LOGPROBS);
    HD_ASSERT(rq->n >= 1 && rq->n <= HD_MAX_CHOICES && rq->max_new_tokens >= 0);
    HD_ASSERT(rq->truncate >= 0 && p->min_tokens >= 0);
    HD_ASSERT(rq->n_bias <= HD_MAX_LOGIT_BIAS && rq->n_stop_ids <= HD_MAX_STOP_IDS);
    for (size_t i = 0; i < rq->n_stop; i++)
        HD_ASSERT(rq->stop[i].n > 0 && rq->stop[i].n <= 1024);
}

static inline hd_gen_delta fuzz_token(hd_slice text, bool last)
{
    hd_gen_delta d = {.kind = HD_GEN_TOKEN, .last = last, .stop_id = -1, .token_text = text};
    d.token = (hd_token_out){.id = 'x', .logprob = -1, .n_top = 1};
    d.token.top[0] = (hd_alt){0xFF, -2};
    d.piece[0] = (hd_piece){HD_PIECE_CONTENT, text};
    d.n_pieces = 1;
    return d;
}

static inline void fuzz_write(const hd_schema *s, hd_call *c, hd_slice text)
{
    static hd_choice choice[HD_MAX_CHOICES];
    size_t n = (c->prompts ? c->n_prompts : 1) * (size_t)c->rq.n;
    hd_gen_delta t = fuzz_token(text, false), last = fuzz_token(text, true);
    hd_gen_delta done = {.kind = HD_GEN_DONE, .finish = HD_FINISH_STOP, .stop = text, .stop_id = 3};
    hd_buf out = {0};
    HD_ASSERT(n >= 1 && n <= HD_MAX_CHOICES);
    for (size_t i = 0; i < n; i++)
        choice[i] = (hd_choice){.content = text,
                                .reasoning = text,
                                .stop = text,
                                .finish = HD_FINISH_STOP,
                                .stop_id = -1,
                                .token = &t,
                                .n_tokens = c->keep_tokens};
    s->answer(&out, c, choice, n);
    fuzz_is_json(hd_buf_slice(&out));
    hd_buf_clear(&out);
    if (!c->rq.stream) n = 0;
    for (int32_t i = 0; i < (int32_t)n; i++) {
        s->begin(&out, c, i);
        s->delta(&out, c, i, &t);
        s->delta(&out, c, i, &last);
        s->delta(&out, c, i, &done);
    }
    if (n > 0) s->end(&out, c, choice, n);
    fuzz_is_stream(&out, c->rq.framing);
    hd_buf_fini(&out);
}

static inline void fuzz_error(const hd_schema *s, const hd_err *err)
{
    hd_buf out = {0};
    s->error(&out, err, s->status(err), false, HD_FRAME_SSE);
    fuzz_is_json(hd_buf_slice(&out));
    HD_ASSERT(out.len <= 2048);
    hd_buf_clear(&out);
    s->error(&out, err, s->status(err), true, HD_FRAME_SSE);
    fuzz_is_stream(&out, HD_FRAME_SSE);
    hd_buf_fini(&out);
}

static inline void fuzz_request(const hd_schema *s, const uint8_t *data, size_t size)
{
    static hd_schema_kit kit;
    static bool open;
    hd_slice body = {(const char *)data, size};
    if (!open) HD_ASSERT(hd_schema_kit_open(&kit));
    open = true;
    hd_status st = hd_schema_kit_parse(&kit, s, body);
    HD_ASSERT((st != HD_OK) == (kit.err.msg[0] != '\0'));
    if (st == HD_OK) {
        fuzz_check_request(&kit.call.rq);
        fuzz_write(s, &kit.call, body);
        return;
    }
    HD_ASSERT(st == HD_E_INVAL || st == HD_E_LIMIT || st == HD_E_UNSUPPORTED || st == HD_E_NOMEM);
    fuzz_error(s, &kit.err);
}

#endif
