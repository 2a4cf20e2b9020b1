// JSON behind limits: our scanner decides what is legal, cJSON then builds the tree.
//
//   text --scan (this file)--> facts --cJSON--> tree --attach--> tree with exact number tokens
//
// What cJSON 1.7.15 does not do is done here: limits, trailing bytes, UTF-8, NUL and surrogates,
// infinite numbers, numbers longer than 63 characters, integers beyond a double, case-sensitive
// keys. A number node whose text says more than its double keeps that text in `valuestring`.
//
// Not here: schemas, comments, NaN, incremental parsing. Numbers are converted in the process's
// locale, so LC_NUMERIC must stay "C".
#include "kernels/base/json.h"

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"

#include <cjson/cJSON.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hd_json {
    cJSON node;
};

enum {
    DEPTH_MAX = 512,   // below CJSON_NESTING_LIMIT; also bounds our own recursion
    PLAIN_DIGITS = 15, // integers of so many digits are exact as doubles
    CJSON_NUMBER = 63, // cJSON as released stops reading a number here (Debian's is patched)
    FINITE_DIGITS = 400
};
_Static_assert(DEPTH_MAX < CJSON_NESTING_LIMIT, "cJSON must not refuse what the scanner accepted");

const hd_json_limits hd_json_request_limits = {(size_t)128 << 20, 1000000, 128};
const hd_json_limits hd_json_file_limits = {(size_t)256 << 20, 16000000, 64};

// ---- numbers as text -----------------------------------------------------------------------

// A token taken apart; its digits are those of `whole` followed by those of `frac`.
typedef struct decimal {
    const char *whole, *frac;
    size_t n_whole, n_frac;
    int64_t exp10;
    bool negative, integer; // integer: written without fraction and exponent
} decimal;

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_digits(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && is_digit(p[i]))
        i++;
    return i;
}

// tok is a valid JSON number. Exponents saturate far beyond anything a text could balance.
static decimal decimal_of(hd_slice tok)
{
    const char *p = tok.p, *end = tok.p + tok.n;
    decimal d = {0};
    d.negative = *p == '-';
    p += d.negative;
    d.whole = p;
    d.n_whole = count_digits(p, (size_t)(end - p));
    p += d.n_whole;
    d.integer = p == end;
    d.frac = p;
    if (p < end && *p == '.') {
        d.frac = ++p;
        d.n_frac = count_digits(p, (size_t)(end - p));
        p += d.n_frac;
    }
    if (p == end) return d;
    p++; // 'e'
    bool down = *p == '-';
    if (!is_digit(*p)) p++;
    for (; p < end; p++)
        if (d.exp10 < INT64_C(1000000000000)) d.exp10 = d.exp10 * 10 + (*p - '0');
    if (down) d.exp10 = -d.exp10;
    return d;
}

static char digit_at(const decimal *d, size_t i)
{
    return i < d->n_whole ? d->whole[i] : d->frac[i - d->n_whole];
}

// Indexes of the first and last digit that is not 0; false for zero.
static bool significant(const decimal *d, size_t *first, size_t *last)
{
    size_t n = d->n_whole + d->n_frac, i = 0, k = n;
    while (i < n && digit_at(d, i) == '0')
        i++;
    if (i == n) return false;
    while (digit_at(d, k - 1) == '0')
        k--;
    *first = i;
    *last = k - 1;
    return true;
}

