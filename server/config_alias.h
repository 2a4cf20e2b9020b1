// Drop-in variables: the environment of other model servers' images, and what SageMaker's SDKs set,
// read as settings of ours. A user replaces the image and keeps the environment.
//
// Nothing here overrides a flag or a HADAL_* variable. Names that are understood but not needed,
// that ask for what this version lacks, or that are unknown under a known prefix, are reported in
// one log line each; everything else in the environment is ignored without a word.
#ifndef HADAL_SERVER_CONFIG_ALIAS_H
#define HADAL_SERVER_CONFIG_ALIAS_H

#include "server/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_alias_text { // what settings borrow from besides argv and the environment
    hd_buf properties;         // serving.properties of the model's folder
    hd_buf channel;            // path of the additional source that was named
    hd_buf model;              // path of a model found below the folder that was named
} hd_alias_text;

// Reads the environment and decides the model's path and the profile of "inputs". `standard` is
// where the platform puts a model ("/opt/ml/model").
hd_status hd_alias_apply(hd_config *c, const char *standard, hd_alias_text *text, hd_err *err);
void hd_alias_text_fini(hd_alias_text *text);

// serving.properties ("option.max_model_len=4096") for settings that nothing else has set. text is
// cut into strings in place. *known counts the keys with effect.
hd_status hd_alias_properties(hd_config *c, hd_buf *text, int *known, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
