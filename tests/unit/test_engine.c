// Requests through a real engine on a tiny model: what comes out, and that company, threads and
// chunking do not change it.
#include "engine/draft.h"
#include "engine/runner.h"
#include "tests/unit/engine_kit.h"

#include <math.h>
#include <pthread.h>

// ---- against direct stepping ---------------------------------------------------------------

typedef struct argmax {
    int32_t id;
    float logprob;
} argmax;

static hd_status take_argmax(void *ctx, int32_t pos, const float *logits, int32_t vocab)
{
    argmax *a = ctx;
    double sum = 0;
    (void)pos;
    EXPECT_INT(vocab, TINY_VOCAB);
    a->id = 0;
    for (int32_t i = 1; i < TINY_KNOWN; i++)
        if (logits[i] > logits[a->id]) a->id = i;
    for (int32_t i = 0; i < TINY_KNOWN; i++)
        sum += exp((double)logits[i] - (double)logits[a->id]);
    a->logprob = (float)-log(sum);
    return HD_OK;
}

static void greedy_is_the_argmax(void)
{
    hd_engine_cfg c = kit_cfg();
    hd_runner *r = NULL;
    hd_err err = {HD_OK, ""};
    static kit_answer a;
    int32_t prompt[40];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(prompt, 40, 1, 60);
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.n, 60);
    EXPECT_INT(a.last.finish, HD_FINISH_LENGTH);
    EXPECT_INT(a.last.usage.prompt_tokens, 40);
    EXPECT_INT(a.last.usage.completion_tokens, 60);
    hd_engine_close(e, 0);

    hd_runner_open(&c, &r, &err);
    EXPECT_STR(err.msg, "");
    argmax best;
    EXPECT_INT(hd_runner_feed(r, prompt, 40, 0, HD_WANT_LAST, take_argmax, &best, &err), HD_OK);
    for (int i = 0; i < 60; i++) {
        EXPECT_INT(best.id, a.id[i]);
        EXPECT_INT(hd_runner_feed(r, &a.id[i], 1, 0, HD_WANT_LAST, take_argmax, &best, &err),
                   HD_OK);
    }
    hd_runner_close(r);
}

// ---- the same tokens, whatever happens around them -----------------------------------------

enum { COMPANY = 12 };

static hd_request varied(int32_t *prompt, int32_t which)
{
    hd_request rq = kit_request(prompt, 1 + which * 13 % 90, which, 40);
    if (which % 3 == 0) return rq;
    rq.sample.temperature = 1.2f;
    rq.sample.seed = (uint64_t)which;
    if (which % 3 == 1) rq.sample.top_p = 0.9f;
    if (which % 4 == 1) rq.sample.repetition_penalty = 1.2f;
    if (which % 5 == 1) rq.sample.top_k = 20;
    return rq;
}

static void ask_all(const hd_engine_cfg *c, bool together, kit_answer *a)
{
    static int32_t prompt[COMPANY][100];
    hd_stream *s[COMPANY];
    hd_engine *e = kit_open(c);
    for (int i = 0; i < COMPANY; i++) {
        hd_request rq = varied(prompt[i], i);
        s[i] = kit_submit(e, &rq);
        if (!together) kit_read(s[i], &a[i]);
    }
    for (int i = 0; together && i < COMPANY; i++)
        kit_read(s[i], &a[i]);
    hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.finished, COMPANY);
    EXPECT_INT(st.tokens_out, COMPANY * 40);
    EXPECT_INT(st.pages_used, 0);
    EXPECT_INT(st.running + st.waiting, 0);
    EXPECT_INT(st.step_allocs, 0);
    hd_engine_close(e, 0);
}

