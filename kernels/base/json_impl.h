// Shared by json.c, json_scan.c and json_number.c: what the scanner finds out, numbers as text.
#ifndef HADAL_KERNELS_BASE_JSON_IMPL_H
#define HADAL_KERNELS_BASE_JSON_IMPL_H

#include "kernels/base/json.h"

enum {
    HD_JSON_DEPTH_MAX = 512, // below cJSON's own limit; also bounds our recursion
    HD_JSON_CJSON_NUMBER =
        63, // cJSON as released stops reading a number here (Debian's is patched)
};

// The scanner's verdict on a valid document.
typedef struct hd_json_facts {
    hd_slice text; // without byte order mark
    size_t exact;  // numbers that need their text
    size_t longs;  // numbers that cJSON cannot read
} hd_json_facts;

hd_status hd_json_check(hd_slice text, const hd_json_limits *lim, hd_json_facts *out, hd_err *err);

// A number token taken apart; its digits are those of `whole` followed by those of `frac`.
typedef struct hd_decimal {
    const char *whole, *frac;
    size_t n_whole, n_frac;
    int64_t exp10;
    bool negative, integer; // integer: written without fraction and exponent
} hd_decimal;

hd_decimal hd_decimal_of(hd_slice token);                // a valid JSON number
bool hd_decimal_u64(const hd_decimal *d, uint64_t *out); // |value| if an integer below 2^64
bool hd_decimal_is_finite(const hd_decimal *d);          // as a double
bool hd_json_needs_text(hd_slice token);                 // its double says less than its text

static inline bool hd_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline size_t hd_count_digits(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && hd_is_digit(p[i]))
        i++;
    return i;
}

#endif
