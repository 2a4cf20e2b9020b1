// The small components of a tokenizer.json, read into a tokenizer (hf_parts.c).
#ifndef HADAL_MODELS_TOKENIZER_HF_PARTS_H
#define HADAL_MODELS_TOKENIZER_HF_PARTS_H

#include "kernels/base/json.h"
#include "models/tokenizer/tok_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_hf_parts { // what the components say about the rest of the file
    bool byte_level;         // pieces are bytes in the byte-level alphabet
    hd_slice bos;            // the special token that texts are to begin with, or empty
} hd_hf_parts;

// normalizer, pre_tokenizer, post_processor and decoder. Unknown types and unusual settings are
// HD_E_UNSUPPORTED with the component's name.
hd_status hd_hf_parts_read(const hd_json *root, hd_tokenizer *t, hd_hf_parts *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