// |value| when it is an integer below 2^64, whichever way it is written.
static bool decimal_u64(const decimal *d, uint64_t *out)
{
    size_t first, last;
    *out = 0;
    if (!significant(d, &first, &last)) return true;
    int64_t zeros = d->exp10 + (int64_t)d->n_whole - (int64_t)last - 1;
    if (zeros < 0) return false;
    uint64_t v = 0; // the first digit is not 0, so at most 20 steps go without overflow
    for (size_t i = first; i <= last + (size_t)zeros; i++) {
        uint64_t digit = i <= last ? (uint64_t)(digit_at(d, i) - '0') : 0;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    *out = v;
    return true;
}

// False when the nearest double is infinite. Converts only where the magnitude leaves a doubt; the
// limit is an integer of 309 digits, so digits far behind those cannot matter.
static bool decimal_is_finite(const decimal *d)
{
    size_t first, last;
    if (d->exp10 <= 0 && d->n_whole <= DBL_MAX_10_EXP) return true;
    if (!significant(d, &first, &last)) return true;
    int64_t magnitude = d->exp10 + (int64_t)d->n_whole - (int64_t)first; // value < 10^magnitude
    if (magnitude <= DBL_MAX_10_EXP) return true;
    if (magnitude > DBL_MAX_10_EXP + 1) return false;
    char text[FINITE_DIGITS + 16] = "0.";
    size_t n = 2;
    for (size_t i = first; i <= last && n < FINITE_DIGITS; i++)
        text[n++] = digit_at(d, i);
    snprintf(text + n, sizeof(text) - n, "e%d", DBL_MAX_10_EXP + 1);
    return !isinf(strtod(text, NULL));
}

// ---- the scanner ---------------------------------------------------------------------------

typedef struct scanner {
    const char *p;
    size_t n, at;
    const hd_json_limits *lim;
    size_t nodes;
    size_t exact; // numbers that need their text
    size_t longs; // numbers that cJSON cannot read
    int depth;
    uint64_t is_object[DEPTH_MAX / 64]; // one bit per open container
    hd_err *err;
} scanner;

// Line and column of an offset, both from 1; columns count characters.
static void locate(const scanner *s, size_t at, size_t *line, size_t *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at; i++) {
        if (s->p[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)s->p[i] & 0xC0) != 0x80) {
            ++*column;
        }
    }
}

static hd_status scan_report(const scanner *s, size_t at, const char *expected, const char *found)
{
    size_t line, column;
    locate(s, at, &line, &column);
    return HD_FAIL(s->err, HD_E_INVAL, "line %zu column %zu: expected %s, found %s", line, column,
                   expected, found);
}

static hd_status scan_fail(const scanner *s, size_t at, const char *expected)
{
    char found[16] = "the end";
    if (at < s->n) {
        unsigned char c = (unsigned char)s->p[at];
        snprintf(found, sizeof(found), c > ' ' && c < 0x7F ? "'%c'" : "byte 0x%02x", c);
    }
    return scan_report(s, at, expected, found);
}

static hd_status scan_limit(const scanner *s, const char *what, size_t max)
{
    size_t line, column;
    locate(s, s->at, &line, &column);
    return HD_FAIL(s->err, HD_E_LIMIT, "line %zu column %zu: %s, expected at most %zu", line,
                   column, what, max);
}

static int hex_value(char c)
{
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// s->at stands behind "\u"; reads four digits.
static hd_status scan_hex4(scanner *s, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, s->at++) {
        int v = s->at < s->n ? hex_value(s->p[s->at]) : -1;
        if (v < 0) return scan_fail(s, s->at, "four hexadecimal digits");
        *out = *out << 4 | (uint32_t)v;
    }
    return HD_OK;
}

// s->at stands on the backslash.
static hd_status scan_escape(scanner *s)
{
    size_t start = s->at++;
    char c = '\0';
    if (s->at < s->n) c = s->p[s->at];
    if (c == '\0' || !strchr("\"\\/bfnrtu", c))
        return scan_fail(s, s->at, "one of \"\\/bfnrtu behind '\\'");
    s->at++;
    if (c != 'u') return HD_OK;
    uint32_t unit;
    HD_TRY(scan_hex4(s, &unit));
    if (unit == 0) return scan_report(s, start, "no NUL", "\\u0000");
    if (unit < 0xD800 || unit > 0xDFFF) return HD_OK;
    if (unit > 0xDBFF) return scan_report(s, start, "a high surrogate first", "a low one");
    if (s->n - s->at < 2 || s->p[s->at] != '\\' || s->p[s->at + 1] != 'u')
        return scan_fail(s, s->at, "the escape of a low surrogate");
    size_t second = s->at;
    s->at += 2;
    HD_TRY(scan_hex4(s, &unit));
    if (unit < 0xDC00 || unit > 0xDFFF)
        return scan_fail(s, second, "the escape of a low surrogate");
    return HD_OK;
}

