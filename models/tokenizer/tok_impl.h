// Inside of hd_tokenizer, shared by the files of this folder and its tests alone.
//
//   text --lossy UTF-8--> --added tokens (raw)--> --NFC--> --added tokens (normalised)-->
//        --split steps--> pieces --symbols--> --merges--> ids
#ifndef HADAL_MODELS_TOKENIZER_TOK_IMPL_H
#define HADAL_MODELS_TOKENIZER_TOK_IMPL_H

#include "kernels/base/map.h"
#include "models/tokenizer/pretok.h"
#include "models/tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- limits on files -----------------------------------------------------------------------

enum {
    HD_TOK_IDS = 1 << 22,  // ids lie below
    HD_TOK_TEXT = 1 << 16, // bytes of one token
    HD_TOK_MERGES = 1 << 23,
    HD_TOK_INPUT = INT32_MAX / 4, // bytes of one text: positions and their sums fit 32 bits
};

// ---- added tokens (added.c) ----------------------------------------------------------------

typedef struct hd_added {
    hd_slice text;
    int32_t id;
    bool always;         // ordinary vocabulary: matches in untrusted text too (see added.c)
    bool lstrip, rstrip; // swallows the blanks beside it
} hd_added;
typedef struct hd_added_set { // sorted by text; v[first[b] .. first[b + 1]) begin with byte b
    hd_added *v;
    uint32_t n, cap;
    uint32_t first[257];
    bool any_always;
} hd_added_set;
typedef struct hd_added_match {
    size_t from, to;
    int32_t id;
} hd_added_match;

hd_status hd_added_put(hd_added_set *s, const hd_added *a, hd_err *err);
void hd_added_sort(hd_added_set *s); // after the last put; of equal texts the first put stays
void hd_added_fini(hd_added_set *s);
int32_t hd_added_find(const hd_added_set *s, hd_slice text); // exact; -1
// One of the characters that stand for bytes which UTF-8 never uses.
bool hd_added_is_reserved_byte(hd_slice text);

// Text with the ranges of it that may hold special tokens, ascending, disjoint, not touching.
typedef struct hd_marked {
    hd_slice text;
    const hd_span *trusted;
    size_t n_trusted;
} hd_marked;
// The leftmost, then longest match in text[from..end).
bool hd_added_next(const hd_added_set *s, const hd_marked *m, size_t from, size_t end,
                   hd_added_match *out);
// Index of the first trusted range that ends behind `at`.
size_t hd_marked_seek(const hd_marked *m, size_t at);

// ---- rewriting text (nfc.c) ----------------------------------------------------------------

// Makes the bytes of p from `from` on trusted (prompt.c).
void hd_prompt_mark(hd_prompt *p, size_t from);
hd_marked hd_marked_of(const hd_prompt *p);

// Appends m to out with ill-formed UTF-8 replaced.
void hd_lossy_append(hd_prompt *out, const hd_marked *m);
bool hd_nfc_may_change(hd_slice text);
// Appends text[from..end) composed; a character of it is trusted when all it was made of is.
hd_status hd_nfc_append(hd_prompt *out, const hd_marked *m, size_t from, size_t end, hd_err *err);

// ---- merging (merge.c) ---------------------------------------------------------------------

// Pair of neighbours -> rank << 32 | id of the merged symbol; smaller ranks go first. UINT64_MAX:
// the pair does not merge.
#define HD_NO_MERGE UINT64_MAX

typedef struct hd_symbol {
    int32_t id;     // -1: not in the vocabulary
    uint32_t at, n; // bytes of the piece it covers (SentencePiece)
} hd_symbol;

typedef struct hd_merge_scratch { // zeroed: empty; reused from piece to piece
    hd_symbol *sym;               // input and output of hd_merge
    size_t n_sym, cap_sym;
    uint32_t *prev, *next;
    uint64_t *pair; // what merging with the next symbol gives
    size_t cap_node;
    uint64_t *heap; // rank << 32 | position
    size_t n_heap, cap_heap;
} hd_merge_scratch;

typedef uint64_t (*hd_pair_fn)(const void *ctx, const hd_symbol *a, const hd_symbol *b);

bool hd_merge_push(hd_merge_scratch *s, int32_t id, size_t at, size_t n); // false: memory
// Merges s->sym[0..n_sym) until no pair merges, best rank first, leftmost on ties. False: memory.
bool hd_merge(hd_merge_scratch *s, hd_pair_fn pair, const void *ctx);
void hd_merge_fini(hd_merge_scratch *s);

// ---- the tokenizer -------------------------------------------------------------------------

