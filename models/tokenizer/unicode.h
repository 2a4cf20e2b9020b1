// Character classes of code points, for the pre-tokenizers: Unicode 16.0.0, which is what the
// reference's regular expressions know. Read-only tables; any thread.
#ifndef HADAL_MODELS_TOKENIZER_UNICODE_H
#define HADAL_MODELS_TOKENIZER_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    HD_UC_L = 1,      // \p{L}; L, M, N, P and S exclude each other
    HD_UC_M = 2,      // \p{M}
    HD_UC_N = 4,      // \p{N}
    HD_UC_P = 8,      // \p{P}
    HD_UC_S = 16,     // \p{S}
    HD_UC_SPACE = 32, // \s: White_Space, so not U+180E
    HD_UC_LLM = 64,   // letters of deepseek-llm's own list
    HD_UC_NFC = 128,  // NFC may change it even alone; on a mark: too new to take part in NFC
};

enum { HD_UC_LIMIT = 0x32400, HD_UC_BLOCK = 128 };
extern const uint8_t hd_uc_index[HD_UC_LIMIT / HD_UC_BLOCK];
extern const uint8_t hd_uc_blocks[][HD_UC_BLOCK];

static inline unsigned hd_uc_class(uint32_t cp)
{
    if (cp < HD_UC_LIMIT) return hd_uc_blocks[hd_uc_index[cp / HD_UC_BLOCK]][cp % HD_UC_BLOCK];
    return cp - 0xE0100u < 0xF0 ? HD_UC_M : 0; // variation selectors supplement
}

// Decodes one code point of well-formed text; no checks.
static inline uint32_t hd_uc_decode(const char *s, size_t *len)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80) {
        *len = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *len = 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *len = 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *len = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
}

#ifdef __cplusplus
}
#endif

#endif
