// The scanners of scan.h. Every match_* function answers "where does a match end that starts at i",
// and i itself when there is none; first_piece() turns that into a split step. Backtracking of the
// original pattern is worked out by hand where it decides something and said beside the code.
//
// The pattern texts are in pretok.c; the tests compare both on random text.
#include "models/tokenizer/scan.h"

#include "models/tokenizer/unicode.h"

#include <stdbool.h>
#include <stdint.h>

typedef size_t (*match_fn)(const char *s, size_t i, size_t e);

static inline size_t char_len(const char *s, size_t i)
{
    size_t len;
    hd_uc_decode(s + i, &len);
    return len;
}

static inline unsigned class_at(const char *s, size_t i, size_t *len)
{
    return hd_uc_class(hd_uc_decode(s + i, len));
}

static inline bool is_newline(char c)
{
    return c == '\n' || c == '\r';
}

// End of the run of characters with (any of mask) that starts at i.
static inline size_t run_of(const char *s, size_t i, size_t e, unsigned mask)
{
    size_t len;
    while (i < e && (class_at(s, i, &len) & mask))
        i += len;
    return i;
}

static inline size_t run_without(const char *s, size_t i, size_t e, unsigned mask)
{
    size_t len;
    while (i < e && !(class_at(s, i, &len) & mask))
        i += len;
    return i;
}

static inline size_t newlines(const char *s, size_t i, size_t e)
{
    while (i < e && is_newline(s[i]))
        i++;
    return i;
}

// The first piece of s[b..e). A failing match must cost O(1), or gaps would cost a square.
static inline size_t first_piece(const char *s, size_t b, size_t e, match_fn match)
{
    size_t end = match(s, b, e);
    if (end > b) return end;
    for (end = b + char_len(s, b); end < e && match(s, end, e) == end;)
        end += char_len(s, end);
    return end;
}

// ---- single classes ------------------------------------------------------------------------

size_t hd_scan_newline(const char *s, size_t b, size_t e)
{
    if (is_newline(s[b])) return b + 1;
    while (b < e && !is_newline(s[b]))
        b++;
    return b;
}

size_t hd_scan_digit(const char *s, size_t b, size_t e)
{
    size_t len;
    if (class_at(s, b, &len) & HD_UC_N) return b + len;
    return run_without(s, b, e, HD_UC_N);
}

size_t hd_scan_digit_run(const char *s, size_t b, size_t e)
{
    size_t end = run_of(s, b, e, HD_UC_N);
    return end > b ? end : run_without(s, b, e, HD_UC_N);
}

// \p{N}{1,3}
static size_t match_digits3(const char *s, size_t i, size_t e)
{
    size_t len;
    for (int n = 0; n < 3 && i < e && (class_at(s, i, &len) & HD_UC_N); n++)
        i += len;
    return i;
}

size_t hd_scan_digits3(const char *s, size_t b, size_t e)
{
    size_t end = match_digits3(s, b, e);
    return end > b ? end : run_without(s, b, e, HD_UC_N);
}

// \s+$, where $ is at the end and before every newline: a run of blanks that ends the piece, or the
// part of a run before its last newline. A run that has neither is passed over whole, as no match
// can begin inside it either.
size_t hd_scan_blank_end(const char *s, size_t b, size_t e)
{
    for (size_t at = b, len; at < e;) {
        size_t begin = at, newline = at;
        for (; at < e && (class_at(s, at, &len) & HD_UC_SPACE); at += len)
            if (s[at] == '\n') newline = at;
        if (at > begin && (at == e || newline > begin)) {
            if (begin > b) return begin;
            return at == e ? e : newline;
        }
        if (at == begin) at = run_without(s, at, e, HD_UC_SPACE);
    }
    return e;
}

size_t hd_scan_metaspace(const char *s, size_t b, size_t e)
{
    for (b += char_len(s, b); b < e; b += char_len(s, b)) {
        size_t len;
        if (hd_uc_decode(s + b, &len) == 0x2581) break;
    }
    return b;
}

// ---- \s?[class]+ ---------------------------------------------------------------------------

typedef bool (*member_fn)(uint32_t cp);

static bool is_llm_letter(uint32_t cp)
{
    return hd_uc_class(cp) & HD_UC_LLM;
}