static void company_threads_and_chunks_change_nothing(void)
{
    static kit_answer alone[COMPANY], other[COMPANY];
    hd_engine_cfg c = kit_cfg();
    ask_all(&c, false, alone);
    int differ = 0;
    for (int i = 1; i < COMPANY; i++)
        differ += memcmp(alone[i].id, alone[0].id, 40 * sizeof(int32_t)) != 0;
    EXPECT_INT(differ, COMPANY - 1); // or this test would show nothing
    ask_all(&c, true, other);
    for (int i = 0; i < COMPANY; i++)
        kit_expect_same(&alone[i], &other[i]);
    c.threads = 2;
    c.max_step_tokens = 17;
    c.max_seqs = 5;
    ask_all(&c, true, other);
    for (int i = 0; i < COMPANY; i++)
        kit_expect_same(&alone[i], &other[i]);
    c.max_step_tokens = 3; // fewer than sequences
    ask_all(&c, true, other);
    for (int i = 0; i < COMPANY; i++)
        kit_expect_same(&alone[i], &other[i]);
}

static void guesses_change_no_answer(void)
{
    static kit_answer plain[COMPANY], guessed[COMPANY], one;
    hd_engine_cfg c = kit_cfg();
    int32_t prompt[40];
    ask_all(&c, true, guessed);
    c.speculate = 0;
    ask_all(&c, false, plain);
    for (int i = 0; i < COMPANY; i++)
        kit_expect_same(&plain[i], &guessed[i]);
    // Of three words a text is soon full of beginnings that were there before.
    const hd_logit_bias words[] = {{5, 1000}, {6, 1000}, {7, 1000}};
    hd_request rq = kit_request(prompt, 40, 3, 400);
    rq.bias = words;
    rq.n_bias = 3;
    hd_engine *e = kit_open(&c);
    kit_ask(e, &rq, &plain[0]);
    EXPECT_INT(kit_stats(e).drafted, 0);
    hd_engine_close(e, 0);
    c.speculate = HD_DRAFT_MAX;
    e = kit_open(&c);
    kit_ask(e, &rq, &one);
    kit_expect_same(&plain[0], &one);
    const hd_engine_stats st = kit_stats(e);
    EXPECT(st.accepted > 0 && st.accepted <= st.drafted); // how many pay depends on the machine
    EXPECT_INT(st.steps + st.accepted, 400);
    EXPECT_INT(st.tokens_out, 400);
    EXPECT_INT(st.step_allocs, 0);
    rq.no_speculation = true;
    kit_ask(e, &rq, &one);
    kit_expect_same(&plain[0], &one);
    EXPECT_INT(kit_stats(e).drafted, st.drafted);
    hd_engine_close(e, 0);
}

typedef struct submitter {
    hd_engine *e;
    int32_t which, rounds;
    int64_t tokens;
} submitter;

static void *submit_many(void *arg)
{
    submitter *m = arg;
    static _Thread_local kit_answer first, again;
    int32_t prompt[100];
    for (int32_t i = 0; i < m->rounds; i++) {
        hd_request rq = varied(prompt, m->which);
        kit_ask(m->e, &rq, i ? &again : &first);
        if (i) kit_expect_same(&first, &again);
        m->tokens += first.n;
    }
    return NULL;
}

