// The tokenizer's parts on small hand-made vocabularies: merging, added tokens and trust, normal
// forms, SentencePiece forms, decoding, exhausted memory.
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/utf8.h"
#include "models/tokenizer/tok_impl.h"
#include "tests/harness/test.h"
#include "tests/unit/tok_parts.h"

#include <pthread.h>
#include <stdio.h>

static void expect_ids(const hd_tokenizer *t, const char *text, unsigned flags, const char *want)
{
    hd_expect_ids(t, hd_slice_str(text), flags, want);
}

// Pieces in angle brackets of U+27E8 and U+27E9 are trusted, the rest is not.
static void expect_prompt(const hd_tokenizer *t, const char *marked, unsigned flags,
                          const char *want)
{
    hd_prompt p = {0};
    hd_ids ids = {0};
    for (const char *at = marked; *at;) {
        bool trusted = strncmp(at, "\u27e8", 3) == 0;
        at += trusted ? 3 : 0;
        const char *end = strstr(at, trusted ? "\u27e9" : "\u27e8");
        hd_slice s = hd_slice_of(at, end ? (size_t)(end - at) : strlen(at));
        trusted ? hd_prompt_trusted(&p, s) : hd_prompt_user(&p, s);
        at += s.n + (trusted ? 3 : 0);
    }
    EXPECT_INT(hd_tokenize_prompt(t, &p, flags, &ids, NULL), HD_OK);
    hd_expect_id_list(&ids, want);
    hd_ids_fini(&ids);
    hd_prompt_fini(&p);
}

// ---- merging -------------------------------------------------------------------------------

static void merge_order(void)
{
    const hd_tok_parts p = {.entries = ",\"ab\":300,\"bc\":301,\"abc\":302,\"aa\":303,\"aaaa\":304",
                            .merges = "\"b c\",\"a b\",\"a bc\",\"a a\",[\"aa\",\"aa\"]"};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "abc", 0, "302"); // b c goes first, then a bc
    expect_ids(t, "abab", 0, "300 300");
    expect_ids(t, "aaa", 0, "303 97"); // leftmost of equals
    expect_ids(t, "aaaaa", 0, "304 97");
    expect_ids(t, "aaaaaaa", 0, "304 303 97");
    expect_ids(t, "", 0, "");
    EXPECT_STR(hd_tokenizer_facts(t)->kind, "bpe");
    EXPECT_INT(hd_tokenizer_facts(t)->n_vocab, 305);
    hd_tokenizer_close(t);
}

// A table of pairs for hd_merge, and the plain definition of what it must do.
enum { SYMBOLS = 6, GROWN = 40 };
typedef struct pair_table {
    uint64_t value[GROWN][GROWN];
} pair_table;

static uint64_t table_pair(const void *ctx, const hd_symbol *a, const hd_symbol *b)
{
    const pair_table *t = ctx;
    return t->value[a->id][b->id];
}

static size_t merge_naive(const pair_table *t, int32_t *id, size_t n)
{
    for (;;) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++)
            if (best == n ||
                (t->value[id[i]][id[i + 1]] >> 32) < (t->value[id[best]][id[best + 1]] >> 32))
                best = i;
        if (n < 2 || t->value[id[best]][id[best + 1]] == HD_NO_MERGE) return n;
        id[best] = (int32_t)(uint32_t)t->value[id[best]][id[best + 1]];
        memmove(id + best + 1, id + best + 2, (n - best - 2) * sizeof(*id));
        n--;
    }
}

