// The dense decoder: configuration, tensor names, binding and the forward pass of llama, qwen2 and
// qwen3. What differs between them is in hd_dense_family and, from then on, in hd_model_cfg.
#include "models/arch/dense.h"

#include "kernels/base/mem.h"
#include "models/blocks.h"
#include "models/config_read.h"
#include "models/weights/binder.h"

#include <stdio.h>

typedef struct dense_layer {
    hd_gqa attn;
    hd_ffn ffn;
} dense_layer;

typedef struct dense {
    hd_weight *embed, *norm;
    hd_weight *head; // NULL when tied: the embedding serves
    dense_layer layer[];
} dense;

// ---- configuration -------------------------------------------------------------------------

static int32_t or_else(int32_t v, int32_t otherwise)
{
    return v > 0 ? v : otherwise;
}

static hd_status configure_sizes(const hd_dense_family *f, hd_model_cfg *c, const hd_json *j,
                                 hd_err *err)
{
    HD_TRY(hd_config_i32(j, "hidden_size", HD_JSON_REQUIRED, 1, HD_MAX_DIM, &c->d_model, err));
    HD_TRY(hd_config_i32(j, "num_hidden_layers", HD_JSON_REQUIRED, 1, HD_MAX_LAYERS, &c->n_layers,
                         err));
    HD_TRY(
        hd_config_i32(j, "num_attention_heads", HD_JSON_REQUIRED, 1, HD_MAX_DIM, &c->n_heads, err));
    HD_TRY(hd_config_i32(j, "intermediate_size", HD_JSON_REQUIRED, 1, HD_MAX_DIM, &c->d_ff, err));
    HD_TRY(hd_config_i32(j, "vocab_size", HD_JSON_REQUIRED, 1, HD_MAX_VOCAB, &c->vocab, err));
    // An absent field means the family's default, an explicit null as many as there are heads.
    c->n_kv_heads =
        hd_json_get(j, "num_key_value_heads") ? c->n_heads : or_else(f->n_kv_heads, c->n_heads);
    HD_TRY(hd_config_i32(j, "num_key_value_heads", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &c->n_kv_heads,
                         err));
    c->d_head = or_else(f->d_head, c->d_model / c->n_heads);
    HD_TRY(hd_config_i32(j, "head_dim", HD_JSON_OPTIONAL, 1, HD_MAX_DIM, &c->d_head, err));
    c->max_context = f->max_context;
    return hd_config_i32(j, "max_position_embeddings", HD_JSON_OPTIONAL, 1, HD_MAX_CONTEXT,
                         &c->max_context, err);
}

hd_status hd_dense_configure(const hd_dense_family *f, hd_model_cfg *c, const hd_json *j,
                             hd_err *err)
{
    bool attn_bias = false;
    HD_TRY(hd_config_refuse_json(j, err));
    HD_TRY(configure_sizes(f, c, j, err));
    c->norm_eps = 1e-6;
    HD_TRY(hd_json_field_f64(j, "rms_norm_eps", HD_JSON_OPTIONAL, 1e-30, 0.1, &c->norm_eps, err));
    HD_TRY(hd_json_field_bool(j, "tie_word_embeddings", HD_JSON_OPTIONAL, &c->tied, err));
    if (f->reads_attn_bias)
        HD_TRY(hd_json_field_bool(j, "attention_bias", HD_JSON_OPTIONAL, &attn_bias, err));
    if (f->reads_mlp_bias)
        HD_TRY(hd_json_field_bool(j, "mlp_bias", HD_JSON_OPTIONAL, &c->bias_mlp, err));
    c->bias_qkv = f->bias_qkv || attn_bias;
    c->bias_o = attn_bias;
    c->qk_norm = f->qk_norm;
    if (f->reads_window) HD_TRY(hd_config_window_json(j, c->n_layers, c->max_context, err));
    return hd_config_rope_json(j, c->max_context, &c->rope, err);
}

