// Binding and forward pass of all families: a stack of layers, each with grouped-query or latent
// attention and a dense or a mixture-of-experts feed-forward. How files describe the model is in
// dense.c and sparse.c, the maths of a layer in blocks.c.
#include "models/arch/decoder.h"

#include "kernels/base/mem.h"
#include "models/blocks.h"
#include "models/weights/binder.h"

#include <stdio.h>

typedef struct decoder_layer { // of each pair one is bound
    hd_gqa gqa;
    hd_latent_attn mla;
    hd_ffn ffn;
    hd_moe moe;
} decoder_layer;

typedef struct decoder {
    hd_weight *embed, *norm;
    hd_weight *head; // NULL when tied: the embedding serves
    decoder_layer layer[];
} decoder;

static bool is_latent(const hd_model_cfg *c)
{
    return c->mla.d_latent > 0;
}

void hd_decoder_kv_spec(const hd_model_cfg *cfg, int layer, hd_kv_spec *out)
{
    (void)layer;
    *out = (hd_kv_spec){.n_planes = is_latent(cfg) ? 1 : 2};
    for (int i = 0; i < out->n_planes; i++) {
        out->plane[i].width =
            is_latent(cfg) ? cfg->mla.d_latent + cfg->mla.d_rope : cfg->n_kv_heads * cfg->d_head;
        out->plane[i].ratio = 1;
    }
}

// ---- names ---------------------------------------------------------------------------------

typedef struct names { // between the layer number and ".weight" or ".bias"
    const char *embed, *norm, *head;
    const char *layer; // prefix of the layer number
    const char *attn_norm, *q, *k, *v, *o, *q_norm, *k_norm;
    const char *q_a, *q_a_norm, *q_b, *kv_a, *kv_a_norm, *kv_b;
    const char *ffn_norm, *gate, *up, *down;
    const char *router, *router_bias; // the bias with its suffix
    const char *expert_gate, *expert_up, *expert_down;
    const char *shared_gate, *shared_up, *shared_down;
} names;

static const names hf_names = {
    .embed = "model.embed_tokens.weight",
    .norm = "model.norm.weight",
    .head = "lm_head.weight",
    .layer = "model.layers.",
    .attn_norm = "input_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .q_a = "self_attn.q_a_proj",
    .q_a_norm = "self_attn.q_a_layernorm",
    .q_b = "self_attn.q_b_proj",
    .kv_a = "self_attn.kv_a_proj_with_mqa",
    .kv_a_norm = "self_attn.kv_a_layernorm",
    .kv_b = "self_attn.kv_b_proj",
    .ffn_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .router = "mlp.gate",
    .router_bias = "mlp.gate.e_score_correction_bias",
    .expert_gate = "mlp.experts.#.gate_proj",
    .expert_up = "mlp.experts.#.up_proj",
    .expert_down = "mlp.experts.#.down_proj",
    .shared_gate = "mlp.shared_experts.gate_proj",
    .shared_up = "mlp.shared_experts.up_proj",
    .shared_down = "mlp.shared_experts.down_proj",
};

static const names gguf_names = {
    .embed = "token_embd.weight",
    .norm = "output_norm.weight",
    .head = "output.weight",
    .layer = "blk.",
    .attn_norm = "attn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .q_norm = "attn_q_norm",
    .k_norm = "attn_k_norm",
    .q_a = "attn_q_a",
    .q_a_norm = "attn_q_a_norm",
    .q_b = "attn_q_b",
    .kv_a = "attn_kv_a_mqa",
    .kv_a_norm = "attn_kv_a_norm",
    .kv_b = "attn_kv_b",
    .ffn_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .router = "ffn_gate_inp",
    .router_bias = "exp_probs_b.bias",
    .expert_gate = "ffn_gate_exps",
    .expert_up = "ffn_up_exps",
    .expert_down = "ffn_down_exps",
    .shared_gate = "ffn_gate_shexp",
    .shared_up = "ffn_up_shexp",
    .shared_down = "ffn_down_shexp",
};

enum { NAME_MAX_LEN = 96, MAX_PARTS = 3 };

typedef struct binding { // where in the model hd_bind calls are
    hd_binder *b;
    const names *n;
    int layer;
} binding;

typedef struct part_names {
    char text[MAX_PARTS][NAME_MAX_LEN];
    hd_bind_part part[MAX_PARTS];
} part_names;

