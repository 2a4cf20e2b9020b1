// Vocabularies in GGUF metadata: byte-level and SentencePiece, their roles and fillers, and files
// that must be refused.
#include "models/tokenizer/tokenizer.h"
#include "tests/harness/test.h"
#include "tests/unit/tok_parts.h"
#include "tests/unit/write_files.h"

#include <math.h>

enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
enum { ENTRIES = 300 };

typedef struct vocab {
    const char *text[ENTRIES];
    int32_t type[ENTRIES];
    float score[ENTRIES];
    size_t n;
    hd_gguf_writer w;
} vocab;

static void put(vocab *v, const char *text, int32_t type, float score)
{
    EXPECT(v->n < ENTRIES);
    v->text[v->n] = text;
    v->type[v->n] = type;
    v->score[v->n++] = score;
}

static void init(vocab *v, const char *model)
{
    memset(v, 0, sizeof(*v));
    hd_gguf_writer_init(&v->w);
    hd_gw_str(&v->w, "tokenizer.ggml.model", model);
}

static hd_status finish(vocab *v, hd_tokenizer **out, hd_err *err)
{
    hd_gguf *g = NULL;
    hd_gw_strs(&v->w, "tokenizer.ggml.tokens", v->text, v->n);
    hd_gw_i32s(&v->w, "tokenizer.ggml.token_type", v->type, v->n);
    hd_gw_f32s(&v->w, "tokenizer.ggml.scores", v->score, v->n);
    hd_slice bytes = hd_gw_finish(&v->w);
    *out = NULL;
    hd_status st = hd_gguf_open_mem(bytes, &g, err);
    if (st == HD_OK) st = hd_tokenizer_from_gguf(g, out, err);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&v->w); // nothing of the file is borrowed
    return st;
}