typedef enum hd_tok_model {
    HD_MODEL_BYTES, // symbols are bytes, merges by rank (GPT-2 and most others)
    HD_MODEL_CHARS, // symbols are characters, merges by rank, unknown ones become bytes
    HD_MODEL_SCORE, // symbols are characters, merges by the score of the result (SentencePiece)
} hd_tok_model;

typedef enum hd_prefix { // the blank SentencePiece puts in front
    HD_PREFIX_NONE,
    HD_PREFIX_EACH,       // before every stretch between added tokens
    HD_PREFIX_META_FIRST, // only where the text begins, and only when no blank is there
    HD_PREFIX_META_EACH,  // before every stretch that does not begin with one
} hd_prefix;

enum { // flags of an id
    HD_ID_KNOWN = 1,
    HD_ID_ADDED = 2,
    HD_ID_HIDDEN = 4,  // special markup that readers should not see
    HD_ID_CONTROL = 8, // typed special by the file: never the result of a merge
};

struct hd_tokenizer {
    hd_tokenizer_info info;
    hd_tok_model model;
    // vocabulary, [n_ids]
    hd_slice *token; // bytes as decoded
    uint8_t *flag;
    float *score; // HD_MODEL_SCORE
    int32_t n_ids;
    char *pool; // bytes of all tokens
    size_t pool_len, pool_cap;
    size_t token_max;     // longest entry of `whole`
    hd_map whole;         // bytes -> id: whole-piece lookup, characters, results of scored merges
    hd_u64map merge;      // left id << 32 | right id -> rank << 32 | id
    int32_t byte_id[256]; // -1: none
    int32_t unk;
    bool fuse_unk, ignore_merges;
    // text
    bool nfc;
    hd_prefix prefix;
    bool metaspace;    // blanks are written as U+2581
    bool strip_prefix; // decoding drops the first blank
    hd_pretok pretok;
    hd_added_set raw, normal; // matched before and after normalising
    hd_added_set special;     // all that hd_token_special answers
    int32_t *stop;
    size_t n_stop;
};

hd_status hd_tok_create(hd_tokenizer **out, hd_err *err);
// Room for ids below n_ids and pool_bytes of token text.
hd_status hd_tok_reserve(hd_tokenizer *t, int64_t n_ids, size_t pool_bytes, hd_err *err);
// The next n bytes of the pool, which must have been reserved.
char *hd_tok_pool(hd_tokenizer *t, size_t n);
hd_slice hd_tok_copy(hd_tokenizer *t, hd_slice text);

typedef enum hd_added_kind { HD_ADDED_RAW, HD_ADDED_NORMALISED } hd_added_kind;
typedef struct hd_added_def { // an added token as a file defines it
    int32_t id;
    hd_slice text;
    bool control; // the file calls it special
    bool lstrip, rstrip;
    hd_added_kind kind;
} hd_added_def;
hd_status hd_tok_add_special(hd_tokenizer *t, const hd_added_def *d, hd_err *err);
// Adds id to the stops, once; ids outside the vocabulary are ignored.
hd_status hd_tok_add_stop(hd_tokenizer *t, int64_t id, hd_err *err);
// Puts an entry into `whole`; of equal texts the first stays.
hd_status hd_tok_put_whole(hd_tokenizer *t, hd_slice text, int32_t id, hd_err *err);
// Registers merge number `rank` by the texts in names. Its result is dropped when it is a control
// token: ordinary text must not turn into one.
hd_status hd_tok_put_merge(hd_tokenizer *t, const hd_map *names, size_t rank, hd_slice left,
                           hd_slice right, hd_err *err);
// After the vocabulary: sorts sets, counts, collects stops by text.
hd_status hd_tok_finish(hd_tokenizer *t, hd_err *err);

// Byte-level alphabet: writes the bytes that s spells and returns true; s itself, and false, when a
// character is foreign to the alphabet. dst has room for s.n bytes.
bool hd_bytelevel_decode(hd_slice s, char *dst, size_t *n);
// "<0xAB>" -> 0xAB, else -1.
int hd_byte_token(hd_slice s);
#define HD_METASPACE "\xE2\x96\x81" // U+2581
// U+2581 to blank; dst has room for s.n bytes. Returns the length.
size_t hd_metaspace_decode(hd_slice s, char *dst);

// Symbols and merges of one piece; appends ids (encode.c uses one of them per tokenizer).
hd_status hd_bpe_piece(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece, hd_ids *out,
                       hd_err *err);
hd_status hd_spm_piece(const hd_tokenizer *t, hd_merge_scratch *s, hd_slice piece, hd_ids *out,
                       hd_err *err);
// Puts blanks into SentencePiece's form. at_start: the stretch begins the whole text.
void hd_spm_escape(const hd_tokenizer *t, hd_slice text, bool at_start, hd_buf *out);

#ifdef __cplusplus
}
#endif

#endif
