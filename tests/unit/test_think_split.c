// The splitter of reasoning and content: what comes out, and that chunk boundaries never matter.
#include "kernels/base/mem.h"
#include "models/chat/chat.h"
#include "tests/harness/test.h"

#include <string.h>

typedef struct sample {
    hd_think_start start;
    const char *text, *reasoning, *content;
} sample;

static const sample samples[] = {
    // Without markup everything is content, markers included.
    {HD_THINK_NONE, "", "", ""},
    {HD_THINK_NONE, "\n\nhi\n", "", "\n\nhi\n"},
    {HD_THINK_NONE, "<think>a</think>b", "", "<think>a</think>b"},
    // The prompt ended inside the reasoning.
    {HD_THINK_OPEN, "", "", ""},
    {HD_THINK_OPEN, "why", "why", ""},
    {HD_THINK_OPEN, "\n\nwhy\nso\n\n</think>\n\nbecause\n", "why\nso", "because\n"},
    {HD_THINK_OPEN, "</think>now", "", "now"},
    {HD_THINK_OPEN, "\n</think>\n", "", ""},
    {HD_THINK_OPEN, "a < b </ c </thin </thinker\n</think>d", "a < b </ c </thin </thinker", "d"},
    {HD_THINK_OPEN, "<</think>x", "<", "x"},
    {HD_THINK_OPEN, "</</think>x", "</", "x"},
    {HD_THINK_OPEN, "\n<\n\n</think>x", "<", "x"},
    {HD_THINK_OPEN, "a\n\nb\n\n", "a\n\nb\n\n", ""},       // the end gives back what was held
    {HD_THINK_OPEN, "a\n\n</thi", "a\n\n</thi", ""},       // an unfinished marker is text
    {HD_THINK_OPEN, "a</think>b</think>\nc", "a", "b\nc"}, // a stray marker is dropped
    {HD_THINK_OPEN, "a</think></think>\n\nb", "a", "b"},
    {HD_THINK_OPEN, "a</think>b</thi", "a", "b</thi"},
    {HD_THINK_OPEN, "a</think>b\n\n<think>c", "a", "b\n\n<think>c"},
    {HD_THINK_OPEN, "\xE4\xBD\xA0\n</think>\xF0\x9F\x91\xA9", "\xE4\xBD\xA0", "\xF0\x9F\x91\xA9"},
    // Reasoning only when the text begins with the marker.
    {HD_THINK_DETECT, "", "", ""},
    {HD_THINK_DETECT, "hi", "", "hi"},
    {HD_THINK_DETECT, "<think>\nwhy\n</think>\n\nbecause", "why", "because"},
    {HD_THINK_DETECT, "\n\n<think>why</think>because", "why", "because"},
    {HD_THINK_DETECT, "<think>why", "why", ""},
    {HD_THINK_DETECT, "\n\nhi <think>a</think>", "", "\n\nhi <think>a</think>"},
    {HD_THINK_DETECT, "\n<thin", "", "\n<thin"},
    {HD_THINK_DETECT, "\n<th\n<think>", "", "\n<th\n<think>"},
    {HD_THINK_DETECT, "<<think>a", "", "<<think>a"},
    {HD_THINK_DETECT, "\n\n", "", "\n\n"},
    {HD_THINK_DETECT, " <think>a</think>", "", " <think>a</think>"},
    {HD_THINK_DETECT, "a</think>b", "", "a</think>b"},
};
enum { N_SAMPLES = sizeof(samples) / sizeof(samples[0]) };

typedef struct heard {
    hd_buf reasoning, content;
} heard;

static void hear(heard *h, const hd_piece *pieces, size_t n)
{
    EXPECT(n <= 2);
    for (size_t i = 0; i < n; i++) {
        EXPECT(pieces[i].text.n > 0); // no empty pieces
        if (pieces[i].kind == HD_PIECE_REASONING) {
            EXPECT(h->content.len == 0); // reasoning never follows content
            hd_buf_put_slice(&h->reasoning, pieces[i].text);
        } else {
            EXPECT_INT(pieces[i].kind, HD_PIECE_CONTENT);
            hd_buf_put_slice(&h->content, pieces[i].text);
        }
    }
}

