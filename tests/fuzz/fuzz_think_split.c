// First byte: how the splitter starts and how the rest is cut. However it is cut, the same comes
// out as from one piece, and what came out is the text without markers and newlines beside them.
#include "models/chat/chat.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct heard {
    hd_buf of[2];
} heard;

static void hear(heard *h, const hd_piece *p, size_t n)
{
    HD_ASSERT(n <= 2);
    for (size_t i = 0; i < n; i++) {
        HD_ASSERT(p[i].text.n > 0 && p[i].kind != HD_PIECE_TOOL_CALL);
        HD_ASSERT(p[i].kind == HD_PIECE_CONTENT || h->of[HD_PIECE_CONTENT].len == 0);
        hd_buf_put_slice(&h->of[p[i].kind], p[i].text);
    }
}

static void split(hd_think_start start, hd_slice text, size_t step, heard *h)
{
    hd_split s;
    hd_piece p[2];
    hd_split_init(&s, start);
    for (size_t at = 0; at < text.n; at += step) {
        size_t n = text.n - at < step ? text.n - at : step;
        hear(h, p, hd_split_push(&s, hd_slice_of(text.p + at, n), p));
    }
    hear(h, p, hd_split_end(&s, p));
    hd_split_fini(&s);
}

// Bytes that may not get lost: all but newlines and the letters of markers.
static size_t countable(hd_slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == 0 || !strchr("\n<>/think", s.p[i]);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    hd_think_start start = (hd_think_start)(data[0] % 3);
    hd_slice text = {(const char *)data + 1, size - 1};
    heard one = {0}, other = {0};
    split(start, text, text.n + 1, &one);
    split(start, text, 1 + data[0] / 3 % 16, &other);
    for (int k = 0; k < 2; k++)
        HD_ASSERT(hd_slice_eq(hd_buf_slice(&one.of[k]), hd_buf_slice(&other.of[k])));
    hd_slice reasoning = hd_buf_slice(&one.of[HD_PIECE_REASONING]);
    hd_slice content = hd_buf_slice(&one.of[HD_PIECE_CONTENT]);
    HD_ASSERT(countable(reasoning) + countable(content) == countable(text));
    if (start == HD_THINK_NONE) HD_ASSERT(hd_slice_eq(content, text));
    for (int k = 0; k < 2; k++) {
        hd_buf_fini(&one.of[k]);
        hd_buf_fini(&other.of[k]);
    }
    return 0;
}
