// Any bytes as text, with synthetic tokenizers over all pre-tokenizers. Byte 0 picks the tokenizer,
// byte 1 the flags, byte 2 where trusted stretches begin and end; the rest is text.
//   - decoding gives the text back, ill-formed parts replaced, whatever the flags;
//   - decoding id by id equals decoding the whole;
//   - untrusted text never gives an added id.
#include "kernels/base/utf8.h"
#include "models/tokenizer/pretok.h"
#include "models/tokenizer/tokenizer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"deepseek-v3", "deepseek-llm", "deepseek-coder", "qwen2",
                                    "llama-bpe",   "smollm",       "gpt-2",          "regex"};
enum { N_NAMES = sizeof(names) / sizeof(names[0]), FIRST_ADDED = 1000 };

// ---- the tokenizers ------------------------------------------------------------------------

static void put_step(hd_buf *b, const char *pattern)
{
    hd_buf_puts(b, "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":");
    hd_json_put_str(b, hd_slice_str(pattern));
    hd_buf_puts(b, "}},");
}

static void put_steps(hd_buf *b, const char *name)
{
    hd_pretok p = {0};
    const char *our;
    if (strcmp(name, "regex") == 0)
        put_step(b, "\\p{Lu}?\\p{Ll}+|\\s+(?!\\S)| ?[^\\s\\p{L}]{1,4}");
    else if (hd_pretok_named(hd_slice_str(name), &p, &our, NULL) != HD_OK)
        abort();
    for (int i = 0; i < p.n; i++)
        for (const hd_pretok_pattern *k = hd_pretok_patterns; k->text; k++)
            if (k->scan == p.step[i].scan) {
                put_step(b, k->text);
                break;
            }
    hd_pretok_fini(&p);
}

// All bytes, and a ladder of merges over a few of them.
static void put_model(hd_buf *b)
{
    static const char *const merges[] = {
        "a a",   "aa aa", "aaaa aa",       "\u0120 \u0120", "\u0120 a", "a b", "b a",
        "ab ab", "1 1",   "\u010a \u010a", "\u00c3 \u00a9", "< s",      "t h", "th e"};
    enum { N = sizeof(merges) / sizeof(merges[0]) };
    uint32_t next = 256;
    hd_buf_puts(b, "\"model\":{\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        char utf8[4];
        bool itself = (i >= '!' && i <= '~') || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
        int n = hd_utf8_encode(itself ? (uint32_t)i : next++, utf8);
        hd_json_put_str(b, hd_slice_of(utf8, (size_t)n));
        hd_buf_printf(b, ":%d,", i);
    }
    for (int i = 0; i < N; i++) {
        const char *blank = strchr(merges[i], ' ');
        hd_buf_printf(b, "\"%.*s%s\":%d,", (int)(blank - merges[i]), merges[i], blank + 1, 300 + i);
    }
    hd_buf_puts(b, "\"zzz\":900},\"merges\":[");
    for (int i = 0; i < N; i++)
        hd_buf_printf(b, "%s\"%s\"", i ? "," : "", merges[i]);
    hd_buf_puts(b, "]}");
}

static hd_tokenizer *make(const char *name)
{
    hd_buf b = {0};
    hd_json *json = NULL, *config = NULL;
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    hd_buf_puts(&b, "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[");
    put_steps(&b, name);
    hd_buf_puts(&b, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
                    "\"added_tokens\":[{\"id\":1000,\"content\":\"<s>\",\"special\":true},"
                    "{\"id\":1001,\"content\":\"<s><s>\"},{\"id\":1002,\"content\":\"aab\"},"
                    "{\"id\":1003,\"content\":\"\\u00e9\\u20ac\"}],");
    put_model(&b);
    hd_buf_puts(&b, "}");
    if (hd_json_parse(hd_buf_slice(&b), &hd_json_file_limits, &json, &err) != HD_OK ||
        hd_json_parse(hd_slice_str("{}"), &hd_json_file_limits, &config, &err) != HD_OK ||
        hd_tokenizer_from_json(json, config, &t, &err) != HD_OK) // config: <s> is not bos
        abort();
    HD_ASSERT(strcmp(hd_tokenizer_facts(t)->pretok, name) == 0);
    hd_json_free(json);
    hd_json_free(config);
    hd_buf_fini(&b);
    return t;
}

// ---- checks --------------------------------------------------------------------------------

static void check(const hd_tokenizer *t, const hd_ids *ids, hd_slice want)
{
    hd_buf whole = {0}, streamed = {0};
    hd_detok d;
    hd_detok_init(&d, t, 0);
    for (size_t i = 0; i < ids->n; i++)
        hd_detok_push(&d, ids->v[i], &streamed);
    hd_detok_flush(&d, &streamed);
    HD_ASSERT(hd_detokenize(t, ids->v, ids->n, 0, &whole, NULL) == HD_OK);
    HD_ASSERT(hd_slice_eq(hd_buf_slice(&whole), want));
    HD_ASSERT(hd_slice_eq(hd_buf_slice(&streamed), want));
    hd_buf_fini(&whole);
    hd_buf_fini(&streamed);
}

static void plain(const hd_tokenizer *t, hd_slice text, unsigned flags)
{
    hd_ids ids = {0};
    hd_buf want = {0};
    HD_ASSERT(hd_tokenize(t, text, flags, &ids, NULL) == HD_OK);
    hd_utf8_append_lossy(&want, text);
    check(t, &ids, hd_buf_slice(&want));
    for (size_t i = 0; i < ids.n && !(flags & HD_TOK_SPECIAL); i++)
        HD_ASSERT(ids.v[i] < FIRST_ADDED);
    hd_ids_fini(&ids);
    hd_buf_fini(&want);
}

// Trusted and untrusted stretches of `step` bytes in turn.
static void mixed(const hd_tokenizer *t, hd_slice text, size_t step)
{
    hd_prompt p = {0};
    hd_ids ids = {0};
    hd_buf want = {0};
    for (size_t at = 0, k = 0; at < text.n; at += step, k++) {
        hd_slice part = hd_slice_of(text.p + at, text.n - at < step ? text.n - at : step);
        k % 2 ? hd_prompt_trusted(&p, part) : hd_prompt_user(&p, part);
        hd_utf8_append_lossy(&want, part);
    }
    HD_ASSERT(hd_tokenize_prompt(t, &p, 0, &ids, NULL) == HD_OK);
    // Repair goes stretch by stretch, or not at all where the whole is well-formed.
    check(t, &ids, hd_utf8_is_valid(text) ? text : hd_buf_slice(&want));
    hd_prompt_fini(&p);
    hd_ids_fini(&ids);
    hd_buf_fini(&want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static hd_tokenizer *made[N_NAMES]; // kept for the life of the process
    if (size < 3) return 0;
    size_t which = data[0] % N_NAMES;
    if (!made[which]) made[which] = make(names[which]);
    hd_slice text = hd_slice_of((const char *)data + 3, size - 3);
    plain(made[which], text, data[1] & (HD_TOK_SPECIAL | HD_TOK_BOS));
    mixed(made[which], text, 1 + data[2] % 32);
    return 0;
}
