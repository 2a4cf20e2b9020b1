// One step of the scheduler: view, plan, batch, forward, sample, deliver.
#include "engine/sched_impl.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#include <math.h>

// ---- what can be done ----------------------------------------------------------------------

// With log-probabilities of the prompt one per token and one more, because the first prompt token
// is reported along with the second.
int32_t hd_sched_slots_for(const hd_seq *q, int32_t n)
{
    return hd_seq_reports_prompt(q) ? n + 1 : 1;
}

// Rows of logits are few, so of the sequences that need one per prompt token only the longest
// waiting takes part.
static const hd_seq *prompt_reporter(const hd_sched *s)
{
    const hd_seq *found = NULL;
    for (int32_t i = 0; i < s->n_run; i++) {
        const hd_seq *q = s->run[i];
        if (!hd_seq_reports_prompt(q) || hd_stream_room(q->stream) < hd_sched_slots_for(q, 1))
            continue;
        if (!found || q->waited > found->waited) found = q;
    }
    return found;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static void fill_view(hd_sched *s)
{
    const hd_seq *reporter = prompt_reporter(s);
    const int32_t spare_rows = hd_stepper_max_out(s->l->step) - s->l->cfg.max_seqs;
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        const int32_t room = hd_stream_room(q->stream);
        hd_plan_seq *v = &s->view[i];
        *v = (hd_plan_seq){
            .todo = hd_seq_todo(q),
            .decoding = hd_seq_decodes(q),
            .blocked = room < hd_sched_slots_for(q, 1),
            .rank = q->rank,
            .waited = q->waited,
            .stored = q->kv.n_tokens,
            .pages = q->kv.n_pages,
        };
        if (!v->blocked)
            q->blocked_ns = HD_SEQ_NEVER;
        else if (q->blocked_ns == HD_SEQ_NEVER)
            q->blocked_ns = hd_now_ns(&s->l->cfg.clock);
        if (!hd_seq_reports_prompt(q)) continue;
        v->todo = smaller(v->todo, smaller(room - 1, spare_rows));
        if (q != reporter) v->blocked = true;
    }
}

// ---- guesses -------------------------------------------------------------------------------

// Guesses the tokens behind q's last; they must leave room in the answer for one that is sampled.
static void guess(const hd_sched *s, hd_seq *q, bool blocked)
{
    const int32_t left = q->n_prompt + q->max_new_tokens - q->n_ids - 1;
    const int32_t room = hd_stream_room(q->stream) - 1;
    const int32_t most = smaller(s->l->cfg.speculate, smaller(left, room));
    q->guess = (hd_guess){0};
    if (hd_seq_decodes(q) && !blocked)
        q->guess = hd_draft_guess(&q->draft, q->ids, q->n_ids, most, q->ids + q->n_ids);
}

// Steps that work on prompts have better use for their time.
static void want_guesses(hd_sched *s)
{
    int32_t rows = 0;
    double tokens, more;
    for (int32_t i = 0; i < s->n_run; i++) {
        guess(s, s->run[i], s->view[i].blocked);
        if (s->view[i].blocked) continue;
        if (!s->view[i].decoding) rows = HD_SPEC_ROWS; // too many to add any
        rows++;
    }
    tokens = rows;
    for (int32_t i = 0; i < s->n_run && rows < HD_SPEC_ROWS; i++) {
        hd_seq *q = s->run[i];
        if (q->guess.n == 0) continue;
        s->view[i].draft = hd_spec_choose(&s->pace, &q->odds, rows, tokens, q->guess, &more);
        rows += s->view[i].draft;
        tokens += more;
    }
}

// Readers that hold everything up ring when there is room. False: somebody has read meanwhile.
static bool ask_for_room(hd_sched *s)
{
    bool none = true;
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        const int32_t n = hd_sched_slots_for(q, 1);
        if (hd_stream_room(q->stream) < n) hd_stream_want_room(q->stream, n);
        if (hd_stream_room(q->stream) >= n) none = false;
    }
    return none;
}

// ---- batch ---------------------------------------------------------------------------------

// Gives out the step's tokens and their pages. Returns the most pages of a sequence in it.
static int32_t hand_out(hd_sched *s)
{
    int32_t most = 0;
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        q->take = s->take[i];
        q->waited = q->take > 0 ? 0 : q->waited + 1;
        if (q->take == 0) continue;
        const bool room = hd_kvseq_reserve(s->l->kv, &q->kv, q->kv.n_tokens + q->take);
        HD_ASSERT(room); // the plan has counted
        if (q->kv.n_pages > most) most = q->kv.n_pages;
    }
    return most;
}

