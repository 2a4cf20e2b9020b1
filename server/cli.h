// Small things all subcommands share.
#ifndef HADAL_SERVER_CLI_H
#define HADAL_SERVER_CLI_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"
#include "server/config.h"

#include <stdbool.h>
#include <stdio.h>

// "hadal: message" on standard error; returns the exit code.
int hd_cli_fail(const hd_err *err);
// Loads settings. True: go on; false: *code is the exit code (help was printed, or an error).
bool hd_cli_settings(hd_config *c, unsigned command, int argc, char **argv, int *code);
// One line of `in` without its newline into line (cleared first). False at the end of input, and
// when reading failed: hd_cli_line_end tells which.
bool hd_cli_line(FILE *in, hd_buf *line);
hd_status hd_cli_line_end(FILE *in, const hd_buf *line, const char *name, hd_err *err);
// A progress line on standard error while a model loads: bytes, percent, rate; silent when standard
// error is not a terminal. Give hd_cli_progress and a zeroed hd_cli_meter to hd_engine_cfg.
typedef struct hd_cli_meter {
    int64_t start_ns;
    bool shown;
} hd_cli_meter;
void hd_cli_progress(void *meter, hd_load_phase phase, uint64_t done, uint64_t total);
void hd_cli_progress_end(hd_cli_meter *meter);
// Flushes standard output; fails when somebody closed it or the disk is full.
hd_status hd_cli_flush(hd_err *err);

#endif