// Things some writers put under the same architecture name and that this recipe does not compute.
static hd_status refuse_gguf(const hd_gguf *g, const char *arch, const hd_model_cfg *c, hd_err *err)
{
    int32_t experts = 0, d_v = c->d_head, n_rot = c->d_head, window = 0;
    HD_TRY(
        hd_config_gguf_i32(g, arch, "expert_count", HD_JSON_OPTIONAL, 0, INT32_MAX, &experts, err));
    HD_CHECK(experts == 0, err, HD_E_UNSUPPORTED,
             "key '%s.expert_count': found %d, expected 0: mixture-of-experts models of this "
             "architecture are not supported",
             arch, experts);
    HD_TRY(hd_config_gguf_i32(g, arch, "attention.value_length", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &d_v, err));
    HD_CHECK(d_v == c->d_head, err, HD_E_UNSUPPORTED,
             "key '%s.attention.value_length': found %d, expected the key length %d", arch, d_v,
             c->d_head);
    HD_TRY(hd_config_gguf_i32(g, arch, "rope.dimension_count", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &n_rot, err));
    HD_CHECK(n_rot == c->d_head, err, HD_E_UNSUPPORTED,
             "key '%s.rope.dimension_count': found %d, expected the head width %d", arch, n_rot,
             c->d_head);
    HD_TRY(hd_config_gguf_i32(g, arch, "attention.sliding_window", HD_JSON_OPTIONAL, 0, INT32_MAX,
                              &window, err));
    HD_CHECK(window == 0 || window >= c->max_context, err, HD_E_UNSUPPORTED,
             "key '%s.attention.sliding_window': found %d, expected none below the context of %d",
             arch, window, c->max_context);
    return HD_OK;
}

hd_status hd_dense_configure_gguf(const hd_dense_family *f, hd_model_cfg *c, const hd_gguf *g,
                                  hd_err *err)
{
    const char *a = f->gguf_name;
    HD_TRY(hd_config_gguf_i32(g, a, "embedding_length", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &c->d_model, err));
    HD_TRY(hd_config_gguf_i32(g, a, "block_count", HD_JSON_REQUIRED, 1, HD_MAX_LAYERS, &c->n_layers,
                              err));
    HD_TRY(hd_config_gguf_i32(g, a, "feed_forward_length", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &c->d_ff, err));
    HD_TRY(hd_config_gguf_i32(g, a, "context_length", HD_JSON_REQUIRED, 1, HD_MAX_CONTEXT,
                              &c->max_context, err));
    HD_TRY(hd_config_gguf_i32(g, a, "attention.head_count", HD_JSON_REQUIRED, 1, HD_MAX_DIM,
                              &c->n_heads, err));
    c->n_kv_heads = c->n_heads;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.head_count_kv", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &c->n_kv_heads, err));
    c->d_head = c->d_model / c->n_heads;
    HD_TRY(hd_config_gguf_i32(g, a, "attention.key_length", HD_JSON_OPTIONAL, 1, HD_MAX_DIM,
                              &c->d_head, err));
    HD_TRY(hd_config_gguf_f64(g, a, "attention.layer_norm_rms_epsilon", HD_JSON_REQUIRED, 1e-30,
                              0.1, &c->norm_eps, err));
    HD_TRY(hd_config_gguf_vocab(g, a, &c->vocab, err));
    HD_TRY(refuse_gguf(g, a, c, err));
    HD_TRY(hd_config_rope_gguf(g, a, c->max_context, &c->rope, err));
    c->rope.pairing = f->gguf_pairing;
    c->bias_qkv = f->bias_qkv;
    c->qk_norm = f->qk_norm;
    return HD_OK;
}

void hd_dense_kv_spec(const hd_model_cfg *cfg, int layer, hd_kv_spec *out)
{
    (void)layer;
    *out = (hd_kv_spec){.n_planes = 2};
    for (int i = 0; i < 2; i++) {
        out->plane[i].width = cfg->n_kv_heads * cfg->d_head;
        out->plane[i].ratio = 1;
    }
}