static void complete(const binding *at, const hd_bind_part *stems, int n, const char *suffix,
                     part_names *out)
{
    HD_ASSERT(n <= MAX_PARTS);
    for (int i = 0; i < n; i++) {
        snprintf(out->text[i], NAME_MAX_LEN, "%s%d.%s.%s", at->n->layer, at->layer, stems[i].name,
                 suffix);
        out->part[i] = stems[i];
        out->part[i].name = out->text[i];
    }
}

// ---- binding -------------------------------------------------------------------------------

static void bind_matrix(const binding *at, hd_weight **slot, hd_weight_use use, hd_shard how,
                        const char *stem, int32_t n_out, int32_t n_in)
{
    hd_bind(at->b, slot, use, how, 1, n_out, n_in, "%s%d.%s.weight", at->n->layer, at->layer, stem);
}

static void bind_vector(const binding *at, hd_weight **slot, const char *stem, const char *suffix,
                        int32_t n)
{
    hd_bind(at->b, slot, HD_USE_VECTOR, HD_SHARD_NONE, 1, n, 1, "%s%d.%s.%s", at->n->layer,
            at->layer, stem, suffix);
}

static void bind_fused(const binding *at, hd_weight **slot, hd_weight_use use, const char *suffix,
                       const hd_bind_part *stems, int n, int32_t n_in)
{
    part_names p;
    complete(at, stems, n, suffix, &p);
    hd_bind_parts(at->b, slot, use, HD_SHARD_ROWS, p.part, n, n_in);
}

static void bind_stack(const binding *at, hd_weight **slot, hd_weight_use use, hd_shard how,
                       int32_t n_mat, const hd_bind_part *stems, int n, int32_t n_in)
{
    part_names p;
    complete(at, stems, n, "weight", &p);
    hd_bind_stack(at->b, slot, use, how, n_mat, p.part, n, n_in);
}

static void bind_gqa(const binding *at, const hd_model_cfg *c, hd_gqa *w)
{
    const int32_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    const hd_bind_part qkv[] = {{at->n->q, q, false}, {at->n->k, kv, false}, {at->n->v, kv, false}};
    bind_vector(at, &w->norm, at->n->attn_norm, "weight", d);
    bind_fused(at, &w->qkv, HD_USE_ATTENTION, "weight", qkv, 3, d);
    if (c->bias_qkv) bind_fused(at, &w->qkv_bias, HD_USE_VECTOR, "bias", qkv, 3, 1);
    if (c->qk_norm) {
        bind_vector(at, &w->q_norm, at->n->q_norm, "weight", c->d_head);
        bind_vector(at, &w->k_norm, at->n->k_norm, "weight", c->d_head);
    }
    bind_matrix(at, &w->o, HD_USE_ATTENTION, HD_SHARD_COLS, at->n->o, d, q);
    if (c->bias_o) bind_vector(at, &w->o_bias, at->n->o, "bias", d);
}

// One tensor of every head's up-projections; or, in newer GGUF files, two, of which the keys' is
// transposed, as absorbing the query wants it. Some files have both; then the one serves.
static void bind_kv_b(const binding *at, const hd_model_cfg *c, hd_weight **slot)
{
    const hd_mla_cfg *a = &c->mla;
    const int32_t rows[] = {a->d_nope, a->d_v};
    const hd_bind_part split[] = {{"attn_k_b", a->d_nope, true}, {"attn_v_b", a->d_v, false}};
    char name[NAME_MAX_LEN];
    snprintf(name, sizeof(name), "%s%d.%s.weight", at->n->layer, at->layer, at->n->kv_b);
    if (c->from_gguf && !hd_binder_has(at->b, true, name)) {
        bind_stack(at, slot, HD_USE_LATENT, HD_SHARD_ROWS, c->n_heads, split, 2, a->d_latent);
        return;
    }
    hd_bind_rows(at->b, slot, HD_USE_LATENT, HD_SHARD_ROWS, c->n_heads, rows, 2, a->d_latent, name);
}

