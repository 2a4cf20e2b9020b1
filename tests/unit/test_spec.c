// Guessing tokens: what prompt lookup finds, and that the choice of how many to compute pays in
// simulated texts and never costs much.
#include "engine/spec.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

// ---- lookup --------------------------------------------------------------------------------

enum { MAX = 4000 };

static hd_guess guess(hd_draft *d, int32_t *ids, int32_t n, int32_t most)
{
    return hd_draft_guess(d, ids, n, most, ids + n);
}

static void what_followed_before(void)
{
    int32_t ids[64] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3};
    hd_draft d = {0};
    EXPECT_INT(guess(&d, ids, 11, 4).n, 0); // off
    EXPECT(hd_draft_init(&d, 64));
    EXPECT_INT(guess(&d, ids, 2, 4).n, 0);
    hd_guess g = guess(&d, ids, 11, 4);
    EXPECT_INT(g.n, 4);
    EXPECT_INT(g.matched, 3);
    EXPECT(memcmp(ids + 11, ids + 3, 4 * sizeof(ids[0])) == 0);
    EXPECT_INT(guess(&d, ids, 11, 0).n, 0);
    hd_draft_fini(&d);
}

static void the_longest_agreement_wins(void)
{
    //                       v then 50                v then 60           now, behind 9 1 2 3
    int32_t ids[64] = {9, 1, 2, 3, 50, 51, 52, 8, 1, 2, 3, 60, 61, 62, 9, 1, 2, 3};
    hd_draft d;
    EXPECT(hd_draft_init(&d, 64));
    hd_guess g = guess(&d, ids, 18, 3);
    EXPECT_INT(g.matched, 4);
    EXPECT_INT(ids[18], 50);
    hd_draft_fini(&d);
    EXPECT(hd_draft_init(&d, 64));
    ids[14] = 8; // now the second agrees better
    g = guess(&d, ids, 18, 3);
    EXPECT_INT(ids[18], 60);
    hd_draft_fini(&d);
}

static void a_repetition_goes_on(void)
{
    int32_t ids[64] = {7, 8, 7, 8, 7, 8};
    hd_draft d;
    EXPECT(hd_draft_init(&d, 64));
    hd_guess g = guess(&d, ids, 6, 8);
    EXPECT_INT(g.n, 8);
    for (int i = 6; i < 14; i++)
        EXPECT_INT(ids[i], 7 + i % 2);
    hd_draft_fini(&d);
}

// Against a search of the whole text: what is guessed did follow the same tokens, and where the
// chain is short enough to be read whole, nothing that agrees longer was missed.
static void random_texts(void)
{
    static int32_t ids[MAX + 16];
    hd_rng rng;
    int32_t found = 0;
    for (int round = 0; round < 20; round++) {
        const uint32_t alphabet = round % 2 ? 40 : 6;
        hd_draft d;
        hd_rng_seed(&rng, (uint64_t)round);
        EXPECT(hd_draft_init(&d, MAX));
        for (int32_t n = 0; n < 600; n++) {
            ids[n] = (int32_t)hd_rng_below(&rng, alphabet);
            if (n % 50 == 0) continue; // several tokens at a time, too
            const hd_guess g = guess(&d, ids, n + 1, 3);
            int32_t best = 0, places = 0;
            for (int32_t e = HD_DRAFT_GRAM; e <= n; e++) {
                int32_t m = 0;
                while (m < 32 && m < e && ids[e - 1 - m] == ids[n - m])
                    m++;
                places += m >= HD_DRAFT_GRAM;
                if (m > best) best = m;
            }
            EXPECT_INT(g.n > 0, places > 0);
            if (g.n == 0) continue;
            found++;
            EXPECT(g.matched >= HD_DRAFT_GRAM && g.matched <= best);
            if (places <= 4) EXPECT_INT(g.matched, best);
        }
        hd_draft_fini(&d);
    }
    EXPECT(found > 1000);
}

static void memory_runs_out(void)
{
    for (int n = 1; n <= 2; n++) {
        hd_draft d;
        hd_mem_fail_at(n, false);
        EXPECT(!hd_draft_init(&d, 100));
        hd_mem_fail_at(0, false);
        EXPECT(!d.newest && !d.older);
    }
}

// ---- how many ------------------------------------------------------------------------------

typedef struct world {
    double row_cost; // of a step, for each row more than one
    double truth[3]; // chance of a guess by class
    double jitter;   // of measured times
    double found;    // how often there is a guess
} world;

