// Staging and running one forward pass. Which sequences take part is for the caller to say.
#include "engine/step.h"

#include "kernels/base/mem.h"

#include <string.h>

enum device_block {
    DEV_BATCH,   // see below
    DEV_LOGITS,  // [max_out, model's vocab]
    DEV_TOP_ID,  // [max_out, k]
    DEV_TOP,     // [max_out, k]
    DEV_LSE,     // [max_out]
    DEV_SCRATCH, // of the forward pass
    DEVICE_BLOCKS
};

struct hd_stepper {
    hd_model *model;
    hd_backend *be;
    hd_kvpool *kv;
    hd_stepper_caps caps;
    hd_scratch tmp;

    // The batch as integers in one block, host copy and device copy: token [max_tokens], pos
    // [max_tokens], q_start [max_seqs + 1], kv_len [max_seqs], out_row [max_out], and last, because
    // its rows are only as long as the step needs, page [max_seqs][max_pages].
    int32_t *host;
    size_t at_pos, at_q_start, at_kv_len, at_out_row, at_page;
    int32_t n_tokens, n_seqs, n_out, max_q, max_pages, k;

    void *device[DEVICE_BLOCKS];
    int32_t *top_id; // host copies of the device's
    float *top, *lse;
    float *row;      // [model's vocab]
    hd_ranked *work; // [vocab]
};

// ---- life ----------------------------------------------------------------------------------

