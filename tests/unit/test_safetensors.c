// safetensors: one file, and everything that must be refused in it. Inputs end at a page that may
// not be touched. Shards are in test_safetensors_index.c.
#include "kernels/base/mem.h"
#include "models/weights/source.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>
#include <time.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW_BUILD 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOW_BUILD 1
#endif

#define SHAPE(...)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

// ---- helpers -------------------------------------------------------------------------------

static hd_source *open_mem(hd_slice bytes)
{
    hd_err err = {0};
    hd_source *s;
    if (hd_source_open_safetensors_mem(bytes, &s, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return s;
}

static hd_source *open_dir(const char *dir)
{
    hd_err err = {0};
    hd_source *s;
    if (hd_source_open_safetensors(dir, HD_FILE_MAP, &s, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return s;
}

static hd_status open_guarded(hd_slice bytes, hd_err *err)
{
    hd_guarded copy = hd_guard(bytes);
    hd_source *s;
    volatile uint8_t sum = 0;
    *err = (hd_err){0};
    hd_status st = hd_source_open_safetensors_mem(copy.bytes, &s, err);
    if (st == HD_OK) {
        for (size_t i = 0; i < hd_source_count(s); i++) {
            const hd_source_tensor *t = hd_source_at(s, i);
            EXPECT(hd_source_find(s, t->name) == t);
            for (uint64_t k = 0; k < t->bytes; k++)
                sum = (uint8_t)(sum + ((const uint8_t *)t->data)[k]);
        }
    } else {
        EXPECT(!s && err->code == st);
        EXPECT(strncmp(err->msg, "memory: ", 8) == 0 && !strchr(err->msg, '\n'));
        EXPECT_CONTAINS(err->msg, "expected");
    }
    hd_source_close(s);
    hd_guard_free(&copy);
    return st;
}

// A file with this header and so many bytes of data.
static void refused_at(int line, const char *header, size_t data, hd_status want, const char *part)
{
    hd_buf file = {0};
    hd_err err;
    hd_st_bytes(&file, hd_slice_str(header), data);
    hd_status st = open_guarded(hd_buf_slice(&file), &err);
    if (st != want || (st != HD_OK && !strstr(err.msg, part)))
        hd_test_fail(__FILE__, line, "got %s \"%s\", want %s \"...%s...\"", hd_status_name(st),
                     err.msg, hd_status_name(want), part);
    hd_buf_fini(&file);
}
#define REFUSED(header, data, st, part) refused_at(__LINE__, (header), (data), (st), (part))
#define ACCEPTED(header, data)          refused_at(__LINE__, (header), (data), HD_OK, "")

// One F32 tensor "t" of shape [2] with this text in place of a field.
static void field_at(int line, const char *dtype, const char *shape, const char *offsets,
                     hd_status want, const char *part)
{
    char header[512];
    snprintf(header, sizeof(header), "{\"t\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}",
             dtype, shape, offsets);
    refused_at(line, header, 8, want, part);
}
#define DTYPE(text, st, part)   field_at(__LINE__, (text), "[2]", "[0,8]", (st), (part))
#define DIMS(text, st, part)    field_at(__LINE__, "\"F32\"", (text), "[0,8]", (st), (part))
#define OFFSETS(text, st, part) field_at(__LINE__, "\"F32\"", "[2]", (text), (st), (part))

static void write_sample(hd_st_writer *w)
{
    static const float v[6] = {1, 2, 3, 4, 5, 6};
    hd_st_writer_init(w);
    hd_sw_raw(w, "\"__metadata__\":{\"format\":\"pt\"}");
    hd_sw_floats(w, "model.a", HD_BF16, 2, SHAPE(2, 3), v);
    hd_sw_tensor(w, "odd", HD_U8, 1, SHAPE(3), "abc");
    hd_sw_floats(w, "model.b", HD_F32, 1, SHAPE(6), v);
    hd_sw_tensor(w, "empty", HD_F32, 2, SHAPE(0, 7), NULL);
    hd_sw_tensor(w, "scalar", HD_I64, 0, NULL, NULL);
}

// ---- what is right -------------------------------------------------------------------------

static void tensors(void)
{
    hd_st_writer w;
    write_sample(&w);
    hd_source *s = open_mem(hd_sw_finish(&w));
    EXPECT_INT(hd_source_count(s), 5);
    EXPECT_INT(hd_source_files(s), 1);
    EXPECT_STR(hd_source_file_name(s, 0), "memory");
    EXPECT_INT(hd_source_bytes(s), 12 + 3 + 24 + 0 + 8);
    const hd_source_tensor *t = hd_source_find(s, hd_slice_str("model.a"));
    EXPECT(t == hd_source_at(s, 0) && t->dtype == HD_BF16 && t->rank == 2 && t->bytes == 12);
    EXPECT(t->shape[0] == 2 && t->shape[1] == 3);
    EXPECT(memcmp(t->data, "\x80\x3F\x00\x40\x40\x40", 6) == 0);
    t = hd_source_find(s, hd_slice_str("model.b")); // not aligned: an odd tensor lies before it
    float v[6];
    memcpy(v, t->data, sizeof(v));
    EXPECT(v[0] == 1 && v[5] == 6);
    t = hd_source_find(s, hd_slice_str("empty"));
    EXPECT(t->rank == 2 && t->bytes == 0 && t->shape[1] == 7);
    t = hd_source_find(s, hd_slice_str("scalar"));
    EXPECT(t->rank == 0 && t->bytes == 8 && t->dtype == HD_I64);
    EXPECT(!hd_source_find(s, hd_slice_str("model.")));
    EXPECT(!hd_source_find(s, hd_slice_str("__metadata__")));
    hd_source_close(s);
    hd_st_writer_fini(&w);
}

static void all_types(void)
{
    hd_st_writer w;
    hd_st_writer_init(&w);
    for (int i = 0; i < HD_DTYPE_COUNT; i++)
        if (hd_dtype_get((hd_dtype)i)->st)
            hd_sw_tensor(&w, hd_dtype_name((hd_dtype)i), (hd_dtype)i, 1, SHAPE(3), NULL);
    hd_source *s = open_mem(hd_sw_finish(&w));
    for (size_t i = 0; i < hd_source_count(s); i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        EXPECT(hd_slice_eq_str(t->name, hd_dtype_name(t->dtype)));
        EXPECT_INT(t->bytes, 3 * hd_dtype_get(t->dtype)->block_bytes);
    }
    EXPECT_INT(hd_source_count(s), 16);
    hd_source_close(s);
    hd_st_writer_fini(&w);
}

// Entries in any order, blanks everywhere, names with escapes, offsets that count up.
static void spellings(void)
{
    static const char header[] =
        "{ \"late\" : {\"data_offsets\" : [4, 8],\"dtype\":\"F32\",\n\t\"shape\":[ ]} ,"
        "\"q\\\"\\u00e9\\\\{}\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[0,4]} , "
        "\"zero\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}  }   ";
    hd_buf file = {0};
    hd_st_bytes(&file, hd_slice_str(header), 8);
    hd_source *s = open_mem(hd_buf_slice(&file));
    EXPECT_INT(hd_source_count(s), 3);
    EXPECT(hd_slice_eq_str(hd_source_at(s, 0)->name, "q\"\xC3\xA9\\{}"));
    EXPECT(hd_slice_eq_str(hd_source_at(s, 1)->name, "zero"));
    EXPECT(hd_slice_eq_str(hd_source_at(s, 2)->name, "late"));
    EXPECT(hd_source_find(s, hd_slice_str("q\"\xC3\xA9\\{}")) == hd_source_at(s, 0));
    hd_source_close(s);
    hd_buf_fini(&file);
    ACCEPTED("{}", 0);
    ACCEPTED("{\"__metadata__\":{}}", 0);
    ACCEPTED("{\"__metadata__\":{\"a\":\"{\\\"b\\\": [1, 2]}\"}}", 0);
}

static void single_file(void)
{
    const char *dir = hd_test_tmpdir();
    hd_st_writer w;
    write_sample(&w);
    hd_sw_save(&w, hd_test_path(dir, "model.safetensors"));
    hd_source *s = open_dir(dir);
    EXPECT_STR(hd_source_file_name(s, 0), "model.safetensors");
    for (size_t i = 0; i < hd_source_count(s); i++) {
        hd_source_want(s, hd_source_at(s, i));
        hd_source_drop(s, hd_source_at(s, i));
    }
    EXPECT(memcmp(hd_source_find(s, hd_slice_str("odd"))->data, "abc", 3) == 0);
    hd_source_close(s);
    hd_source_close(NULL);
    hd_st_writer_fini(&w);
}

// ---- what is wrong -------------------------------------------------------------------------

static void truncated(void)
{
    hd_st_writer w;
    hd_err err;
    write_sample(&w);
    hd_slice all = hd_sw_finish(&w);
    EXPECT_INT(open_guarded(all, &err), HD_OK);
    for (size_t n = 0; n < all.n; n++) {
        hd_status st = open_guarded(hd_slice_of(all.p, n), &err);
        if (st != HD_E_CORRUPT)
            hd_test_fail(__FILE__, __LINE__, "%zu of %zu bytes: %s", n, all.n, err.msg);
    }
    hd_st_writer_fini(&w);
}

static void mutated(void)
{
    static const uint8_t values[] = {0x00, ' ', '"', '{', ']', '9', 0x7F, 0x80, 0xFF};
    hd_st_writer w;
    hd_err err;
    int refused = 0;
    write_sample(&w);
    hd_slice all = hd_sw_finish(&w);
    char *copy = hd_alloc(all.n);
    EXPECT(copy);
    for (size_t at = 0; at < all.n; at++)
        for (size_t v = 0; v < sizeof(values); v++) {
            memcpy(copy, all.p, all.n);
            copy[at] = (char)values[v];
            refused += open_guarded(hd_slice_of(copy, all.n), &err) != HD_OK;
        }
    EXPECT(refused > 1000);
    hd_free(copy);
    hd_st_writer_fini(&w);
}

static void lengths(void)
{
    hd_err err;
    EXPECT_INT(open_guarded(hd_slice_of("\0\0\0\0\0\0\0\0", 8), &err), HD_E_CORRUPT);
    EXPECT_STR(err.msg, "memory: found a header that begins with '', expected '{'");
    EXPECT_INT(open_guarded(hd_slice_of("\0\0\0\0\0\0\0\x80{}", 10), &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "found a header of 9223372036854775808 bytes, expected at most 1000");
    EXPECT_INT(open_guarded(hd_slice_of("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}", 10), &err),
               HD_E_LIMIT);
    EXPECT_INT(open_guarded(hd_slice_of("\x01\xE1\xF5\x05\0\0\0\0{}", 10), &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "found a header of 100000001 bytes, expected at most 100000000");
    EXPECT_INT(open_guarded(hd_slice_of("\x03\0\0\0\0\0\0\0{}", 10), &err), HD_E_CORRUPT);
    EXPECT_CONTAINS(err.msg, "found a header of 3 bytes, expected at most 2");
    REFUSED(" {}", 0, HD_E_CORRUPT, "begins with ' ', expected '{'");
    REFUSED("[]", 0, HD_E_CORRUPT, "begins with '[', expected '{'");
    REFUSED("\xEF\xBB\xBF{}", 0, HD_E_CORRUPT, "begins with '\\xef'");
    REFUSED("{}", 1, HD_E_CORRUPT, "found 1 bytes of data, expected 0");
}

static void grammar(void)
{
    REFUSED("{", 0, HD_E_INVAL, "header: line 1 column 2: expected");
    REFUSED("{}}", 0, HD_E_INVAL, "header: line 1 column 3: expected the end");
    REFUSED("{\"a\xFF\":1}", 0, HD_E_INVAL, "expected valid UTF-8");
    REFUSED("{\"a\\u0000\":1}", 0, HD_E_INVAL, "NUL");
    REFUSED("{\"a\":[[[[]]]]}", 0, HD_E_LIMIT, "header: line 1 column 9: nested too deeply");
    REFUSED("{\"__metadata__\":1}", 0, HD_E_CORRUPT, "__metadata__: found a number");
    REFUSED("{\"__metadata__\":{\"a\":1}}", 0, HD_E_CORRUPT, "__metadata__: 'a': found a number");
    REFUSED("{\"__metadata__\":{},\"__metadata__\":{}}", 0, HD_E_CORRUPT,
            "__metadata__: found twice");
    REFUSED("{\"t\":1}", 0, HD_E_CORRUPT, "tensor 't': found a number, expected an object");
    REFUSED("{\"t\":{}}", 0, HD_E_CORRUPT, "tensor 't': found 0 fields, expected dtype, shape and");
    REFUSED("{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}}", 0,
            HD_E_CORRUPT, "found 4 fields");
    REFUSED("{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"shape\":[0]}}", 0, HD_E_CORRUPT,
            "found 3 fields, expected dtype, shape and data_offsets once each");
    REFUSED("{\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0],\"shape\":[0]}}", 0,
            HD_E_CORRUPT, "found 4 fields");
    REFUSED("{\"\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, HD_E_LIMIT,
            "found a name of 0 bytes");
}

static void dtypes(void)
{
    DTYPE("\"F32\"", HD_OK, "");
    DTYPE("1", HD_E_CORRUPT, "tensor 't': dtype: found a number, expected a string");
    DTYPE("null", HD_E_CORRUPT, "dtype: found null, expected a string");
    DTYPE("\"f32\"", HD_E_CORRUPT, "tensor 't': dtype: found 'f32', expected one such as");
    DTYPE("\"F32x\"", HD_E_CORRUPT, "found 'F32x'");
    DTYPE("\"\"", HD_E_CORRUPT, "found ''");
    DTYPE("\"F4\"", HD_E_UNSUPPORTED, "dtype: found F4, which this version cannot decode");
    DTYPE("\"F8_E4M3FNUZ\"", HD_E_UNSUPPORTED, "found F8_E4M3FNUZ");
    DTYPE("\"C64\"", HD_E_UNSUPPORTED, "found C64");
    DTYPE("\"I64\"", HD_E_CORRUPT, "found 8 bytes, expected 16 for shape [2] of i64");
}

static void shapes(void)
{
    DIMS("[2]", HD_OK, "");
    DIMS("[1,1,1,1,1,1,1,2]", HD_OK, "");
    DIMS("[1,1,1,1,1,1,1,1,2]", HD_E_LIMIT, "shape: found 9 numbers, expected at most 8");
    DIMS("2", HD_E_CORRUPT, "tensor 't': shape: found a number, expected an array");
    DIMS("[\"2\"]", HD_E_CORRUPT, "shape: found a string, expected integers");
    DIMS("[true]", HD_E_CORRUPT, "shape: found a boolean, expected integers");
    DIMS("[-2]", HD_E_CORRUPT, "shape: element 0: found -2, expected an integer");
    DIMS("[2.5]", HD_E_CORRUPT, "shape: element 0: found 2.5, expected an integer");
    DIMS("[2.0]", HD_E_CORRUPT, "expected plain digits");
    DIMS("[2e0]", HD_E_CORRUPT, "expected plain digits");
    DIMS("[2,-0]", HD_E_CORRUPT, "expected plain digits");
    DIMS("[9223372036854775808]", HD_E_CORRUPT, "element 0: found 9.22337203685478e+18");
    DIMS("[99999999999999999999999]", HD_E_CORRUPT, "expected an integer in [0, 2^63)");
    DIMS("[3]", HD_E_CORRUPT, "data_offsets: found 8 bytes, expected 12 for shape [3] of f32");
    DIMS("[]", HD_E_CORRUPT, "expected 4 for shape [] of f32");
    DIMS("[0]", HD_E_CORRUPT, "expected 0 for shape [0]");
    // 2^62 * 4 bytes and 2^32 * 2^32 elements wrap to 0.
    DIMS("[4611686018427387904]", HD_E_CORRUPT, "expected less than 2^64 bytes");
    DIMS("[4294967296,4294967296]", HD_E_CORRUPT,
         "shape: found [4294967296, 4294967296], expected less than 2^64 bytes");
    // 2^63 + 2 elements of 4 bytes wrap to 8.
    DIMS("[4611686018427387906]", HD_E_CORRUPT, "expected less than 2^64 bytes");
}

static void offsets(void)
{
    OFFSETS("[0,8]", HD_OK, "");
    OFFSETS("[0]", HD_E_CORRUPT, "data_offsets: found 1 numbers, expected 2");
    OFFSETS("[0,8,8]", HD_E_LIMIT, "data_offsets: found 3 numbers, expected at most 2");
    OFFSETS("{}", HD_E_CORRUPT, "data_offsets: found an object, expected an array");
    OFFSETS("[8,0]", HD_E_CORRUPT, "data_offsets: found [8, 0], expected them in order");
    OFFSETS("[0,9]", HD_E_CORRUPT, "found [0, 9], expected them in order and at most 8");
    OFFSETS("[0,7]", HD_E_CORRUPT, "found 7 bytes, expected 8");
    OFFSETS("[-8,0]", HD_E_CORRUPT, "element 0: found -8");
    OFFSETS("[18446744073709551608,0]", HD_E_CORRUPT, "element 0: found 1.84467440737096e+19");
    OFFSETS("[9223372036854775800,9223372036854775807]", HD_E_CORRUPT, "at most 8");
}

static void cover(void)
{
#define T(name, offs) "\"" name "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" offs "}"
    ACCEPTED("{" T("a", "[0,4]") "," T("b", "[4,8]") "}", 8);
    ACCEPTED("{" T("b", "[4,8]") "," T("a", "[0,4]") "}", 8);
    REFUSED("{" T("a", "[0,4]") "," T("b", "[5,9]") "}", 9, HD_E_CORRUPT,
            "tensor 'b': found its data at offset 5, expected 4, where the tensor before it ends");
    REFUSED("{" T("a", "[0,4]") "," T("b", "[3,7]") "}", 7, HD_E_CORRUPT, "offset 3, expected 4");
    REFUSED("{" T("a", "[0,4]") "," T("b", "[0,4]") "}", 4, HD_E_CORRUPT, "offset 0, expected 4");
    REFUSED("{" T("a", "[1,5]") "}", 5, HD_E_CORRUPT, "offset 1, expected 0");
    REFUSED("{" T("a", "[0,4]") "}", 5, HD_E_CORRUPT, "found 5 bytes of data, expected 4");
    REFUSED("{" T("a", "[0,4]") "," T("a", "[4,8]") "}", 8, HD_E_CORRUPT,
            "tensor 'a': found twice, expected every name once");
    REFUSED("{" T("a", "[0,4]") "," T("\\u0061", "[4,8]") "}", 8, HD_E_CORRUPT, "found twice");
#undef T
}

static void names(void)
{
    char header[2048], name[1026];
    memset(name, 'n', sizeof(name));
    name[1024] = '\0';
    snprintf(header, sizeof(header),
             "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", name);
    ACCEPTED(header, 0);
    name[1024] = 'n';
    name[1025] = '\0';
    snprintf(header, sizeof(header),
             "{\"%s\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", name);
    REFUSED(header, 0, HD_E_LIMIT, "nnn...': found a name of 1025 bytes, expected 1 to 1024");
    REFUSED("{\"a\\nb\":1}", 0, HD_E_CORRUPT, "tensor 'a\\x0ab': found a number");
}

// ---- size ----------------------------------------------------------------------------------

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void many_tensors(void)
{
    enum { N = 90000 };
    hd_st_writer w;
    char name[128];
    hd_st_writer_init(&w);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "model.layers.%d.mlp.experts.%d.down_proj.weight_scale_inv",
                 i / 1500, i % 1500);
        hd_sw_tensor(&w, name, HD_U8, 2, SHAPE(2, 1), NULL);
    }
    hd_slice bytes = hd_sw_finish(&w);
    double start = cpu_seconds();
    hd_source *s = open_mem(bytes);
    double took = cpu_seconds() - start;
    EXPECT_INT(hd_source_count(s), N);
    const hd_source_tensor *t = hd_source_find(s, hd_slice_str(name));
    EXPECT(t == hd_source_at(s, N - 1));
#ifndef SLOW_BUILD
    if (took >= 1) hd_test_fail(__FILE__, __LINE__, "%d tensors opened in %.2f s", N, took);
#else
    (void)took;
#endif
    hd_source_close(s);
    hd_st_writer_fini(&w);
}

static void too_many_tensors(void)
{
    enum { MOST = 1 << 20 };
    hd_buf header = {0}, file = {0};
    hd_err err;
    for (int i = 0; i <= MOST; i++)
        hd_buf_printf(&header, "%c\"%x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                      i ? ',' : '{', (unsigned)i);
    hd_buf_putc(&header, '}');
    hd_st_bytes(&file, hd_buf_slice(&header), 0);
    hd_source *s;
    EXPECT_INT(hd_source_open_safetensors_mem(hd_buf_slice(&file), &s, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "tensor '100000': found more than 1048576 tensors");
    hd_buf_fini(&header);
    hd_buf_fini(&file);
}

// ---- memory --------------------------------------------------------------------------------

typedef hd_status (*opener)(const void *what, hd_source **s, hd_err *err);

static hd_status by_dir(const void *what, hd_source **s, hd_err *err)
{
    return hd_source_open_safetensors(what, HD_FILE_MAP, s, err);
}

static hd_status by_bytes(const void *what, hd_source **s, hd_err *err)
{
    return hd_source_open_safetensors_mem(*(const hd_slice *)what, s, err);
}

// Fails each allocation in turn, until opening needs fewer. A failure must not be swallowed.
static int fail_each(opener open, const void *what)
{
    for (int nth = 1;; nth++) {
        hd_err err = {0};
        hd_source *s;
        hd_mem_fail_at(nth, nth % 2 == 0);
        hd_status st = open(what, &s, &err);
        uint64_t seen = hd_mem_fail_at(0, false);
        EXPECT((s != NULL) == (st == HD_OK));
        hd_source_close(s);
        if (st == HD_OK) {
            EXPECT(seen < (uint64_t)nth);
            return nth - 1;
        }
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(err.msg[0] && err.code == HD_E_NOMEM);
    }
}

static void out_of_memory(void)
{
    const char *dir = hd_test_tmpdir();
    hd_st_writer w;
    write_sample(&w);
    hd_sw_tensor(&w, "name \"with\" escapes", HD_F32, 1, SHAPE(1), NULL);
    hd_sw_save(&w, hd_test_path(dir, "model.safetensors"));
    EXPECT(fail_each(by_dir, dir) > 30);
    hd_slice bytes = hd_sw_finish(&w);
    EXPECT(fail_each(by_bytes, &bytes) > 30);
    hd_st_writer_fini(&w);
}

HD_TEST_MAIN("safetensors", {"tensors", tensors}, {"all_types", all_types},
             {"spellings", spellings}, {"single_file", single_file}, {"truncated", truncated},
             {"mutated", mutated}, {"lengths", lengths}, {"grammar", grammar}, {"dtypes", dtypes},
             {"shapes", shapes}, {"offsets", offsets}, {"cover", cover}, {"names", names},
             {"many_tensors", many_tensors}, {"too_many_tensors", too_many_tensors},
             {"out_of_memory", out_of_memory})
