// Any bytes as model.safetensors.index.json. What is accepted names each tensor once and only plain
// files; a refusal has a message of one line.
#include "kernels/base/status.h"
#include "models/weights/safetensors_impl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_index(const hd_st_index *x)
{
    HD_ASSERT(x->n > 0 && x->n_shards > 0 && x->n_shards <= x->n);
    for (size_t i = 0; i < x->n; i++) {
        uint32_t at;
        HD_ASSERT(x->shard_of[i] < x->n_shards);
        HD_ASSERT(hd_map_get(&x->by_name, x->name[i], &at) && at == i);
    }
    for (uint32_t i = 0; i < x->n_shards; i++) {
        HD_ASSERT(hd_path_is_plain(x->shard[i]) && strlen(x->shard[i].p) == x->shard[i].n);
        HD_ASSERT(i == 0 || !hd_slice_eq(x->shard[i], x->shard[i - 1]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_err err = {0};
    hd_json *root;
    hd_st_index x;
    hd_slice text = hd_slice_of((const char *)data, size);
    if (hd_json_parse(text, &hd_st_index_limits, &root, NULL) != HD_OK) return 0;
    hd_status st = hd_st_index_read(&x, root, &err);
    HD_ASSERT((st == HD_OK) == (err.msg[0] == '\0') && !strchr(err.msg, '\n'));
    if (st == HD_OK) check_index(&x);
    hd_st_index_fini(&x);
    return 0;
}
