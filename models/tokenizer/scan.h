// Hand-written scanners, one for each pattern of the known pre-tokenizers.
//
// A scanner stands for one "Split" step with behaviour Isolated: given the well-formed text
// s[b..e), b < e, it returns the end of its first piece. A piece is a match of the pattern or a
// maximal stretch without one. Anchors and look-ahead see nothing outside [b, e). Work is linear in
// the text for repeated calls. Pure functions.
#ifndef HADAL_MODELS_TOKENIZER_SCAN_H
#define HADAL_MODELS_TOKENIZER_SCAN_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef size_t (*hd_scan_fn)(const char *s, size_t b, size_t e);

size_t hd_scan_newline(const char *s, size_t b, size_t e);       // [\r\n]
size_t hd_scan_llm_letters(const char *s, size_t b, size_t e);   // \s?[bicameral letters]+
size_t hd_scan_llm_punct(const char *s, size_t b, size_t e);     // \s?[ASCII and CJK marks]+
size_t hd_scan_blank_end(const char *s, size_t b, size_t e);     // \s+$
size_t hd_scan_llm_cjk(const char *s, size_t b, size_t e);       // [U+0800-9FA5 U+AC00-D7FF]+
size_t hd_scan_coder_letters(const char *s, size_t b, size_t e); // \s?\p{L}+
size_t hd_scan_coder_punct(const char *s, size_t b, size_t e);   // \s?\p{P}+
size_t hd_scan_digit(const char *s, size_t b, size_t e);         // \p{N}
size_t hd_scan_digit_run(const char *s, size_t b, size_t e);     // \p{N}+
size_t hd_scan_digits3(const char *s, size_t b, size_t e);       // \p{N}{1,3}
size_t hd_scan_v3_cjk(const char *s, size_t b, size_t e);        // [U+3040-30FF U+4E00-9FA5]+
size_t hd_scan_v3(const char *s, size_t b, size_t e);            // the long one of deepseek-v3
size_t hd_scan_qwen2(const char *s, size_t b, size_t e);         // qwen2's
size_t hd_scan_llama3(const char *s, size_t b, size_t e);        // the same with \p{N}{1,3}
size_t hd_scan_gpt2(const char *s, size_t b, size_t e);          // gpt-2's
size_t hd_scan_metaspace(const char *s, size_t b, size_t e);     // a piece begins at each U+2581

#ifdef __cplusplus
}
#endif

#endif
