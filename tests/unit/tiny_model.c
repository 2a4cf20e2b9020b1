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

static void put_ones(maker *m, const char *name)
{
    for (int i = 0; i < D; i++)
        m->v[i] = 1;
    hd_sw_floats(&m->w, name, HD_F32, 1, (const uint64_t[]){D}, m->v);
}

static void put_layer(maker *m, int l)
{
    const struct {
        const char *name;
        uint64_t rows, cols;
    } matrix[] = {
        {"self_attn.q_proj", HEADS * D_HEAD, D},
        {"self_attn.k_proj", KV_HEADS * D_HEAD, D},
        {"self_attn.v_proj", KV_HEADS * D_HEAD, D},
        {"self_attn.o_proj", D, HEADS * D_HEAD},
        {"mlp.gate_proj", FF, D},
        {"mlp.up_proj", FF, D},
        {"mlp.down_proj", D, FF},
    };
    char name[96];
    for (size_t i = 0; i < sizeof(matrix) / sizeof(matrix[0]); i++) {
        snprintf(name, sizeof(name), "model.layers.%d.%s.weight", l, matrix[i].name);
        put_matrix(m, name, matrix[i].rows, matrix[i].cols, 1.5f / sqrtf((float)matrix[i].cols));
    }
    snprintf(name, sizeof(name), "model.layers.%d.input_layernorm.weight", l);
    put_ones(m, name);
    snprintf(name, sizeof(name), "model.layers.%d.post_attention_layernorm.weight", l);
    put_ones(m, name);
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
        put_layer(&m, l);
    put_ones(&m, "model.norm.weight");
    for (int i = 0; i < TINY_VOCAB * D; i++)
        m.v[i] = (i < TINY_KNOWN * D ? 0.5f : 50) * hd_rng_normal(&m.rng);
    hd_sw_floats(&m.w, "lm_head.weight", HD_F32, 2, (const uint64_t[]){TINY_VOCAB, D}, m.v);
    hd_sw_save(&m.w, hd_test_path(dir, "model.safetensors"));
    hd_st_writer_fini(&m.w);
    free(m.v);
}

const char *tiny_model_write(const char *name, tiny_model t)
{
    char config[512];
    const char *dir = hd_test_path(hd_test_tmpdir(), name);
    hd_test_mkdir(dir);
    snprintf(config, sizeof(config),
             "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],"
             "\"vocab_size\":%d,\"hidden_size\":%d,\"intermediate_size\":%d,"
             "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
             "\"head_dim\":%d,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
             "\"max_position_embeddings\":%d,\"tie_word_embeddings\":false,"
             "\"hidden_act\":\"silu\",\"torch_dtype\":\"float32\"}",
             TINY_VOCAB, D, FF, LAYERS, HEADS, KV_HEADS, D_HEAD, TINY_CONTEXT);
    hd_test_write_str(hd_test_path(dir, "config.json"), config);
    write_tokenizer(dir);
    write_weights(dir, &t);
    if (t.generation) hd_test_write_str(hd_test_path(dir, "generation_config.json"), t.generation);
    return dir;
}
