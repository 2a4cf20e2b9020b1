// Stop strings in streamed text. Bytes only; that words and text are UTF-8 keeps cuts between
// characters.
#include "server/stop.h"

#include "kernels/base/mem.h"

#include <string.h>

static bool word_init(hd_stop_word *w, hd_slice text)
{
    w->text = hd_strndup(text.p, text.n);
    w->back = hd_calloc(text.n, sizeof(*w->back));
    w->n = text.n;
    if (!w->text || !w->back) return false;
    for (size_t i = 1, k = 0; i < w->n; i++) {
        while (k > 0 && w->text[i] != w->text[k])
            k = w->back[k - 1];
        if (w->text[i] == w->text[k]) k++;
        w->back[i] = (uint32_t)k;
    }
    return true;
}

bool hd_stop_init(hd_stop *s, const hd_slice *words, size_t n, bool keep)
{
    memset(s, 0, sizeof(*s));
    s->keep = keep;
    s->hit = -1;
    if (n == 0) return true;
    s->word = hd_calloc(n, sizeof(*s->word));
    if (!s->word) return false;
    s->n = n;
    for (size_t i = 0; i < n; i++)
        if (!word_init(&s->word[i], words[i])) return false;
    return true;
}

void hd_stop_fini(hd_stop *s)
{
    for (size_t i = 0; i < s->n; i++) {
        hd_free(s->word[i].text);
        hd_free(s->word[i].back);
    }
    hd_free(s->word);
    hd_buf_fini(&s->held);
    memset(s, 0, sizeof(*s));
    s->hit = -1;
}

// Moves every word on by one byte. True: s->hit is the longest word that is complete now.
static bool step(hd_stop *s, char c)
{
    for (size_t i = 0; i < s->n; i++) {
        hd_stop_word *w = &s->word[i];
        size_t k = w->matched;
        while (k > 0 && w->text[k] != c)
            k = w->back[k - 1];
        if (w->text[k] == c) k++;
        w->matched = k;
        if (k == w->n && (s->hit < 0 || w->n > s->word[s->hit].n)) s->hit = (int)i;
    }
    return s->hit >= 0;
}

static size_t longest_begun(const hd_stop *s)
{
    size_t most = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->word[i].matched > most) most = s->word[i].matched;
    return s->keep ? 0 : most;
}

// Appends the first n bytes of what is held to out and keeps the rest.
static void release(hd_stop *s, size_t n, hd_buf *out)
{
    if (n == 0) return;
    hd_buf_put(out, s->held.data, n);
    memmove(s->held.data, s->held.data + n, s->held.len - n);
    s->held.len -= n;
    s->held.data[s->held.len] = 0;
}

bool hd_stop_push(hd_stop *s, hd_slice text, hd_buf *out)
{
    if (s->hit >= 0) return true;
    if (s->n == 0) {
        hd_buf_put_slice(out, text);
        return false;
    }
    size_t used = 0;
    bool hit = false;
    while (used < text.n && !hit)
        hit = step(s, text.p[used++]);
    hd_buf_put(&s->held, text.p, used);
    if (s->held.failed) {
        out->failed = true;
        return false;
    }
    size_t keep = hit ? (s->keep ? 0 : s->word[s->hit].n) : longest_begun(s);
    release(s, s->held.len - keep, out);
    return hit;
}

void hd_stop_flush(hd_stop *s, hd_buf *out)
{
    if (s->hit >= 0) return;
    release(s, s->held.len, out);
    for (size_t i = 0; i < s->n; i++)
        s->word[i].matched = 0;
}