static void push(hd_split *s, heard *h, const char *p, size_t n)
{
    hd_piece pieces[2];
    hear(h, pieces, hd_split_push(s, hd_slice_of(p, n), pieces));
}

static void finish(hd_split *s, heard *h, const sample *want)
{
    hd_piece pieces[2];
    hear(h, pieces, hd_split_end(s, pieces));
    EXPECT_STR(hd_buf_slice(&h->reasoning).p, want->reasoning);
    EXPECT_STR(hd_buf_slice(&h->content).p, want->content);
    EXPECT_INT(hd_split_end(s, pieces), 0);
    hd_split_fini(s);
    hd_buf_fini(&h->reasoning);
    hd_buf_fini(&h->content);
}

static void whole(void)
{
    for (size_t i = 0; i < N_SAMPLES; i++) {
        hd_split s;
        heard h = {0};
        hd_split_init(&s, samples[i].start);
        push(&s, &h, samples[i].text, strlen(samples[i].text));
        finish(&s, &h, &samples[i]);
    }
}

static void byte_by_byte(void)
{
    for (size_t i = 0; i < N_SAMPLES; i++) {
        hd_split s;
        heard h = {0};
        hd_split_init(&s, samples[i].start);
        for (const char *p = samples[i].text; *p; p++)
            push(&s, &h, p, 1);
        finish(&s, &h, &samples[i]);
    }
}

static void cut_in_three(void)
{
    for (size_t i = 0; i < N_SAMPLES; i++) {
        size_t n = strlen(samples[i].text);
        for (size_t x = 0; x <= n; x++)
            for (size_t y = x; y <= n; y++) {
                hd_split s;
                heard h = {0};
                hd_split_init(&s, samples[i].start);
                push(&s, &h, samples[i].text, x);
                push(&s, &h, samples[i].text + x, y - x);
                push(&s, &h, samples[i].text + y, n - y);
                finish(&s, &h, &samples[i]);
            }
    }
}

// Text that cannot become a marker is not kept waiting.
static void no_delay(void)
{
    hd_split s;
    hd_piece p[2];
    hd_split_init(&s, HD_THINK_OPEN);
    EXPECT_INT(hd_split_push(&s, hd_slice_str("word "), p), 1);
    EXPECT(hd_slice_eq_str(p[0].text, "word "));
    EXPECT_INT(hd_split_push(&s, hd_slice_str("\n"), p), 0);
    EXPECT_INT(hd_split_push(&s, hd_slice_str("<"), p), 0);
    EXPECT_INT(hd_split_push(&s, hd_slice_str("b"), p), 1);
    EXPECT(hd_slice_eq_str(p[0].text, "\n<b"));
    EXPECT_INT(hd_split_push(&s, hd_slice_str("x</think>y"), p), 2);
    EXPECT_INT(p[0].kind, HD_PIECE_REASONING);
    EXPECT_INT(p[1].kind, HD_PIECE_CONTENT);
    EXPECT(hd_slice_eq_str(p[1].text, "y"));
    EXPECT_INT(hd_split_push(&s, hd_slice_str("\n\n"), p), 1); // newlines inside content pass
    hd_split_fini(&s);
}

static void survives_no_memory(void)
{
    static const char text[] = "\n\nwhy\n\n</think>\n\nbecause";
    int failed = 0;
    for (int64_t nth = 1; nth <= 8; nth++) {
        hd_split s;
        hd_piece p[2];
        hd_split_init(&s, HD_THINK_OPEN);
        (void)hd_mem_fail_at(nth, false);
        for (const char *c = text; *c; c++)
            (void)hd_split_push(&s, hd_slice_of(c, 1), p);
        (void)hd_split_end(&s, p);
        (void)hd_mem_fail_at(0, false);
        failed += s.held.failed;
        if (s.held.failed) EXPECT_INT(hd_split_push(&s, hd_slice_str("more"), p), 0);
        hd_split_fini(&s);
    }
    EXPECT(failed >= 2); // both buffers were hit
}

HD_TEST_MAIN("think_split", {"whole", whole}, {"byte_by_byte", byte_by_byte},
             {"cut_in_three", cut_in_three}, {"no_delay", no_delay},
             {"survives_no_memory", survives_no_memory})
