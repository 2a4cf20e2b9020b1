// Framing of streamed answers. No line but "data: " and comments is ever written: parsers in the
// field know no others.
#include "server/sse.h"

void hd_frame_open(hd_buf *w, hd_framing f)
{
    if (f != HD_FRAME_JSONL) hd_buf_puts(w, "data: ");
}

void hd_frame_close(hd_buf *w, hd_framing f)
{
    hd_buf_puts(w, f == HD_FRAME_JSONL ? "\n" : "\n\n");
}

void hd_frame_done(hd_buf *w, hd_framing f)
{
    if (f != HD_FRAME_JSONL) hd_buf_puts(w, "data: [DONE]\n\n");
}

void hd_frame_comment(hd_buf *w, hd_framing f)
{
    if (f != HD_FRAME_JSONL) hd_buf_puts(w, ": keep-alive\n\n");
}

const char *hd_frame_type(hd_framing f)
{
    return f == HD_FRAME_JSONL ? "application/jsonlines" : "text/event-stream";
}
