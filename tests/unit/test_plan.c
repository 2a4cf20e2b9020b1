// Planning a step: fixed cases, thousands of random queues against the rules, and whole runs of
// requests over a small pool of pages.
#include "engine/plan.h"
#include "engine/prefix.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

enum { MAX = 40 };

typedef struct queue {
    hd_plan_seq seq[MAX];
    int32_t take[MAX];
    hd_plan_in in;
    hd_plan out;
} queue;

static void setup(queue *q, int32_t n, int32_t max_tokens, int32_t max_seqs)
{
    memset(q, 0, sizeof(*q));
    for (int32_t i = 0; i < n; i++)
        q->seq[i].rank.arrival = (uint64_t)i;
    q->in = (hd_plan_in){
        .seq = q->seq,
        .n_seqs = n,
        .max_tokens = max_tokens,
        .max_seqs = max_seqs,
        .max_prompt = INT32_MAX,
        .free_pages = 1000,
    };
    q->out.take = q->take;
}

static void nothing_to_do(void)
{
    queue q;
    setup(&q, 0, 8, 8);
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_NOTHING);
    setup(&q, 2, 8, 8);
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_NOTHING); // todo 0
    q.seq[0].todo = 3;
    q.seq[0].blocked = true;
    q.take[0] = 99;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_NOTHING);
    EXPECT_INT(q.take[0], 0);
    EXPECT_INT(q.out.n_tokens, 0);
}

static void decoding_comes_first(void)
{
    queue q;
    setup(&q, 4, 10, 8);
    q.seq[0].todo = 100;
    q.seq[1] = (hd_plan_seq){.todo = 1, .decoding = true, .rank.arrival = 1};
    q.seq[2].todo = 100;
    q.seq[3] = (hd_plan_seq){.todo = 1, .decoding = true, .rank.arrival = 3};
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[1], 1);
    EXPECT_INT(q.take[3], 1);
    EXPECT_INT(q.take[0], 8); // the rest, to the first that came
    EXPECT_INT(q.take[2], 0);
    EXPECT_INT(q.out.n_tokens, 10);
    EXPECT_INT(q.out.n_in_step, 3);
}

static void prompts_leave_time_for_answers(void)
{
    queue q;
    setup(&q, 3, 500, 8);
    q.in.max_prompt = 30;
    q.seq[0].todo = q.seq[2].todo = 100;
    q.seq[1] = (hd_plan_seq){.todo = 1, .decoding = true, .rank.arrival = 1};
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0], 30);
    EXPECT_INT(q.take[1], 1);
    EXPECT_INT(q.take[2], 0);
    q.seq[1].blocked = true; // nobody to wait
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0] + q.take[2], 200);
}

static void prefill_by_priority_then_arrival(void)
{
    queue q;
    setup(&q, 3, 10, 8);
    q.seq[0].todo = q.seq[1].todo = q.seq[2].todo = 6;
    q.seq[2].rank.priority = 1;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[2], 6);
    EXPECT_INT(q.take[0], 4);
    EXPECT_INT(q.take[1], 0);
    q.seq[1].waited = 1000; // old enough to pass every priority
    q.seq[2].rank.priority = INT32_MAX;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[1], 6);
    EXPECT_INT(q.take[2], 4);
}

static void more_decoding_than_budget(void)
{
    queue q;
    setup(&q, 5, 3, 8);
    for (int i = 0; i < 5; i++)
        q.seq[i] = (hd_plan_seq){.todo = 1, .decoding = true, .rank.arrival = (uint64_t)i};
    q.seq[3].waited = q.seq[4].waited = 1;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[3] + q.take[4] + q.take[0], 3);
    EXPECT_INT(q.out.n_tokens, 3);
}

// ---- pages ---------------------------------------------------------------------------------

static hd_plan_seq decoder(int32_t i, int32_t stored, int32_t pages)
{
    return (hd_plan_seq){
        .todo = 1, .decoding = true, .rank.arrival = (uint64_t)i, .stored = stored, .pages = pages};
}