static bool is_llm_punct(uint32_t cp)
{
    if (cp < 0x80) return cp >= 0x21 && cp <= 0x7E && !(cp >= 0x30 && cp <= 0x39);
    return (cp >= 0x2018 && cp <= 0x201F) || (cp >= 0x3000 && cp <= 0x3002) ||
           (cp >= 0xFF01 && cp <= 0xFF0F) || (cp >= 0xFF1A && cp <= 0xFF5E);
}

static bool is_llm_cjk(uint32_t cp)
{
    return (cp >= 0x0800 && cp <= 0x9FA5) || (cp >= 0xAC00 && cp <= 0xD7FF);
}

static bool is_v3_cjk(uint32_t cp)
{
    return (cp >= 0x3040 && cp <= 0x30FF) || (cp >= 0x4E00 && cp <= 0x9FA5);
}

static bool is_letter(uint32_t cp)
{
    return hd_uc_class(cp) & HD_UC_L;
}

static bool is_punct(uint32_t cp)
{
    return hd_uc_class(cp) & HD_UC_P;
}

static inline size_t run_member(const char *s, size_t i, size_t e, member_fn member)
{
    size_t len;
    while (i < e && member(hd_uc_decode(s + i, &len)))
        i += len;
    return i;
}

// A blank that is itself a member (U+3000) makes the same match with or without "\s?".
static inline size_t match_blank_members(const char *s, size_t i, size_t e, member_fn member)
{
    size_t len;
    uint32_t cp = hd_uc_decode(s + i, &len);
    if (member(cp)) return run_member(s, i + len, e, member);
    if (!(hd_uc_class(cp) & HD_UC_SPACE)) return i;
    size_t end = run_member(s, i + len, e, member);
    return end > i + len ? end : i;
}

static size_t match_llm_letters(const char *s, size_t i, size_t e)
{
    return match_blank_members(s, i, e, is_llm_letter);
}
size_t hd_scan_llm_letters(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_llm_letters);
}

static size_t match_llm_punct(const char *s, size_t i, size_t e)
{
    return match_blank_members(s, i, e, is_llm_punct);
}
size_t hd_scan_llm_punct(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_llm_punct);
}

static size_t match_coder_letters(const char *s, size_t i, size_t e)
{
    return match_blank_members(s, i, e, is_letter);
}
size_t hd_scan_coder_letters(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_coder_letters);
}

static size_t match_coder_punct(const char *s, size_t i, size_t e)
{
    return match_blank_members(s, i, e, is_punct);
}
size_t hd_scan_coder_punct(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_coder_punct);
}

static size_t match_llm_cjk(const char *s, size_t i, size_t e)
{
    return run_member(s, i, e, is_llm_cjk);
}
size_t hd_scan_llm_cjk(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_llm_cjk);
}

static size_t match_v3_cjk(const char *s, size_t i, size_t e)
{
    return run_member(s, i, e, is_v3_cjk);
}
size_t hd_scan_v3_cjk(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_v3_cjk);
}

// ---- parts of the long patterns ------------------------------------------------------------

// \s*[\r\n]+|\s+(?!\S)|\s+
// The first alternative ends behind the last newline of the blank run. Without a newline, the run
// leaves its last blank to the word that follows, unless it is one blank or ends the piece.
static size_t match_blanks(const char *s, size_t i, size_t e)
{
    size_t at = i, last = i, behind_newline = i, len;
    while (at < e && (class_at(s, at, &len) & HD_UC_SPACE)) {
        last = at;
        at += len;
        if (is_newline(s[last])) behind_newline = at;
    }
    if (behind_newline > i) return behind_newline;
    return at == e || last == i ? at : last;
}

// \s+(?!\S)|\s+
static size_t match_blanks_gpt2(const char *s, size_t i, size_t e)
{
    size_t at = i, last = i, len;
    while (at < e && (class_at(s, at, &len) & HD_UC_SPACE)) {
        last = at;
        at += len;
    }
    return at == e || last == i ? at : last;
}

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

// 's|'t|'re|'ve|'m|'ll|'d
static size_t match_suffix(const char *s, size_t i, size_t e)
{
    if (s[i] != '\'' || i + 1 >= e) return i;
    char c = s[i + 1], d = i + 2 < e ? s[i + 2] : '\0';
    if (c == 's' || c == 't' || c == 'm' || c == 'd') return i + 2;
    if ((c == 'r' && d == 'e') || (c == 'v' && d == 'e') || (c == 'l' && d == 'l')) return i + 3;
    return i;
}

