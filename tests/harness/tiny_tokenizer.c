// Writes a byte-level BPE tokenizer.json without merges and opens it.
#include "tests/harness/tiny_tokenizer.h"

#include "kernels/base/utf8.h"

#include <string.h>

// The printable stand-in of a byte in byte-level vocabularies.
static uint32_t stand_in(int byte)
{
    uint32_t next = 256;
    for (int b = 0; b < 256; b++) {
        bool itself = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte) return itself ? (uint32_t)b : next;
        next += !itself;
    }
    return 0;
}

static void put_vocab(hd_buf *b)
{
    for (int i = 0; i < 256; i++) {
        char utf8[4];
        int n = hd_utf8_encode(stand_in(i), utf8);
        if (i > 0) hd_buf_putc(b, ',');
        hd_json_put_str(b, hd_slice_of(utf8, (size_t)n));
        hd_buf_printf(b, ":%d", i);
    }
}

static void put_added(hd_buf *b, int id, const char *text)
{
    hd_buf_printf(b, "%s{\"id\":%d,\"content\":", id > 256 ? "," : "", id);
    hd_json_put_str(b, hd_slice_str(text));
    hd_buf_puts(b, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                   "\"normalized\":false,\"special\":true}");
}

static void put_tokenizer(hd_buf *b, const char *bos, const char *eos, const char *const *specials)
{
    int id = 256;
    hd_buf_puts(b, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    if (bos) put_added(b, id++, bos);
    if (eos && (!bos || strcmp(bos, eos) != 0)) put_added(b, id++, eos);
    for (; specials && *specials; specials++)
        put_added(b, id++, *specials);
    hd_buf_puts(b, "],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\","
                   "\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true},"
                   "\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},"
                   "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                   "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                   "\"fuse_unk\":false,\"byte_fallback\":false,\"vocab\":{");
    put_vocab(b);
    hd_buf_puts(b, "},\"merges\":[]}}");
}

static void put_config(hd_buf *b, const char *bos, const char *eos)
{
    hd_buf_puts(b, "{\"add_bos_token\":false,\"bos_token\":");
    if (bos)
        hd_json_put_str(b, hd_slice_str(bos));
    else
        hd_buf_puts(b, "null");
    hd_buf_puts(b, ",\"eos_token\":");
    if (eos)
        hd_json_put_str(b, hd_slice_str(eos));
    else
        hd_buf_puts(b, "null");
    hd_buf_putc(b, '}');
}

hd_tokenizer *hd_tiny_tokenizer(const char *bos, const char *eos, const char *const *specials,
                                hd_err *err)
{
    hd_buf text = {0}, config_text = {0};
    hd_json *doc = NULL, *config = NULL;
    hd_tokenizer *t = NULL;
    put_tokenizer(&text, bos, eos, specials);
    put_config(&config_text, bos, eos);
    if (hd_json_parse(hd_buf_slice(&text), &hd_json_file_limits, &doc, err) == HD_OK &&
        hd_json_parse(hd_buf_slice(&config_text), &hd_json_file_limits, &config, err) == HD_OK)
        (void)hd_tokenizer_from_json(doc, config, &t, err);
    hd_json_free(doc);
    hd_json_free(config);
    hd_buf_fini(&text);
    hd_buf_fini(&config_text);
    return t;
}