static void the_youngest_gives_way(void)
{
    queue q;
    setup(&q, 3, 16, 8);
    q.in.free_pages = 1;
    q.seq[0] = decoder(0, 64, 1);
    q.seq[1] = decoder(1, 64, 1);
    q.seq[2] = decoder(2, 10, 1);
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_PREEMPT); // two need a page, one is there
    EXPECT_INT(q.out.victim, 2);
    q.seq[0].rank.priority = -1;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0], 0); // nobody is below it
    EXPECT_INT(q.take[1] + q.take[2], 2);
    q.seq[0].rank.urgent = true;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_PREEMPT);
    EXPECT_INT(q.out.victim, 2);
    q.seq[0].blocked = true; // it could not go on anyway
    q.in.free_pages = 0;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_PREEMPT);
    EXPECT_INT(q.out.victim, 0);
}

static void who_finds_no_page_sits_out(void)
{
    queue q;
    setup(&q, 2, 1, 8); // one token a step
    q.in.free_pages = 0;
    q.seq[0] = decoder(0, 10, 1);
    q.seq[1] = (hd_plan_seq){.todo = 5, .rank.arrival = 1, .waited = 70};
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0], 1); // not left idle for one that cannot use its turn
    EXPECT_INT(q.take[1], 0);
}

static void a_chunk_shrinks_to_its_pages(void)
{
    queue q;
    setup(&q, 1, 500, 8);
    q.in.free_pages = 2;
    q.seq[0] = (hd_plan_seq){.todo = 400, .stored = 10, .pages = 1};
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0], 3 * HD_PAGE_TOKENS - 10);
    EXPECT_INT(q.out.n_pages, 2);
}

static void drafts_take_what_is_left(void)
{
    queue q;
    setup(&q, 3, 20, 8);
    q.in.max_draft = 6;
    q.in.free_pages = 1;
    q.seq[0] = decoder(0, 62, 1);
    q.seq[1] = decoder(1, 61, 1);
    q.seq[0].draft = q.seq[1].draft = 4;
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[0], 5); // the free page is its
    EXPECT_INT(q.take[1], 3); // as many as its page and the six allow
    EXPECT_INT(q.out.n_pages, 1);
    EXPECT_INT(q.out.n_tokens, 8);
    q.seq[2] = (hd_plan_seq){.todo = 17, .rank.arrival = 2, .pages = 1};
    EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
    EXPECT_INT(q.take[2], 17);
    EXPECT_INT(q.take[0], 2); // a prompt goes first
    EXPECT_INT(q.take[1], 1);
}

// ---- random queues -------------------------------------------------------------------------

static void check_rules(const queue *q, bool any)
{
    int32_t tokens = 0, seqs = 0, left_out = 0;
    bool ready = false, prefill_served = false, aged_prefill = false;
    for (int32_t i = 0; i < q->in.n_seqs; i++) {
        const hd_plan_seq *s = &q->seq[i];
        EXPECT(q->take[i] >= 0 && q->take[i] <= (s->todo > 0 ? s->todo : 0));
        if (s->blocked) EXPECT_INT(q->take[i], 0);
        tokens += q->take[i];
        seqs += q->take[i] > 0;
        bool can = s->todo > 0 && !s->blocked;
        ready |= can;
        left_out += can && s->decoding && q->take[i] == 0;
        prefill_served |= !s->decoding && q->take[i] > 0;
        aged_prefill |= can && !s->decoding && s->waited > 60;
    }
    EXPECT_INT(any, ready);
    EXPECT_INT(tokens, q->out.n_tokens);
    EXPECT_INT(seqs, q->out.n_in_step);
    EXPECT(tokens <= q->in.max_tokens && seqs <= q->in.max_seqs);
    // Decoding is only left out for want of room, never for a prefill that could wait.
    if (left_out > 0) {
        EXPECT(tokens == q->in.max_tokens || seqs == q->in.max_seqs);
        EXPECT(!prefill_served || aged_prefill);
    }
    // Work is done while there is room for it.
    if (tokens < q->in.max_tokens && seqs < q->in.max_seqs)
        for (int32_t i = 0; i < q->in.n_seqs; i++)
            if (!q->seq[i].blocked && q->seq[i].todo > 0) EXPECT_INT(q->take[i], q->seq[i].todo);
}