// s->at stands on the opening quote.
static hd_status scan_string(scanner *s)
{
    s->at++;
    while (s->at < s->n) {
        unsigned char c = (unsigned char)s->p[s->at];
        if (c == '"') {
            s->at++;
            return HD_OK;
        }
        if (c == '\\') {
            HD_TRY(scan_escape(s));
        } else if (c >= 0x80) {
            uint32_t cp;
            int len = hd_utf8_decode(s->p + s->at, s->n - s->at, &cp);
            if (len <= 0) return scan_fail(s, s->at, "valid UTF-8");
            s->at += (size_t)len;
        } else if (c < 0x20) {
            return scan_fail(s, s->at, "control characters to be escaped");
        } else {
            s->at++;
        }
    }
    return scan_fail(s, s->at, "'\"'");
}

static hd_status scan_digits(scanner *s)
{
    size_t n = count_digits(s->p + s->at, s->n - s->at);
    if (n == 0) return scan_fail(s, s->at, "a digit");
    s->at += n;
    return HD_OK;
}

static char peek(const scanner *s)
{
    return s->at < s->n ? s->p[s->at] : '\0';
}

static bool needs_text(hd_slice tok)
{
    size_t sign = tok.p[0] == '-';
    return tok.n - sign > PLAIN_DIGITS || count_digits(tok.p + sign, tok.n - sign) < tok.n - sign;
}

static hd_status scan_number(scanner *s)
{
    size_t start = s->at;
    if (peek(s) == '-') s->at++;
    if (peek(s) == '0')
        s->at++; // nothing but a fraction or an exponent may follow
    else
        HD_TRY(scan_digits(s));
    if (peek(s) == '.') {
        s->at++;
        HD_TRY(scan_digits(s));
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-') s->at++;
        HD_TRY(scan_digits(s));
    }
    hd_slice tok = {s->p + start, s->at - start};
    if (!needs_text(tok)) return HD_OK;
    s->exact++;
    s->longs += tok.n > CJSON_NUMBER;
    decimal d = decimal_of(tok);
    if (decimal_is_finite(&d)) return HD_OK;
    return scan_report(s, start, "a number that a double can hold", "a larger one");
}

static hd_status scan_literal(scanner *s, const char *word)
{
    for (; *word; word++, s->at++)
        if (peek(s) != *word) return scan_fail(s, s->at, "true, false or null");
    return HD_OK;
}

static void skip_blanks(scanner *s)
{
    while (s->at < s->n && (s->p[s->at] == ' ' || s->p[s->at] == '\n' || s->p[s->at] == '\r' ||
                            s->p[s->at] == '\t'))
        s->at++;
}

static bool in_object(const scanner *s)
{
    unsigned i = (unsigned)s->depth - 1;
    return s->is_object[i / 64] >> (i % 64) & 1;
}

static hd_status scan_open(scanner *s, bool object)
{
    if (s->depth >= s->lim->max_depth)
        return scan_limit(s, "nested too deeply", (size_t)s->lim->max_depth);
    unsigned i = (unsigned)s->depth++;
    s->is_object[i / 64] &= ~(UINT64_C(1) << (i % 64));
    s->is_object[i / 64] |= (uint64_t)object << (i % 64);
    s->at++;
    return HD_OK;
}

// What may stand at the current position.
typedef enum expect { VALUE, FIRST_VALUE, KEY, FIRST_KEY, AFTER } expect;

static hd_status scan_value(scanner *s, expect *state)
{
    if (++s->nodes > s->lim->max_nodes) return scan_limit(s, "too many values", s->lim->max_nodes);
    char c = peek(s);
    bool first = *state == FIRST_VALUE;
    *state = c == '{' ? FIRST_KEY : c == '[' ? FIRST_VALUE : AFTER;
    if (c == '{' || c == '[') return scan_open(s, c == '{');
    if (c == '"') return scan_string(s);
    if (c == '-' || is_digit(c)) return scan_number(s);
    if (c == 't') return scan_literal(s, "true");
    if (c == 'f') return scan_literal(s, "false");
    if (c == 'n') return scan_literal(s, "null");
    return scan_fail(s, s->at, first ? "a value or ']'" : "a value");
}

