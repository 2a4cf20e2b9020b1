// tokenizer.json files that must be refused, and what the message has to say.
#include "tests/harness/test.h"
#include "tests/unit/tok_parts.h"

// ---- refused files -------------------------------------------------------------------------

static void expect_refused(const hd_tok_parts *p, hd_status want, const char *part)
{
    hd_tokenizer *t = NULL;
    hd_err err = {0};
    hd_status st = hd_tok_parts_try(p, &t, &err);
    if (st != want)
        hd_test_fail(__FILE__, __LINE__, "got %s (%s), want %s (%s)", hd_status_name(st), err.msg,
                     hd_status_name(want), part);
    EXPECT(!t);
    EXPECT_CONTAINS(err.msg, part);
}

static void refused_models(void)
{
    expect_refused(&(hd_tok_parts){.settings = ",\"dropout\":0.1"}, HD_E_UNSUPPORTED, "dropout");
    expect_refused(&(hd_tok_parts){.settings = ",\"end_of_word_suffix\":\"</w>\""},
                   HD_E_UNSUPPORTED, "end_of_word_suffix");
    expect_refused(&(hd_tok_parts){.settings = ",\"continuing_subword_prefix\":\"##\""},
                   HD_E_UNSUPPORTED, "continuing_subword_prefix");
    expect_refused(&(hd_tok_parts){.settings = ",\"byte_fallback\":true"}, HD_E_UNSUPPORTED,
                   "both");
    expect_refused(&(hd_tok_parts){.pre = "null"}, HD_E_UNSUPPORTED, "neither");
    expect_refused(&(hd_tok_parts){.pre = "null", .settings = ",\"byte_fallback\":true"},
                   HD_E_CORRUPT, "256 of the 256 byte tokens");
    expect_refused(&(hd_tok_parts){.settings = ",\"unk_token\":\"<u>\""}, HD_E_CORRUPT,
                   "unk_token");
    expect_refused(&(hd_tok_parts){.settings = ",\"type\":\"Unigram\""}, HD_E_UNSUPPORTED,
                   "Unigram");
    expect_refused(&(hd_tok_parts){.settings = ",\"ignore_merges\":1"}, HD_E_INVAL,
                   "ignore_merges");
    expect_refused(&(hd_tok_parts){.entries = ",\"xx\":7"}, HD_E_CORRUPT, "two tokens have id 7");
    expect_refused(&(hd_tok_parts){.entries = ",\"a\":400"}, HD_E_CORRUPT, "occurs twice");
    expect_refused(&(hd_tok_parts){.entries = ",\"xx\":-1"}, HD_E_INVAL, "expected an id");
    expect_refused(&(hd_tok_parts){.entries = ",\"xx\":4194304"}, HD_E_INVAL, "4194303");
    expect_refused(&(hd_tok_parts){.entries = ",\"xx\":1.5"}, HD_E_INVAL, "expected an id");
    expect_refused(&(hd_tok_parts){.entries = ",\"xx\":\"7\""}, HD_E_INVAL, "expected an id");
    expect_refused(&(hd_tok_parts){.vocab = ""}, HD_E_CORRUPT, "no entries");
}

static void refused_merges(void)
{
    static const char ab[] = ",\"ab\":300";
    expect_refused(&(hd_tok_parts){.merges = "\"a b\""}, HD_E_CORRUPT, "merge 0: 'a' and 'b'");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "\"a b\",\"a b\""}, HD_E_CORRUPT,
                   "repeats");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "\"ab\""}, HD_E_CORRUPT, "one blank");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "\"a b c\""}, HD_E_CORRUPT,
                   "one blank");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "[\"a\"]"}, HD_E_CORRUPT, "two texts");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "[\"a\",\"b\",\"c\"]"}, HD_E_CORRUPT,
                   "two texts");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "7"}, HD_E_CORRUPT, "two texts");
    expect_refused(&(hd_tok_parts){.entries = ab, .merges = "[\"zz\",\"b\"]"}, HD_E_CORRUPT, "zz");
}