// The same under (?i:), where U+017F (C5 BF) folds to s.
static size_t match_suffix_any_case(const char *s, size_t i, size_t e)
{
    if (s[i] != '\'' || i + 1 >= e) return i;
    if (i + 2 < e && s[i + 1] == '\xC5' && s[i + 2] == '\xBF') return i + 3;
    char pair[3] = {'\'', lower(s[i + 1]), i + 2 < e ? lower(s[i + 2]) : '\0'};
    return i + match_suffix(pair, 0, i + 2 < e ? 3 : 2);
}

// ?[class]+ with an optional U+0020 in front: returns where the class must begin.
static inline size_t skip_space(const char *s, size_t i, size_t e)
{
    return s[i] == ' ' && i + 1 < e ? i + 1 : i;
}

// ---- deepseek-v3 ---------------------------------------------------------------------------

static bool is_ascii_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t match_v3(const char *s, size_t i, size_t e)
{
    size_t len, end;
    unsigned c = class_at(s, i, &len);
    // [ASCII mark][A-Za-z]+
    if (len == 1 && (c & (HD_UC_P | HD_UC_S)) && i + 1 < e && is_ascii_letter(s[i + 1])) {
        for (end = i + 2; end < e && is_ascii_letter(s[end]);)
            end++;
        return end;
    }
    // [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+   a mark may be its own prefix: same extent
    if (c & (HD_UC_L | HD_UC_M)) return run_of(s, i + len, e, HD_UC_L | HD_UC_M);
    if (!(c & (HD_UC_P | HD_UC_S)) && !is_newline(s[i])) {
        end = run_of(s, i + len, e, HD_UC_L | HD_UC_M);
        if (end > i + len) return end;
    }
    //  ?[\p{P}\p{S}]+[\r\n]*
    size_t marks = skip_space(s, i, e);
    end = run_of(s, marks, e, HD_UC_P | HD_UC_S);
    if (end > marks) return newlines(s, end, e);
    return c & HD_UC_SPACE ? match_blanks(s, i, e) : i;
}

size_t hd_scan_v3(const char *s, size_t b, size_t e)
{
    return first_piece(s, b, e, match_v3);
}

// ---- qwen2, llama-bpe ----------------------------------------------------------------------

// Something matches everywhere: the last four alternatives cover all classes. n_digits is the
// upper bound in \p{N}{1,n}.
static inline size_t match_qwen2(const char *s, size_t i, size_t e, int n_digits)
{
    size_t len, end = match_suffix_any_case(s, i, e);
    if (end > i) return end;
    unsigned c = class_at(s, i, &len);
    // [^\r\n\p{L}\p{N}]?\p{L}+
    if (c & HD_UC_L) return run_of(s, i + len, e, HD_UC_L);
    if (!(c & HD_UC_N) && !is_newline(s[i])) {
        end = run_of(s, i + len, e, HD_UC_L);
        if (end > i + len) return end;
    }
    if (c & HD_UC_N) return n_digits == 1 ? i + len : match_digits3(s, i, e);
    //  ?[^\s\p{L}\p{N}]+[\r\n]*
    size_t marks = skip_space(s, i, e);
    end = run_without(s, marks, e, HD_UC_SPACE | HD_UC_L | HD_UC_N);
    if (end > marks) return newlines(s, end, e);
    return match_blanks(s, i, e);
}

size_t hd_scan_qwen2(const char *s, size_t b, size_t e)
{
    return match_qwen2(s, b, e, 1);
}
size_t hd_scan_llama3(const char *s, size_t b, size_t e)
{
    return match_qwen2(s, b, e, 3);
}

// ---- gpt-2 ---------------------------------------------------------------------------------

size_t hd_scan_gpt2(const char *s, size_t b, size_t e)
{
    size_t len, end = match_suffix(s, b, e);
    if (end > b) return end;
    size_t word = skip_space(s, b, e);
    unsigned c = class_at(s, word, &len);
    if (c & HD_UC_L) return run_of(s, word + len, e, HD_UC_L);
    if (c & HD_UC_N) return run_of(s, word + len, e, HD_UC_N);
    if (!(c & HD_UC_SPACE)) return run_without(s, word + len, e, HD_UC_SPACE | HD_UC_L | HD_UC_N);
    return match_blanks_gpt2(s, b, e);
}
