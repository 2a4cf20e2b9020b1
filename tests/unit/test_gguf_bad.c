// GGUF files that must be refused, each with the message an operator gets. Inputs end at a page
// that may not be touched.
#include "kernels/base/mem.h"
#include "models/weights/source.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>
#include <stdlib.h>

#define SHAPE(...)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

// ---- helpers -------------------------------------------------------------------------------

static hd_status open_guarded(hd_slice bytes, hd_err *err)
{
    hd_guarded copy = hd_guard(bytes);
    hd_gguf *g;
    hd_source *s;
    volatile uint8_t sum = 0;
    *err = (hd_err){0};
    hd_status st = hd_gguf_open_mem(copy.bytes, &g, err);
    if (st == HD_OK) {
        hd_buf text = {0};
        EXPECT(hd_source_open_gguf(g, &s, NULL) == HD_OK);
        for (size_t i = 0; i < hd_source_count(s); i++) {
            const hd_source_tensor *t = hd_source_at(s, i);
            for (uint64_t k = 0; k < t->bytes; k++)
                sum = (uint8_t)(sum + ((const uint8_t *)t->data)[k]);
        }
        for (size_t i = 0; i < hd_gguf_n_keys(g); i++)
            hd_gguf_value_text(g, i, 50, &text);
        hd_buf_fini(&text);
        hd_source_close(s);
    } else {
        EXPECT(!g && err->code == st);
        EXPECT(strncmp(err->msg, "memory: ", 8) == 0 && !strchr(err->msg, '\n'));
        EXPECT_CONTAINS(err->msg, "expected");
    }
    hd_gguf_close(g);
    hd_guard_free(&copy);
    return st;
}

// Takes the file from w, which is emptied.
static void refused_at(int line, hd_gguf_writer *w, hd_status want, const char *part)
{
    hd_err err;
    hd_status st = open_guarded(hd_gw_finish(w), &err);
    if (st != want || !strstr(err.msg, part))
        hd_test_fail(__FILE__, line, "got %s \"%s\", want %s \"...%s...\"", hd_status_name(st),
                     err.msg, hd_status_name(want), part);
    hd_gguf_writer_fini(w);
    hd_gguf_writer_init(w);
}
#define REFUSED(w, st, part) refused_at(__LINE__, (w), (st), (part))

static void raw(hd_gguf_writer *w, const char *key, uint32_t type, const char *hex)
{
    uint8_t bytes[64];
    size_t n = 0;
    for (; *hex; hex++) {
        if (*hex == ' ') continue;
        char pair[3] = {hex[0], hex[1], 0};
        bytes[n++] = (uint8_t)strtoul(pair, NULL, 16);
        hex++;
    }
    hd_gw_raw(w, hd_slice_str(key), type, bytes, n);
}

static void info(hd_gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *ne,
                 uint32_t type, uint64_t offset)
{
    hd_gw_info_raw(w, hd_slice_str(name), n_dims, ne, type, offset);
}

// A file with a bit of everything and nothing behind its last tensor.
static void write_sample(hd_gguf_writer *w)
{
    hd_gguf_writer_init(w);
    hd_gw_u32(w, "general.alignment", 32);
    hd_gw_str(w, "general.architecture", "llama");
    hd_gw_f32(w, "llama.eps", 1e-5f);
    hd_gw_bool(w, "flag", true);
    hd_gw_strs(w, "tokenizer.ggml.tokens", (const char *const[]){"a", "bc"}, 2);
    hd_gw_i32s(w, "tokenizer.ggml.token_type", (const int32_t[]){1, 3}, 2);
    hd_gw_tensor(w, "a", HD_F32, 2, SHAPE(2, 3), NULL);
    hd_gw_tensor(w, "b", HD_Q8_0, 1, SHAPE(32), NULL);
}

// ---- sweeps --------------------------------------------------------------------------------

