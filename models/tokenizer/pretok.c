// Which patterns and names there are, and running split steps one inside the other.
//
// Pattern texts are written in ASCII with universal character names: an editor that normalises
// Unicode would otherwise change the classes. A file may spell CR and LF raw or as \r and \n; both
// compare equal. Not here: the matching itself (scan.c, regex.c).
#include "models/tokenizer/pretok.h"

#include <string.h>

// ---- known patterns ------------------------------------------------------------------------

#define LLM_LETTERS                                                                                \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"   \
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"           \
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd"  \
    "\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d"  \
    "\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"          \
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec"         \
    "\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128"     \
    "\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b"    \
    "\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"   \
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"               \
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"         \
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"

#define SUFFIXES      "'s|'t|'re|'ve|'m|'ll|'d"
#define QWEN2(digits) "(?i:" SUFFIXES ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits QWEN2_REST
#define QWEN2_REST    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2_WORDS    SUFFIXES "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"

const hd_pretok_pattern hd_pretok_patterns[] = {
    {"[\\r\\n]", hd_scan_newline},
    {"\\s?[" LLM_LETTERS "]+", hd_scan_llm_letters},
    {"\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", hd_scan_llm_punct},
    {"\\s+$", hd_scan_blank_end},
    {"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", hd_scan_llm_cjk},
    {"\\s?\\p{L}+", hd_scan_coder_letters},
    {"\\s?\\p{P}+", hd_scan_coder_punct},
    {"\\p{N}", hd_scan_digit},
    {"\\p{N}+", hd_scan_digit_run},
    {"\\p{N}{1,3}", hd_scan_digits3},
    {"[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", hd_scan_v3_cjk},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
     "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     hd_scan_v3},
    {QWEN2("\\p{N}"), hd_scan_qwen2},
    {QWEN2("\\p{N}{1,3}"), hd_scan_llama3},
    {GPT2_WORDS "|\\s+", hd_scan_gpt2},
    {GPT2_WORDS, hd_scan_gpt2}, // what is left over are gaps, hence pieces as well
    {NULL, NULL},
};

// One character of a pattern, with raw line ends spelled as their escapes.
static size_t pattern_item(hd_slice s, size_t at, char out[2])
{
    char c = s.p[at];
    out[0] = c;
    out[1] = '\0';
    if (c == '\r' || c == '\n') {
        out[0] = '\\';
        out[1] = c == '\r' ? 'r' : 'n';
        return 1;
    }
    if (c != '\\' || at + 1 >= s.n) return 1;
    out[1] = s.p[at + 1];
    return 2;
}

static bool same_pattern(hd_slice a, hd_slice b)
{
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        char x[2], y[2];
        i += pattern_item(a, i, x);
        j += pattern_item(b, j, y);
        if (memcmp(x, y, 2) != 0) return false;
    }
    return i == a.n && j == b.n;
}

static hd_scan_fn known_scanner(hd_slice pattern)
{
    for (const hd_pretok_pattern *p = hd_pretok_patterns; p->text; p++)
        if (same_pattern(pattern, hd_slice_str(p->text))) return p->scan;
    return NULL;
}

// ---- known lists ---------------------------------------------------------------------------

enum { NAMED_STEPS = 6, NAMED_ALIASES = 4 };
typedef struct named {
    const char *alias[NAMED_ALIASES]; // the first one is our name
    hd_scan_fn scan[NAMED_STEPS];
} named;

static const named names[] = {
    {{"deepseek-v3", "joyai-llm"}, {hd_scan_digits3, hd_scan_v3_cjk, hd_scan_v3}},
    {{"deepseek-llm"},
     {hd_scan_newline, hd_scan_llm_letters, hd_scan_llm_punct, hd_scan_blank_end, hd_scan_llm_cjk,
      hd_scan_digit}},
    {{"deepseek-coder"},
     {hd_scan_newline, hd_scan_coder_letters, hd_scan_coder_punct, hd_scan_llm_cjk, hd_scan_digit}},
    {{"qwen2", "deepseek-r1-qwen"}, {hd_scan_qwen2}},
    {{"llama-bpe", "llama3", "llama-v3"}, {hd_scan_llama3}},
    {{"smollm"}, {hd_scan_digit, hd_scan_gpt2}},
    {{"gpt-2", "default"}, {hd_scan_gpt2}},
};
enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

static int named_steps(const named *n)
{
    int i = 0;
    while (i < NAMED_STEPS && n->scan[i])
        i++;
    return i;
}