static void bind_mla(const binding *at, const hd_model_cfg *c, hd_latent_attn *w)
{
    const names *n = at->n;
    const hd_mla_cfg *a = &c->mla;
    const int32_t d = c->d_model, q = c->n_heads * c->d_head, kv = a->d_latent + a->d_rope;
    bind_vector(at, &w->norm, n->attn_norm, "weight", d);
    if (a->q_lora > 0) {
        bind_matrix(at, &w->q_a, HD_USE_ATTENTION, HD_SHARD_NONE, n->q_a, a->q_lora, d);
        if (c->bias_qkv) bind_vector(at, &w->q_a_bias, n->q_a, "bias", a->q_lora);
        bind_vector(at, &w->q_norm, n->q_a_norm, "weight", a->q_lora);
        bind_matrix(at, &w->q_b, HD_USE_ATTENTION, HD_SHARD_ROWS, n->q_b, q, a->q_lora);
    } else {
        bind_matrix(at, &w->q, HD_USE_ATTENTION, HD_SHARD_ROWS, n->q, q, d);
    }
    bind_matrix(at, &w->kv_a, HD_USE_ATTENTION, HD_SHARD_NONE, n->kv_a, kv, d);
    if (c->bias_qkv) bind_vector(at, &w->kv_a_bias, n->kv_a, "bias", kv);
    bind_vector(at, &w->kv_norm, n->kv_a_norm, "weight", a->d_latent);
    bind_kv_b(at, c, &w->kv_b);
    bind_matrix(at, &w->o, HD_USE_ATTENTION, HD_SHARD_COLS, n->o, d, c->n_heads * a->d_v);
    if (c->bias_o) bind_vector(at, &w->o_bias, n->o, "bias", d);
}

static void bind_ffn(const binding *at, const hd_model_cfg *c, hd_ffn *w)
{
    const int32_t d = c->d_model, ff = c->d_ff;
    const hd_bind_part gate_up[] = {{at->n->gate, ff, false}, {at->n->up, ff, false}};
    bind_vector(at, &w->norm, at->n->ffn_norm, "weight", d);
    bind_fused(at, &w->gate_up, HD_USE_MATRIX, "weight", gate_up, 2, d);
    bind_matrix(at, &w->down, HD_USE_MATRIX, HD_SHARD_COLS, at->n->down, d, ff);
    if (!c->bias_mlp) return;
    bind_fused(at, &w->gate_up_bias, HD_USE_VECTOR, "bias", gate_up, 2, 1);
    bind_vector(at, &w->down_bias, at->n->down, "bias", d);
}

static void bind_moe(const binding *at, const hd_model_cfg *c, hd_moe *w)
{
    const names *n = at->n;
    const int32_t d = c->d_model, ff = c->moe.d_expert, experts = c->moe.n_experts;
    const int32_t shared = c->moe.n_shared * ff;
    const hd_bind_part gate_up[] = {{n->expert_gate, ff, false}, {n->expert_up, ff, false}};
    const hd_bind_part down[] = {{n->expert_down, d, false}};
    const hd_bind_part both[] = {{n->shared_gate, shared, false}, {n->shared_up, shared, false}};
    bind_vector(at, &w->norm, n->ffn_norm, "weight", d);
    bind_matrix(at, &w->router, HD_USE_ROUTER, HD_SHARD_NONE, n->router, experts, d);
    if (c->moe.bias)
        hd_bind(at->b, &w->router_bias, HD_USE_VECTOR, HD_SHARD_NONE, 1, experts, 1, "%s%d.%s",
                n->layer, at->layer, n->router_bias);
    bind_stack(at, &w->gate_up, HD_USE_EXPERT, HD_SHARD_EXPERTS, experts, gate_up, 2, d);
    bind_stack(at, &w->down, HD_USE_EXPERT, HD_SHARD_EXPERTS, experts, down, 1, ff);
    if (shared == 0) return;
    bind_fused(at, &w->shared_gate_up, HD_USE_MATRIX, "weight", both, 2, d);
    bind_matrix(at, &w->shared_down, HD_USE_MATRIX, HD_SHARD_COLS, n->shared_down, d, shared);
}

// GGUF metadata does not say whether the head is tied or which biases exist: the tensors do.
static void settle_gguf(hd_model_cfg *c, const hd_binder *b)
{
    char name[NAME_MAX_LEN];
    c->tied = !hd_binder_has(b, !c->tied, gguf_names.head);
    for (int l = 0; l < c->n_layers && c->moe.bias; l++) {
        if (!hd_cfg_is_sparse(c, l)) continue;
        snprintf(name, sizeof(name), "blk.%d.%s", l, gguf_names.router_bias);
        c->moe.bias = hd_binder_has(b, true, name);
        break;
    }
    if (is_latent(c)) return;
    c->bias_qkv = hd_binder_has(b, c->bias_qkv, "blk.0.attn_q.bias");
    c->bias_o = hd_binder_has(b, c->bias_o, "blk.0.attn_output.bias");
    c->bias_mlp = hd_binder_has(b, c->bias_mlp, "blk.0.ffn_gate.bias");
}

static void bind_layer(const binding *at, const hd_model_cfg *c, decoder_layer *w)
{
    if (is_latent(c))
        bind_mla(at, c, &w->mla);
    else
        bind_gqa(at, c, &w->gqa);
    if (hd_cfg_is_sparse(c, at->layer))
        bind_moe(at, c, &w->moe);
    else
        bind_ffn(at, c, &w->ffn);
}