static void truncated(void)
{
    hd_gguf_writer w;
    hd_err err;
    write_sample(&w);
    hd_slice all = hd_gw_finish(&w);
    EXPECT_INT(open_guarded(all, &err), HD_OK);
    for (size_t n = 0; n < all.n; n++) {
        hd_status st = open_guarded(hd_slice_of(all.p, n), &err);
        if (st != HD_E_CORRUPT && !(n < 4 && st == HD_E_INVAL))
            hd_test_fail(__FILE__, __LINE__, "%zu of %zu bytes: %s", n, all.n, err.msg);
    }
    hd_gguf_writer_fini(&w);
}

// Every byte set to values that make counts huge, types wrong and texts odd. Whatever opens must be
// readable to its last byte; the head must not open at all with most of them.
static void mutated(void)
{
    static const uint8_t values[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    hd_gguf_writer w;
    hd_err err;
    int refused = 0;
    write_sample(&w);
    hd_slice all = hd_gw_finish(&w);
    char *copy = hd_alloc(all.n);
    EXPECT(copy);
    for (size_t at = 0; at < all.n; at++)
        for (size_t v = 0; v < sizeof(values); v++) {
            memcpy(copy, all.p, all.n);
            copy[at] = (char)values[v];
            hd_status st = open_guarded(hd_slice_of(copy, all.n), &err);
            refused += st != HD_OK;
            if (at < 4 && copy[at] != all.p[at]) EXPECT_INT(st, HD_E_INVAL);
        }
    EXPECT(refused > 500);
    hd_free(copy);
    hd_gguf_writer_fini(&w);
}

// ---- the head ------------------------------------------------------------------------------

static void versions(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    w.version = 0;
    REFUSED(&w, HD_E_UNSUPPORTED, "memory: found version 0, expected 2 or 3");
    w.version = 1;
    REFUSED(&w, HD_E_UNSUPPORTED, "found version 1, expected 2 or 3");
    w.version = 4;
    REFUSED(&w, HD_E_UNSUPPORTED, "found version 4, expected 2 or 3");
    w.version = 0x03000000;
    REFUSED(&w, HD_E_UNSUPPORTED, "big-endian");
    w.version = 0x02000000;
    REFUSED(&w, HD_E_UNSUPPORTED, "big-endian");
    hd_err err;
    EXPECT_INT(open_guarded(hd_slice_str("PK\3\4 and so on, a zip file"), &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: found 'PK\\x03\\x04' at its start, expected 'GGUF'");
    EXPECT_INT(open_guarded(hd_slice_str(""), &err), HD_E_INVAL);
}

static void counts(void)
{
    static const uint64_t huge[] = {65537, UINT64_C(1) << 63, UINT64_MAX};
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    for (size_t i = 0; i < 3; i++) {
        w.n_keys = huge[i];
        REFUSED(&w, HD_E_LIMIT, "keys, expected at most 65536");
        w.n_tensors = huge[i];
        REFUSED(&w, HD_E_LIMIT, "tensors, expected at most 65536");
    }
    w.n_keys = 65536;
    REFUSED(&w, HD_E_CORRUPT, "found the end of the file at byte 24, expected 917504 bytes");
    w.n_tensors = 65536;
    REFUSED(&w, HD_E_CORRUPT, "found the end of the file");
}

// ---- keys ----------------------------------------------------------------------------------

static void keys(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_u8(&w, "a", 1);
    hd_gw_u8(&w, "a", 2);
    REFUSED(&w, HD_E_CORRUPT, "key 'a': found twice, expected every key once");
    hd_gw_u8(&w, "a", 1);
    hd_gw_u64(&w, "", 2);
    REFUSED(&w, HD_E_CORRUPT, "key 2 of 2: found an empty key");
    hd_gw_raw(&w, hd_slice_of("a\0b", 3), HD_GGUF_U8, "\1", 1);
    REFUSED(&w, HD_E_CORRUPT, "key 'a\\x00b': found byte 0x00, expected printable ASCII");
    hd_gw_u8(&w, "caf\xC3\xA9", 1);
    REFUSED(&w, HD_E_CORRUPT, "found byte 0xc3");
    hd_gw_u8(&w, "a\nb", 1);
    REFUSED(&w, HD_E_CORRUPT, "found byte 0x0a");
    raw(&w, "x", 13, "00");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found value type 13, expected one in [0, 12]");
    raw(&w, "x", UINT32_MAX, "00");
    REFUSED(&w, HD_E_CORRUPT, "found value type 4294967295");
    raw(&w, "x", HD_GGUF_BOOL, "02");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found byte 2, expected 0 or 1 for a bool");
}

static void long_key(void)
{
    char key[65537];
    memset(key, 'k', sizeof(key));
    hd_gguf_writer w;
    hd_err err;
    hd_gguf_writer_init(&w);
    hd_gw_raw(&w, hd_slice_of(key, 65535), HD_GGUF_U8, "\1", 1);
    EXPECT_INT(open_guarded(hd_gw_finish(&w), &err), HD_OK);
    hd_gw_raw(&w, hd_slice_of(key, 65536), HD_GGUF_U8, "\1", 1);
    REFUSED(&w, HD_E_LIMIT, "key 2 of 2: found a text of 65536 bytes, expected at most 65535");
}

static void texts(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    raw(&w, "x", HD_GGUF_STRING, "04 00 00 00 00 00 00 00 61 62 63");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found the end of the file");
    raw(&w, "x", HD_GGUF_STRING, "ff ff ff ff ff ff ff ff");
    REFUSED(&w, HD_E_LIMIT, "found a text of 18446744073709551615 bytes");
    raw(&w, "x", HD_GGUF_STRING, "01 00 00 04 00 00 00 00");
    REFUSED(&w, HD_E_LIMIT, "expected at most 67108864");
    raw(&w, "tokenizer.chat_template", HD_GGUF_STRING, "03 00 00 00 00 00 00 00 61 00 63");
    REFUSED(&w, HD_E_CORRUPT, "key 'tokenizer.chat_template': found a NUL byte");
}

static void arrays(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    raw(&w, "x", HD_GGUF_ARRAY, "09 00 00 00 01 00 00 00 00 00 00 00");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found an array of arrays");
    raw(&w, "x", HD_GGUF_ARRAY, "0d 00 00 00 01 00 00 00 00 00 00 00");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found element type 13");
    raw(&w, "x", HD_GGUF_ARRAY, "07 00 00 00 02 00 00 00 00 00 00 00 01 02");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found byte 2, expected 0 or 1");
    raw(&w, "x", HD_GGUF_ARRAY, "04 00 00 00 02 00 00 00 00 00 00 00 01 02 03 04 05 06 07");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found the end of the file");
    raw(&w, "x", HD_GGUF_ARRAY, "0a 00 00 00 01 00 00 00 00 00 00 20");
    REFUSED(&w, HD_E_LIMIT, "key 'x': found an array of 2305843009213693953 elements");
    raw(&w, "x", HD_GGUF_ARRAY, "00 00 00 00 ff ff ff ff ff ff ff ff");
    REFUSED(&w, HD_E_LIMIT, "expected at most 16777216");
    raw(&w, "x", HD_GGUF_ARRAY, "08 00 00 00 02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': found a count of 2 texts");
    raw(&w, "x", HD_GGUF_ARRAY, "08 00 00 00 01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00");
    REFUSED(&w, HD_E_CORRUPT, "key 'x': element 0: found the end of the file");
}

// Seventeen arrays of 16 MiB, in a file of holes.
static void huge_header(void)
{
    enum { N = 17, ELEMS = 16 << 20 };
    const char *path = hd_test_path(hd_test_tmpdir(), "huge.gguf");
    FILE *f = fopen(path, "wb");
    EXPECT(f);
    fwrite("GGUF\3\0\0\0\0\0\0\0\0\0\0\0\x11\0\0\0\0\0\0\0", 1, 24, f);
    for (char i = 0; i < N; i++) {
        fwrite("\1\0\0\0\0\0\0\0", 1, 8, f);
        fputc('a' + i, f);
        fwrite("\x09\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0", 1, 16, f);
        EXPECT(fseek(f, ELEMS, SEEK_CUR) == 0);
    }
    fputc(0, f);
    EXPECT(fclose(f) == 0);
    hd_err err = {0};
    hd_gguf *g;
    EXPECT_INT(hd_gguf_open(path, HD_FILE_MAP, &g, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg,
                    "huge.gguf: key 'p': found it to end at byte 268435880, expected metadata "
                    "of at most 268435456 bytes");
}

static void alignment(void)
{
    static const uint32_t bad[] = {0, 3, 4, 31, 131072, 1u << 31, UINT32_MAX};
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        hd_gw_u32(&w, "general.alignment", bad[i]);
        REFUSED(&w, HD_E_INVAL, "expected a power of two in [8, 65536]");
    }
    hd_gw_u64(&w, "general.alignment", 32);
    REFUSED(&w, HD_E_INVAL, "key 'general.alignment': found u64, expected u32");
    hd_gw_str(&w, "general.alignment", "32");
    REFUSED(&w, HD_E_INVAL, "found string, expected u32");
}

static void vocabulary(void)
{
    static const char *const two[] = {"a", "b"};
    static const char tokens[] = "tokenizer.ggml.tokens", types[] = "tokenizer.ggml.token_type",
                      scores[] = "tokenizer.ggml.scores", merges[] = "tokenizer.ggml.merges";
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_strs(&w, tokens, two, 2);
    hd_gw_i32s(&w, types, (const int32_t[]){1, 1, 1}, 3);
    REFUSED(&w, HD_E_CORRUPT, "key 'tokenizer.ggml.token_type': found 3 elements, expected 2");
    hd_gw_strs(&w, tokens, two, 2);
    hd_gw_f32s(&w, scores, (const float[]){1}, 1);
    REFUSED(&w, HD_E_CORRUPT, "key 'tokenizer.ggml.scores': found 1 elements, expected 2");
    hd_gw_strs(&w, tokens, two, 2);
    hd_gw_f32s(&w, types, (const float[]){1, 1}, 2);
    REFUSED(&w, HD_E_INVAL, "found an array of f32, expected an array of i32");
    hd_gw_strs(&w, tokens, two, 2);
    hd_gw_i32s(&w, scores, (const int32_t[]){1, 1}, 2);
    REFUSED(&w, HD_E_INVAL, "found an array of i32, expected an array of f32");
    hd_gw_i32s(&w, tokens, (const int32_t[]){1, 1}, 2);
    REFUSED(&w, HD_E_INVAL, "found an array of i32, expected an array of string");
    hd_gw_i32s(&w, merges, (const int32_t[]){1, 1}, 2);
    REFUSED(&w, HD_E_INVAL, "key 'tokenizer.ggml.merges': found an array of i32");
    hd_gw_str(&w, tokens, "a");
    REFUSED(&w, HD_E_INVAL, "found string, expected an array of string");
    char *text = hd_calloc(1, 65538);
    EXPECT(text);
    memset(text, 'x', 65537);
    hd_gw_strs(&w, tokens, (const char *const[]){"a", text}, 2);
    REFUSED(&w, HD_E_LIMIT, "element 1: found 65537 bytes, expected at most 65536");
    hd_free(text);
}

// ---- tensors -------------------------------------------------------------------------------

static void names(void)
{
    char name[65];
    memset(name, 'n', sizeof(name));
    hd_err err;
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_info_raw(&w, hd_slice_of(name, 63), 1, SHAPE(1), 0, 0);
    hd_gw_data(&w, NULL, 4);
    EXPECT_INT(open_guarded(hd_gw_finish(&w), &err), HD_OK);
    hd_gw_info_raw(&w, hd_slice_of(name, 64), 1, SHAPE(1), 0, 0);
    REFUSED(&w, HD_E_LIMIT, "tensor 2 of 2: found a text of 64 bytes, expected at most 63");
    hd_gw_tensor(&w, "t", HD_F32, 1, SHAPE(1), NULL);
    hd_gw_tensor(&w, "t", HD_F32, 1, SHAPE(1), NULL);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found twice, expected every name once");
    hd_gw_tensor(&w, "", HD_F32, 1, SHAPE(1), NULL);
    REFUSED(&w, HD_E_CORRUPT, "tensor 1 of 1: found an empty name");
    hd_gw_info_raw(&w, hd_slice_of("a\0b", 3), 1, SHAPE(1), 0, 0);
    hd_gw_data(&w, NULL, 4);
    REFUSED(&w, HD_E_CORRUPT, "name 'a\\x00b': found a NUL byte");
}

static void shapes(void)
{
    const uint64_t big = UINT64_C(1) << 63, half = UINT64_C(1) << 32;
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    info(&w, "t", 5, SHAPE(1, 1, 1, 1, 1), 0, 0);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found 5 dimensions, expected at most 4");
    info(&w, "t", UINT32_MAX, SHAPE(1, 1, 1, 1, 1, 1, 1, 1), 0, 0);
    REFUSED(&w, HD_E_CORRUPT, "found 4294967295 dimensions");
    info(&w, "t", 2, SHAPE(4, 0), 0, 0);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found a dimension of 0");
    info(&w, "t", 1, SHAPE(big), 0, 0);
    REFUSED(&w, HD_E_CORRUPT, "found a dimension of 9223372036854775808");
    info(&w, "t", 2, SHAPE(4, UINT64_MAX), 0, 0);
    REFUSED(&w, HD_E_CORRUPT, "found a dimension of 18446744073709551615");
    // Products that wrap to something small: 2^64 bytes, then 2^64 elements.
    info(&w, "t", 2, SHAPE(half, half / 4), 0, 0);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "found shape [1073741824, 4294967296] of type f32");
    info(&w, "t", 4, SHAPE(half, half, 1, 4), 24, 0);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "expected less than 2^64 bytes");
    info(&w, "t", 1, SHAPE(INT64_MAX - 31), 8, 0);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found offset 0 and 9799832789158199262 bytes");
    info(&w, "t", 2, SHAPE(33, 32), 8, 0);
    hd_gw_data(&w, NULL, 2000);
    REFUSED(&w, HD_E_CORRUPT, "expected rows of a multiple of 32 elements");
    info(&w, "t", 2, SHAPE(128, 2), 12, 0);
    hd_gw_data(&w, NULL, 2000);
    REFUSED(&w, HD_E_CORRUPT, "expected rows of a multiple of 256 elements");
    info(&w, "t", 0, NULL, 8, 0);
    REFUSED(&w, HD_E_CORRUPT, "found shape [] of type q8_0");
}

static void types(void)
{
    static const struct {
        uint32_t id;
        hd_status st;
        const char *part;
    } bad[] = {
        {UINT32_MAX, HD_E_CORRUPT, "found unknown type 4294967295"},
        {4, HD_E_UNSUPPORTED, "found type 4, which was removed from the format; expected"},
        {5, HD_E_UNSUPPORTED, "found type 5, which was removed"},
        {31, HD_E_UNSUPPORTED, "found type 31, which was removed"},
        {36, HD_E_UNSUPPORTED, "found type 36, which was removed from the format (ik_llama.cpp"},
        {38, HD_E_UNSUPPORTED, "found type 38, which was removed"},
        {9, HD_E_UNSUPPORTED, "found type Q8_1 (9), which this version cannot decode"},
        {16, HD_E_UNSUPPORTED, "found type IQ2_XXS (16), which this version cannot decode"},
        {41, HD_E_UNSUPPORTED, "found type Q1_0 (41)"},
        {43, HD_E_CORRUPT, "found unknown type 43"},
        {97, HD_E_UNSUPPORTED, "found type 97, private to ik_llama.cpp"},
        {137, HD_E_UNSUPPORTED, "found type 137, private to ik_llama.cpp"},
        {0x80000000u, HD_E_CORRUPT, "found unknown type 2147483648"},
    };
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        info(&w, "blk.0.w", 1, SHAPE(256), bad[i].id, 0);
        hd_gw_data(&w, NULL, 2048);
        REFUSED(&w, bad[i].st, bad[i].part);
    }
    info(&w, "blk.0.w", 1, SHAPE(256), 137, 0);
    REFUSED(&w, HD_E_UNSUPPORTED, "tensor 'blk.0.w': found type 137");
}

