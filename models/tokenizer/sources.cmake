target_sources(hadal_models PRIVATE
    tokenizer/added.c
    tokenizer/bpe.c
    tokenizer/detok.c
    tokenizer/encode.c
    tokenizer/gguf_vocab.c
    tokenizer/hf_json.c
    tokenizer/hf_parts.c
    tokenizer/merge.c
    tokenizer/nfc.c
    tokenizer/pretok.c
    tokenizer/prompt.c
    tokenizer/regex.c
    tokenizer/scan.c
    tokenizer/spm.c
    tokenizer/tokenizer.c
    tokenizer/unicode_tables.c)
target_link_libraries(hadal_models PRIVATE PkgConfig::PCRE2 PkgConfig::UTF8PROC)
