// Planning a step: fixed cases, and thousands of random queues against the rules.
#include "engine/plan.h"
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
        q->seq[i].arrival = (uint64_t)i;
    q->in = (hd_plan_in){q->seq, n, max_tokens, max_seqs};
    q->out.take = q->take;
}

static void nothing_to_do(void)
{
    queue q;
    setup(&q, 0, 8, 8);
    EXPECT(!hd_plan_step(&q.in, &q.out));
    setup(&q, 2, 8, 8);
    EXPECT(!hd_plan_step(&q.in, &q.out)); // todo 0
    q.seq[0].todo = 3;
    q.seq[0].blocked = true;
    q.take[0] = 99;
    EXPECT(!hd_plan_step(&q.in, &q.out));
    EXPECT_INT(q.take[0], 0);
    EXPECT_INT(q.out.n_tokens, 0);
}

static void decoding_comes_first(void)
{
    queue q;
    setup(&q, 4, 10, 8);
    q.seq[0].todo = 100;
    q.seq[1] = (hd_plan_seq){.todo = 1, .decoding = true, .arrival = 1};
    q.seq[2].todo = 100;
    q.seq[3] = (hd_plan_seq){.todo = 1, .decoding = true, .arrival = 3};
    EXPECT(hd_plan_step(&q.in, &q.out));
    EXPECT_INT(q.take[1], 1);
    EXPECT_INT(q.take[3], 1);
    EXPECT_INT(q.take[0], 8); // the rest, to the first that came
    EXPECT_INT(q.take[2], 0);
    EXPECT_INT(q.out.n_tokens, 10);
    EXPECT_INT(q.out.n_in_step, 3);
}

static void prefill_by_priority_then_arrival(void)
{
    queue q;
    setup(&q, 3, 10, 8);
    q.seq[0].todo = q.seq[1].todo = q.seq[2].todo = 6;
    q.seq[2].priority = 1;
    EXPECT(hd_plan_step(&q.in, &q.out));
    EXPECT_INT(q.take[2], 6);
    EXPECT_INT(q.take[0], 4);
    EXPECT_INT(q.take[1], 0);
    q.seq[1].waited = 1000; // old enough to pass every priority
    q.seq[2].priority = INT32_MAX;
    EXPECT(hd_plan_step(&q.in, &q.out));
    EXPECT_INT(q.take[1], 6);
    EXPECT_INT(q.take[2], 4);
}

static void more_decoding_than_budget(void)
{
    queue q;
    setup(&q, 5, 3, 8);
    for (int i = 0; i < 5; i++)
        q.seq[i] = (hd_plan_seq){.todo = 1, .decoding = true, .arrival = (uint64_t)i};
    q.seq[3].waited = q.seq[4].waited = 1;
    EXPECT(hd_plan_step(&q.in, &q.out));
    EXPECT_INT(q.take[3] + q.take[4] + q.take[0], 3);
    EXPECT_INT(q.out.n_tokens, 3);
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
            s->priority = (int32_t)hd_rng_below(&rng, 3) - 1;
            s->waited = hd_rng_below(&rng, 100);
        }
        check_rules(&q, hd_plan_step(&q.in, &q.out));
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
            q.seq[i] = (hd_plan_seq){.priority = i < 9 ? 5 : 0, .arrival = arrival++};
        }
        for (int32_t i = 0; i < n; i++) {
            q.seq[i].decoding = l[i].prompt == 0;
            q.seq[i].todo = l[i].prompt ? l[i].prompt : 1;
        }
        EXPECT(hd_plan_step(&q.in, &q.out));
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

HD_TEST_MAIN("plan", {"nothing_to_do", nothing_to_do},
             {"decoding_comes_first", decoding_comes_first},
             {"prefill_by_priority_then_arrival", prefill_by_priority_then_arrival},
             {"more_decoding_than_budget", more_decoding_than_budget},
             {"random_queues", random_queues}, {"nobody_starves", nobody_starves})
