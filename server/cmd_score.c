// hadal score: what the model thinks of given tokens. One JSON array of ids a line, each line its
// own sequence; prints perplexity, or writes every row of logits as a NumPy file.
#include "engine/runner.h"
#include "kernels/base/json.h"
#include "server/cli.h"
#include "server/cmd.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

typedef struct scoring {
    const int32_t *ids;
    int32_t n;
    double nll; // of ids[1..], natural logarithm
    FILE *npy;  // NULL: perplexity
    const char *npy_path;
} scoring;

typedef struct sequences {
    hd_ids ids, ends; // ends: where each sequence ends in ids
} sequences;

// -log softmax(logits)[id], summed in double.
static double token_nll(const float *logits, int32_t vocab, int32_t id)
{
    double top = -INFINITY, sum = 0;
    for (int32_t i = 0; i < vocab; i++)
        if (logits[i] > top) top = logits[i];
    for (int32_t i = 0; i < vocab; i++)
        sum += exp(logits[i] - top);
    return top + log(sum) - logits[id];
}

static hd_status take_row(void *ctx, int32_t pos, const float *logits, int32_t vocab)
{
    scoring *s = ctx;
    if (s->npy) return fwrite(logits, 4, (size_t)vocab, s->npy) == (size_t)vocab ? HD_OK : HD_E_IO;
    if (pos + 1 < s->n) s->nll += token_nll(logits, vocab, s->ids[pos + 1]);
    return HD_OK;
}

static hd_status parse_ids(hd_slice line, int32_t vocab, hd_ids *out, hd_err *err)
{
    hd_json *v = NULL;
    hd_status st = hd_json_parse(line, &hd_json_request_limits, &v, err);
    size_t at = 0;
    if (st == HD_OK && hd_json_type(v) != HD_JSON_ARRAY)
        st = HD_FAIL(err, HD_E_INVAL, "found %s, expected an array of token ids",
                     hd_json_type_name(v));
    for (const hd_json *e = hd_json_first(v); st == HD_OK && e; e = hd_json_next(e), at++) {
        int64_t id;
        if (!hd_json_i64(e, &id))
            st = HD_FAIL(err, HD_E_INVAL, "element %zu: found %s, expected a token id in [0, %d)",
                         at,
                         hd_json_type(e) == HD_JSON_NUMBER ? "a number that is not whole"
                                                           : hd_json_type_name(e),
                         (int)vocab);
        else if (id < 0 || id >= vocab)
            st = HD_FAIL(err, HD_E_INVAL, "element %zu: found %lld, expected a token id in [0, %d)",
                         at, (long long)id, (int)vocab);
        else if (!hd_ids_push(out, (int32_t)id))
            st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
    }
    hd_json_free(v);
    return st;
}

// NumPy format 1.0: magic, version, header length, a Python dict padded to 64 bytes.
static hd_status npy_header(scoring *s, uint64_t rows, int32_t vocab, hd_err *err)
{
    char head[128];
    memset(head, ' ', sizeof(head));
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(head + 10, sizeof(head) - 10,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %d), }",
                     (unsigned long long)rows, (int)vocab);
    head[10 + n] = ' ';
    head[sizeof(head) - 1] = '\n';
    HD_CHECK(fwrite(head, 1, sizeof(head), s->npy) == sizeof(head), err, HD_E_IO, "%s: %s",
             s->npy_path, strerror(errno));
    return HD_OK;
}

// Reads every line before the first token is computed, so that a bad one costs no time and a pipe
// will do.
static hd_status read_ids(const hd_config *c, FILE *in, const hd_model_facts *f, sequences *q,
                          hd_err *err)
{
    hd_buf line = {0};
    hd_status st = HD_OK;
    for (long n = 1; st == HD_OK && hd_cli_line(in, &line); n++) {
        const size_t from = q->ids.n;
        if (line.len == 0) continue;
        st = parse_ids(hd_buf_slice(&line), f->cfg.vocab, &q->ids, err);
        if (st == HD_OK && q->ids.n - from > (size_t)f->max_context)
            st = HD_FAIL(err, HD_E_LIMIT, "found %zu tokens, the context holds %d", q->ids.n - from,
                         (int)f->max_context);
        if (st == HD_OK && !hd_ids_push(&q->ends, (int32_t)q->ids.n))
            st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
        if (st != HD_OK) hd_err_prefix(err, st, "%s: line %ld", c->ids, n);
    }
    if (st == HD_OK) st = hd_cli_line_end(in, &line, c->ids, err);
    hd_buf_fini(&line);
    return st;
}

