// hadal tokenize: JSON Lines in, JSON Lines out, same order, one line at a time.
#include "kernels/base/json.h"
#include "models/model_src.h"
#include "models/tokenizer/tokenizer.h"
#include "server/cli.h"
#include "server/cmd.h"

#include <inttypes.h>
#include <string.h>

// ---- NUL -----------------------------------------------------------------------------------
// Trees of JSON keep C strings, but here a NUL is a character like any other: it passes the parser
// as a noncharacter that the line does not hold.

enum { STAND_IN_FIRST = 0xFDD0, STAND_IN_LAST = 0xFDEF };

// How a stand-in is spelled: behind "\\u", and as UTF-8.
static void spell(unsigned code, char hex[5], char utf8[4])
{
    snprintf(hex, 5, "%04x", code);
    utf8[0] = (char)0xEF;
    utf8[1] = (char)(0x80 | (code >> 6 & 0x3F));
    utf8[2] = (char)(0x80 | (code & 0x3F));
    utf8[3] = 0;
}

static bool line_has(const hd_buf *line, unsigned code)
{
    char hex[5], utf8[4];
    spell(code, hex, utf8);
    if (hd_slice_find(hd_buf_slice(line), hd_slice_str(utf8), 0) >= 0) return true;
    for (size_t i = 0; i + 4 <= line->len; i++)
        if (strncasecmp(line->data + i, hex, 4) == 0) return true;
    return false;
}

// Replaces the escapes of NUL; the stand-in, or 0 when there were none.
static unsigned hide_nuls(hd_buf *line)
{
    char hex[5], utf8[4];
    unsigned code = STAND_IN_FIRST;
    bool found = false;
    if (hd_slice_find(hd_buf_slice(line), hd_slice_str("\\u0000"), 0) < 0) return 0;
    while (code <= STAND_IN_LAST && line_has(line, code))
        code++;
    if (code > STAND_IN_LAST) return 0; // the parser will refuse the line
    spell(code, hex, utf8);
    for (size_t i = 0; i + 6 <= line->len; i++) {
        if (line->data[i] != '\\') continue;
        if (memcmp(line->data + i, "\\u0000", 6) == 0) {
            memcpy(line->data + i + 2, hex, 4);
            found = true;
        }
        i++; // whatever is escaped is no backslash of its own
    }
    return found ? code : 0;
}

static void show_nuls(hd_slice text, unsigned code, hd_buf *out)
{
    char hex[5], utf8[4];
    spell(code, hex, utf8);
    for (size_t at = 0; at < text.n;) {
        ptrdiff_t nul = hd_slice_find(text, hd_slice_str(utf8), at);
        size_t end = nul < 0 ? text.n : (size_t)nul;
        hd_buf_put(out, text.p + at, end - at);
        if (nul >= 0) hd_buf_putc(out, 0);
        at = nul < 0 ? text.n : end + 3;
    }
}

// ---- lines ---------------------------------------------------------------------------------

static hd_status get_flag(const hd_json *object, const char *key, unsigned bit, unsigned *flags,
                          hd_err *err)
{
    bool on = false;
    HD_TRY(hd_json_field_bool(object, key, HD_JSON_OPTIONAL, &on, err));
    if (on) *flags |= bit;
    return HD_OK;
}

static hd_status encode_line(const hd_tokenizer *t, const hd_json *in, unsigned nul, hd_ids *ids,
                             hd_buf *out, hd_err *err)
{
    hd_slice text;
    hd_buf with_nuls = {0};
    unsigned flags = 0;
    HD_TRY(hd_json_field_str(in, "text", HD_JSON_REQUIRED, &text, err));
    HD_TRY(get_flag(in, "special", HD_TOK_SPECIAL, &flags, err));
    HD_TRY(get_flag(in, "bos", HD_TOK_BOS, &flags, err));
    ids->n = 0;
    if (nul) {
        show_nuls(text, nul, &with_nuls);
        text = hd_buf_slice(&with_nuls);
    }
    hd_status st = with_nuls.failed ? HD_FAIL(err, HD_E_NOMEM, "out of memory")
                                    : hd_tokenize(t, text, flags, ids, err);
    hd_buf_fini(&with_nuls);
    if (st != HD_OK) return st;
    hd_buf_puts(out, "{\"ids\": [");
    for (size_t i = 0; i < ids->n; i++)
        hd_buf_printf(out, "%s%" PRId32, i ? ", " : "", ids->v[i]);
    hd_buf_puts(out, "]}\n");
    return HD_OK;
}

