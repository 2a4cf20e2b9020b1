// stories260K, a trained model of 260 thousand parameters: its greedy story must come out word for
// word. Weights are rewritten from llama2.c's legacy file as GGUF, whose llama layout has the same
// interleaved RoPE. Skips where the data is absent.
#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "models/model.h"
#include "tests/golden/stepper.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>
#include <stdlib.h>

enum { BOS = 1, CONTEXT = 256, PAGE = 64 };

static const char published[] =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. She "
    "said, \"I want to play with your ball, but I can't find it.\"\n";

// ---- the legacy file -----------------------------------------------------------------------

typedef struct legacy { // head of the file; tensors follow
    int32_t dim, hidden, layers, heads, kv_heads, vocab, max_seq;
} legacy;

// Writes tensor `stem` of every layer, [rows, cols] each or [rows] with cols 0; returns what
// follows.
static const float *put_layers(hd_gguf_writer *w, const legacy *c, const char *stem, int32_t rows,
                               int32_t cols, const float *at)
{
    for (int l = 0; l < c->layers; l++) {
        char name[64];
        uint64_t shape[] = {(uint64_t)rows, (uint64_t)cols};
        snprintf(name, sizeof(name), "blk.%d.%s.weight", l, stem);
        hd_gw_tensor(w, name, HD_F32, cols ? 2 : 1, shape, at);
        at += (int64_t)rows * (cols ? cols : 1);
    }
    return at;
}

static void put_keys(hd_gguf_writer *w, const legacy *c)
{
    hd_gw_str(w, "general.architecture", "llama");
    hd_gw_u32(w, "llama.block_count", (uint32_t)c->layers);
    hd_gw_u32(w, "llama.context_length", (uint32_t)c->max_seq);
    hd_gw_u32(w, "llama.embedding_length", (uint32_t)c->dim);
    hd_gw_u32(w, "llama.feed_forward_length", (uint32_t)c->hidden);
    hd_gw_u32(w, "llama.attention.head_count", (uint32_t)c->heads);
    hd_gw_u32(w, "llama.attention.head_count_kv", (uint32_t)c->kv_heads);
    hd_gw_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    hd_gw_u32(w, "llama.vocab_size", (uint32_t)c->vocab);
}

static void convert(const char *from, const char *to)
{
    hd_buf file = {0};
    hd_err err = {0};
    legacy c;
    hd_gguf_writer w;
    EXPECT_INT(hd_file_read(from, 4 << 20, &file, &err), HD_OK);
    EXPECT(file.len > sizeof(c));
    memcpy(&c, file.data, sizeof(c));
    const float *at = (const float *)(const void *)(file.data + sizeof(c));
    const int32_t kv = c.dim / c.heads * c.kv_heads;
    const uint64_t table[] = {(uint64_t)c.vocab, (uint64_t)c.dim}, vector[] = {(uint64_t)c.dim};
    hd_gguf_writer_init(&w);
    put_keys(&w, &c);
    hd_gw_tensor(&w, "token_embd.weight", HD_F32, 2, table, at);
    at += (int64_t)c.vocab * c.dim;
    at = put_layers(&w, &c, "attn_norm", c.dim, 0, at);
    at = put_layers(&w, &c, "attn_q", c.dim, c.dim, at);
    at = put_layers(&w, &c, "attn_k", kv, c.dim, at);
    at = put_layers(&w, &c, "attn_v", kv, c.dim, at);
    at = put_layers(&w, &c, "attn_output", c.dim, c.dim, at);
    at = put_layers(&w, &c, "ffn_norm", c.dim, 0, at);
    at = put_layers(&w, &c, "ffn_gate", c.hidden, c.dim, at);
    at = put_layers(&w, &c, "ffn_down", c.dim, c.hidden, at);
    at = put_layers(&w, &c, "ffn_up", c.hidden, c.dim, at);
    hd_gw_tensor(&w, "output_norm.weight", HD_F32, 1, vector, at);
    EXPECT((const char *)(at + c.dim) <= file.data + file.len);
    hd_gw_save(&w, to);
    hd_gguf_writer_fini(&w);
    hd_buf_fini(&file);
}

