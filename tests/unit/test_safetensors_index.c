// Folders of safetensors files: shards behind an index, and what must be refused there.
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "models/weights/source.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>
#include <unistd.h>

#define SHAPE(...)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

// ---- helpers -------------------------------------------------------------------------------

static hd_source *open_dir(const char *dir)
{
    hd_err err = {0};
    hd_source *s;
    if (hd_source_open_safetensors(dir, HD_FILE_MAP, &s, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return s;
}

static void write_shard(const char *dir, const char *file, const char *const *names, int n)
{
    hd_st_writer w;
    hd_st_writer_init(&w);
    for (int i = 0; i < n; i++)
        hd_sw_tensor(&w, names[i], HD_U8, 1, SHAPE(3), names[i]);
    hd_sw_save(&w, hd_test_path(dir, file));
    hd_st_writer_fini(&w);
}

static void write_index(const char *dir, const char *text)
{
    hd_test_write_str(hd_test_path(dir, "model.safetensors.index.json"), text);
}

static const char good_index[] =
    "{\"metadata\":{\"total_size\":9},\"weight_map\":{\"a.1\":\"s1.safetensors\","
    "\"b.1\":\"s2.safetensors\",\"a.2\":\"s1.safetensors\"}}";

static void write_shards(const char *dir)
{
    write_shard(dir, "s1.safetensors", (const char *const[]){"a.1", "a.2"}, 2);
    write_shard(dir, "s2.safetensors", (const char *const[]){"b.1"}, 1);
    write_index(dir, good_index);
}

static void refused_dir_at(int line, const char *dir, hd_status want, const char *part)
{
    hd_err err = {0};
    hd_source *s;
    hd_status st = hd_source_open_safetensors(dir, HD_FILE_MAP, &s, &err);
    if (st != want || s || !strstr(err.msg, part) || strchr(err.msg, '\n'))
        hd_test_fail(__FILE__, line, "got %s \"%s\", want %s \"...%s...\"", hd_status_name(st),
                     err.msg, hd_status_name(want), part);
}
#define REFUSED_DIR(dir, st, part) refused_dir_at(__LINE__, (dir), (st), (part))

static char log_text[4096];
static void keep_log(void *ctx, hd_slice line)
{
    (void)ctx;
    snprintf(log_text + strlen(log_text), sizeof(log_text) - strlen(log_text), "%.*s", (int)line.n,
             line.p);
}

// ---- what is right -------------------------------------------------------------------------

static void shards(void)
{
    const char *dir = hd_test_tmpdir();
    write_shards(dir);
    hd_log_set_sink(keep_log, NULL);
    hd_source *s = open_dir(dir);
    EXPECT_STR(log_text, "");
    EXPECT_INT(hd_source_files(s), 2);
    EXPECT_INT(hd_source_count(s), 3);
    EXPECT_INT(hd_source_bytes(s), 9);
    for (size_t i = 0; i < 3; i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        EXPECT_STR(hd_source_file_name(s, t->file),
                   t->name.p[0] == 'a' ? "s1.safetensors" : "s2.safetensors");
        EXPECT(memcmp(t->data, t->name.p, 3) == 0);
        EXPECT(hd_source_find(s, t->name) == t);
        hd_source_want(s, t);
        hd_source_drop(s, t);
    }
    hd_source_close(s);
}

// Tensors that the index places elsewhere or nowhere are left out; a wrong total is no reason to
// refuse. Both are said once.
static void shards_with_extras(void)
{
    const char *dir = hd_test_tmpdir();
    write_shard(dir, "s1.safetensors", (const char *const[]){"a.1", "a.2", "b.1", "xxx"}, 4);
    write_shard(dir, "s2.safetensors", (const char *const[]){"b.1"}, 1);
    write_index(dir,
                "{\"metadata\":{\"total_size\":10.5},\"weight_map\":{\"a.1\":\"s1.safetensors\""
                ",\"b.1\":\"s2.safetensors\",\"a.2\":\"s1.safetensors\"}}");
    hd_log_set_sink(keep_log, NULL);
    hd_source *s = open_dir(dir);
    EXPECT_INT(hd_source_count(s), 3);
    EXPECT_INT(hd_source_bytes(s), 9);
    EXPECT_INT(hd_source_find(s, hd_slice_str("b.1"))->file, 1);
    EXPECT(!hd_source_find(s, hd_slice_str("xxx")));
    EXPECT_CONTAINS(log_text, "file=s1.safetensors tensors=2 first=b.1");
    EXPECT_CONTAINS(log_text, "metadata.total_size");
    hd_source_close(s);
}

static void single_before_index(void)
{
    const char *dir = hd_test_tmpdir();
    write_shards(dir);
    write_shard(dir, "model.safetensors", (const char *const[]){"one"}, 1);
    hd_source *s = open_dir(dir);
    EXPECT_INT(hd_source_count(s), 1);
    hd_source_close(s);
}

// Caches of model hubs link to files outside the folder.
static void linked_shard(void)
{
    const char *dir = hd_test_tmpdir(), *sub = hd_test_path(dir, "snapshot");
    hd_test_mkdir(sub);
    write_shards(dir);
    write_index(sub, "{\"weight_map\":{\"b.1\":\"model-1.safetensors\"}}");
    EXPECT(symlink("../s2.safetensors", hd_test_path(sub, "model-1.safetensors")) == 0);
    hd_source *s = open_dir(sub);
    EXPECT_INT(hd_source_count(s), 1);
    hd_source_close(s);
}

// ---- what is wrong -------------------------------------------------------------------------

static void bad_shards(void)
{
    const char *dir = hd_test_tmpdir();
    REFUSED_DIR(dir, HD_E_NOTFOUND,
                ": no model.safetensors and no model.safetensors.index.json in this folder");
    write_index(dir, good_index);
    REFUSED_DIR(dir, HD_E_NOTFOUND,
                "model.safetensors.index.json: shard 's1.safetensors' not found "
                "in its folder, expected all 2 shards");
    write_shards(dir);
    write_shard(dir, "s2.safetensors", (const char *const[]){"c.1"}, 1);
    REFUSED_DIR(dir, HD_E_CORRUPT,
                "model.safetensors.index.json: tensor 'b.1': not found in "
                "'s2.safetensors', expected it there");
    write_shard(dir, "s2.safetensors", (const char *const[]){"b.1", "b.1"}, 2);
    REFUSED_DIR(dir, HD_E_CORRUPT, "s2.safetensors: tensor 'b.1': found twice");
    hd_test_write_str(hd_test_path(dir, "s2.safetensors"), "short");
    REFUSED_DIR(dir, HD_E_CORRUPT, "s2.safetensors: found 5 bytes");
    hd_test_write_str(hd_test_path(dir, "s2.safetensors"), "");
    REFUSED_DIR(dir, HD_E_CORRUPT, "s2.safetensors: found 0 bytes");
    EXPECT(remove(hd_test_path(dir, "s2.safetensors")) == 0);
    hd_test_mkdir(hd_test_path(dir, "s2.safetensors"));
    REFUSED_DIR(dir, HD_E_NOTFOUND, "shard 's2.safetensors' not found");
}

static void bad_index(void)
{
    static const struct {
        const char *text;
        hd_status st;
        const char *part;
    } bad[] = {
        {"", HD_E_INVAL, "model.safetensors.index.json: line 1 column 1"},
        {"[]", HD_E_CORRUPT, "model.safetensors.index.json: found an array, expected an object"},
        {"{}", HD_E_CORRUPT, "weight_map: found null with 0 entries"},
        {"{\"weight_map\":{}}", HD_E_CORRUPT, "weight_map: found an object with 0 entries"},
        {"{\"weight_map\":[1]}", HD_E_CORRUPT, "weight_map: found an array with 1 entries"},
        {"{\"weight_map\":{\"t\":1}}", HD_E_CORRUPT, "weight_map: tensor 't': found a number"},
        {"{\"weight_map\":{\"t\":\"\"}}", HD_E_INVAL, "tensor 't': found file '', expected the"},
        {"{\"weight_map\":{\"t\":\"../x\"}}", HD_E_INVAL, "tensor 't': found file '../x'"},
        {"{\"weight_map\":{\"t\":\"..\"}}", HD_E_INVAL, "found file '..', expected the plain name"},
        {"{\"weight_map\":{\"t\":\"/etc/passwd\"}}", HD_E_INVAL, "found file '/etc/passwd'"},
        {"{\"weight_map\":{\"t\":\"a/b\"}}", HD_E_INVAL, "found file 'a/b'"},
        {"{\"weight_map\":{\"t\":\"a\\u0000b\"}}", HD_E_INVAL, "NUL"},
        {"{\"weight_map\":{\"t\":\"a\",\"t\":\"a\"}}", HD_E_CORRUPT, "tensor 't': found twice"},
        {"{\"weight_map\":{\"\":\"a\"}}", HD_E_LIMIT, "found a name of 0 bytes"},
        {"{\"metadata\":{\"total_size\":\"1\"},\"weight_map\":{\"t\":\"a\"}}", HD_E_CORRUPT,
         "metadata.total_size: found a string, expected a number"},
        {"{\"a\":[[[[[[[[[]]]]]]]]]}", HD_E_LIMIT, "nested too deeply"},
    };
    const char *dir = hd_test_tmpdir();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_index(dir, bad[i].text);
        REFUSED_DIR(dir, bad[i].st, bad[i].part);
    }
}

static void too_many_shards(void)
{
    hd_buf text = {0};
    hd_buf_puts(&text, "{\"weight_map\":{");
    for (int i = 0; i <= 4096; i++)
        hd_buf_printf(&text, "%s\"t%d\":\"s%d\"", i ? "," : "", i, i);
    hd_buf_puts(&text, "}}");
    const char *dir = hd_test_tmpdir();
    write_index(dir, text.data);
    REFUSED_DIR(dir, HD_E_LIMIT, "tensor 't4096': found more than 4096 files");
    hd_buf_fini(&text);
}

static void too_many_mappings(void)
{
    hd_buf text = {0};
    hd_buf_puts(&text, "{\"weight_map\":{");
    for (int i = 0; i <= 1 << 20; i++)
        hd_buf_printf(&text, "%s\"%x\":\"s\"", i ? "," : "", (unsigned)i);
    hd_buf_puts(&text, "}}");
    const char *dir = hd_test_tmpdir();
    write_index(dir, text.data);
    REFUSED_DIR(dir, HD_E_LIMIT, "weight_map: found 1048577 tensors, expected at most 1048576");
    hd_buf_fini(&text);
}

// ---- memory --------------------------------------------------------------------------------

// Fails each allocation in turn, until opening needs fewer. A failure must not be swallowed.
static int fail_each(const char *dir)
{
    for (int nth = 1;; nth++) {
        hd_err err = {0};
        hd_source *s;
        hd_mem_fail_at(nth, nth % 2 == 0);
        hd_status st = hd_source_open_safetensors(dir, HD_FILE_MAP, &s, &err);
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
    write_shards(dir);
    EXPECT(fail_each(dir) > 50);
}

HD_TEST_MAIN("safetensors_index", {"shards", shards}, {"shards_with_extras", shards_with_extras},
             {"single_before_index", single_before_index}, {"linked_shard", linked_shard},
             {"bad_shards", bad_shards}, {"bad_index", bad_index},
             {"too_many_shards", too_many_shards}, {"too_many_mappings", too_many_mappings},
             {"out_of_memory", out_of_memory})
