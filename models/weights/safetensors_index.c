// Folders of safetensors files, and one file in memory.
//
//   model.safetensors                 one file, or
//   model.safetensors.index.json      {"metadata": {"total_size": n}, "weight_map": {tensor: file}}
//
// The index may name plain files of its own folder and nothing else. Symbolic links are followed:
// caches of model hubs keep the content elsewhere and link to it. Tensors that the index does not
// place in the shard where they were found are left out, with a warning.
#include "kernels/base/log.h"
#include "models/weights/safetensors_impl.h"

#include <inttypes.h>

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

// Two values per tensor would do; metadata may hold a few more.
const hd_json_limits hd_st_index_limits = {(size_t)128 << 20, 2 * (size_t)HD_ST_MAX_TENSORS, 8};

// ---- the index -----------------------------------------------------------------------------

// Finds or adds a shard by its file name.
static hd_status shard_number(hd_st_index *x, hd_map *known, hd_slice file, uint32_t *no,
                              hd_err *err)
{
    if (hd_map_get(known, file, no)) return HD_OK;
    HD_CHECK(hd_path_is_plain(file), err, HD_E_INVAL,
             "found file '%s', expected the plain name of a file in the same folder",
             hd_show(file).text);
    HD_CHECK(x->n_shards < HD_ST_MAX_SHARDS, err, HD_E_LIMIT,
             "found more than %d files, expected at most that", HD_ST_MAX_SHARDS);
    HD_CHECK(hd_map_put(known, file, x->n_shards) == HD_MAP_NEW, err, HD_E_NOMEM,
             "no memory for %" PRIu32 " files", x->n_shards + 1);
    *no = x->n_shards;
    x->shard[x->n_shards++] = file;
    return HD_OK;
}

static hd_status read_mapping(hd_st_index *x, hd_map *known, const hd_json *v, hd_err *err)
{
    hd_slice name = hd_json_key(v), file;
    HD_CHECK(name.n >= 1 && name.n <= HD_ST_MAX_NAME, err, HD_E_LIMIT,
             "found a name of %zu bytes, expected 1 to %d", name.n, HD_ST_MAX_NAME);
    HD_CHECK(hd_json_str(v, &file), err, HD_E_CORRUPT, "found %s, expected a file name",
             hd_json_type_name(v));
    hd_map_put_result put = hd_map_put(&x->by_name, name, (uint32_t)x->n);
    HD_CHECK(put != HD_MAP_NOMEM, err, HD_E_NOMEM, "no memory for %zu names", x->n + 1);
    HD_CHECK(put == HD_MAP_NEW, err, HD_E_CORRUPT, "found twice, expected every name once");
    HD_TRY(shard_number(x, known, file, &x->shard_of[x->n], err));
    x->name[x->n++] = name;
    return HD_OK;
}

static hd_status read_weight_map(hd_st_index *x, const hd_json *map, hd_map *known, hd_err *err)
{
    size_t n = hd_json_len(map);
    HD_CHECK(hd_json_type(map) == HD_JSON_OBJECT && n > 0, err, HD_E_CORRUPT,
             "weight_map: found %s with %zu entries, expected an object of tensors",
             hd_json_type_name(map), n);
    HD_CHECK(n <= HD_ST_MAX_TENSORS, err, HD_E_LIMIT,
             "weight_map: found %zu tensors, expected at most %d", n, HD_ST_MAX_TENSORS);
    x->name = hd_reallocarray(NULL, n, sizeof(*x->name));
    x->shard_of = hd_reallocarray(NULL, n, sizeof(*x->shard_of));
    x->shard =
        hd_reallocarray(NULL, n < HD_ST_MAX_SHARDS ? n : HD_ST_MAX_SHARDS, sizeof(*x->shard));
    HD_CHECK(x->name && x->shard_of && x->shard && hd_map_reserve(&x->by_name, (uint32_t)n), err,
             HD_E_NOMEM, "no memory for %zu names", n);
    for (const hd_json *c = hd_json_first(map); c; c = hd_json_next(c)) {
        hd_status st = read_mapping(x, known, c, err);
        if (st != HD_OK)
            return hd_err_prefix(err, st, "weight_map: tensor '%s'", hd_show(hd_json_key(c)).text);
    }
    return HD_OK;
}