static void offsets(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    info(&w, "t", 1, SHAPE(4), 0, 16);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found data at offset 16, expected a multiple of 32");
    info(&w, "t", 1, SHAPE(4), 0, 32);
    hd_gw_data(&w, NULL, 47);
    REFUSED(&w, HD_E_CORRUPT, "tensor 't': found offset 32 and 16 bytes, expected both within");
    info(&w, "t", 1, SHAPE(4), 0, 64);
    hd_gw_data(&w, NULL, 47);
    REFUSED(&w, HD_E_CORRUPT, "found offset 64 and 16 bytes");
    info(&w, "t", 1, SHAPE(4), 0, UINT64_MAX - 31);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "found offset 18446744073709551584");
    info(&w, "t", 1, SHAPE(4), 0, UINT64_MAX - 15);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "expected a multiple of 32");
    info(&w, "a", 1, SHAPE(9), 0, 0);
    info(&w, "b", 1, SHAPE(4), 0, 32);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "tensor 'b': found its data inside tensor 'a', expected no overlap");
    info(&w, "a", 1, SHAPE(4), 0, 32);
    info(&w, "b", 1, SHAPE(4), 0, 32);
    hd_gw_data(&w, NULL, 64);
    REFUSED(&w, HD_E_CORRUPT, "expected no overlap");
}

