// Printing settings: --help, the start-up line, JSON. Reads the table; knows no setting by name.
#include "kernels/base/json.h"
#include "server/config_table.h"

#include <string.h>

const hd_cmd_doc *hd_cmd_doc_of(unsigned command)
{
    for (int i = 0; i < hd_n_cmd_docs; i++)
        if (hd_cmd_docs[i].command == command) return &hd_cmd_docs[i];
    return &hd_cmd_docs[0];
}

static void put_choice(hd_buf *out, const char *choices, int64_t index)
{
    const char *p = choices;
    while (index-- > 0)
        p = strchr(p, '|') + 1;
    hd_buf_put(out, p, strcspn(p, "|"));
}

void hd_opt_text(const hd_opt *o, const hd_config *c, hd_buf *out)
{
    const void *p = (const char *)c + o->offset;
    switch (o->type) {
    case HD_OPT_STR: {
        const char *s = *(const char *const *)p;
        hd_buf_puts(out, s ? s : "");
        break;
    }
    case HD_OPT_SECRET:
        if (*(const char *const *)p) hd_buf_puts(out, "***");
        break;
    case HD_OPT_BOOL:
        hd_buf_puts(out, *(const bool *)p ? "true" : "false");
        break;
    case HD_OPT_ENUM:
        put_choice(out, o->choices, *(const int64_t *)p);
        break;
    case HD_OPT_INT:
    case HD_OPT_SIZE:
        hd_buf_printf(out, "%lld", (long long)*(const int64_t *)p);
        break;
    case HD_OPT_F64:
        hd_buf_printf(out, "%g", *(const double *)p);
        break;
    }
}

enum { HELP_COLUMN = 36 };

// One setting: flag, meaning and default; a flag too wide for its column stands on its own line.
static void help_row(FILE *to, const hd_opt *o)
{
    char left[96];
    const char *arg = o->type == HD_OPT_ENUM ? o->choices : o->arg;
    int width = snprintf(left, sizeof(left), "  --%s%s%s", o->name, arg ? " " : "", arg ? arg : "");
    if (width >= HELP_COLUMN)
        fprintf(to, "%s\n%-*s%s", left, HELP_COLUMN, "", o->help);
    else
        fprintf(to, "%-*s%s", HELP_COLUMN, left, o->help);
    if (o->fallback && o->type != HD_OPT_BOOL && !strstr(o->help, "default"))
        fprintf(to, " [%s]", o->fallback);
    fputc('\n', to);
    if (o->env) fprintf(to, "%-*s%s\n", HELP_COLUMN, "", o->env);
}

void hd_config_help(FILE *to, unsigned command)
{
    const hd_cmd_doc *d = hd_cmd_doc_of(command);
    fprintf(to, "usage: %s\n\n%s\n\n", d->usage, d->summary);
    fprintf(to, "Settings (a flag wins over its variable, a variable over [the default]):\n");
    for (int i = 0; i < hd_n_opts; i++)
        if (hd_opts[i].commands & command) help_row(to, &hd_opts[i]);
    fprintf(to, "\n%s", d->text);
}

// The flag or variable that set a row.
static hd_slice origin_of(const hd_config *c, int row)
{
    return c->origin[row].n ? c->origin[row] : hd_slice_str("default");
}

void hd_config_log(const hd_config *c, unsigned command)
{
    hd_log_field f[HD_MAX_OPTS] = {{0}};
    hd_buf text[HD_MAX_OPTS] = {{0}};
    int n = 0;
    for (int i = 0; i < hd_n_opts; i++) {
        if (!(hd_opts[i].commands & command)) continue;
        hd_opt_text(&hd_opts[i], c, &text[n]);
        hd_buf_puts(&text[n], text[n].len ? " (" : "(");
        hd_buf_put_slice(&text[n], origin_of(c, i));
        hd_buf_putc(&text[n], ')');
        f[n] = hd_f_slice(hd_opts[i].name, hd_buf_slice(&text[n]));
        n++;
    }
    hd_log_write(HD_LOG_INFO, "config", "settings", f, n);
    while (n > 0)
        hd_buf_fini(&text[--n]);
}

void hd_config_json(const hd_config *c, unsigned command, hd_buf *out)
{
    hd_buf text = {0};
    const char *sep = "{";
    for (int i = 0; i < hd_n_opts; i++) {
        if (!(hd_opts[i].commands & command)) continue;
        hd_buf_puts(out, sep);
        hd_json_put_str(out, hd_slice_str(hd_opts[i].name));
        hd_buf_puts(out, ":{\"value\":");
        hd_buf_clear(&text);
        hd_opt_text(&hd_opts[i], c, &text);
        hd_json_put_str(out, hd_buf_slice(&text));
        hd_buf_puts(out, ",\"from\":");
        hd_json_put_str(out, origin_of(c, i));
        hd_buf_putc(out, '}');
        sep = ",";
    }
    hd_buf_puts(out, "}\n");
    hd_buf_fini(&text);
}
