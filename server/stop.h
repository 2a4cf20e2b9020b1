// Stop strings in streamed text: text is held back while it could still become one.
//
// How the text is cut into pieces never changes what comes out. Every word keeps the length of its
// longest beginning that the text now ends in (Knuth, Morris and Pratt), so each byte is looked at
// a constant number of times per word.
#ifndef HADAL_SERVER_STOP_H
#define HADAL_SERVER_STOP_H

#include "kernels/base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hd_stop_word {
    char *text;
    size_t n, matched;
    uint32_t *back; // back[k]: longest proper border of the first k + 1 bytes
} hd_stop_word;

typedef struct hd_stop {
    hd_stop_word *word;
    size_t n;
    bool keep; // the stop string stays in the text; then nothing needs to be held back
    hd_buf held;
    int hit; // index of the word that matched, -1: none yet
} hd_stop;

// Copies the words (none empty). False: memory; hd_stop_fini is due either way.
bool hd_stop_init(hd_stop *s, const hd_slice *words, size_t n, bool keep);
void hd_stop_fini(hd_stop *s);
// Appends to out what is decided by now. True: a word is complete; what follows it is dropped. Of
// words that end at the same byte the one that began first counts.
bool hd_stop_push(hd_stop *s, hd_slice text, hd_buf *out);
void hd_stop_flush(hd_stop *s, hd_buf *out); // the end: what was held back is text after all

#endif
