// Opening a model: configuration, binding, RoPE tables; and planning on the dry backend.
// Tokenizer and chat template are not opened here; the engine puts them together.
#include "models/model.h"

#include "kernels/base/mem.h"
#include "models/weights/binder.h"
#include "models/weights/source.h"

#include <string.h>

// ---- opening -------------------------------------------------------------------------------

static const hd_arch *arch_by_name(const char *name)
{
    for (int i = 0; hd_arch_list[i]; i++)
        if (strcmp(hd_arch_list[i]->name, name) == 0) return hd_arch_list[i];
    return NULL;
}

static hd_status check_needs(const hd_arch *arch, const hd_backend *be, hd_err *err)
{
    const struct {
        uint64_t bit;
        const void *have;
        const char *name;
    } family[] = {
        {HD_NEEDS_DSA, be->ops->dsa, "sparse attention (dsa)"},
        {HD_NEEDS_V4, be->ops->v4, "hyper-connections and compressed caches (v4)"},
    };
    for (size_t i = 0; i < sizeof(family) / sizeof(family[0]); i++)
        HD_CHECK(!(arch->needs & family[i].bit) || family[i].have, err, HD_E_UNSUPPORTED,
                 "architecture '%s' needs operations that device '%s' does not have: %s",
                 arch->name, be->ops->name, family[i].name);
    return HD_OK;
}

// GGUF writers store Llama 3's scaling as a tensor of divisors.
static hd_status read_factors(hd_model *m, hd_binder *b, float *factors, int32_t n, hd_err *err)
{
    static const char name[] = "rope_freqs.weight";
    HD_CHECK(m->cfg.rope.scaling == HD_SCALING_NONE, err, HD_E_UNSUPPORTED,
             "tensor %s together with another RoPE scaling is not supported", name);
    HD_TRY(hd_binder_vector(b, name, n, factors, err));
    for (int32_t i = 0; i < n; i++)
        HD_CHECK(factors[i] > 0 && factors[i] < 1e30f, err, HD_E_CORRUPT,
                 "tensor %s: element %d is %g, expected a positive divisor", name, i,
                 (double)factors[i]);
    m->cfg.rope.scaling = HD_SCALING_FACTORS;
    return HD_OK;
}

static hd_status setup_rope(hd_model *m, hd_binder *b, hd_err *err)
{
    const int32_t n_rot = hd_cfg_n_rot(&m->cfg), n = n_rot / 2;
    float *factors = NULL;
    hd_status st = HD_OK;
    m->inv_freq = hd_calloc((size_t)n, sizeof(float));
    HD_CHECK(m->inv_freq, err, HD_E_NOMEM, "no memory for RoPE frequencies");
    if (m->cfg.from_gguf && hd_binder_has(b, false, "rope_freqs.weight")) {
        factors = hd_calloc((size_t)n, sizeof(float));
        HD_CHECK(factors, err, HD_E_NOMEM, "no memory for RoPE frequencies");
        st = read_factors(m, b, factors, n, err);
    }
    m->rope = (hd_rope){
        .d_head = m->cfg.d_head,
        .first = m->cfg.d_head - n_rot, // the last columns of a head
        .n_rot = n_rot,
        .pairing = m->cfg.rope.pairing,
        .inv_freq = m->inv_freq,
    };
    if (st == HD_OK)
        hd_rope_frequencies(&m->cfg.rope, n_rot, factors, m->inv_freq, &m->rope.magnitude);
    hd_free(factors);
    return st;
}

// src NULL: shapes from cfg alone (dry backend).
static hd_status open_bound(const hd_model_cfg *cfg, const hd_source *src, hd_backend *be,
                            const hd_model_opts *opts, hd_model **out, hd_err *err)
{
    hd_status st;
    hd_binder *b = NULL;
    hd_model *m = hd_calloc(1, sizeof(*m));
    HD_CHECK(m, err, HD_E_NOMEM, "no memory for the model");
    m->cfg = *cfg;
    m->be = be;
    m->arch = arch_by_name(cfg->arch);
    HD_ASSERT(m->arch);
    st = check_needs(m->arch, be, err);
    if (st == HD_OK) st = hd_binder_open(src, be, opts, &b, err);
    if (st == HD_OK) st = m->arch->bind(m, b, err);
    if (st == HD_OK) st = setup_rope(m, b, err);
    if (st == HD_OK) st = hd_binder_finish(b, &m->weight_bytes, err);
    if (st == HD_OK) hd_binder_totals(b, &m->totals);
    hd_binder_close(b);
    if (st != HD_OK) {
        hd_model_close(m);
        return st;
    }
    *out = m;
    return HD_OK;
}