static hd_status score_one(hd_runner *r, scoring *s, int32_t chunk, hd_err *err)
{
    hd_runner_reset(r);
    s->nll = 0;
    hd_status st = hd_runner_feed(r, s->ids, s->n, chunk, HD_WANT_ALL, take_row, s, err);
    if (st == HD_E_IO && s->npy) return HD_FAIL(err, st, "%s: %s", s->npy_path, strerror(errno));
    if (st != HD_OK || s->npy) return st;
    int32_t predicted = s->n > 0 ? s->n - 1 : 0;
    printf("{\"tokens\": %d, \"predicted\": %d, \"nll\": %.9g, \"perplexity\": %.9g}\n", (int)s->n,
           (int)predicted, s->nll, predicted ? exp(s->nll / predicted) : 1.0);
    return hd_cli_flush(err);
}

static hd_status score_all(const hd_config *c, hd_runner *r, const sequences *q, hd_err *err)
{
    scoring s = {.npy_path = c->logits};
    struct stat info;
    hd_status st = HD_OK;
    int32_t from = 0;
    if (c->logits) {
        s.npy = fopen(c->logits, "wb");
        HD_CHECK(s.npy, err, HD_E_IO, "%s: %s", c->logits, strerror(errno));
        st = npy_header(&s, q->ids.n, hd_runner_facts(r)->cfg.vocab, err);
    }
    for (size_t i = 0; st == HD_OK && i < q->ends.n; i++) {
        s.ids = q->ids.v + from;
        s.n = q->ends.v[i] - from;
        from = q->ends.v[i];
        st = score_one(r, &s, (int32_t)c->chunk, err);
    }
    if (!s.npy) return st;
    // Half a file must not pass for a whole one; a device or a pipe stays what it is.
    bool is_file = fstat(fileno(s.npy), &info) == 0 && S_ISREG(info.st_mode);
    if (fclose(s.npy) != 0 && st == HD_OK)
        st = HD_FAIL(err, HD_E_IO, "%s: %s", c->logits, strerror(errno));
    if (st != HD_OK && is_file) remove(c->logits);
    return st;
}

int hd_cmd_score(int argc, char **argv)
{
    hd_config c;
    hd_engine_cfg cfg;
    hd_err err = {0};
    hd_runner *r = NULL;
    hd_cli_meter meter = {0};
    sequences q = {{0}, {0}};
    FILE *in = NULL;
    int code;
    if (!hd_cli_settings(&c, HD_CMD_SCORE, argc, argv, &code)) return code;
    hd_status st = hd_config_engine(&c, &cfg, &err);
    cfg.progress = hd_cli_progress;
    cfg.progress_ctx = &meter;
    if (st == HD_OK && !c.ids) st = HD_FAIL(&err, HD_E_INVAL, "no input: give --ids FILE");
    if (st == HD_OK && !(in = fopen(c.ids, "r")))
        st = HD_FAIL(&err, HD_E_NOTFOUND, "%s: %s", c.ids, strerror(errno));
    if (st == HD_OK) st = hd_runner_open(&cfg, &r, &err);
    hd_cli_progress_end(&meter);
    if (st == HD_OK) st = read_ids(&c, in, hd_runner_facts(r), &q, &err);
    if (st == HD_OK) st = score_all(&c, r, &q, &err);
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    if (in) fclose(in);
    hd_ids_fini(&q.ids);
    hd_ids_fini(&q.ends);
    hd_runner_close(r);
    return code;
}