static void many_submitters(void)
{
    enum { THREADS = 8, ROUNDS = 5 };
    hd_engine_cfg c = kit_cfg();
    c.threads = 2;
    c.max_seqs = 4;
    hd_engine *e = kit_open(&c);
    pthread_t t[THREADS];
    submitter m[THREADS];
    int64_t tokens = 0;
    for (int i = 0; i < THREADS; i++) {
        m[i] = (submitter){e, i, ROUNDS, 0};
        EXPECT_INT(pthread_create(&t[i], NULL, submit_many, &m[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        tokens += m[i].tokens;
    }
    EXPECT(hd_engine_healthy(e));
    hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.finished, THREADS * ROUNDS);
    EXPECT_INT(st.tokens_out, tokens);
    EXPECT_INT(st.step_allocs, 0);
    hd_engine_close(e, 1000);
}

// ---- ends ----------------------------------------------------------------------------------

static void stop_ids_end_the_answer(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer plain, a;
    int32_t prompt[10], stop;
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(prompt, 10, 3, 30);
    rq.sample.temperature = 1;
    rq.sample.seed = 3; // none of the model's own stop ids comes up
    rq.sample.ignore_eos = false;
    kit_ask(e, &rq, &plain);
    EXPECT_INT(plain.n, 30);
    stop = plain.id[12];
    rq.stop_ids = &stop;
    rq.n_stop_ids = 1;
    int32_t first = 0;
    while (plain.id[first] != stop)
        first++;
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_STOP);
    EXPECT_INT(a.n, first + 1); // the stop id is reported
    EXPECT_INT(a.id[first], stop);
    rq.sample.min_tokens = 20;
    kit_ask(e, &rq, &a);
    for (int i = 0; i < 20 && i < a.n; i++)
        EXPECT(a.id[i] != stop);
    EXPECT(a.n >= 20);
    rq.sample.min_tokens = 0;
    rq.sample.ignore_eos = true;
    kit_ask(e, &rq, &a);
    kit_expect_same(&plain, &a);
    hd_engine_close(e, 0);
}

static void the_models_own_stop(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t prompt[10];
    hd_logit_bias bias = {TINY_EOS, 1000};
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(prompt, 10, 3, 8);
    rq.bias = &bias;
    rq.n_bias = 1;
    rq.sample.ignore_eos = false;
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_STOP);
    EXPECT_INT(a.n, 1);
    EXPECT_INT(a.id[0], TINY_EOS);
    rq.sample.min_tokens = 3;
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.n, 4);
    rq.sample.min_tokens = 0;
    rq.sample.ignore_eos = true;
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.last.finish, HD_FINISH_LENGTH);
    EXPECT_INT(a.n, 8);
    EXPECT_INT(a.id[7], TINY_EOS); // still reported
    hd_engine_close(e, 0);
}

// The head's padding rows are by far the largest: a sampler that saw them would take nothing else.
static void padding_is_never_sampled(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t prompt[10];
    hd_engine *e = kit_open(&c);
    for (int i = 0; i < 6; i++) {
        hd_request rq = kit_request(prompt, 10, i, 60);
        rq.sample.temperature = i % 2 ? 0 : 5;
        rq.sample.n_logprobs = 20;
        kit_ask(e, &rq, &a);
        for (int k = 0; k < a.n; k++)
            EXPECT(a.id[k] >= 0 && a.id[k] < TINY_KNOWN);
        EXPECT(a.last.finish == HD_FINISH_LENGTH);
    }
    hd_engine_close(e, 0);
}

static void the_whole_context_can_be_used(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t prompt[TINY_CONTEXT];
    hd_engine *e = kit_open(&c);
    EXPECT_INT(hd_engine_facts(e)->max_context, TINY_CONTEXT);
    hd_request rq = kit_request(prompt, TINY_CONTEXT - 1, 3, 1);
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.n, 1);
    rq = kit_request(prompt, 1, 3, TINY_CONTEXT - 1);
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.n, TINY_CONTEXT - 1);
    hd_engine_close(e, 0);
}

// ---- log-probabilities ---------------------------------------------------------------------

typedef struct row_log { // logits of every position
    float logit[TINY_CONTEXT][TINY_VOCAB];
    int32_t next;
} row_log;

static hd_status keep_row(void *ctx, int32_t pos, const float *logits, int32_t vocab)
{
    row_log *l = ctx;
    EXPECT_INT(pos, l->next);
    memcpy(l->logit[pos], logits, (size_t)vocab * sizeof(float));
    l->next++;
    return HD_OK;
}

static double logprob(const float *logit, int32_t id)
{
    double sum = 0;
    for (int32_t i = 0; i < TINY_KNOWN; i++)
        sum += exp((double)logit[i]);
    return (double)logit[id] - log(sum);
}

