// The hand-written scanners against PCRE2 with the patterns they stand for, on seeded random text;
// and the generic patterns: translation, what is refused, limits.
//
// PCRE2's Unicode may be older than ours: code points that it has not assigned are left out of the
// texts, and nothing else is.
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include "models/tokenizer/pretok.h"
#include "models/tokenizer/unicode.h"
#include "tests/harness/test.h"

#include <stdio.h>

enum { SEED = 20261124, PER_PATTERN = 12000, PER_NAME = 5000, TEXT_MAX = 512, PIECES = 600 };

// ---- texts ---------------------------------------------------------------------------------

static uint8_t *usable; // one flag per code point

static void find_usable(void)
{
    hd_regex *unassigned = NULL;
    hd_regex_scratch *scratch = NULL;
    hd_err err = {0};
    if (usable) return;
    usable = hd_calloc(0x110000, 1);
    EXPECT(usable);
    EXPECT_INT(hd_regex_compile(hd_slice_str("\\p{Cn}"), HD_REGEX_PATTERN, &unassigned, &err),
               HD_OK);
    EXPECT_INT(hd_regex_scratch_create(&scratch, &err), HD_OK);
    int n = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        char c[4];
        size_t begin, end;
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        hd_slice one = hd_slice_of(c, (size_t)hd_utf8_encode(cp, c));
        EXPECT_INT(hd_regex_find(unassigned, scratch, one, 0, &begin, &end, &err), HD_OK);
        usable[cp] = begin == one.n;
        n += usable[cp];
    }
    EXPECT(n > 280000); // Unicode 14 has 282,146 without surrogates
    hd_regex_free(unassigned);
    hd_regex_scratch_free(scratch);
}

static uint32_t pick(hd_rng *r, const uint32_t (*range)[2], uint32_t n)
{
    for (;;) {
        const uint32_t *p = range[hd_rng_below(r, n)];
        uint32_t cp = p[0] + hd_rng_below(r, p[1] - p[0] + 1);
        if (usable[cp]) return cp;
    }
}

static uint32_t any_char(hd_rng *r)
{
    static const uint32_t common[][2] = {
        {'a', 'z'},         {'A', 'Z'},         {'0', '9'},         {0x21, 0x2F},
        {0x3A, 0x40},       {0x5B, 0x60},       {0x7B, 0x7E},       {0xA0, 0xFF},
        {0x100, 0x24F},     {0x300, 0x36F},     {0x370, 0x3FF},     {0x400, 0x4FF},
        {0x590, 0x5FF},     {0x600, 0x6FF},     {0x900, 0x97F},     {0xE00, 0xE7F},
        {0x10A0, 0x10FF},   {0x1100, 0x11FF},   {0x13A0, 0x13FF},   {0x1E00, 0x1FFF},
        {0x2010, 0x205E},   {0x2070, 0x218F},   {0x2190, 0x23FF},   {0x2460, 0x24FF},
        {0x2600, 0x27BF},   {0x2C00, 0x2DFF},   {0x3000, 0x3020},   {0x3040, 0x30FF},
        {0x3200, 0x32FF},   {0x4E00, 0x9FFF},   {0xA640, 0xA7FF},   {0xAC00, 0xD7FF},
        {0xF900, 0xFB4F},   {0xFF00, 0xFFEF},   {0x10400, 0x104FF}, {0x10C80, 0x10CFF},
        {0x1D400, 0x1D7FF}, {0x1E900, 0x1E95F}, {0x1F300, 0x1F6FF}, {0x20000, 0x2A6DF},
        {0xE0100, 0xE01EF},
    };
    static const uint32_t blanks[][2] = {
        {'\n', '\n'},     {'\r', '\r'},     {' ', ' '},       {' ', ' '},       {'\t', '\r'},
        {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x180E, 0x180E}, {0x2000, 0x200A},
        {0x2028, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0x200B, 0x200D}, {0xFEFF, 0xFEFF},
    };
    static const uint32_t suffix[][2] = {
        {'\'', '\''}, {'s', 't'}, {'r', 'r'},     {'e', 'e'},       {'v', 'v'},
        {'m', 'm'},   {'l', 'l'}, {'d', 'd'},     {'S', 'T'},       {'L', 'L'},
        {'R', 'R'},   {'E', 'E'}, {0x17F, 0x17F}, {0x212A, 0x212A},
    };
    static const uint32_t all[][2] = {{1, 0xD7FF}, {0xE000, 0x10FFFF}, {1, 0x2FFF}};
#define PICK(t) pick(r, t, sizeof(t) / sizeof(t[0]))
    switch (hd_rng_below(r, 8)) {
    case 0:
    case 1:
        return PICK(blanks);
    case 2:
        return PICK(suffix);
    case 3:
        return PICK(all);
    default:
        return PICK(common);
    }
#undef PICK
}

