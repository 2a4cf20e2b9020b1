// Opening a model's tokenizer from its folder: which files count, where stops come from, messages.
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"
#include "tests/unit/tok_parts.h"

static const char tokenizer_json[] =
    "{\"pre_tokenizer\":" BYTE_LEVEL
    ",\"added_tokens\":[" ADDED(7, "<e>", SPECIAL) "],"
                                                   "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
                                                   "\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";

static void put_file(const char *name, const char *text)
{
    char *path = hd_path_join(hd_test_tmpdir(), name);
    EXPECT(path);
    EXPECT_INT(hd_file_write(path, hd_slice_str(text), NULL), HD_OK);
    hd_free(path);
}

static hd_status open_folder(hd_tokenizer **t, hd_err *err)
{
    hd_model_src *src = NULL;
    EXPECT_INT(hd_model_src_open(hd_test_tmpdir(), HD_FILE_MAP, &src, err), HD_OK);
    hd_status st = hd_tokenizer_open(src, t, err);
    hd_model_src_close(src);
    return st;
}

static void expect_stops(const char *want)
{
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    if (open_folder(&t, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    hd_buf got = {0};
    size_t n;
    const int32_t *stop = hd_tokenizer_stops(t, &n);
    for (size_t i = 0; i < n; i++)
        hd_buf_printf(&got, "%d ", (int)stop[i]);
    EXPECT_STR(got.data, want);
    hd_buf_fini(&got);
    hd_tokenizer_close(t);
}

static void stops(void)
{
    put_file("config.json", "{\"eos_token_id\":1}");
    put_file("tokenizer.json", tokenizer_json);
    put_file("tokenizer_config.json", "{\"eos_token\":\"<e>\",\"bos_token\":\"a\"}");
    expect_stops("1 7 ");
    put_file("generation_config.json",
             "{\"eos_token_id\":[2,0,2,99,-1]}"); // goes before config.json
    expect_stops("0 2 7 ");
    put_file("generation_config.json", "{\"eos_token_id\":2}");
    expect_stops("2 7 ");
}

static void facts(void)
{
    hd_tokenizer *t = NULL;
    put_file("config.json", "{}");
    put_file("tokenizer.json", tokenizer_json);
    put_file("tokenizer_config.json", "{\"eos_token\":\"<e>\",\"bos_token\":\"a\"}");
    EXPECT_INT(open_folder(&t, NULL), HD_OK);
    const hd_tokenizer_info *info = hd_tokenizer_facts(t);
    EXPECT_INT(info->n_vocab, 8);
    EXPECT_INT(info->bos, 0);
    EXPECT_INT(info->eos, 7);
    EXPECT(!info->add_bos);
    hd_expect_ids(t, hd_slice_str("ab<e>"), HD_TOK_SPECIAL, "2 7");
    hd_tokenizer_close(t);
}

static void expect_refused(hd_status want, const char *part)
{
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    EXPECT_INT(open_folder(&t, &err), want);
    EXPECT(!t);
    EXPECT_CONTAINS(err.msg, "tokenizer.json: ");
    EXPECT_CONTAINS(err.msg, part);
}

static void refused(void)
{
    put_file("config.json", "{}");
    expect_refused(HD_E_NOTFOUND, "no such file");
    put_file("tokenizer.json", "{\"model\":");
    expect_refused(HD_E_INVAL, "line 1");
    put_file("tokenizer.json", "[]");
    expect_refused(HD_E_INVAL, "model.vocab");
}

HD_TEST_MAIN("tokenizer_open", {"stops", stops}, {"facts", facts}, {"refused", refused})
