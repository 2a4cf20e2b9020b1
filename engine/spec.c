// Odds and costs of guessed tokens.
#include "engine/spec.h"

#include "kernels/base/status.h"

static const float prior_odds[HD_SPEC_CLASSES] = {0.35f, 0.55f, 0.8f};

static const double prior_weight = 6;    // guesses that the prior counts for
static const double memory = 60;         // guesses after which old ones are forgotten by half
static const double row_share = 0.04;    // of a step, for each more row, until it was measured
static const double margin = 1.02;       // a gain below this is none
static const double smoothing = 1.0 / 8; // weight of a new measurement
static const double outlier = 3;         // times the known one: counted as so much

static int class_of(int32_t matched)
{
    return matched < 6 ? 0 : matched < 16 ? 1 : 2;
}

void hd_spec_measured(hd_spec_cost *c, int32_t rows, double ns)
{
    HD_DASSERT(rows > 0);
    if (rows > HD_SPEC_ROWS) return;
    double *t = &c->ns[rows];
    if (*t == 0) {
        *t = ns;
        return;
    }
    if (ns > outlier * *t) ns = outlier * *t;
    *t += smoothing * (ns - *t);
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

// Time of a step of so many rows: measured, between two that were, or behind the last.
static double time_of(const hd_spec_cost *c, int32_t rows)
{
    int32_t below = rows, above = rows;
    while (below > 0 && c->ns[below] == 0)
        below--;
    while (above <= HD_SPEC_ROWS && c->ns[above] == 0)
        above++;
    if (below == rows) return c->ns[rows];
    if (below == 0) return above <= HD_SPEC_ROWS ? c->ns[above] : 1;
    if (above > HD_SPEC_ROWS) return c->ns[below] * (1 + row_share * (rows - below));
    return c->ns[below] + (c->ns[above] - c->ns[below]) * (rows - below) / (above - below);
}

int32_t hd_spec_choose(const hd_spec_cost *c, const hd_spec_odds *o, int32_t rows, double tokens,
                       hd_guess g, double *expected)
{
    const double p = chance(o, g.matched);
    double best = tokens / time_of(c, rows) * margin, sum = 0, power = 1;
    int32_t n = 0;
    *expected = 0;
    for (int32_t i = 1; i <= g.n && rows + i <= HD_SPEC_ROWS; i++) {
        power *= p;
        sum += power;
        const double rate = (tokens + sum) / time_of(c, rows + i);
        if (rate <= best) continue;
        best = rate;
        n = i;
        *expected = sum;
    }
    return n;
}
