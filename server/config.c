// Reading settings: flags, environment, defaults; checks and suggestions. The rows are in
// config_table.c, printing in config_help.c.
#include "kernels/base/cpu.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "server/config_table.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

// ---- nearest name --------------------------------------------------------------------------

enum { NEAREST_MAX = 48 };

static size_t edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[NEAREST_MAX + 1];
    if (la > NEAREST_MAX || lb > NEAREST_MAX) return NEAREST_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[lb];
}

const char *hd_config_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_d = strlen(word) / 3 + 2; // further away is no suggestion
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(word, names[i]);
        // A prefix is what people type when they guess ("max-new" for "max-new-tokens").
        if (strncmp(word, names[i], strlen(word)) == 0 && strlen(word) >= 3 && d > 1) d = 1;
        if (d < best_d) {
            best_d = d;
            best = names[i];
        }
    }
    return best;
}

// ---- values --------------------------------------------------------------------------------

static void *member(const hd_opt *o, hd_config *c)
{
    return (char *)c + o->offset;
}

static bool parse_bool(const char *s, bool *out)
{
    static const char *const yes[] = {"1", "true", "yes", "on"};
    static const char *const no[] = {"0", "false", "no", "off"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(s, yes[i]) == 0) return *out = true, true;
        if (strcasecmp(s, no[i]) == 0) return *out = false, true;
    }
    return false;
}

// Index of s in "a|b|c", or -1.
static int choice_index(const char *choices, const char *s)
{
    int i = 0;
    for (const char *p = choices; p; i++) {
        const char *bar = strchr(p, '|');
        size_t n = bar ? (size_t)(bar - p) : strlen(p);
        if (strlen(s) == n && strncasecmp(p, s, n) == 0) return i;
        p = bar ? bar + 1 : NULL;
    }
    return -1;
}

static bool parse_integer(const char *s, bool suffix, int64_t *out)
{
    char *end;
    while (*s == ' ')
        s++;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || errno || v < 0) return false; // no setting is negative
    int shift = 0;
    if (suffix && *end) {
        static const char units[] = "KMGT";
        const char *u = memchr(units, *end & ~0x20, 4);
        if (!u) return false;
        shift = 10 * (int)(u - units + 1);
        end++;
        if (*end == 'i') end++;
        if (*end == 'B' || *end == 'b') end++;
        if (v > (INT64_MAX >> shift)) return false;
    }
    while (*end == ' ')
        end++;
    *out = (int64_t)v << shift;
    return *end == 0;
}

// where: "--port" or "HADAL_PORT", for messages.
static hd_status set_value(const hd_opt *o, hd_config *c, const char *where, const char *text,
                           hd_err *err)
{
    void *p = member(o, c);
    int64_t i;
    double f;
    char *end;
    switch (o->type) {
    case HD_OPT_STR:
    case HD_OPT_SECRET:
        *(const char **)p = text;
        return HD_OK;
    case HD_OPT_BOOL:
        HD_CHECK(parse_bool(text, p), err, HD_E_INVAL, "%s: found '%.40s', expected true or false",
                 where, text);
        return HD_OK;
    case HD_OPT_ENUM:
        i = choice_index(o->choices, text);
        HD_CHECK(i >= 0, err, HD_E_INVAL, "%s: found '%.40s', expected one of %s", where, text,
                 o->choices);
        *(int64_t *)p = i;
        return HD_OK;
    case HD_OPT_INT:
    case HD_OPT_SIZE:
        HD_CHECK(parse_integer(text, o->type == HD_OPT_SIZE, &i) && (double)i >= o->min &&
                     (double)i <= o->max,
                 err, HD_E_INVAL, "%s: found '%.40s', expected a whole number in [%.0f, %.0f]%s",
                 where, text, o->min, o->max, o->type == HD_OPT_SIZE ? " (K, M, G allowed)" : "");
        *(int64_t *)p = i;
        return HD_OK;
    case HD_OPT_F64:
        f = strtod(text, &end);
        HD_CHECK(end != text && *end == 0 && isfinite(f) && f >= o->min && f <= o->max, err,
                 HD_E_INVAL, "%s: found '%.40s', expected a number in [%g, %g]", where, text,
                 o->min, o->max);
        *(double *)p = f;
        return HD_OK;
    }
    return HD_FAIL(err, HD_E_INTERNAL, "%s: unknown type of setting", where);
}

hd_status hd_opt_set(hd_config *c, int row, hd_slice where, const char *text, hd_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), "%.*s", (int)(where.n < 63 ? where.n : 63), where.p);
    HD_TRY(set_value(&hd_opts[row], c, name, text, err));
    c->given[row / 64] |= UINT64_C(1) << (row % 64);
    c->origin[row] = where;
    return HD_OK;
}

int hd_opt_row(const char *name)
{
    for (int i = 0; i < hd_n_opts; i++)
        if (strcmp(hd_opts[i].name, name) == 0) return i;
    return -1;
}

