// Attention (grouped-query and latent), feed-forward (dense and of experts) and the head, as calls
// on the backend's table.
//
// Scratch of a block is released at its end, so every layer works at the same addresses. Within a
// block, what is needed longest is taken first and the rest shares the space behind it.
#include "models/blocks.h"

// The one place where a matrix meets activations.
static void linear(const hd_step *s, hd_tensor out, hd_tensor x, const hd_weight *w,
                   const hd_weight *bias)
{
    s->be->ops->linear(s->be, out, x, w, bias);
}

// Sums what the ranks of a tensor-parallel model computed from their slices.
static void all_reduce(const hd_step *s, hd_tensor x)
{
    if (s->comm->world > 1) s->be->ops->all_reduce(s->be, x, s->comm);
}

static void rmsnorm(const hd_model *m, const hd_step *s, hd_tensor out, hd_tensor x,
                    const hd_tensor *add, const hd_weight *gain)
{
    s->be->ops->rmsnorm(s->be, out, x, add, gain, (float)m->cfg.norm_eps);
}

static hd_tensor rows_of(const hd_step *s, int32_t n, int32_t cols)
{
    return hd_scratch_tensor(s->tmp, HD_F32, n, cols);
}

// ---- attention -----------------------------------------------------------------------------

void hd_block_gqa(const hd_model *m, hd_step *s, const hd_gqa *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const hd_model_cfg *c = &m->cfg;
    const int32_t n = x.rows, dh = c->d_head;
    const int32_t q_cols = c->n_heads * dh, kv_cols = c->n_kv_heads * dh;
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor qkv = rows_of(s, n, q_cols + 2 * kv_cols);
    hd_tensor q = hd_tensor_cols(qkv, 0, q_cols);
    hd_tensor k = hd_tensor_cols(qkv, q_cols, kv_cols);
    hd_tensor v = hd_tensor_cols(qkv, q_cols + kv_cols, kv_cols);

    size_t inner = hd_scratch_mark(s->tmp);
    hd_tensor h = rows_of(s, n, c->d_model);
    rmsnorm(m, s, h, x, add_delta ? &delta : NULL, w->norm);
    linear(s, qkv, h, w->qkv, w->qkv_bias);
    hd_scratch_release(s->tmp, inner);

    if (w->q_norm) rmsnorm(m, s, q, q, NULL, w->q_norm);
    if (w->k_norm) rmsnorm(m, s, k, k, NULL, w->k_norm);
    // q and k lie side by side and turn alike.
    ops->rope(s->be, hd_tensor_cols(qkv, 0, q_cols + kv_cols), s->batch->pos, &m->rope);
    ops->kv_store(s->be, &kv[0], k, s->batch);
    ops->kv_store(s->be, &kv[1], v, s->batch);

    hd_tensor heads = rows_of(s, n, q_cols);
    hd_attn attn = {
        .n_heads = c->n_heads,
        .n_kv = c->n_kv_heads,
        .d_qk = dh,
        .d_v = dh,
        .scale = (float)hd_cfg_attn_scale(c),
        .k_plane = &kv[0],
        .v_plane = &kv[1],
    };
    ops->attn(s->be, heads, q, &attn, s->batch);
    linear(s, delta, heads, w->o, w->o_bias);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

// The norms inside attention, in place.
static void inner_norm(const hd_model *m, const hd_step *s, hd_tensor x, const hd_weight *gain)
{
    s->be->ops->rmsnorm(s->be, x, x, NULL, gain, (float)m->cfg.mla.norm_eps);
}

// q and the row to be cached, from the residual stream: projections, norms, rotation.
static void latent_inputs(const hd_model *m, hd_step *s, const hd_latent_attn *w, hd_tensor x,
                          const hd_tensor *add, hd_tensor q, hd_tensor kv)
{
    const hd_mla_cfg *a = &m->cfg.mla;
    const hd_rope key = {a->d_rope,       0, a->d_rope, m->rope.pairing, m->rope.magnitude,
                         m->rope.inv_freq};
    size_t mark = hd_scratch_mark(s->tmp);
    hd_tensor h = rows_of(s, x.rows, m->cfg.d_model);
    rmsnorm(m, s, h, x, add, w->norm);
    if (w->q_a) {
        hd_tensor low = rows_of(s, x.rows, a->q_lora);
        linear(s, low, h, w->q_a, w->q_a_bias);
        inner_norm(m, s, low, w->q_norm);
        linear(s, q, low, w->q_b, NULL);
    } else {
        linear(s, q, h, w->q, NULL);
    }
    linear(s, kv, h, w->kv_a, w->kv_a_bias);
    inner_norm(m, s, hd_tensor_cols(kv, 0, a->d_latent), w->kv_norm);
    s->be->ops->rope(s->be, q, s->batch->pos, &m->rope);
    s->be->ops->rope(s->be, hd_tensor_cols(kv, a->d_latent, a->d_rope), s->batch->pos, &key);
    hd_scratch_release(s->tmp, mark);
}

void hd_block_mla(const hd_model *m, hd_step *s, const hd_latent_attn *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const hd_model_cfg *c = &m->cfg;
    const hd_mla attn = {
        .n_heads = c->n_heads,
        .d_nope = c->mla.d_nope,
        .d_rope = c->mla.d_rope,
        .d_v = c->mla.d_v,
        .d_latent = c->mla.d_latent,
        .scale = (float)hd_cfg_attn_scale(c),
        .plane = kv,
        .kv_b = w->kv_b,
        .path = HD_MLA_AUTO,
    };
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor q = rows_of(s, x.rows, c->n_heads * c->d_head);
    size_t inner = hd_scratch_mark(s->tmp);
    hd_tensor row = rows_of(s, x.rows, c->mla.d_latent + c->mla.d_rope);
    latent_inputs(m, s, w, x, add_delta ? &delta : NULL, q, row);
    ops->kv_store(s->be, kv, row, s->batch);
    hd_scratch_release(s->tmp, inner);

    hd_tensor heads = rows_of(s, x.rows, c->n_heads * c->mla.d_v);
    hd_tensor work = rows_of(s, 1, hd_mla_work_floats(&attn, s->batch));
    ops->mla(s->be, heads, q, &attn, s->batch, work);
    linear(s, delta, heads, w->o, w->o_bias);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

// ---- feed-forward --------------------------------------------------------------------------

void hd_block_ffn(const hd_model *m, hd_step *s, const hd_ffn *w, hd_tensor x, hd_tensor delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const int32_t n = x.rows, ff = m->cfg.d_ff;
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor gate_up = rows_of(s, n, 2 * ff);
    hd_tensor h = rows_of(s, n, m->cfg.d_model);
    rmsnorm(m, s, h, x, &delta, w->norm);
    linear(s, gate_up, h, w->gate_up, w->gate_up_bias);
    hd_tensor act = hd_tensor_cols(gate_up, 0, ff);
    ops->glu(s->be, act, gate_up, (hd_act){.kind = HD_ACT_SILU});
    linear(s, delta, act, w->down, w->down_bias);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

// out += FFN(h) of the expert that serves every token.
static void add_shared(const hd_model *m, hd_step *s, const hd_moe *w, hd_tensor h, hd_tensor out)
{
    const int32_t ff = m->cfg.moe.n_shared * m->cfg.moe.d_expert;
    size_t mark = hd_scratch_mark(s->tmp);
    hd_tensor gate_up = rows_of(s, h.rows, 2 * ff);
    hd_tensor y = rows_of(s, h.rows, m->cfg.d_model);
    hd_tensor act = hd_tensor_cols(gate_up, 0, ff);
    linear(s, gate_up, h, w->shared_gate_up, NULL);
    s->be->ops->glu(s->be, act, gate_up, (hd_act){.kind = HD_ACT_SILU});
    linear(s, y, act, w->shared_down, NULL);
    s->be->ops->add(s->be, out, y, 1);
    hd_scratch_release(s->tmp, mark);
}

void hd_block_moe(const hd_model *m, hd_step *s, const hd_moe *w, hd_tensor x, hd_tensor delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const hd_moe_cfg *e = &m->cfg.moe;
    const hd_gate gate = {
        .n_experts = e->n_experts,
        .n_active = e->n_active,
        .n_group = e->n_group,
        .topk_group = e->topk_group,
        .score = e->score,
        .group = e->group,
        .normalize = e->normalize,
        .scale = (float)e->scale,
        .bias = w->router_bias,
    };
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor h = rows_of(s, x.rows, m->cfg.d_model);
    hd_tensor scores = rows_of(s, x.rows, e->n_experts);
    hd_tensor ids = hd_scratch_tensor(s->tmp, HD_I32, x.rows, e->n_active);
    hd_tensor wts = rows_of(s, x.rows, e->n_active);
    rmsnorm(m, s, h, x, &delta, w->norm);
    linear(s, scores, h, w->router, NULL);
    ops->moe_route(s->be, ids, wts, scores, &gate);
    ops->moe_ffn(s->be, delta, h, ids, wts, w->gate_up, w->down, (hd_act){.kind = HD_ACT_SILU});
    if (w->shared_gate_up) add_shared(m, s, w, h, delta);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

// ---- head ----------------------------------------------------------------------------------

void hd_block_head(const hd_model *m, hd_step *s, const hd_weight *norm, const hd_weight *head,
                   hd_tensor x, hd_tensor delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const int32_t n = s->batch->n_out, d = m->cfg.d_model;
    size_t mark = hd_scratch_mark(s->tmp);

    // Gathered even when every row is wanted, so that the need of scratch only grows with n_out.
    hd_tensor rows = rows_of(s, n, d);
    hd_tensor add = rows_of(s, n, d);
    ops->gather(s->be, rows, x, s->batch->out_row);
    ops->gather(s->be, add, delta, s->batch->out_row);
    hd_tensor hidden = s->hidden.data ? s->hidden : rows;
    rmsnorm(m, s, hidden, rows, &add, norm);
    linear(s, s->logits, hidden, head, NULL);
    hd_scratch_release(s->tmp, mark);
}
