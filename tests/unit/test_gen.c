// Generations on a tiny model of random bytes: what its tokens say is what comes out as text,
// however it is held back on the way.
#include "server/gen.h"
#include "tests/unit/engine_kit.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct told { // a generation read to its end
    hd_buf text, reasoning;
    int32_t id[KIT_MAX_TOKENS], n, n_last;
    hd_gen_kind kind;
    hd_finish finish;
    hd_usage usage;
    uint64_t seed;
    int32_t stop_id;
    char stop[64];
} told;

static hd_gen_request ask(const hd_engine *e, const char *text, int32_t n_new)
{
    hd_gen_request rq;
    hd_gen_request_init(&rq, hd_engine_facts(e));
    rq.kind = HD_INPUT_TEXT;
    rq.text = hd_slice_str(text);
    rq.max_new_tokens = n_new;
    rq.sample.temperature = 1;
    rq.sample.ignore_eos = true;
    rq.sample.seed = 5;
    rq.has_seed = true;
    return rq;
}

static void hear(hd_gen *g, told *t)
{
    static hd_gen_delta d;
    memset(t, 0, sizeof(*t));
    for (bool more = true; more;) {
        t->kind = hd_gen_next(g, &d, KIT_PATIENCE_MS);
        EXPECT_INT(t->kind, d.kind);
        if (t->kind == HD_GEN_TOKEN) {
            EXPECT(t->n_last == 0); // nothing behind the last
            t->id[t->n++] = d.token.id;
            t->n_last += d.last;
            EXPECT_INT(d.usage.completion_tokens, t->n);
        }
        if (t->kind == HD_GEN_TEXT) EXPECT(d.n_pieces > 0);
        for (size_t i = 0; i < d.n_pieces; i++)
            hd_buf_put_slice(d.piece[i].kind == HD_PIECE_CONTENT ? &t->text : &t->reasoning,
                             d.piece[i].text);
        more = t->kind != HD_GEN_DONE && t->kind != HD_GEN_ERROR;
    }
    t->finish = d.finish;
    t->usage = d.usage;
    t->seed = d.seed;
    t->stop_id = d.stop_id;
    snprintf(t->stop, sizeof(t->stop), "%.*s", (int)d.stop.n, d.stop.n ? d.stop.p : "");
    hd_gen_close(g);
}