bool hd_config_given(const hd_config *c, const void *m)
{
    size_t offset = (size_t)((const char *)m - (const char *)c);
    for (int i = 0; i < hd_n_opts; i++)
        if (hd_opts[i].offset == offset) return c->given[i / 64] >> (i % 64) & 1;
    return false;
}

// ---- environment ---------------------------------------------------------------------------

// Whether `name` of length n is one of the blank-separated words of list.
static bool list_has(const char *list, const char *name, size_t n)
{
    for (const char *p = list; p && *p;) {
        size_t k = strcspn(p, " ");
        if (k == n && strncmp(p, name, n) == 0) return true;
        p += k + (p[k] == ' ');
    }
    return false;
}

static hd_status read_env(hd_config *c, unsigned command, hd_err *err)
{
    for (int i = 0; i < hd_n_opts; i++) {
        const hd_opt *o = &hd_opts[i];
        if (!o->env || !(o->commands & command)) continue;
        for (const char *p = o->env; *p;) {
            char name[64];
            size_t n = strcspn(p, " ");
            hd_slice where = {p, n};
            snprintf(name, sizeof(name), "%.*s", (int)n, p);
            p += n + (p[n] == ' ');
            const char *v = getenv(name);
            if (!v || !*v) continue;
            HD_TRY(hd_opt_set(c, i, where, v, err));
            break;
        }
    }
    return HD_OK;
}

// A misspelt HADAL_ variable would otherwise be ignored in silence.
static hd_status refuse_unknown_env(hd_err *err)
{
    for (char **e = environ; e && *e; e++) {
        if (strncmp(*e, "HADAL_", 6) != 0) continue;
        size_t n = strcspn(*e, "=");
        const char *known[128];
        char word[64];
        size_t n_known = 0;
        bool found = false;
        for (int i = 0; i < hd_n_opts; i++) {
            const char *env = hd_opts[i].env;
            if (!env) continue;
            if (list_has(env, *e, n)) found = true;
            const char *ours = strstr(env, "HADAL_");
            if (ours) known[n_known++] = ours;
        }
        if (found) continue;
        snprintf(word, sizeof(word), "%.*s", (int)(n < 60 ? n : 60), *e);
        const char *near = hd_config_nearest(word, known, n_known);
        return near ? HD_FAIL(err, HD_E_INVAL, "unknown variable %s; did you mean %.*s?", word,
                              (int)strcspn(near, " "), near)
                    : HD_FAIL(err, HD_E_INVAL,
                              "unknown variable %s; 'hadal serve --help' lists all", word);
    }
    return HD_OK;
}

// ---- flags ---------------------------------------------------------------------------------

static int find_flag(const char *name, size_t n, unsigned command)
{
    for (int i = 0; i < hd_n_opts; i++)
        if ((hd_opts[i].commands & command) && strlen(hd_opts[i].name) == n &&
            strncmp(hd_opts[i].name, name, n) == 0)
            return i;
    return -1;
}

static hd_status unknown_flag(const char *flag, unsigned command, hd_err *err)
{
    const char *names[128];
    char word[64];
    size_t n = 0;
    for (int i = 0; i < hd_n_opts; i++)
        if (hd_opts[i].commands & command) names[n++] = hd_opts[i].name;
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(flag + 2, "="), flag + 2);
    const char *near = hd_config_nearest(word, names, n);
    const char *cmd = hd_cmd_doc_of(command)->name;
    if (near)
        return HD_FAIL(err, HD_E_INVAL, "unknown option --%s; did you mean --%s?", word, near);
    return HD_FAIL(err, HD_E_INVAL, "unknown option --%s; 'hadal %s --help' lists all", word, cmd);
}

// Reads argv[*i] (and its value) as a flag.
static hd_status read_flag(hd_config *c, unsigned command, int argc, char **argv, int *i,
                           hd_err *err)
{
    const char *arg = argv[*i];
    size_t n = strcspn(arg + 2, "=");
    int row = find_flag(arg + 2, n, command);
    if (row < 0) return unknown_flag(arg, command, err);
    const hd_opt *o = &hd_opts[row];
    const char *value = arg[2 + n] == '=' ? arg + 2 + n + 1 : NULL;
    if (!value && o->type == HD_OPT_BOOL) value = "true";
    if (!value) {
        HD_CHECK(*i + 1 < argc, err, HD_E_INVAL, "--%s needs a value (%s)", o->name,
                 o->arg ? o->arg : o->choices);
        value = argv[++*i];
    }
    return hd_opt_set(c, row, hd_slice_of(arg, n + 2), value, err);
}

