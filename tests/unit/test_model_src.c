// Where a model is: folders in Hugging Face layout, GGUF files, folders that hold one.
#include "kernels/base/mem.h"
#include "models/config.h"
#include "models/model_src.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- helpers -------------------------------------------------------------------------------

static hd_model_src *open_src(const char *path)
{
    hd_err err = {0};
    hd_model_src *s;
    if (hd_model_src_open(path, HD_FILE_MAP, &s, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return s;
}

static void refused_at(int line, const char *path, hd_status want, const char *part)
{
    hd_err err = {0};
    hd_model_src *s;
    hd_status st = hd_model_src_open(path, HD_FILE_MAP, &s, &err);
    if (st != want || s || !strstr(err.msg, part) || strchr(err.msg, '\n'))
        hd_test_fail(__FILE__, line, "got %s \"%s\", want %s \"...%s...\"", hd_status_name(st),
                     err.msg, hd_status_name(want), part);
}
#define REFUSED(path, st, part) refused_at(__LINE__, (path), (st), (part))

static void write_gguf(const char *path, const char *template)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_str(&w, "general.architecture", "llama");
    if (template) hd_gw_str(&w, "tokenizer.chat_template", template);
    hd_gw_save(&w, path);
    hd_gguf_writer_fini(&w);
}

static void write_part(const char *dir, const char *file, uint16_t no)
{
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_split(&w, no, 2, 0);
    hd_gw_save(&w, hd_test_path(dir, file));
    hd_gguf_writer_fini(&w);
}

static const char *new_folder(const char *name)
{
    const char *dir = hd_test_path(hd_test_tmpdir(), name);
    hd_test_mkdir(dir);
    return dir;
}

// ---- what is found -------------------------------------------------------------------------

static void folder(void)
{
    const char *dir = new_folder("DeepSeek-R1-Distill-Qwen-1.5B");
    hd_test_write_str(hd_test_path(dir, "config.json"), "{\"hidden_size\": 64}");
    hd_model_src *s = open_src(dir);
    EXPECT(!s->gguf && s->config && !s->tokenizer_config && !s->generation_config);
    EXPECT_STR(s->path, dir);
    EXPECT_STR(s->name, "DeepSeek-R1-Distill-Qwen-1.5B");
    int64_t n = 0;
    EXPECT(hd_json_i64(hd_json_get(s->config, "hidden_size"), &n) && n == 64);
    hd_model_src_close(s);
    hd_test_write_str(hd_test_path(dir, "tokenizer_config.json"), "{\"a\": 1}");
    hd_test_write_str(hd_test_path(dir, "generation_config.json"), "{\"b\": 1}");
    write_gguf(hd_test_path(dir, "other.gguf"), NULL); // config.json decides
    s = open_src(hd_test_path(dir, "//"));
    EXPECT(!s->gguf && hd_json_get(s->tokenizer_config, "a") &&
           hd_json_get(s->generation_config, "b"));
    EXPECT_STR(s->name, "DeepSeek-R1-Distill-Qwen-1.5B");
    hd_model_src_close(s);
    hd_model_src_close(NULL);
}

static void gguf_file(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "DeepSeek-V2.5-Q4_K_M.gguf");
    write_gguf(path, NULL);
    hd_model_src *s = open_src(path);
    EXPECT(s->gguf && !s->config && !s->tokenizer_config && !s->generation_config);
    EXPECT_STR(s->path, path);
    EXPECT_STR(s->name, "DeepSeek-V2.5-Q4_K_M");
    hd_model_src_close(s);
}

// GGUF is told by its content; the name need not end in .gguf.
static void gguf_blob(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "sha256-0123.bin");
    write_gguf(path, NULL);
    hd_model_src *s = open_src(path);
    EXPECT_STR(s->name, "sha256-0123.bin");
    hd_model_src_close(s);
}

static void folder_with_gguf(void)
{
    const char *dir = new_folder("model");
    write_gguf(hd_test_path(dir, "m.gguf"), NULL);
    hd_test_write_str(hd_test_path(dir, "README.md"), "text");
    hd_test_write_str(hd_test_path(dir, "._m.gguf"), "left behind by an archive program");
    hd_model_src *s = open_src(dir);
    EXPECT(s->gguf && !s->config);
    EXPECT_STR(s->path, hd_test_path(dir, "m.gguf"));
    EXPECT_STR(s->name, "m");
    hd_model_src_close(s);
}

