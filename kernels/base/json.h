// Bounded JSON. Text is checked by our own strict scanner (RFC 8259 grammar, UTF-8, depth, node
// count, NUL escapes, lone surrogates, numbers that overflow) before cJSON sees it; cJSON is known
// to json.c alone.
//
// A parsed document is an immutable tree owned by its root; nodes are borrowed from it and may be
// read by any thread. Keys compare case-sensitively; of duplicate keys the last one wins in
// hd_json_get (walking shows all).
#ifndef HADAL_KERNELS_BASE_JSON_H
#define HADAL_KERNELS_BASE_JSON_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_json hd_json;

typedef enum hd_json_kind {
    HD_JSON_NULL,
    HD_JSON_BOOL,
    HD_JSON_NUMBER,
    HD_JSON_STRING,
    HD_JSON_ARRAY,
    HD_JSON_OBJECT
} hd_json_kind;

typedef struct hd_json_limits {
    size_t max_bytes;
    size_t max_nodes; // values, keys not counted
    int max_depth;    // a scalar has depth 0, [] has depth 1
} hd_json_limits;

extern const hd_json_limits hd_json_request_limits; // 128 MiB, 1,000,000 nodes, depth 128
extern const hd_json_limits hd_json_file_limits;    // 256 MiB, 16,000,000 nodes, depth 64

// Errors name line, column and what was expected there ("line 3 column 7: expected ',' or '}'").
// A leading UTF-8 byte order mark is skipped. *out is NULL on failure.
hd_status hd_json_parse(hd_slice text, const hd_json_limits *lim, hd_json **out, hd_err *err);
hd_status hd_json_parse_file(const char *path, const hd_json_limits *lim, hd_json **out,
                             hd_err *err);
void hd_json_free(hd_json *root);

// The scanner alone: HD_OK when text is one valid document within the limits.
hd_status hd_json_scan(hd_slice text, const hd_json_limits *lim, hd_err *err);

// All accessors accept NULL and then answer as for an absent value.
hd_json_kind hd_json_type(const hd_json *v);     // HD_JSON_NULL for NULL
const char *hd_json_type_name(const hd_json *v); // "null", "a boolean", "a number", ...
bool hd_json_is_null(const hd_json *v);          // absent or null
const hd_json *hd_json_get(const hd_json *object, const char *key); // NULL when absent
size_t hd_json_len(const hd_json *v);                               // children of array or object
const hd_json *hd_json_first(const hd_json *v);                     // first child or NULL
const hd_json *hd_json_next(const hd_json *child);                  // next sibling or NULL
hd_slice hd_json_key(const hd_json *child);                         // of an object's child

// False when the value is absent or of another type; *out untouched then.
bool hd_json_str(const hd_json *v, hd_slice *out); // NUL-terminated as well
bool hd_json_bool(const hd_json *v, bool *out);
bool hd_json_f64(const hd_json *v, double *out);
bool hd_json_i64(const hd_json *v, int64_t *out); // exact integers only: 3, 3.0, 1e3; not 3.5
bool hd_json_u64(const hd_json *v, uint64_t *out);

// ---- typed fields with messages ------------------------------------------------------------

// For config files: "key" of object. An absent or null value leaves *out alone and returns HD_OK
// when `required` is HD_JSON_OPTIONAL, else HD_E_NOTFOUND "missing field 'key'". A wrong type or
// range is HD_E_INVAL: "field 'key': found a string, expected an integer in [1, 65536]".
typedef enum hd_json_need { HD_JSON_OPTIONAL, HD_JSON_REQUIRED } hd_json_need;
hd_status hd_json_field_i64(const hd_json *object, const char *key, hd_json_need need, int64_t min,
                            int64_t max, int64_t *out, hd_err *err);
hd_status hd_json_field_f64(const hd_json *object, const char *key, hd_json_need need, double min,
                            double max, double *out, hd_err *err);
hd_status hd_json_field_bool(const hd_json *object, const char *key, hd_json_need need, bool *out,
                             hd_err *err);
hd_status hd_json_field_str(const hd_json *object, const char *key, hd_json_need need,
                            hd_slice *out, hd_err *err);

// ---- writing -------------------------------------------------------------------------------

// A quoted JSON string; s must be valid UTF-8 (ill-formed parts become U+FFFD). Non-ASCII stays
// raw.
void hd_json_put_str(hd_buf *b, hd_slice s);
// Shortest text that reads back as v ("0.1", "1e-05" style of Python's repr); not finite gives
// null.
void hd_json_put_f64(hd_buf *b, double v);
void hd_json_put_f32(hd_buf *b, float v);

// Serialises a tree. Compact has no blanks; python is json.dumps(ensure_ascii=False): separators
// ", " and ": ", key order kept, floats as repr, integers digit by digit as they stood.
typedef enum hd_json_style { HD_JSON_COMPACT, HD_JSON_PYTHON } hd_json_style;
void hd_json_put(hd_buf *b, const hd_json *v, hd_json_style style);
void hd_json_put_indent(hd_buf *b, const hd_json *v, int indent); // json.dumps(indent=N)

#ifdef __cplusplus
}
#endif

#endif
