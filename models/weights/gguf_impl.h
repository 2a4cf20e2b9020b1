// The inside of hd_gguf: one file's bytes being read, its metadata, its tensors as a source.
// Private to the GGUF reader and to models/model_src.c (names of split sets).
#ifndef HADAL_MODELS_WEIGHTS_GGUF_IMPL_H
#define HADAL_MODELS_WEIGHTS_GGUF_IMPL_H

#include "models/weights/gguf.h"
#include "models/weights/source_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

// What a header may ask for before anything is allocated.
enum {
    HD_GGUF_MAX_KEYS = 65536,
    HD_GGUF_MAX_TENSORS = 65536, // of all parts of a split set
    HD_GGUF_MAX_KEY_BYTES = 65535,
    HD_GGUF_MAX_STRING = 64 << 20,
    HD_GGUF_MAX_TOKEN = 64 << 10, // one entry of tokenizer.ggml.tokens
    HD_GGUF_MAX_ELEMS = 16 << 20, // of one array
    HD_GGUF_MAX_HEADER = 256 << 20,
    HD_GGUF_MAX_NAME = 63, // of a tensor: GGML keeps it in 64 bytes
    HD_GGUF_MAX_DIMS = 4,
    HD_GGUF_MIN_ALIGN = 8,
    HD_GGUF_MAX_ALIGN = 65536,
    HD_GGUF_MAX_PARTS = 65535,
};

typedef struct hd_gguf_reader { // invariant: at <= n
    hd_weight_file *file;
    const uint8_t *p; // its bytes
    size_t n, at;
} hd_gguf_reader;

// Whatever is read at `at` must have been needed: the rest of the file may not be there.
hd_status hd_gguf_need(const hd_gguf_reader *r, uint64_t bytes, hd_err *err);
hd_status hd_gguf_u32(hd_gguf_reader *r, uint32_t *out, hd_err *err);
hd_status hd_gguf_u64(hd_gguf_reader *r, uint64_t *out, hd_err *err);
// A length and so many bytes, at most max; borrowed from the file.
hd_status hd_gguf_text(hd_gguf_reader *r, uint64_t max, hd_slice *out, hd_err *err);

typedef struct hd_gguf_kv {
    hd_slice key;
    hd_gguf_type type;
    union {
        uint64_t u; // unsigned types and bool
        int64_t i;  // signed types
        double f;
        hd_slice str;
        hd_gguf_array arr;
    } v;
    hd_slice *texts; // owns v.arr.str
} hd_gguf_kv;

typedef struct hd_gguf_meta { // a zeroed one is empty
    hd_gguf_kv *kv;
    size_t n;
    hd_map by_key; // key -> index in kv
} hd_gguf_meta;

// Reads n_kv pairs and checks them one by one. m holds what was read also on failure.
hd_status hd_gguf_meta_read(hd_gguf_reader *r, uint64_t n_kv, hd_gguf_meta *m, hd_err *err);
// Checks that concern several keys: types and lengths of the vocabulary's arrays.
hd_status hd_gguf_meta_check(const hd_gguf_meta *m, hd_err *err);
void hd_gguf_meta_fini(hd_gguf_meta *m);
const hd_gguf_kv *hd_gguf_meta_find(const hd_gguf_meta *m, const char *key); // NULL when absent
// As hd_gguf_get_i64.
hd_status hd_gguf_meta_i64(const hd_gguf_meta *m, const char *key, int64_t min, int64_t max,
                           int64_t *out, hd_err *err);
const char *hd_gguf_type_name(uint32_t type); // "u32"; "unknown" beyond the list

struct hd_gguf {
    hd_gguf_meta meta; // of the first file
    hd_source src;     // files and tensors of all parts
};

// Takes "name-00002-of-00007.gguf" apart: the bytes in front of "-00002", 2 and 7. False when the
// name is not of that form.
bool hd_gguf_split_name(hd_slice file, size_t *n_stem, uint32_t *no, uint32_t *count);

#ifdef __cplusplus
}
#endif

#endif
