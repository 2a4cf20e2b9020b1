#include "tests/unit/tiny_model.h"

#include "kernels/base/json.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { D = 32, HEADS = 4, KV_HEADS = 2, D_HEAD = 8, FF = 48, LAYERS = 2 };
enum { Q_LORA = 20, LATENT = 56, NOPE = 12, ROPE = 8, D_V = 10 };         // latent attention
enum { EXPERTS = 8, ACTIVE = 3, FF_EXPERT = 20, SHARED = 2, GROUPS = 4 }; // sparse layers

// ---- tokenizer -----------------------------------------------------------------------------

// Byte-level vocabularies spell bytes that do not print as characters from U+0100 on.
static void put_bytes(hd_buf *b)
{
    uint32_t next = 256;
    for (uint32_t i = 0; i < 256; i++) {
        char utf8[4];
        bool itself = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int n = hd_utf8_encode(itself ? i : next++, utf8);
        if (i > 0) hd_buf_putc(b, ',');
        hd_json_put_str(b, hd_slice_of(utf8, (size_t)n));
        hd_buf_printf(b, ":%u", (unsigned)i);
    }
}

static void write_tokenizer(const char *dir)
{
    hd_buf b = {0};
    const char *const special[] = {"<s>", "</s>"};
    hd_buf_puts(&b, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (int i = 0; i < 2; i++)
        hd_buf_printf(&b,
                      "%s{\"id\":%d,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
                      "\"rstrip\":false,\"normalized\":false,\"special\":true}",
                      i ? "," : "", TINY_BOS + i, special[i]);
    hd_buf_puts(&b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                    "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                    "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
                    "\"model\":{\"type\":\"BPE\",\"unk_token\":null,\"fuse_unk\":false,"
                    "\"byte_fallback\":false,\"vocab\":{");
    put_bytes(&b);
    hd_buf_puts(&b, "},\"merges\":[]}}");
    hd_test_write(hd_test_path(dir, "tokenizer.json"), hd_buf_slice(&b));
    hd_buf_fini(&b);
    hd_test_write_str(hd_test_path(dir, "tokenizer_config.json"),
                      "{\"add_bos_token\":false,\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}");
}

// ---- weights -------------------------------------------------------------------------------

typedef struct maker {
    hd_st_writer w;
    hd_rng rng;
    float *v;
} maker;

static void put_matrix(maker *m, const char *name, uint64_t rows, uint64_t cols, float scale)
{
    for (uint64_t i = 0; i < rows * cols; i++)
        m->v[i] = scale * hd_rng_normal(&m->rng);
    hd_sw_floats(&m->w, name, HD_F32, 2, (const uint64_t[]){rows, cols}, m->v);
}

static void put_ones(maker *m, const char *name, int n)
{
    for (int i = 0; i < n; i++)
        m->v[i] = 1;
    hd_sw_floats(&m->w, name, HD_F32, 1, (const uint64_t[]){(uint64_t)n}, m->v);
}

typedef struct entry { // cols 0: a vector of ones
    const char *name;
    int rows, cols;
} entry;

static void put_entries(maker *m, int layer, const entry *e, size_t n)
{
    char name[96];
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "model.layers.%d.%s.weight", layer, e[i].name);
        if (e[i].cols == 0)
            put_ones(m, name, e[i].rows);
        else
            put_matrix(m, name, (uint64_t)e[i].rows, (uint64_t)e[i].cols,
                       1.5f / sqrtf((float)e[i].cols));
    }
}
#define PUT(m, l, e) put_entries(m, l, e, sizeof(e) / sizeof((e)[0]))

static void put_attention(maker *m, int l, tiny_family family)
{
    static const entry gqa[] = {
        {"self_attn.q_proj", HEADS * D_HEAD, D},
        {"self_attn.k_proj", KV_HEADS * D_HEAD, D},
        {"self_attn.v_proj", KV_HEADS * D_HEAD, D},
        {"self_attn.o_proj", D, HEADS * D_HEAD},
    };
    static const entry mla[] = {
        {"self_attn.kv_a_proj_with_mqa", LATENT + ROPE, D},
        {"self_attn.kv_a_layernorm", LATENT, 0},
        {"self_attn.kv_b_proj", HEADS * (NOPE + D_V), LATENT},
        {"self_attn.o_proj", D, HEADS * D_V},
    };
    static const entry one_query[] = {{"self_attn.q_proj", HEADS * (NOPE + ROPE), D}};
    static const entry two_queries[] = {
        {"self_attn.q_a_proj", Q_LORA, D},
        {"self_attn.q_a_layernorm", Q_LORA, 0},
        {"self_attn.q_b_proj", HEADS * (NOPE + ROPE), Q_LORA},
    };
    if (family < TINY_V2) {
        PUT(m, l, gqa);
        return;
    }
    PUT(m, l, mla);
    if (family == TINY_V2)
        PUT(m, l, one_query);
    else
        PUT(m, l, two_queries);
}

static void put_experts(maker *m, int l, tiny_family family)
{
    static const entry around[] = {
        {"mlp.gate", EXPERTS, D},
        {"mlp.shared_experts.gate_proj", SHARED * FF_EXPERT, D},
        {"mlp.shared_experts.up_proj", SHARED * FF_EXPERT, D},
        {"mlp.shared_experts.down_proj", D, SHARED * FF_EXPERT},
    };
    char name[3][64];
    PUT(m, l, around);
    for (int x = 0; x < EXPERTS; x++) {
        static const char *const stem[] = {"gate", "up", "down"};
        for (int i = 0; i < 3; i++)
            snprintf(name[i], sizeof(name[i]), "mlp.experts.%d.%s_proj", x, stem[i]);
        const entry e[] = {
            {name[0], FF_EXPERT, D}, {name[1], FF_EXPERT, D}, {name[2], D, FF_EXPERT}};
        PUT(m, l, e);
    }
    if (family != TINY_V3) return;
    for (int i = 0; i < EXPERTS; i++)
        m->v[i] = 0.2f * hd_rng_normal(&m->rng);
    snprintf(name[0], sizeof(name[0]), "model.layers.%d.mlp.gate.e_score_correction_bias", l);
    hd_sw_floats(&m->w, name[0], HD_F32, 1, (const uint64_t[]){EXPERTS}, m->v);
}

