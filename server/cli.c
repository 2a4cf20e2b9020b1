// What subcommands share: settings, lines, progress, exit codes.
#include "server/cli.h"

#include "kernels/base/clock.h"
#include "server/schema.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

// Messages quote files and arguments: control characters in them are spelled, so that one line
// stays one line and a terminal takes no orders.
int hd_cli_fail(const hd_err *err)
{
    fflush(stdout);
    fputs("hadal: ", stderr);
    for (const char *p = err->msg; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            fprintf(stderr, "\\x%02x", (unsigned)*p);
        else
            fputc(*p, stderr);
    }
    fputc('\n', stderr);
    return hd_exit_code_of(err->code);
}

// A word that is neither a setting nor its value. Platforms append "serve" to the command line.
static bool word_has_place(const hd_config *c, unsigned command, int i)
{
    switch (command) {
    case HD_CMD_RUN:
        return !c->prompt;
    case HD_CMD_INSPECT:
        return !c->model && i == 0;
    case HD_CMD_SERVE:
        return strcmp(c->rest[i], "serve") == 0;
    default:
        return false;
    }
}

bool hd_cli_settings(hd_config *c, unsigned command, int argc, char **argv, int *code)
{
    hd_err err = {0};
    bool stop;
    *code = 0;
    hd_status st = hd_config_load(c, command, argc, argv, &stop, &err);
    for (int i = 0; st == HD_OK && !stop && i < c->n_rest; i++)
        if (!word_has_place(c, command, i))
            st = HD_FAIL(&err, HD_E_INVAL, "unexpected word '%.60s'; settings are spelt --name",
                         c->rest[i]);
    if (st != HD_OK) *code = hd_cli_fail(&err);
    return st == HD_OK && !stop;
}

bool hd_cli_line(FILE *in, hd_buf *line)
{
    hd_buf_clear(line);
    int c;
    while ((c = getc_unlocked(in)) != EOF && c != '\n')
        hd_buf_putc(line, (char)c);
    if (line->len > 0 && line->data[line->len - 1] == '\r') line->data[--line->len] = 0;
    return (c == '\n' || line->len > 0) && !line->failed && !ferror(in);
}

hd_status hd_cli_line_end(FILE *in, const hd_buf *line, const char *name, hd_err *err)
{
    HD_CHECK(!line->failed, err, HD_E_NOMEM, "%s: no memory for a line", name);
    HD_CHECK(!ferror(in), err, HD_E_IO, "%s: %s", name, strerror(errno));
    return HD_OK;
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

hd_status hd_cli_flush(hd_err *err)
{
    HD_CHECK(fflush(stdout) == 0 && !ferror(stdout), err, HD_E_IO, "standard output: %s",
             strerror(errno));
    return HD_OK;
}
