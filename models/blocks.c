// Grouped-query attention, dense feed-forward and the head, as calls on the backend's table.
//
// Scratch of a block is released at its end, so every layer works at the same addresses. Within a
// block, what is needed longest is taken first and the rest shares the space behind it.
#include "models/blocks.h"

#include <math.h>

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

void hd_block_gqa(const hd_model *m, hd_step *s, const hd_gqa *w, const hd_kv_plane *kv,
                  hd_tensor x, hd_tensor delta, bool add_delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const hd_model_cfg *c = &m->cfg;
    const int32_t n = x.rows, dh = c->d_head;
    const int32_t q_cols = c->n_heads * dh, kv_cols = c->n_kv_heads * dh;
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor qkv = hd_scratch_tensor(s->tmp, HD_F32, n, q_cols + 2 * kv_cols);
    hd_tensor q = hd_tensor_cols(qkv, 0, q_cols);
    hd_tensor k = hd_tensor_cols(qkv, q_cols, kv_cols);
    hd_tensor v = hd_tensor_cols(qkv, q_cols + kv_cols, kv_cols);

    size_t inner = hd_scratch_mark(s->tmp);
    hd_tensor h = hd_scratch_tensor(s->tmp, HD_F32, n, c->d_model);
    rmsnorm(m, s, h, x, add_delta ? &delta : NULL, w->norm);
    linear(s, qkv, h, w->qkv, w->qkv_bias);
    hd_scratch_release(s->tmp, inner);

    if (w->q_norm) rmsnorm(m, s, q, q, NULL, w->q_norm);
    if (w->k_norm) rmsnorm(m, s, k, k, NULL, w->k_norm);
    // q and k lie side by side and turn alike.
    ops->rope(s->be, hd_tensor_cols(qkv, 0, q_cols + kv_cols), s->batch->pos, &m->rope);
    ops->kv_store(s->be, &kv[0], k, s->batch);
    ops->kv_store(s->be, &kv[1], v, s->batch);

    hd_tensor heads = hd_scratch_tensor(s->tmp, HD_F32, n, q_cols);
    hd_attn attn = {
        .n_heads = c->n_heads,
        .n_kv = c->n_kv_heads,
        .d_qk = dh,
        .d_v = dh,
        .scale = 1 / sqrtf((float)dh),
        .k_plane = &kv[0],
        .v_plane = &kv[1],
    };
    ops->attn(s->be, heads, q, &attn, s->batch);
    linear(s, delta, heads, w->o, w->o_bias);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

void hd_block_ffn(const hd_model *m, hd_step *s, const hd_ffn *w, hd_tensor x, hd_tensor delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const int32_t n = x.rows, ff = m->cfg.d_ff;
    size_t mark = hd_scratch_mark(s->tmp);

    hd_tensor gate_up = hd_scratch_tensor(s->tmp, HD_F32, n, 2 * ff);
    hd_tensor h = hd_scratch_tensor(s->tmp, HD_F32, n, m->cfg.d_model);
    rmsnorm(m, s, h, x, &delta, w->norm);
    linear(s, gate_up, h, w->gate_up, w->gate_up_bias);
    hd_tensor act = hd_tensor_cols(gate_up, 0, ff);
    ops->glu(s->be, act, gate_up, (hd_act){.kind = HD_ACT_SILU});
    linear(s, delta, act, w->down, w->down_bias);
    all_reduce(s, delta);
    hd_scratch_release(s->tmp, mark);
}

void hd_block_head(const hd_model *m, hd_step *s, const hd_weight *norm, const hd_weight *head,
                   hd_tensor x, hd_tensor delta)
{
    const hd_backend_ops *ops = s->be->ops;
    const int32_t n = s->batch->n_out, d = m->cfg.d_model;
    size_t mark = hd_scratch_mark(s->tmp);

    // Gathered even when every row is wanted, so that the need of scratch only grows with n_out.
    hd_tensor rows = hd_scratch_tensor(s->tmp, HD_F32, n, d);
    hd_tensor add = hd_scratch_tensor(s->tmp, HD_F32, n, d);
    ops->gather(s->be, rows, x, s->batch->out_row);
    ops->gather(s->be, add, delta, s->batch->out_row);
    hd_tensor hidden = s->hidden.data ? s->hidden : rows;
    rmsnorm(m, s, hidden, rows, &add, norm);
    linear(s, s->logits, hidden, head, NULL);
    hd_scratch_release(s->tmp, mark);
}
