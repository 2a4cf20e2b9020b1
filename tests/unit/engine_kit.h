// What the tests of the engine share: an engine on a tiny model, requests, and whole answers.
#ifndef HADAL_TESTS_UNIT_ENGINE_KIT_H
#define HADAL_TESTS_UNIT_ENGINE_KIT_H

#include "engine/engine.h"
#include "kernels/base/log.h"
#include "tests/harness/test.h"
#include "tests/unit/tiny_model.h"

enum { KIT_PATIENCE_MS = 60000, KIT_MAX_TOKENS = TINY_CONTEXT };

static inline hd_engine_cfg kit_cfg_for(const char *model)
{
    hd_engine_cfg c;
    hd_log_set_level(HD_LOG_OFF);
    hd_engine_cfg_init(&c);
    c.model = model;
    c.device = "cpu";
    c.threads = 1;
    c.bind = HD_BIND_OFF;
    c.deterministic = true;
    c.kv = HD_F32;
    c.slow_reader_ms = INT32_MAX; // what is not read stays where it is
    return c;
}

static inline hd_engine_cfg kit_cfg(void)
{
    return kit_cfg_for(tiny_model_write("tiny", (tiny_model){.nan_id = -1}));
}

static inline hd_engine *kit_open(const hd_engine_cfg *c)
{
    hd_engine *e = NULL;
    hd_err err = {HD_OK, ""};
    hd_engine_open(c, &e, &err);
    EXPECT_STR(err.msg, "");
    EXPECT(e != NULL);
    return e;
}

// Gives c just the memory for so many pages of keys and values.
static inline void kit_set_pages(hd_engine_cfg *c, int32_t n)
{
    hd_engine *e = kit_open(c);
    const hd_model_facts *f = hd_engine_facts(e);
    c->memory =
        f->weight_bytes + f->scratch_bytes + (uint64_t)n * (f->kv_bytes / (uint64_t)f->kv_pages);
    hd_engine_close(e, 0);
}

// Prompts differ with `which`; greedy, ends by length alone.
static inline hd_request kit_request(int32_t *prompt, int32_t n, int32_t which, int32_t n_new)
{
    hd_request rq = {.prompt = prompt, .n_prompt = n, .max_new_tokens = n_new, .id = "test"};
    for (int32_t i = 0; i < n; i++)
        prompt[i] = (which * 31 + i * 7 + i * i % 5) % 256;
    hd_sample_params_init(&rq.sample);
    rq.sample.temperature = 0;
    rq.sample.ignore_eos = true;
    return rq;
}

static inline hd_stream *kit_submit(hd_engine *e, const hd_request *rq)
{
    hd_stream *s = NULL;
    hd_err err = {HD_OK, ""};
    hd_engine_submit(e, rq, &s, &err);
    EXPECT_STR(err.msg, "");
    return s;
}

typedef struct kit_answer {
    int32_t n, n_prompt;
    int32_t id[KIT_MAX_TOKENS];
    hd_token_out prompt[KIT_MAX_TOKENS];
    hd_event last; // done or error
} kit_answer;

// Reads a stream to its end and closes it.
static inline void kit_read(hd_stream *s, kit_answer *a)
{
    static _Thread_local hd_event ev;
    a->n = a->n_prompt = 0;
    for (;;) {
        hd_event_kind kind = hd_stream_next(s, &ev, KIT_PATIENCE_MS);
        EXPECT(kind != HD_EV_TIMEOUT);
        for (int32_t i = 0; i < ev.n; i++) {
            if (kind == HD_EV_PROMPT)
                a->prompt[a->n_prompt++] = ev.token[i];
            else
                a->id[a->n++] = ev.token[i].id;
        }
        if (kind == HD_EV_DONE || kind == HD_EV_ERROR) break;
    }
    a->last = ev;
    hd_stream_close(s);
}

static inline void kit_ask(hd_engine *e, const hd_request *rq, kit_answer *a)
{
    kit_read(kit_submit(e, rq), a);
    EXPECT_INT(a->last.kind, HD_EV_DONE);
}

static inline void kit_expect_same(const kit_answer *a, const kit_answer *b)
{
    EXPECT_INT(a->n, b->n);
    for (int32_t i = 0; i < a->n; i++)
        EXPECT_INT(a->id[i], b->id[i]);
}

static inline hd_engine_stats kit_stats(const hd_engine *e)
{
    hd_engine_stats s;
    hd_engine_stats_read(e, &s);
    return s;
}

#endif
