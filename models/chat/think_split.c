// Splits streamed text into reasoning and content, one byte at a time.
//
//   DETECT    newlines, then <think>  -> REASONING; anything else -> VERBATIM, with the newlines
//   REASONING newlines at the start are dropped; newlines + </think> -> CONTENT
//   CONTENT   newlines at the start are dropped; a stray </think> is dropped
//   VERBATIM  everything is content
//
// What might still become a marker, newlines before it included, waits in `held`: newlines, then
// the first `matched` bytes of the marker. Only the first byte of a marker is '<', so a mismatch
// never leaves a shorter match behind. Tool calls are not this splitter's business.
#include "models/chat/chat.h"

#include <string.h>

enum { DETECT, REASONING_START, REASONING, CONTENT_START, CONTENT, VERBATIM };

static const char think[] = "<think>", think_end[] = "</think>";

void hd_split_init(hd_split *s, hd_think_start start)
{
    memset(s, 0, sizeof(*s));
    s->start = start;
    s->state = start == HD_THINK_OPEN ? REASONING_START : DETECT;
    if (start == HD_THINK_NONE) s->state = VERBATIM;
}

void hd_split_fini(hd_split *s)
{
    hd_buf_fini(&s->held);
    hd_buf_fini(&s->out);
}

static bool in_reasoning(const hd_split *s)
{
    return s->state == REASONING_START || s->state == REASONING;
}

// Text has come: the state is no longer one that drops or looks for something at the start.
static void leave_start(hd_split *s)
{
    if (s->state == DETECT) s->state = VERBATIM;
    if (s->state == REASONING_START) s->state = REASONING;
    if (s->state == CONTENT_START) s->state = CONTENT;
}

static void drop_held(hd_split *s)
{
    bool failed = s->held.failed;
    hd_buf_clear(&s->held);
    s->held.failed = failed;
    s->matched = 0;
}

static void release(hd_split *s)
{
    if (s->held.len > 0) {
        leave_start(s);
        hd_buf_put_slice(&s->out, hd_buf_slice(&s->held));
    }
    drop_held(s);
}

static void marker_done(hd_split *s)
{
    drop_held(s);
    if (s->state == DETECT)
        s->state = REASONING_START;
    else if (in_reasoning(s))
        s->state = CONTENT_START;
}

// A byte that continues no marker.
static void plain(hd_split *s, char c)
{
    bool starts = s->state == REASONING_START || s->state == CONTENT_START;
    if (c == '\n' && starts) return;
    if (c == '\n' && (s->state == DETECT || s->state == REASONING)) {
        hd_buf_putc(&s->held, c);
        return;
    }
    release(s);
    leave_start(s);
    hd_buf_putc(&s->out, c);
}

static void step(hd_split *s, char c)
{
    const char *marker = s->state == DETECT ? think : think_end;
    if (s->state == VERBATIM) {
        hd_buf_putc(&s->out, c);
        return;
    }
    if (s->matched > 0 && c != marker[s->matched]) {
        release(s); // may change the state, hence the marker
        step(s, c);
        return;
    }
    if (c != marker[s->matched]) {
        plain(s, c);
        return;
    }
    hd_buf_putc(&s->held, c);
    if (marker[++s->matched] == '\0') marker_done(s);
}

// Reasoning is the first `cut` bytes of out, content the rest.
static size_t pieces(hd_split *s, size_t cut, hd_piece out[2])
{
    size_t n = 0;
    if (s->held.failed || s->out.failed) {
        s->held.failed = true;
        return 0;
    }
    if (cut > 0) out[n++] = (hd_piece){HD_PIECE_REASONING, {s->out.data, cut}};
    if (s->out.len > cut)
        out[n++] = (hd_piece){HD_PIECE_CONTENT, {s->out.data + cut, s->out.len - cut}};
    return n;
}

size_t hd_split_push(hd_split *s, hd_slice text, hd_piece out[2])
{
    size_t cut = 0;
    hd_buf_clear(&s->out);
    for (size_t i = 0; i < text.n; i++) {
        bool reasoning = in_reasoning(s);
        step(s, text.p[i]);
        if (reasoning || in_reasoning(s)) cut = s->out.len;
    }
    return pieces(s, cut, out);
}

size_t hd_split_end(hd_split *s, hd_piece out[2])
{
    hd_buf_clear(&s->out);
    bool reasoning = in_reasoning(s);
    release(s);
    return pieces(s, reasoning ? s->out.len : 0, out);
}