static void folder_with_split_set(void)
{
    const char *dir = new_folder("model");
    write_part(dir, "m-00002-of-00002.gguf", 1);
    REFUSED(dir, HD_E_NOTFOUND, "m-00001-of-00002.gguf");
    write_part(dir, "m-00001-of-00002.gguf", 0);
    hd_model_src *s = open_src(dir);
    EXPECT_STR(s->path, hd_test_path(dir, "m-00001-of-00002.gguf"));
    EXPECT_STR(s->name, "m");
    hd_model_src_close(s);
    write_part(dir, "m-00001-of-00003.gguf", 0);
    REFUSED(dir, HD_E_INVAL, "model: found 2 GGUF models and no config.json, expected one");
}

static void relative_names(void)
{
    const char *dir = new_folder("here-1.5");
    hd_test_write_str(hd_test_path(dir, "config.json"), "{}");
    hd_test_mkdir(hd_test_path(dir, "sub"));
    EXPECT(chdir(dir) == 0);
    static const char *const paths[] = {".", "./", "sub/..", "../here-1.5"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        hd_model_src *s = open_src(paths[i]);
        EXPECT_STR(s->name, "here-1.5");
        hd_model_src_close(s);
    }
}

static void tokenizer_alone(void)
{
    const char *dir = new_folder("model");
    hd_model_cfg cfg;
    hd_err err = {0};
    hd_test_write_str(hd_test_path(dir, "tokenizer.json"), "{}");
    hd_test_write_str(hd_test_path(dir, "tokenizer_config.json"), "{}");
    hd_model_src *s = open_src(dir);
    EXPECT(!s->gguf && !s->config && s->tokenizer_config);
    EXPECT_INT(hd_config_read(s, &cfg, &err), HD_E_NOTFOUND);
    EXPECT_CONTAINS(err.msg, "model/config.json: there is no such file");
    hd_model_src_close(s);
    write_gguf(hd_test_path(dir, "m.gguf"), NULL); // a model goes before it
    s = open_src(dir);
    EXPECT(s->gguf && !s->tokenizer_config);
    hd_model_src_close(s);
}

// ---- what is refused -----------------------------------------------------------------------

static void nothing_there(void)
{
    const char *dir = new_folder("model");
    REFUSED(hd_test_path(dir, "absent"), HD_E_NOTFOUND,
            "model/absent: not found or not accessible, expected a model folder or a .gguf file");
    REFUSED("", HD_E_NOTFOUND, "not found");
    char expected[600];
    snprintf(expected, sizeof(expected), "%s: no config.json and no .gguf file in this folder",
             dir);
    REFUSED(dir, HD_E_NOTFOUND, expected);
    hd_test_write_str(hd_test_path(dir, "weights.bin"), "xx");
    REFUSED(dir, HD_E_NOTFOUND, expected);
    write_gguf(hd_test_path(dir, "a.gguf"), NULL);
    write_gguf(hd_test_path(dir, "b.gguf"), NULL);
    REFUSED(dir, HD_E_INVAL, "found 2 GGUF models and no config.json, expected one; give the path");
}

static void not_models(void)
{
    const char *dir = hd_test_tmpdir();
    const char *text = hd_test_path(dir, "notes.txt");
    hd_test_write_str(text, "hello");
    REFUSED(text, HD_E_INVAL, "notes.txt: found 'hell' at its start, expected 'GGUF'");
    const char *weights = hd_test_path(dir, "model.safetensors");
    hd_test_write_str(weights, "hello");
    REFUSED(weights, HD_E_INVAL, "found one file of a model folder, expected the folder or");
    const char *fifo = hd_test_path(dir, "pipe");
    EXPECT(mkfifo(fifo, 0600) == 0);
    REFUSED(fifo, HD_E_INVAL, "pipe: found a special file, expected a folder or a file");
}

static void bad_json(void)
{
    const char *dir = new_folder("model");
    const char *config = hd_test_path(dir, "config.json");
    hd_test_write_str(config, "{\"a\":");
    REFUSED(dir, HD_E_INVAL, "config.json: line 1 column 6: expected");
    hd_test_write_str(config, "");
    REFUSED(dir, HD_E_INVAL, "config.json: line 1 column 1");
    hd_test_write_str(config, "[1]");
    REFUSED(dir, HD_E_INVAL, "config.json: found an array, expected an object");
    hd_buf deep = {0};
    for (int i = 0; i < 70; i++)
        hd_buf_putc(&deep, '[');
    hd_test_write(config, hd_buf_slice(&deep));
    hd_buf_fini(&deep);
    REFUSED(dir, HD_E_LIMIT, "nested too deeply");
    hd_test_write_str(config, "{}");
    hd_test_write_str(hd_test_path(dir, "generation_config.json"), "nul");
    REFUSED(dir, HD_E_INVAL, "generation_config.json: line 1");
    hd_test_write_str(hd_test_path(dir, "tokenizer_config.json"), "\"text\"");
    REFUSED(dir, HD_E_INVAL, "tokenizer_config.json: found a string, expected an object");
    EXPECT(remove(config) == 0);
    hd_test_mkdir(config);
    REFUSED(dir, HD_E_INVAL, "config.json: found a folder");
}