static void run_rows(const hd_engine_cfg *c, const int32_t *ids, int32_t n, row_log *l)
{
    hd_runner *r = NULL;
    hd_err err = {HD_OK, ""};
    l->next = 0;
    EXPECT_INT(hd_runner_open(c, &r, &err), HD_OK);
    EXPECT_INT(hd_runner_feed(r, ids, n, 0, HD_WANT_ALL, keep_row, l, &err), HD_OK);
    EXPECT_INT(l->next, n);
    hd_runner_close(r);
}

// With company, a reader that is slow to begin, and a prompt longer than ring and rows.
static void prompt_logprobs(void)
{
    enum { N = 300, TOP = 4 };
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b, other;
    static row_log l;
    int32_t prompt[N], p2[N], p3[20];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(prompt, N, 5, 3), rq2 = kit_request(p2, N, 6, 3);
    hd_request rq3 = kit_request(p3, 20, 7, 100);
    rq.prompt_logprobs = rq2.prompt_logprobs = true;
    rq.sample.n_logprobs = TOP;
    hd_stream *s = kit_submit(e, &rq), *s2 = kit_submit(e, &rq2);
    kit_ask(e, &rq3, &other); // goes on although nobody reads the first two
    kit_read(s, &a);
    kit_read(s2, &b);
    EXPECT_INT(kit_stats(e).step_allocs, 0);
    hd_engine_close(e, 0);
    EXPECT_INT(a.n, 3);
    EXPECT_INT(a.n_prompt, N);
    EXPECT_INT(b.n_prompt, N);
    run_rows(&c, prompt, N, &l);
    EXPECT(isnan(a.prompt[0].logprob));
    EXPECT_INT(a.prompt[0].n_top, 0);
    for (int i = 0; i < N; i++) {
        EXPECT_INT(a.prompt[i].id, prompt[i]);
        if (i == 0) continue;
        EXPECT_NEAR(a.prompt[i].logprob, logprob(l.logit[i - 1], prompt[i]), 1e-4);
        EXPECT_INT(a.prompt[i].n_top, TOP);
        for (int k = 0; k < TOP; k++)
            EXPECT_NEAR(a.prompt[i].top[k].logprob, logprob(l.logit[i - 1], a.prompt[i].top[k].id),
                        1e-4);
        EXPECT(a.prompt[i].top[0].logprob >= a.prompt[i].top[1].logprob);
    }
}

static void logprobs_of_the_answer(void)
{
    hd_engine_cfg c = kit_cfg();
    static row_log l;
    static hd_event ev;
    int32_t ids[60], n = 20;
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(ids, 20, 8, 30);
    rq.sample.temperature = 2;
    rq.sample.n_logprobs = 3;
    hd_token_out got[30];
    hd_stream *s = kit_submit(e, &rq);
    while (hd_stream_next(s, &ev, KIT_PATIENCE_MS) == HD_EV_TOKENS)
        for (int32_t i = 0; i < ev.n; i++) {
            got[n - 20] = ev.token[i];
            ids[n++] = ev.token[i].id;
        }
    EXPECT_INT(n, 50);
    hd_stream_close(s);
    hd_engine_close(e, 0);
    run_rows(&c, ids, n, &l);
    for (int i = 0; i < 30; i++) {
        EXPECT_NEAR(got[i].logprob, logprob(l.logit[19 + i], got[i].id), 1e-4);
        EXPECT_INT(got[i].n_top, 3);
        for (int k = 0; k < 3; k++)
            EXPECT_NEAR(got[i].top[k].logprob, logprob(l.logit[19 + i], got[i].top[k].id), 1e-4);
    }
}

// ---- refusals ------------------------------------------------------------------------------

static void expect_refused(hd_engine *e, const hd_request *rq, hd_status code, const char *part)
{
    hd_stream *s = NULL;
    hd_err err = {HD_OK, ""};
    EXPECT_INT(hd_engine_submit(e, rq, &s, &err), code);
    EXPECT(s == NULL);
    EXPECT_CONTAINS(err.msg, part);
}