// Short and long pieces both follow the definition; equal ranks occur, as with scores.
static void merge_against_naive(void)
{
    static pair_table table;
    hd_merge_scratch s = {0};
    hd_rng r;
    hd_rng_seed(&r, 5);
    for (int round = 0; round < 400; round++) {
        for (int a = 0; a < GROWN; a++)
            for (int b = 0; b < GROWN; b++) {
                uint32_t rank = hd_rng_below(&r, 30), id = hd_rng_below(&r, GROWN);
                bool merges = hd_rng_below(&r, 3) > 0 && (int)id > a && (int)id > b;
                table.value[a][b] = merges ? (uint64_t)rank << 32 | id : HD_NO_MERGE;
            }
        int32_t want[300];
        size_t n = 1 + hd_rng_below(&r, round % 2 ? 300 : 60);
        s.n_sym = 0;
        for (size_t i = 0; i < n; i++) {
            want[i] = (int32_t)hd_rng_below(&r, SYMBOLS);
            EXPECT(hd_merge_push(&s, want[i], i, 1));
        }
        EXPECT(hd_merge(&s, table_pair, &table));
        size_t left = merge_naive(&table, want, n), covered = 0;
        EXPECT_INT(s.n_sym, left);
        for (size_t i = 0; i < left; i++) {
            EXPECT_INT(s.sym[i].id, want[i]);
            EXPECT_INT(s.sym[i].at, covered);
            covered += s.sym[i].n;
        }
        EXPECT_INT(covered, n);
    }
    hd_merge_fini(&s);
}

static void whole_pieces(void)
{
    // "zz" cannot be reached by merges; only looking up the whole piece finds it.
    hd_tok_parts p = {.entries = ",\"zz\":300,\"\u0120zz\":301",
                      .settings = ",\"ignore_merges\":true"};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "zz", 0, "300");
    expect_ids(t, " zz", 0, "301");
    expect_ids(t, "zzz", 0, "122 122 122");
    hd_tokenizer_close(t);
    p.settings = NULL;
    t = hd_tok_parts_open(&p);
    expect_ids(t, "zz", 0, "122 122");
    hd_tokenizer_close(t);
}

static void missing_bytes(void)
{
    hd_tok_parts p = {.vocab = "\"a\":0,\"c\":1,\"ac\":2,\"<unk>\":3", .merges = "\"a c\""};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "abc", 0, "2"); // b vanishes, and its neighbours meet
    expect_ids(t, "bbb", 0, "");
    hd_tokenizer_close(t);
    p.settings = ",\"unk_token\":\"<unk>\"";
    t = hd_tok_parts_open(&p);
    expect_ids(t, "abbc", 0, "0 3 3 1");
    hd_tokenizer_close(t);
    p.settings = ",\"unk_token\":\"<unk>\",\"fuse_unk\":true";
    t = hd_tok_parts_open(&p);
    expect_ids(t, "abbc", 0, "0 3 1");
    hd_tokenizer_close(t);
}

static void ill_formed_text(void)
{
    hd_tokenizer *t = hd_tok_parts_open(&(hd_tok_parts){0});
    expect_ids(t, "a\xFFz", 0, "97 239 191 189 122");
    hd_expect_ids(t, hd_slice_of("\xE4\xB8", 2), 0, "239 191 189"); // one subpart
    hd_expect_ids(t, hd_slice_of("\0", 1), 0, "0");
    hd_expect_ids(t, hd_slice_of(NULL, 0), HD_TOK_SPECIAL, "");
    hd_tokenizer_close(t);
}

// ---- added tokens --------------------------------------------------------------------------

