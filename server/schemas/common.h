// Reading fields of request bodies, and small things all schemas write.
//
// null counts as absent everywhere; numbers in strings are refused; unknown fields are never looked
// at. Messages have the form "path.key: found X, expected Y".
#ifndef HADAL_SERVER_SCHEMAS_COMMON_H
#define HADAL_SERVER_SCHEMAS_COMMON_H

#include "kernels/base/json.h"
#include "server/schema.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hd_fields { // where fields are read from
    const hd_json *o;
    const char *path; // "parameters." or ""
    hd_arena *a;
    hd_err *err;
} hd_fields;

enum { HD_STOP_BYTES = 1024 }; // longest stop string

// *has (may be NULL) says whether the field is there; *out is untouched when it is not.
hd_status hd_take_i64(const hd_fields *f, const char *key, int64_t min, int64_t max, int64_t *out,
                      bool *has);
hd_status hd_take_i32(const hd_fields *f, const char *key, int32_t min, int32_t max, int32_t *out,
                      bool *has);
hd_status hd_take_f32(const hd_fields *f, const char *key, double min, double max, float *out,
                      bool *has);
hd_status hd_take_bool(const hd_fields *f, const char *key, bool *out, bool *has);
hd_status hd_take_str(const hd_fields *f, const char *key, hd_slice *out, bool *has);
// Any 64-bit integer, signed or not, into sample.seed.
hd_status hd_take_seed(const hd_fields *f, const char *key, hd_gen_request *rq);
// How the request is scheduled: priority (lower goes first), cache_salt (a string: prompts are only
// shared with those of the same one), speculate (false: token by token).
hd_status hd_take_scheduling(const hd_fields *f, hd_gen_request *rq);
// A string or an array of strings, none empty, at most `most`.
hd_status hd_take_stop(const hd_fields *f, const char *key, int64_t most, hd_gen_request *rq);
hd_status hd_take_ids(const hd_fields *f, const char *key, const hd_json *v, size_t most,
                      const int32_t **out, size_t *n);
// HD_E_UNSUPPORTED "key: not supported (why)" when the field is there.
hd_status hd_refuse(const hd_fields *f, const char *key, const char *why);
// The same, unless the field is a number equal to `off`.
hd_status hd_refuse_unless(const hd_fields *f, const char *key, double off, const char *why);

// "finish_reason" words of the engine's reasons: OpenAI's.
const char *hd_finish_openai(hd_finish f);
// The text that a delta made visible, of one kind; parts of a delta are joined into `joined`.
void hd_delta_text(const hd_gen_delta *d, hd_piece_kind kind, hd_buf *joined);
void hd_put_token_str(hd_buf *w, const hd_tokenizer *t, int32_t id); // quoted, lossy UTF-8

#endif