hd_status hd_st_index_read(hd_st_index *x, hd_json *root, hd_err *err)
{
    *x = (hd_st_index){.root = root, .total_size = -1};
    HD_CHECK(hd_json_type(root) == HD_JSON_OBJECT, err, HD_E_CORRUPT,
             "found %s, expected an object", hd_json_type_name(root));
    const hd_json *total = hd_json_get(hd_json_get(root, "metadata"), "total_size");
    HD_CHECK(hd_json_is_null(total) || hd_json_f64(total, &x->total_size), err, HD_E_CORRUPT,
             "metadata.total_size: found %s, expected a number", hd_json_type_name(total));
    hd_map known = {0};
    hd_status st = read_weight_map(x, hd_json_get(root, "weight_map"), &known, err);
    hd_map_fini(&known);
    return st;
}

void hd_st_index_fini(hd_st_index *x)
{
    hd_map_fini(&x->by_name);
    hd_free(x->name);
    hd_free(x->shard_of);
    hd_free(x->shard);
    hd_json_free(x->root);
    *x = (hd_st_index){0};
}

// ---- opening files -------------------------------------------------------------------------

static hd_source *new_source(size_t n_files, hd_file_access access)
{
    enum { CHUNK = 4096, TEXTS = 256 << 20 }; // copies are shorter than the header they come from
    hd_source *s = hd_calloc(1, sizeof(*s));
    if (!s) return NULL;
    s->access = access;
    hd_arena_init(&s->texts, CHUNK, TEXTS);
    s->file = hd_calloc(n_files, sizeof(*s->file));
    if (s->file) return s;
    hd_free(s);
    return NULL;
}

static hd_status read_last_file(hd_source *s, hd_err *err)
{
    int32_t file = s->n_files - 1;
    hd_status st = hd_st_read_file(s, file, err);
    return st == HD_OK ? HD_OK : hd_err_prefix(err, st, "%s", s->file[file].name);
}

// path NULL: the file is `bytes`.
static hd_status open_single(const char *path, hd_file_access access, hd_slice bytes,
                             hd_source **out, hd_err *err)
{
    *out = NULL;
    hd_source *s = new_source(1, access);
    HD_CHECK(s, err, HD_E_NOMEM, "no memory to open a safetensors file");
    hd_status st = path ? hd_weight_file_open(&s->file[0], path, access, err)
                        : hd_weight_file_mem(&s->file[0], bytes, err);
    if (st == HD_OK) {
        s->n_files = 1;
        st = read_last_file(s, err);
    }
    if (st == HD_OK) st = hd_source_seal(s, err);
    if (st == HD_OK)
        *out = s;
    else
        hd_source_close(s);
    return st;
}

hd_status hd_source_open_safetensors_mem(hd_slice bytes, hd_source **out, hd_err *err)
{
    return open_single(NULL, HD_FILE_MAP, bytes, out, err);
}

// ---- shards --------------------------------------------------------------------------------

// Drops the tensors from index `from` on that the index does not place in this shard.
static void keep_mapped(hd_source *s, size_t from, const hd_st_index *x, uint32_t shard)
{
    size_t n = from;
    for (size_t i = from; i < s->n; i++) {
        uint32_t at;
        if (hd_map_get(&x->by_name, s->t[i].name, &at) && x->shard_of[at] == shard)
            s->t[n++] = s->t[i];
    }
    if (n < s->n)
        HD_LOG(HD_LOG_WARN, "load", "tensors that the index does not place here are ignored",
               hd_f_str("file", x->shard[shard].p), hd_f_int("tensors", (int64_t)(s->n - n)),
               hd_f_slice("first", s->t[n].name));
    s->n = n;
}

