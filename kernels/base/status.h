// Status codes and error messages.
//
// Every function that can fail returns hd_status (0 = success) and explains itself in a
// caller-owned hd_err, always the last parameter; it may be NULL. Messages are for operators: what
// was being done, to what, what was found and what was expected. They never contain prompt text.
//
// Threads: all functions are pure or touch only their arguments.
#ifndef HADAL_KERNELS_BASE_STATUS_H
#define HADAL_KERNELS_BASE_STATUS_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hd_status {
    HD_OK = 0,
    HD_E_INVAL,       // an argument or a field of outside data has a wrong value
    HD_E_LIMIT,       // a configured or built-in limit would be passed
    HD_E_NOMEM,       // memory is exhausted
    HD_E_NOTFOUND,    // a named thing does not exist
    HD_E_EXISTS,      // a named thing exists already
    HD_E_UNSUPPORTED, // understood, but this build or version cannot do it
    HD_E_CORRUPT,     // a file contradicts its own format
    HD_E_IO,          // the operating system refused
    HD_E_BUSY,        // try again later
    HD_E_CANCELLED,
    HD_E_TIMEOUT,
    HD_E_DEVICE,   // the compute device failed; sticky
    HD_E_INTERNAL, // a broken invariant that could be survived
    HD_STATUS_COUNT
} hd_status;

typedef struct hd_err {
    hd_status code;
    char msg[240];
} hd_err;

// Short stable name of a code ("invalid", "limit", ...); never NULL.
const char *hd_status_name(hd_status s);

// Writes code and message into err (when not NULL) and returns code. Too long a message is cut at a
// UTF-8 boundary and ends in "...".
hd_status hd_fail(hd_err *err, hd_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
hd_status hd_vfail(hd_err *err, hd_status code, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

// Puts "prefix: " in front of an existing message ("model.safetensors: header: ...") and returns
// err->code. With err NULL returns code.
hd_status hd_err_prefix(hd_err *err, hd_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// Fails the process with file and line: a broken invariant of our own code, never outside data.
void hd_panic(const char *file, int line, const char *what) __attribute__((noreturn));

// HD_FAIL is an expression; HD_TRY and HD_CHECK return from the enclosing function.
#define HD_FAIL(err, code, ...) hd_fail((err), (code), __VA_ARGS__)
#define HD_TRY(expr)                                                                               \
    do {                                                                                           \
        hd_status hd_try_st_ = (expr);                                                             \
        if (hd_try_st_ != HD_OK) return hd_try_st_;                                                \
    } while (0)
#define HD_CHECK(cond, err, code, ...)                                                             \
    do {                                                                                           \
        if (!(cond)) return hd_fail((err), (code), __VA_ARGS__);                                   \
    } while (0)

#define HD_ASSERT(cond) ((cond) ? (void)0 : hd_panic(__FILE__, __LINE__, #cond))
#ifdef HADAL_DEBUG
#define HD_DASSERT(cond) HD_ASSERT(cond)
#else
#define HD_DASSERT(cond) ((void)0)
#endif

#ifdef __cplusplus
}
#endif

#endif
