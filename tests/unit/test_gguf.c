// GGUF files that are right: keys, getters, tensors, split sets, real vocabularies. What must be
// refused is in test_gguf_bad.c.
#include "kernels/base/mem.h"
#include "models/weights/source.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#define SHAPE(...)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static hd_gguf *open_mem(hd_gguf_writer *w)
{
    hd_err err = {0};
    hd_gguf *g;
    if (hd_gguf_open_mem(hd_gw_finish(w), &g, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return g;
}

static hd_gguf *open_path(const char *path)
{
    hd_err err = {0};
    hd_gguf *g;
    if (hd_gguf_open(path, HD_FILE_MAP, &g, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return g;
}

static hd_source *open_source(const hd_gguf *g)
{
    hd_err err = {0};
    hd_source *s;
    if (hd_source_open_gguf(g, &s, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return s;
}

// ---- keys ----------------------------------------------------------------------------------

static void write_all_types(hd_gguf_writer *w)
{
    hd_gw_u8(w, "u8", 250);
    hd_gw_raw(w, hd_slice_str("i8"), HD_GGUF_I8, "\xFE", 1);
    hd_gw_u16(w, "u16", 65000);
    hd_gw_raw(w, hd_slice_str("i16"), HD_GGUF_I16, "\xFD\xFF", 2);
    hd_gw_u32(w, "u32", 4000000000u);
    hd_gw_i32(w, "i32", -4);
    hd_gw_f32(w, "f32", 0.5f);
    hd_gw_bool(w, "yes", true);
    hd_gw_bool(w, "no", false);
    hd_gw_str(w, "str", "hello\nworld");
    hd_gw_str(w, "empty", "");
    hd_gw_u64(w, "u64", UINT64_MAX);
    hd_gw_i64(w, "i64", INT64_MIN);
    hd_gw_f64(w, "f64", 1e-6);
    hd_gw_f32(w, "inf", INFINITY);
    hd_gw_strs(w, "strs", (const char *const[]){"a", "", "ccc"}, 3);
    hd_gw_strs(w, "none", NULL, 0);
    hd_gw_i32s(w, "i32s", (const int32_t[]){1, -2}, 2);
    hd_gw_f32s(w, "f32s", (const float[]){1.5f}, 1);
}

static int64_t get_i64(const hd_gguf *g, const char *key)
{
    int64_t v = 0;
    hd_err err = {0};
    if (hd_gguf_get_i64(g, key, INT64_MIN, INT64_MAX, &v, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return v;
}

static void numbers(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    write_all_types(&w);
    hd_gguf *g = open_mem(&w);
    EXPECT_INT(get_i64(g, "u8"), 250);
    EXPECT_INT(get_i64(g, "i8"), -2);
    EXPECT_INT(get_i64(g, "u16"), 65000);
    EXPECT_INT(get_i64(g, "i16"), -3);
    EXPECT_INT(get_i64(g, "u32"), 4000000000);
    EXPECT_INT(get_i64(g, "i32"), -4);
    EXPECT_INT(get_i64(g, "i64"), INT64_MIN);
    double f = 0;
    EXPECT(hd_gguf_get_f64(g, "f32", &f, NULL) == HD_OK && f == 0.5);
    EXPECT(hd_gguf_get_f64(g, "f64", &f, NULL) == HD_OK && f == 1e-6);
    EXPECT(hd_gguf_get_f64(g, "i32", &f, NULL) == HD_OK && f == -4);
    EXPECT(hd_gguf_get_f64(g, "u8", &f, NULL) == HD_OK && f == 250);
    bool b = false;
    EXPECT(hd_gguf_get_bool(g, "yes", &b, NULL) == HD_OK && b);
    EXPECT(hd_gguf_get_bool(g, "no", &b, NULL) == HD_OK && !b);
    EXPECT(hd_gguf_has(g, "u8") && !hd_gguf_has(g, "u9"));
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

static void texts_and_arrays(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    write_all_types(&w);
    hd_gguf *g = open_mem(&w);
    hd_slice s;
    EXPECT(hd_gguf_get_str(g, "str", &s, NULL) == HD_OK && hd_slice_eq_str(s, "hello\nworld"));
    EXPECT(hd_gguf_get_str(g, "empty", &s, NULL) == HD_OK && s.n == 0);
    hd_gguf_array a;
    EXPECT(hd_gguf_get_array(g, "strs", HD_GGUF_STRING, &a, NULL) == HD_OK);
    EXPECT(a.n == 3 && a.type == HD_GGUF_STRING && hd_slice_eq_str(a.str[0], "a") &&
           a.str[1].n == 0 && hd_slice_eq_str(a.str[2], "ccc"));
    EXPECT(hd_gguf_get_array(g, "none", HD_GGUF_ARRAY, &a, NULL) == HD_OK);
    EXPECT(a.n == 0 && a.type == HD_GGUF_STRING && a.str);
    EXPECT(hd_gguf_get_array(g, "i32s", HD_GGUF_I32, &a, NULL) == HD_OK);
    EXPECT(a.n == 2 && !a.str && memcmp(a.data, "\1\0\0\0\xFE\xFF\xFF\xFF", 8) == 0);
    EXPECT(hd_gguf_get_array(g, "f32s", HD_GGUF_ARRAY, &a, NULL) == HD_OK && a.type == HD_GGUF_F32);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

// Absent keys: the value and the message stay as they were.
static void absent(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gguf *g = open_mem(&w);
    hd_err err = {.code = HD_OK, .msg = "untouched"};
    int64_t i = 7;
    double f = 7;
    bool b = true;
    hd_slice s = hd_slice_str("seven");
    hd_gguf_array a = {.n = 7};
    EXPECT(hd_gguf_get_i64(g, "x", 0, 1, &i, &err) == HD_E_NOTFOUND && i == 7);
    EXPECT(hd_gguf_get_f64(g, "x", &f, &err) == HD_E_NOTFOUND && f == 7);
    EXPECT(hd_gguf_get_bool(g, "x", &b, &err) == HD_E_NOTFOUND && b);
    EXPECT(hd_gguf_get_str(g, "x", &s, &err) == HD_E_NOTFOUND && hd_slice_eq_str(s, "seven"));
    EXPECT(hd_gguf_get_array(g, "x", HD_GGUF_I32, &a, &err) == HD_E_NOTFOUND && a.n == 7);
    EXPECT_STR(err.msg, "untouched");
    EXPECT_INT(err.code, HD_OK);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

static void wrong_types(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    write_all_types(&w);
    hd_gguf *g = open_mem(&w);
    hd_err err = {0};
    int64_t i = 7;
    EXPECT_INT(hd_gguf_get_i64(g, "str", 0, 9, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'str': found string, expected an integer");
    EXPECT_INT(hd_gguf_get_i64(g, "yes", 0, 9, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'yes': found bool, expected an integer");
    EXPECT_INT(hd_gguf_get_i64(g, "f32", 0, 9, &i, &err), HD_E_INVAL);
    EXPECT_INT(hd_gguf_get_i64(g, "u8", 0, 249, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'u8': found 250, expected an integer in [0, 249]");
    EXPECT_INT(hd_gguf_get_i64(g, "u8", 251, 300, &i, &err), HD_E_INVAL);
    EXPECT_INT(hd_gguf_get_i64(g, "u8", -9, -1, &i, &err), HD_E_INVAL);
    EXPECT_INT(hd_gguf_get_i64(g, "i32", 0, 9, &i, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'i32': found -4, expected an integer in [0, 9]");
    EXPECT_INT(hd_gguf_get_i64(g, "u64", INT64_MIN, INT64_MAX, &i, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "found 18446744073709551615");
    EXPECT_INT(i, 7);
    double f = 7;
    EXPECT_INT(hd_gguf_get_f64(g, "str", &f, &err), HD_E_INVAL);
    EXPECT_INT(hd_gguf_get_f64(g, "inf", &f, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'inf': found inf, expected a finite number");
    bool b = true;
    EXPECT_INT(hd_gguf_get_bool(g, "u8", &b, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'u8': found u8, expected bool");
    hd_slice s;
    EXPECT_INT(hd_gguf_get_str(g, "strs", &s, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'strs': found an array of string, expected string");
    hd_gguf_array a;
    EXPECT_INT(hd_gguf_get_array(g, "i32s", HD_GGUF_F32, &a, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'i32s': found an array of i32, expected an array of f32");
    EXPECT_INT(hd_gguf_get_array(g, "u8", HD_GGUF_ARRAY, &a, &err), HD_E_INVAL);
    EXPECT_STR(err.msg, "memory: key 'u8': found u8, expected an array");
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

static const char *text_of(const hd_gguf *g, const char *key, size_t max_chars, hd_buf *b)
{
    hd_buf_clear(b);
    for (size_t i = 0; i < hd_gguf_n_keys(g); i++)
        if (hd_slice_eq_str(hd_gguf_key(g, i), key)) hd_gguf_value_text(g, i, max_chars, b);
    EXPECT(!b->failed);
    return b->data ? b->data : "";
}

static void value_texts(void)
{
    hd_gguf_writer w;
    hd_buf b = {0};
    hd_gguf_writer_init(&w);
    write_all_types(&w);
    hd_gw_str(&w, "odd", "a\xFF\x01\xE2\x82\xAC\xE2\x82");
    hd_gguf *g = open_mem(&w);
    EXPECT_INT(hd_gguf_n_keys(g), 20);
    EXPECT(hd_slice_eq_str(hd_gguf_key(g, 0), "u8") && hd_slice_eq_str(hd_gguf_key(g, 19), "odd"));
    EXPECT_STR(text_of(g, "u8", 99, &b), "250");
    EXPECT_STR(text_of(g, "i64", 99, &b), "-9223372036854775808");
    EXPECT_STR(text_of(g, "u64", 99, &b), "18446744073709551615");
    EXPECT_STR(text_of(g, "f32", 99, &b), "0.5");
    EXPECT_STR(text_of(g, "f64", 99, &b), "1e-06");
    EXPECT_STR(text_of(g, "yes", 99, &b), "true");
    EXPECT_STR(text_of(g, "no", 99, &b), "false");
    EXPECT_STR(text_of(g, "str", 99, &b), "hello\\nworld");
    EXPECT_STR(text_of(g, "str", 4, &b), "hell...");
    EXPECT_STR(text_of(g, "str", 11, &b), "hello\\nworld");
    EXPECT_STR(text_of(g, "strs", 99, &b), "[string x 3]");
    EXPECT_STR(text_of(g, "f32s", 0, &b), "[f32 x 1]");
    EXPECT_STR(text_of(g, "odd", 99, &b), "a\xEF\xBF\xBD\\x01\xE2\x82\xAC\xEF\xBF\xBD");
    hd_gguf_close(g);
    hd_buf_fini(&b);
    hd_gguf_writer_fini(&w);
}

// ---- tensors -------------------------------------------------------------------------------

static void tensors(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    float v[64];
    for (int i = 0; i < 64; i++)
        v[i] = (float)i;
    hd_gw_floats(&w, "m", HD_F32, 2, SHAPE(3, 5), v);
    hd_gw_floats(&w, "q", HD_Q8_0, 2, SHAPE(2, 32), v);
    hd_gw_tensor(&w, "e", HD_Q4_K, 3, SHAPE(2, 3, 256), NULL);
    hd_gw_tensor(&w, "v4", HD_F16, 4, SHAPE(1, 2, 3, 4), NULL);
    hd_gw_tensor(&w, "s", HD_I32, 0, NULL, "\7\0\0\0");
    hd_gguf *g = open_mem(&w);
    hd_source *s = open_source(g);
    EXPECT_INT(hd_source_count(s), 5);
    EXPECT_INT(hd_source_files(s), 1);
    EXPECT_STR(hd_source_file_name(s, 0), "memory");
    EXPECT_INT(hd_source_bytes(s), 60 + 68 + 864 + 48 + 4);
    const hd_source_tensor *t = hd_source_find(s, hd_slice_str("m"));
    EXPECT(t == hd_source_at(s, 0) && t->dtype == HD_F32 && t->rank == 2 && t->file == 0);
    EXPECT(t->shape[0] == 3 && t->shape[1] == 5 && t->bytes == 60);
    EXPECT(memcmp(t->data, v, 60) == 0);
    t = hd_source_find(s, hd_slice_str("q"));
    EXPECT(t->dtype == HD_Q8_0 && t->bytes == 2 * 34 && t->shape[0] == 2 && t->shape[1] == 32);
    t = hd_source_find(s, hd_slice_str("e"));
    EXPECT(t->rank == 3 && t->shape[0] == 2 && t->shape[1] == 3 && t->shape[2] == 256);
    t = hd_source_find(s, hd_slice_str("v4"));
    EXPECT(t->rank == 4 && t->shape[0] == 1 && t->shape[3] == 4 && t->bytes == 48);
    t = hd_source_find(s, hd_slice_str("s"));
    EXPECT(t->rank == 0 && t->bytes == 4 && memcmp(t->data, "\7\0\0\0", 4) == 0);
    EXPECT(!hd_source_find(s, hd_slice_str("absent")) && !hd_source_find(s, hd_slice_str("")));
    hd_source_want(s, t); // no file behind it: nothing happens
    hd_source_drop(s, t);
    hd_source_close(s);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

// Every id of the format that this build decodes, with one row of one block.
static void all_types(void)
{
    for (int i = 0; i < HD_DTYPE_COUNT; i++) {
        const hd_dtype_traits *r = hd_dtype_get((hd_dtype)i);
        if (r->ggml_id < 0) continue;
        hd_gguf_writer w;
        hd_gguf_writer_init(&w);
        hd_gw_tensor(&w, "t", (hd_dtype)i, 2, SHAPE(2, (uint64_t)r->block), NULL);
        hd_gguf *g = open_mem(&w);
        hd_source *s = open_source(g);
        EXPECT_INT(hd_source_at(s, 0)->dtype, i);
        EXPECT_INT(hd_source_at(s, 0)->bytes, 2 * r->block_bytes);
        hd_source_close(s);
        hd_gguf_close(g);
        hd_gguf_writer_fini(&w);
    }
}

// The directory may be in any order; the source lists tensors as they lie in the file.
static void any_order(void)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_info_raw(&w, hd_slice_str("late"), 1, SHAPE(4), 0, 32);
    hd_gw_info_raw(&w, hd_slice_str("early"), 1, SHAPE(4), 0, 0);
    hd_gw_data(&w, NULL, 64); // with something behind the last tensor
    hd_gguf *g = open_mem(&w);
    hd_source *s = open_source(g);
    EXPECT(hd_slice_eq_str(hd_source_at(s, 0)->name, "early"));
    EXPECT(hd_slice_eq_str(hd_source_at(s, 1)->name, "late"));
    EXPECT(hd_source_find(s, hd_slice_str("late")) == hd_source_at(s, 1));
    hd_source_close(s);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
}

static void alignments(void)
{
    static const uint32_t good[] = {8, 16, 64, 65536};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        hd_gguf_writer w;
        hd_gguf_writer_init(&w);
        w.align = good[i];
        w.version = i % 2 ? 2 : 3;
        hd_gw_u32(&w, "general.alignment", good[i]);
        hd_gw_tensor(&w, "a", HD_I8, 1, SHAPE(3), "abc");
        hd_gw_tensor(&w, "b", HD_I8, 1, SHAPE(3), "def");
        hd_gguf *g = open_mem(&w);
        hd_source *s = open_source(g);
        const hd_source_tensor *a = hd_source_at(s, 0), *b = hd_source_at(s, 1);
        EXPECT(memcmp(a->data, "abc", 3) == 0 && memcmp(b->data, "def", 3) == 0);
        EXPECT_INT((const char *)b->data - (const char *)a->data, good[i]);
        hd_source_close(s);
        hd_gguf_close(g);
        hd_gguf_writer_fini(&w);
    }
}

static void mapped_file(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "m.gguf");
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_tensor(&w, "a", HD_I8, 1, SHAPE(20000), NULL);
    hd_gw_tensor(&w, "b", HD_I8, 1, SHAPE(3), "abc");
    hd_gw_save(&w, path);
    hd_gguf *g = open_path(path);
    hd_source *s = open_source(g);
    EXPECT_STR(hd_source_file_name(s, 0), "m.gguf");
    for (size_t i = 0; i < 2; i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        hd_source_want(s, t);
        hd_source_drop(s, t);
        EXPECT(memcmp(t->data, i ? "abc" : "\0\1\2", 3) == 0);
    }
    hd_source_close(s);
    hd_gguf_close(g);
    hd_gguf_close(NULL);
    hd_source_close(NULL);
    hd_gguf_writer_fini(&w);
}

// ---- split sets ----------------------------------------------------------------------------

// Three parts; part p holds p + 1 tensors "p.i".
static void write_parts(const char *dir)
{
    for (uint16_t p = 0; p < 3; p++) {
        char name[64];
        hd_gguf_writer w;
        hd_gguf_writer_init(&w);
        if (p == 0) hd_gw_str(&w, "general.architecture", "llama");
        hd_gw_split(&w, p, 3, 6);
        for (int i = 0; i <= p; i++) {
            snprintf(name, sizeof(name), "%d.%d", p, i);
            hd_gw_tensor(&w, name, HD_I8, 1, SHAPE(3), name);
        }
        snprintf(name, sizeof(name), "m-%05d-of-00003.gguf", p + 1);
        hd_gw_save(&w, hd_test_path(dir, name));
        hd_gguf_writer_fini(&w);
    }
}

static void split_set(void)
{
    const char *dir = hd_test_tmpdir();
    write_parts(dir);
    hd_gguf *g = open_path(hd_test_path(dir, "m-00001-of-00003.gguf"));
    hd_source *s = open_source(g);
    EXPECT_INT(hd_source_files(s), 3);
    EXPECT_INT(hd_source_count(s), 6);
    EXPECT_STR(hd_source_file_name(s, 2), "m-00003-of-00003.gguf");
    for (size_t i = 0; i < 6; i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        EXPECT_INT(t->name.p[0] - '0', t->file);
        EXPECT(memcmp(t->data, t->name.p, 3) == 0);
        EXPECT(hd_source_find(s, t->name) == t);
        hd_source_want(s, t);
        hd_source_drop(s, t);
    }
    hd_slice arch;
    EXPECT(hd_gguf_get_str(g, "general.architecture", &arch, NULL) == HD_OK);
    hd_source_close(s);
    hd_gguf_close(g);
}

// Tools that merge a set leave split.count 0; a "set" of one file is no set.
static void merged_set(void)
{
    for (uint16_t count = 0; count < 2; count++) {
        const char *path = hd_test_path(hd_test_tmpdir(), "merged.gguf");
        hd_gguf_writer w;
        hd_gguf_writer_init(&w);
        hd_gw_split(&w, 0, count, 1);
        hd_gw_tensor(&w, "t", HD_F32, 1, SHAPE(1), NULL);
        hd_gw_save(&w, path);
        hd_gguf_close(open_path(path));
        hd_gguf_writer_fini(&w);
    }
}

// ---- real vocabularies ---------------------------------------------------------------------

static void check_vocabulary(const char *file, const char *pre, uint64_t n_tokens)
{
    hd_gguf *g = open_path(hd_test_shared(file));
    hd_source *s = open_source(g);
    hd_gguf_array tokens, types, merges;
    hd_slice text;
    EXPECT_INT(hd_source_count(s), 0);
    EXPECT_INT(hd_source_bytes(s), 0);
    EXPECT(hd_gguf_get_str(g, "tokenizer.ggml.pre", &text, NULL) == HD_OK);
    EXPECT(hd_slice_eq_str(text, pre));
    EXPECT(hd_gguf_get_array(g, "tokenizer.ggml.tokens", HD_GGUF_STRING, &tokens, NULL) == HD_OK);
    EXPECT(hd_gguf_get_array(g, "tokenizer.ggml.token_type", HD_GGUF_I32, &types, NULL) == HD_OK);
    EXPECT(hd_gguf_get_array(g, "tokenizer.ggml.merges", HD_GGUF_STRING, &merges, NULL) == HD_OK);
    EXPECT_INT(tokens.n, n_tokens);
    EXPECT_INT(types.n, n_tokens);
    EXPECT(merges.n > 1000 && memchr(merges.str[0].p, ' ', merges.str[0].n));
    EXPECT(hd_slice_eq_str(tokens.str[0], "!"));
    hd_source_close(s);
    hd_gguf_close(g);
}

static void vocabulary_llm(void)
{
    check_vocabulary("gguf-vocab/ggml-vocab-deepseek-llm.gguf", "deepseek-llm", 102400);
}

static void vocabulary_coder(void)
{
    check_vocabulary("gguf-vocab/ggml-vocab-deepseek-coder.gguf", "deepseek-coder", 32256);
}

// ---- memory --------------------------------------------------------------------------------

typedef hd_status (*opener)(const void *what, hd_gguf **g, hd_err *err);

static hd_status by_path(const void *what, hd_gguf **g, hd_err *err)
{
    return hd_gguf_open(what, HD_FILE_MAP, g, err);
}

static hd_status by_bytes(const void *what, hd_gguf **g, hd_err *err)
{
    return hd_gguf_open_mem(*(const hd_slice *)what, g, err);
}

// Fails each allocation in turn, until opening needs fewer. A failure must not be swallowed.
static int fail_each(opener open, const void *what)
{
    for (int nth = 1;; nth++) {
        hd_err err = {0};
        hd_gguf *g;
        hd_source *s = NULL;
        hd_mem_fail_at(nth, nth % 2 == 0);
        hd_status st = open(what, &g, &err);
        if (st == HD_OK) st = hd_source_open_gguf(g, &s, &err);
        uint64_t seen = hd_mem_fail_at(0, false);
        hd_source_close(s);
        hd_gguf_close(g);
        if (st == HD_OK) {
            EXPECT(seen < (uint64_t)nth);
            return nth - 1;
        }
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(err.msg[0] && err.code == HD_E_NOMEM && !s);
    }
}

static void out_of_memory(void)
{
    const char *dir = hd_test_tmpdir();
    write_parts(dir);
    EXPECT(fail_each(by_path, hd_test_path(dir, "m-00001-of-00003.gguf")) > 10);
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    write_all_types(&w);
    hd_gw_tensor(&w, "t", HD_F32, 1, SHAPE(1), NULL);
    hd_slice bytes = hd_gw_finish(&w);
    EXPECT(fail_each(by_bytes, &bytes) > 5);
    hd_gguf_writer_fini(&w);
}

HD_TEST_MAIN("gguf", {"numbers", numbers}, {"texts_and_arrays", texts_and_arrays},
             {"absent", absent}, {"wrong_types", wrong_types}, {"value_texts", value_texts},
             {"tensors", tensors}, {"all_types", all_types}, {"any_order", any_order},
             {"alignments", alignments}, {"mapped_file", mapped_file}, {"split_set", split_set},
             {"merged_set", merged_set}, {"vocabulary_llm", vocabulary_llm},
             {"vocabulary_coder", vocabulary_coder}, {"out_of_memory", out_of_memory})
