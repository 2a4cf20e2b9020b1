// The scanner: decides whether text is JSON within limits. Strict RFC 8259 grammar, UTF-8, depth,
// node count, no NUL escapes, no lone surrogates, no number beyond a double. Builds nothing.
#include "kernels/base/json_impl.h"
#include "kernels/base/utf8.h"

#include <stdio.h>
#include <string.h>

typedef struct scanner {
    const char *p;
    size_t n, at;
    const hd_json_limits *lim;
    size_t nodes;
    size_t exact; // numbers that need their text
    size_t longs; // numbers that cJSON cannot read
    int depth;
    uint64_t is_object[HD_JSON_DEPTH_MAX / 64]; // one bit per open container
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
    if (hd_is_digit(c)) return c - '0';
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
    size_t n = hd_count_digits(s->p + s->at, s->n - s->at);
    if (n == 0) return scan_fail(s, s->at, "a digit");
    s->at += n;
    return HD_OK;
}

static char peek(const scanner *s)
{
    return s->at < s->n ? s->p[s->at] : '\0';
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
    if (!hd_json_needs_text(tok)) return HD_OK;
    s->exact++;
    s->longs += tok.n > HD_JSON_CJSON_NUMBER;
    hd_decimal d = hd_decimal_of(tok);
    if (hd_decimal_is_finite(&d)) return HD_OK;
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
    if (c == '-' || hd_is_digit(c)) return scan_number(s);
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
    HD_ASSERT(lim->max_depth <= HD_JSON_DEPTH_MAX);
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

hd_status hd_json_check(hd_slice text, const hd_json_limits *lim, hd_json_facts *out, hd_err *err)
{
    scanner s;
    HD_TRY(scan(text, lim, &s, err));
    *out = (hd_json_facts){{s.p, s.n}, s.exact, s.longs};
    return HD_OK;
}
