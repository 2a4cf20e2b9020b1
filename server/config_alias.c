// Reading the drop-in variables of config_alias_table.c. Values are never logged: some are secrets.
#include "server/config_alias.h"

#include "kernels/base/cpu.h"
#include "kernels/base/file.h"
#include "kernels/base/log.h"
#include "server/config_alias_table.h"
#include "server/config_table.h"
#include "server/model_find.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

enum { PROPERTIES_BYTES = 64 << 10 };

typedef struct report { // names for the log, blank-separated
    hd_buf ignored, fixed, lacking, unknown, beaten;
} report;

static void note(hd_buf *list, const char *name)
{
    hd_buf_puts(list, list->len ? " " : "");
    hd_buf_puts(list, name);
}

static bool truthy(const char *v)
{
    return v && (strcasecmp(v, "true") == 0 || strcmp(v, "1") == 0 || strcasecmp(v, "yes") == 0 ||
                 strcasecmp(v, "on") == 0);
}

static bool falsy(const char *v)
{
    return strcasecmp(v, "false") == 0 || strcmp(v, "0") == 0 || strcasecmp(v, "no") == 0 ||
           strcasecmp(v, "off") == 0 || strcasecmp(v, "none") == 0;
}

// ---- one value -----------------------------------------------------------------------------

typedef struct source { // a variable, or a line of serving.properties
    const hd_alias *a;
    const char *value;
    hd_slice origin;
} source;

// A whole number moved into the setting's bounds. Negative numbers and words such as "max" or
// "auto" mean the default there.
static hd_status set_number(hd_config *c, int row, const source *s, double min, report *r,
                            hd_err *err)
{
    const hd_opt *o = &hd_opts[row];
    char *end, text[32];
    errno = 0;
    long long v = strtoll(s->value, &end, 10);
    end += strspn(end, " ");
    if (strcasecmp(s->value, "auto") == 0 || strcasecmp(s->value, "max") == 0 || v < 0) {
        note(&r->fixed, s->a->name);
        return HD_OK;
    }
    HD_CHECK(end != s->value && *end == 0 && errno == 0, err, HD_E_INVAL,
             "%s: found '%.40s', expected a whole number", s->a->name, s->value);
    if (s->a->how == HD_AS_MEGABYTES) v = v > 4096 ? 4096LL << 20 : v << 20;
    if ((double)v < min) v = (long long)min;
    if ((double)v < o->min) v = (long long)o->min;
    if ((double)v > o->max) v = (long long)o->max;
    snprintf(text, sizeof(text), "%lld", v);
    return hd_opt_set(c, row, s->origin, text, err);
}

static int64_t present(const hd_config *c, int row)
{
    return *(const int64_t *)(const void *)((const char *)c + hd_opts[row].offset);
}

// Threads are bounded by what numeric libraries are told, never raised.
static hd_status set_threads(hd_config *c, int row, const source *s, hd_err *err)
{
    hd_cpu_budget b;
    long v = strtol(s->value, NULL, 10);
    hd_cpu_budget_read("/", &b);
    return v >= 1 && v < b.threads ? hd_opt_set(c, row, s->origin, s->value, err) : HD_OK;
}

static hd_status set_level(hd_config *c, int row, const source *s, report *r, hd_err *err)
{
    static const struct {
        const char *theirs, *ours;
    } names[] = {{"10", "debug"},    {"20", "info"},     {"30", "warn"},
                 {"40", "error"},    {"50", "error"},    {"DEBUG", "debug"},
                 {"TRACE", "debug"}, {"INFO", "info"},   {"WARNING", "warn"},
                 {"WARN", "warn"},   {"ERROR", "error"}, {"CRITICAL", "error"}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(s->value, names[i].theirs) == 0)
            return hd_opt_set(c, row, s->origin, names[i].ours, err);
    note(&r->ignored, s->a->name); // "info,text_generation_router=debug" and the like
    return HD_OK;
}

static hd_status set_text(hd_config *c, int row, const source *s, report *r, hd_err *err)
{
    const hd_opt *o = &hd_opts[row];
    if (o->type == HD_OPT_INT || o->type == HD_OPT_SIZE) return set_number(c, row, s, 0, r, err);
    if (o->type != HD_OPT_ENUM) return hd_opt_set(c, row, s->origin, s->value, err);
    hd_err no = {0}; // a formatter of theirs that we have not
    if (hd_opt_set(c, row, s->origin, s->value, &no) != HD_OK) note(&r->lacking, s->a->name);
    return HD_OK;
}