static void trust(void)
{
    const hd_tok_parts p = {.added = ADDED(300, "<s>", SPECIAL) "," ADDED(
                                301, "<think>", ) "," ADDED(302, "<s><s>", SPECIAL),
                            .entries = ",\"\u010a\u010a\":299",
                            .merges = "\"\u010a \u010a\""};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "<s>a", HD_TOK_SPECIAL, "300 97");
    expect_ids(t, "<s>a", 0, "60 115 62 97");
    expect_ids(t, "<think>", 0, "60 116 104 105 110 107 62"); // special or not makes no difference
    expect_ids(t, "<think>", HD_TOK_SPECIAL, "301");
    expect_ids(t, "<s><s><s>", HD_TOK_SPECIAL, "302 300"); // longest first
    expect_prompt(t, "\u27e8<s>\u27e9<s>\u27e8<s>\u27e9", 0, "300 60 115 62 300");
    expect_prompt(t, "\u27e8<s\u27e9>", 0, "60 115 62"); // wholly trusted or not at all
    expect_prompt(t, "<\u27e8s>\u27e9", 0, "60 115 62");
    expect_prompt(t, "\u27e8<s>\u27e9\u27e8<s>\u27e9", 0, "302"); // touching ranges are one
    expect_prompt(t, "\u27e8a\\n\\n\u27e9b", 0, "97 92 110 92 110 98");
    expect_prompt(t, "\u27e8\n\u27e9\nb", 0, "299 98"); // split and merged across the boundary
    expect_prompt(t, "\u27e8<s>\n\u27e9\n<s>", HD_TOK_SPECIAL, "300 299 60 115 62");
    expect_prompt(t, "", 0, "");
    EXPECT_INT(hd_token_special(t, hd_slice_str("<think>")), 301);
    EXPECT_INT(hd_token_special(t, hd_slice_str("<thin")), -1);
    EXPECT_INT(hd_token_special(t, hd_slice_str("a")), -1);
    EXPECT_INT(hd_tokenizer_facts(t)->n_added, 3);
    EXPECT(hd_token_is_special(t, 300));
    EXPECT(!hd_token_is_special(t, 301)); // whoever splits reasoning off has to see it
    hd_tokenizer_close(t);
}

// Ill-formed user text beside a marker must not shift what is trusted.
static void trust_and_repair(void)
{
    const hd_tok_parts p = {.added = ADDED(300, "<s>", SPECIAL)};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_prompt(t, "\u27e8<s>\u27e9\xFF\xFF<s>\u27e8<s>\u27e9<s>\xE4\u27e8<s>\u27e9", 0,
                  "300 239 191 189 239 191 189 60 115 62 300 60 115 62 239 191 189 300");
    hd_tokenizer_close(t);
}

static void stripping(void)
{
    const hd_tok_parts p = {
        .added = ADDED(300, "<l>", ",\"lstrip\":true") "," ADDED(301, "<r>", ",\"rstrip\":true")};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "a \u3000<l> b", HD_TOK_SPECIAL, "97 300 32 98");
    expect_ids(t, "a <r> \u2003b", HD_TOK_SPECIAL, "97 32 301 98");
    expect_ids(t, " <r> <l> ", HD_TOK_SPECIAL, "32 301 300 32");
    expect_ids(t, " <l> ", 0, "32 60 108 62 32");
    hd_tokenizer_close(t);
}

// The letters of bytes that UTF-8 never uses are plain vocabulary where DeepSeek's first models
// list them as added tokens; a special token of that spelling is not.
static void reserved_letters(void)
{
    const hd_tok_parts p = {.vocab = "\"F\":70,\"h\":104,\"r\":114,\"e\":101,\"\u00c3\":195,"
                                     "\"\u00b6\":182,\"\u00a4\":164",
                            .added = ADDED(300, "\u00fc", ) "," ADDED(
                                301, "\u00f6", SPECIAL) "," ADDED(302, "\u00e4", )};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "F\u00fchrer", 0, "70 300 104 114 101 114");
    expect_ids(t, "\u00f6\u00e4", 0, "195 182 195 164");
    EXPECT_INT(hd_token_special(t, hd_slice_str("\u00fc")), -1);
    hd_expect_text(t, (const int32_t[]){70, 300}, 2, HD_DETOK_SKIP_SPECIAL, "F\u00fc");
    EXPECT(!hd_token_is_special(t, 300));
    hd_tokenizer_close(t);
}

