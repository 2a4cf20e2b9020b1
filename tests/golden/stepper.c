#include "tests/golden/stepper.h"

#include "kernels/base/rng.h"
#include "tests/harness/plan_dry.h"
#include "tests/harness/test.h"

#include <stdlib.h>

static void ok(hd_status st, const hd_err *err)
{
    if (st != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s: %s", hd_status_name(st), err->msg);
}

static void *device_memory(hd_backend *be, size_t bytes, hd_mem_use use)
{
    hd_err err = {0};
    void *p;
    ok(be->ops->alloc(be, bytes, use, &p, &err), &err);
    return p;
}

static void *host_memory(size_t n, size_t bytes)
{
    void *p = calloc(n, bytes);
    EXPECT(p != NULL);
    return p;
}

static void open_planes(stepper *s, hd_dtype dtype)
{
    const hd_model_cfg *c = &s->m->cfg;
    const int32_t n_pages = STEPPER_MAX_SEQS * s->max_pages;
    s->kv = host_memory((size_t)c->n_layers * 4, sizeof(hd_kv_plane));
    hd_kv_plane *p = s->kv;
    for (int l = 0; l < c->n_layers; l++) {
        hd_kv_spec spec;
        s->m->arch->kv_spec(c, l, &spec);
        s->n_planes = spec.n_planes;
        for (int i = 0; i < spec.n_planes; i++, p++) {
            *p = (hd_kv_plane){NULL, dtype, spec.plane[i].width, s->page_tokens};
            size_t rows = (size_t)n_pages * (size_t)s->page_tokens;
            p->base = device_memory(s->be, rows * hd_row_bytes(dtype, p->width), HD_MEM_KV);
        }
    }
}

// Deals all pages to the sequences, shuffled, so that neighbours in a sequence lie apart.
static void deal_pages(stepper *s)
{
    const int32_t n = STEPPER_MAX_SEQS * s->max_pages;
    int32_t *deck = host_memory((size_t)n, sizeof(int32_t));
    hd_rng rng;
    hd_rng_seed(&rng, 7);
    for (int32_t i = 0; i < n; i++)
        deck[i] = i;
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)hd_rng_below(&rng, (uint32_t)i + 1), t = deck[i];
        deck[i] = deck[j];
        deck[j] = t;
    }
    for (int q = 0; q < STEPPER_MAX_SEQS; q++)
        s->seq[q].page = deck + q * s->max_pages;
}

void stepper_open(stepper *s, hd_model *m, hd_dtype kv_dtype, int32_t page_tokens,
                  int32_t max_tokens, int32_t max_context)
{
    const hd_plan_caps caps = {.max_tokens = max_tokens,
                               .max_seqs = STEPPER_MAX_SEQS,
                               .max_out = max_tokens,
                               .max_context = max_context,
                               .kv_dtype = kv_dtype};
    hd_plan_cost cost;
    hd_err err = {0};
    *s = (stepper){.m = m, .be = m->be};
    s->max_tokens = max_tokens;
    s->max_context = max_context;
    s->page_tokens = page_tokens;
    s->max_pages = (max_context + page_tokens - 1) / page_tokens;
    ok(hd_test_plan(&m->cfg, &caps, &cost, &err), &err);
    s->tmp.cap = cost.scratch_bytes;
    s->tmp.base = device_memory(s->be, cost.scratch_bytes, HD_MEM_SCRATCH);
    open_planes(s, kv_dtype);
    deal_pages(s);
    s->host_ints = (size_t)max_tokens * 3 + STEPPER_MAX_SEQS * (2 + (size_t)s->max_pages) + 1;
    s->host = host_memory(s->host_ints, sizeof(int32_t));
    s->dev = device_memory(s->be, s->host_ints * sizeof(int32_t), HD_MEM_STAGING);
    s->logits = device_memory(s->be, (size_t)max_tokens * (size_t)m->cfg.vocab * sizeof(float),
                              HD_MEM_STAGING);
    s->hidden = device_memory(s->be, (size_t)max_tokens * (size_t)m->cfg.d_model * sizeof(float),
                              HD_MEM_STAGING);
}