// ---- binding -------------------------------------------------------------------------------

typedef struct names { // between the layer number and ".weight" or ".bias"
    const char *embed, *norm, *head;
    const char *layer; // prefix of the layer number
    const char *attn_norm, *q, *k, *v, *o, *q_norm, *k_norm;
    const char *ffn_norm, *gate, *up, *down;
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
    .ffn_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
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
    .ffn_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
};

enum { NAME_MAX_LEN = 96, MAX_PARTS = 3 };

typedef struct binding { // where in the model hd_bind calls are
    hd_binder *b;
    const names *n;
    int layer;
} binding;

static void bind_one(const binding *at, hd_weight **slot, hd_weight_use use, hd_shard how,
                     const char *stem, const char *suffix, int32_t n_out, int32_t n_in)
{
    hd_bind(at->b, slot, use, how, 1, n_out, n_in, "%s%d.%s.%s", at->n->layer, at->layer, stem,
            suffix);
}

static void bind_fused(const binding *at, hd_weight **slot, hd_weight_use use, const char *suffix,
                       const hd_bind_part *stems, int n, int32_t n_in)
{
    char text[MAX_PARTS][NAME_MAX_LEN];
    hd_bind_part parts[MAX_PARTS];
    HD_ASSERT(n <= MAX_PARTS);
    for (int i = 0; i < n; i++) {
        snprintf(text[i], NAME_MAX_LEN, "%s%d.%s.%s", at->n->layer, at->layer, stems[i].name,
                 suffix);
        parts[i] = (hd_bind_part){text[i], stems[i].n_out};
    }
    hd_bind_parts(at->b, slot, use, HD_SHARD_ROWS, parts, n, n_in);
}

static void bind_attn(const binding *at, const hd_model_cfg *c, hd_gqa *w)
{
    const int32_t d = c->d_model, q = c->n_heads * c->d_head, kv = c->n_kv_heads * c->d_head;
    const hd_bind_part qkv[] = {{at->n->q, q}, {at->n->k, kv}, {at->n->v, kv}};
    bind_one(at, &w->norm, HD_USE_VECTOR, HD_SHARD_NONE, at->n->attn_norm, "weight", d, 1);
    bind_fused(at, &w->qkv, HD_USE_MATRIX, "weight", qkv, 3, d);
    if (c->bias_qkv) bind_fused(at, &w->qkv_bias, HD_USE_VECTOR, "bias", qkv, 3, 1);
    if (c->qk_norm) {
        bind_one(at, &w->q_norm, HD_USE_VECTOR, HD_SHARD_NONE, at->n->q_norm, "weight", c->d_head,
                 1);
        bind_one(at, &w->k_norm, HD_USE_VECTOR, HD_SHARD_NONE, at->n->k_norm, "weight", c->d_head,
                 1);
    }
    bind_one(at, &w->o, HD_USE_MATRIX, HD_SHARD_COLS, at->n->o, "weight", d, q);
    if (c->bias_o) bind_one(at, &w->o_bias, HD_USE_VECTOR, HD_SHARD_NONE, at->n->o, "bias", d, 1);
}

static void bind_ffn(const binding *at, const hd_model_cfg *c, hd_ffn *w)
{
    const int32_t d = c->d_model, ff = c->d_ff;
    const hd_bind_part gate_up[] = {{at->n->gate, ff}, {at->n->up, ff}};
    bind_one(at, &w->norm, HD_USE_VECTOR, HD_SHARD_NONE, at->n->ffn_norm, "weight", d, 1);
    bind_fused(at, &w->gate_up, HD_USE_MATRIX, "weight", gate_up, 2, d);
    bind_one(at, &w->down, HD_USE_MATRIX, HD_SHARD_COLS, at->n->down, "weight", d, ff);
    if (!c->bias_mlp) return;
    bind_fused(at, &w->gate_up_bias, HD_USE_VECTOR, "bias", gate_up, 2, 1);
    bind_one(at, &w->down_bias, HD_USE_VECTOR, HD_SHARD_NONE, at->n->down, "bias", d, 1);
}