// The last tensor may end anywhere; the gap in front of the data must be there.
static void end_of_data(void)
{
    hd_gguf_writer w;
    hd_err err;
    hd_gguf_writer_init(&w);
    info(&w, "t", 1, SHAPE(3), 24, 0);
    hd_gw_data(&w, "abc", 3);
    hd_slice all = hd_gw_finish(&w);
    EXPECT_INT(open_guarded(all, &err), HD_OK);
    EXPECT_INT(open_guarded(hd_slice_of(all.p, all.n - 1), &err), HD_E_CORRUPT);
    EXPECT_CONTAINS(err.msg, "tensor 't': found offset 0 and 3 bytes");
    EXPECT_INT(open_guarded(hd_slice_of(all.p, all.n - 4), &err), HD_E_CORRUPT);
    EXPECT_CONTAINS(err.msg, "expected tensor data from byte 64 on");
    hd_gguf_writer_fini(&w);
}

// ---- split sets ----------------------------------------------------------------------------

typedef struct part {
    int no, count, n_tensors; // as the keys say; count < 0: no keys
    const char *tensor;
} part;

static void write_part(const char *dir, const char *file, part p)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    if (p.count >= 0) hd_gw_split(&w, (uint16_t)p.no, (uint16_t)p.count, p.n_tensors);
    hd_gw_tensor(&w, p.tensor, HD_F32, 1, SHAPE(2), NULL);
    hd_gw_save(&w, hd_test_path(dir, file));
    hd_gguf_writer_fini(&w);
}