// Returns how many candidates the step's rows want.
static int32_t stage(hd_sched *s)
{
    hd_stepper *st = s->l->step;
    int32_t k = 0;
    hd_stepper_begin(st, hand_out(s));
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        if (q->take == 0) continue;
        const int32_t behind = q->take - hd_seq_todo(q); // guesses; negative: not the last chunk
        q->n_rows = hd_seq_reports_prompt(q) ? q->take : behind >= 0 ? 1 + behind : 0;
        q->row = hd_stepper_add(st, &q->kv, q->ids + q->kv.n_tokens, q->take, q->n_rows);
        if (q->n_rows > 0 && q->k > k) k = q->k;
    }
    return k;
}

// ---- delivery ------------------------------------------------------------------------------

static void fail(hd_seq *q, hd_status code, const char *what, int32_t pos)
{
    q->finish = HD_FINISH_ERROR;
    hd_fail(&q->error, code, "%s at position %d", what, pos);
}

static void report_prompt_token(hd_seq *q, const hd_token_out *t)
{
    hd_stream_put(q->stream, HD_EV_PROMPT, t);
    q->n_prompt_reported++;
}

// Row r of the chunk, at position pos, tells how likely the prompt token behind it was. The first
// prompt token has nothing before it: its log-probability is NaN.
static void report_prompt(hd_sched *s, hd_seq *q, int32_t from)
{
    hd_stepper *st = s->l->step;
    hd_token_out t;
    if (q->n_prompt_reported == 0) {
        t = (hd_token_out){.id = q->ids[0], .logprob = NAN};
        report_prompt_token(q, &t);
    }
    for (int32_t r = 0; r < q->n_rows && from + r + 1 < q->n_prompt; r++) {
        hd_candidates c;
        const int32_t next = q->ids[from + r + 1];
        hd_stepper_candidates(st, q->row + r, q->k, &c);
        if (!isfinite(c.lse)) {
            fail(q, HD_E_INTERNAL, "the model's logits are not finite", from + r);
            return;
        }
        if (from + r + 1 < q->n_prompt_reported) continue; // computed again after preemption
        hd_candidates_report(&c, next, hd_stepper_logit(st, q->row + r, next), q->n_logprobs, &t);
        report_prompt_token(q, &t);
    }
}

// The token that a row of logits leads to; negative: none, and q has failed.
static int32_t sample(hd_sched *s, hd_seq *q, int32_t row)
{
    hd_candidates c;
    hd_token_out t;
    hd_stepper_candidates(s->l->step, row, q->k, &c);
    int32_t id = hd_sample(q->sampler, &c, &t);
    if (id == HD_SAMPLE_NEEDS_ROW) {
        hd_stepper_whole_row(s->l->step, row, &c);
        id = hd_sample(q->sampler, &c, &t);
    }
    if (id < 0) {
        fail(q, HD_E_INTERNAL, "no token can be sampled: the logits are not finite or all barred",
             q->n_ids - 1);
        return id;
    }
    q->ids[q->n_ids++] = id;
    if (q->first_ns == HD_SEQ_NEVER) q->first_ns = hd_now_ns(&s->l->cfg.clock);
    hd_stream_put(q->stream, HD_EV_TOKENS, &t);
    if (hd_sampler_is_stop(q->sampler, id))
        q->finish = HD_FINISH_STOP;
    else if (q->n_ids == q->n_prompt + q->max_new_tokens)
        q->finish = HD_FINISH_LENGTH;
    return id;
}

// Samples behind every known token and behind every guess that came true: what would have been
// sampled one by one. Returns how many came true.
static int32_t sample_all(hd_sched *s, hd_seq *q, int32_t n_guesses)
{
    const int32_t row = q->row + q->n_rows - 1 - n_guesses;
    int32_t n = 0;
    for (;;) {
        const int32_t next = q->ids[q->n_ids]; // the guess, unless there is none
        const int32_t id = sample(s, q, row + n);
        if (id < 0 || n == n_guesses || id != next) return n;
        q->kv.n_tokens++; // it has been computed
        n++;
        if (q->finish != HD_FINISH_NONE) return n;
    }
}

// What became of the guesses; the first one is known even if it was not computed.
static void learn(hd_seq *q, int32_t first_guess, int32_t sampled, int32_t n_guesses,
                  int32_t n_true)
{
    if (n_guesses > 0)
        hd_spec_learn(&q->odds, q->guess.matched, n_guesses, n_true);
    else if (q->guess.n > 0)
        hd_spec_learn(&q->odds, q->guess.matched, 1, sampled == first_guess);
}

static void sample_and_learn(hd_sched *s, hd_seq *q, int32_t n_guesses)
{
    const int32_t at = q->n_ids, first_guess = q->guess.n > 0 ? q->ids[at] : 0;
    const int32_t n_true = sample_all(s, q, n_guesses);
    if (q->finish == HD_FINISH_ERROR) return;
    learn(q, first_guess, q->ids[at], n_guesses, n_true);
    s->unseen.drafted += (uint64_t)n_guesses;
    s->unseen.accepted += (uint64_t)n_true;
}