// Ordinary text cannot assemble a control token out of merges.
static void no_forging(void)
{
    hd_tok_parts p = {.entries = ",\"<s\":298,\"<s>\":299",
                      .merges = "\"< s\",\"<s >\"",
                      .added = ADDED(299, "<s>", SPECIAL)};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "<s>", 0, "298 62");
    expect_ids(t, "<s>", HD_TOK_SPECIAL, "299");
    hd_tokenizer_close(t);
    p.settings = ",\"ignore_merges\":true";
    t = hd_tok_parts_open(&p);
    expect_ids(t, "<s>", 0, "298 62");
    hd_tokenizer_close(t);
    p.added = ADDED(299, "<s>", ); // not special: an entry like others
    t = hd_tok_parts_open(&p);
    expect_ids(t, "<s>", 0, "299");
    hd_tokenizer_close(t);
}

static void added_id_is_vocabulary_id(void)
{
    const hd_tok_parts p = {.entries = ",\"tok\":280",
                            .added = ADDED(999, "tok", SPECIAL) "," ADDED(999, "\u00e9", )};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    EXPECT_INT(hd_token_special(t, hd_slice_str("tok")), 280);
    expect_ids(t, "\u00e9", HD_TOK_SPECIAL, "233");
    hd_expect_text(t, (const int32_t[]){195, 169, 233}, 3, 0, "\u00e9\ufffd"); // still the byte
    hd_tokenizer_close(t);
}

// ---- normal forms --------------------------------------------------------------------------

static void expect_nfc(const hd_tokenizer *t, const char *text, const char *want)
{
    hd_ids ids = {0};
    hd_buf got = {0};
    EXPECT_INT(hd_tokenize(t, hd_slice_str(text), 0, &ids, NULL), HD_OK);
    EXPECT_INT(hd_detokenize(t, ids.v, ids.n, 0, &got, NULL), HD_OK);
    EXPECT_STR(got.data, want);
    hd_buf_fini(&got);
    hd_ids_fini(&ids);
}

static void composing(void)
{
    hd_tokenizer *t = hd_tok_parts_open(&(hd_tok_parts){.normalizer = NFC_JSON});
    expect_nfc(t, "cafe\u0301 x", "caf\u00e9 x");
    expect_nfc(t, "\u212b\u2126", "\u00c5\u03a9");
    expect_nfc(t, "q\u0301\u0323", "q\u0323\u0301"); // marks in order
    expect_nfc(t, "\u1112\u1161\u11ab", "\ud55c");
    expect_nfc(t, "\u0958", "\u0915\u093c"); // composition exclusion
    expect_nfc(t, "\u0301a", "\u0301a");
    expect_nfc(t, "a\u0315\u0300\u05ae\u0301b", "\u00e0\u05ae\u0301\u0315b");
    expect_nfc(t, "a\u1acb\u0323", "a\u1acb\u0323"); // newer than the reference's tables
    hd_tokenizer_close(t);
    t = hd_tok_parts_open(&(hd_tok_parts){0});
    expect_nfc(t, "e\u0301", "e\u0301"); // nobody asked
    hd_tokenizer_close(t);
}

static void long_marks(void)
{
    hd_tokenizer *t = hd_tok_parts_open(&(hd_tok_parts){.normalizer = NFC_JSON});
    hd_buf text = {0}, want = {0};
    hd_buf_puts(&text, "q");
    hd_buf_puts(&want, "q");
    for (int i = 0; i < 100; i++)
        hd_buf_puts(&text, i % 2 ? "\u0323" : "\u0301");
    for (int i = 0; i < 100; i++)
        hd_buf_puts(&want, i < 50 ? "\u0323" : "\u0301");
    expect_nfc(t, text.data, want.data);
    hd_buf_fini(&text);
    hd_buf_fini(&want);
    hd_tokenizer_close(t);
}