static void tell(hd_engine *e, const hd_gen_request *rq, told *t)
{
    hd_gen *g;
    hd_err err = {0};
    if (hd_gen_start(e, rq, 0, &g, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    hear(g, t);
}

static void forget(told *t)
{
    hd_buf_fini(&t->text);
    hd_buf_fini(&t->reasoning);
}

static told a, b;

static void text_is_what_the_tokens_say(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_buf want = {0};
    for (int show = 0; show < 2; show++) {
        hd_gen_request rq = ask(e, "abc", 300);
        rq.show_special = show;
        tell(e, &rq, &a);
        EXPECT_INT(a.kind, HD_GEN_DONE);
        EXPECT_INT(a.finish, HD_FINISH_LENGTH);
        EXPECT_INT(a.n, 300);
        EXPECT_INT(a.n_last, 1);
        EXPECT_INT(a.usage.prompt_tokens, 3);
        EXPECT_INT(a.usage.completion_tokens, 300);
        EXPECT(a.seed == 5);
        hd_buf_clear(&want);
        EXPECT_INT(hd_detokenize(hd_engine_facts(e)->tokenizer, a.id, (size_t)a.n,
                                 show ? 0 : HD_DETOK_SKIP_SPECIAL, &want, NULL),
                   HD_OK);
        EXPECT(hd_slice_eq(hd_buf_slice(&want), hd_buf_slice(&a.text)));
        EXPECT(hd_utf8_is_valid(hd_buf_slice(&a.text)));
        forget(&a);
    }
    hd_buf_fini(&want);
    hd_engine_close(e, 0);
}

static void seeds(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_gen_request rq = ask(e, "abc", 40);
    hd_gen *g;
    tell(e, &rq, &a);
    EXPECT_INT(hd_gen_start(e, &rq, 3, &g, NULL), HD_OK); // choice 3 has the seed plus 3
    hear(g, &b);
    EXPECT(b.seed == 8 && memcmp(a.id, b.id, sizeof(a.id)) != 0);
    forget(&a);
    rq.sample.seed = 8;
    tell(e, &rq, &a);
    EXPECT(memcmp(a.id, b.id, sizeof(a.id)) == 0);
    forget(&a);
    forget(&b);
    rq.has_seed = false; // drawn, told, and fit for readers that know only doubles
    tell(e, &rq, &a);
    EXPECT(a.seed < UINT64_C(1) << 53);
    rq.has_seed = true;
    rq.sample.seed = a.seed;
    tell(e, &rq, &b);
    EXPECT(memcmp(a.id, b.id, sizeof(a.id)) == 0);
    forget(&a);
    forget(&b);
    hd_engine_close(e, 0);
}

// A word out of the middle of a known answer ends it there.
static void stop_strings(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_gen_request rq = ask(e, "abc", 200);
    tell(e, &rq, &a);
    for (size_t at = 3; at + 3 < a.text.len && at < 60; at += 7) {
        char word[4] = {a.text.data[at], a.text.data[at + 1], a.text.data[at + 2], 0};
        if (!hd_utf8_is_valid(hd_slice_str(word)) || strlen(word) != 3) continue;
        hd_slice stop = hd_slice_str(word);
        size_t first = (size_t)hd_slice_find(hd_buf_slice(&a.text), stop, 0);
        for (int keep = 0; keep < 2; keep++) {
            rq.stop = &stop;
            rq.n_stop = 1;
            rq.keep_stop = keep;
            tell(e, &rq, &b);
            EXPECT_INT(b.kind, HD_GEN_DONE);
            EXPECT_INT(b.finish, HD_FINISH_STOP);
            EXPECT_STR(b.stop, word);
            EXPECT_INT(b.n_last, 1);
            EXPECT_INT(b.usage.completion_tokens, b.n);
            EXPECT(hd_slice_eq(hd_buf_slice(&b.text),
                               hd_slice_of(a.text.data, first + (keep ? stop.n : 0))));
            forget(&b);
        }
    }
    forget(&a);
    hd_engine_close(e, 0);
}

static void stop_ids(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_gen_request rq = ask(e, "abc", 50);
    tell(e, &rq, &a);
    int32_t id = a.id[10], first = 0;
    while (a.id[first] != id)
        first++;
    rq.stop_ids = &id;
    rq.n_stop_ids = 1;
    rq.sample.ignore_eos = false;
    tell(e, &rq, &b);
    if (b.n == first + 1) { // an end-of-sequence token may have come before
        EXPECT_INT(b.finish, HD_FINISH_STOP);
        EXPECT_INT(b.stop_id, id);
        EXPECT_INT(b.n_last, 1);
    }
    EXPECT(b.text.len <= a.text.len);
    forget(&a);
    forget(&b);
    hd_engine_close(e, 0);
}

static void prompts(void)
{
    static const int32_t ids[] = {1, 2, 3, 4}, bad[] = {1, 300};
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_gen_request rq = ask(e, "a<s>b", 1);
    hd_err err = {0};
    hd_gen *g;
    size_t n;
    tell(e, &rq, &a); // markers in text are text ...
    EXPECT_INT(a.usage.prompt_tokens, 5);
    forget(&a);
    rq.parse_special = true; // ... unless the caller has written the whole prompt
    tell(e, &rq, &a);
    EXPECT_INT(a.usage.prompt_tokens, 3);
    forget(&a);
    rq.truncate = 2;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_OK);
    EXPECT_INT(hd_gen_prompt(g, &n)[0], TINY_BOS);
    EXPECT_INT(n, 2);
    hd_gen_close(g);
    rq.truncate = 0;
    rq.kind = HD_INPUT_IDS;
    rq.ids = ids;
    rq.n_ids = 4;
    rq.prompt_logprobs = true;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_OK);
    static hd_gen_delta d;
    while (hd_gen_next(g, &d, KIT_PATIENCE_MS) != HD_GEN_DONE)
        EXPECT(d.kind != HD_GEN_ERROR);
    const hd_token_out *p = hd_gen_prompt_logprobs(g, &n);
    EXPECT_INT(n, 4);
    EXPECT(p[0].id == 1 && p[3].id == 4 && p[3].logprob < 0);
    hd_gen_close(g);
    rq.ids = bad;
    rq.n_ids = 2;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "prompt[1]: found token id 300, expected one in [0, 258)");
    rq = ask(e, "", 1);
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "prompt: found no tokens, expected at least one");
    rq.kind = HD_INPUT_CHAT;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_UNSUPPORTED);
    hd_engine_close(e, 0);
}