static hd_status scan_key(scanner *s, expect *state)
{
    if (peek(s) != '"')
        return scan_fail(s, s->at,
                         *state == FIRST_KEY ? "a key in quotes or '}'" : "a key in quotes");
    HD_TRY(scan_string(s));
    skip_blanks(s);
    if (peek(s) != ':') return scan_fail(s, s->at, "':'");
    s->at++;
    *state = VALUE;
    return HD_OK;
}

// Behind a value: a comma, or the end of the container.
static hd_status scan_after(scanner *s, expect *state)
{
    bool object = in_object(s);
    if (peek(s) != ',') return scan_fail(s, s->at, object ? "',' or '}'" : "',' or ']'");
    s->at++;
    *state = object ? KEY : VALUE;
    return HD_OK;
}

static hd_status scan_document(scanner *s)
{
    expect state = VALUE;
    for (;;) {
        skip_blanks(s);
        if (s->depth == 0 && state == AFTER)
            return s->at == s->n ? HD_OK : scan_fail(s, s->at, "the end of the text");
        bool closable = state == AFTER || state == FIRST_VALUE || state == FIRST_KEY;
        if (closable && peek(s) == (in_object(s) ? '}' : ']')) {
            s->at++;
            s->depth--;
            state = AFTER;
        } else if (state == AFTER) {
            HD_TRY(scan_after(s, &state));
        } else if (state == KEY || state == FIRST_KEY) {
            HD_TRY(scan_key(s, &state));
        } else {
            HD_TRY(scan_value(s, &state));
        }
    }
}

// Skips a byte order mark, applies the limits and the grammar, and leaves its counts in *s.
static hd_status scan(hd_slice text, const hd_json_limits *lim, scanner *s, hd_err *err)
{
    HD_ASSERT(lim->max_depth <= DEPTH_MAX);
    HD_CHECK(text.n <= lim->max_bytes, err, HD_E_LIMIT,
             "JSON text: found %zu bytes, expected at most %zu", text.n, lim->max_bytes);
    size_t mark = hd_slice_starts(text, hd_slice_str("\xEF\xBB\xBF")) ? 3 : 0;
    *s = (scanner){.p = text.n ? text.p + mark : "", .n = text.n - mark, .lim = lim, .err = err};
    return scan_document(s);
}

hd_status hd_json_scan(hd_slice text, const hd_json_limits *lim, hd_err *err)
{
    scanner s;
    return scan(text, lim, &s, err);
}

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
    return is_digit(c) || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
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
        else if (!quoted && (c == '-' || is_digit(c)))
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
        if (tok.n <= CJSON_NUMBER) continue;
        memset(copy + (tok.p - text.p), ' ', tok.n);
        copy[tok.p - text.p] = '0';
    }
    return copy;
}