// A JSON string without the other characters at which some readers of lines break them: U+0085,
// U+2028 and U+2029.
static void put_line_safe(hd_buf *out, hd_slice text)
{
    hd_buf quoted = {0};
    hd_json_put_str(&quoted, text);
    for (const char *p = hd_buf_slice(&quoted).p; *p; p++) {
        if (strncmp(p, "\xC2\x85", 2) == 0) {
            hd_buf_puts(out, "\\u0085");
            p += 1;
        } else if (strncmp(p, "\xE2\x80\xA8", 3) == 0 || strncmp(p, "\xE2\x80\xA9", 3) == 0) {
            hd_buf_puts(out, p[2] == '\xA8' ? "\\u2028" : "\\u2029");
            p += 2;
        } else {
            hd_buf_putc(out, *p);
        }
    }
    if (quoted.failed) out->failed = true;
    hd_buf_fini(&quoted);
}

static hd_status decode_line(const hd_tokenizer *t, const hd_json *in, hd_ids *ids, hd_buf *out,
                             hd_err *err)
{
    const hd_json *list = hd_json_get(in, "ids");
    hd_buf text = {0};
    ids->n = 0;
    HD_CHECK(list && hd_json_type(list) == HD_JSON_ARRAY, err, HD_E_INVAL,
             "field 'ids': found %s, expected an array of token ids", hd_json_type_name(list));
    for (const hd_json *v = hd_json_first(list); v; v = hd_json_next(v)) {
        int64_t id;
        HD_CHECK(hd_json_i64(v, &id) && id >= 0 && id <= INT32_MAX, err, HD_E_INVAL,
                 "ids[%zu]: found %s, expected a token id", ids->n, hd_json_type_name(v));
        HD_CHECK(hd_ids_push(ids, (int32_t)id), err, HD_E_NOMEM, "out of memory");
    }
    hd_status st = hd_detokenize(t, ids->v, ids->n, 0, &text, err);
    if (st == HD_OK) {
        hd_buf_puts(out, "{\"text\": ");
        put_line_safe(out, hd_buf_slice(&text));
        hd_buf_puts(out, "}\n");
    }
    hd_buf_fini(&text);
    return st;
}

static hd_status one_line(const hd_tokenizer *t, hd_buf *line, bool decode, hd_ids *ids,
                          hd_buf *out, hd_err *err)
{
    hd_json *in = NULL;
    const unsigned nul = decode ? 0 : hide_nuls(line);
    HD_TRY(hd_json_parse(hd_buf_slice(line), &hd_json_request_limits, &in, err));
    hd_status st =
        hd_json_type(in) != HD_JSON_OBJECT
            ? HD_FAIL(err, HD_E_INVAL, "found %s, expected an object", hd_json_type_name(in))
        : decode ? decode_line(t, in, ids, out, err)
                 : encode_line(t, in, nul, ids, out, err);
    hd_json_free(in);
    if (st == HD_OK && out->failed) st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
    return st;
}

int hd_cmd_tokenize(int argc, char **argv)
{
    hd_config c;
    hd_err err = {0};
    hd_model_src *src = NULL;
    hd_tokenizer *t = NULL;
    hd_buf line = {0}, out = {0};
    hd_ids ids = {0};
    hd_status st = HD_OK;
    int code;
    if (!hd_cli_settings(&c, HD_CMD_TOKENIZE, argc, argv, &code)) return code;
    if (!c.model) st = HD_FAIL(&err, HD_E_INVAL, "no model: give --model PATH or set HADAL_MODEL");
    if (st == HD_OK) st = hd_model_src_open(c.model, HD_FILE_MAP, &src, &err);
    if (st == HD_OK) st = hd_tokenizer_open(src, &t, &err);
    for (long n = 1; st == HD_OK && hd_cli_line(stdin, &line); n++) {
        hd_buf_clear(&out);
        if (line.len == 0) continue;
        st = one_line(t, &line, c.decode, &ids, &out, &err);
        if (st != HD_OK) st = hd_err_prefix(&err, st, "standard input, line %ld", n);
        if (st == HD_OK) fwrite(out.data, 1, out.len, stdout);
        if (st == HD_OK) st = hd_cli_flush(&err);
    }
    if (st == HD_OK) st = hd_cli_line_end(stdin, &line, "standard input", &err);
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    hd_ids_fini(&ids);
    hd_buf_fini(&line);
    hd_buf_fini(&out);
    hd_tokenizer_close(t);
    hd_model_src_close(src);
    return code;
}