// Time per token of one sequence with guesses, over that without.
static double simulate(const world *w, uint64_t seed)
{
    hd_pace pace = {0};
    hd_spec_odds odds = {0};
    hd_rng rng;
    double time = 0, tokens = 0;
    hd_rng_seed(&rng, seed);
    while (tokens < 3000) {
        static const int32_t matched[] = {4, 10, 30};
        const int k = (int)hd_rng_below(&rng, 3);
        hd_guess g = {.matched = matched[k]};
        double more;
        if (hd_rng_unit(&rng) < w->found) g.n = HD_DRAFT_MAX;
        const int32_t n = hd_spec_choose(&pace, &odds, 1, 1, g, &more);
        int32_t n_true = 0;
        while (n_true < g.n && hd_rng_unit(&rng) < w->truth[k])
            n_true++;
        const double t = 1 + w->row_cost * n;
        time += t;
        tokens += 1 + (n_true < n ? n_true : n);
        hd_pace_measured(&pace, 1 + n, 0, 1e6 * t * (1 + w->jitter * hd_rng_unit(&rng)));
        if (n > 0)
            hd_spec_learn(&odds, g.matched, n, n_true < n ? n_true : n);
        else if (g.n > 0)
            hd_spec_learn(&odds, g.matched, 1, n_true > 0);
    }
    return time / tokens;
}

static void it_pays_where_it_can(void)
{
    const world quote = {.row_cost = 0.05, .truth = {0.6, 0.8, 0.95}, .found = 0.9};
    EXPECT(simulate(&quote, 1) < 0.6);
    const world costly = {.row_cost = 0.3, .truth = {0.3, 0.6, 0.95}, .jitter = 0.3, .found = 0.9};
    EXPECT(simulate(&costly, 2) < 0.95);
}

// Whatever rows cost and however rarely guesses come true: never 3 % slower than without.
static void it_never_costs_much(void)
{
    double worst = 0;
    for (uint64_t i = 0; i < 200; i++) {
        hd_rng rng;
        hd_rng_seed(&rng, i);
        world w = {.row_cost = hd_rng_unit(&rng), .jitter = 0.3, .found = hd_rng_unit(&rng)};
        for (int k = 0; k < 3; k++)
            w.truth[k] = hd_rng_unit(&rng) * hd_rng_unit(&rng);
        const double r = simulate(&w, i);
        if (r > worst) worst = r;
    }
    EXPECT(worst < 1.03);
}

// ---- pace ----------------------------------------------------------------------------------

static void prompts_fit_beside_answers(void)
{
    hd_pace p = {0};
    EXPECT_INT(hd_pace_prompt(&p, 4, 5e7), 64); // nothing is known
    hd_pace_measured(&p, 0, 512, 512e6);        // a millisecond each
    EXPECT_INT(hd_pace_prompt(&p, 1, 5e7), 48);
    hd_pace_measured(&p, 16, 0, 200e6);
    EXPECT_INT(hd_pace_prompt(&p, 16, 5e7), 200); // as long as the answers' own part
    EXPECT_INT(hd_pace_prompt(&p, 16, 1e3), 200);
    EXPECT_INT(hd_pace_prompt(&p, 1, 1e3), 200); // all that is known of rows
    for (int i = 0; i < 100; i++)
        hd_pace_measured(&p, 1, 0, 1e6);
    EXPECT_INT(hd_pace_prompt(&p, 1, 1e3), 16); // the least
    for (int i = 0; i < 100; i++)
        hd_pace_measured(&p, 16, 100, 1200e6); // deeper: ten milliseconds each
    EXPECT_INT(hd_pace_prompt(&p, 16, 1e9), 96);
}

static void times_between_known_ones(void)
{
    hd_pace p = {0};
    EXPECT(hd_pace_time(&p, 3) == 0);
    hd_pace_measured(&p, 2, 0, 100);
    EXPECT(hd_pace_time(&p, 2) == 100 && hd_pace_time(&p, 1) == 100);
    EXPECT(hd_pace_time(&p, 4) > 100 && hd_pace_time(&p, 4000) > hd_pace_time(&p, 4));
    hd_pace_measured(&p, 6, 0, 300);
    EXPECT(hd_pace_time(&p, 4) == 200);
    hd_pace_measured(&p, 20, 0, 500);
    hd_pace_measured(&p, 4096, 0, 9000);
    EXPECT(hd_pace_time(&p, 32) == 500 && hd_pace_time(&p, 100000) == 9000);
}

static void full_steps_take_no_guesses(void)
{
    const hd_pace pace = {0};
    const hd_spec_odds odds = {0};
    const hd_guess g = {.n = HD_DRAFT_MAX, .matched = 32};
    double more;
    EXPECT_INT(hd_spec_choose(&pace, &odds, HD_SPEC_ROWS, HD_SPEC_ROWS, g, &more), 0);
    EXPECT(hd_spec_choose(&pace, &odds, HD_SPEC_ROWS - 2, 1, g, &more) <= 2);
}

HD_TEST_MAIN("spec", {"what_followed_before", what_followed_before},
             {"the_longest_agreement_wins", the_longest_agreement_wins},
             {"a_repetition_goes_on", a_repetition_goes_on}, {"random_texts", random_texts},
             {"memory_runs_out", memory_runs_out}, {"it_pays_where_it_can", it_pays_where_it_can},
             {"it_never_costs_much", it_never_costs_much},
             {"prompts_fit_beside_answers", prompts_fit_beside_answers},
             {"times_between_known_ones", times_between_known_ones},
             {"full_steps_take_no_guesses", full_steps_take_no_guesses})