// GGUF metadata does not say whether the head is tied or which biases exist: the tensors do.
static void settle_gguf(hd_model_cfg *c, const hd_binder *b)
{
    c->tied = !hd_binder_has(b, !c->tied, gguf_names.head);
    c->bias_qkv = hd_binder_has(b, c->bias_qkv, "blk.0.attn_q.bias");
    c->bias_o = hd_binder_has(b, c->bias_o, "blk.0.attn_output.bias");
    c->bias_mlp = hd_binder_has(b, c->bias_mlp, "blk.0.ffn_gate.bias");
}

hd_status hd_dense_bind(hd_model *m, hd_binder *b, hd_err *err)
{
    hd_model_cfg *c = &m->cfg;
    const names *n = c->from_gguf ? &gguf_names : &hf_names;
    dense *w = hd_calloc(1, sizeof(dense) + (size_t)c->n_layers * sizeof(dense_layer));
    HD_CHECK(w, err, HD_E_NOMEM, "no memory for the tables of %d layers", c->n_layers);
    m->layers = w;
    if (c->from_gguf) settle_gguf(c, b);
    hd_bind(b, &w->embed, HD_USE_EMBEDDING, HD_SHARD_NONE, 1, c->vocab, c->d_model, "%s", n->embed);
    for (int l = 0; l < c->n_layers; l++) {
        binding at = {b, n, l};
        bind_attn(&at, c, &w->layer[l].attn);
        bind_ffn(&at, c, &w->layer[l].ffn);
    }
    hd_bind(b, &w->norm, HD_USE_VECTOR, HD_SHARD_NONE, 1, c->d_model, 1, "%s", n->norm);
    if (!c->tied)
        hd_bind(b, &w->head, HD_USE_HEAD, HD_SHARD_ROWS, 1, c->vocab, c->d_model, "%s", n->head);
    return HD_OK;
}

void hd_dense_unbind(hd_model *m)
{
    dense *w = m->layers;
    if (!w) return;
    const hd_backend_ops *ops = m->be->ops;
    for (int l = 0; l < m->cfg.n_layers; l++) {
        const hd_gqa *a = &w->layer[l].attn;
        const hd_ffn *f = &w->layer[l].ffn;
        hd_weight *all[] = {a->norm, a->qkv,      a->qkv_bias, a->q_norm,  a->k_norm,
                            a->o,    a->o_bias,   f->norm,     f->gate_up, f->gate_up_bias,
                            f->down, f->down_bias};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
            ops->weight_free(m->be, all[i]);
    }
    ops->weight_free(m->be, w->embed);
    ops->weight_free(m->be, w->norm);
    ops->weight_free(m->be, w->head);
    hd_free(w);
    m->layers = NULL;
}

// ---- forward -------------------------------------------------------------------------------

void hd_dense_forward(hd_model *m, hd_step *s)
{
    const dense *w = m->layers;
    const hd_model_cfg *c = &m->cfg;
    size_t mark = hd_scratch_mark(s->tmp);
    hd_tensor x = hd_scratch_tensor(s->tmp, HD_F32, s->batch->n_tokens, c->d_model);
    hd_tensor delta = hd_scratch_tensor(s->tmp, HD_F32, s->batch->n_tokens, c->d_model);

    s->be->ops->embed(s->be, x, w->embed, s->batch->token);
    for (int l = 0; l < c->n_layers; l++) {
        hd_block_gqa(m, s, &w->layer[l].attn, s->kv + 2 * l, x, delta, l > 0);
        hd_block_ffn(m, s, &w->layer[l].ffn, x, delta);
    }
    hd_block_head(m, s, w->norm, w->head ? w->head : w->embed, x, delta);
    hd_scratch_release(s->tmp, mark);
}