static void normalised_added(void)
{
    const hd_tok_parts p = {.normalizer = NFC_JSON,
                            .added = ADDED(300, "<e\u0301>", ",\"normalized\":true") "," ADDED(
                                301, "<r\u0301>", ",\"normalized\":false")};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    expect_ids(t, "<\u00e9>", HD_TOK_SPECIAL, "300");
    expect_ids(t, "<e\u0301>", HD_TOK_SPECIAL, "300");
    expect_ids(t, "<r\u0301>", HD_TOK_SPECIAL, "301");
    expect_ids(t, "<\u0155>", HD_TOK_SPECIAL, "60 197 149 62");
    // Trust survives composition: here a user's mark makes the letter untrusted.
    expect_prompt(t, "e\u0301\u27e8<e\u0301>\u27e9e\u0301", 0, "195 169 300 195 169");
    expect_prompt(t, "\u27e8<e\u27e9\u0301\u27e8>\u27e9", 0, "60 195 169 62");
    EXPECT_INT(hd_token_special(t, hd_slice_str("<e\u0301>")), 300);
    hd_tokenizer_close(t);
}

// ---- begin of text, roles, stops -----------------------------------------------------------

#define ROLES ADDED(300, "<b>", SPECIAL) "," ADDED(301, "<e>", SPECIAL)

static void begin_of_text(void)
{
    hd_tok_parts p = {.added = ROLES, .post = TEMPLATE("<b>")};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    EXPECT_INT(hd_tokenizer_facts(t)->bos, 300);
    EXPECT(hd_tokenizer_facts(t)->add_bos);
    expect_ids(t, "a", HD_TOK_BOS, "300 97");
    expect_ids(t, "", HD_TOK_BOS, "300");
    expect_ids(t, "<b>a", HD_TOK_BOS | HD_TOK_SPECIAL, "300 97"); // not twice
    expect_ids(t, "<b><b>", HD_TOK_BOS | HD_TOK_SPECIAL, "300 300");
    expect_ids(t, "<b>", HD_TOK_BOS, "300 60 98 62");
    hd_tokenizer_close(t);
    p.post = NULL;
    p.config = "{\"bos_token\":{\"content\":\"<b>\"},\"eos_token\":\"<e>\",\"pad_token\":null,"
               "\"add_bos_token\":true}";
    t = hd_tok_parts_open(&p);
    EXPECT_INT(hd_tokenizer_facts(t)->bos, 300);
    EXPECT_INT(hd_tokenizer_facts(t)->eos, 301);
    EXPECT_INT(hd_tokenizer_facts(t)->pad, -1);
    EXPECT(hd_tokenizer_facts(t)->add_bos);
    hd_tokenizer_close(t);
    p.config = "{\"bos_token\":null,\"add_bos_token\":true}";
    t = hd_tok_parts_open(&p);
    EXPECT_INT(hd_tokenizer_facts(t)->bos, -1);
    EXPECT(!hd_tokenizer_facts(t)->add_bos);
    expect_ids(t, "a", HD_TOK_BOS, "97");
    hd_tokenizer_close(t);
}

static void stops(void)
{
    hd_tok_parts p = {
        .added = ADDED(310, "<|im_end|>", ) "," ADDED(300, "</s>", ) "," ADDED(
            305, "<\uff5cend\u2581of\u2581sentence\uff5c>",
            SPECIAL) "," ADDED(302, "<\uff5cUser\uff5c>", ) "," ADDED(303, "<|fim|>", SPECIAL),
        .config = "{\"eos_token\":\"<|fim|>\"}"};
    size_t n;
    hd_tokenizer *t = hd_tok_parts_open(&p);
    const int32_t *v = hd_tokenizer_stops(t, &n);
    EXPECT_INT(n, 4); // </s> is not control, so it does not stop
    EXPECT_INT(v[0], 302);
    EXPECT_INT(v[1], 303);
    EXPECT_INT(v[2], 305);
    EXPECT_INT(v[3], 310);
    EXPECT(hd_token_is_special(t, 302)); // by its shape
    hd_tokenizer_close(t);
    p.added = ADDED(300, "</s>", SPECIAL) "," ADDED(302, "<\uff5cUser\uff5c>", );
    p.config = NULL;
    t = hd_tok_parts_open(&p);
    v = hd_tokenizer_stops(t, &n);
    EXPECT_INT(n, 1);
    EXPECT_INT(v[0], 300);
    EXPECT_INT(hd_tokenizer_facts(t)->eos, 300); // by its usual text
    hd_tokenizer_close(t);
}

