// Where a model's files are: a folder in Hugging Face layout or a GGUF file.
//
// Opening reads the small files (config.json, tokenizer_config.json, generation_config.json, or
// GGUF metadata) and nothing else; weights and tokenizer are opened from it by their own modules. A
// folder that holds exactly one GGUF (or part 1 of one split set) and no config.json counts as that
// file. `access` says how the weights' files are come by, now and later. A tokenizer alone is a
// source too, for what needs no model. Immutable after opening: any thread.
#ifndef HADAL_MODELS_MODEL_SRC_H
#define HADAL_MODELS_MODEL_SRC_H

#include "kernels/base/json.h"
#include "kernels/base/status.h"
#include "models/weights/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_model_src {
    char *path;                 // as given, or the GGUF file found inside the folder
    char *name;                 // last path component without extension: default served name
    hd_file_access access;      // to the weights
    hd_gguf *gguf;              // NULL for folders
    hd_json *config;            // config.json; NULL for GGUF or a tokenizer alone
    hd_json *tokenizer_config;  // may be NULL
    hd_json *generation_config; // may be NULL
} hd_model_src;

hd_status hd_model_src_open(const char *path, hd_file_access access, hd_model_src **out,
                            hd_err *err);
void hd_model_src_close(hd_model_src *s);

// The model's own chat template text: chat_template.jinja, tokenizer_config.json's chat_template
// (a string, or the entry named "default" of a list), or GGUF's tokenizer.chat_template.
// HD_E_NOTFOUND without a message when there is none. Appends to out.
hd_status hd_model_src_chat_template(const hd_model_src *s, hd_buf *out, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