hd_status hd_model_files_open(const hd_model_src *src, hd_source **out, hd_err *err)
{
    return src->gguf ? hd_source_open_gguf(src->gguf, out, err)
                     : hd_source_open_safetensors(src->path, src->access, out, err);
}

void hd_model_files_close(hd_source *files)
{
    hd_source_close(files);
}

hd_status hd_model_open_files(const hd_model_src *src, const hd_source *files, hd_backend *be,
                              const hd_model_opts *opts, hd_model **out, hd_err *err)
{
    hd_model_cfg cfg;
    *out = NULL;
    HD_TRY(hd_config_read(src, &cfg, err));
    return open_bound(&cfg, files, be, opts, out, err);
}

hd_status hd_model_open(const hd_model_src *src, hd_backend *be, const hd_model_opts *opts,
                        hd_model **out, hd_err *err)
{
    hd_source *files = NULL;
    *out = NULL;
    HD_TRY(hd_model_files_open(src, &files, err));
    hd_status st = hd_model_open_files(src, files, be, opts, out, err);
    hd_source_close(files);
    return st;
}

hd_status hd_model_open_dry(const hd_model_cfg *cfg, hd_weight_types weights, hd_backend *dry,
                            hd_model **out, hd_err *err)
{
    const hd_model_opts opts = {.weights = weights};
    *out = NULL;
    return open_bound(cfg, NULL, dry, &opts, out, err);
}

void hd_model_close(hd_model *m)
{
    if (!m) return;
    m->arch->unbind(m);
    hd_free(m->inv_freq);
    hd_free(m);
}

// ---- planning ------------------------------------------------------------------------------

enum { PLAN_PAGE = 64 }; // tokens, as the engine has them

typedef struct dry_run { // a model on the dry backend with everything a step needs
    hd_model *m;         // borrowed
    hd_kv_plane *kv;
    int32_t *ints; // token, pos, out_row: [n_tokens] each; q_start [n_seqs + 1]; kv_len [n_seqs]
    size_t kv_bytes_per_token, scratch_bytes;
} dry_run;

// Attention reads whole blocks: a head's columns, or the latent and its rotated key each.
static hd_status check_cache(const hd_model_cfg *c, hd_dtype dtype, hd_err *err)
{
    const hd_dtype_traits *t = hd_dtype_get(dtype);
    const bool latent = c->mla.d_latent > 0;
    const int32_t cols[] = {latent ? c->mla.d_latent : c->d_head, hd_cfg_n_rot(c)};
    for (int i = 0; i < 2; i++)
        HD_CHECK(cols[i] % t->block == 0, err, HD_E_UNSUPPORTED,
                 "cache of type %s: this model caches %s of %d columns, expected a multiple of %d",
                 t->name, latent ? (i == 0 ? "latents" : "rotated keys") : "heads", cols[i],
                 t->block);
    return HD_OK;
}

static hd_status dry_planes(dry_run *r, hd_dtype dtype, hd_err *err)
{
    const hd_model *m = r->m;
    const int32_t n = m->cfg.n_layers;
    HD_TRY(check_cache(&m->cfg, dtype, err));
    hd_kv_plane *p = r->kv = hd_calloc((size_t)n * 4, sizeof(hd_kv_plane));
    HD_CHECK(p, err, HD_E_NOMEM, "no memory to plan %d layers", n);
    for (int32_t l = 0; l < n; l++) {
        hd_kv_spec spec;
        m->arch->kv_spec(&m->cfg, l, &spec);
        for (int32_t i = 0; i < spec.n_planes; i++, p++) {
            const int32_t width = spec.plane[i].width, ratio = spec.plane[i].ratio;
            *p = (hd_kv_plane){.dtype = dtype, .width = width, .page_rows = PLAN_PAGE / ratio};
            r->kv_bytes_per_token += hd_row_bytes(dtype, width) / (size_t)ratio;
        }
    }
    return HD_OK;
}