static hd_tokenizer *opened(vocab *v)
{
    hd_tokenizer *t;
    hd_err err = {0};
    if (finish(v, &t, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return t;
}

static void expect_ids(const hd_tokenizer *t, const char *text, unsigned flags, const char *want)
{
    hd_expect_ids(t, hd_slice_str(text), flags, want);
}

// ---- byte-level ----------------------------------------------------------------------------

//  0 a  1 b  2 Ġ  3 ab  4 Ġab  5 <|im_end|>  6 <x>  7 [PAD7]  8 ba  9 [PAD9]  10 unused
static void base_bytes(vocab *v, const char *pre)
{
    static const char *const merges[] = {"a b", "\u0120 ab"};
    init(v, "gpt2");
    if (pre) hd_gw_str(&v->w, "tokenizer.ggml.pre", pre);
    hd_gw_strs(&v->w, "tokenizer.ggml.merges", merges, 2);
    put(v, "a", NORMAL, 0);
    put(v, "b", NORMAL, 0);
    put(v, "\u0120", NORMAL, 0);
    put(v, "ab", NORMAL, 0);
    put(v, "\u0120ab", NORMAL, 0);
    put(v, "<|im_end|>", CONTROL, 0);
    put(v, "<x>", USER_DEFINED, 0);
    put(v, "[PAD7]", USER_DEFINED, 0);
    put(v, "ba", NORMAL, 0);
    put(v, "[PAD9]", USER_DEFINED, 0);
    put(v, "aa", UNUSED, 0);
}

static void byte_level(void)
{
    vocab v;
    base_bytes(&v, "gpt-2");
    hd_tokenizer *t = opened(&v);
    const hd_tokenizer_info *info = hd_tokenizer_facts(t);
    EXPECT_STR(info->kind, "bpe");
    EXPECT_STR(info->pretok, "gpt-2");
    EXPECT_INT(info->n_vocab, 9); // filler at the end is not vocabulary
    EXPECT_INT(info->n_added, 2);
    EXPECT_INT(info->bos, -1);
    EXPECT(!info->add_bos);
    expect_ids(t, "ab ab", 0, "3 4");
    expect_ids(t, "ba<x><|im_end|>", 0, "1 0"); // bytes that have no entry vanish
    expect_ids(t, "a<x><|im_end|>[PAD7]", HD_TOK_SPECIAL, "0 6 5");
    hd_expect_text(t, (const int32_t[]){4, 6, 7, 5, 9, 10, 0}, 7, 0, " ab<x><|im_end|>a");
    hd_expect_text(t, (const int32_t[]){4, 6, 5}, 3, HD_DETOK_SKIP_SPECIAL, " ab<x>");
    size_t n;
    const int32_t *stop = hd_tokenizer_stops(t, &n);
    EXPECT_INT(n, 1);
    EXPECT_INT(stop[0], 5);
    hd_tokenizer_close(t);
}

static void roles(void)
{
    vocab v;
    base_bytes(&v, "smollm");
    hd_gw_u32(&v.w, "tokenizer.ggml.bos_token_id", 6);
    hd_gw_u32(&v.w, "tokenizer.ggml.eos_token_id", 4000000000u); // ignored
    hd_gw_u32(&v.w, "tokenizer.ggml.eot_token_id", 3);
    hd_gw_u32(&v.w, "tokenizer.ggml.eom_token_id", 1);
    hd_gw_u32(&v.w, "tokenizer.ggml.padding_token_id", 2);
    hd_gw_bool(&v.w, "tokenizer.ggml.add_bos_token", true);
    hd_tokenizer *t = opened(&v);
    const hd_tokenizer_info *info = hd_tokenizer_facts(t);
    EXPECT_INT(info->bos, 6);
    EXPECT_INT(info->eos, -1);
    EXPECT_INT(info->pad, 2);
    EXPECT(info->add_bos);
    size_t n;
    const int32_t *stop = hd_tokenizer_stops(t, &n);
    EXPECT_INT(n, 3);
    EXPECT_INT(stop[0], 1);
    EXPECT_INT(stop[1], 3);
    EXPECT_INT(stop[2], 5);
    expect_ids(t, "a", HD_TOK_BOS, "6 0");
    hd_tokenizer_close(t);
}

static void names(void)
{
    static const char *const alias[][2] = {
        {"joyai-llm", "deepseek-v3"}, {"deepseek-r1-qwen", "qwen2"}, {"llama3", "llama-bpe"},
        {"llama-v3", "llama-bpe"},    {"default", "gpt-2"},          {NULL, "gpt-2"},
    };
    for (size_t i = 0; i < sizeof(alias) / sizeof(alias[0]); i++) {
        vocab v;
        base_bytes(&v, alias[i][0]);
        hd_gw_u32(&v.w, "tokenizer.ggml.bos_token_id", 6);
        hd_tokenizer *t = opened(&v);
        bool llama = strcmp(alias[i][1], "llama-bpe") == 0;
        EXPECT_STR(hd_tokenizer_facts(t)->pretok, alias[i][1]);
        EXPECT_INT(hd_tokenizer_facts(t)->add_bos, llama);
        expect_ids(t, "ba", 0, llama ? "8" : "1 0"); // whole pieces go before merges
        hd_tokenizer_close(t);
    }
}

// ---- SentencePiece -------------------------------------------------------------------------

//  0 <unk>  1 <s>  2 </s>  3..258 bytes  259 ▁  260 a  261 b  262 ab  263 ▁a  264 ba  265 ▁ab
//  266 <u>  267 <s
static void base_scored(vocab *v)
{
    static char bytes[256][8];
    init(v, "llama");
    put(v, "<unk>", UNKNOWN, 0);
    put(v, "<s>", CONTROL, 0);
    put(v, "</s>", CONTROL, 0);
    for (int i = 0; i < 256; i++) {
        static const char hex[] = "0123456789ABCDEF";
        char token[8] = {'<', '0', 'x', hex[i / 16], hex[i % 16], '>', '\0'};
        memcpy(bytes[i], token, sizeof(token));
        put(v, bytes[i], BYTE, 0);
    }
    put(v, "\u2581", NORMAL, -100);
    put(v, "a", NORMAL, -101);
    put(v, "b", NORMAL, -102);
    put(v, "ab", NORMAL, -3);
    put(v, "\u2581a", NORMAL, -2);
    put(v, "ba", NORMAL, -3);
    put(v, "\u2581ab", NORMAL, -9);
    put(v, "<u>", USER_DEFINED, 0);
    put(v, "<s", NORMAL, -1);
}

static void scored(void)
{
    vocab v;
    base_scored(&v);
    hd_gw_u32(&v.w, "tokenizer.ggml.bos_token_id", 1);
    hd_gw_u32(&v.w, "tokenizer.ggml.eos_token_id", 2);
    hd_tokenizer *t = opened(&v);
    EXPECT_STR(hd_tokenizer_facts(t)->kind, "spm");
    EXPECT(hd_tokenizer_facts(t)->add_bos);
    expect_ids(t, "ab", 0, "265"); // ▁a wins over ab, and then takes b
    expect_ids(t, "aba", 0, "263 264");
    expect_ids(t, "bab", 0, "259 264 261"); // equal scores: leftmost
    expect_ids(t, "a a", 0, "263 263");
    expect_ids(t, " a", 0, "259 263");
    expect_ids(t, "a\u00e9", 0, "263 198 172"); // bytes C3 A9
    expect_ids(t, "<s>", 0, "259 267 65");      // not a control token; '>' is byte 3E
    expect_ids(t, "<u>", 0, "259 63 120 65");   // nor a user-defined one
    expect_ids(t, "<s>a<u>a", HD_TOK_SPECIAL, "1 263 266 263");
    expect_ids(t, "", HD_TOK_BOS, "1");
    hd_expect_text(t, (const int32_t[]){263, 259, 261}, 3, 0, "a b");
    hd_expect_text(t, (const int32_t[]){1, 263, 263}, 3, HD_DETOK_SKIP_SPECIAL, "a a");
    hd_expect_text(t, (const int32_t[]){198, 172, 198}, 3, 0, "\u00e9\ufffd");
    hd_tokenizer_close(t);
}

static void scored_without_prefix(void)
{
    vocab v;
    base_scored(&v);
    hd_gw_bool(&v.w, "tokenizer.ggml.add_space_prefix", false);
    hd_tokenizer *t = opened(&v);
    expect_ids(t, "ab", 0, "262");
    expect_ids(t, " ab", 0, "265");
    hd_expect_text(t, (const int32_t[]){263}, 1, 0, " a");
    hd_tokenizer_close(t);
}

// ---- refused -------------------------------------------------------------------------------

static void expect_refused(vocab *v, hd_status want, const char *part)
{
    hd_tokenizer *t;
    hd_err err = {0};
    hd_status st = finish(v, &t, &err);
    if (st != want)
        hd_test_fail(__FILE__, __LINE__, "got %s (%s), want %s (%s)", hd_status_name(st), err.msg,
                     hd_status_name(want), part);
    EXPECT(!t);
    EXPECT_CONTAINS(err.msg, part);
}

static void refused(void)
{
    static const char *const no_blank[] = {"ab"}, *const unknown[] = {"a zz"},
                             *const twice[] = {"a b", "a b"};
    vocab v;
    init(&v, "bert");
    put(&v, "a", NORMAL, 0);
    expect_refused(&v, HD_E_UNSUPPORTED, "'bert', expected gpt2 or llama");
    base_bytes(&v, "gpt-9");
    expect_refused(&v, HD_E_UNSUPPORTED, "gpt-9");
    init(&v, "gpt2");
    put(&v, "a", NORMAL, 0);
    expect_refused(&v, HD_E_CORRUPT, "tokenizer.ggml.merges: missing");
    init(&v, "gpt2");
    hd_gw_strs(&v.w, "tokenizer.ggml.merges", no_blank, 1);
    put(&v, "a", NORMAL, 0);
    expect_refused(&v, HD_E_CORRUPT, "merges[0]");
    init(&v, "gpt2");
    hd_gw_strs(&v.w, "tokenizer.ggml.merges", unknown, 1);
    put(&v, "a", NORMAL, 0);
    expect_refused(&v, HD_E_CORRUPT, "merge 0: 'a' and 'zz'");
    init(&v, "gpt2");
    hd_gw_strs(&v.w, "tokenizer.ggml.merges", twice, 2);
    put(&v, "a", NORMAL, 0);
    put(&v, "b", NORMAL, 0);
    put(&v, "ab", NORMAL, 0);
    expect_refused(&v, HD_E_CORRUPT, "repeats");
    base_bytes(&v, "gpt-2");
    put(&v, "\xFF", NORMAL, 0);
    expect_refused(&v, HD_E_CORRUPT, "token 11 is not UTF-8");
    base_scored(&v);
    v.score[5] = NAN;
    expect_refused(&v, HD_E_CORRUPT, "token 5: not a number");
    base_scored(&v);
    v.text[5] = "<0x-1>";
    expect_refused(&v, HD_E_CORRUPT, "token 5 is typed as a byte");
    init(&v, "llama");
    expect_refused(&v, HD_E_CORRUPT, "no entries");
    init(&v, "llama");
    put(&v, "[PAD0]", USER_DEFINED, 0);
    expect_refused(&v, HD_E_CORRUPT, "no entries");
    base_bytes(&v, "gpt-2");
    hd_gw_bool(&v.w, "tokenizer.ggml.bos_token_id", true);
    expect_refused(&v, HD_E_INVAL, "bos_token_id");
}

// Arrays beside the tokens must be as long as they are.
static void refused_lengths(void)
{
    const char *const texts[] = {"a", "b"};
    const int32_t types[] = {NORMAL};
    const float scores[] = {0, 0, 0};
    for (int i = 0; i < 3; i++) {
        hd_gguf_writer w;
        hd_gguf *g = NULL;
        hd_tokenizer *t = NULL;
        hd_err err = {0};
        hd_gguf_writer_init(&w);
        hd_gw_str(&w, "tokenizer.ggml.model", "llama");
        if (i < 2) hd_gw_strs(&w, "tokenizer.ggml.tokens", texts, 2);
        if (i == 0) hd_gw_i32s(&w, "tokenizer.ggml.token_type", types, 1);
        if (i < 2) hd_gw_f32s(&w, "tokenizer.ggml.scores", scores, 3);
        hd_status st = hd_gguf_open_mem(hd_gw_finish(&w), &g, &err); // may find it already
        if (st == HD_OK) st = hd_tokenizer_from_gguf(g, &t, &err);
        EXPECT_INT(st, HD_E_CORRUPT);
        EXPECT_CONTAINS(err.msg, i == 0 ? "token_type" : i == 1 ? "scores" : "tokens: missing");
        EXPECT(!t);
        hd_gguf_close(g);
        hd_gguf_writer_fini(&w);
    }
}

HD_TEST_MAIN("gguf_vocab", {"byte_level", byte_level}, {"roles", roles}, {"names", names},
             {"scored", scored}, {"scored_without_prefix", scored_without_prefix},
             {"refused", refused}, {"refused_lengths", refused_lengths})
