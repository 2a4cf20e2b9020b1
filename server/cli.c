// What subcommands share: settings, lines, progress, exit codes.
#include "server/cli.h"

#include "kernels/base/clock.h"
#include "server/schema.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int hd_cli_fail(const hd_err *err)
{
    fflush(stdout);
    fprintf(stderr, "hadal: %s\n", err->msg);
    return hd_exit_code_of(err->code);
}

bool hd_cli_settings(hd_config *c, unsigned command, int argc, char **argv, int *code)
{
    hd_err err = {0};
    bool stop;
    *code = 0;
    if (hd_config_load(c, command, argc, argv, &stop, &err) != HD_OK) {
        *code = hd_cli_fail(&err);
        return false;
    }
    return !stop;
}

bool hd_cli_line(FILE *in, hd_buf *line)
{
    hd_buf_clear(line);
    int c;
    while ((c = getc_unlocked(in)) != EOF && c != '\n')
        hd_buf_putc(line, (char)c);
    return (c == '\n' || line->len > 0) && !line->failed;
}

void hd_cli_progress(void *ctx, hd_load_phase phase, uint64_t done, uint64_t total)
{
    hd_cli_meter *m = ctx;
    int64_t now = hd_mono_ns();
    if (m->start_ns == 0) m->start_ns = now;
    if (phase != HD_LOAD_WEIGHTS || total == 0 || !isatty(STDERR_FILENO)) return;
    double s = (double)(now - m->start_ns) / 1e9;
    m->shown = true;
    fprintf(stderr, "\rloading %.1f of %.1f MB, %3.0f %%, %.0f MB/s  ", (double)done / 1e6,
            (double)total / 1e6, 100.0 * (double)done / (double)total,
            s > 0 ? (double)done / 1e6 / s : 0.0);
}

void hd_cli_progress_end(hd_cli_meter *m)
{
    if (m->shown) fputs("\r\033[K", stderr);
    m->shown = false;
}

bool hd_cli_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    if (errno != EPIPE) fprintf(stderr, "hadal: standard output: %s\n", strerror(errno));
    return false;
}
