// Odds and costs of guessed tokens.
#include "engine/spec.h"

#include "kernels/base/status.h"

static const float prior_odds[HD_SPEC_CLASSES] = {0.35f, 0.55f, 0.8f};

static const double prior_weight = 6;   // guesses that the prior counts for
static const double memory = 60;        // guesses after which old ones are forgotten by half
static const double unknown_row = 0.04; // of a step, for each row
static const double margin = 1.02;      // a gain below this is none

static int class_of(int32_t matched)
{
    return matched < 6 ? 0 : matched < 16 ? 1 : 2;
}

void hd_spec_learn(hd_spec_odds *o, int32_t matched, int32_t n, int32_t n_true)
{
    const int k = class_of(matched);
    HD_DASSERT(n_true <= n && n > 0);
    // Guesses behind the first wrong one say nothing.
    o->seen[k] += (float)(n_true < n ? n_true + 1 : n);
    o->hit[k] += (float)n_true;
    if (o->seen[k] < memory) return;
    o->seen[k] /= 2;
    o->hit[k] /= 2;
}

static double chance(const hd_spec_odds *o, int32_t matched)
{
    const int k = class_of(matched);
    return ((double)o->hit[k] + prior_weight * (double)prior_odds[k]) /
           ((double)o->seen[k] + prior_weight);
}

// Nothing was measured: more rows cost something.
static double time_at(const hd_pace *pace, int32_t rows)
{
    const double ns = hd_pace_time(pace, rows);
    return ns > 0 ? ns : 1 + unknown_row * rows;
}

int32_t hd_spec_choose(const hd_pace *pace, const hd_spec_odds *o, int32_t rows, double tokens,
                       hd_guess g, double *expected)
{
    const double p = chance(o, g.matched);
    double best = tokens / time_at(pace, rows) * margin, sum = 0, power = 1;
    int32_t n = 0;
    *expected = 0;
    for (int32_t i = 1; i <= g.n && rows + i <= HD_SPEC_ROWS; i++) {
        power *= p;
        sum += power;
        const double rate = (tokens + sum) / time_at(pace, rows + i);
        if (rate <= best) continue;
        best = rate;
        n = i;
        *expected = sum;
    }
    return n;
}