// ---- SentencePiece-like tokenizer.json -----------------------------------------------------

static char *byte_tokens(int first)
{
    hd_buf b = {0};
    for (int i = 0; i < 256; i++)
        hd_buf_printf(&b, "%s\"<0x%02X>\":%d", i ? "," : "", i, first + i);
    return b.data;
}

#define CHARS_MODEL ",\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"fuse_unk\":true"
#define LLAMA_DECODER                                                                              \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":"          \
    "\"\u2581\"},"                                                                                 \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","      \
    "\"content\":\" \",\"start\":1,\"stop\":0}]}"

static void character_vocabulary(void)
{
    char *bytes = byte_tokens(0);
    hd_tok_parts p = {.vocab = bytes,
                      .entries =
                          ",\"<unk>\":256,\"<s>\":257,\"\u2581\":258,\"a\":259,\"\u2581a\":260,"
                          "\"b\":261,\"\u2581\u2581\":262",
                      .merges = "\"\u2581 a\",\"\u2581 \u2581\"",
                      .settings = CHARS_MODEL,
                      .pre = "null",
                      .normalizer = LLAMA_NORM,
                      .decoder = LLAMA_DECODER,
                      .added = ADDED(257, "<s>", SPECIAL)};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    EXPECT_STR(hd_tokenizer_facts(t)->kind, "spm");
    expect_ids(t, "a b", 0, "260 258 261");
    expect_ids(t, " a", 0, "258 260"); // a blank in front in any case; the better rank merges
    expect_ids(t, "a\u00e9", 0, "260 195 169");
    expect_ids(t, "<0x41>", 0, "258 60 48 120 52 49 62");  // text does not spell byte tokens
    expect_ids(t, "a<s>a", HD_TOK_SPECIAL, "260 257 260"); // each stretch has its blank
    hd_expect_text(t, (const int32_t[]){260, 258, 261}, 3, 0, "a b");
    hd_expect_text(t, (const int32_t[]){257, 260}, 2, 0, "<s> a");
    hd_expect_text(t, (const int32_t[]){257, 260, 260}, 3, HD_DETOK_SKIP_SPECIAL, "a a");
    hd_expect_text(t, (const int32_t[]){0xE4, 0xB8, 0xAD, 0xE4}, 4, 0, "\u4e2d\ufffd");
    hd_tokenizer_close(t);
    p.normalizer = NULL;
    p.decoder = "{\"type\":\"Metaspace\"}";
    p.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"first\","
            "\"split\":false}";
    t = hd_tok_parts_open(&p);
    expect_ids(t, " a", 0, "260"); // there is a blank already
    expect_ids(t, "a<s>a", HD_TOK_SPECIAL, "260 257 259");
    expect_ids(t, "   ", 0, "262 258");
    hd_tokenizer_close(t);
    p.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"always\"}";
    t = hd_tok_parts_open(&p);
    expect_ids(t, "a<s>a", HD_TOK_SPECIAL, "260 257 260");
    expect_ids(t, "   ", 0, "258 258 258"); // cut before every blank
    hd_tokenizer_close(t);
    p.pre = "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"never\"}";
    t = hd_tok_parts_open(&p);
    expect_ids(t, "a a", 0, "259 260");
    hd_tokenizer_close(t);
    hd_free(bytes);
}

// ---- decoding ------------------------------------------------------------------------------

