// The table of settings: private to config.c and config_help.c.
#ifndef HADAL_SERVER_CONFIG_TABLE_H
#define HADAL_SERVER_CONFIG_TABLE_H

#include "server/config.h"

typedef enum hd_opt_type {
    HD_OPT_STR,
    HD_OPT_INT,  // int64_t
    HD_OPT_SIZE, // int64_t bytes; K, M, G suffixes (powers of 1024)
    HD_OPT_F64,
    HD_OPT_BOOL,   // a bare flag means true; --flag=false switches off
    HD_OPT_ENUM,   // int64_t; index into choices
    HD_OPT_SECRET, // like HD_OPT_STR, never printed
} hd_opt_type;

typedef struct hd_opt {
    const char *name; // "max-queue": flag --max-queue
    const char *env;  // blank-separated variables, first one set wins; NULL: flag only
    hd_opt_type type;
    size_t offset; // of the member of hd_config
    double min, max;
    const char *fallback; // default as text
    const char *choices;  // HD_OPT_ENUM: "a|b|c"
    unsigned commands;    // HD_CMD_* that know it
    const char *arg;      // placeholder in --help
    const char *help;
} hd_opt;

extern const hd_opt hd_opts[];
extern const int hd_n_opts;

typedef struct hd_cmd_doc {
    unsigned command;
    const char *name, *usage, *summary;
    const char *text; // examples and contract, printed after the settings
} hd_cmd_doc;

extern const hd_cmd_doc hd_cmd_docs[];
extern const int hd_n_cmd_docs;
const hd_cmd_doc *hd_cmd_doc_of(unsigned command);

// Sets row number `row` from text that came from `where` ("--port", "HADAL_PORT"), which messages
// name; where[0..n) is borrowed as the row's origin.
hd_status hd_opt_set(hd_config *c, int row, hd_slice where, const char *text, hd_err *err);
int hd_opt_row(const char *name); // index of a setting, -1: none

// Text of a member's present value.
void hd_opt_text(const hd_opt *o, const hd_config *c, hd_buf *out);

#endif
