// Any bytes as a GGUF file. What opens must keep its promises:
//   - every tensor lies inside the bytes, none overlaps another, and lookup finds it by name;
//   - every key is found again by its name and has exactly one kind of value;
//   - a refusal has a message of one line.
#include "kernels/base/status.h"
#include "models/weights/source.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void touch(const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i += i + 64 < n ? 64 : 1)
        sink = (uint8_t)(sink + b[i]);
}

static size_t element_bytes(hd_gguf_type t)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[t];
}

static void check_array(const hd_gguf_array *a)
{
    HD_ASSERT(a->type <= HD_GGUF_F64 && a->type != HD_GGUF_ARRAY);
    HD_ASSERT((a->str != NULL) == (a->type == HD_GGUF_STRING));
    touch(a->data, (size_t)a->n * element_bytes(a->type));
    for (uint64_t i = 0; a->str && i < a->n; i++)
        touch(a->str[i].p, a->str[i].n);
}

static void check_key(const hd_gguf *g, size_t i, hd_buf *text)
{
    hd_slice key = hd_gguf_key(g, i), s;
    char *name = malloc(key.n + 1);
    HD_ASSERT(name);
    memcpy(name, key.p, key.n);
    name[key.n] = '\0';
    HD_ASSERT(strlen(name) == key.n && hd_gguf_has(g, name));
    int64_t n;
    double f;
    bool b;
    hd_gguf_array a;
    bool is_i64 = hd_gguf_get_i64(g, name, INT64_MIN, INT64_MAX, &n, NULL) == HD_OK;
    bool is_f64 = hd_gguf_get_f64(g, name, &f, NULL) == HD_OK;
    bool is_bool = hd_gguf_get_bool(g, name, &b, NULL) == HD_OK;
    bool is_str = hd_gguf_get_str(g, name, &s, NULL) == HD_OK;
    bool is_array = hd_gguf_get_array(g, name, HD_GGUF_ARRAY, &a, NULL) == HD_OK;
    HD_ASSERT(is_bool + is_str + is_array + (is_i64 || is_f64) <= 1);
    HD_ASSERT(!is_f64 || f - f == 0);
    HD_ASSERT(!is_i64 || is_f64);
    if (is_str) touch(s.p, s.n);
    if (is_array) check_array(&a);
    hd_buf_clear(text);
    hd_gguf_value_text(g, i, 80, text);
    HD_ASSERT(!text->failed && (!text->data || !strchr(text->data, '\n')));
    free(name);
}

static void check_tensors(const hd_source *s, const uint8_t *data, size_t size)
{
    const uint8_t *end = data;
    uint64_t sum = 0;
    for (size_t i = 0; i < hd_source_count(s); i++) {
        const hd_source_tensor *t = hd_source_at(s, i);
        const uint8_t *p = t->data;
        HD_ASSERT(p >= end && t->bytes > 0 && t->bytes <= (size_t)(data + size - p));
        end = p + t->bytes;
        sum += t->bytes;
        uint64_t n = 1, bytes;
        for (int32_t d = 0; d < t->rank; d++)
            n *= t->shape[d];
        HD_ASSERT(hd_dtype_bytes(t->dtype, n, &bytes) && bytes == t->bytes);
        HD_ASSERT(hd_source_find(s, t->name) == t && t->file == 0);
        touch(t->data, (size_t)t->bytes);
    }
    HD_ASSERT(sum == hd_source_bytes(s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_err err = {0};
    hd_gguf *g;
    hd_source *s;
    hd_buf text = {0};
    hd_status st = hd_gguf_open_mem(hd_slice_of((const char *)data, size), &g, &err);
    HD_ASSERT((st == HD_OK) == (g != NULL) && (st == HD_OK) == (err.msg[0] == '\0'));
    HD_ASSERT(!strchr(err.msg, '\n'));
    if (!g) return 0;
    for (size_t i = 0; i < hd_gguf_n_keys(g); i++)
        check_key(g, i, &text);
    HD_ASSERT(hd_source_open_gguf(g, &s, NULL) == HD_OK);
    check_tensors(s, data, size);
    hd_source_close(s);
    hd_gguf_close(g);
    hd_buf_fini(&text);
    return 0;
}