static void streaming(void)
{
    static const char text[] = "a\u00e9\u4e2d\U0001f680 z";
    const hd_tok_parts p = {.added = ADDED(300, "<|x|>", SPECIAL)};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    hd_buf out = {0};
    hd_detok d;
    size_t most = 0;
    hd_detok_init(&d, t, 0);
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        hd_detok_push(&d, (unsigned char)text[i], &out);
        EXPECT(hd_utf8_is_valid(hd_buf_slice(&out)));
        if (i + 1 - out.len > most) most = i + 1 - out.len;
    }
    EXPECT_INT(most, 3);
    hd_detok_flush(&d, &out);
    EXPECT_STR(out.data, text);
    hd_buf_fini(&out);
    hd_expect_text(t, (const int32_t[]){0xF0, 0x9F, 300, 0x9A, 'a'}, 5, 0, "\ufffd<|x|>\ufffda");
    hd_expect_text(t, (const int32_t[]){0xE4, 300, 0xB8, 0xAD}, 4, HD_DETOK_SKIP_SPECIAL, "\u4e2d");
    hd_expect_text(t, (const int32_t[]){-1, 'a', 256, 299, 1000000, INT32_MAX, INT32_MIN}, 7, 0,
                   "a");
    EXPECT_INT(hd_token_bytes(t, 299).n, 0);
    EXPECT_INT(hd_token_bytes(t, -5).n, 0);
    EXPECT(hd_slice_eq_str(hd_token_bytes(t, 300), "<|x|>"));
    hd_tokenizer_close(t);
}

// Random bytes: id by id gives what decoding the whole gives, and that is lossy UTF-8.
static void streaming_equals_whole(void)
{
    hd_tokenizer *t = hd_tok_parts_open(&(hd_tok_parts){0});
    hd_rng r;
    hd_rng_seed(&r, 11);
    for (int round = 0; round < 3000; round++) {
        static const unsigned char lead[] = {0xC3, 0xE4, 0xED, 0xF0, 0xF4, 0xE0, 0xFF, 'a'};
        char text[24];
        int32_t ids[24];
        size_t n = 1 + hd_rng_below(&r, 24);
        hd_buf whole = {0}, streamed = {0}, lossy = {0};
        hd_detok d;
        hd_detok_init(&d, t, 0);
        for (size_t i = 0; i < n; i++) {
            uint32_t b =
                hd_rng_below(&r, 3) ? 0x80 + hd_rng_below(&r, 64) : lead[hd_rng_below(&r, 8)];
            text[i] = (char)b;
            ids[i] = (int32_t)b;
            hd_detok_push(&d, ids[i], &streamed);
        }
        hd_detok_flush(&d, &streamed);
        EXPECT_INT(hd_detokenize(t, ids, n, 0, &whole, NULL), HD_OK);
        hd_utf8_append_lossy(&lossy, hd_slice_of(text, n));
        EXPECT(hd_slice_eq(hd_buf_slice(&whole), hd_buf_slice(&streamed)));
        EXPECT(hd_slice_eq(hd_buf_slice(&whole), hd_buf_slice(&lossy)));
        hd_buf_fini(&whole);
        hd_buf_fini(&streamed);
        hd_buf_fini(&lossy);
    }
    hd_tokenizer_close(t);
}

// ---- threads -------------------------------------------------------------------------------

static void *encode_often(void *arg)
{
    const hd_tokenizer *t = arg;
    char text[500];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "ab\xCC\x81 xxy<e>"[i % 11];
    for (int round = 0; round < 50; round++) {
        hd_ids ids = {0};
        hd_buf back = {0};
        EXPECT_INT(hd_tokenize(t, hd_slice_of(text, sizeof(text)), HD_TOK_SPECIAL, &ids, NULL),
                   HD_OK);
        EXPECT_INT(hd_detokenize(t, ids.v, ids.n, 0, &back, NULL), HD_OK);
        hd_ids_fini(&ids);
        hd_buf_fini(&back);
    }
    return NULL;
}

