// Any bytes as a safetensors file. What opens is covered by its tensors from the end of the header
// to the last byte, and lookup finds each of them; a refusal has a message of one line.
#include "kernels/base/status.h"
#include "models/weights/source.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void check_tensor(const hd_source *s, const hd_source_tensor *t)
{
    uint64_t n = 1, bytes;
    HD_ASSERT(t->name.n >= 1 && t->name.n <= 1024 && t->rank <= HD_SOURCE_MAX_RANK);
    for (int32_t d = 0; d < t->rank; d++)
        n *= t->shape[d];
    HD_ASSERT(hd_dtype_bytes(t->dtype, n, &bytes) && bytes == t->bytes);
    HD_ASSERT(hd_source_find(s, t->name) == t && t->file == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_err err = {0};
    hd_source *s;
    hd_status st = hd_source_open_safetensors_mem(hd_slice_of((const char *)data, size), &s, &err);
    HD_ASSERT((st == HD_OK) == (s != NULL) && (st == HD_OK) == (err.msg[0] == '\0'));
    HD_ASSERT(!strchr(err.msg, '\n'));
    if (!s) return 0;
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--)
        header = header << 8 | data[i];
    const uint8_t *at = data + 8 + header;
    for (size_t i = 0; i < hd_source_count(s); i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        check_tensor(s, t);
        HD_ASSERT(t->data == at);
        at += t->bytes;
    }
    HD_ASSERT(at == data + size && hd_source_bytes(s) == size - 8 - header);
    for (const uint8_t *p = data; p < data + size; p++)
        sink = (uint8_t)(sink + *p);
    hd_source_close(s);
    return 0;
}
