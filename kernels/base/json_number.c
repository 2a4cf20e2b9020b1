// Numbers of JSON as text: exact integers, range, the shortest text of a double.
//
// Conversions use the process's locale, so LC_NUMERIC must stay "C".
#include "kernels/base/json_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLAIN_DIGITS = 15, // integers of so many digits are exact as doubles
    FINITE_DIGITS = 400
};

// ---- reading -------------------------------------------------------------------------------

// tok is a valid JSON number. Exponents saturate far beyond anything a text could balance.
hd_decimal hd_decimal_of(hd_slice tok)
{
    const char *p = tok.p, *end = tok.p + tok.n;
    hd_decimal d = {0};
    d.negative = *p == '-';
    p += d.negative;
    d.whole = p;
    d.n_whole = hd_count_digits(p, (size_t)(end - p));
    p += d.n_whole;
    d.integer = p == end;
    d.frac = p;
    if (p < end && *p == '.') {
        d.frac = ++p;
        d.n_frac = hd_count_digits(p, (size_t)(end - p));
        p += d.n_frac;
    }
    if (p == end) return d;
    p++; // 'e'
    bool down = *p == '-';
    if (!hd_is_digit(*p)) p++;
    for (; p < end; p++)
        if (d.exp10 < INT64_C(1000000000000)) d.exp10 = d.exp10 * 10 + (*p - '0');
    if (down) d.exp10 = -d.exp10;
    return d;
}

static char digit_at(const hd_decimal *d, size_t i)
{
    return i < d->n_whole ? d->whole[i] : d->frac[i - d->n_whole];
}

// Indexes of the first and last digit that is not 0; false for zero.
static bool significant(const hd_decimal *d, size_t *first, size_t *last)
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
bool hd_decimal_u64(const hd_decimal *d, uint64_t *out)
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
bool hd_decimal_is_finite(const hd_decimal *d)
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

bool hd_json_needs_text(hd_slice tok)
{
    size_t sign = tok.p[0] == '-';
    return tok.n - sign > PLAIN_DIGITS ||
           hd_count_digits(tok.p + sign, tok.n - sign) < tok.n - sign;
}

// ---- writing -------------------------------------------------------------------------------

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