static void lengths(void)
{
    static char text[TINY_CONTEXT + 2];
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_err err = {0};
    hd_gen *g;
    memset(text, 'a', TINY_CONTEXT);
    hd_gen_request rq = ask(e, text, 1);
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "This model's maximum context length is 512 tokens. However, your prompt "
                        "has 512 tokens. Please shorten it.");
    rq.words = HD_WORDS_TGI;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "`inputs` must have less than 512 tokens. Given: 512");
    rq.text = hd_slice_str("abc");
    rq.max_new_tokens = 510;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_LIMIT);
    EXPECT_STR(err.msg, "`inputs` tokens + `max_new_tokens` must be <= 512. Given: 3 `inputs` "
                        "tokens and 510 `max_new_tokens`");
    rq.max_new_tokens = INT32_MAX;
    rq.words = HD_WORDS_OPENAI;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "you requested 2147483650 tokens (3 in the prompt, 2147483647 in");
    rq.max_new_tokens = 0; // as many as fit
    tell(e, &rq, &a);
    EXPECT_INT(a.n, TINY_CONTEXT - 3);
    EXPECT_INT(a.n_last, 1);
    forget(&a);
    hd_engine_close(e, 0);
}

static void cancelling(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_gen_request rq = ask(e, "abc", 0);
    hd_gen *g;
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, NULL), HD_OK);
    hd_gen_cancel(g);
    hear(g, &a);
    EXPECT_INT(a.kind, HD_GEN_DONE);
    EXPECT(a.finish == HD_FINISH_CANCELLED && a.n < TINY_CONTEXT - 3);
    forget(&a);
    EXPECT_INT(hd_gen_start(e, &rq, 0, &g, NULL), HD_OK);
    hd_gen_close(g); // also cancels
    hd_gen_close(NULL);
    hd_engine_close(e, 0);
}

// One allocation after the other fails: an error or a whole answer, and the engine goes on.
static void memory_runs_out(void)
{
    hd_engine_cfg cfg = kit_cfg();
    hd_engine *e = kit_open(&cfg);
    hd_slice stop = hd_slice_str("zzzz");
    int failed = 0, done = 0;
    for (int64_t nth = 1; nth < 60; nth++) {
        hd_gen_request rq = ask(e, "abc", 5);
        hd_err err = {0};
        hd_gen *g;
        rq.stop = &stop;
        rq.n_stop = 1;
        hd_mem_fail_at(nth, false);
        hd_status st = hd_gen_start(e, &rq, 0, &g, &err);
        if (st == HD_OK) {
            hear(g, &a);
            if (a.kind == HD_GEN_DONE) done++;
        }
        hd_mem_fail_at(0, false);
        EXPECT(st == HD_OK || (st == HD_E_NOMEM && err.msg[0] && !g));
        failed += st != HD_OK || a.kind == HD_GEN_ERROR;
        forget(&a);
    }
    EXPECT(failed > 3 && done > 3);
    hd_gen_request rq = ask(e, "abc", 5);
    tell(e, &rq, &a);
    EXPECT_INT(a.kind, HD_GEN_DONE);
    forget(&a);
    hd_engine_close(e, 0);
}

HD_TEST_MAIN("gen", {"text_is_what_the_tokens_say", text_is_what_the_tokens_say}, {"seeds", seeds},
             {"stop_strings", stop_strings}, {"stop_ids", stop_ids}, {"prompts", prompts},
             {"lengths", lengths}, {"cancelling", cancelling}, {"memory_runs_out", memory_runs_out})