static void put_layer(maker *m, int l, tiny_family family)
{
    static const entry norms[] = {{"input_layernorm", D, 0}, {"post_attention_layernorm", D, 0}};
    static const entry dense[] = {
        {"mlp.gate_proj", FF, D}, {"mlp.up_proj", FF, D}, {"mlp.down_proj", D, FF}};
    put_attention(m, l, family);
    if (family == TINY_LLAMA || l == 0)
        PUT(m, l, dense);
    else
        put_experts(m, l, family);
    PUT(m, l, norms);
}

static void write_weights(const char *dir, const tiny_model *t)
{
    maker m = {.v = malloc(sizeof(float) * TINY_VOCAB * D)};
    EXPECT(m.v != NULL);
    hd_st_writer_init(&m.w);
    hd_rng_seed(&m.rng, 17);
    put_matrix(&m, "model.embed_tokens.weight", TINY_VOCAB, D, 1);
    if (t->nan_id >= 0) {
        hd_st_writer_fini(&m.w);
        hd_st_writer_init(&m.w);
        m.v[t->nan_id * D] = NAN;
        hd_sw_floats(&m.w, "model.embed_tokens.weight", HD_F32, 2,
                     (const uint64_t[]){TINY_VOCAB, D}, m.v);
    }
    for (int l = 0; l < LAYERS; l++)
        put_layer(&m, l, t->family);
    put_ones(&m, "model.norm.weight", D);
    for (int i = 0; i < TINY_VOCAB * D; i++)
        m.v[i] = (i < TINY_KNOWN * D ? 0.5f : 50) * hd_rng_normal(&m.rng);
    hd_sw_floats(&m.w, "lm_head.weight", HD_F32, 2, (const uint64_t[]){TINY_VOCAB, D}, m.v);
    hd_sw_save(&m.w, hd_test_path(dir, "model.safetensors"));
    hd_st_writer_fini(&m.w);
    free(m.v);
}

// ---- configuration -------------------------------------------------------------------------

#define LATENT_FIELDS                                                                              \
    ",\"kv_lora_rank\":%d,\"qk_nope_head_dim\":%d,\"qk_rope_head_dim\":%d,\"v_head_dim\":%d"
#define YARN                                                                                       \
    ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":128,"  \
    "\"mscale\":1.0,\"mscale_all_dim\":1.0}"

static void put_family(hd_buf *b, tiny_family family)
{
    static const char *const arch[] = {"Llama", "Deepseek", "DeepseekV2", "DeepseekV3"};
    static const char *const type[] = {"llama", "deepseek", "deepseek_v2", "deepseek_v3"};
    hd_buf_printf(b, "{\"architectures\":[\"%sForCausalLM\"],\"model_type\":\"%s\"", arch[family],
                  type[family]);
    if (family < TINY_V2)
        hd_buf_printf(b, ",\"num_key_value_heads\":%d,\"head_dim\":%d", KV_HEADS, D_HEAD);
    else
        hd_buf_printf(b, LATENT_FIELDS YARN, LATENT, NOPE, ROPE, D_V);
    if (family == TINY_V2) hd_buf_puts(b, ",\"q_lora_rank\":null,\"topk_method\":\"greedy\"");
    if (family == TINY_V3)
        hd_buf_printf(b,
                      ",\"q_lora_rank\":%d,\"topk_method\":\"noaux_tc\",\"n_group\":%d,"
                      "\"topk_group\":2,\"scoring_func\":\"sigmoid\"",
                      Q_LORA, GROUPS);
    if (family != TINY_LLAMA)
        hd_buf_printf(b,
                      ",\"n_routed_experts\":%d,\"num_experts_per_tok\":%d,\"n_shared_experts\":%d,"
                      "\"moe_intermediate_size\":%d,\"first_k_dense_replace\":1",
                      EXPERTS, ACTIVE, SHARED, FF_EXPERT);
}

static void write_config(const char *dir, tiny_family family)
{
    hd_buf b = {0};
    put_family(&b, family);
    hd_buf_printf(&b,
                  ",\"vocab_size\":%d,\"hidden_size\":%d,\"intermediate_size\":%d,"
                  "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"rms_norm_eps\":1e-5,"
                  "\"rope_theta\":10000.0,\"max_position_embeddings\":%d,"
                  "\"tie_word_embeddings\":false,\"hidden_act\":\"silu\","
                  "\"torch_dtype\":\"float32\"}",
                  TINY_VOCAB, D, FF, LAYERS, HEADS, TINY_CONTEXT);
    hd_test_write(hd_test_path(dir, "config.json"), hd_buf_slice(&b));
    hd_buf_fini(&b);
}

const char *tiny_model_write(const char *name, tiny_model t)
{
    const char *dir = hd_test_path(hd_test_tmpdir(), name);
    hd_test_mkdir(dir);
    write_config(dir, t.family);
    write_tokenizer(dir);
    write_weights(dir, &t);
    if (t.generation) hd_test_write_str(hd_test_path(dir, "generation_config.json"), t.generation);
    return dir;
}
