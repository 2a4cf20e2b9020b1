// Finding out what a path is, and reading the small files beside the weights.
//
// What the fields of config.json mean is for config_json.c; here it must only be a JSON object
// within the file limits. Nothing is opened outside the folder that was given.
#include "models/model_src.h"

#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "kernels/base/utf8.h"
#include "models/weights/gguf_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEMPLATE = 1 << 20 };

// ---- names ---------------------------------------------------------------------------------

static bool ends_with(hd_slice s, const char *tail)
{
    size_t n = strlen(tail);
    return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

static hd_slice last_component(const char *path)
{
    hd_slice s = hd_slice_str(path);
    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    size_t from = s.n;
    while (from > 0 && s.p[from - 1] != '/')
        from--;
    return hd_slice_of(s.p + from, s.n - from);
}

// The served name. Only what is known to be an extension is cut off: folders are called "...-1.5B".
static char *name_of(const char *path)
{
    hd_slice s = last_component(path);
    size_t n_stem;
    uint32_t no, count;
    char *real = NULL;
    if (hd_slice_eq_str(s, ".") || hd_slice_eq_str(s, "..")) {
        real = realpath(path, NULL);
        if (real) s = last_component(real);
    }
    if (hd_gguf_split_name(s, &n_stem, &no, &count))
        s.n = n_stem;
    else if (ends_with(s, ".gguf"))
        s.n -= strlen(".gguf");
    char *name = s.n > 0 ? hd_strndup(s.p, s.n) : hd_strdup("model");
    free(real); // from realpath, not from hd_alloc
    return name;
}

// ---- a folder without config.json ----------------------------------------------------------

typedef struct gguf_search {
    char *first;  // a GGUF file's name
    int n_models; // files, counting a split set once
} gguf_search;

// Both names belong to one split set.
static bool same_set(hd_slice a, hd_slice b)
{
    size_t n_a, n_b;
    uint32_t no, count_a, count_b;
    return hd_gguf_split_name(a, &n_a, &no, &count_a) &&
           hd_gguf_split_name(b, &n_b, &no, &count_b) && n_a == n_b && count_a == count_b &&
           memcmp(a.p, b.p, n_a) == 0;
}

static hd_status look_at(gguf_search *g, const char *name, hd_err *err)
{
    hd_slice s = hd_slice_str(name);
    if (name[0] == '.' || !ends_with(s, ".gguf")) return HD_OK;
    if (g->first && same_set(hd_slice_str(g->first), s)) return HD_OK;
    g->n_models++;
    if (g->first) return HD_OK;
    g->first = hd_strdup(name);
    HD_CHECK(g->first, err, HD_E_NOMEM, "no memory for the name of a file");
    return HD_OK;
}

static hd_status search_folder(const char *dir, gguf_search *g, hd_err *err)
{
    char text[128];
    DIR *d = opendir(dir);
    HD_CHECK(d, err, HD_E_IO, "%s: cannot open: %s", dir, strerror_r(errno, text, sizeof(text)));
    hd_status st = HD_OK;
    for (struct dirent *e; st == HD_OK && (e = readdir(d));)
        st = look_at(g, e->d_name, err);
    closedir(d);
    return st;
}

// The path of the only GGUF in dir; of part 1 when it is a split set. NULL when there is none.
static hd_status find_gguf(const char *dir, char **out, hd_err *err)
{
    *out = NULL;
    gguf_search g = {0};
    hd_status st = search_folder(dir, &g, err);
    size_t n_stem;
    uint32_t no, count;
    if (st == HD_OK && g.n_models > 1)
        st = HD_FAIL(err, HD_E_INVAL,
                     "%s: found %d GGUF models and no config.json, expected one; give the path of "
                     "the file",
                     dir, g.n_models);
    if (st == HD_OK && g.first) {
        if (hd_gguf_split_name(hd_slice_str(g.first), &n_stem, &no, &count))
            memcpy(g.first + n_stem, "-00001", 6);
        *out = hd_path_join(dir, g.first);
        if (!*out) st = HD_FAIL(err, HD_E_NOMEM, "%s: no memory to open it", dir);
    }
    hd_free(g.first);
    return st;
}

// ---- opening -------------------------------------------------------------------------------

// Leaves *out NULL when the file is absent.
static hd_status read_json(const char *dir, const char *file, hd_json **out, hd_err *err)
{
    char *path = hd_path_join(dir, file);
    HD_CHECK(path, err, HD_E_NOMEM, "%s: no memory to open it", dir);
    hd_status st = HD_OK;
    if (hd_path_stat(path, NULL) != HD_PATH_NONE)
        st = hd_json_parse_file(path, &hd_json_file_limits, out, err);
    if (st == HD_OK && *out && hd_json_type(*out) != HD_JSON_OBJECT)
        st = HD_FAIL(err, HD_E_INVAL, "%s: found %s, expected an object", path,
                     hd_json_type_name(*out));
    hd_free(path);
    return st;
}

static hd_status open_gguf(hd_model_src *s, hd_err *err)
{
    hd_slice path = hd_slice_str(s->path);
    HD_CHECK(!ends_with(path, ".safetensors") && !ends_with(path, ".json"), err, HD_E_INVAL,
             "%s: found one file of a model folder, expected the folder or a .gguf file", s->path);
    return hd_gguf_open(s->path, s->access, &s->gguf, err);
}

static hd_status has_file(const char *dir, const char *file, bool *has, hd_err *err)
{
    char *path = hd_path_join(dir, file);
    HD_CHECK(path, err, HD_E_NOMEM, "%s: no memory to open it", dir);
    *has = hd_path_stat(path, NULL) != HD_PATH_NONE;
    hd_free(path);
    return HD_OK;
}

static hd_status open_folder(hd_model_src *s, hd_err *err)
{
    bool has_tokenizer = false;
    char *file = NULL;
    HD_TRY(read_json(s->path, "config.json", &s->config, err));
    if (!s->config) HD_TRY(find_gguf(s->path, &file, err));
    if (file) {
        hd_free(s->path);
        s->path = file;
        return open_gguf(s, err);
    }
    HD_TRY(has_file(s->path, "tokenizer.json", &has_tokenizer, err));
    HD_CHECK(s->config || has_tokenizer, err, HD_E_NOTFOUND,
             "%s: no config.json and no .gguf file in this folder", s->path);
    HD_TRY(read_json(s->path, "tokenizer_config.json", &s->tokenizer_config, err));
    return read_json(s->path, "generation_config.json", &s->generation_config, err);
}

static hd_status open_any(hd_model_src *s, hd_err *err)
{
    switch (hd_path_stat(s->path, NULL)) {
    case HD_PATH_DIR:
        HD_TRY(open_folder(s, err));
        break;
    case HD_PATH_FILE:
        HD_TRY(open_gguf(s, err));
        break;
    case HD_PATH_OTHER:
        return HD_FAIL(err, HD_E_INVAL, "%s: found a special file, expected a folder or a file",
                       s->path);
    default:
        return HD_FAIL(err, HD_E_NOTFOUND,
                       "%s: not found or not accessible, expected a model folder or a .gguf file",
                       s->path[0] ? s->path : "(an empty path)");
    }
    s->name = name_of(s->path);
    HD_CHECK(s->name, err, HD_E_NOMEM, "%s: no memory for its name", s->path);
    return HD_OK;
}

hd_status hd_model_src_open(const char *path, hd_file_access access, hd_model_src **out,
                            hd_err *err)
{
    *out = NULL;
    hd_model_src *s = hd_calloc(1, sizeof(*s));
    if (s) s->access = access;
    if (s) s->path = hd_strdup(path);
    if (!s || !s->path) {
        hd_model_src_close(s);
        return HD_FAIL(err, HD_E_NOMEM, "%s: no memory to open it", path);
    }
    hd_status st = open_any(s, err);
    if (st == HD_OK)
        *out = s;
    else
        hd_model_src_close(s);
    return st;
}

void hd_model_src_close(hd_model_src *s)
{
    if (!s) return;
    hd_gguf_close(s->gguf);
    hd_json_free(s->config);
    hd_json_free(s->tokenizer_config);
    hd_json_free(s->generation_config);
    hd_free(s->name);
    hd_free(s->path);
    hd_free(s);
}

// ---- the chat template ---------------------------------------------------------------------

// The entry called "default" of [{"name": ..., "template": ...}, ...]; NULL when there is none.
static const hd_json *default_entry(const hd_json *list)
{
    for (const hd_json *c = hd_json_first(list); c; c = hd_json_next(c)) {
        hd_slice name;
        if (hd_json_str(hd_json_get(c, "name"), &name) && hd_slice_eq_str(name, "default"))
            return hd_json_get(c, "template");
    }
    return NULL;
}

static hd_status template_from_config(const hd_model_src *s, hd_slice *text, hd_err *err)
{
    const hd_json *v = hd_json_get(s->tokenizer_config, "chat_template");
    if (hd_json_type(v) == HD_JSON_ARRAY) v = default_entry(v);
    if (hd_json_is_null(v)) return HD_E_NOTFOUND;
    HD_CHECK(hd_json_str(v, text), err, HD_E_INVAL,
             "%s: tokenizer_config.json: chat_template: found %s, expected a string", s->path,
             hd_json_type_name(v));
    return HD_OK;
}

// HD_E_NOTFOUND when the folder has no such file.
static hd_status template_from_file(const hd_model_src *s, hd_buf *file, hd_err *err)
{
    char *path = hd_path_join(s->path, "chat_template.jinja");
    HD_CHECK(path, err, HD_E_NOMEM, "%s: no memory for its chat template", s->path);
    hd_status st = HD_E_NOTFOUND;
    if (hd_path_stat(path, NULL) != HD_PATH_NONE) st = hd_file_read(path, MAX_TEMPLATE, file, err);
    hd_free(path);
    return st;
}

static hd_status check_template(const hd_model_src *s, hd_slice text, hd_err *err)
{
    HD_CHECK(text.n <= MAX_TEMPLATE, err, HD_E_LIMIT,
             "%s: chat template: found %zu bytes, expected at most %d", s->path, text.n,
             MAX_TEMPLATE);
    HD_CHECK(!memchr(text.p, '\0', text.n), err, HD_E_INVAL,
             "%s: chat template: found a NUL byte, expected none", s->path);
    HD_CHECK(hd_utf8_is_valid(text), err, HD_E_INVAL,
             "%s: chat template: found ill-formed UTF-8 at byte %zu, expected valid text", s->path,
             hd_utf8_valid(text.p, text.n));
    return HD_OK;
}

hd_status hd_model_src_chat_template(const hd_model_src *s, hd_buf *out, hd_err *err)
{
    hd_slice text = {0};
    hd_buf file = {0};
    hd_status st;
    if (s->gguf) {
        st = hd_gguf_get_str(s->gguf, "tokenizer.chat_template", &text, err);
    } else {
        st = template_from_file(s, &file, err);
        if (st == HD_OK)
            text = hd_buf_slice(&file);
        else if (st == HD_E_NOTFOUND)
            st = template_from_config(s, &text, err);
    }
    if (st == HD_OK) st = check_template(s, text, err);
    if (st == HD_OK) {
        hd_buf_put_slice(out, text);
        if (out->failed)
            st = HD_FAIL(err, HD_E_NOMEM, "%s: no memory for its chat template", s->path);
    }
    hd_buf_fini(&file);
    return st;
}
