// PCRE2 behind regex.h: translation of the dialect, what is refused, limits.
//
// Translated: \s and \S to the reference's white space (PCRE2's has U+180E too), except \S inside a
// class; \uHHHH. Multi-line mode is on because Ruby's ^ and $ always match at line ends. Not here:
// which patterns have a hand-written scanner (pretok.c).
#include "models/tokenizer/regex.h"

#include "kernels/base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <string.h>

enum {
    PATTERN_BYTES = 16384,
    GROUPS_DEEP = 64,
    MATCH_STEPS = 10000000, // per match; ordinary ones take a few hundred
    HEAP_KIB = 65536,
    JIT_STACK_FIRST = 32 * 1024,
    JIT_STACK_MOST = 4 * 1024 * 1024,
};

struct hd_regex {
    pcre2_code *code;
};
struct hd_regex_scratch {
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

static void *heap_alloc(PCRE2_SIZE n, void *ctx)
{
    (void)ctx;
    return hd_alloc(n);
}
static void heap_free(void *p, void *ctx)
{
    (void)ctx;
    hd_free(p);
}

// ---- what is refused -----------------------------------------------------------------------

typedef struct reader { // walks a pattern item by item
    hd_slice p;
    size_t at;
    int depth; // open groups
    bool in_class;
    bool after_item;           // a quantifier may follow
    bool repeats[GROUPS_DEEP]; // an unbounded repeat is inside this group
    bool closed_repeats;       // the item just closed is a group with one
    hd_buf *out;
} reader;

static hd_status refuse(const char *what, hd_err *err)
{
    return HD_FAIL(err, HD_E_UNSUPPORTED, "pattern: %s is not supported", what);
}

static const char blanks[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
                             "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

static bool hex_digits(const reader *r, size_t n)
{
    if (r->p.n - r->at < n) return false;
    for (size_t i = 0; i < n; i++)
        if (!isxdigit((unsigned char)r->p.p[r->at + i])) return false;
    return true;
}

// An escape: copied, translated, or refused because the two engines read it differently.
static hd_status escape(reader *r, hd_err *err)
{
    if (r->at + 1 >= r->p.n) return HD_FAIL(err, HD_E_INVAL, "pattern ends in a backslash");
    char c = r->p.p[r->at + 1];
    if ((c >= '1' && c <= '9') || c == 'k') return refuse("a back-reference", err);
    if (strchr("0bBcCEgGhHKMNOQRUvVwWXyYZ", c)) {
        char what[8] = {'\\', c, '\0'};
        return refuse(what, err);
    }
    r->at += 2;
    if (c == 's' || (c == 'S' && !r->in_class)) {
        if (!r->in_class) hd_buf_puts(r->out, c == 's' ? "[" : "[^");
        hd_buf_puts(r->out, blanks);
        if (!r->in_class) hd_buf_putc(r->out, ']');
    } else if (c == 'u') {
        HD_CHECK(hex_digits(r, 4), err, HD_E_INVAL, "pattern: byte %zu: expected \\uHHHH", r->at);
        hd_buf_printf(r->out, "\\x{%.4s}", r->p.p + r->at);
        r->at += 4;
    } else {
        hd_buf_putc(r->out, '\\');
        hd_buf_putc(r->out, c);
    }
    if ((c == 'p' || c == 'P' || c == 'x') && r->at < r->p.n && r->p.p[r->at] == '{') {
        ptrdiff_t brace = hd_slice_find(r->p, hd_slice_str("}"), r->at);
        HD_CHECK(brace >= 0, err, HD_E_INVAL, "pattern: unclosed '{' at byte %zu", r->at);
        hd_buf_put(r->out, r->p.p + r->at, (size_t)brace + 1 - r->at);
        r->at = (size_t)brace + 1;
    }
    r->after_item = true;
    r->closed_repeats = false;
    return HD_OK;
}

// Parentheses: plain groups, (?: ), (?i: ), (?= ), (?! ), (?<= ), (?<! ), (?> ) and nothing else.
static hd_status open_group(reader *r, hd_err *err)
{
    static const char *const kinds[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    hd_slice rest = hd_slice_of(r->p.p + r->at, r->p.n - r->at);
    size_t n = 1;
    if (rest.n > 1 && rest.p[1] == '*') return refuse("a verb '(*...)'", err);
    if (rest.n > 1 && rest.p[1] == '?') {
        n = 0;
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
            if (hd_slice_starts(rest, hd_slice_str(kinds[i]))) n = strlen(kinds[i]);
        if (n == 0) return refuse("this kind of group '(?...'", err);
    }
    if (++r->depth >= GROUPS_DEEP) return HD_FAIL(err, HD_E_LIMIT, "pattern: groups nest too deep");
    r->repeats[r->depth] = false;
    hd_buf_put(r->out, rest.p, n);
    r->at += n;
    r->after_item = false;
    return HD_OK;
}

static hd_status close_group(reader *r, hd_err *err)
{
    HD_CHECK(r->depth > 0, err, HD_E_INVAL, "pattern: unmatched ')' at byte %zu", r->at);
    r->closed_repeats = r->repeats[r->depth--];
    if (r->closed_repeats) r->repeats[r->depth] = true;
    hd_buf_putc(r->out, ')');
    r->at++;
    r->after_item = true;
    return HD_OK;
}

// End of {n}, {n,} or {n,m} at the reader; 0 when the brace is an ordinary character.
static size_t braces(const reader *r, bool *unbounded)
{
    size_t i = r->at + 1, digits = i;
    while (i < r->p.n && r->p.p[i] >= '0' && r->p.p[i] <= '9')
        i++;
    if (i == digits || i >= r->p.n) return 0;
    *unbounded = false;
    if (r->p.p[i] == ',') {
        size_t more = ++i;
        while (i < r->p.n && r->p.p[i] >= '0' && r->p.p[i] <= '9')
            i++;
        *unbounded = i == more;
    }
    return i < r->p.n && r->p.p[i] == '}' ? i + 1 : 0;
}

static hd_status quantifier(reader *r, size_t end, bool unbounded, hd_err *err)
{
    bool brace = r->p.p[r->at] == '{';
    if (unbounded && r->closed_repeats) return refuse("an unbounded repeat inside another", err);
    if (unbounded) r->repeats[r->depth] = true;
    hd_buf_put(r->out, r->p.p + r->at, end - r->at);
    r->at = end;
    if (end < r->p.n && (r->p.p[end] == '?' || r->p.p[end] == '+')) {
        if (brace && r->p.p[end] == '+') return refuse("'+' behind braces", err);
        hd_buf_putc(r->out, r->p.p[end]); // lazy or possessive
        r->at++;
    }
    r->after_item = false;
    r->closed_repeats = false;
    return HD_OK;
}

static hd_status class_item(reader *r, hd_err *err)
{
    hd_slice rest = hd_slice_of(r->p.p + r->at, r->p.n - r->at);
    if (rest.p[0] == '\\') return escape(r, err);
    if (rest.p[0] == '[') return refuse("a class inside a class", err);
    if (hd_slice_starts(rest, hd_slice_str("&&"))) return refuse("'&&' in a class", err);
    hd_buf_putc(r->out, rest.p[0]);
    r->at++;
    if (rest.p[0] == ']') {
        r->in_class = false;
        r->after_item = true;
        r->closed_repeats = false;
    }
    return HD_OK;
}

static hd_status open_class(reader *r, hd_err *err)
{
    r->in_class = true;
    hd_buf_putc(r->out, '[');
    if (++r->at < r->p.n && r->p.p[r->at] == '^') {
        hd_buf_putc(r->out, '^');
        r->at++;
    }
    if (r->at < r->p.n && r->p.p[r->at] == ']') return refuse("a class that begins with ']'", err);
    return HD_OK;
}

static hd_status item(reader *r, hd_err *err)
{
    char c = r->p.p[r->at];
    bool unbounded = c == '*' || c == '+';
    size_t end = r->at + 1;
    if (r->in_class) return class_item(r, err);
    if (c == '\\') return escape(r, err);
    if (c == '(') return open_group(r, err);
    if (c == ')') return close_group(r, err);
    if (c == '[') return open_class(r, err);
    if (c == '{') end = braces(r, &unbounded);
    if (c == '*' || c == '+' || c == '?' || (c == '{' && end > 0)) {
        HD_CHECK(r->after_item, err, HD_E_INVAL, "pattern: nothing to repeat at byte %zu", r->at);
        return quantifier(r, end, unbounded, err);
    }
    if (c == '{') return refuse("'{' as an ordinary character", err);
    hd_buf_putc(r->out, c);
    r->at++;
    r->after_item = c != '|' && c != '^';
    r->closed_repeats = false;
    return HD_OK;
}

static hd_status translate(hd_slice pattern, hd_buf *out, hd_err *err)
{
    reader r = {.p = pattern, .out = out};
    HD_CHECK(pattern.n <= PATTERN_BYTES, err, HD_E_LIMIT, "pattern: %zu bytes, at most %d allowed",
             pattern.n, PATTERN_BYTES);
    while (r.at < pattern.n)
        HD_TRY(item(&r, err));
    HD_CHECK(!r.in_class && r.depth == 0, err, HD_E_INVAL, "pattern: unclosed bracket");
    HD_CHECK(!out->failed, err, HD_E_NOMEM, "pattern: out of memory");
    return HD_OK;
}

// ---- compiling -----------------------------------------------------------------------------

static hd_status compile(hd_slice text, uint32_t options, pcre2_code **out, hd_err *err)
{
    hd_status st = HD_E_NOMEM;
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *how = NULL;
    pcre2_general_context *heap = pcre2_general_context_create(heap_alloc, heap_free, NULL);
    if (heap) how = pcre2_compile_context_create(heap);
    if (!how) {
        hd_fail(err, st, "pattern: out of memory");
        goto done;
    }
    pcre2_set_newline(how, PCRE2_NEWLINE_LF);
    const unsigned char *p = (const unsigned char *)text.p;
    *out = pcre2_compile(p, text.n, options, &code, &at, how);
    if (*out) {
        st = HD_OK;
        pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); // where there is no JIT, the slow way works
    } else if (code == PCRE2_ERROR_HEAP_FAILED) {
        hd_fail(err, st, "pattern: out of memory");
    } else {
        unsigned char why[120];
        pcre2_get_error_message(code, why, sizeof(why));
        st = hd_fail(err, HD_E_INVAL, "pattern: byte %zu: %s", (size_t)at, (const char *)why);
    }
done:
    pcre2_compile_context_free(how);
    pcre2_general_context_free(heap);
    return st;
}

hd_status hd_regex_compile(hd_slice pattern, hd_regex_kind kind, hd_regex **out, hd_err *err)
{
    hd_buf text = {0};
    uint32_t options =
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
    hd_status st = HD_OK;
    *out = NULL;
    hd_regex *r = hd_calloc(1, sizeof(*r));
    if (!r) return HD_FAIL(err, HD_E_NOMEM, "pattern: out of memory");
    if (kind == HD_REGEX_LITERAL) {
        options = PCRE2_UTF | PCRE2_LITERAL;
        hd_buf_put_slice(&text, pattern);
        if (text.failed) st = hd_fail(err, HD_E_NOMEM, "pattern: out of memory");
    } else {
        st = translate(pattern, &text, err);
    }
    if (st == HD_OK) st = compile(hd_buf_slice(&text), options, &r->code, err);
    uint32_t can_be_empty = 0;
    if (st == HD_OK) pcre2_pattern_info(r->code, PCRE2_INFO_MATCHEMPTY, &can_be_empty);
    if (can_be_empty) st = refuse("an empty match", err);
    hd_buf_fini(&text);
    if (st != HD_OK) {
        hd_regex_free(r);
        return st;
    }
    *out = r;
    return HD_OK;
}

void hd_regex_free(hd_regex *r)
{
    if (!r) return;
    pcre2_code_free(r->code);
    hd_free(r);
}

// ---- matching ------------------------------------------------------------------------------

hd_status hd_regex_scratch_create(hd_regex_scratch **out, hd_err *err)
{
    *out = NULL;
    hd_regex_scratch *s = hd_calloc(1, sizeof(*s));
    pcre2_general_context *heap = pcre2_general_context_create(heap_alloc, heap_free, NULL);
    if (s && heap) {
        s->match = pcre2_match_data_create(1, heap);
        s->limits = pcre2_match_context_create(heap);
        s->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, heap);
    }
    pcre2_general_context_free(heap);
    if (!s || !s->match || !s->limits) {
        hd_regex_scratch_free(s);
        return HD_FAIL(err, HD_E_NOMEM, "pattern scratch: out of memory");
    }
    pcre2_set_match_limit(s->limits, MATCH_STEPS);
    pcre2_set_heap_limit(s->limits, HEAP_KIB);
    // Without JIT support there is no stack, and none is needed.
    if (s->stack) pcre2_jit_stack_assign(s->limits, NULL, s->stack);
    *out = s;
    return HD_OK;
}

void hd_regex_scratch_free(hd_regex_scratch *s)
{
    if (!s) return;
    pcre2_jit_stack_free(s->stack);
    pcre2_match_context_free(s->limits);
    pcre2_match_data_free(s->match);
    hd_free(s);
}

hd_status hd_regex_find(const hd_regex *r, hd_regex_scratch *s, hd_slice text, size_t from,
                        size_t *begin, size_t *end, hd_err *err)
{
    const unsigned char *p = (const unsigned char *)text.p;
    int rc = pcre2_match(r->code, p, text.n, from, PCRE2_NO_UTF_CHECK, s->match, s->limits);
    *begin = *end = text.n;
    if (rc == PCRE2_ERROR_NOMATCH) return HD_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return HD_FAIL(err, HD_E_NOMEM, "splitting text: out of memory");
    if (rc < 0)
        return HD_FAIL(err, HD_E_LIMIT,
                       "splitting text: the tokenizer's pattern gave up (PCRE2 %d)", rc);
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(s->match);
    *begin = at[0];
    *end = at[1];
    return HD_OK;
}