static void shared_by_threads(void)
{
    const hd_tok_parts p = {.normalizer = NFC_JSON,
                            .added = ADDED(300, "<e>", SPECIAL),
                            .pre =
                                SPLIT("\"pattern\":{\"Regex\":\"x+y\"},\"behavior\":\"Isolated\"")};
    hd_tokenizer *t = hd_tok_parts_open(&p);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        EXPECT_INT(pthread_create(&thread[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    hd_tokenizer_close(t);
}

// ---- memory --------------------------------------------------------------------------------

// Opening, encoding and decoding with the nth allocation failing: always an error, never a leak.
static void out_of_memory(void)
{
    const hd_tok_parts p = {.normalizer = NFC_JSON,
                            .added = ROLES "," ADDED(302, "<e\u0301>", ),
                            .entries = ",\"ab\":303",
                            .merges = "\"a b\"",
                            .post = TEMPLATE("<b>"),
                            .pre =
                                SPLIT("\"pattern\":{\"Regex\":\"x+y\"},\"behavior\":\"Isolated\"")};
    char text[400];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = "ab\xCC\x81 xxy\xFF<e>"[i % 12];
    hd_json *json = NULL, *config = NULL;
    EXPECT_INT(hd_tok_parts_parse(&p, &json, &config, NULL), HD_OK);
    uint64_t seen = UINT64_MAX, n = 0;
    for (; seen >= n && n < 2000; n++) {
        hd_tokenizer *t = NULL;
        hd_ids ids = {0};
        hd_buf back = {0};
        hd_prompt prompt = {0};
        hd_mem_fail_at((int64_t)n + 1, false);
        hd_err err = {0};
        hd_status st = hd_tokenizer_from_json(json, config, &t, &err);
        if (st == HD_OK) {
            hd_prompt_trusted(&prompt, hd_slice_str("<b>"));
            hd_prompt_user(&prompt, hd_slice_of(text, sizeof(text)));
            hd_prompt_trusted(&prompt, hd_slice_str("<e>"));
            st = hd_tokenize_prompt(t, &prompt, HD_TOK_BOS, &ids, NULL);
            EXPECT(st == HD_OK || ids.n == 0);
        }
        if (st == HD_OK) st = hd_detokenize(t, ids.v, ids.n, 0, &back, NULL);
        seen = hd_mem_fail_at(0, false);
        hd_prompt_fini(&prompt);
        hd_ids_fini(&ids);
        hd_buf_fini(&back);
        hd_tokenizer_close(t);
        if (st != HD_OK && st != HD_E_NOMEM)
            hd_test_fail(__FILE__, __LINE__, "allocation %d: %s (%s)", (int)n + 1,
                         hd_status_name(st), err.msg);
    }
    EXPECT(n > 20 && n < 2000);
    hd_json_free(json);
    hd_json_free(config);
}

HD_TEST_MAIN("tokenizer", {"merge_order", merge_order},
             {"merge_against_naive", merge_against_naive}, {"whole_pieces", whole_pieces},
             {"missing_bytes", missing_bytes}, {"ill_formed_text", ill_formed_text},
             {"trust", trust}, {"trust_and_repair", trust_and_repair}, {"stripping", stripping},
             {"reserved_letters", reserved_letters}, {"no_forging", no_forging},
             {"added_id_is_vocabulary_id", added_id_is_vocabulary_id}, {"composing", composing},
             {"long_marks", long_marks}, {"normalised_added", normalised_added},
             {"begin_of_text", begin_of_text}, {"stops", stops},
             {"character_vocabulary", character_vocabulary}, {"streaming", streaming},
             {"streaming_equals_whole", streaming_equals_whole},
             {"shared_by_threads", shared_by_threads}, {"out_of_memory", out_of_memory})