static hd_slice random_text(hd_rng *r, char *out)
{
    size_t n = 0;
    uint32_t chars = 1 + hd_rng_below(r, 24);
    for (uint32_t i = 0; i < chars && n < TEXT_MAX - 64; i++) {
        uint32_t cp = any_char(r), times = hd_rng_below(r, 4) ? 1 : 1 + hd_rng_below(r, 5);
        for (; times > 0; times--)
            n += (size_t)hd_utf8_encode(cp, out + n);
    }
    return hd_slice_of(out, n);
}

// ---- pieces --------------------------------------------------------------------------------

typedef struct pieces {
    const char *start;
    size_t end[PIECES];
    size_t n;
} pieces;

static hd_status collect(void *ctx, hd_slice piece, hd_err *err)
{
    pieces *p = ctx;
    (void)err;
    EXPECT(piece.n > 0 && p->n < PIECES);
    EXPECT(piece.p == p->start + (p->n ? p->end[p->n - 1] : 0));
    p->end[p->n++] = (size_t)(piece.p - p->start) + piece.n;
    return HD_OK;
}

static void split(const hd_pretok *p, hd_slice text, hd_regex_scratch **scratch, pieces *out)
{
    const hd_pretok_sink sink = {collect, out};
    hd_err err = {0};
    out->start = text.p;
    out->n = 0;
    if (hd_pretok_run(p, text, scratch, &sink, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    EXPECT(out->n > 0 && out->end[out->n - 1] == text.n);
}

static void fail_at(const char *what, int number, hd_slice text, const pieces *a, const pieces *b)
{
    char shown[4 * TEXT_MAX + 1];
    size_t n = 0, i = 0;
    for (size_t k = 0; k < text.n; k++)
        n += (size_t)snprintf(shown + n, sizeof(shown) - n, "\\x%02x", (unsigned char)text.p[k]);
    while (i < a->n && i < b->n && a->end[i] == b->end[i])
        i++;
    hd_test_fail(__FILE__, __LINE__, "%s, text %d \"%s\": piece %zu ends at %zu, PCRE2 says %zu",
                 what, number, shown, i, i < a->n ? a->end[i] : 0, i < b->n ? b->end[i] : 0);
}

static void compare(const char *what, const hd_pretok *scan, const hd_pretok *regex, int count)
{
    static char buffer[TEXT_MAX];
    static pieces a, b;
    hd_regex_scratch *scratch = NULL;
    hd_rng rng;
    hd_rng_seed(&rng, SEED);
    for (int i = 0; i < count; i++) {
        hd_slice text = random_text(&rng, buffer);
        split(scan, text, &scratch, &a);
        split(regex, text, &scratch, &b);
        if (a.n != b.n || memcmp(a.end, b.end, a.n * sizeof(a.end[0])) != 0)
            fail_at(what, i, text, &a, &b);
    }
    hd_regex_scratch_free(scratch);
}

// The pattern of a scanner, compiled rather than recognised.
static void add_compiled(hd_pretok *p, hd_scan_fn scan)
{
    hd_err err = {0};
    for (const hd_pretok_pattern *k = hd_pretok_patterns; k->text; k++) {
        if (k->scan != scan) continue;
        hd_pretok_step step = {NULL, NULL};
        if (hd_regex_compile(hd_slice_str(k->text), HD_REGEX_PATTERN, &step.regex, &err) != HD_OK)
            hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
        p->step[p->n++] = step;
        return;
    }
    hd_test_fail(__FILE__, __LINE__, "a scanner without a pattern");
}

static void every_pattern(void)
{
    find_usable();
    int n = 0;
    for (const hd_pretok_pattern *k = hd_pretok_patterns; k->text; k++, n++) {
        hd_pretok scan = {0}, regex = {0};
        hd_err err = {0};
        EXPECT_INT(hd_pretok_add_regex(&scan, hd_slice_str(k->text), HD_REGEX_PATTERN, &err),
                   HD_OK);
        EXPECT(scan.step[0].scan == k->scan && !scan.step[0].regex);
        hd_pretok_step step = {NULL, NULL};
        EXPECT_INT(hd_regex_compile(hd_slice_str(k->text), HD_REGEX_PATTERN, &step.regex, &err),
                   HD_OK);
        regex.step[regex.n++] = step;
        compare(k->text, &scan, &regex, PER_PATTERN);
        hd_pretok_fini(&scan);
        hd_pretok_fini(&regex);
    }
    EXPECT_INT(n, 16);
    hd_free(usable);
}

static void every_name(void)
{
    static const char *const names[] = {"deepseek-v3", "deepseek-llm", "deepseek-coder", "qwen2",
                                        "llama-bpe",   "smollm",       "gpt-2"};
    find_usable();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        hd_pretok scan = {0}, regex = {0};
        const char *name = NULL;
        hd_err err = {0};
        EXPECT_INT(hd_pretok_named(hd_slice_str(names[i]), &scan, &name, &err), HD_OK);
        EXPECT_STR(name, names[i]);
        EXPECT_STR(hd_pretok_name(&scan), names[i]);
        for (int k = 0; k < scan.n; k++)
            add_compiled(&regex, scan.step[k].scan);
        compare(names[i], &scan, &regex, PER_NAME);
        hd_pretok_fini(&scan);
        hd_pretok_fini(&regex);
    }
    hd_free(usable);
}

// ---- by hand -------------------------------------------------------------------------------

// Splits text by a named pre-tokenizer and writes the pieces with '|' between them.
static void expect_split(const char *name, const char *text, const char *want)
{
    pieces p;
    hd_pretok t = {0};
    hd_regex_scratch *scratch = NULL;
    const char *our;
    hd_buf got = {0};
    hd_err err = {0};
    EXPECT_INT(hd_pretok_named(hd_slice_str(name), &t, &our, &err), HD_OK);
    split(&t, hd_slice_str(text), &scratch, &p);
    for (size_t i = 0, at = 0; i < p.n; at = p.end[i++]) {
        if (i > 0) hd_buf_putc(&got, '|');
        hd_buf_put(&got, text + at, p.end[i] - at);
    }
    EXPECT(!scratch); // scanners need none
    EXPECT_STR(got.data, want);
    hd_buf_fini(&got);
    hd_pretok_fini(&t);
}

static void examples(void)
{
    expect_split("deepseek-v3", "Hello  world", "Hello| | world");
    expect_split("deepseek-v3", "x=12345", "x|=|123|45");
    expect_split("deepseek-v3", "a.b(c)", "a|.b|(c|)");
    expect_split("joyai-llm", "\u6f22\u5b57kana", "\u6f22\u5b57|kana");
    expect_split("deepseek-v3", "a\n\n b", "a|\n\n| b");
    expect_split("deepseek-v3", "\x01\x02", "\x01\x02");
    expect_split("deepseek-v3", "\x01z", "\x01z");
    expect_split("qwen2", "I'LL go 42", "I|'LL| go| |4|2");
    expect_split("qwen2", "it'\u017f", "it|'\u017f");
    expect_split("gpt-2", "I'LL'll", "I|'|LL|'ll");
    expect_split("llama-bpe", "1234567", "123|456|7");
    expect_split("smollm", "a1 22", "a|1| |2|2");
    expect_split("deepseek-coder", "f(x) \n", "f|(|x|)| |\n");
    expect_split("deepseek-llm", "ab  \n", "ab|  |\n");
    expect_split("deepseek-llm", " a !1", " a| !|1");
}

// ---- generic patterns ----------------------------------------------------------------------

static void expect_refused(const char *pattern, hd_status st, const char *part)
{
    hd_pretok p = {0};
    hd_err err = {0};
    hd_status got = hd_pretok_add_regex(&p, hd_slice_str(pattern), HD_REGEX_PATTERN, &err);
    if (got != st)
        hd_test_fail(__FILE__, __LINE__, "%s: %s (%s)", pattern, hd_status_name(got), err.msg);
    EXPECT_CONTAINS(err.msg, part);
    EXPECT_INT(p.n, 0);
    hd_pretok_fini(&p);
}

static void refused(void)
{
    expect_refused("(a)\\1", HD_E_UNSUPPORTED, "back-reference");
    expect_refused("(?<x>a)", HD_E_UNSUPPORTED, "kind of group");
    expect_refused("(?R)", HD_E_UNSUPPORTED, "kind of group");
    expect_refused("(?m:a)", HD_E_UNSUPPORTED, "kind of group");
    expect_refused("(*COMMIT)a", HD_E_UNSUPPORTED, "verb");
    expect_refused("(?:a+)+", HD_E_UNSUPPORTED, "unbounded");
    expect_refused("(?:(?:a*)b)*", HD_E_UNSUPPORTED, "unbounded");
    expect_refused("(?:a{2,}){3,}", HD_E_UNSUPPORTED, "unbounded");
    expect_refused("\\w+", HD_E_UNSUPPORTED, "\\w");
    expect_refused("\\bx", HD_E_UNSUPPORTED, "\\b");
    expect_refused("\\h", HD_E_UNSUPPORTED, "\\h");
    expect_refused("[a&&b]", HD_E_UNSUPPORTED, "&&");
    expect_refused("[[:alpha:]]", HD_E_UNSUPPORTED, "class");
    expect_refused("[]a]", HD_E_UNSUPPORTED, "']'");
    expect_refused("x*", HD_E_UNSUPPORTED, "empty");
    expect_refused("", HD_E_UNSUPPORTED, "empty");
    expect_refused("$", HD_E_UNSUPPORTED, "empty");
    expect_refused("a{2}+", HD_E_UNSUPPORTED, "braces");
    expect_refused("a{", HD_E_UNSUPPORTED, "'{'");
    expect_refused("(a", HD_E_INVAL, "unclosed");
    expect_refused("a)", HD_E_INVAL, "unmatched");
    expect_refused("[a", HD_E_INVAL, "unclosed");
    expect_refused("*a", HD_E_INVAL, "nothing to repeat");
    expect_refused("a\\", HD_E_INVAL, "backslash");
    expect_refused("\\p{Lx}", HD_E_INVAL, "byte");
    expect_refused("\\u12", HD_E_INVAL, "HHHH");
    expect_refused("\\p{L", HD_E_INVAL, "unclosed");
}

static void expect_regex(const char *pattern, hd_regex_kind kind, const char *text,
                         const char *want)
{
    pieces p;
    hd_pretok t = {0};
    hd_regex_scratch *scratch = NULL;
    hd_buf got = {0};
    hd_err err = {0};
    if (hd_pretok_add_regex(&t, hd_slice_str(pattern), kind, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", pattern, err.msg);
    EXPECT(t.step[0].regex);
    EXPECT_STR(hd_pretok_name(&t), "regex");
    split(&t, hd_slice_str(text), &scratch, &p);
    for (size_t i = 0, at = 0; i < p.n; at = p.end[i++]) {
        if (i > 0) hd_buf_putc(&got, '|');
        hd_buf_put(&got, text + at, p.end[i] - at);
    }
    EXPECT_STR(got.data, want);
    hd_buf_fini(&got);
    hd_regex_scratch_free(scratch);
    hd_pretok_fini(&t);
}

static void generic(void)
{
    expect_regex("[a-c]+", HD_REGEX_PATTERN, "abxxca", "ab|xx|ca");
    expect_regex("[a-c]+", HD_REGEX_LITERAL, "ab[a-c]+x", "ab|[a-c]+|x");
    expect_regex("a\\s", HD_REGEX_PATTERN, "a\u180ea\u2003a", "a\u180e|a\u2003|a");
    expect_regex("[\\s]", HD_REGEX_PATTERN, "x\u180e\u00a0", "x\u180e|\u00a0");
    expect_regex("\\S+", HD_REGEX_PATTERN, "a\u180e b", "a\u180e| |b");
    expect_regex("b$", HD_REGEX_PATTERN, "b\nab", "b|\na|b"); // $ at each line's end, as in Ruby
    expect_regex("\\u0061+\\x{62}", HD_REGEX_PATTERN, "xaab", "x|aab");
    expect_regex("(?i:k)x", HD_REGEX_PATTERN, "aKx", "a|Kx");
    expect_regex("(a|b){1,2}?c", HD_REGEX_PATTERN, "abcb", "abc|b");
    expect_regex("\\p{Lu}\\p{Ll}*+", HD_REGEX_PATTERN, "oneTwoThree", "one|Two|Three");
}

// Raw and escaped line ends are the same pattern.
static void spellings(void)
{
    hd_pretok p = {0};
    hd_err err = {0};
    EXPECT_INT(hd_pretok_add_regex(&p, hd_slice_str("[\r\n]"), HD_REGEX_PATTERN, &err), HD_OK);
    EXPECT_INT(hd_pretok_add_regex(&p, hd_slice_str("[\\r\\n]"), HD_REGEX_PATTERN, &err), HD_OK);
    EXPECT(p.step[0].scan == hd_scan_newline && p.step[1].scan == hd_scan_newline);
    for (int i = p.n; i < HD_PRETOK_STEPS; i++)
        EXPECT_INT(hd_pretok_add_scan(&p, hd_scan_digit, &err), HD_OK);
    EXPECT_INT(hd_pretok_add_scan(&p, hd_scan_digit, &err), HD_E_LIMIT);
    EXPECT_INT(hd_pretok_add_regex(&p, hd_slice_str("a+b"), HD_REGEX_PATTERN, &err), HD_E_LIMIT);
    hd_pretok_fini(&p);
    const char *name;
    EXPECT_INT(hd_pretok_named(hd_slice_str("tekken"), &p, &name, &err), HD_E_UNSUPPORTED);
    EXPECT_CONTAINS(err.msg, "tekken");
    EXPECT_CONTAINS(err.msg, "deepseek-v3");
}

// A pattern that backtracks without end gives up with HD_E_LIMIT instead of "no match".
static void runaway(void)
{
    hd_regex *r = NULL;
    hd_regex_scratch *s = NULL;
    hd_err err = {0};
    char text[64];
    size_t begin, end;
    memset(text, 'a', sizeof(text));
    EXPECT_INT(hd_regex_compile(hd_slice_str("(?:a|aa){1,60}?(?:a|aa){1,60}?(?:aa|a){1,60}?\\p{N}"),
                                HD_REGEX_PATTERN, &r, &err),
               HD_OK);
    EXPECT_INT(hd_regex_scratch_create(&s, &err), HD_OK);
    EXPECT_INT(hd_regex_find(r, s, hd_slice_of(text, sizeof(text)), 0, &begin, &end, &err),
               HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "gave up");
    hd_regex_scratch_free(s);
    hd_regex_free(r);
}

// A few facts of the tables themselves.
static void classes(void)
{
    EXPECT_INT(hd_uc_class('a'), HD_UC_L | HD_UC_LLM);
    EXPECT_INT(hd_uc_class('7'), HD_UC_N);
    EXPECT_INT(hd_uc_class('$'), HD_UC_S);
    EXPECT_INT(hd_uc_class('_'), HD_UC_P);
    EXPECT_INT(hd_uc_class(' '), HD_UC_SPACE);
    EXPECT_INT(hd_uc_class('\x1F'), 0);
    EXPECT_INT(hd_uc_class(0x180E), 0);
    EXPECT_INT(hd_uc_class(0x85), HD_UC_SPACE);
    EXPECT_INT(hd_uc_class(0x301), HD_UC_M);
    EXPECT_INT(hd_uc_class(0x2126), HD_UC_L | HD_UC_LLM | HD_UC_NFC);
    EXPECT_INT(hd_uc_class(0x105C0), HD_UC_L); // Todhri, new in Unicode 16
    EXPECT_INT(hd_uc_class(0x323AF), HD_UC_L);
    EXPECT_INT(hd_uc_class(0xE0100), HD_UC_M);
    EXPECT_INT(hd_uc_class(0xE01EF), HD_UC_M);
    EXPECT_INT(hd_uc_class(0xE01F0), 0);
    EXPECT_INT(hd_uc_class(0x10FFFF), 0);
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        unsigned c =
            hd_uc_class(cp) & (HD_UC_L | HD_UC_M | HD_UC_N | HD_UC_P | HD_UC_S | HD_UC_SPACE);
        EXPECT((c & (c - 1)) == 0); // at most one
    }
}

HD_TEST_MAIN("pretok", {"every_pattern", every_pattern}, {"every_name", every_name},
             {"examples", examples}, {"refused", refused}, {"generic", generic},
             {"spellings", spellings}, {"runaway", runaway}, {"classes", classes})
