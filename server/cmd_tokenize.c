// hadal tokenize: JSON Lines in, JSON Lines out, same order, one line at a time.
#include "kernels/base/json.h"
#include "models/model_src.h"
#include "models/tokenizer/tokenizer.h"
#include "server/cli.h"
#include "server/cmd.h"

#include <inttypes.h>

static hd_status get_flag(const hd_json *object, const char *key, unsigned bit, unsigned *flags,
                          hd_err *err)
{
    bool on = false;
    HD_TRY(hd_json_field_bool(object, key, HD_JSON_OPTIONAL, &on, err));
    if (on) *flags |= bit;
    return HD_OK;
}

static hd_status encode_line(const hd_tokenizer *t, const hd_json *in, hd_ids *ids, hd_buf *out,
                             hd_err *err)
{
    hd_slice text;
    unsigned flags = 0;
    HD_TRY(hd_json_field_str(in, "text", HD_JSON_REQUIRED, &text, err));
    HD_TRY(get_flag(in, "special", HD_TOK_SPECIAL, &flags, err));
    HD_TRY(get_flag(in, "bos", HD_TOK_BOS, &flags, err));
    ids->n = 0;
    HD_TRY(hd_tokenize(t, text, flags, ids, err));
    hd_buf_puts(out, "{\"ids\": [");
    for (size_t i = 0; i < ids->n; i++)
        hd_buf_printf(out, "%s%" PRId32, i ? ", " : "", ids->v[i]);
    hd_buf_puts(out, "]}\n");
    return HD_OK;
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
        hd_json_put_str(out, hd_buf_slice(&text));
        hd_buf_puts(out, "}\n");
    }
    hd_buf_fini(&text);
    return st;
}

static hd_status one_line(const hd_tokenizer *t, hd_slice line, bool decode, hd_ids *ids,
                          hd_buf *out, hd_err *err)
{
    hd_json *in = NULL;
    HD_TRY(hd_json_parse(line, &hd_json_request_limits, &in, err));
    hd_status st =
        hd_json_type(in) != HD_JSON_OBJECT
            ? HD_FAIL(err, HD_E_INVAL, "found %s, expected an object", hd_json_type_name(in))
        : decode ? decode_line(t, in, ids, out, err)
                 : encode_line(t, in, ids, out, err);
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
    if (st == HD_OK) st = hd_model_src_open(c.model, &src, &err);
    if (st == HD_OK) st = hd_tokenizer_open(src, &t, &err);
    for (long n = 1; st == HD_OK && hd_cli_line(stdin, &line); n++) {
        hd_buf_clear(&out);
        if (line.len == 0) continue;
        st = one_line(t, hd_buf_slice(&line), c.decode, &ids, &out, &err);
        if (st != HD_OK) st = hd_err_prefix(&err, st, "standard input, line %ld", n);
        if (st == HD_OK) fwrite(out.data, 1, out.len, stdout);
        if (st == HD_OK && !hd_cli_flush()) break;
    }
    code = st == HD_OK ? 0 : hd_cli_fail(&err);
    hd_ids_fini(&ids);
    hd_buf_fini(&line);
    hd_buf_fini(&out);
    hd_tokenizer_close(t);
    hd_model_src_close(src);
    return code;
}