static void random_queues(void)
{
    hd_rng rng;
    queue q;
    hd_rng_seed(&rng, 7);
    for (int round = 0; round < 20000; round++) {
        int32_t n = (int32_t)hd_rng_below(&rng, MAX + 1);
        setup(&q, n, 1 + (int32_t)hd_rng_below(&rng, 64), 1 + (int32_t)hd_rng_below(&rng, MAX));
        for (int32_t i = 0; i < n; i++) {
            hd_plan_seq *s = &q.seq[i];
            s->decoding = hd_rng_below(&rng, 2);
            s->todo = s->decoding ? 1 : (int32_t)hd_rng_below(&rng, 100);
            s->blocked = hd_rng_below(&rng, 5) == 0;
            s->rank.priority = (int32_t)hd_rng_below(&rng, 3) - 1;
            s->waited = hd_rng_below(&rng, 100);
        }
        check_rules(&q, hd_plan_step(&q.in, &q.out) == HD_PLAN_STEP);
    }
}

// ---- whole runs ----------------------------------------------------------------------------

typedef struct life { // one request from prompt to its last token
    int32_t prompt, answer;
} life;

// Requests keep coming at high priority and stay long; those of low priority must end too.
static void run(int32_t max_tokens, uint64_t seed)
{
    hd_rng rng;
    queue q;
    life l[MAX];
    const int32_t n = 12;
    int64_t steps = 0;
    uint64_t worst = 0, arrival = 0;
    int32_t ended_low = 0;
    hd_rng_seed(&rng, seed);
    setup(&q, n, max_tokens, n);
    for (int32_t i = 0; i < n; i++)
        l[i].prompt = l[i].answer = 0;
    while (ended_low < 50) {
        for (int32_t i = 0; i < n; i++) {
            if (l[i].prompt + l[i].answer > 0) continue;
            l[i].prompt = 1 + (int32_t)hd_rng_below(&rng, 200);
            l[i].answer = 1 + (int32_t)hd_rng_below(&rng, 30);
            q.seq[i] = (hd_plan_seq){.rank = {.priority = i < 9 ? 5 : 0, .arrival = arrival++}};
        }
        for (int32_t i = 0; i < n; i++) {
            q.seq[i].decoding = l[i].prompt == 0;
            q.seq[i].todo = l[i].prompt ? l[i].prompt : 1;
        }
        EXPECT_INT(hd_plan_step(&q.in, &q.out), HD_PLAN_STEP);
        for (int32_t i = 0; i < n; i++) {
            if (q.seq[i].waited > worst) worst = q.seq[i].waited;
            q.seq[i].waited = q.take[i] ? 0 : q.seq[i].waited + 1;
            if (!q.take[i]) continue;
            if (l[i].prompt)
                l[i].prompt -= q.take[i];
            else
                l[i].answer--;
            ended_low += i >= 9 && l[i].prompt + l[i].answer == 0;
        }
        EXPECT(++steps < 2000000);
    }
    EXPECT(worst <= 64 + 2 * (uint64_t)n); // aged ones go one after another
}

static void nobody_starves(void)
{
    run(16, 1);
    run(12, 2);
    run(5, 3);
    run(1, 4);
}

// ---- whole runs over few pages -------------------------------------------------------------

typedef struct pooled {   // what happens to one request, as the scheduler would do it
    int32_t known, total; // tokens it has and will have
    int32_t n_preempted;
} pooled;

enum { POOL = 24, LIVE = 10 };