static hd_status set_one(hd_config *c, const source *s, report *r, hd_err *err)
{
    const hd_alias *a = s->a;
    int row = a->option ? hd_opt_row(a->option) : -1;
    HD_ASSERT(row >= 0 || !a->option);
    switch (a->how) {
    case HD_AS_VALUE:
    case HD_AS_TGI_PORT:
        return set_text(c, row, s, r, err);
    case HD_AS_MEGABYTES:
    case HD_AS_AT_LEAST:
        return set_number(c, row, s, (double)present(c, row), r, err);
    case HD_AS_AT_MOST:
        return set_threads(c, row, s, err);
    case HD_AS_LEVEL:
        return set_level(c, row, s, r, err);
    case HD_AS_VERBOSE:
        return truthy(s->value) ? hd_opt_set(c, row, s->origin, "debug", err) : HD_OK;
    case HD_AS_JSON_LOG:
        return truthy(s->value) ? hd_opt_set(c, row, s->origin, "json", err) : HD_OK;
    case HD_AS_STRATEGY:
        return hd_opt_set(c, row, s->origin,
                          strcasecmp(s->value, "MULTI_RECORD") == 0 ? "true" : "false", err);
    case HD_AS_IGNORED:
        note(&r->ignored, a->name);
        break;
    case HD_AS_FIXED:
        note(&r->fixed, a->name);
        break;
    case HD_AS_LACKING:
        if (!falsy(s->value)) note(&r->lacking, a->name);
        break;
    case HD_AS_MODEL: // decided together, in choose_model
        break;
    }
    return HD_OK;
}

// Whether a variable comes too late: something before it has set its setting.
static bool beaten(const hd_config *c, const hd_alias *a, report *r)
{
    int row = a->option ? hd_opt_row(a->option) : -1;
    if (row < 0 || c->origin[row].n == 0) return false;
    if (a->how == HD_AS_MEGABYTES || a->how == HD_AS_AT_LEAST) return false; // these only raise
    note(&r->beaten, a->name);
    hd_buf_puts(&r->beaten, " (");
    hd_buf_put_slice(&r->beaten, c->origin[row]);
    hd_buf_putc(&r->beaten, ')');
    return true;
}

// ---- model and profile ---------------------------------------------------------------------

static bool has_files(const char *folder)
{
    DIR *d = opendir(folder);
    bool found = false;
    for (const struct dirent *e; d && !found && (e = readdir(d));)
        found = e->d_name[0] != '.';
    if (d) closedir(d);
    return found;
}

// A path, or the name of an additional source.
static bool is_here(const char *model)
{
    hd_buf path = {0};
    const bool here = access(model, F_OK) == 0 || hd_model_channel(model, &path);
    hd_buf_fini(&path);
    return here;
}

static hd_status choose_model(hd_config *c, const char *standard, hd_err *err)
{
    const hd_alias *s3 = NULL, *hub = NULL;
    int row = hd_opt_row("model");
    for (size_t i = 0; !c->model && i < hd_n_aliases; i++) {
        const hd_alias *a = &hd_aliases[i];
        const char *v = a->how == HD_AS_MODEL ? getenv(a->name) : NULL;
        if (!v || !*v) continue;
        if (is_here(v)) return hd_opt_set(c, row, hd_slice_str(a->name), v, err);
        if (strncmp(v, "s3://", 5) == 0)
            s3 = s3 ? s3 : a;
        else
            hub = hub ? hub : a;
    }
    if (c->model) return HD_OK;
    HD_CHECK(!s3, err, HD_E_NOTFOUND,
             "%s=%.200s: nothing is downloaded from S3 here; have the endpoint deliver the model "
             "(ModelDataSource) to %s",
             s3->name, getenv(s3->name), standard);
    HD_CHECK(!hub || has_files(standard), err, HD_E_NOTFOUND,
             "%s=%.200s: no such path, and models are not downloaded; put the model's files into "
             "%s",
             hub->name, getenv(hub->name), standard);
    c->model = standard;
    return HD_OK;
}

static const char *first_set(const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (getenv(names[i])) return names[i];
    return NULL;
}

// The first variable that begins with a prefix; points into the environment.
static hd_slice first_with(const char *prefix)
{
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, prefix, strlen(prefix)) == 0) return hd_slice_of(*e, strcspn(*e, "="));
    return hd_slice_of("", 0);
}

