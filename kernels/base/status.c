// Status names, error messages cut to fit, and the panic exit. Knows nothing of logging.
#include "kernels/base/status.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_names[] = {
    [HD_OK] = "ok",
    [HD_E_INVAL] = "invalid",
    [HD_E_LIMIT] = "limit",
    [HD_E_NOMEM] = "no_memory",
    [HD_E_NOTFOUND] = "not_found",
    [HD_E_EXISTS] = "exists",
    [HD_E_UNSUPPORTED] = "unsupported",
    [HD_E_CORRUPT] = "corrupt",
    [HD_E_IO] = "io",
    [HD_E_BUSY] = "busy",
    [HD_E_CANCELLED] = "cancelled",
    [HD_E_TIMEOUT] = "timeout",
    [HD_E_DEVICE] = "device",
    [HD_E_INTERNAL] = "internal",
};
_Static_assert(sizeof(status_names) / sizeof(status_names[0]) == HD_STATUS_COUNT,
               "every status has a name");

const char *hd_status_name(hd_status s)
{
    if ((int)s < 0 || s >= HD_STATUS_COUNT) return "unknown";
    return status_names[s];
}

// Copies text of which `full` bytes were wanted and sizeof(err->msg) - 1 at most are there.
static void set_message(hd_err *err, const char *text, size_t full)
{
    static const char dots[] = "...";
    const size_t room = sizeof(err->msg) - 1;
    if (full <= room) {
        memcpy(err->msg, text, full);
        err->msg[full] = '\0';
        return;
    }
    size_t keep = room - (sizeof(dots) - 1);
    while (keep > 0 && ((unsigned char)text[keep] & 0xC0) == 0x80)
        keep--;
    memcpy(err->msg, text, keep);
    memcpy(err->msg + keep, dots, sizeof(dots));
}

hd_status hd_vfail(hd_err *err, hd_status code, const char *fmt, va_list ap)
{
    if (!err) return code;
    // Formatted aside, because the arguments may point into err->msg.
    char text[sizeof(err->msg)];
    int full = vsnprintf(text, sizeof(text), fmt, ap);
    err->code = code;
    if (full < 0) {
        strcpy(text, "(message could not be formatted)");
        full = (int)strlen(text);
    }
    set_message(err, text, (size_t)full);
    return code;
}

hd_status hd_fail(hd_err *err, hd_status code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    hd_vfail(err, code, fmt, ap);
    va_end(ap);
    return code;
}

hd_status hd_err_prefix(hd_err *err, hd_status code, const char *fmt, ...)
{
    if (!err) return code;
    if (err->code == HD_OK) hd_fail(err, code, "%s", hd_status_name(code));
    char text[2 * sizeof(err->msg)];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n < 0) n = 0;
    // A prefix that fills the message alone is cut there; the rest of the text could not show.
    if ((size_t)n >= sizeof(err->msg)) {
        set_message(err, text, (size_t)n);
        return err->code;
    }
    int rest = snprintf(text + n, sizeof(text) - (size_t)n, ": %s", err->msg);
    set_message(err, text, (size_t)n + (size_t)rest);
    return err->code;
}

void hd_panic(const char *file, int line, const char *what)
{
    fprintf(stderr, "hadal: %s:%d: broken invariant: %s\n", file, line, what);
    fflush(stderr);
    abort();
}
