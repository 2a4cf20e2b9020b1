// Sharing the cache: what was computed before is found again, and who is short of pages gets them
// without anybody's answer changing.
#include "tests/unit/engine_kit.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

enum { PAGE = 64, LONG = 300 };

// ---- the prefix cache ----------------------------------------------------------------------

static void the_second_finds_the_first(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b, other, off;
    int32_t p[LONG];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 200, 1, 20);
    kit_ask(e, &rq, &a);
    EXPECT_INT(a.last.usage.cached_tokens, 0);
    kit_ask(e, &rq, &b);
    EXPECT_INT(b.last.usage.cached_tokens, 3 * PAGE);
    EXPECT_INT(b.last.usage.prompt_tokens, 200);
    kit_expect_same(&a, &b);
    rq.cache_salt = 7;
    kit_ask(e, &rq, &other);
    EXPECT_INT(other.last.usage.cached_tokens, 0); // another tenant
    kit_expect_same(&a, &other);
    rq.n_prompt = 3 * PAGE; // the last token is computed, for its logits
    kit_ask(e, &rq, &other);
    EXPECT_INT(other.last.usage.cached_tokens, 2 * PAGE);
    const hd_engine_stats st = kit_stats(e);
    EXPECT_INT(st.prefix_found, 5 * PAGE);
    EXPECT_INT(st.prefix_asked, 3 * 200 + 3 * PAGE);
    EXPECT_INT(st.tokens_in, 3 * 200 + 3 * PAGE);
    EXPECT_INT(st.pages_used, 0);
    EXPECT_INT(st.pages_cached, 2 * 3);
    EXPECT_INT(st.step_allocs, 0);
    hd_engine_close(e, 0);
    c.prefix_cache = false;
    e = kit_open(&c);
    rq = kit_request(p, 200, 1, 20);
    kit_ask(e, &rq, &off);
    kit_ask(e, &rq, &off);
    EXPECT_INT(off.last.usage.cached_tokens, 0);
    kit_expect_same(&a, &off);
    hd_engine_close(e, 0);
}

// What is stored is what is read, whoever stored it. (The tiny models are too narrow for q8_0.)
static void types_and_families_share(void)
{
    static const hd_dtype type[] = {HD_F32, HD_F16, HD_BF16};
    static kit_answer a, b;
    for (size_t i = 0; i < sizeof(type) / sizeof(type[0]); i++)
        for (int family = TINY_LLAMA; family < TINY_FAMILIES; family++) {
            char name[32];
            snprintf(name, sizeof(name), "family%d-%zu", family, i);
            hd_engine_cfg c = kit_cfg_for(
                tiny_model_write(name, (tiny_model){.nan_id = -1, .family = (tiny_family)family}));
            int32_t p[LONG];
            c.kv = type[i];
            hd_engine *e = kit_open(&c);
            hd_request rq = kit_request(p, 150, 3, 30);
            kit_ask(e, &rq, &a);
            kit_ask(e, &rq, &b);
            EXPECT_INT(b.last.usage.cached_tokens, 2 * PAGE);
            kit_expect_same(&a, &b);
            hd_engine_close(e, 0);
        }
}

static void a_conversation_finds_its_history(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer first, second, alone;
    int32_t p[LONG], longer[LONG + 150];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 100, 1, 100);
    kit_ask(e, &rq, &first);
    memcpy(longer, p, 100 * sizeof(p[0]));
    memcpy(longer + 100, first.id, 100 * sizeof(p[0]));
    for (int i = 200; i < 220; i++)
        longer[i] = i;
    rq.prompt = longer;
    rq.n_prompt = 220;
    rq.max_new_tokens = 40;
    kit_ask(e, &rq, &second);
    EXPECT_INT(second.last.usage.cached_tokens, 3 * PAGE); // into the answer
    hd_engine_close(e, 0);
    e = kit_open(&c);
    kit_ask(e, &rq, &alone);
    kit_expect_same(&second, &alone);
    hd_engine_close(e, 0);
}

// The same prompt many times at once, as with n > 1: one computes it, the others wait and share.
static void many_alike_are_computed_once(void)
{
    enum { N = 8 };
    hd_engine_cfg c = kit_cfg();
    static kit_answer a[N], alone;
    int32_t p[LONG];
    hd_stream *s[N];
    c.max_step_tokens = 50; // the prompt takes several steps
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, LONG, 1, 20);
    rq.sample.temperature = 1;
    for (int i = 0; i < N; i++) {
        rq.sample.seed = (uint64_t)i;
        s[i] = kit_submit(e, &rq);
    }
    int differ = 0;
    for (int i = 0; i < N; i++) {
        kit_read(s[i], &a[i]);
        differ += i > 0 && memcmp(a[i].id, a[0].id, 20 * sizeof(a[i].id[0])) != 0;
    }
    EXPECT(differ > 0);
    EXPECT_INT(kit_stats(e).prefix_found, (N - 1) * 4 * PAGE);
    hd_engine_close(e, 0);
    c.prefix_cache = false;
    e = kit_open(&c);
    for (int i = 0; i < N; i++) {
        rq.sample.seed = (uint64_t)i;
        kit_ask(e, &rq, &alone);
        kit_expect_same(&a[i], &alone);
    }
    hd_engine_close(e, 0);
}

// Whoever wants to know how likely the prompt was needs all of it computed.
static void prompt_logprobs_bypass_the_cache(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b;
    int32_t p[LONG];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 200, 1, 5);
    rq.prompt_logprobs = true;
    kit_ask(e, &rq, &a);
    kit_ask(e, &rq, &b);
    EXPECT_INT(b.last.usage.cached_tokens, 0);
    EXPECT_INT(b.n_prompt, 200);
    for (int i = 1; i < 200; i++)
        EXPECT(a.prompt[i].logprob == b.prompt[i].logprob);
    hd_engine_close(e, 0);
}

