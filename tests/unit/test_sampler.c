// The sampler against a slow one that sorts the whole vocabulary, for every parameter; the shape of
// what it draws; and what it does with rows that cannot be sampled.
#include "engine/sampler.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_VOCAB = 4000 };

// ---- rows ----------------------------------------------------------------------------------

typedef struct row {
    int32_t vocab, k;
    float logit[MAX_VOCAB];
    hd_ranked work[MAX_VOCAB];
    int32_t top_id[HD_SAMPLE_MAX_K];
    float top[HD_SAMPLE_MAX_K];
    float lse;
} row;

static int by_rank(const void *a, const void *b)
{
    const hd_ranked *x = a, *y = b;
    if (x->y != y->y) return x->y < y->y ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

// What a device would report; wrong: relative error of its sum.
static void rank_row(row *r, int32_t k, double wrong)
{
    static hd_ranked all[MAX_VOCAB];
    double sum = 0;
    for (int32_t i = 0; i < r->vocab; i++)
        all[i] = (hd_ranked){r->logit[i], i};
    qsort(all, (size_t)r->vocab, sizeof(all[0]), by_rank);
    for (int32_t i = 0; i < r->vocab; i++)
        sum += exp((double)all[i].y - (double)all[0].y);
    r->lse = (float)((double)all[0].y + log(sum * (1 + wrong)));
    r->k = k < r->vocab ? k : r->vocab;
    for (int32_t i = 0; i < r->k; i++) {
        r->top_id[i] = all[i].id;
        r->top[i] = all[i].y;
    }
}

static hd_candidates candidates(row *r, bool whole)
{
    return (hd_candidates){
        .id = r->top_id,
        .logit = r->top,
        .n = r->k,
        .vocab = r->vocab,
        .lse = r->lse,
        .row = whole ? r->logit : NULL,
        .work = whole ? r->work : NULL,
    };
}

typedef enum shape { FLAT, USUAL, PEAKED, TIES, HOLES, ZIPF, N_SHAPES } shape;

static void fill_row(row *r, hd_rng *rng, int32_t vocab, shape how)
{
    r->vocab = vocab;
    for (int32_t i = 0; i < vocab; i++) {
        float x = hd_rng_normal(rng);
        if (how == USUAL) x *= 3;
        if (how == PEAKED) x = x * 2 + (hd_rng_below(rng, 50) == 0 ? 12 : 0);
        if (how == TIES) x = roundf(x * 2);
        if (how == HOLES && hd_rng_below(rng, 3) == 0) x = -INFINITY;
        // As language has it: the probability falls with a power of the rank.
        if (how == ZIPF) x = -1.5f * logf(1 + (float)vocab * (float)hd_rng_unit(rng)) + x / 4;
        r->logit[i] = x;
    }
    if (how == HOLES) r->logit[hd_rng_below(rng, (uint32_t)vocab)] = 1;
}

// ---- the slow sampler ----------------------------------------------------------------------

typedef struct slow {
    hd_sample_params p;
    hd_rng rng;
    int32_t vocab, n_done;
    float bias[MAX_VOCAB];
    int32_t n_out[MAX_VOCAB];
    bool in_prompt[MAX_VOCAB], stop[MAX_VOCAB];
} slow;

static void slow_init(slow *s, const hd_request *rq, int32_t vocab)
{
    memset(s, 0, sizeof(*s));
    s->p = rq->sample;
    s->vocab = vocab;
    hd_rng_seed(&s->rng, rq->sample.seed);
    for (int32_t i = 0; i < rq->n_bias; i++)
        s->bias[rq->bias[i].id] = rq->bias[i].bias;
    for (int32_t i = 0; i < rq->n_prompt; i++)
        if (rq->prompt[i] < vocab) s->in_prompt[rq->prompt[i]] = true;
    for (int32_t i = 0; i < rq->n_stop_ids; i++)
        if (rq->stop_ids[i] < vocab) s->stop[rq->stop_ids[i]] = true;
}

static float slow_edit(const slow *s, int32_t id, float x)
{
    x += s->bias[id];
    if (s->in_prompt[id] || s->n_out[id])
        x = x > 0 ? x / s->p.repetition_penalty : x * s->p.repetition_penalty;
    if (s->n_out[id]) x -= s->p.presence_penalty + s->p.frequency_penalty * (float)s->n_out[id];
    return x;
}

static int32_t slow_sample(slow *s, const row *r)
{
    static hd_ranked v[MAX_VOCAB];
    static double w[MAX_VOCAB];
    int32_t n = 0, keep;
    double sum = 0, total = 0, u, part = 0;
    for (int32_t i = 0; i < r->vocab; i++)
        if (!(s->stop[i] && s->n_done < s->p.min_tokens))
            v[n++] = (hd_ranked){slow_edit(s, i, r->logit[i]), i};
    qsort(v, (size_t)n, sizeof(v[0]), by_rank);
    int32_t at = 0;
    if (s->p.temperature > 0) {
        for (int32_t i = 0; i < n; i++)
            w[i] = exp(((double)v[i].y - (double)v[0].y) / (double)s->p.temperature);
        if (s->p.top_k > 0 && s->p.top_k < n) n = s->p.top_k;
        for (int32_t i = 0; i < n; i++)
            sum += w[i];
        keep = n;
        for (int32_t i = 0; i < n && s->p.top_p < 1; i++) {
            part += w[i];
            if (part < (double)s->p.top_p * sum) continue;
            keep = i + 1;
            break;
        }
        for (int32_t i = 1; i < keep; i++)
            if (w[i] < (double)s->p.min_p) keep = i;
        for (int32_t i = 0; i < keep; i++)
            total += w[i];
        u = hd_rng_unit(&s->rng) * total;
        for (sum = 0; at < keep - 1; at++) {
            sum += w[at];
            if (sum > u) break;
        }
    }
    s->n_done++;
    s->n_out[v[at].id]++;
    return v[at].id;
}

// ---- comparing -----------------------------------------------------------------------------

typedef struct tally {
    int64_t tokens, rows;
} tally;

static int32_t sample(hd_sampler *s, row *r, tally *t, hd_token_out *out)
{
    hd_candidates c = candidates(r, false);
    int32_t id = hd_sample(s, &c, out);
    t->tokens++;
    if (id != HD_SAMPLE_NEEDS_ROW) return id;
    EXPECT(hd_sampler_needs_row(s, r->k));
    c = candidates(r, true);
    t->rows++;
    return hd_sample(s, &c, out);
}

// Some tokens of one request, on a new row each.
static void compare(const hd_request *rq, int32_t vocab, hd_rng *rng, tally *t)
{
    static row r;
    static slow ref;
    hd_sampler *s = NULL;
    hd_token_out out;
    hd_err err = {HD_OK, ""};
    hd_sampler_create(rq, vocab, &s, &err);
    EXPECT_STR(err.msg, "");
    slow_init(&ref, rq, vocab);
    const int32_t k = 1 + (int32_t)hd_rng_below(rng, HD_SAMPLE_MAX_K);
    for (int32_t i = 0; i < rq->max_new_tokens; i++) {
        fill_row(&r, rng, vocab, (shape)hd_rng_below(rng, N_SHAPES));
        rank_row(&r, k, (hd_rng_unit(rng) - 0.5) * 4e-6);
        int32_t want = slow_sample(&ref, &r), got = sample(s, &r, t, &out);
        if (got != want)
            hd_test_fail(__FILE__, __LINE__,
                         "token %d: got %d, want %d (T %g, top_k %d, top_p %g, min_p %g, rep %g, "
                         "pres %g, freq %g, vocab %d, k %d)",
                         i, got, want, (double)rq->sample.temperature, rq->sample.top_k,
                         (double)rq->sample.top_p, (double)rq->sample.min_p,
                         (double)rq->sample.repetition_penalty, (double)rq->sample.presence_penalty,
                         (double)rq->sample.frequency_penalty, vocab, k);
        EXPECT_INT(out.id, got);
    }
    hd_sampler_destroy(s);
}

static hd_request base_request(void)
{
    static const int32_t prompt[] = {1, 2, 3, 1};
    hd_request rq = {.prompt = prompt, .n_prompt = 4, .max_new_tokens = 6};
    hd_sample_params_init(&rq.sample);
    return rq;
}

static void greedy_matches(void)
{
    hd_rng rng;
    tally t = {0, 0};
    hd_rng_seed(&rng, 1);
    for (int round = 0; round < 500; round++) {
        hd_request rq = base_request();
        rq.sample.temperature = 0;
        if (round % 2) {
            rq.sample.repetition_penalty = 1.3f;
            rq.sample.presence_penalty = 0.5f;
        }
        compare(&rq, 4 + (int32_t)hd_rng_below(&rng, 300), &rng, &t);
    }
}

static void each_parameter_matches(void)
{
    static const int32_t vocab[] = {5, 40, 300, MAX_VOCAB};
    hd_rng rng;
    tally t = {0, 0};
    hd_rng_seed(&rng, 2);
    for (int round = 0; round < 500; round++) {
        hd_request rq = base_request();
        hd_sample_params *p = &rq.sample;
        p->seed = (uint64_t)round;
        p->temperature = (float[]){1, 0.6f, 1.7f, 0.2f}[hd_rng_below(&rng, 4)];
        switch (round % 6) {
        case 1:
            p->top_k = 1 + (int32_t)hd_rng_below(&rng, 100);
            break;
        case 2:
            p->top_p = 0.05f + 0.94f * (float)hd_rng_unit(&rng);
            break;
        case 3:
            p->min_p = 0.2f * (float)hd_rng_unit(&rng);
            break;
        case 4:
            p->repetition_penalty = 0.5f + (float)hd_rng_unit(&rng);
            break;
        case 5:
            p->presence_penalty = hd_rng_normal(&rng);
            p->frequency_penalty = hd_rng_normal(&rng);
            break;
        default:
            break;
        }
        compare(&rq, vocab[hd_rng_below(&rng, 4)], &rng, &t);
    }
}

static float maybe(hd_rng *rng, float off, float on)
{
    return hd_rng_below(rng, 2) ? off : on;
}

static void all_parameters_together_match(void)
{
    static const int32_t vocab[] = {6, 50, 700, MAX_VOCAB};
    hd_rng rng;
    tally t = {0, 0};
    hd_rng_seed(&rng, 3);
    for (int round = 0; round < 700; round++) {
        const int32_t v = vocab[hd_rng_below(&rng, 4)];
        hd_request rq = base_request();
        hd_sample_params *p = &rq.sample;
        hd_logit_bias bias[8];
        int32_t stop[3], prompt[30];
        for (int i = 0; i < 8; i++)
            bias[i] = (hd_logit_bias){(int32_t)hd_rng_below(&rng, (uint32_t)v),
                                      hd_rng_normal(&rng) * maybe(&rng, 2, 40)};
        for (int i = 0; i < 3; i++)
            stop[i] = (int32_t)hd_rng_below(&rng, (uint32_t)v + 5); // may lie behind it
        for (int i = 0; i < 30; i++)
            prompt[i] = (int32_t)hd_rng_below(&rng, (uint32_t)v + 5);
        rq.prompt = prompt;
        rq.n_prompt = 30;
        rq.bias = bias;
        rq.n_bias = (int32_t)hd_rng_below(&rng, 9);
        rq.stop_ids = stop;
        rq.n_stop_ids = (int32_t)hd_rng_below(&rng, 4);
        p->seed = hd_rng_u64(&rng);
        p->temperature = maybe(&rng, 0.05f + 2 * (float)hd_rng_unit(&rng), maybe(&rng, 0, 1));
        p->top_k = hd_rng_below(&rng, 2) ? 0 : 1 + (int32_t)hd_rng_below(&rng, 400);
        p->top_p = maybe(&rng, 1, 0.01f + 0.98f * (float)hd_rng_unit(&rng));
        p->min_p = maybe(&rng, 0, 0.3f * (float)hd_rng_unit(&rng));
        p->repetition_penalty = maybe(&rng, 1, 0.5f + (float)hd_rng_unit(&rng));
        p->presence_penalty = maybe(&rng, 0, hd_rng_normal(&rng));
        p->frequency_penalty = maybe(&rng, 0, hd_rng_normal(&rng));
        p->min_tokens = (int32_t)hd_rng_below(&rng, 5);
        compare(&rq, v, &rng, &t);
    }
}

static int64_t rows_needed(float temperature, float top_p, float repetition_penalty, tally *t)
{
    static row r;
    hd_rng rng;
    hd_token_out out;
    hd_sampler *s = NULL;
    hd_request rq = base_request();
    rq.max_new_tokens = 500;
    rq.sample.temperature = temperature;
    rq.sample.top_p = top_p;
    rq.sample.repetition_penalty = repetition_penalty;
    hd_rng_seed(&rng, 4);
    *t = (tally){0, 0};
    EXPECT_INT(hd_sampler_create(&rq, MAX_VOCAB, &s, NULL), HD_OK);
    for (int i = 0; i < 500; i++) {
        fill_row(&r, &rng, MAX_VOCAB, ZIPF);
        rank_row(&r, hd_sampler_k(s), 0);
        EXPECT(sample(s, &r, t, &out) >= 0);
    }
    hd_sampler_destroy(s);
    return t->rows;
}

// With usual settings on rows like a language model's, whole rows are the exception.
static void the_shortcut_is_the_rule(void)
{
    tally t;
    EXPECT_INT(rows_needed(0, 1, 1, &t), 0);
    EXPECT(rows_needed(0, 1, 1.1f, &t) < t.tokens / 10);
    EXPECT(rows_needed(1, 1, 1, &t) < t.tokens / 5);
    EXPECT(rows_needed(0.6f, 0.95f, 1, &t) < t.tokens / 2);
}

static void what_needs_the_row(void)
{
    hd_sampler *s = NULL;
    hd_request rq = base_request();
    rq.sample.temperature = 0;
    EXPECT_INT(hd_sampler_create(&rq, 1000, &s, NULL), HD_OK);
    EXPECT(!hd_sampler_needs_row(s, 1));
    EXPECT_INT(hd_sampler_k(s), 1);
    hd_sampler_destroy(s);
    rq.sample.n_logprobs = 20;
    EXPECT_INT(hd_sampler_create(&rq, 1000, &s, NULL), HD_OK);
    EXPECT_INT(hd_sampler_k(s), 20);
    hd_sampler_destroy(s);
    rq.sample.temperature = 1;
    rq.sample.top_k = 50;
    EXPECT_INT(hd_sampler_create(&rq, 1000, &s, NULL), HD_OK);
    EXPECT(!hd_sampler_needs_row(s, hd_sampler_k(s)));
    EXPECT(hd_sampler_needs_row(s, 49));
    hd_sampler_destroy(s);
    rq.sample.top_k = 0;
    EXPECT_INT(hd_sampler_create(&rq, 1000, &s, NULL), HD_OK);
    EXPECT(hd_sampler_needs_row(s, 256));
    EXPECT(!hd_sampler_needs_row(s, 1000));
    hd_sampler_destroy(s);
    EXPECT_INT(hd_sampler_create(&rq, 30, &s, NULL), HD_OK);
    EXPECT_INT(hd_sampler_k(s), 30);
    hd_sampler_destroy(s);
}

// ---- the shape of the draws ----------------------------------------------------------------

// Pearson's statistic of `draws` draws against softmax(logit / T) over the first `keep` ranks.
static double chi_square(const hd_sample_params *p, int32_t vocab, int32_t k, int32_t keep)
{
    static row r;
    static int64_t count[MAX_VOCAB];
    enum { DRAWS = 100000 };
    hd_rng rng;
    hd_sampler *s = NULL;
    hd_token_out out;
    tally t = {0, 0};
    hd_request rq = base_request();
    rq.sample = *p;
    double sum = 0, chi = 0, rest_want = 0, rest_got = 0;
    memset(count, 0, sizeof(count));
    hd_rng_seed(&rng, 99);
    fill_row(&r, &rng, vocab, FLAT);
    rank_row(&r, k, 0);
    EXPECT_INT(hd_sampler_create(&rq, vocab, &s, NULL), HD_OK);
    for (int i = 0; i < DRAWS; i++)
        count[sample(s, &r, &t, &out)]++;
    hd_sampler_destroy(s);
    rank_row(&r, vocab, 0); // all ranks, to check against
    for (int32_t i = 0; i < keep; i++)
        sum += exp((double)r.top[i] / (double)p->temperature);
    for (int32_t i = 0; i < keep; i++) {
        double want = DRAWS * exp((double)r.top[i] / (double)p->temperature) / sum;
        double got = (double)count[r.top_id[i]];
        if (want < 20) { // too few each: taken together
            rest_want += want;
            rest_got += got;
            continue;
        }
        chi += (got - want) * (got - want) / want;
    }
    if (rest_want > 20) chi += (rest_got - rest_want) * (rest_got - rest_want) / rest_want;
    for (int32_t i = keep; i < vocab; i++)
        EXPECT_INT(count[r.top_id[i]], 0);
    return chi;
}

// 99.9 % points of chi square: 27.9 for 9 degrees of freedom, 269 for 199.
static void draws_follow_the_distribution(void)
{
    hd_sample_params p;
    hd_sample_params_init(&p);
    p.seed = 5;
    EXPECT(chi_square(&p, 10, 10, 10) < 27.9);
    EXPECT(chi_square(&p, 10, 3, 10) < 27.9); // most of it from the row
    p.temperature = 0.7f;
    EXPECT(chi_square(&p, 200, 64, 200) < 269);
    p.top_k = 10;
    EXPECT(chi_square(&p, 200, 64, 10) < 27.9);
    EXPECT(chi_square(&p, 200, 5, 10) < 27.9);
}

static void tokens_depend_on_the_request_alone(void)
{
    static row r;
    hd_token_out out;
    tally t = {0, 0};
    int32_t first[50];
    for (int run = 0; run < 4; run++) {
        hd_rng rng;
        hd_sampler *s = NULL;
        hd_request rq = base_request();
        rq.sample.seed = run == 3 ? 12 : 11;
        rq.max_new_tokens = 50;
        rq.sample.presence_penalty = 0.3f;
        hd_rng_seed(&rng, 5);
        EXPECT_INT(hd_sampler_create(&rq, 1000, &s, NULL), HD_OK);
        int differ = 0;
        for (int i = 0; i < 50; i++) {
            fill_row(&r, &rng, 1000, USUAL);
            rank_row(&r, (const int[]){128, 128, 20, 128}[run], 0); // K does not matter either
            int32_t id = sample(s, &r, &t, &out);
            if (run == 0) first[i] = id;
            differ += id != first[i];
        }
        if (run < 3)
            EXPECT_INT(differ, 0);
        else
            EXPECT(differ > 10);
        hd_sampler_destroy(s);
    }
}

// ---- reports -------------------------------------------------------------------------------

static void logprobs_are_the_models_own(void)
{
    static row r;
    hd_rng rng;
    hd_sampler *s = NULL;
    hd_token_out out;
    tally t = {0, 0};
    hd_logit_bias bias = {7, 100};
    hd_request rq = base_request();
    rq.bias = &bias;
    rq.n_bias = 1;
    rq.sample.temperature = 0.3f;
    rq.sample.repetition_penalty = 1.5f;
    rq.sample.n_logprobs = 5;
    hd_rng_seed(&rng, 6);
    fill_row(&r, &rng, 500, USUAL);
    rank_row(&r, 20, 0);
    EXPECT_INT(hd_sampler_create(&rq, 500, &s, NULL), HD_OK);
    EXPECT_INT(sample(s, &r, &t, &out), 7); // forced by its bias, from anywhere in the row
    EXPECT_NEAR(out.logprob, r.logit[7] - r.lse, 1e-5);
    EXPECT_INT(out.n_top, 5);
    for (int i = 0; i < 5; i++) {
        EXPECT_INT(out.top[i].id, r.top_id[i]);
        EXPECT_NEAR(out.top[i].logprob, r.top[i] - r.lse, 1e-5);
    }
    hd_sampler_destroy(s);
}

static void small_vocabularies_report_what_there_is(void)
{
    static row r;
    hd_rng rng;
    hd_sampler *s = NULL;
    hd_token_out out;
    tally t = {0, 0};
    hd_request rq = base_request();
    rq.sample.n_logprobs = 20;
    hd_rng_seed(&rng, 6);
    fill_row(&r, &rng, 5, USUAL);
    EXPECT_INT(hd_sampler_create(&rq, 5, &s, NULL), HD_OK);
    rank_row(&r, hd_sampler_k(s), 0);
    EXPECT(sample(s, &r, &t, &out) >= 0);
    EXPECT_INT(out.n_top, 5);
    hd_sampler_destroy(s);
}

static void stop_ids_are_barred_at_first(void)
{
    static row r;
    hd_sampler *s = NULL;
    hd_token_out out;
    tally t = {0, 0};
    const int32_t stop[] = {9, 3, 2000000}; // one that does not exist
    hd_request rq = base_request();
    rq.stop_ids = stop;
    rq.n_stop_ids = 3;
    rq.sample.min_tokens = 2;
    rq.sample.temperature = 0;
    EXPECT_INT(hd_sampler_create(&rq, 20, &s, NULL), HD_OK);
    EXPECT(hd_sampler_is_stop(s, 9) && hd_sampler_is_stop(s, 3) && !hd_sampler_is_stop(s, 4));
    r.vocab = 20;
    for (int i = 0; i < 20; i++)
        r.logit[i] = i == 9 ? 5 : i == 3 ? 4 : i == 11 ? 3 : 0;
    rank_row(&r, 1, 0);
    EXPECT_INT(sample(s, &r, &t, &out), 11);
    rank_row(&r, 20, 0);
    EXPECT_INT(sample(s, &r, &t, &out), 11);
    EXPECT_INT(sample(s, &r, &t, &out), 9);
    hd_sampler_destroy(s);
}

// ---- rows that cannot be sampled -----------------------------------------------------------

static void expect_no_logits(const hd_request *rq, row *r)
{
    hd_sampler *s = NULL;
    hd_token_out out;
    EXPECT_INT(hd_sampler_create(rq, r->vocab, &s, NULL), HD_OK);
    hd_candidates c = candidates(r, true);
    EXPECT_INT(hd_sample(s, &c, &out), HD_SAMPLE_NO_LOGITS);
    hd_sampler_destroy(s);
}

static void bad_rows_are_refused(void)
{
    static row r;
    hd_rng rng;
    hd_rng_seed(&rng, 8);
    for (int greedy = 0; greedy < 2; greedy++) {
        hd_request rq = base_request();
        if (greedy) rq.sample.temperature = 0;
        fill_row(&r, &rng, 50, USUAL);
        rank_row(&r, 10, 0);
        r.top_id[0] = -1; // nothing finite
        r.lse = -INFINITY;
        expect_no_logits(&rq, &r);
        rank_row(&r, 10, 0);
        r.lse = NAN;
        expect_no_logits(&rq, &r);
        r.lse = INFINITY;
        expect_no_logits(&rq, &r);
        rank_row(&r, 50, 0);
        r.top_id[49] = -1; // a NaN, found because all are looked at
        expect_no_logits(&rq, &r);
    }
    // Nearly equal tokens of which few are candidates: the row is needed, and has a NaN in it.
    hd_sampler *s = NULL;
    hd_token_out out;
    hd_request rq = base_request();
    rq.sample.temperature = 50;
    fill_row(&r, &rng, 50, FLAT);
    rank_row(&r, 3, 0);
    r.logit[r.top_id[0] == 40 ? 41 : 40] = NAN;
    EXPECT_INT(hd_sampler_create(&rq, 50, &s, NULL), HD_OK);
    hd_candidates c = candidates(&r, false);
    EXPECT_INT(hd_sample(s, &c, &out), HD_SAMPLE_NEEDS_ROW);
    c = candidates(&r, true);
    EXPECT_INT(hd_sample(s, &c, &out), HD_SAMPLE_NO_LOGITS);
    hd_sampler_destroy(s);
}

static void all_tokens_barred(void)
{
    static row r;
    int32_t stop[5] = {0, 1, 2, 3, 4};
    hd_rng rng;
    hd_rng_seed(&rng, 8);
    fill_row(&r, &rng, 5, USUAL);
    for (int k = 1; k <= 5; k += 4) {
        hd_request rq = base_request();
        rank_row(&r, k, 0);
        rq.stop_ids = stop;
        rq.n_stop_ids = 5;
        rq.sample.min_tokens = 1;
        expect_no_logits(&rq, &r);
        rq.sample.temperature = 0;
        expect_no_logits(&rq, &r);
    }
}

static void wrong_requests_and_no_memory(void)
{
    hd_sampler *s = NULL;
    hd_err err;
    hd_logit_bias bias[2] = {{3, 1}, {50, 1}};
    int32_t stop[2] = {1, 2};
    hd_request rq = base_request();
    rq.bias = bias;
    rq.n_bias = 2;
    EXPECT_INT(hd_sampler_create(&rq, 50, &s, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "50");
    bias[1] = (hd_logit_bias){4, NAN};
    EXPECT_INT(hd_sampler_create(&rq, 50, &s, &err), HD_E_INVAL);
    rq.n_bias = HD_MAX_LOGIT_BIAS + 1;
    EXPECT_INT(hd_sampler_create(&rq, 50, &s, &err), HD_E_LIMIT);
    bias[1] = (hd_logit_bias){4, -1};
    rq.n_bias = 2;
    rq.stop_ids = stop;
    rq.n_stop_ids = 2;
    rq.sample.repetition_penalty = 2;
    for (int n = 1;; n++) {
        hd_mem_fail_at(n, false);
        hd_status st = hd_sampler_create(&rq, 50, &s, &err);
        hd_mem_fail_at(0, false);
        if (st == HD_OK) break;
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(s == NULL && n < 10);
    }
    hd_sampler_destroy(s);
    hd_sampler_destroy(NULL);
}

HD_TEST_MAIN("sampler", {"greedy_matches", greedy_matches},
             {"each_parameter_matches", each_parameter_matches},
             {"all_parameters_together_match", all_parameters_together_match},
             {"the_shortcut_is_the_rule", the_shortcut_is_the_rule},
             {"what_needs_the_row", what_needs_the_row},
             {"draws_follow_the_distribution", draws_follow_the_distribution},
             {"tokens_depend_on_the_request_alone", tokens_depend_on_the_request_alone},
             {"logprobs_are_the_models_own", logprobs_are_the_models_own},
             {"small_vocabularies_report_what_there_is", small_vocabularies_report_what_there_is},
             {"stop_ids_are_barred_at_first", stop_ids_are_barred_at_first},
             {"bad_rows_are_refused", bad_rows_are_refused},
             {"all_tokens_barred", all_tokens_barred},
             {"wrong_requests_and_no_memory", wrong_requests_and_no_memory})