// ---- chat templates ------------------------------------------------------------------------

// Status, with the template or the message in b.
static hd_status template_of(const char *path, hd_buf *b)
{
    hd_err err = {0};
    hd_model_src *s = open_src(path);
    hd_buf_clear(b);
    hd_status st = hd_model_src_chat_template(s, b, &err);
    if (st == HD_E_NOTFOUND) EXPECT(!err.msg[0]);
    if (st != HD_OK) EXPECT_INT(b->len, 0);
    if (st != HD_OK) hd_buf_puts(b, err.msg);
    hd_model_src_close(s);
    return st;
}

static void template_in_folder(void)
{
    const char *dir = new_folder("model");
    const char *config = hd_test_path(dir, "tokenizer_config.json");
    hd_buf b = {0};
    hd_test_write_str(hd_test_path(dir, "config.json"), "{}");
    EXPECT_INT(template_of(dir, &b), HD_E_NOTFOUND);
    hd_test_write_str(config, "{\"chat_template\": null}");
    EXPECT_INT(template_of(dir, &b), HD_E_NOTFOUND);
    hd_test_write_str(config, "{\"chat_template\": \"{{ \\u00e9 }}\"}");
    EXPECT_INT(template_of(dir, &b), HD_OK);
    EXPECT_STR(b.data, "{{ \xC3\xA9 }}");
    hd_test_write_str(config, "{\"chat_template\": 3}");
    EXPECT_INT(template_of(dir, &b), HD_E_INVAL);
    EXPECT_CONTAINS(b.data,
                    "model: tokenizer_config.json: chat_template: found a number, expected");
    hd_test_write_str(hd_test_path(dir, "chat_template.jinja"), "from the file\n");
    EXPECT_INT(template_of(dir, &b), HD_OK);
    EXPECT_STR(b.data, "from the file\n");
    hd_buf_fini(&b);
}

static void template_list(void)
{
    const char *dir = new_folder("model");
    const char *config = hd_test_path(dir, "tokenizer_config.json");
    hd_buf b = {0};
    hd_test_write_str(hd_test_path(dir, "config.json"), "{}");
    hd_test_write_str(config, "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T\"},"
                              " {\"name\": \"default\", \"template\": \"D\"}]}");
    EXPECT_INT(template_of(dir, &b), HD_OK);
    EXPECT_STR(b.data, "D");
    hd_test_write_str(config, "{\"chat_template\": [{\"name\": \"rag\", \"template\": \"R\"}, 1]}");
    EXPECT_INT(template_of(dir, &b), HD_E_NOTFOUND);
    hd_test_write_str(config, "{\"chat_template\": [{\"name\": \"default\", \"template\": 1}]}");
    EXPECT_INT(template_of(dir, &b), HD_E_INVAL);
    hd_buf_fini(&b);
}

static void bad_template_files(void)
{
    const char *dir = new_folder("model");
    const char *file = hd_test_path(dir, "chat_template.jinja");
    hd_buf b = {0}, big = {0};
    hd_test_write_str(hd_test_path(dir, "config.json"), "{}");
    hd_test_write(file, hd_slice_of("a\0b", 3));
    EXPECT_INT(template_of(dir, &b), HD_E_INVAL);
    EXPECT_CONTAINS(b.data, "chat template: found a NUL byte");
    hd_test_write_str(file, "ab\xC3");
    EXPECT_INT(template_of(dir, &b), HD_E_INVAL);
    EXPECT_CONTAINS(b.data, "chat template: found ill-formed UTF-8 at byte 2");
    for (int i = 0; i < (1 << 20) + 1; i++)
        hd_buf_putc(&big, 'x');
    hd_test_write(file, hd_buf_slice(&big));
    EXPECT_INT(template_of(dir, &b), HD_E_LIMIT);
    hd_test_write(file, hd_slice_of(big.data, big.len - 1));
    EXPECT_INT(template_of(dir, &b), HD_OK);
    hd_buf_fini(&b);
    hd_buf_fini(&big);
}