// Prompt tokens count once, however often they are computed.
static int32_t count_prompt(hd_seq *q)
{
    const int32_t done = smaller(q->kv.n_tokens, q->n_prompt), more = done - q->n_prompt_done;
    if (more <= 0) return 0;
    q->n_prompt_done = done;
    return more;
}

static void deliver(hd_sched *s)
{
    hd_engine_stats *count = &s->unseen;
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        if (q->take == 0) continue;
        const int32_t from = q->kv.n_tokens, n_ids = q->n_ids;
        const bool reports = hd_seq_reports_prompt(q);
        const int32_t known = smaller(q->take, hd_seq_todo(q));
        q->kv.n_tokens += known;
        count->tokens_in += (uint64_t)count_prompt(q);
        if (reports) report_prompt(s, q, from);
        if (q->finish == HD_FINISH_NONE && hd_seq_todo(q) == 0)
            sample_and_learn(s, q, q->take - known);
        count->tokens_out += (uint64_t)(q->n_ids - n_ids);
        if (q->finish != HD_FINISH_ERROR) hd_kvseq_commit(s->l->kv, &q->kv, q->ids);
    }
}

// A failed step fails the sequences in it and nobody else.
static void fail_step(hd_sched *s, hd_status st, const hd_err *why)
{
    HD_LOG(HD_LOG_ERROR, "sched", "step failed", hd_f_str("error", why->msg));
    for (int32_t i = 0; i < s->n_run; i++) {
        hd_seq *q = s->run[i];
        if (q->take == 0) continue;
        q->finish = HD_FINISH_ERROR;
        q->error = *why;
    }
    if (st != HD_E_DEVICE) return;
    pthread_mutex_lock(&s->lock);
    s->sick = true;
    pthread_mutex_unlock(&s->lock);
}

// Numbers wait for the next time when somebody has the lock just now.
static void publish(hd_sched *s)
{
    if (pthread_mutex_trylock(&s->lock) != 0) return;
    hd_sched_flush(s);
    pthread_mutex_unlock(&s->lock);
}

// Prompt tokens that may go along with the tokens of those who are being answered.
static int32_t max_prompt(const hd_sched *s)
{
    int32_t rows = 0;
    if (s->l->cfg.max_prompt_ms == 0) return INT32_MAX;
    for (int32_t i = 0; i < s->n_run; i++)
        rows += s->view[i].decoding && !s->view[i].blocked;
    return rows ? hd_pace_prompt(&s->pace, rows, s->l->cfg.max_prompt_ms * 1e6) : INT32_MAX;
}

// Plans, and takes pages away as long as the plan asks for it. False: nothing can be done.
static bool plan(hd_sched *s)
{
    hd_plan plan = {.take = s->take};
    for (;;) {
        fill_view(s);
        if (s->limits.speculate) want_guesses(s);
        const hd_plan_in in = {
            .seq = s->view,
            .n_seqs = s->n_run,
            .max_tokens = s->l->cfg.max_step_tokens,
            .max_seqs = s->l->cfg.max_seqs,
            .max_prompt = max_prompt(s),
            .max_draft = hd_stepper_max_out(s->l->step) - s->l->cfg.max_seqs,
            .free_pages = hd_kvpool_free(s->l->kv),
        };
        const hd_plan_verdict v = hd_plan_step(&in, &plan);
        if (v != HD_PLAN_PREEMPT) return v == HD_PLAN_STEP;
        hd_sched_preempt(s, plan.victim);
    }
}

static void measure(hd_sched *s, int64_t began_ns)
{
    int32_t rows = 0, prompt = 0;
    for (int32_t i = 0; i < s->n_run; i++) {
        const hd_seq *q = s->run[i];
        *(s->view[i].decoding ? &rows : &prompt) += q->take;
    }
    hd_pace_measured(&s->pace, rows, prompt, (double)(hd_mono_ns() - began_ns));
}

bool hd_sched_step(hd_sched *s)
{
    hd_err err = {HD_OK, ""};
    if (s->n_run == 0) return false;
    const uint64_t allocs = hd_mem_thread_allocs();
    if (!plan(s)) return !ask_for_room(s);
    const int64_t began_ns = hd_mono_ns();
    const int32_t k = stage(s);
    hd_status st = hd_stepper_run(s->l->step, k, &err);
    if (st == HD_OK)
        deliver(s);
    else
        fail_step(s, st, &err);
    if (st == HD_OK) measure(s, began_ns);
    s->unseen.steps++;
    s->unseen.step_allocs += hd_mem_thread_allocs() - allocs;
    publish(s);
    hd_sched_sweep(s);
    return true;
}