static void refused_components(void)
{
    expect_refused(&(hd_tok_parts){.normalizer = "{\"type\":\"NFKC\"}"}, HD_E_UNSUPPORTED,
                   "normalizer: type 'NFKC'");
    expect_refused(&(hd_tok_parts){.normalizer = "[]"}, HD_E_INVAL, "an array, expected an object");
    expect_refused(&(hd_tok_parts){.normalizer = "{\"type\":\"Sequence\"}"}, HD_E_INVAL,
                   "normalizers");
    expect_refused(&(hd_tok_parts){.normalizer =
                                       "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" \"},"
                                       "\"content\":\"x\"}"},
                   HD_E_UNSUPPORTED, "String");
    expect_refused(&(hd_tok_parts){.normalizer = LLAMA_NORM}, HD_E_UNSUPPORTED, "U+2581");
    expect_refused(&(hd_tok_parts){.pre = "{}"}, HD_E_NOTFOUND, "type");
    expect_refused(&(hd_tok_parts){.pre = "{\"type\":\"Whitespace\"}"}, HD_E_UNSUPPORTED,
                   "Whitespace");
    expect_refused(&(hd_tok_parts){.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"},
                   HD_E_UNSUPPORTED, "add_prefix_space");
    expect_refused(&(hd_tok_parts){.pre = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL
                                          "," BYTE_LEVEL "]}"},
                   HD_E_UNSUPPORTED, "follow ByteLevel");
    expect_refused(
        &(hd_tok_parts){.pre = SPLIT("\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\"")},
        HD_E_UNSUPPORTED, "Removed");
    expect_refused(
        &(hd_tok_parts){.pre = SPLIT("\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Isolated\","
                                     "\"invert\":true")},
        HD_E_UNSUPPORTED, "invert");
    expect_refused(
        &(hd_tok_parts){.pre = SPLIT("\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"")},
        HD_E_INVAL, "unclosed");
    expect_refused(&(hd_tok_parts){.pre = SPLIT("\"pattern\":{},\"behavior\":\"Isolated\"")},
                   HD_E_NOTFOUND, "Regex");
    expect_refused(&(hd_tok_parts){.post = "{\"type\":\"BertProcessing\"}"}, HD_E_UNSUPPORTED,
                   "post_processor");
    expect_refused(&(hd_tok_parts){.post = TEMPLATE("<b>")}, HD_E_CORRUPT, "not in the vocabulary");
    expect_refused(&(hd_tok_parts){.decoder = "{\"type\":\"WordPiece\"}"}, HD_E_UNSUPPORTED,
                   "decoder: type 'WordPiece'");
}

static void refused_added(void)
{
    expect_refused(&(hd_tok_parts){.added = "7"}, HD_E_NOTFOUND, "id");
    expect_refused(&(hd_tok_parts){.added = "{\"id\":300}"}, HD_E_NOTFOUND, "content");
    expect_refused(&(hd_tok_parts){.added = ADDED(300, "", )}, HD_E_INVAL, "0 bytes");
    expect_refused(&(hd_tok_parts){.added = ADDED(-1, "x", )}, HD_E_INVAL, "id");
    expect_refused(&(hd_tok_parts){.added = ADDED(99999999, "xx", )}, HD_E_INVAL, "id");
    expect_refused(&(hd_tok_parts){.added = ADDED(97, "xx", )}, HD_E_CORRUPT, "added_tokens[0]");
    expect_refused(&(hd_tok_parts){.added = ADDED(300, "xx", ) "," ADDED(300, "yy", )},
                   HD_E_CORRUPT, "added_tokens[1]");
    expect_refused(&(hd_tok_parts){.added = ADDED(300, "xx", ",\"single_word\":true")},
                   HD_E_UNSUPPORTED, "single_word");
    expect_refused(&(hd_tok_parts){.config = "{\"add_bos_token\":\"yes\"}"}, HD_E_INVAL,
                   "add_bos_token");
}

HD_TEST_MAIN("tokenizer_bad", {"models", refused_models}, {"merges", refused_merges},
             {"components", refused_components}, {"added", refused_added})