// What kind of callers the environment was written for (SM-94); *why is what told.
static hd_inputs_profile guess_profile(bool properties, hd_slice *why)
{
    static const char *const tgi[] = {
        "SM_NUM_GPUS",      "MAX_INPUT_TOKENS",         "MAX_INPUT_LENGTH",
        "MAX_TOTAL_TOKENS", "MAX_BATCH_PREFILL_TOKENS", "MESSAGES_API_ENABLED"};
    static const char *const lmi[] = {"OPTION_", "SERVING_", "ENDPOINT_SERVER_TIMEOUT"};
    const char *name = first_set(tgi, sizeof(tgi) / sizeof(tgi[0]));
    if (truthy(getenv("OPTION_TGI_COMPAT"))) name = "OPTION_TGI_COMPAT";
    *why = hd_slice_str(name);
    for (size_t i = 0; why->n == 0 && i < sizeof(lmi) / sizeof(lmi[0]); i++) {
        *why = first_with(lmi[i]);
        if (why->n) return HD_PROFILE_LMI;
    }
    if (why->n == 0 && properties) {
        *why = hd_slice_str("serving.properties");
        return HD_PROFILE_LMI;
    }
    return HD_PROFILE_TGI;
}

static hd_status choose_profile(hd_config *c, bool properties, hd_err *err)
{
    hd_slice why;
    if (c->inputs_profile != HD_PROFILE_AUTO) return HD_OK;
    hd_inputs_profile p = guess_profile(properties, &why);
    return hd_opt_set(c, hd_opt_row("inputs-profile"), why, p == HD_PROFILE_LMI ? "lmi" : "tgi",
                      err);
}

// ---- serving.properties --------------------------------------------------------------------

// "option.max_model_len" as the variable that it stands for.
static const hd_alias *alias_of_key(const char *key)
{
    char name[96];
    if (strncmp(key, "option.", 7) != 0 || strlen(key) >= sizeof(name)) return NULL;
    size_t n = 0;
    for (const char *p = key; *p; p++)
        name[n++] = *p == '.' ? '_' : (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    name[n] = 0;
    for (size_t i = 0; i < hd_n_aliases; i++)
        if (strcmp(hd_aliases[i].name, name) == 0) return &hd_aliases[i];
    return NULL;
}

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1]))
        s[--n] = 0;
    return s;
}

// A folder may hold nothing but the name of another one. A flag names the model for good.
static hd_status redirect_model(hd_config *c, const source *s, report *r, hd_err *err)
{
    int row = hd_opt_row("model");
    bool flag = hd_slice_starts(c->origin[row], hd_slice_str("--"));
    if (!flag && is_here(s->value)) return hd_opt_set(c, row, s->origin, s->value, err);
    note(&r->fixed, s->a->name);
    return HD_OK;
}

static hd_status read_property(hd_config *c, char *line, report *r, int *known, hd_err *err)
{
    char *eq = strchr(line, '=');
    if (!eq) return HD_OK;
    *eq = 0;
    const char *key = trim(line), *value = trim(eq + 1);
    const hd_alias *a = alias_of_key(key);
    if (!a) {
        note(&r->unknown, key);
        return HD_OK;
    }
    source s = {a, value, hd_slice_str("serving.properties")};
    if (a->how == HD_AS_MODEL) return redirect_model(c, &s, r, err);
    if (!*value || beaten(c, a, r)) return HD_OK;
    (*known)++;
    return set_one(c, &s, r, err);
}

static void log_report(report *r)
{
    const struct {
        hd_log_level level;
        const char *msg;
        hd_buf *names;
    } lines[] = {
        {HD_LOG_INFO, "understood, without effect here", &r->ignored},
        {HD_LOG_INFO, "decided by the model's files and the machine, not by these", &r->fixed},
        {HD_LOG_WARN, "ask for what this version lacks; ignored", &r->lacking},
        {HD_LOG_WARN, "unknown names; ignored", &r->unknown},
        {HD_LOG_WARN, "set twice; the names in brackets win", &r->beaten},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (lines[i].names->len > 0)
            HD_LOG(lines[i].level, "config", lines[i].msg,
                   hd_f_slice("names", hd_buf_slice(lines[i].names)));
        hd_buf_fini(lines[i].names);
    }
}

hd_status hd_alias_properties(hd_config *c, hd_buf *text, int *known, hd_err *err)
{
    report r = {0};
    hd_status st = HD_OK;
    char *next = text->data;
    *known = 0;
    while (st == HD_OK && next && *next) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        line = trim(line);
        if (*line && *line != '#' && *line != '!') st = read_property(c, line, &r, known, err);
    }
    log_report(&r);
    return st == HD_OK ? st : hd_err_prefix(err, st, "serving.properties");
}

