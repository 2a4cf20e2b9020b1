// The part of a tensor source that does not depend on the file format: lookups, page-cache hints,
// the files, names in messages. The readers fill it: safetensors.c and gguf.c.
//
// A file that is cut or rewritten while it is mapped ends the process on access (SIGBUS); model
// folders are expected to stay as they are. Files that are read give an error then.
#include "models/weights/source.h"

#include "models/weights/source_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- files ---------------------------------------------------------------------------------

enum { NAMED_WHOLE = 96 }; // longer paths would push the rest out of messages

hd_status hd_weight_file_open(hd_weight_file *f, const char *path, hd_file_access access,
                              hd_err *err)
{
    *f = (hd_weight_file){0};
    HD_TRY(hd_filemap_open(path, access, &f->map, err));
    f->name = hd_strdup(strlen(path) <= NAMED_WHOLE ? path : hd_path_base(path));
    if (!f->name) {
        hd_weight_file_close(f);
        return HD_FAIL(err, HD_E_NOMEM, "%s: no memory to open it", path);
    }
    f->p = f->map.data;
    f->n = f->map.size;
    return HD_OK;
}

hd_status hd_weight_file_mem(hd_weight_file *f, hd_slice bytes, hd_err *err)
{
    *f = (hd_weight_file){.p = (const uint8_t *)bytes.p, .n = bytes.n};
    f->name = hd_strdup("memory");
    HD_CHECK(f->name, err, HD_E_NOMEM, "no memory to read %zu bytes", bytes.n);
    return HD_OK;
}

hd_status hd_weight_file_need(hd_weight_file *f, size_t bytes, hd_err *err)
{
    HD_DASSERT(bytes <= f->n);
    return f->map.data ? hd_filemap_need(&f->map, bytes, err) : HD_OK;
}

void hd_weight_file_close(hd_weight_file *f)
{
    hd_filemap_close(&f->map);
    hd_free(f->name);
    *f = (hd_weight_file){0};
}

// ---- filling -------------------------------------------------------------------------------

hd_status hd_source_push(hd_source *s, const hd_source_tensor *t, hd_err *err)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        hd_source_tensor *more = hd_reallocarray(s->t, cap, sizeof(*more));
        HD_CHECK(more, err, HD_E_NOMEM, "no memory for %zu tensors", cap);
        s->t = more;
        s->cap = cap;
    }
    s->t[s->n++] = *t;
    return HD_OK;
}

// An empty tensor sorts in front of the one that begins where it stands.
static int by_address(const void *a, const void *b)
{
    const hd_source_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

void hd_source_sort(hd_source *s, size_t from)
{
    if (s->n > from) qsort(s->t + from, s->n - from, sizeof(*s->t), by_address);
}

hd_status hd_source_names(const hd_source *s, size_t from, hd_map *map, hd_err *err)
{
    HD_CHECK(hd_map_reserve(map, (uint32_t)(map->count + s->n - from)), err, HD_E_NOMEM,
             "no memory for the names of %zu tensors", s->n);
    for (size_t i = from; i < s->n; i++) {
        hd_map_put_result r = hd_map_put(map, s->t[i].name, (uint32_t)i);
        HD_CHECK(r != HD_MAP_NOMEM, err, HD_E_NOMEM, "no memory for the names of tensors");
        HD_CHECK(r != HD_MAP_EXISTS, err, HD_E_CORRUPT,
                 "tensor '%s': found twice, expected every name once", hd_show(s->t[i].name).text);
    }
    return HD_OK;
}

hd_status hd_source_seal(hd_source *s, hd_err *err)
{
    s->bytes = 0;
    for (size_t i = 0; i < s->n; i++)
        s->bytes += s->t[i].bytes; // at most the sum of the files, so it cannot overflow
    return hd_source_names(s, 0, &s->by_name, err);
}

void hd_source_fini(hd_source *s)
{
    for (int32_t i = 0; i < s->n_files; i++)
        hd_weight_file_close(&s->file[i]);
    hd_free(s->file);
    hd_free(s->t);
    hd_map_fini(&s->by_name);
    hd_arena_fini(&s->texts);
    *s = (hd_source){0};
}

bool hd_shape_bytes(const uint64_t *shape, int32_t rank, uint64_t bytes, uint64_t *out)
{
    for (int32_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(bytes, shape[i], &bytes)) return false;
    *out = bytes;
    return true;
}

// ---- messages ------------------------------------------------------------------------------

hd_shown hd_show(hd_slice text)
{
    enum { DOTS = sizeof("...") };
    hd_shown out = {""};
    size_t at = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool plain = c >= ' ' && c < 0x7F && c != '\\';
        size_t room = sizeof(out.text) - at - DOTS; // behind it stands "..." at most
        if (room < sizeof("\\xff")) {
            snprintf(out.text + at, DOTS, "...");
            break;
        }
        at += (size_t)snprintf(out.text + at, room, plain ? "%c" : "\\x%02x", c);
    }
    return out;
}