static void what_cannot_be_served_is_refused(void)
{
    hd_engine_cfg c = kit_cfg();
    int32_t prompt[TINY_CONTEXT + 1];
    hd_engine *e = kit_open(&c);
    hd_request ok = kit_request(prompt, 10, 1, 5), rq = ok;
    rq.n_prompt = 0;
    expect_refused(e, &rq, HD_E_INVAL, "empty");
    rq = ok, rq.max_new_tokens = 0;
    expect_refused(e, &rq, HD_E_INVAL, "max_new_tokens: 0");
    rq = ok, rq.max_new_tokens = TINY_CONTEXT - 9;
    expect_refused(e, &rq, HD_E_LIMIT, "10 prompt tokens and up to 503 new ones");
    rq.max_new_tokens = INT32_MAX;
    expect_refused(e, &rq, HD_E_LIMIT, "512");
    rq = kit_request(prompt, TINY_CONTEXT, 1, 1);
    expect_refused(e, &rq, HD_E_LIMIT, "512 prompt tokens");
    prompt[3] = TINY_VOCAB;
    expect_refused(e, &ok, HD_E_INVAL, "prompt token 3 of 10: id 272");
    prompt[3] = -1;
    expect_refused(e, &ok, HD_E_INVAL, "id -1");
    prompt[3] = 0;
    rq = ok, rq.sample.temperature = -1;
    expect_refused(e, &rq, HD_E_INVAL, "temperature: -1");
    rq = ok, rq.sample.temperature = NAN;
    expect_refused(e, &rq, HD_E_INVAL, "temperature");
    rq = ok, rq.sample.top_p = 0;
    expect_refused(e, &rq, HD_E_INVAL, "top_p: 0, expected a number in (0, 1]");
    rq = ok, rq.sample.min_p = 1.5f;
    expect_refused(e, &rq, HD_E_INVAL, "min_p");
    rq = ok, rq.sample.repetition_penalty = 0;
    expect_refused(e, &rq, HD_E_INVAL, "repetition_penalty");
    rq = ok, rq.sample.top_k = -1;
    expect_refused(e, &rq, HD_E_INVAL, "top_k");
    rq = ok, rq.sample.n_logprobs = HD_MAX_LOGPROBS + 1;
    expect_refused(e, &rq, HD_E_INVAL, "logprobs: 21");
    rq = ok, rq.sample.min_tokens = -1;
    expect_refused(e, &rq, HD_E_INVAL, "min_tokens");
    rq = ok, rq.n_stop_ids = HD_MAX_STOP_IDS + 1;
    expect_refused(e, &rq, HD_E_LIMIT, "stop ids");
    hd_logit_bias bias = {TINY_KNOWN, 1};
    rq = ok, rq.bias = &bias, rq.n_bias = 1;
    expect_refused(e, &rq, HD_E_INVAL, "logit_bias: token 258");
    hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.requests, 0);
    static kit_answer a;
    kit_ask(e, &ok, &a); // and none of it left anything behind
    hd_engine_close(e, 0);
}

HD_TEST_MAIN(
    "engine", {"greedy_is_the_argmax", greedy_is_the_argmax},
    {"company_threads_and_chunks_change_nothing", company_threads_and_chunks_change_nothing},
    {"guesses_change_no_answer", guesses_change_no_answer}, {"many_submitters", many_submitters},
    {"stop_ids_end_the_answer", stop_ids_end_the_answer},
    {"the_models_own_stop", the_models_own_stop},
    {"padding_is_never_sampled", padding_is_never_sampled},
    {"the_whole_context_can_be_used", the_whole_context_can_be_used},
    {"prompt_logprobs", prompt_logprobs}, {"logprobs_of_the_answer", logprobs_of_the_answer},
    {"what_cannot_be_served_is_refused", what_cannot_be_served_is_refused})