void stepper_close(stepper *s)
{
    for (int i = 0; i < s->m->cfg.n_layers * s->n_planes; i++)
        s->be->ops->release(s->be, s->kv[i].base);
    s->be->ops->release(s->be, s->tmp.base);
    s->be->ops->release(s->be, s->dev);
    s->be->ops->release(s->be, s->logits);
    s->be->ops->release(s->be, s->hidden);
    free(s->seq[0].page);
    free(s->kv);
    free(s->host);
}

void stepper_reset(stepper *s)
{
    for (int i = 0; i < STEPPER_MAX_SEQS; i++)
        s->seq[i].n_tokens = 0;
}

// Fills the host arrays from the parts and points b at their copies on the device.
static void stage(stepper *s, const stepper_part *parts, int n_parts, hd_batch *b)
{
    *b = (hd_batch){.n_seqs = n_parts, .max_pages = s->max_pages};
    for (int i = 0; i < n_parts; i++)
        b->n_tokens += parts[i].n;
    EXPECT(b->n_tokens <= s->max_tokens && n_parts <= STEPPER_MAX_SEQS);
    int32_t *token = s->host, *pos = token + b->n_tokens, *out_row = pos + b->n_tokens;
    int32_t *q_start = out_row + b->n_tokens, *kv_len = q_start + n_parts + 1;
    int32_t *page = kv_len + n_parts, at = 0;
    for (int i = 0; i < n_parts; i++) {
        stepper_seq *q = &s->seq[parts[i].seq];
        q_start[i] = at;
        for (int32_t t = 0; t < parts[i].n; t++, at++) {
            token[at] = parts[i].ids[t];
            pos[at] = q->n_tokens++;
            if (parts[i].logits) out_row[b->n_out++] = at;
        }
        EXPECT(q->n_tokens <= s->max_context);
        if (parts[i].n > b->max_q) b->max_q = parts[i].n;
        kv_len[i] = q->n_tokens;
        memcpy(page + i * s->max_pages, q->page, (size_t)s->max_pages * sizeof(int32_t));
    }
    q_start[n_parts] = at;
    s->be->ops->upload(s->be, s->dev, s->host, s->host_ints * sizeof(int32_t));
    b->token = s->dev;
    b->pos = s->dev + (pos - s->host);
    b->out_row = s->dev + (out_row - s->host);
    b->q_start = s->dev + (q_start - s->host);
    b->kv_len = s->dev + (kv_len - s->host);
    b->page = s->dev + (page - s->host);
}

void stepper_run(stepper *s, const stepper_part *parts, int n_parts)
{
    const hd_backend_ops *ops = s->be->ops;
    const int32_t vocab = s->m->cfg.vocab, d = s->m->cfg.d_model;
    hd_batch b;
    hd_err err = {0};
    stage(s, parts, n_parts, &b);
    hd_step step = {
        .be = s->be,
        .comm = &hd_comm_self,
        .batch = &b,
        .kv = s->kv,
        .tmp = &s->tmp,
        .logits = {s->logits, HD_F32, b.n_out, vocab, (int64_t)vocab * 4},
    };
    // Both ways of the head: with the hidden rows kept, and not.
    if (b.n_tokens % 2 == 0) step.hidden = (hd_tensor){s->hidden, HD_F32, b.n_out, d, d * 4};
    if (!ops->step_begin(s->be, 0)) s->m->arch->forward(s->m, &step);
    ops->step_end(s->be);
    ok(ops->sync(s->be, &err), &err);
    EXPECT_INT(s->tmp.used, 0);
    const char *row = s->logits;
    for (int i = 0; i < n_parts; i++) {
        if (!parts[i].logits) continue;
        size_t bytes = (size_t)parts[i].n * (size_t)vocab * sizeof(float);
        ops->download(s->be, parts[i].logits, row, bytes);
        row += bytes;
    }
    ok(ops->sync(s->be, &err), &err);
}
