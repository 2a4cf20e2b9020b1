// One generation printed to standard output as it comes.
#include "server/talk.h"

#include "kernels/base/rng.h"

#include <unistd.h>

void hd_talk_request(const hd_config *c, const hd_model_facts *facts, hd_gen_request *rq)
{
    hd_gen_request_init(rq, facts);
    hd_sample_params *p = &rq->sample;
    if (hd_config_given(c, &c->temperature)) p->temperature = (float)c->temperature;
    if (hd_config_given(c, &c->top_k)) p->top_k = (int32_t)c->top_k;
    if (hd_config_given(c, &c->top_p)) p->top_p = (float)c->top_p;
    if (hd_config_given(c, &c->min_p)) p->min_p = (float)c->min_p;
    if (hd_config_given(c, &c->repetition_penalty))
        p->repetition_penalty = (float)c->repetition_penalty;
    rq->has_seed = hd_config_given(c, &c->seed);
    p->seed = rq->has_seed ? (uint64_t)c->seed : hd_rng_entropy();
    rq->max_new_tokens = (int32_t)c->max_tokens;
    rq->n = 1;
}

// Reasoning is dimmed on a terminal, so that the answer stands out.
static void print_piece(const hd_piece *p, hd_piece_kind *last, hd_buf *content)
{
    static const char *const on[] = {"\033[0m", "\033[2m", "\033[0m"};
    if (p->text.n == 0) return;
    if (p->kind != *last) {
        if (*last == HD_PIECE_REASONING && p->kind == HD_PIECE_CONTENT) fputs("\n\n", stdout);
        if (isatty(STDOUT_FILENO)) fputs(on[p->kind], stdout);
        *last = p->kind;
    }
    fwrite(p->text.p, 1, p->text.n, stdout);
    if (content && p->kind == HD_PIECE_CONTENT) hd_buf_put_slice(content, p->text);
}

hd_status hd_talk(hd_engine *e, const hd_gen_request *rq, const volatile int *interrupted,
                  hd_buf *content, hd_talk_result *out, hd_err *err)
{
    hd_gen *g = NULL;
    hd_gen_delta d;
    hd_piece_kind last = HD_PIECE_CONTENT;
    hd_status st = hd_gen_start(e, rq, 0, &g, err);
    if (st != HD_OK) return st;
    for (bool more = true; more;) {
        hd_gen_kind kind = hd_gen_next(g, &d, 100);
        if (interrupted && *interrupted) hd_gen_cancel(g);
        if (kind == HD_GEN_WAIT) continue;
        for (size_t i = 0; i < d.n_pieces; i++)
            print_piece(&d.piece[i], &last, content);
        if (kind == HD_GEN_ERROR) {
            *err = d.error;
            st = d.error.code;
        }
        if (st == HD_OK) st = hd_cli_flush(err); // fails when nobody reads any more
        more = st == HD_OK && kind != HD_GEN_DONE;
    }
    if (last != HD_PIECE_CONTENT && isatty(STDOUT_FILENO)) fputs("\033[0m", stdout);
    out->finish = d.finish;
    out->usage = d.usage;
    hd_gen_close(g);
    return st;
}