static void split_refused(const char *dir, const char *file, hd_status want, const char *part_of)
{
    hd_err err = {0};
    hd_gguf *g;
    EXPECT_INT(hd_gguf_open(hd_test_path(dir, file), HD_FILE_MAP, &g, &err), want);
    EXPECT(!g);
    EXPECT_CONTAINS(err.msg, part_of);
}

static void split_sets(void)
{
    const char *dir = hd_test_tmpdir();
    static const char first[] = "m-00001-of-00002.gguf", second[] = "m-00002-of-00002.gguf";
    write_part(dir, first, (part){0, 2, 2, "a"});
    split_refused(dir, first, HD_E_NOTFOUND, "m-00002-of-00002.gguf: not found, expected part 2");
    hd_test_mkdir(hd_test_path(dir, second));
    split_refused(dir, first, HD_E_NOTFOUND, "not found");
    EXPECT(remove(hd_test_path(dir, second)) == 0);
    write_part(dir, second, (part){1, 2, 2, "b"});
    hd_gguf *g;
    EXPECT(hd_gguf_open(hd_test_path(dir, first), HD_FILE_MAP, &g, NULL) == HD_OK);
    hd_gguf_close(g);
    split_refused(dir, second, HD_E_INVAL,
                  "m-00002-of-00002.gguf: found part 2 of 2, expected to be given part 1");
    write_part(dir, second, (part){0, 2, 2, "b"});
    split_refused(dir, first, HD_E_CORRUPT, "m-00002-of-00002.gguf: found part 1 of 2");
    write_part(dir, second, (part){1, 3, 2, "b"});
    split_refused(dir, first, HD_E_CORRUPT, "found part 2 of 3");
    write_part(dir, second, (part){1, 2, 3, "b"});
    split_refused(dir, first, HD_E_CORRUPT, "with 3 tensors in all, expected part 2 of 2 with 2");
    write_part(dir, second, (part){1, -1, 2, "b"});
    split_refused(dir, first, HD_E_CORRUPT, "found part 1 of 0");
    write_part(dir, second, (part){1, 2, 2, "a"});
    split_refused(dir, first, HD_E_CORRUPT, "tensor 'a': found twice");
    hd_test_write_str(hd_test_path(dir, second), "GGUF");
    split_refused(dir, first, HD_E_CORRUPT, "m-00002-of-00002.gguf: found the end of the file");
}

