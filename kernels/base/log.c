// Log lines built on the stack and handed over whole. No heap, no rotation, no files of its own.
#include "kernels/base/log.h"

#include "kernels/base/clock.h"
#include "kernels/base/status.h"
#include "kernels/base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// 4096 is also PIPE_BUF: a line written to a pipe arrives in one piece. TAIL is kept free for what
// closes a cut line: three dots, a quote, a brace, a newline.
enum { LINE_BYTES = 4096, TAIL = 6, ROOM = LINE_BYTES - TAIL };

// Relaxed: a change orders nothing, a line or two may still follow the old setting.
static _Atomic int log_level = HD_LOG_INFO;
static _Atomic int log_format = HD_LOG_LOGFMT;

// The sink's function and context change together; the lock also keeps its lines apart. A sink
// must not log.
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*sink_write)(void *ctx, hd_slice line);
static void *sink_ctx;

bool hd_log_enabled(hd_log_level level)
{
    return level < HD_LOG_OFF &&
           (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void hd_log_set_level(hd_log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

void hd_log_set_format(hd_log_format format)
{
    atomic_store_explicit(&log_format, (int)format, memory_order_relaxed);
}

void hd_log_set_sink(void (*write)(void *ctx, hd_slice line), void *ctx)
{
    pthread_mutex_lock(&sink_lock);
    sink_write = write;
    sink_ctx = ctx;
    pthread_mutex_unlock(&sink_lock);
}

// ---- the line ------------------------------------------------------------------------------

typedef struct line { // n <= ROOM, save for what closes a value that ends there
    char text[LINE_BYTES];
    size_t n;
    bool json;
    bool full; // something was cut: later fields are dropped
} line;

// All of s or nothing.
static bool put(line *l, const char *s, size_t n)
{
    if (l->n + n > ROOM) return false;
    memcpy(l->text + l->n, s, n);
    l->n += n;
    return true;
}

// Spelling of the first character of s between quotes; returns the bytes of s it covers.
static size_t spell(hd_slice s, char out[8], size_t *n)
{
    unsigned char c = (unsigned char)s.p[0];
    const char *short_form = c == '"'    ? "\\\""
                             : c == '\\' ? "\\\\"
                             : c == '\n' ? "\\n"
                             : c == '\r' ? "\\r"
                             : c == '\t' ? "\\t"
                                         : NULL;
    if (short_form) {
        memcpy(out, short_form, 2);
        *n = 2;
        return 1;
    }
    uint32_t cp = 0;
    int len = hd_utf8_decode(s.p, s.n, &cp);
    if (len <= 0) { // ill-formed, or cut short by whoever made the slice
        *n = (size_t)hd_utf8_encode(HD_UTF8_REPLACEMENT, out);
        return len < 0 ? (size_t)-len : s.n;
    }
    if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0)) {
        *n = (size_t)snprintf(out, 8, "\\u%04x", (unsigned)(cp & 0xFF));
        return (size_t)len;
    }
    memcpy(out, s.p, (size_t)len);
    *n = (size_t)len;
    return (size_t)len;
}

static bool needs_quotes(hd_slice s)
{
    if (s.n == 0) return true;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c == '"' || c == '=' || c == 0x7F) return true;
        if (c == 0xC2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xA0) return true; // C1
    }
    return false;
}

// A bare logfmt word may contain backslashes, which then stand for themselves.
static void put_str(line *l, hd_slice s)
{
    bool quoted = l->json || needs_quotes(s);
    if (quoted) put(l, "\"", 1);
    while (s.n > 0) {
        char unit[8];
        size_t n = 1, used = 1;
        if (!quoted && s.p[0] == '\\')
            unit[0] = '\\';
        else
            used = spell(s, unit, &n);
        if (!put(l, unit, n)) {
            l->full = true;
            memcpy(l->text + l->n, "...", 3); // TAIL has the room
            l->n += 3;
            break;
        }
        s = hd_slice_of(s.p + used, s.n - used);
    }
    if (quoted) l->text[l->n++] = '"'; // likewise
}

// The separator and the key, a literal that needs no escapes. With no room for them and a short
// value the field is dropped.
static bool put_key(line *l, const char *key)
{
    enum { LONGEST_SCALAR = 48 };
    size_t n = strlen(key);
    if (l->full || l->n + n + 4 + LONGEST_SCALAR > ROOM) {
        l->full = true;
        return false;
    }
    if (l->json) {
        put(l, l->n == 0 ? "{\"" : ",\"", 2);
        put(l, key, n);
        put(l, "\":", 2);
    } else {
        if (l->n > 0) put(l, " ", 1);
        put(l, key, n);
        put(l, "=", 1);
    }
    return true;
}

static void put_f64(line *l, double v, int decimals)
{
    char text[48];
    if (!isfinite(v)) {
        const char *word = l->json ? "null" : isnan(v) ? "nan" : v < 0 ? "-inf" : "inf";
        put(l, word, strlen(word));
        return;
    }
    decimals = decimals < 0 ? 0 : decimals > 15 ? 15 : decimals;
    bool plain = fabs(v) < 1e15; // beyond it a fixed form only adds meaningless digits
    int n = plain ? snprintf(text, sizeof(text), "%.*f", decimals, v)
                  : snprintf(text, sizeof(text), "%.17g", v);
    put(l, text, (size_t)n);
}

static void put_field(line *l, const hd_log_field *f)
{
    char text[24];
    if (!put_key(l, f->key)) return;
    switch (f->kind) {
    case HD_LF_STR:
        put_str(l, f->str);
        break;
    case HD_LF_INT:
        put(l, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, f->i));
        break;
    case HD_LF_F64:
        put_f64(l, f->f, f->decimals);
        break;
    case HD_LF_BOOL:
        put(l, f->i ? "true" : "false", f->i ? 4 : 5);
        break;
    }
}

// ---- handing over --------------------------------------------------------------------------

// One write, save when the system takes a part only.
static void write_stderr(hd_slice s)
{
    while (s.n > 0) {
        ssize_t n = write(STDERR_FILENO, s.p, s.n);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; // there is nowhere left to complain
        s = hd_slice_of(s.p + n, s.n - (size_t)n);
    }
}

void hd_log_write(hd_log_level level, const char *area, const char *msg, const hd_log_field *f,
                  int n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (!hd_log_enabled(level)) return;
    int saved = errno; // callers log first and look at errno afterwards
    char ts[32];
    line l;
    l.n = 0;
    l.full = false;
    l.json = atomic_load_explicit(&log_format, memory_order_relaxed) == HD_LOG_JSON;

    hd_wall_text(ts);
    const hd_log_field head[] = {hd_f_str("ts", ts), hd_f_str("level", names[level]),
                                 hd_f_str("area", area), hd_f_str("msg", msg)};
    for (int i = 0; i < 4; i++)
        put_field(&l, &head[i]);
    for (int i = 0; i < n; i++)
        put_field(&l, &f[i]);
    if (l.json) l.text[l.n++] = '}';
    l.text[l.n++] = '\n';
    HD_DASSERT(l.n <= LINE_BYTES);

    hd_slice text = hd_slice_of(l.text, l.n);
    pthread_mutex_lock(&sink_lock);
    if (sink_write)
        sink_write(sink_ctx, text);
    else
        write_stderr(text);
    pthread_mutex_unlock(&sink_lock);
    errno = saved;
}
