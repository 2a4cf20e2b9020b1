// Framing of streamed answers: server-sent events, or one JSON object a line.
#ifndef HADAL_SERVER_SSE_H
#define HADAL_SERVER_SSE_H

#include "kernels/base/buf.h"
#include "server/gen.h"

// Around each event's JSON, which has no raw line breaks.
void hd_frame_open(hd_buf *w, hd_framing f);
void hd_frame_close(hd_buf *w, hd_framing f);
void hd_frame_done(hd_buf *w, hd_framing f);    // OpenAI's "[DONE]"; lines have none
void hd_frame_comment(hd_buf *w, hd_framing f); // keeps intermediaries awake; lines have none
const char *hd_frame_type(hd_framing f);        // Content-Type

#endif
