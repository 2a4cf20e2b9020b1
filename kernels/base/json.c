// JSON behind limits: our scanner decides what is legal, cJSON then builds the tree.
//
//   text --json_scan.c--> facts --cJSON--> tree --attach--> tree with exact number tokens
//
// What cJSON 1.7.15 does not do is done around it: limits, trailing bytes, UTF-8, NUL and
// surrogates, infinite numbers, numbers longer than 63 characters, integers beyond a double,
// case-sensitive keys. A number node whose text says more than its double keeps that text in
// `valuestring`.
//
// Not here: schemas, comments, NaN, incremental parsing.
#include "kernels/base/file.h"
#include "kernels/base/json_impl.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hd_json {
    cJSON node;
};

_Static_assert(HD_JSON_DEPTH_MAX < CJSON_NESTING_LIMIT,
               "cJSON must not refuse what the scanner accepted");

const hd_json_limits hd_json_request_limits = {(size_t)128 << 20, 1000000, 128};
const hd_json_limits hd_json_file_limits = {(size_t)256 << 20, 16000000, 64};

// ---- building the tree ---------------------------------------------------------------------

// cJSON's allocation hooks are global to the process. Its global error position is written by
// every parse and read by nobody here.
static void install_hooks(void)
{
    cJSON_Hooks hooks = {hd_alloc, hd_free};
    cJSON_InitHooks(&hooks);
}

static bool is_number_char(char c)
{
    return hd_is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

// The next number token at or after *at of a valid document; false when there is none. Outside of
// strings, only numbers contain digits.
static bool next_number(hd_slice text, size_t *at, hd_slice *tok)
{
    size_t i = *at;
    bool quoted = false;
    for (; i < text.n; i++) {
        char c = text.p[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '-' || hd_is_digit(c)))
            break;
    }
    if (i >= text.n) return false;
    size_t end = i + 1;
    while (end < text.n && is_number_char(text.p[end]))
        end++;
    *tok = hd_slice_of(text.p + i, end - i);
    *at = end;
    return true;
}

// A copy of text in which every number too long for cJSON is 0 and blanks; attach_tokens puts the
// real value back.
static char *shorten_numbers(hd_slice text)
{
    char *copy = hd_alloc(text.n);
    if (!copy) return NULL;
    memcpy(copy, text.p, text.n);
    hd_slice tok;
    for (size_t at = 0; next_number(text, &at, &tok);) {
        if (tok.n <= HD_JSON_CJSON_NUMBER) continue;
        memset(copy + (tok.p - text.p), ' ', tok.n);
        copy[tok.p - text.p] = '0';
    }
    return copy;
}

// Gives the `left` number nodes that need it a copy of their token. The order of nodes in the tree
// is the order of tokens in the text. False: out of memory.
static bool attach_tokens(cJSON *root, hd_slice text, size_t left)
{
    cJSON *open[HD_JSON_DEPTH_MAX + 1];
    int depth = 0;
    size_t at = 0;
    for (cJSON *v = root; left > 0;) {
        if (v->type == cJSON_Number) {
            hd_slice tok = {0};
            bool found = next_number(text, &at, &tok);
            HD_ASSERT(found);
            if (hd_json_needs_text(tok)) {
                v->valuestring = hd_strndup(tok.p, tok.n);
                if (!v->valuestring) return false;
                if (tok.n > HD_JSON_CJSON_NUMBER) v->valuedouble = strtod(v->valuestring, NULL);
                left--;
            }
        }
        if (v->child) {
            open[depth++] = v;
            v = v->child;
            continue;
        }
        while (!v->next && depth > 0)
            v = open[--depth];
        if (!v->next) break;
        v = v->next;
    }
    return left == 0;
}

hd_status hd_json_parse(hd_slice text, const hd_json_limits *lim, hd_json **out, hd_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    hd_json_facts s;
    HD_TRY(hd_json_check(text, lim, &s, err));
    pthread_once(&once, install_hooks);
    char *copy = NULL;
    cJSON *root = NULL;
    hd_slice doc = s.text;
    if (s.longs > 0 && !(copy = shorten_numbers(doc))) goto nomem;
    root = cJSON_ParseWithLength(copy ? copy : doc.p, doc.n);
    hd_free(copy);
    if (!root || !attach_tokens(root, doc, s.exact)) goto nomem;
    *out = (hd_json *)root;
    return HD_OK;
nomem: // the scanner left nothing else to fail
    cJSON_Delete(root);
    return HD_FAIL(err, HD_E_NOMEM, "no memory for the tree of %zu bytes of JSON", text.n);
}

hd_status hd_json_parse_file(const char *path, const hd_json_limits *lim, hd_json **out,
                             hd_err *err)
{
    *out = NULL;
    hd_buf text = {0};
    hd_status rc = hd_file_read(path, lim->max_bytes, &text, err);
    if (rc == HD_OK) {
        rc = hd_json_parse(hd_buf_slice(&text), lim, out, err);
        if (rc != HD_OK) hd_err_prefix(err, rc, "%s", path);
    }
    hd_buf_fini(&text);
    return rc;
}

