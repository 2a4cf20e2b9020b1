// See tok_parts.h.
#include "tests/unit/tok_parts.h"

#include "kernels/base/utf8.h"
#include "tests/harness/test.h"

// The byte-level alphabet, written down apart from the implementation.
static void put_alphabet(hd_buf *b)
{
    uint32_t next = 256;
    for (int i = 0; i < 256; i++) {
        char utf8[4];
        bool itself = (i >= '!' && i <= '~') || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
        int n = hd_utf8_encode(itself ? (uint32_t)i : next++, utf8);
        if (i > 0) hd_buf_putc(b, ',');
        hd_json_put_str(b, hd_slice_of(utf8, (size_t)n));
        hd_buf_printf(b, ":%d", i);
    }
}

static void put_field(hd_buf *b, const char *key, const char *value, const char *otherwise)
{
    hd_buf_printf(b, "\"%s\":%s,", key, value ? value : otherwise);
}

hd_status hd_tok_parts_parse(const hd_tok_parts *p, hd_json **json, hd_json **config, hd_err *err)
{
    hd_buf b = {0};
    hd_buf_puts(&b, "{");
    put_field(&b, "normalizer", p->normalizer, "null");
    put_field(&b, "pre_tokenizer", p->pre, BYTE_LEVEL);
    put_field(&b, "post_processor", p->post, "null");
    put_field(&b, "decoder", p->decoder, "null");
    hd_buf_printf(&b, "\"added_tokens\":[%s],\"model\":{\"type\":\"BPE\"%s,\"vocab\":{",
                  p->added ? p->added : "", p->settings ? p->settings : "");
    if (p->vocab)
        hd_buf_puts(&b, p->vocab);
    else
        put_alphabet(&b);
    hd_buf_printf(&b, "%s},\"merges\":[%s]}}", p->entries ? p->entries : "",
                  p->merges ? p->merges : "");
    hd_status st = hd_json_parse(hd_buf_slice(&b), &hd_json_file_limits, json, err);
    if (st == HD_OK && p->config)
        st = hd_json_parse(hd_slice_str(p->config), &hd_json_file_limits, config, err);
    hd_buf_fini(&b);
    return st;
}

hd_status hd_tok_parts_try(const hd_tok_parts *p, hd_tokenizer **out, hd_err *err)
{
    hd_json *json = NULL, *config = NULL;
    hd_status st = hd_tok_parts_parse(p, &json, &config, err);
    if (st == HD_OK) st = hd_tokenizer_from_json(json, config, out, err);
    hd_json_free(json);
    hd_json_free(config);
    return st;
}

hd_tokenizer *hd_tok_parts_open(const hd_tok_parts *p)
{
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    if (hd_tok_parts_try(p, &t, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return t;
}

void hd_expect_id_list(const hd_ids *ids, const char *want)
{
    hd_buf got = {0};
    for (size_t i = 0; i < ids->n; i++)
        hd_buf_printf(&got, i ? " %d" : "%d", (int)ids->v[i]);
    EXPECT_STR(got.data ? got.data : "", want);
    hd_buf_fini(&got);
}

void hd_expect_ids(const hd_tokenizer *t, hd_slice text, unsigned flags, const char *want)
{
    hd_ids ids = {0};
    hd_err err = {0};
    if (hd_tokenize(t, text, flags, &ids, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    hd_expect_id_list(&ids, want);
    hd_ids_fini(&ids);
}

void hd_expect_text(const hd_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                    const char *want)
{
    hd_buf got = {0};
    EXPECT_INT(hd_detokenize(t, ids, n, flags, &got, NULL), HD_OK);
    EXPECT_STR(got.data ? got.data : "", want);
    hd_buf_fini(&got);
}