hd_shown hd_show_shape(const uint64_t *shape, int32_t rank)
{
    char text[24 * HD_SOURCE_MAX_RANK];
    size_t at = 0;
    text[0] = '\0';
    for (int32_t i = 0; i < rank; i++)
        at +=
            (size_t)snprintf(text + at, sizeof(text) - at, "%s%" PRIu64, i ? ", " : "[", shape[i]);
    hd_shown out = {"[]"};
    if (rank == 0) return out;
    out = hd_show(hd_slice_of(text, at));
    size_t n = strlen(out.text);
    if (n + 1 < sizeof(out.text)) snprintf(out.text + n, sizeof(out.text) - n, "]");
    return out;
}

// ---- reading -------------------------------------------------------------------------------

void hd_source_close(hd_source *s)
{
    if (!s) return;
    if (!s->borrowed) hd_source_fini(s);
    hd_free(s);
}

size_t hd_source_count(const hd_source *s)
{
    return s->n;
}

const hd_source_tensor *hd_source_at(const hd_source *s, size_t i)
{
    HD_ASSERT(i < s->n);
    return &s->t[i];
}

const hd_source_tensor *hd_source_find(const hd_source *s, hd_slice name)
{
    uint32_t i;
    return hd_map_get(&s->by_name, name, &i) ? &s->t[i] : NULL;
}

uint64_t hd_source_bytes(const hd_source *s)
{
    return s->bytes;
}

int32_t hd_source_files(const hd_source *s)
{
    return s->n_files;
}

const char *hd_source_file_name(const hd_source *s, int32_t file)
{
    HD_ASSERT(file >= 0 && file < s->n_files);
    return hd_path_base(s->file[file].name);
}

// Where bytes [offset, offset + bytes) of t lie in its file; NULL when there is no file. A range
// past the tensor's end is cut there.
static const hd_filemap *range_of(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                                  uint64_t *bytes, size_t *at)
{
    const hd_weight_file *f = &s->file[t->file];
    if (!f->map.data || offset >= t->bytes) return NULL;
    if (*bytes > t->bytes - offset) *bytes = t->bytes - offset;
    *at = (size_t)((const uint8_t *)t->data - f->p) + (size_t)offset;
    return &f->map;
}

void hd_source_want_range(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                          uint64_t bytes)
{
    size_t at;
    const hd_filemap *m = range_of(s, t, offset, &bytes, &at);
    if (m) hd_filemap_want(m, at, (size_t)bytes);
}

void hd_source_drop_range(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                          uint64_t bytes)
{
    size_t at;
    const hd_filemap *m = range_of(s, t, offset, &bytes, &at);
    if (m) hd_filemap_drop(m, at, (size_t)bytes);
}

void hd_source_want(const hd_source *s, const hd_source_tensor *t)
{
    hd_source_want_range(s, t, 0, t->bytes);
}

void hd_source_drop(const hd_source *s, const hd_source_tensor *t)
{
    hd_source_drop_range(s, t, 0, t->bytes);
}

// ---- content -------------------------------------------------------------------------------

bool hd_source_in_memory(const hd_source *s)
{
    for (int32_t i = 0; i < s->n_files; i++)
        if (s->file[i].map.data && s->file[i].map.access == HD_FILE_READ) return false;
    return true;
}

hd_status hd_source_copy(const hd_source *s, const void *at, size_t bytes, void *to, hd_err *err)
{
    const hd_weight_file *f = s->file;
    while (f < s->file + s->n_files && (uintptr_t)at - (uintptr_t)f->p >= f->n)
        f++;
    HD_ASSERT(bytes == 0 || f < s->file + s->n_files);
    if (bytes == 0) return HD_OK;
    if (!f->map.data) {
        memcpy(to, at, bytes);
        return HD_OK;
    }
    hd_status st = hd_filemap_copy(&f->map, (size_t)((const uint8_t *)at - f->p), bytes, to, err);
    return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "%s", f->name);
}