static hd_status find_shards(const char *dir, const hd_st_index *x, hd_err *err)
{
    for (uint32_t i = 0; i < x->n_shards; i++) {
        char *path = hd_path_join(dir, x->shard[i].p);
        HD_CHECK(path, err, HD_E_NOMEM, "no memory for the path of a shard");
        bool here = hd_path_stat(path, NULL) == HD_PATH_FILE;
        hd_free(path);
        HD_CHECK(here, err, HD_E_NOTFOUND,
                 "%s: shard '%s' not found in its folder, expected all %" PRIu32 " shards",
                 index_name, hd_show(x->shard[i]).text, x->n_shards);
    }
    return HD_OK;
}

static hd_status open_shard(hd_source *s, const char *dir, const hd_st_index *x, uint32_t shard,
                            hd_err *err)
{
    char *path = hd_path_join(dir, x->shard[shard].p);
    HD_CHECK(path, err, HD_E_NOMEM, "no memory for the path of a shard");
    hd_status st = hd_weight_file_open(&s->file[s->n_files], path, s->access, err);
    hd_free(path);
    HD_TRY(st);
    s->n_files++;
    size_t from = s->n;
    HD_TRY(read_last_file(s, err));
    keep_mapped(s, from, x, shard);
    return HD_OK;
}

// Every tensor of the index has been found where it should be.
static hd_status check_complete(const hd_source *s, const hd_st_index *x, hd_err *err)
{
    for (size_t i = 0; i < x->n; i++)
        HD_CHECK(hd_source_find(s, x->name[i]), err, HD_E_CORRUPT,
                 "%s: tensor '%s': not found in '%s', expected it there", index_name,
                 hd_show(x->name[i]).text, hd_show(x->shard[x->shard_of[i]]).text);
    // Converters have written wrong totals, and nothing is computed from it.
    if (x->total_size >= 0 && x->total_size != (double)s->bytes)
        HD_LOG(HD_LOG_WARN, "load", "metadata.total_size differs from the tensors found",
               hd_f_f64("total_size", x->total_size, 0), hd_f_int("bytes", (int64_t)s->bytes));
    return HD_OK;
}

static hd_status open_shards(const char *dir, hd_file_access access, const hd_st_index *x,
                             hd_source **out, hd_err *err)
{
    HD_TRY(find_shards(dir, x, err));
    hd_source *s = new_source(x->n_shards, access);
    HD_CHECK(s, err, HD_E_NOMEM, "no memory for %" PRIu32 " shards", x->n_shards);
    hd_status st = HD_OK;
    for (uint32_t i = 0; i < x->n_shards && st == HD_OK; i++)
        st = open_shard(s, dir, x, i, err);
    if (st == HD_OK) st = hd_source_seal(s, err);
    if (st == HD_OK) st = check_complete(s, x, err);
    if (st == HD_OK)
        *out = s;
    else
        hd_source_close(s);
    return st;
}

static hd_status open_indexed(const char *dir, hd_file_access access, const char *path,
                              hd_source **out, hd_err *err)
{
    hd_json *root;
    hd_st_index x;
    HD_TRY(hd_json_parse_file(path, &hd_st_index_limits, &root, err));
    hd_status st = hd_st_index_read(&x, root, err);
    if (st == HD_OK)
        st = open_shards(dir, access, &x, out, err);
    else
        hd_err_prefix(err, st, "%s", index_name);
    hd_st_index_fini(&x);
    return st;
}

hd_status hd_source_open_safetensors(const char *dir, hd_file_access access, hd_source **out,
                                     hd_err *err)
{
    *out = NULL;
    hd_status st;
    char *single = hd_path_join(dir, single_name), *index = hd_path_join(dir, index_name);
    if (!single || !index)
        st = HD_FAIL(err, HD_E_NOMEM, "%s: no memory to open it", dir);
    else if (hd_path_stat(single, NULL) != HD_PATH_NONE)
        st = open_single(single, access, hd_slice_of(NULL, 0), out, err);
    else if (hd_path_stat(index, NULL) != HD_PATH_NONE)
        st = open_indexed(dir, access, index, out, err);
    else
        st = HD_FAIL(err, HD_E_NOTFOUND, "%s: no %s and no %s in this folder", dir, single_name,
                     index_name);
    hd_free(single);
    hd_free(index);
    return st;
}