static int32_t pages_of(int32_t tokens)
{
    return (tokens + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS;
}

static void renew(hd_rng *rng, hd_plan_seq *s, pooled *r, uint64_t arrival)
{
    r->known = 1 + (int32_t)hd_rng_below(rng, 12 * HD_PAGE_TOKENS);
    r->total = r->known + 1 + (int32_t)hd_rng_below(rng, 12 * HD_PAGE_TOKENS);
    r->n_preempted = 0;
    EXPECT(pages_of(r->total) <= POOL); // alone it fits
    *s = (hd_plan_seq){.rank = {.arrival = arrival}};
    s->rank.priority = (int32_t)hd_rng_below(rng, 2);
}

static int32_t top_of(const queue *q)
{
    int32_t top = -1;
    for (int32_t i = 0; i < LIVE; i++)
        if (!q->seq[i].blocked && (top < 0 || hd_rank_before(&q->seq[i].rank, &q->seq[top].rank)))
            top = i;
    return top;
}

// Nothing is reserved ahead: pages come token by token, and everybody is in at once.
static void run_pool(uint64_t seed, int32_t max_tokens, int32_t to_end)
{
    queue q;
    pooled r[LIVE];
    hd_rng rng;
    int32_t ended = 0, free_pages = POOL;
    uint64_t arrival = 0;
    hd_rng_seed(&rng, seed);
    setup(&q, LIVE, max_tokens, LIVE);
    for (int32_t i = 0; i < LIVE; i++)
        renew(&rng, &q.seq[i], &r[i], arrival++);
    for (int64_t steps = 0; ended < to_end; steps++) {
        // Or nothing moves. Prompts have every 64th step where decoding fills all of them.
        EXPECT(steps < (int64_t)to_end * POOL * HD_PAGE_TOKENS * (max_tokens < LIVE ? 66 : 3));
        for (int32_t i = 0; i < LIVE; i++) {
            hd_plan_seq *s = &q.seq[i];
            s->todo = r[i].known - s->stored;
            s->decoding = s->todo == 1 && s->stored > 0;
            s->blocked = hd_rng_below(&rng, 20) == 0;
        }
        q.in.free_pages = free_pages;
        const int32_t top = top_of(&q);
        const hd_plan_verdict v = hd_plan_step(&q.in, &q.out);
        if (v == HD_PLAN_PREEMPT) {
            hd_plan_seq *s = &q.seq[q.out.victim];
            EXPECT(q.out.victim != top && s->pages > 0);
            free_pages += s->pages;
            s->pages = s->stored = 0;
            s->rank.urgent = ++r[q.out.victim].n_preempted >= 2;
            continue;
        }
        if (v == HD_PLAN_NOTHING) EXPECT(top < 0);
        int32_t taken = 0;
        for (int32_t i = 0; i < LIVE; i++) {
            hd_plan_seq *s = &q.seq[i];
            s->waited = q.take[i] ? 0 : s->waited + 1;
            if (!q.take[i]) continue;
            s->stored += q.take[i];
            EXPECT(s->stored <= r[i].known);
            const int32_t more = pages_of(s->stored) - s->pages;
            if (more > 0) taken += more;
            if (more > 0) s->pages += more;
            if (s->stored < r[i].known || ++r[i].known < r[i].total) continue;
            ended++;
            taken -= s->pages;
            renew(&rng, s, &r[i], arrival++);
        }
        free_pages -= taken;
        int32_t held = 0;
        for (int32_t i = 0; i < LIVE; i++)
            held += q.seq[i].pages;
        EXPECT(free_pages >= 0);
        EXPECT_INT(held + free_pages, POOL);
    }
}

static void everybody_ends_in_a_small_pool(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++)
        run_pool(seed, LIVE + (int32_t)(seed * seed), 60);
    run_pool(21, 1, 6);
    run_pool(22, 4, 12);
}

HD_TEST_MAIN("plan", {"nothing_to_do", nothing_to_do},
             {"decoding_comes_first", decoding_comes_first},
             {"prompts_leave_time_for_answers", prompts_leave_time_for_answers},
             {"prefill_by_priority_then_arrival", prefill_by_priority_then_arrival},
             {"more_decoding_than_budget", more_decoding_than_budget},
             {"the_youngest_gives_way", the_youngest_gives_way},
             {"who_finds_no_page_sits_out", who_finds_no_page_sits_out},
             {"a_chunk_shrinks_to_its_pages", a_chunk_shrinks_to_its_pages},
             {"drafts_take_what_is_left", drafts_take_what_is_left},
             {"random_queues", random_queues}, {"nobody_starves", nobody_starves},
             {"everybody_ends_in_a_small_pool", everybody_ends_in_a_small_pool})
