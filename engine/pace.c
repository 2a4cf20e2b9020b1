// Smoothed times of steps.
#include "engine/pace.h"

#include "kernels/base/status.h"

static const double row_share = 0.04;    // of a step, for each more row, until it was measured
static const double smoothing = 1.0 / 8; // weight of a new measurement
static const double outlier = 3;         // times the known one: counted as so much

enum { PROMPT_UNKNOWN = 64, PROMPT_UNIT = 8 }; // tokens; kernels work in units

static int32_t bucket_of(int32_t rows)
{
    int32_t b = rows;
    if (rows <= HD_PACE_ROWS) return rows;
    b = HD_PACE_ROWS;
    for (int32_t most = HD_PACE_ROWS; most < rows && b < HD_PACE_BUCKETS - 1; most *= 2)
        b++;
    return b;
}

static void smooth(double *known, double ns)
{
    if (*known == 0) {
        *known = ns;
        return;
    }
    if (ns > outlier * *known) ns = outlier * *known;
    *known += smoothing * (ns - *known);
}

void hd_pace_measured(hd_pace *p, int32_t rows, int32_t prompt, double ns)
{
    HD_DASSERT(rows >= 0 && prompt >= 0 && rows + prompt > 0);
    if (prompt == 0) {
        smooth(&p->row_ns[bucket_of(rows)], ns);
        return;
    }
    if (rows > 0) ns -= hd_pace_time(p, rows);
    if (ns > 0) smooth(&p->prompt_ns, ns / prompt);
}

double hd_pace_time(const hd_pace *p, int32_t rows)
{
    const int32_t at = bucket_of(rows);
    int32_t below = at, above = at;
    while (below > 0 && p->row_ns[below] == 0)
        below--;
    while (above < HD_PACE_BUCKETS && p->row_ns[above] == 0)
        above++;
    if (below == at && at > 0) return p->row_ns[at];
    if (below == 0) return above < HD_PACE_BUCKETS ? p->row_ns[above] : 0;
    if (above == HD_PACE_BUCKETS) return p->row_ns[below] * (1 + row_share * (at - below));
    return p->row_ns[below] +
           (p->row_ns[above] - p->row_ns[below]) * (at - below) / (above - below);
}

int32_t hd_pace_prompt(const hd_pace *p, int32_t rows, double min_ns)
{
    const double beside = hd_pace_time(p, rows), ns = beside > min_ns ? beside : min_ns;
    if (p->prompt_ns == 0) return PROMPT_UNKNOWN;
    const double n = ns / p->prompt_ns;
    if (n >= INT32_MAX) return INT32_MAX;
    const int32_t tokens = (int32_t)n / PROMPT_UNIT * PROMPT_UNIT;
    return tokens > HD_PACE_PROMPT_MIN ? tokens : HD_PACE_PROMPT_MIN;
}