// ---- its 512 pieces ------------------------------------------------------------------------

// Appends the text of piece `id`: int32 longest length; per piece float score, int32 n, n bytes.
static void put_piece(hd_buf *out, hd_slice tok, int32_t id)
{
    size_t at = 4;
    for (int32_t i = 0;; i++) {
        int32_t n;
        unsigned byte;
        EXPECT(at + 8 <= tok.n);
        memcpy(&n, tok.p + at + 4, sizeof(n));
        at += 8;
        EXPECT(n >= 0 && at + (size_t)n <= tok.n);
        if (i < id) {
            at += (size_t)n;
            continue;
        }
        hd_slice piece = hd_slice_of(tok.p + at, (size_t)n);
        char text[8] = "";
        memcpy(text, piece.p, n < 7 ? (size_t)n : 7);
        if (n == 6 && sscanf(text, "<0x%02X>", &byte) == 1)
            hd_buf_putc(out, (char)byte);
        else
            hd_buf_put_slice(out, piece);
        return;
    }
}

static int32_t best(const float *logits, int32_t n)
{
    int32_t b = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[b]) b = i;
    return b;
}

// Continues from the start token until the text is as long as `want` bytes.
static void tell(const char *model, uint32_t features, hd_slice tok, size_t want, hd_buf *story)
{
    const hd_device_cfg device = {"cpu", NULL, features, true, NULL};
    const hd_model_opts opts = {.weights = HD_WEIGHTS_ALL(HD_F32)};
    hd_backend *be;
    hd_model_src *src;
    hd_model *m;
    hd_err err = {0};
    stepper s;
    EXPECT_INT(hd_backend_open(&device, &be, &err), HD_OK);
    if (hd_model_src_open(model, HD_FILE_MAP, &src, &err) != HD_OK ||
        hd_model_open(src, be, &opts, &m, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    stepper_open(&s, m, HD_F32, PAGE, 1, CONTEXT);
    float *logits = malloc((size_t)m->cfg.vocab * sizeof(float));
    EXPECT(logits != NULL);
    int32_t id = BOS;
    for (int i = 0; i < CONTEXT && story->len < want; i++) {
        stepper_part part = {0, &id, 1, logits};
        stepper_run(&s, &part, 1);
        id = best(logits, m->cfg.vocab);
        if (id == BOS) break;
        put_piece(story, tok, id);
    }
    free(logits);
    stepper_close(&s);
    hd_model_close(m);
    hd_model_src_close(src);
    hd_backend_close(be);
}

static void tells_the_published_story(void)
{
    static const uint32_t masks[] = {0, HD_CPU_AVX2, HD_CPU_AVX2 | HD_CPU_AVX512};
    const char *bin = hd_test_shared("stories260k/stories260K.bin");
    const char *pieces = hd_test_shared("stories260k/tok512.bin");
    const char *model = hd_test_path(hd_test_tmpdir(), "stories.gguf");
    hd_buf tok = {0};
    hd_err err = {0};
    EXPECT_INT(hd_file_read(pieces, 1 << 20, &tok, &err), HD_OK);
    convert(bin, model);
    for (int i = 0; i < 3; i++) {
        hd_buf story = {0};
        // The first piece begins with the blank that stands for the start of a word.
        tell(model, masks[i], hd_buf_slice(&tok), sizeof(published), &story);
        EXPECT(story.len == sizeof(published) && story.data[0] == ' ');
        EXPECT_STR(story.data + 1, published);
        hd_buf_fini(&story);
    }
    hd_buf_fini(&tok);
}

HD_TEST_MAIN("stories", {"tells_the_published_story", tells_the_published_story})
