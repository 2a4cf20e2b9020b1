// Any bytes as JSON, and as the content of a string.
//   - what the scanner accepts, the parser accepts (cJSON has no veto), and the other way round;
//   - what is written reads back, and writes the same text again, in every layout.
#include "kernels/base/json.h"
#include "kernels/base/status.h"
#include "kernels/base/utf8.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const hd_json_limits limits = {1 << 20, 5000, 40};

// Written text may be longer than what was read ("1e15" becomes sixteen digits and ".0").
static const hd_json_limits wide = {1 << 24, 5000, 40};

typedef enum form { COMPACT, PYTHON, INDENTED, FORMS } form;

static void write_as(hd_buf *b, const hd_json *v, form f)
{
    if (f == INDENTED)
        hd_json_put_indent(b, v, 2);
    else
        hd_json_put(b, v, f == PYTHON ? HD_JSON_PYTHON : HD_JSON_COMPACT);
    HD_ASSERT(!b->failed);
}

static void check_round_trip(const hd_json *v, form f)
{
    hd_buf once = {0}, twice = {0};
    hd_json *again;
    write_as(&once, v, f);
    HD_ASSERT(hd_json_parse(hd_buf_slice(&once), &wide, &again, NULL) == HD_OK);
    write_as(&twice, again, f);
    HD_ASSERT(hd_slice_eq(hd_buf_slice(&once), hd_buf_slice(&twice)));
    hd_json_free(again);
    hd_buf_fini(&once);
    hd_buf_fini(&twice);
}

static void check_accessors(const hd_json *v)
{
    hd_slice s;
    bool b;
    double f;
    int64_t i;
    uint64_t u;
    bool is_number = hd_json_type(v) == HD_JSON_NUMBER;
    HD_ASSERT(hd_json_f64(v, &f) == is_number);
    HD_ASSERT(!is_number || (f - f == 0)); // finite
    HD_ASSERT(!hd_json_i64(v, &i) || (double)i == f);
    HD_ASSERT(!hd_json_u64(v, &u) || (double)u == f);
    HD_ASSERT(hd_json_bool(v, &b) == (hd_json_type(v) == HD_JSON_BOOL));
    if (hd_json_str(v, &s)) HD_ASSERT(hd_utf8_is_valid(s) && !memchr(s.p, 0, s.n));
    size_t n = 0;
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c), n++) {
        check_accessors(c);
        if (hd_json_type(v) == HD_JSON_OBJECT) HD_ASSERT(hd_json_get(v, hd_json_key(c).p));
    }
    HD_ASSERT(n == hd_json_len(v));
}

// Without NUL bytes: their escape is one that the scanner refuses.
static void check_string(hd_slice content)
{
    hd_buf text = {0}, lossy = {0};
    hd_json *v;
    hd_slice back;
    if (content.n > 0 && memchr(content.p, 0, content.n)) return;
    hd_json_put_str(&text, content);
    hd_utf8_append_lossy(&lossy, content);
    HD_ASSERT(hd_json_parse(hd_buf_slice(&text), &wide, &v, NULL) == HD_OK);
    HD_ASSERT(hd_json_str(v, &back) && hd_slice_eq(back, hd_buf_slice(&lossy)));
    hd_json_free(v);
    hd_buf_fini(&text);
    hd_buf_fini(&lossy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_slice text = {(const char *)data, size};
    hd_err err = {0};
    hd_json *v;
    hd_status scanned = hd_json_scan(text, &limits, &err);
    HD_ASSERT(scanned == HD_OK || scanned == HD_E_INVAL || scanned == HD_E_LIMIT);
    HD_ASSERT((scanned != HD_OK) == (err.msg[0] != '\0'));
    HD_ASSERT(hd_json_parse(text, &limits, &v, NULL) == scanned);
    HD_ASSERT((v != NULL) == (scanned == HD_OK));
    if (v) {
        check_accessors(v);
        for (int f = 0; f < FORMS; f++)
            check_round_trip(v, (form)f);
        hd_json_free(v);
    }
    check_string(text);
    return 0;
}
