// The facade: load, start the scheduler, warm up, serve.
#include "engine/engine.h"

#include "engine/sched.h"
#include "kernels/base/mem.h"

enum {
    WARM_PROMPT = 20, // more rows than the kernels for few rows take: both ways are warmed
    WARM_NEW = 4,     // work memory that a backend keeps for some steps is all taken then
    WARM_POLL_MS = 50,
};

struct hd_engine {
    hd_loaded l;
    hd_sched *sched;
};

// A request like any other, so that what it proves is what serving does.
static hd_status warm_up(hd_engine *e, hd_err *err)
{
    int32_t prompt[WARM_PROMPT];
    const int32_t bos = hd_tokenizer_facts(e->l.tokenizer)->bos;
    hd_request rq = {.prompt = prompt, .max_new_tokens = WARM_NEW, .id = "warm-up"};
    hd_stream *stream = NULL;
    hd_event ev;
    for (int i = 0; i < WARM_PROMPT; i++)
        prompt[i] = bos >= 0 && bos < e->l.model->cfg.vocab ? bos : 0;
    rq.n_prompt = e->l.facts.max_context - WARM_NEW;
    if (rq.n_prompt > WARM_PROMPT) rq.n_prompt = WARM_PROMPT;
    if (rq.n_prompt < 1) rq.n_prompt = rq.max_new_tokens = 1;
    hd_sample_params_init(&rq.sample);
    rq.sample.temperature = 0;
    rq.sample.ignore_eos = true;
    hd_load_progress(&e->l, HD_LOAD_WARMUP, 0, 0);
    HD_TRY(hd_sched_submit(e->sched, &rq, &stream, err));
    do {
        hd_stream_next(stream, &ev, WARM_POLL_MS);
        if (hd_load_cancelled(&e->l)) hd_stream_cancel(stream);
    } while (ev.kind != HD_EV_DONE && ev.kind != HD_EV_ERROR);
    hd_stream_close(stream);
    if (ev.kind == HD_EV_ERROR) {
        hd_fail(err, ev.error.code, "%s", ev.error.msg);
        return hd_err_prefix(err, ev.error.code, "warm-up");
    }
    HD_CHECK(ev.finish != HD_FINISH_CANCELLED, err, HD_E_CANCELLED, "loading was cancelled");
    hd_sched_reset_stats(e->sched);
    return HD_OK;
}

// From here on nobody looks at what the caller lent for loading.
static void forget_caller(hd_engine_cfg *c)
{
    c->model = c->device = c->chat_template = NULL;
    c->progress = NULL;
    c->progress_ctx = NULL;
    c->cancel = NULL;
}

hd_status hd_engine_open(const hd_engine_cfg *cfg, hd_engine **out, hd_err *err)
{
    *out = NULL;
    hd_engine *e = hd_calloc(1, sizeof(*e));
    HD_CHECK(e, err, HD_E_NOMEM, "no memory for the engine");
    hd_status st = hd_load(cfg, HD_LOAD_TEXT, HD_ROOM_OUT_BYTES, &e->l, err);
    if (st == HD_OK) st = hd_sched_start(&e->l, &e->sched, err);
    if (st == HD_OK) st = warm_up(e, err);
    if (st != HD_OK) {
        hd_engine_close(e, 0);
        return st;
    }
    hd_load_log_ready(&e->l);
    hd_load_progress(&e->l, HD_LOAD_DONE, 0, 0);
    forget_caller(&e->l.cfg);
    *out = e;
    return HD_OK;
}

void hd_engine_close(hd_engine *e, int drain_ms)
{
    if (!e) return;
    hd_sched_stop(e->sched, drain_ms);
    hd_loaded_close(&e->l);
    hd_free(e);
}

hd_status hd_engine_submit(hd_engine *e, const hd_request *rq, hd_stream **out, hd_err *err)
{
    return hd_sched_submit(e->sched, rq, out, err);
}

void hd_engine_stats_read(const hd_engine *e, hd_engine_stats *out)
{
    hd_sched_stats(e->sched, out);
}

const hd_model_facts *hd_engine_facts(const hd_engine *e)
{
    return &e->l.facts;
}

bool hd_engine_healthy(const hd_engine *e)
{
    return hd_sched_healthy(e->sched);
}