hd_status hd_decoder_bind(hd_model *m, hd_binder *b, hd_err *err)
{
    hd_model_cfg *c = &m->cfg;
    const names *n = c->from_gguf ? &gguf_names : &hf_names;
    decoder *w = hd_calloc(1, sizeof(decoder) + (size_t)c->n_layers * sizeof(decoder_layer));
    HD_CHECK(w, err, HD_E_NOMEM, "no memory for the tables of %d layers", c->n_layers);
    m->layers = w;
    if (c->from_gguf) settle_gguf(c, b);
    if (c->fp8_rows > 0) hd_binder_set_fp8(b, c->fp8_rows, c->fp8_cols);
    hd_bind(b, &w->embed, HD_USE_EMBEDDING, HD_SHARD_NONE, 1, c->vocab, c->d_model, "%s", n->embed);
    for (int l = 0; l < c->n_layers; l++)
        bind_layer(&(binding){b, n, l}, c, &w->layer[l]);
    for (int l = c->n_layers; l < c->n_layers + c->n_mtp; l++) {
        char prefix[NAME_MAX_LEN];
        snprintf(prefix, sizeof(prefix), "%s%d.", n->layer, l);
        hd_binder_skip(b, prefix);
    }
    hd_bind(b, &w->norm, HD_USE_VECTOR, HD_SHARD_NONE, 1, c->d_model, 1, "%s", n->norm);
    if (!c->tied)
        hd_bind(b, &w->head, HD_USE_HEAD, HD_SHARD_ROWS, 1, c->vocab, c->d_model, "%s", n->head);
    return HD_OK;
}

// ---- forward -------------------------------------------------------------------------------

void hd_decoder_forward(hd_model *m, hd_step *s)
{
    const decoder *w = m->layers;
    const hd_model_cfg *c = &m->cfg;
    size_t mark = hd_scratch_mark(s->tmp);
    hd_tensor x = hd_scratch_tensor(s->tmp, HD_F32, s->batch->n_tokens, c->d_model);
    hd_tensor delta = hd_scratch_tensor(s->tmp, HD_F32, s->batch->n_tokens, c->d_model);

    s->be->ops->embed(s->be, x, w->embed, s->batch->token);
    for (int l = 0; l < c->n_layers; l++) {
        const decoder_layer *layer = &w->layer[l];
        if (is_latent(c))
            hd_block_mla(m, s, &layer->mla, s->kv + l, x, delta, l > 0);
        else
            hd_block_gqa(m, s, &layer->gqa, s->kv + 2 * l, x, delta, l > 0);
        if (hd_cfg_is_sparse(c, l))
            hd_block_moe(m, s, &layer->moe, x, delta);
        else
            hd_block_ffn(m, s, &layer->ffn, x, delta);
    }
    hd_block_head(m, s, w->norm, w->head ? w->head : w->embed, x, delta);
    hd_scratch_release(s->tmp, mark);
}

// ---- unbinding -----------------------------------------------------------------------------

static void free_all(hd_backend *be, hd_weight *const *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        be->ops->weight_free(be, w[i]);
}

static void unbind_layer(hd_backend *be, const decoder_layer *w)
{
    const hd_gqa *g = &w->gqa;
    const hd_latent_attn *a = &w->mla;
    const hd_ffn *f = &w->ffn;
    const hd_moe *e = &w->moe;
    hd_weight *const all[] = {
        g->norm,       g->qkv,          g->qkv_bias,  g->q_norm,    g->k_norm,
        g->o,          g->o_bias,       a->norm,      a->q,         a->q_a,
        a->q_norm,     a->q_b,          a->kv_a,      a->kv_norm,   a->kv_b,
        a->o,          a->q_a_bias,     a->kv_a_bias, a->o_bias,    f->norm,
        f->gate_up,    f->gate_up_bias, f->down,      f->down_bias, e->norm,
        e->router,     e->router_bias,  e->gate_up,   e->down,      e->shared_gate_up,
        e->shared_down};
    free_all(be, all, sizeof(all) / sizeof(all[0]));
}

void hd_decoder_unbind(hd_model *m)
{
    decoder *w = m->layers;
    if (!w) return;
    for (int l = 0; l < m->cfg.n_layers; l++)
        unbind_layer(m->be, &w->layer[l]);
    free_all(m->be, (hd_weight *const[]){w->embed, w->norm, w->head}, 3);
    hd_free(w);
    m->layers = NULL;
}