static void template_in_gguf(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "m.gguf");
    hd_buf b = {0};
    write_gguf(path, NULL);
    EXPECT_INT(template_of(path, &b), HD_E_NOTFOUND);
    write_gguf(path, "{{ x }}");
    EXPECT_INT(template_of(path, &b), HD_OK);
    EXPECT_STR(b.data, "{{ x }}");
    write_gguf(path, "\xFF");
    EXPECT_INT(template_of(path, &b), HD_E_INVAL);
    EXPECT_CONTAINS(b.data, "ill-formed UTF-8 at byte 0");
    hd_gguf_writer w;
    hd_gguf_writer_init(&w);
    hd_gw_u32(&w, "tokenizer.chat_template", 1);
    hd_gw_save(&w, path);
    hd_gguf_writer_fini(&w);
    EXPECT_INT(template_of(path, &b), HD_E_INVAL);
    EXPECT_CONTAINS(b.data, "m.gguf: key 'tokenizer.chat_template': found u32, expected string");
    hd_buf_fini(&b);
}

static void long_template_in_gguf(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "m.gguf");
    hd_buf b = {0}, big = {0};
    for (int i = 0; i < (1 << 20) + 1; i++)
        hd_buf_putc(&big, 'x');
    write_gguf(path, big.data + 1);
    EXPECT_INT(template_of(path, &b), HD_OK);
    write_gguf(path, big.data);
    EXPECT_INT(template_of(path, &b), HD_E_LIMIT);
    EXPECT_CONTAINS(b.data, "chat template: found 1048577 bytes, expected at most 1048576");
    hd_buf_fini(&b);
    hd_buf_fini(&big);
}

// What stands in the buffer already stays.
static void template_appends(void)
{
    const char *path = hd_test_path(hd_test_tmpdir(), "m.gguf");
    hd_buf b = {0};
    write_gguf(path, "def");
    hd_model_src *s = open_src(path);
    hd_buf_puts(&b, "abc");
    EXPECT_INT(hd_model_src_chat_template(s, &b, NULL), HD_OK);
    EXPECT_STR(b.data, "abcdef");
    hd_model_src_close(s);
    hd_buf_fini(&b);
}

// ---- memory --------------------------------------------------------------------------------

static int fail_each(const char *path)
{
    for (int nth = 1;; nth++) {
        hd_err err = {0};
        hd_model_src *s;
        hd_buf b = {0};
        hd_mem_fail_at(nth, nth % 2 == 0);
        hd_status st = hd_model_src_open(path, HD_FILE_MAP, &s, &err);
        if (st == HD_OK) st = hd_model_src_chat_template(s, &b, &err);
        uint64_t seen = hd_mem_fail_at(0, false);
        hd_model_src_close(s);
        hd_buf_fini(&b);
        if (st == HD_OK) {
            EXPECT(seen < (uint64_t)nth); // no failure was swallowed
            return nth - 1;
        }
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(err.msg[0] && err.code == HD_E_NOMEM);
    }
}

static void out_of_memory(void)
{
    const char *dir = new_folder("hf"), *gguf = new_folder("gguf");
    hd_test_write_str(hd_test_path(dir, "config.json"), "{\"a\": [1, 2]}");
    hd_test_write_str(hd_test_path(dir, "tokenizer_config.json"), "{\"chat_template\": \"x\"}");
    EXPECT(fail_each(dir) > 10);
    hd_test_write_str(hd_test_path(dir, "chat_template.jinja"), "x");
    EXPECT(fail_each(dir) > 10);
    write_gguf(hd_test_path(gguf, "m.gguf"), "x");
    EXPECT(fail_each(gguf) > 8);
}

HD_TEST_MAIN("model_src", {"folder", folder}, {"gguf_file", gguf_file}, {"gguf_blob", gguf_blob},
             {"folder_with_gguf", folder_with_gguf},
             {"folder_with_split_set", folder_with_split_set}, {"tokenizer_alone", tokenizer_alone},
             {"relative_names", relative_names}, {"nothing_there", nothing_there},
             {"not_models", not_models}, {"bad_json", bad_json},
             {"template_in_folder", template_in_folder}, {"template_list", template_list},
             {"bad_template_files", bad_template_files}, {"template_in_gguf", template_in_gguf},
             {"long_template_in_gguf", long_template_in_gguf},
             {"template_appends", template_appends}, {"out_of_memory", out_of_memory})