// n_seqs sequences that all end at max_context: one token each, and the first ones take the rest.
static void dry_batch(dry_run *r, int32_t n_tokens, int32_t n_seqs, int32_t n_out,
                      int32_t max_context, hd_batch *b)
{
    int32_t *token = r->ints, *pos = token + n_tokens, *out_row = pos + n_tokens;
    int32_t *q_start = out_row + n_tokens, *kv_len = q_start + n_seqs + 1;
    int32_t rest = n_tokens - n_seqs, at = 0, max_q = 0;
    for (int32_t s = 0; s < n_seqs; s++) {
        int32_t more = rest < max_context - 1 ? rest : max_context - 1;
        rest -= more;
        q_start[s] = at;
        kv_len[s] = max_context;
        for (int32_t i = 0; i <= more; i++)
            pos[at++] = max_context - 1 - more + i;
        if (more + 1 > max_q) max_q = more + 1;
    }
    q_start[n_seqs] = at;
    for (int32_t i = 0; i < n_tokens; i++) {
        token[i] = 0;
        out_row[i] = i;
    }
    *b = (hd_batch){
        .n_tokens = n_tokens,
        .n_seqs = n_seqs,
        .n_out = n_out,
        .max_q = max_q,
        .max_pages = (max_context + PLAN_PAGE - 1) / PLAN_PAGE,
        .token = token,
        .pos = pos,
        .q_start = q_start,
        .kv_len = kv_len,
        .out_row = out_row,
    };
}

static hd_status dry_step(dry_run *r, const hd_batch *b, hd_dry_cost *out, hd_err *err)
{
    hd_scratch tmp = {0};
    hd_step s = {
        .be = r->m->be,
        .comm = &hd_comm_self,
        .batch = b,
        .kv = r->kv,
        .tmp = &tmp,
        .logits = {.dtype = HD_F32,
                   .rows = b->n_out,
                   .cols = r->m->cfg.vocab,
                   .stride = (int64_t)r->m->cfg.vocab * 4},
    };
    r->m->be->ops->step_begin(r->m->be, 0);
    r->m->arch->forward(r->m, &s);
    r->m->be->ops->step_end(r->m->be);
    HD_TRY(r->m->be->ops->sync(r->m->be, err));
    hd_dry_get_cost(r->m->be, out);
    if (tmp.peak > r->scratch_bytes) r->scratch_bytes = tmp.peak;
    return HD_OK;
}

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static hd_status plan_steps(dry_run *r, const hd_plan_caps *caps, hd_plan_cost *out, hd_err *err)
{
    hd_batch b;
    const int32_t n_seqs = smaller(caps->max_seqs, caps->max_tokens);
    const int64_t fits = (int64_t)n_seqs * caps->max_context;
    const int32_t n_tokens = fits < caps->max_tokens ? (int32_t)fits : caps->max_tokens;
    dry_batch(r, n_tokens, n_seqs, smaller(caps->max_out, n_tokens), caps->max_context, &b);
    HD_TRY(dry_step(r, &b, &out->step, err));
    dry_batch(r, 1, 1, 1, caps->max_context, &b);
    HD_TRY(dry_step(r, &b, &out->decode, err));
    out->scratch_bytes = r->scratch_bytes;
    out->kv_bytes_per_token = r->kv_bytes_per_token;
    return HD_OK;
}

hd_status hd_model_plan(hd_model *dry, const hd_plan_caps *caps, hd_plan_cost *out, hd_err *err)
{
    dry_run r = {.m = dry};
    *out = (hd_plan_cost){0};
    HD_CHECK(caps->max_tokens > 0 && caps->max_seqs > 0 && caps->max_out > 0 &&
                 caps->max_context > 0,
             err, HD_E_INVAL,
             "plan for %d tokens, %d sequences, %d outputs, context %d: expected all at least 1",
             caps->max_tokens, caps->max_seqs, caps->max_out, caps->max_context);
    r.ints =
        hd_calloc((size_t)caps->max_tokens * 3 + (size_t)caps->max_seqs * 2 + 1, sizeof(int32_t));
    HD_CHECK(r.ints, err, HD_E_NOMEM, "no memory to plan steps of %d tokens", caps->max_tokens);
    hd_status st = dry_planes(&r, caps->kv_dtype, err);
    if (st == HD_OK) st = plan_steps(&r, caps, out, err);
    hd_free(r.ints);
    hd_free(r.kv);
    return st;
}
