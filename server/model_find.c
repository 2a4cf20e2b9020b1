// A model is a folder with config.json and weights, or with a GGUF file; below one nothing more is
// looked for.
#include "server/model_find.h"

#include "kernels/base/file.h"
#include "kernels/base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 3, MAX_ENTRIES = 10000, LIST_BYTES = 300 };

typedef struct search {
    hd_buf *first, list; // the first model; all of them, for the message
    int n_found, n_seen;
} search;

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n > k && strcmp(name + n - k, end) == 0;
}

static bool skipped(const char *name)
{
    return name[0] == '.' || strcmp(name, "code") == 0;
}

// Whether a folder itself holds a model, of whatever kind.
static bool is_model(const char *folder, search *s)
{
    DIR *d = opendir(folder);
    bool config = false, weights = false, gguf = false;
    for (const struct dirent *e; d && (e = readdir(d)) && s->n_seen < MAX_ENTRIES; s->n_seen++) {
        uint64_t size = 0;
        bool known = strcmp(e->d_name, "config.json") == 0 ||
                     ends_with(e->d_name, ".safetensors") || ends_with(e->d_name, ".gguf");
        if (skipped(e->d_name) || !known) continue;
        char *path = hd_path_join(folder, e->d_name);
        if (path && hd_path_stat(path, &size) == HD_PATH_FILE && size > 0) {
            config |= strcmp(e->d_name, "config.json") == 0;
            weights |= ends_with(e->d_name, ".safetensors");
            gguf |= ends_with(e->d_name, ".gguf");
        }
        hd_free(path);
    }
    if (d) closedir(d);
    return gguf || (config && weights);
}

static void found(search *s, const char *folder)
{
    if (s->n_found++ == 0) hd_buf_puts(s->first, folder);
    if (s->list.len < LIST_BYTES) {
        hd_buf_puts(&s->list, s->list.len ? ", " : "");
        hd_buf_puts(&s->list, folder);
    }
}

static void look_below(search *s, const char *folder, int depth)
{
    DIR *d = depth < MAX_DEPTH ? opendir(folder) : NULL;
    for (const struct dirent *e; d && (e = readdir(d)) && s->n_seen < MAX_ENTRIES; s->n_seen++) {
        if (skipped(e->d_name)) continue;
        char *path = hd_path_join(folder, e->d_name);
        if (path && hd_path_stat(path, NULL) == HD_PATH_DIR) {
            if (is_model(path, s))
                found(s, path);
            else
                look_below(s, path, depth + 1);
        }
        hd_free(path);
    }
    if (d) closedir(d);
}

hd_status hd_model_find(const char *folder, hd_buf *out, hd_err *err)
{
    search s = {.first = out};
    hd_status st = HD_OK;
    hd_buf_clear(out);
    if (hd_path_stat(folder, NULL) != HD_PATH_DIR || is_model(folder, &s)) return HD_OK;
    look_below(&s, folder, 0);
    if (s.n_found > 1)
        st = HD_FAIL(err, HD_E_INVAL, "%.200s: found %d models, expected one: %s", folder,
                     s.n_found, hd_buf_slice(&s.list).p);
    else if (out->failed)
        st = HD_FAIL(err, HD_E_NOMEM, "out of memory");
    hd_buf_fini(&s.list);
    return st;
}

// ---- additional sources --------------------------------------------------------------------

// At most 64 of [A-Za-z0-9._-], as the platform's API allows.
static bool is_channel(const char *name)
{
    enum { MAX_CHANNEL = 64 };
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    const size_t n = strlen(name);
    return n <= MAX_CHANNEL && strspn(name, allowed) == n && hd_path_is_plain(hd_slice_of(name, n));
}

bool hd_model_channel(const char *value, hd_buf *out)
{
    if (!is_channel(value) || hd_path_stat(value, NULL) != HD_PATH_NONE) return false;
    hd_buf_clear(out);
    hd_buf_printf(out, "/opt/ml/additional-model-data-sources/%s", value);
    return !out->failed && hd_path_stat(out->data, NULL) == HD_PATH_DIR;
}
