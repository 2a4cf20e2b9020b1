// Log: one line per event to one sink, logfmt by default, JSON lines by switch.
//
//   HD_LOG(HD_LOG_INFO, "load", "model ready", hd_f_str("path", p), hd_f_f64("s", t, 2));
//   ts=2026-11-24T03:04:05.678Z level=info area=load msg="model ready" path=/m s=1.53
//
// Threads: any; lines never interleave. The sink, level and format are process-wide (D10). Prompt
// and completion text is never passed here unless the user asked for it.
#ifndef HADAL_KERNELS_BASE_LOG_H
#define HADAL_KERNELS_BASE_LOG_H

#include "kernels/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_log_level {
    HD_LOG_DEBUG,
    HD_LOG_INFO,
    HD_LOG_WARN,
    HD_LOG_ERROR,
    HD_LOG_OFF
} hd_log_level;
typedef enum hd_log_format { HD_LOG_LOGFMT, HD_LOG_JSON } hd_log_format;

typedef enum hd_log_kind { HD_LF_STR, HD_LF_INT, HD_LF_F64, HD_LF_BOOL } hd_log_kind;
typedef struct hd_log_field {
    const char *key;
    hd_log_kind kind;
    int decimals;
    hd_slice str;
    int64_t i;
    double f;
} hd_log_field;

static inline hd_log_field hd_f_slice(const char *key, hd_slice v)
{
    hd_log_field f = {key, HD_LF_STR, 0, v, 0, 0};
    return f;
}
static inline hd_log_field hd_f_str(const char *key, const char *v)
{
    return hd_f_slice(key, hd_slice_str(v));
}
static inline hd_log_field hd_f_int(const char *key, int64_t v)
{
    hd_log_field f = {key, HD_LF_INT, 0, {0, 0}, v, 0};
    return f;
}
static inline hd_log_field hd_f_f64(const char *key, double v, int decimals)
{
    hd_log_field f = {key, HD_LF_F64, decimals, {0, 0}, 0, v};
    return f;
}
static inline hd_log_field hd_f_bool(const char *key, bool v)
{
    hd_log_field f = {key, HD_LF_BOOL, 0, {0, 0}, v, 0};
    return f;
}

void hd_log_write(hd_log_level level, const char *area, const char *msg, const hd_log_field *f,
                  int n);

// msg only, or msg and fields.
#define HD_LOG(level, area, msg, ...)                                                              \
    do {                                                                                           \
        if (hd_log_enabled(level)) {                                                               \
            const hd_log_field hd_log_f_[] = {{0}, __VA_ARGS__};                                   \
            hd_log_write((level), (area), (msg), hd_log_f_ + 1,                                    \
                         (int)(sizeof(hd_log_f_) / sizeof(hd_log_f_[0])) - 1);                     \
        }                                                                                          \
    } while (0)

bool hd_log_enabled(hd_log_level level);
void hd_log_set_level(hd_log_level level);
void hd_log_set_format(hd_log_format format);
// Where finished lines (with '\n') go; NULL restores standard error.
void hd_log_set_sink(void (*write)(void *ctx, hd_slice line), void *ctx);

#ifdef __cplusplus
}
#endif

#endif