void hd_json_free(hd_json *root)
{
    if (root) cJSON_Delete(&root->node);
}

// ---- reading -------------------------------------------------------------------------------

static const hd_json *wrap(const cJSON *c)
{
    return (const hd_json *)c;
}

hd_json_kind hd_json_type(const hd_json *v)
{
    if (!v) return HD_JSON_NULL;
    switch (v->node.type) {
    case cJSON_True:
    case cJSON_False:
        return HD_JSON_BOOL;
    case cJSON_Number:
        return HD_JSON_NUMBER;
    case cJSON_String:
        return HD_JSON_STRING;
    case cJSON_Array:
        return HD_JSON_ARRAY;
    case cJSON_Object:
        return HD_JSON_OBJECT;
    default:
        return HD_JSON_NULL;
    }
}

const char *hd_json_type_name(const hd_json *v)
{
    static const char *const names[] = {"null",     "a boolean", "a number",
                                        "a string", "an array",  "an object"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == HD_JSON_OBJECT + 1, "a name per kind");
    return names[hd_json_type(v)];
}

bool hd_json_is_null(const hd_json *v)
{
    return hd_json_type(v) == HD_JSON_NULL;
}

const hd_json *hd_json_get(const hd_json *object, const char *key)
{
    const cJSON *found = NULL;
    if (hd_json_type(object) != HD_JSON_OBJECT) return NULL;
    for (const cJSON *c = object->node.child; c; c = c->next)
        if (strcmp(c->string, key) == 0) found = c;
    return wrap(found);
}

size_t hd_json_len(const hd_json *v)
{
    size_t n = 0;
    for (const hd_json *c = hd_json_first(v); c; c = hd_json_next(c))
        n++;
    return n;
}

const hd_json *hd_json_first(const hd_json *v)
{
    return v ? wrap(v->node.child) : NULL;
}

const hd_json *hd_json_next(const hd_json *child)
{
    return child ? wrap(child->node.next) : NULL;
}

hd_slice hd_json_key(const hd_json *child)
{
    return hd_slice_str(child ? child->node.string : NULL);
}

bool hd_json_str(const hd_json *v, hd_slice *out)
{
    if (hd_json_type(v) != HD_JSON_STRING) return false;
    *out = hd_slice_str(v->node.valuestring);
    return true;
}

bool hd_json_bool(const hd_json *v, bool *out)
{
    if (hd_json_type(v) != HD_JSON_BOOL) return false;
    *out = v->node.type == cJSON_True;
    return true;
}

bool hd_json_f64(const hd_json *v, double *out)
{
    if (hd_json_type(v) != HD_JSON_NUMBER) return false;
    *out = v->node.valuedouble;
    return true;
}

// Sign and magnitude of a number that is an integer.
static bool integer_of(const hd_json *v, bool *negative, uint64_t *magnitude)
{
    if (hd_json_type(v) != HD_JSON_NUMBER) return false;
    if (v->node.valuestring) {
        hd_decimal d = hd_decimal_of(hd_slice_str(v->node.valuestring));
        *negative = d.negative;
        return hd_decimal_u64(&d, magnitude);
    }
    *negative = v->node.valuedouble < 0;
    *magnitude = (uint64_t)fabs(v->node.valuedouble);
    return true;
}

bool hd_json_i64(const hd_json *v, int64_t *out)
{
    bool negative;
    uint64_t m;
    if (!integer_of(v, &negative, &m) || m > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - m) : (int64_t)m;
    return true;
}

bool hd_json_u64(const hd_json *v, uint64_t *out)
{
    bool negative;
    uint64_t m;
    if (!integer_of(v, &negative, &m) || (negative && m > 0)) return false;
    *out = m;
    return true;
}

// ---- fields --------------------------------------------------------------------------------

// *v is NULL when the field is absent or null and may be.
static hd_status field_find(const hd_json *object, const char *key, hd_json_need need,
                            const hd_json **v, hd_err *err)
{
    *v = hd_json_get(object, key);
    if (hd_json_is_null(*v)) *v = NULL;
    HD_CHECK(*v || need == HD_JSON_OPTIONAL, err, HD_E_NOTFOUND, "missing field '%s'", key);
    return HD_OK;
}

// The number itself, or what kind of value it is; never the content of strings.
static const char *found_text(const hd_json *v, char out[48])
{
    double f;
    if (!hd_json_f64(v, &f)) return hd_json_type_name(v);
    if (v->node.valuestring)
        snprintf(out, 48, "%.40s", v->node.valuestring);
    else
        snprintf(out, 48, "%.0f", f);
    return out;
}

hd_status hd_json_field_i64(const hd_json *object, const char *key, hd_json_need need, int64_t min,
                            int64_t max, int64_t *out, hd_err *err)
{
    const hd_json *v;
    int64_t i;
    char found[48];
    HD_TRY(field_find(object, key, need, &v, err));
    if (!v) return HD_OK;
    HD_CHECK(hd_json_i64(v, &i) && i >= min && i <= max, err, HD_E_INVAL,
             "field '%s': found %s, expected an integer in [%" PRId64 ", %" PRId64 "]", key,
             found_text(v, found), min, max);
    *out = i;
    return HD_OK;
}

