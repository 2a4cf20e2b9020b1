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

// Reads the environment and decides the model's path and the profile of "inputs". `standard` is
// where the platform puts a model ("/opt/ml/model"). properties is filled with serving.properties
// of the model's folder where there is one; settings borrow from it.
hd_status hd_alias_apply(hd_config *c, const char *standard, hd_buf *properties, hd_err *err);

// serving.properties ("option.max_model_len=4096") for settings that nothing else has set. text is
// cut into strings in place. *known counts the keys with effect.
hd_status hd_alias_properties(hd_config *c, hd_buf *text, int *known, hd_err *err);

#ifdef __cplusplus
}
#endif

#endif