static int32_t page_cap(const hd_stepper_caps *c)
{
    return (int32_t)(((int64_t)c->max_context + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS);
}

static size_t count_ints(const hd_stepper_caps *c)
{
    return 2 * (size_t)c->max_tokens + 2 * (size_t)c->max_seqs + 1 + (size_t)c->max_out +
           (size_t)c->max_seqs * (size_t)page_cap(c);
}

static size_t logits_bytes(const hd_model_cfg *cfg, const hd_stepper_caps *c)
{
    return (size_t)c->max_out * (size_t)cfg->vocab * sizeof(float);
}

uint64_t hd_stepper_bytes(const hd_model_cfg *cfg, const hd_stepper_caps *c)
{
    const uint64_t top = (uint64_t)c->max_out * (HD_SAMPLE_MAX_K + 1) * 8;
    return logits_bytes(cfg, c) + 2 * top + 2 * count_ints(c) * sizeof(int32_t) +
           (uint64_t)cfg->vocab * (sizeof(float) + sizeof(hd_ranked));
}

static hd_status host_memory(hd_stepper *st, hd_err *err)
{
    const hd_stepper_caps *c = &st->caps;
    const size_t top = (size_t)c->max_out * HD_SAMPLE_MAX_K, vocab = (size_t)st->model->cfg.vocab;
    st->host = hd_calloc(count_ints(c), sizeof(*st->host));
    st->top_id = hd_calloc(top, sizeof(*st->top_id));
    st->top = hd_calloc(top, sizeof(*st->top));
    st->lse = hd_calloc((size_t)c->max_out, sizeof(*st->lse));
    st->row = hd_calloc(vocab, sizeof(*st->row));
    st->work = hd_calloc(vocab, sizeof(*st->work));
    HD_CHECK(st->host && st->top_id && st->top && st->lse && st->row && st->work, err, HD_E_NOMEM,
             "no memory for steps of %d tokens", c->max_tokens);
    return HD_OK;
}

static hd_status device_memory(hd_stepper *st, hd_err *err)
{
    const hd_stepper_caps *c = &st->caps;
    const size_t top = (size_t)c->max_out * HD_SAMPLE_MAX_K * 4;
    const size_t bytes[DEVICE_BLOCKS] = {
        [DEV_BATCH] = count_ints(c) * sizeof(int32_t),
        [DEV_LOGITS] = logits_bytes(&st->model->cfg, c),
        [DEV_TOP_ID] = top,
        [DEV_TOP] = top,
        [DEV_LSE] = (size_t)c->max_out * 4,
        [DEV_SCRATCH] = c->scratch_bytes,
    };
    for (int i = 0; i < DEVICE_BLOCKS; i++) {
        hd_mem_use use = i == DEV_LOGITS || i == DEV_SCRATCH ? HD_MEM_SCRATCH : HD_MEM_STAGING;
        HD_TRY(st->be->ops->alloc(st->be, bytes[i], use, &st->device[i], err));
    }
    st->tmp = (hd_scratch){.base = st->device[DEV_SCRATCH], .cap = c->scratch_bytes};
    return HD_OK;
}

hd_status hd_stepper_create(hd_model *m, hd_kvpool *kv, const hd_stepper_caps *caps,
                            hd_stepper **out, hd_err *err)
{
    *out = NULL;
    HD_ASSERT(caps->vocab > 0 && caps->vocab <= m->cfg.vocab);
    hd_stepper *st = hd_calloc(1, sizeof(*st));
    HD_CHECK(st, err, HD_E_NOMEM, "no memory for steps");
    st->model = m;
    st->be = m->be;
    st->kv = kv;
    st->caps = *caps;
    st->at_pos = (size_t)caps->max_tokens;
    st->at_q_start = st->at_pos + (size_t)caps->max_tokens;
    st->at_kv_len = st->at_q_start + (size_t)caps->max_seqs + 1;
    st->at_out_row = st->at_kv_len + (size_t)caps->max_seqs;
    st->at_page = st->at_out_row + (size_t)caps->max_out;
    hd_status status = host_memory(st, err);
    if (status == HD_OK) status = device_memory(st, err);
    if (status == HD_OK)
        *out = st;
    else
        hd_stepper_destroy(st);
    return status;
}

void hd_stepper_destroy(hd_stepper *st)
{
    if (!st) return;
    for (int i = 0; i < DEVICE_BLOCKS; i++)
        if (st->device[i]) st->be->ops->release(st->be, st->device[i]);
    hd_free(st->host);
    hd_free(st->top_id);
    hd_free(st->top);
    hd_free(st->lse);
    hd_free(st->row);
    hd_free(st->work);
    hd_free(st);
}

int32_t hd_stepper_max_out(const hd_stepper *st)
{
    return st->caps.max_out;
}

// ---- staging -------------------------------------------------------------------------------

void hd_stepper_begin(hd_stepper *st, int32_t max_pages)
{
    HD_ASSERT(max_pages <= page_cap(&st->caps));
    st->n_tokens = st->n_seqs = st->n_out = st->max_q = 0;
    st->max_pages = max_pages > 0 ? max_pages : 1;
    st->host[st->at_q_start] = 0;
}

int32_t hd_stepper_add(hd_stepper *st, const hd_kvseq *kv, const int32_t *ids, int32_t n,
                       int32_t n_out)
{
    const hd_stepper_caps *c = &st->caps;
    const int32_t first = st->n_tokens, row = st->n_out;
    HD_ASSERT(n > 0 && n_out <= n && st->n_seqs < c->max_seqs && n <= c->max_tokens - first &&
              n_out <= c->max_out - row && kv->n_pages <= st->max_pages &&
              kv->n_tokens + n <= kv->n_pages * HD_PAGE_TOKENS);
    int32_t *pages = st->host + st->at_page + (size_t)st->n_seqs * (size_t)st->max_pages;
    memcpy(st->host + first, ids, (size_t)n * sizeof(*ids));
    for (int32_t i = 0; i < n; i++)
        st->host[st->at_pos + (size_t)(first + i)] = kv->n_tokens + i;
    for (int32_t i = 0; i < n_out; i++)
        st->host[st->at_out_row + (size_t)(row + i)] = first + n - n_out + i;
    for (int32_t i = 0; i < st->max_pages; i++)
        pages[i] = i < kv->n_pages ? kv->page[i] : 0;
    st->host[st->at_kv_len + (size_t)st->n_seqs] = kv->n_tokens + n;
    st->n_tokens += n;
    st->n_out += n_out;
    st->n_seqs++;
    st->host[st->at_q_start + (size_t)st->n_seqs] = st->n_tokens;
    if (n > st->max_q) st->max_q = n;
    return row;
}

// ---- running -------------------------------------------------------------------------------

static hd_batch batch_of(const hd_stepper *st)
{
    const int32_t *device = st->device[DEV_BATCH];
    return (hd_batch){
        .n_tokens = st->n_tokens,
        .n_seqs = st->n_seqs,
        .n_out = st->n_out,
        .max_q = st->max_q,
        .max_pages = st->max_pages,
        .token = device,
        .pos = device + st->at_pos,
        .q_start = device + st->at_q_start,
        .kv_len = device + st->at_kv_len,
        .page = device + st->at_page,
        .out_row = device + st->at_out_row,
    };
}

static hd_tensor matrix(void *data, hd_dtype dtype, int32_t rows, int32_t cols)
{
    return (hd_tensor){data, dtype, rows, cols, (int64_t)cols * 4};
}

// Steps of one shape do the same work at the same addresses.
static uint64_t shape_of(const hd_stepper *st)
{
    const int32_t v[] = {st->n_tokens, st->n_seqs, st->n_out, st->max_q, st->max_pages, st->k};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
        h = (h ^ (uint32_t)v[i]) * 0x9E3779B97F4A7C15u + (h >> 29);
    return h;
}

static void forward(hd_stepper *st)
{
    const hd_backend_ops *ops = st->be->ops;
    const hd_batch batch = batch_of(st);
    const hd_tensor logits =
        matrix(st->device[DEV_LOGITS], HD_F32, st->n_out, st->model->cfg.vocab);
    hd_step s = {
        .be = st->be,
        .comm = &hd_comm_self,
        .batch = &batch,
        .kv = hd_kvpool_planes(st->kv),
        .tmp = &st->tmp,
        .logits = logits,
    };
    st->tmp.used = 0;
    st->model->arch->forward(st->model, &s);
    if (st->n_out == 0 || st->k == 0) return;
    ops->topk(st->be, matrix(st->device[DEV_TOP_ID], HD_I32, st->n_out, st->k),
              matrix(st->device[DEV_TOP], HD_F32, st->n_out, st->k),
              matrix(st->device[DEV_LSE], HD_F32, st->n_out, 1),
              hd_tensor_cols(logits, 0, st->caps.vocab));
}

hd_status hd_stepper_run(hd_stepper *st, int32_t k, hd_err *err)
{
    const hd_backend_ops *ops = st->be->ops;
    const size_t ints = st->at_page + (size_t)st->n_seqs * (size_t)st->max_pages;
    HD_ASSERT(k >= 0 && k <= HD_SAMPLE_MAX_K && k <= st->caps.vocab);
    st->k = k;
    ops->upload(st->be, st->device[DEV_BATCH], st->host, ints * sizeof(int32_t));
    if (!ops->step_begin(st->be, shape_of(st))) forward(st);
    ops->step_end(st->be);
    if (st->n_out > 0 && k > 0) {
        const size_t top = (size_t)st->n_out * (size_t)k * 4;
        ops->download(st->be, st->top_id, st->device[DEV_TOP_ID], top);
        ops->download(st->be, st->top, st->device[DEV_TOP], top);
        ops->download(st->be, st->lse, st->device[DEV_LSE], (size_t)st->n_out * 4);
    }
    return ops->sync(st->be, err);
}

// ---- results -------------------------------------------------------------------------------

void hd_stepper_candidates(const hd_stepper *st, int32_t row, int32_t k, hd_candidates *out)
{
    HD_ASSERT(row >= 0 && row < st->n_out && k <= st->k);
    *out = (hd_candidates){
        .id = st->top_id + (size_t)row * (size_t)st->k,
        .logit = st->top + (size_t)row * (size_t)st->k,
        .n = k,
        .vocab = st->caps.vocab,
        .lse = st->lse[row],
    };
}

static void fetch(hd_stepper *st, int32_t row, int32_t from, int32_t n, float *to)
{
    HD_ASSERT(row >= 0 && row < st->n_out);
    const float *logits = st->device[DEV_LOGITS];
    const float *src = logits + (size_t)row * (size_t)st->model->cfg.vocab + from;
    st->be->ops->download(st->be, to, src, (size_t)n * sizeof(float));
    // The step's own sync has reported what there was; this only waits for the copy.
    (void)st->be->ops->sync(st->be, NULL);
}

void hd_stepper_whole_row(hd_stepper *st, int32_t row, hd_candidates *out)
{
    fetch(st, row, 0, st->caps.vocab, st->row);
    out->row = st->row;
    out->work = st->work;
}

float hd_stepper_logit(hd_stepper *st, int32_t row, int32_t id)
{
    float logit;
    fetch(st, row, id, 1, &logit);
    return logit;
}

const float *hd_stepper_logits(hd_stepper *st, int32_t row)
{
    fetch(st, row, 0, st->model->cfg.vocab, st->row);
    return st->row;
}