hd_status hd_config_load(hd_config *c, unsigned command, int argc, char **argv, bool *stop,
                         hd_err *err)
{
    memset(c, 0, sizeof(*c));
    *stop = false;
    for (int i = 0; i < hd_n_opts; i++)
        if (hd_opts[i].fallback)
            HD_TRY(set_value(&hd_opts[i], c, hd_opts[i].name, hd_opts[i].fallback, err));
    if (command != HD_CMD_SERVE) c->log_level = HD_LOG_WARN; // people, not operators, read it
    HD_TRY(refuse_unknown_env(err));
    HD_TRY(read_env(c, command, err));
    int n_rest = 0;
    for (int i = 0; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
            hd_config_help(stdout, command);
            *stop = true;
            return HD_OK;
        }
        if (strcmp(a, "--") == 0) { // everything behind it is text
            while (++i < argc)
                argv[n_rest++] = argv[i];
            break;
        }
        if (strncmp(a, "--", 2) == 0) {
            HD_TRY(read_flag(c, command, argc, argv, &i, err));
        } else {
            HD_CHECK(a[0] != '-' || !a[1], err, HD_E_INVAL,
                     "unknown option %s; options are spelt --name", a);
            argv[n_rest++] = argv[i];
        }
    }
    c->rest = (const char *const *)argv;
    c->n_rest = n_rest;
    hd_log_set_level((hd_log_level)c->log_level);
    hd_log_set_format((hd_log_format)c->log_format);
    return HD_OK;
}

// ---- engine --------------------------------------------------------------------------------

typedef struct type_name { // of options
    const char *name;
    hd_dtype type;
} type_name;

static const type_name weight_names[] = {
    {"keep", HD_DTYPE_NONE}, {"f32", HD_F32},   {"f16", HD_F16},   {"bf16", HD_BF16},
    {"f8", HD_F8_B128},      {"q8", HD_Q8_0},   {"q4", HD_Q4_K},   {"q8_0", HD_Q8_0},
    {"q6_k", HD_Q6_K},       {"q4_k", HD_Q4_K}, {"q4_1", HD_Q4_1}, {"q4_0", HD_Q4_0},
};
static const type_name kv_names[] = {
    {"bf16", HD_BF16}, {"f16", HD_F16}, {"f32", HD_F32}, {"q8", HD_Q8_0}, {"q8_0", HD_Q8_0}};

static hd_status parse_type(const char *flag, const char *text, const type_name *names, size_t n,
                            hd_dtype *out, hd_err *err)
{
    char list[160] = "";
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i].name, text) == 0) {
            *out = names[i].type;
            return HD_OK;
        }
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", names[i].name);
    }
    return HD_FAIL(err, HD_E_INVAL, "%s: found '%.40s', expected one of %s", flag, text, list);
}

hd_status hd_config_types(const hd_config *c, hd_weight_types *weights, hd_dtype *kv, hd_err *err)
{
    const struct {
        const char *flag, *text;
        hd_dtype *out;
    } row[] = {
        {"--weights", c->weights, &weights->all},
        {"--weights-experts", c->weights_experts, &weights->experts},
        {"--weights-attention", c->weights_attention, &weights->attention},
    };
    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        *row[i].out = weights->all;
        if (row[i].text)
            HD_TRY(parse_type(row[i].flag, row[i].text, weight_names,
                              sizeof(weight_names) / sizeof(weight_names[0]), row[i].out, err));
    }
    return parse_type("--kv", c->kv, kv_names, sizeof(kv_names) / sizeof(kv_names[0]), kv, err);
}

hd_status hd_config_engine(const hd_config *c, hd_engine_cfg *out, hd_err *err)
{
    hd_engine_cfg_init(out);
    HD_TRY(hd_config_types(c, &out->weights, &out->kv, err));
    HD_TRY(hd_cpu_mask_parse(c->cpu, &out->cpu_features, err));
    HD_CHECK(c->model, err, HD_E_INVAL, "no model: give --model PATH or set HADAL_MODEL");
    out->model = c->model;
    out->device = c->device;
    out->threads = (int)c->threads;
    out->bind = (hd_bind_mode)c->bind;
    out->max_context = (int32_t)c->max_context;
    if (c->max_seqs) out->max_seqs = (int32_t)c->max_seqs;
    if (c->max_step_tokens) out->max_step_tokens = (int32_t)c->max_step_tokens;
    out->max_queue = (int32_t)c->max_queue; // 0, as for commands with one request: no waiting
    if (c->max_queue_tokens) out->max_queue_tokens = (int32_t)c->max_queue_tokens;
    if (c->max_queue_bytes) out->max_queue_bytes = c->max_queue_bytes;
    if (hd_config_given(c, &c->max_prompt_ms)) out->max_prompt_ms = (int32_t)c->max_prompt_ms;
    out->access = c->mmap ? HD_FILE_MAP : HD_FILE_READ;
    out->prefix_cache = c->prefix_cache;
    out->speculate = (int32_t)c->speculate;
    out->memory = (uint64_t)c->memory_bytes;
    out->deterministic = c->deterministic;
    out->chat_template = c->chat_template;
    if (c->stall_seconds) out->stall_ms = (int)c->stall_seconds * 1000;
    // The loader of plugins, which knows no settings, reads it there. No other thread runs yet.
    HD_CHECK(!c->plugin_dir || setenv("HADAL_PLUGIN_DIR", c->plugin_dir, 1) == 0, err, HD_E_NOMEM,
             "out of memory");
    return HD_OK;
}
