// Ids against the reference's: the case files of make_tokenizer_golden.py, the acceptance lists
// that come with the vocabulary files of DeepSeek-LLM and -Coder, and megabyte runs of one
// character.
//
// The small tokenizers are in the repository; the big ones are data beside it, and SmolLM2's GGUF
// is named by HD_TEST_MODEL.
#include "kernels/base/clock.h"
#include "kernels/base/file.h"
#include "models/tokenizer/tokenizer.h"
#include "tests/harness/test.h"

#include <stdio.h>
#include <stdlib.h>

static hd_tokenizer *open_json(const char *path)
{
    hd_json *json = NULL;
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    if (hd_json_parse_file(path, &hd_json_file_limits, &json, &err) != HD_OK ||
        hd_tokenizer_from_json(json, NULL, &t, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", path, err.msg);
    hd_json_free(json); // nothing of it is borrowed
    return t;
}

static hd_tokenizer *open_gguf(const char *path)
{
    hd_gguf *g = NULL;
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    if (hd_gguf_open(path, HD_FILE_MAP, &g, &err) != HD_OK ||
        hd_tokenizer_from_gguf(g, &t, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", path, err.msg);
    hd_gguf_close(g);
    return t;
}

static hd_slice read_all(const char *path, hd_buf *out)
{
    hd_err err = {0};
    if (hd_file_read(path, (size_t)1 << 24, out, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return hd_buf_slice(out);
}

// ---- case files ----------------------------------------------------------------------------

static size_t varint(hd_slice s, size_t *at)
{
    size_t v = 0;
    for (int shift = 0;; shift += 7) {
        EXPECT(*at < s.n && shift < 35);
        unsigned char b = (unsigned char)s.p[(*at)++];
        v |= (size_t)(b & 0x7F) << shift;
        if (b < 0x80) return v;
    }
}

// Streaming id by id gives the text of decoding the whole.
static void check_decoding(const hd_tokenizer *t, const hd_ids *ids, hd_slice text, bool composes)
{
    hd_buf whole = {0}, streamed = {0};
    hd_detok d;
    EXPECT_INT(hd_detokenize(t, ids->v, ids->n, 0, &whole, NULL), HD_OK);
    hd_detok_init(&d, t, 0);
    for (size_t i = 0; i < ids->n; i++)
        hd_detok_push(&d, ids->v[i], &streamed);
    hd_detok_flush(&d, &streamed);
    EXPECT(hd_slice_eq(hd_buf_slice(&whole), hd_buf_slice(&streamed)));
    if (!composes) EXPECT(hd_slice_eq(hd_buf_slice(&whole), text));
    hd_buf_fini(&whole);
    hd_buf_fini(&streamed);
}

static void check_case(const hd_tokenizer *t, hd_slice s, size_t *at, size_t number, bool composes)
{
    hd_ids ids = {0};
    unsigned flags = s.p[(*at)++] ? HD_TOK_SPECIAL : 0;
    size_t n = varint(s, at);
    EXPECT(n <= s.n - *at);
    hd_slice text = hd_slice_of(s.p + *at, n);
    *at += n;
    EXPECT_INT(hd_tokenize(t, text, flags, &ids, NULL), HD_OK);
    size_t want = varint(s, at);
    for (size_t i = 0; i < want; i++) {
        size_t id = varint(s, at);
        if (i >= ids.n || (size_t)ids.v[i] != id)
            hd_test_fail(__FILE__, __LINE__, "case %zu, id %zu: got %d of %zu, want %zu of %zu",
                         number, i, i < ids.n ? (int)ids.v[i] : -1, ids.n, id, want);
    }
    EXPECT_INT(ids.n, want);
    check_decoding(t, &ids, text, composes);
    hd_ids_fini(&ids);
}

// composes: the tokenizer normalises, so decoding does not give the text back.
static void check_cases(hd_tokenizer *t, const char *name, size_t least, bool composes)
{
    char path[128];
    hd_buf file = {0};
    size_t at = 8, n = 0;
    snprintf(path, sizeof(path), "tests/golden/tokenizers/%s.cases", name);
    hd_slice s = read_all(path, &file);
    EXPECT(hd_slice_starts(s, hd_slice_str("HDTG0001")));
    for (; at < s.n; n++)
        check_case(t, s, &at, n, composes);
    EXPECT(n >= least);
    hd_buf_fini(&file);
    hd_tokenizer_close(t);
}

static void small_bytes(void)
{
    hd_tokenizer *t = open_json("tests/golden/tokenizers/small-bytes/tokenizer.json");
    EXPECT_STR(hd_tokenizer_facts(t)->pretok, "deepseek-v3");
    check_cases(t, "small-bytes", 800, true);
}
static void small_chars(void)
{
    hd_tokenizer *t = open_json("tests/golden/tokenizers/small-chars/tokenizer.json");
    EXPECT_STR(hd_tokenizer_facts(t)->kind, "spm");
    check_cases(t, "small-chars", 800, true); // the first blank is lost
}
static void small_regex(void)
{
    hd_tokenizer *t = open_json("tests/golden/tokenizers/small-regex/tokenizer.json");
    EXPECT_STR(hd_tokenizer_facts(t)->pretok, "regex");
    check_cases(t, "small-regex", 800, true); // <pad> swallows blanks
}
static void deepseek_v3(void)
{
    hd_tokenizer *t = open_json(hd_test_shared("tokenizers/deepseek-v3/tokenizer.json"));
    check_cases(t, "deepseek-v3", 1700, false);
}
static void llama_31(void)
{
    hd_tokenizer *t = open_json(hd_test_shared("tokenizers/llama-3.1/tokenizer.json"));
    check_cases(t, "llama-3.1", 1700, false);
}
static void qwen3(void)
{
    hd_tokenizer *t = open_json(hd_test_shared("tokenizers/qwen3/tokenizer.json"));
    check_cases(t, "qwen3", 1700, true);
}
static void smollm2(void)
{
    const char *path = getenv("HD_TEST_MODEL");
    if (!path || !*path)
        hd_test_skip("HD_TEST_MODEL does not name SmolLM2-135M-Instruct.Q4_1.gguf");
    hd_tokenizer *t = open_gguf(path);
    EXPECT_STR(hd_tokenizer_facts(t)->pretok, "smollm");
    check_cases(t, "smollm2", 1700, true); // bytes it lacks are dropped
}
static void deepseek_llm(void)
{
    hd_tokenizer *t = open_gguf(hd_test_shared("gguf-vocab/ggml-vocab-deepseek-llm.gguf"));
    check_cases(t, "deepseek-llm", 600, false);
}
static void deepseek_coder(void)
{
    hd_tokenizer *t = open_gguf(hd_test_shared("gguf-vocab/ggml-vocab-deepseek-coder.gguf"));
    check_cases(t, "deepseek-coder", 600, false);
}

// ---- acceptance lists ----------------------------------------------------------------------

// The next case; they are separated by a marker line.
static bool next_text(hd_slice s, size_t *at, hd_slice *out)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    if (*at > s.n) return false;
    ptrdiff_t end = hd_slice_find(s, hd_slice_str(mark), *at);
    if (end < 0) return false; // what follows the last marker is empty
    *out = hd_slice_of(s.p + *at, (size_t)end - *at);
    *at = (size_t)end + strlen(mark);
    return true;
}

static void check_line(const hd_tokenizer *t, hd_slice text, char **line)
{
    hd_ids ids = {0};
    EXPECT_INT(hd_tokenize(t, text, 0, &ids, NULL), HD_OK);
    size_t n = 0;
    for (char *p = *line; *p && *p != '\n'; n++) {
        char *end;
        long want = strtol(p, &end, 10);
        EXPECT(end > p);
        EXPECT(n < ids.n);
        EXPECT_INT(ids.v[n], want);
        for (p = end; *p == ' ';)
            p++;
        *line = p;
    }
    EXPECT_INT(ids.n, n);
    *line = strchr(*line, '\n');
    EXPECT(*line);
    (*line)++;
    hd_ids_fini(&ids);
}

static void acceptance(const char *model)
{
    char path[128];
    hd_buf inp = {0}, out = {0};
    snprintf(path, sizeof(path), "gguf-vocab/%s.gguf", model);
    hd_tokenizer *t = open_gguf(hd_test_shared(path));
    snprintf(path, sizeof(path), "gguf-vocab/%s.gguf.inp", model);
    hd_slice texts = read_all(hd_test_shared(path), &inp), text;
    snprintf(path, sizeof(path), "gguf-vocab/%s.gguf.out", model);
    read_all(hd_test_shared(path), &out);
    char *line = out.data;
    size_t at = 0, n = 0;
    for (; next_text(texts, &at, &text); n++)
        check_line(t, text, &line);
    EXPECT(n >= 40);
    EXPECT_STR(line, "");
    hd_buf_fini(&inp);
    hd_buf_fini(&out);
    hd_tokenizer_close(t);
}
static void acceptance_llm(void)
{
    acceptance("ggml-vocab-deepseek-llm");
}
static void acceptance_coder(void)
{
    acceptance("ggml-vocab-deepseek-coder");
}

// ---- long runs -----------------------------------------------------------------------------

// Bound for the slowest builds (sanitizers, loaded machines); a square would take hours.
enum { RUN = 1000000, RUN_SECONDS = 20 };

static size_t tokens_of_run(const hd_tokenizer *t, const char *unit, size_t times)
{
    hd_buf text = {0};
    hd_ids ids = {0};
    for (size_t i = 0; i < times; i++)
        hd_buf_puts(&text, unit);
    int64_t start = hd_mono_ns();
    EXPECT_INT(hd_tokenize(t, hd_buf_slice(&text), 0, &ids, NULL), HD_OK);
    double seconds = (double)(hd_mono_ns() - start) * 1e-9;
    if (seconds > RUN_SECONDS)
        hd_test_fail(__FILE__, __LINE__, "%zu times '%s' took %.1f s", times, unit, seconds);
    size_t n = ids.n;
    hd_buf back = {0};
    EXPECT_INT(hd_detokenize(t, ids.v, ids.n, 0, &back, NULL), HD_OK);
    EXPECT(hd_slice_eq(hd_buf_slice(&back), hd_buf_slice(&text)));
    hd_buf_fini(&back);
    hd_buf_fini(&text);
    hd_ids_fini(&ids);
    return n;
}

static void long_runs(void)
{
    hd_tokenizer *t = open_json(hd_test_shared("tokenizers/deepseek-v3/tokenizer.json"));
    EXPECT_INT(tokens_of_run(t, "a", RUN), 125000);
    EXPECT_INT(tokens_of_run(t, " ", RUN), 7813);
    EXPECT_INT(tokens_of_run(t, "1", RUN), 333334);
    tokens_of_run(t, "\u4e2d", RUN / 3);
    tokens_of_run(t, "\x01", RUN);
    tokens_of_run(t, "\u0301", RUN / 2);
    tokens_of_run(t, "<\uff5cUser\uff5c", RUN / 11);
    hd_tokenizer_close(t);
}

static void long_runs_small(void)
{
    hd_tokenizer *t = open_json("tests/golden/tokenizers/small-regex/tokenizer.json");
    tokens_of_run(t, "a", RUN);
    tokens_of_run(t, " ", RUN);
    tokens_of_run(t, "\x01", RUN);
    tokens_of_run(t, "A", RUN);
    tokens_of_run(t, "1", RUN);
    hd_tokenizer_close(t);
    // Marks that composition must put in order: half of them belong before the other half.
    t = open_json("tests/golden/tokenizers/small-bytes/tokenizer.json");
    hd_buf text = {0};
    hd_ids ids = {0};
    for (int i = 0; i < RUN / 2; i++)
        hd_buf_puts(&text, i < RUN / 4 ? "\u0301" : "\u0323");
    int64_t start = hd_mono_ns();
    EXPECT_INT(hd_tokenize(t, hd_buf_slice(&text), 0, &ids, NULL), HD_OK);
    EXPECT((double)(hd_mono_ns() - start) * 1e-9 < RUN_SECONDS);
    hd_buf_fini(&text);
    hd_ids_fini(&ids);
    hd_tokenizer_close(t);
}

HD_TEST_MAIN("tokenizer_golden", {"small_bytes", small_bytes}, {"small_chars", small_chars},
             {"small_regex", small_regex}, {"deepseek_v3", deepseek_v3}, {"llama_31", llama_31},
             {"qwen3", qwen3}, {"smollm2", smollm2}, {"deepseek_llm", deepseek_llm},
             {"deepseek_coder", deepseek_coder}, {"acceptance_llm", acceptance_llm},
             {"acceptance_coder", acceptance_coder}, {"long_runs", long_runs},
             {"long_runs_small", long_runs_small})