hd_status hd_json_field_f64(const hd_json *object, const char *key, hd_json_need need, double min,
                            double max, double *out, hd_err *err)
{
    const hd_json *v;
    double f;
    char found[48];
    HD_TRY(field_find(object, key, need, &v, err));
    if (!v) return HD_OK;
    HD_CHECK(hd_json_f64(v, &f) && f >= min && f <= max, err, HD_E_INVAL,
             "field '%s': found %s, expected a number in [%g, %g]", key, found_text(v, found), min,
             max);
    *out = f;
    return HD_OK;
}

hd_status hd_json_field_bool(const hd_json *object, const char *key, hd_json_need need, bool *out,
                             hd_err *err)
{
    const hd_json *v;
    HD_TRY(field_find(object, key, need, &v, err));
    HD_CHECK(!v || hd_json_bool(v, out), err, HD_E_INVAL,
             "field '%s': found %s, expected a boolean", key, hd_json_type_name(v));
    return HD_OK;
}

hd_status hd_json_field_str(const hd_json *object, const char *key, hd_json_need need,
                            hd_slice *out, hd_err *err)
{
    const hd_json *v;
    HD_TRY(field_find(object, key, need, &v, err));
    HD_CHECK(!v || hd_json_str(v, out), err, HD_E_INVAL, "field '%s': found %s, expected a string",
             key, hd_json_type_name(v));
    return HD_OK;
}

// ---- writing -------------------------------------------------------------------------------

static void put_escape(hd_buf *b, char c)
{
    static const char short_form[32] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    char name = c == '"' || c == '\\' ? c : short_form[(unsigned char)c];
    if (name) {
        hd_buf_putc(b, '\\');
        hd_buf_putc(b, name);
    } else {
        hd_buf_printf(b, "\\u%04x", (unsigned)c);
    }
}

void hd_json_put_str(hd_buf *b, hd_slice s)
{
    hd_buf_putc(b, '"');
    for (size_t i = 0, start = 0; i <= s.n; i++) {
        if (i < s.n && (unsigned char)s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\') continue;
        // Escapes are ASCII, so cutting there leaves ill-formed sequences as they are.
        if (i > start) hd_utf8_append_lossy(b, hd_slice_of(s.p + start, i - start));
        if (i < s.n) put_escape(b, s.p[i]);
        start = i + 1;
    }
    hd_buf_putc(b, '"');
}
// An integer as it stood, anything else as the double it was read as.
static void put_number_node(hd_buf *b, const cJSON *v)
{
    if (!v->valuestring)
        hd_buf_printf(b, "%.0f", v->valuedouble == 0 ? 0.0 : v->valuedouble); // "-0" is 0
    else if (hd_decimal_of(hd_slice_str(v->valuestring)).integer)
        hd_buf_puts(b, v->valuestring);
    else
        hd_json_put_f64(b, v->valuedouble);
}

typedef struct layout {
    const char *comma, *colon;
    int indent; // per level; negative: all on one line
} layout;

static void put_line(hd_buf *b, const layout *l, int level)
{
    if (l->indent < 0) return;
    hd_buf_putc(b, '\n');
    for (size_t n = (size_t)level * (size_t)l->indent; n > 0 && !b->failed; n--)
        hd_buf_putc(b, ' ');
}

// Recursion is bounded by the depth limit of the scanner.
static void put_value(hd_buf *b, const cJSON *v, const layout *l, int level)
{
    switch (v->type) {
    case cJSON_True:
        hd_buf_puts(b, "true");
        return;
    case cJSON_False:
        hd_buf_puts(b, "false");
        return;
    case cJSON_Number:
        put_number_node(b, v);
        return;
    case cJSON_String:
        hd_json_put_str(b, hd_slice_str(v->valuestring));
        return;
    case cJSON_NULL:
        hd_buf_puts(b, "null");
        return;
    default:
        break;
    }
    bool object = v->type == cJSON_Object;
    hd_buf_putc(b, object ? '{' : '[');
    for (const cJSON *c = v->child; c; c = c->next) {
        if (c != v->child) hd_buf_puts(b, l->comma);
        put_line(b, l, level + 1);
        if (object) {
            hd_json_put_str(b, hd_slice_str(c->string));
            hd_buf_puts(b, l->colon);
        }
        put_value(b, c, l, level + 1);
    }
    if (v->child) put_line(b, l, level);
    hd_buf_putc(b, object ? '}' : ']');
}

static void put_tree(hd_buf *b, const hd_json *v, layout l)
{
    if (v)
        put_value(b, &v->node, &l, 0);
    else
        hd_buf_puts(b, "null");
}

void hd_json_put(hd_buf *b, const hd_json *v, hd_json_style style)
{
    put_tree(b, v, style == HD_JSON_PYTHON ? (layout){", ", ": ", -1} : (layout){",", ":", -1});
}

void hd_json_put_indent(hd_buf *b, const hd_json *v, int indent)
{
    put_tree(b, v, (layout){",", ": ", indent < 0 ? 0 : indent});
}