// Gives the `left` number nodes that need it a copy of their token. The order of nodes in the tree
// is the order of tokens in the text. False: out of memory.
static bool attach_tokens(cJSON *root, hd_slice text, size_t left)
{
    cJSON *open[DEPTH_MAX + 1];
    int depth = 0;
    size_t at = 0;
    for (cJSON *v = root; left > 0;) {
        if (v->type == cJSON_Number) {
            hd_slice tok = {0};
            bool found = next_number(text, &at, &tok);
            HD_ASSERT(found);
            if (needs_text(tok)) {
                v->valuestring = hd_strndup(tok.p, tok.n);
                if (!v->valuestring) return false;
                if (tok.n > CJSON_NUMBER) v->valuedouble = strtod(v->valuestring, NULL);
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
    scanner s;
    HD_TRY(scan(text, lim, &s, err));
    pthread_once(&once, install_hooks);
    char *copy = NULL;
    cJSON *root = NULL;
    hd_slice doc = {s.p, s.n};
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
        decimal d = decimal_of(hd_slice_str(v->node.valuestring));
        *negative = d.negative;
        return decimal_u64(&d, magnitude);
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

typedef enum width { SINGLE, DOUBLE } width;

// d[0].d[1]d[2].. * 10^exp
typedef struct digits {
    char d[20];
    int n, exp;
} digits;

static digits round_to(double v, int n)
{
    char text[40];
    digits g = {.n = n};
    snprintf(text, sizeof(text), "%.*e", n - 1, v);
    g.d[0] = text[0];
    memcpy(g.d + 1, text + 2, (size_t)n - 1);
    g.exp = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    return g;
}

static void next_up(digits *g)
{
    int i = g->n - 1;
    while (i >= 0 && g->d[i] == '9')
        g->d[i--] = '0';
    if (i >= 0) {
        g->d[i]++;
    } else {
        g->d[0] = '1';
        g->exp++;
    }
}

static bool reads_back(const digits *g, double v, width w)
{
    char text[48];
    snprintf(text, sizeof(text), "%c.%.*se%d", g->d[0], g->n - 1, g->d + 1, g->exp);
    return (w == SINGLE ? (double)strtof(text, NULL) : strtod(text, NULL)) == v;
}

// The fewest digits that read back as v > 0, of these the nearest to v.
static digits shortest(double v, width w)
{
    // A decimal of 15 (6) digits survives the way through a normal double (float), so a shorter
    // answer shows as trailing zeros of the first try. Subnormals carry fewer digits.
    int most = w == SINGLE ? FLT_DECIMAL_DIG : DBL_DECIMAL_DIG;
    int n = w == SINGLE ? FLT_DIG : DBL_DIG;
    if (v < (w == SINGLE ? (double)FLT_MIN : DBL_MIN)) n = 1;
    int e;
    bool power_of_two = frexp(v, &e) == 0.5;
    digits g = round_to(v, n);
    while (n < most && !reads_back(&g, v, w)) {
        // Above a power of two the neighbour is twice as far as below: the nearest decimal may
        // fail where the next one up succeeds.
        if (power_of_two) {
            next_up(&g);
            if (reads_back(&g, v, w)) break;
        }
        g = round_to(v, ++n);
    }
    while (g.n > 1 && g.d[g.n - 1] == '0')
        g.n--;
    return g;
}

// Lays the digits out as Python's repr does: an exponent below 1e-4 and from 1e16 on.
static void put_number(hd_buf *b, double v, width w)
{
    if (!isfinite(v)) {
        hd_buf_puts(b, "null");
        return;
    }
    if (signbit(v)) hd_buf_putc(b, '-');
    if (v == 0) {
        hd_buf_puts(b, "0.0");
        return;
    }
    digits g = shortest(fabs(v), w);
    if (g.exp < -4 || g.exp >= 16) {
        hd_buf_putc(b, g.d[0]);
        if (g.n > 1) hd_buf_printf(b, ".%.*s", g.n - 1, g.d + 1);
        hd_buf_printf(b, "e%c%02d", g.exp < 0 ? '-' : '+', abs(g.exp));
    } else if (g.exp < 0) {
        hd_buf_printf(b, "0.%.*s%.*s", -g.exp - 1, "000", g.n, g.d);
    } else {
        int whole = g.n < g.exp + 1 ? g.n : g.exp + 1;
        hd_buf_put(b, g.d, (size_t)whole);
        hd_buf_printf(b, "%.*s.", g.exp + 1 - whole, "000000000000000");
        hd_buf_put(b, g.n > whole ? g.d + whole : "0", g.n > whole ? (size_t)(g.n - whole) : 1);
    }
}

void hd_json_put_f64(hd_buf *b, double v)
{
    put_number(b, v, DOUBLE);
}

void hd_json_put_f32(hd_buf *b, float v)
{
    put_number(b, (double)v, SINGLE);
}

// An integer as it stood, anything else as the double it was read as.
static void put_number_node(hd_buf *b, const cJSON *v)
{
    if (!v->valuestring)
        hd_buf_printf(b, "%.0f", v->valuedouble == 0 ? 0.0 : v->valuedouble); // "-0" is 0
    else if (decimal_of(hd_slice_str(v->valuestring)).integer)
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