static void split_keys(void)
{
    const char *dir = hd_test_tmpdir();
    static const char first[] = "m-00001-of-00002.gguf", second[] = "m-00002-of-00002.gguf";
    write_part(dir, first, (part){0, 2, 3, "a"});
    write_part(dir, second, (part){1, 2, 3, "b"});
    split_refused(dir, first, HD_E_CORRUPT, "found 2 tensors in 2 parts, expected 3");
    write_part(dir, "x.gguf", (part){0, 2, 2, "a"});
    split_refused(dir, "x.gguf", HD_E_INVAL, "a name that ends in -00001-of-00002.gguf");
    write_part(dir, first, (part){0, 3, 2, "a"});
    split_refused(dir, first, HD_E_CORRUPT, "expected part 1 of 2 as its name says");
    write_part(dir, first, (part){2, 2, 2, "a"});
    split_refused(dir, first, HD_E_INVAL, "key 'split.no': found 2, expected an integer in [0, 1]");
    write_part(dir, first, (part){0, 2, -1, "a"});
    split_refused(dir, first, HD_E_INVAL, "key 'split.tensors.count': found -1");
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_split(&w, 0, 2, 2);
    REFUSED(&w, HD_E_UNSUPPORTED, "found part 1 of 2, expected a complete file");
    hd_gw_u16(&w, "split.count", 2);
    REFUSED(&w, HD_E_CORRUPT, "found split.count but no split.no, expected both");
    hd_gw_u16(&w, "split.count", 2);
    hd_gw_u16(&w, "split.no", 0);
    REFUSED(&w, HD_E_CORRUPT, "found split.count but no split.tensors.count");
    hd_gw_str(&w, "split.count", "2");
    REFUSED(&w, HD_E_INVAL, "key 'split.count': found string, expected an integer");
    hd_gw_i32(&w, "split.count", -2);
    REFUSED(&w, HD_E_INVAL, "key 'split.count': found -2");
}

static void no_file(void)
{
    const char *dir = hd_test_tmpdir();
    split_refused(dir, "absent.gguf", HD_E_NOTFOUND, "absent.gguf");
    split_refused(dir, "", HD_E_INVAL, "found a folder");
    hd_test_write_str(hd_test_path(dir, "empty.gguf"), "");
    split_refused(dir, "empty.gguf", HD_E_INVAL, "empty.gguf: found '' at its start");
}

HD_TEST_MAIN("gguf_bad", {"truncated", truncated}, {"mutated", mutated}, {"versions", versions},
             {"counts", counts}, {"keys", keys}, {"long_key", long_key}, {"texts", texts},
             {"arrays", arrays}, {"huge_header", huge_header}, {"alignment", alignment},
             {"vocabulary", vocabulary}, {"names", names}, {"shapes", shapes}, {"types", types},
             {"offsets", offsets}, {"end_of_data", end_of_data}, {"split_sets", split_sets},
             {"split_keys", split_keys}, {"no_file", no_file})