hd_status hd_pretok_named(hd_slice name, hd_pretok *out, const char **our_name, hd_err *err)
{
    for (int i = 0; i < N_NAMES; i++) {
        for (int a = 0; a < NAMED_ALIASES && names[i].alias[a]; a++) {
            if (!hd_slice_eq_str(name, names[i].alias[a])) continue;
            *our_name = names[i].alias[0];
            for (int k = 0; k < named_steps(&names[i]); k++)
                HD_TRY(hd_pretok_add_scan(out, names[i].scan[k], err));
            return HD_OK;
        }
    }
    return HD_FAIL(err, HD_E_UNSUPPORTED,
                   "pre-tokenizer '%.*s': expected deepseek-v3, joyai-llm, deepseek-llm, "
                   "deepseek-coder, qwen2, deepseek-r1-qwen, llama-bpe, smollm or gpt-2",
                   (int)(name.n < 40 ? name.n : 40), name.p);
}

const char *hd_pretok_name(const hd_pretok *p)
{
    for (int i = 0; i < N_NAMES; i++) {
        int n = named_steps(&names[i]), same = 0;
        while (same < n && same < p->n && p->step[same].scan == names[i].scan[same])
            same++;
        if (same == n && n == p->n) return names[i].alias[0];
    }
    return "regex";
}

// ---- building ------------------------------------------------------------------------------

static hd_status add(hd_pretok *p, hd_pretok_step step, hd_err *err)
{
    HD_CHECK(p->n < HD_PRETOK_STEPS, err, HD_E_LIMIT, "pre-tokenizer: more than %d steps",
             HD_PRETOK_STEPS);
    p->step[p->n++] = step;
    return HD_OK;
}

hd_status hd_pretok_add_scan(hd_pretok *p, hd_scan_fn scan, hd_err *err)
{
    hd_pretok_step step = {scan, NULL};
    return add(p, step, err);
}

hd_status hd_pretok_add_regex(hd_pretok *p, hd_slice pattern, hd_regex_kind kind, hd_err *err)
{
    hd_pretok_step step = {NULL, NULL};
    if (kind == HD_REGEX_PATTERN) step.scan = known_scanner(pattern);
    if (!step.scan) HD_TRY(hd_regex_compile(pattern, kind, &step.regex, err));
    hd_status st = add(p, step, err);
    if (st != HD_OK) hd_regex_free(step.regex);
    return st;
}

void hd_pretok_fini(hd_pretok *p)
{
    for (int i = 0; i < p->n; i++)
        hd_regex_free(p->step[i].regex);
    memset(p, 0, sizeof(*p));
}

// ---- running -------------------------------------------------------------------------------

typedef struct run {
    const hd_pretok *p;
    hd_regex_scratch *scratch;
    const hd_pretok_sink *sink;
    hd_err *err;
} run;

static hd_status step(const run *r, int i, hd_slice text);

static hd_status step_regex(const run *r, int i, hd_slice text)
{
    size_t at = 0, begin = 0, end = 0;
    while (at < text.n) {
        HD_TRY(hd_regex_find(r->p->step[i].regex, r->scratch, text, at, &begin, &end, r->err));
        if (begin > at) HD_TRY(step(r, i + 1, hd_slice_of(text.p + at, begin - at)));
        HD_CHECK(end > at, r->err, HD_E_UNSUPPORTED, "splitting text: the pattern matches nothing");
        if (end > begin) HD_TRY(step(r, i + 1, hd_slice_of(text.p + begin, end - begin)));
        at = end;
    }
    return HD_OK;
}

// Recursion is as deep as there are steps.
static hd_status step(const run *r, int i, hd_slice text)
{
    if (i == r->p->n) return r->sink->piece(r->sink->ctx, text, r->err);
    hd_scan_fn scan = r->p->step[i].scan;
    if (!scan) return step_regex(r, i, text);
    for (size_t at = 0; at < text.n;) {
        size_t end = scan(text.p, at, text.n);
        HD_DASSERT(end > at && end <= text.n);
        HD_TRY(step(r, i + 1, hd_slice_of(text.p + at, end - at)));
        at = end;
    }
    return HD_OK;
}

hd_status hd_pretok_run(const hd_pretok *p, hd_slice text, hd_regex_scratch **scratch,
                        const hd_pretok_sink *sink, hd_err *err)
{
    for (int i = 0; i < p->n && !*scratch; i++)
        if (p->step[i].regex) HD_TRY(hd_regex_scratch_create(scratch, err));
    run r = {p, *scratch, sink, err};
    return text.n > 0 ? step(&r, 0, text) : HD_OK;
}