static hd_status read_properties(hd_config *c, hd_buf *text, bool *there, hd_err *err)
{
    char path[1024];
    int known, n = snprintf(path, sizeof(path), "%s/serving.properties", c->model);
    *there = n > 0 && (size_t)n < sizeof(path) && access(path, R_OK) == 0;
    if (!*there) return HD_OK;
    HD_TRY(hd_file_read(path, PROPERTIES_BYTES, text, err));
    if (text->len > 0 && memchr(text->data, 0, text->len))
        return HD_FAIL(err, HD_E_CORRUPT, "%.300s: found a NUL character, expected text", path);
    return hd_alias_properties(c, text, &known, err);
}

// ---- the environment -----------------------------------------------------------------------

// Variables that ask for another kind of server altogether.
static hd_status refuse_foreign(hd_err *err)
{
    const char *task = getenv("HF_TASK");
    HD_CHECK(!getenv("SM_NEO_EXECUTION_CONTEXT"), err, HD_E_INVAL,
             "SM_NEO_EXECUTION_CONTEXT: optimisation jobs are not supported; this image serves "
             "models");
    HD_CHECK(!truthy(getenv("SAGEMAKER_MULTI_MODEL")), err, HD_E_INVAL,
             "SAGEMAKER_MULTI_MODEL: multi-model endpoints are not supported; deploy one model per "
             "endpoint or inference component");
    HD_CHECK(!task || !*task || strcmp(task, "text-generation") == 0, err, HD_E_INVAL,
             "HF_TASK: found '%.40s', expected text-generation", task);
    return HD_OK;
}

static void warn_about_programs(void)
{
    const char *program = getenv("SAGEMAKER_PROGRAM"),
               *folder = getenv("SAGEMAKER_SUBMIT_DIRECTORY");
    char path[1024];
    if (!program || !*program) return;
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "/opt/ml/model/code", program);
    if (access(program, F_OK) == 0 || access(path, F_OK) == 0)
        HD_LOG(HD_LOG_WARN, "config", "SAGEMAKER_PROGRAM: Python handlers are not supported");
}

static void note_unknown(report *r)
{
    static const char *const prefixes[] = {"SM_VLLM_", "SM_SGLANG_", "SM_LLAMA_CPP_", "OPTION_",
                                           "SERVING_"};
    for (char **e = environ; e && *e; e++) {
        char name[96];
        bool ours = false, known = false;
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(*e, "="), *e);
        for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
            ours = ours || strncmp(name, prefixes[i], strlen(prefixes[i])) == 0;
        for (size_t i = 0; ours && !known && i < hd_n_aliases; i++)
            known = strcmp(name, hd_aliases[i].name) == 0;
        if (ours && !known) note(&r->unknown, name);
    }
}

static hd_status read_variables(hd_config *c, report *r, hd_err *err)
{
    hd_slice why;
    bool tgi = guess_profile(false, &why) == HD_PROFILE_TGI && why.n > 0;
    for (size_t i = 0; i < hd_n_aliases; i++) {
        const hd_alias *a = &hd_aliases[i];
        const char *v = getenv(a->name);
        if (!v || !*v || (a->how == HD_AS_TGI_PORT && !tgi)) continue;
        source s = {a, v, hd_slice_str(a->name)};
        if (a->how != HD_AS_MODEL && !beaten(c, a, r)) HD_TRY(set_one(c, &s, r, err));
    }
    note_unknown(r);
    return HD_OK;
}

hd_status hd_alias_apply(hd_config *c, const char *standard, hd_alias_text *text, hd_err *err)
{
    report r = {0};
    bool there = false;
    HD_TRY(refuse_foreign(err));
    hd_status st = read_variables(c, &r, err);
    hd_log_set_level((hd_log_level)c->log_level);
    hd_log_set_format((hd_log_format)c->log_format);
    log_report(&r);
    HD_TRY(st);
    HD_TRY(choose_model(c, standard, err));
    if (hd_model_channel(c->model, &text->channel)) c->model = text->channel.data;
    HD_TRY(read_properties(c, &text->properties, &there, err)); // may name another model
    if (hd_model_channel(c->model, &text->channel)) c->model = text->channel.data;
    HD_TRY(hd_model_find(c->model, &text->model, err));
    if (text->model.len > 0) c->model = text->model.data;
    warn_about_programs();
    return choose_profile(c, there, err);
}

void hd_alias_text_fini(hd_alias_text *text)
{
    hd_buf_fini(&text->properties);
    hd_buf_fini(&text->channel);
    hd_buf_fini(&text->model);
}
