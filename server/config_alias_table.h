// The table of drop-in variables: private to config_alias*.c.
#ifndef HADAL_SERVER_CONFIG_ALIAS_TABLE_H
#define HADAL_SERVER_CONFIG_ALIAS_TABLE_H

#include <stddef.h>

typedef enum hd_alias_how {
    HD_AS_VALUE,     // the setting's own spelling; numbers out of bounds are moved into them
    HD_AS_MODEL,     // a path, or a name of a model hub
    HD_AS_LEVEL,     // Python's numbers or names of log levels
    HD_AS_VERBOSE,   // true: log level debug
    HD_AS_JSON_LOG,  // true: JSON lines
    HD_AS_MEGABYTES, // raises the setting to so many MiB
    HD_AS_AT_LEAST,  // raises the setting
    HD_AS_AT_MOST,   // bounds the number of threads
    HD_AS_STRATEGY,  // MULTI_RECORD or SINGLE_RECORD
    HD_AS_TGI_PORT,  // counts only where the environment is TGI's
    HD_AS_IGNORED,   // understood; nothing here depends on it
    HD_AS_FIXED,     // understood; the model's files or the machine decide that
    HD_AS_LACKING,   // true, or any other value: asks for what this version lacks
} hd_alias_how;

typedef struct hd_alias {
    const char *name;
    const char *option; // name of the setting, or NULL
    hd_alias_how how;
} hd_alias;

extern const hd_alias hd_aliases[]; // of those for one setting the first one set wins
extern const size_t hd_n_aliases;

#endif