// ---- short of pages ------------------------------------------------------------------------

typedef struct reader {
    hd_stream *s;
    kit_answer a;
    pthread_t thread;
} reader;

static void *read_all(void *arg)
{
    reader *r = arg;
    kit_read(r->s, &r->a);
    return NULL;
}

enum { CROWD = 6, POOL = 8 };

// Requests of four pages each over eight, all of which start with two.
static void crowd(const hd_engine_cfg *c, bool slow_readers, kit_answer *alone)
{
    static reader r[CROWD];
    int32_t p[CROWD][100];
    hd_engine *e = kit_open(c);
    for (int i = 0; i < CROWD; i++) {
        hd_request rq = kit_request(p[i], 100, i, 150);
        rq.sample.temperature = i % 2 ? 1 : 0;
        rq.sample.seed = (uint64_t)i;
        rq.sample.repetition_penalty = i % 3 ? 1 : 1.3f;
        r[i].s = kit_submit(e, &rq);
        if (!slow_readers) pthread_create(&r[i].thread, NULL, read_all, &r[i]);
    }
    for (int i = CROWD - 1; i >= 0; i--) // the youngest first: the others are stuck meanwhile
        if (slow_readers)
            kit_read(r[i].s, &r[i].a);
        else
            pthread_join(r[i].thread, NULL);
    const hd_engine_stats st = kit_stats(e);
    if (slow_readers) EXPECT(st.preemptions > 0);
    EXPECT_INT(st.pages_used, 0);
    EXPECT_INT(st.running + st.waiting, 0);
    EXPECT_INT(st.tokens_in, CROWD * 100);
    EXPECT_INT(st.tokens_out, CROWD * 150);
    EXPECT_INT(st.step_allocs, 0);
    for (int i = 0; i < CROWD; i++) {
        EXPECT_INT(r[i].a.n, 150);
        EXPECT_INT(r[i].a.last.usage.completion_tokens, 150);
        kit_expect_same(&r[i].a, &alone[i]);
    }
    hd_engine_close(e, 0);
}

static void giving_way_changes_no_answer(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer alone[CROWD];
    int32_t p[100];
    hd_engine *e = kit_open(&c);
    for (int i = 0; i < CROWD; i++) {
        hd_request rq = kit_request(p, 100, i, 150);
        rq.sample.temperature = i % 2 ? 1 : 0;
        rq.sample.seed = (uint64_t)i;
        rq.sample.repetition_penalty = i % 3 ? 1 : 1.3f;
        kit_ask(e, &rq, &alone[i]);
    }
    hd_engine_close(e, 0);
    c.max_context = 256;
    c.slow_reader_ms = 2;
    kit_set_pages(&c, POOL);
    crowd(&c, false, alone);
    crowd(&c, true, alone);
    c.prefix_cache = false;
    crowd(&c, false, alone);
    crowd(&c, true, alone);
}

// Looking for pages again and again takes nothing out of the cache.
static void who_waits_evicts_nobody(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a;
    int32_t p[200], p2[10], p3[383];
    kit_set_pages(&c, 8);
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 193, 1, 1), stuck = kit_request(p2, 10, 2, 150);
    hd_request large = kit_request(p3, 383, 3, 5);
    kit_ask(e, &rq, &a);
    EXPECT_INT(kit_stats(e).pages_cached, 3);
    hd_stream *s = kit_submit(e, &stuck); // holds two pages when its ring is full
    while (kit_stats(e).tokens_out < 65)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    hd_stream *w = kit_submit(e, &large); // six are left, and one must be for the other
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    EXPECT_INT(kit_stats(e).waiting, 1);
    hd_stream_cancel(w);
    kit_read(w, &a);
    EXPECT_INT(kit_stats(e).pages_cached, 3);
    kit_read(s, &a);
    hd_engine_close(e, 0);
}

// One that waits with prompt log-probabilities half reported goes on where it was.
static void half_a_report_is_not_repeated(void)
{
    hd_engine_cfg c = kit_cfg();
    static kit_answer a, b, other;
    int32_t p[200], p2[60];
    hd_engine *e = kit_open(&c);
    hd_request rq = kit_request(p, 200, 1, 10);
    rq.prompt_logprobs = true;
    kit_ask(e, &rq, &a);
    hd_engine_close(e, 0);
    c.max_context = 256;
    c.slow_reader_ms = 2;
    kit_set_pages(&c, 4);
    e = kit_open(&c);
    hd_request rq2 = kit_request(p2, 60, 2, 190);
    hd_stream *s = kit_submit(e, &rq); // stuck in its report: all four pages are its
    kit_ask(e, &rq2, &other);          // needs all four
    kit_read(s, &b);
    EXPECT_INT(b.n_prompt, 200);
    for (int i = 1; i < 200; i++)
        EXPECT(a.prompt[i].logprob == b.prompt[i].logprob);
    kit_expect_same(&a, &b);
    EXPECT_INT(kit_stats(e).tokens_in, 260);
    hd_engine_close(e, 0);
}

HD_TEST_MAIN("engine_share", {"the_second_finds_the_first", the_second_finds_the_first},
             {"types_and_families_share", types_and_families_share},
             {"a_conversation_finds_its_history", a_conversation_finds_its_history},
             {"many_alike_are_computed_once", many_alike_are_computed_once},
             {"prompt_logprobs_bypass_the_cache", prompt_logprobs_bypass_the_cache},
             {"giving_way_changes_no_answer", giving_way_changes_no_answer},
             {"who_waits_evicts_nobody", who_waits_evicts_nobody},
             {"half_a_report_is_not_repeated", half_a_report_is_not_repeated})
