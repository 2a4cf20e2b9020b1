// The writers behind write_files.h. They know the formats independently of the readers: nothing of
// models/weights is used but the numbers of GGUF's value types.
#include "tests/unit/write_files.h"

#include "kernels/base/file.h"
#include "kernels/base/json.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- bytes ---------------------------------------------------------------------------------

static void put_le(hd_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        hd_buf_putc(b, (char)(v >> 8 * i));
}

static void put_text(hd_buf *b, hd_slice s)
{
    put_le(b, s.n, 8);
    hd_buf_put_slice(b, s);
}

static void put_pattern(hd_buf *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hd_buf_putc(b, (char)(b->len % 251));
}

static void put_data(hd_buf *b, const void *data, size_t n)
{
    if (data)
        hd_buf_put(b, data, n);
    else
        put_pattern(b, n);
}

static void pad(hd_buf *b, size_t align, char with)
{
    while (b->len % align != 0)
        hd_buf_putc(b, with);
}

static uint64_t count(int rank, const uint64_t *shape)
{
    uint64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= shape[i];
    return n;
}

static size_t tensor_bytes(hd_dtype t, int rank, const uint64_t *shape)
{
    uint64_t bytes = 0;
    EXPECT(hd_dtype_bytes(t, count(rank, shape), &bytes));
    return (size_t)bytes;
}

// The caller frees it.
static void *encode(hd_dtype t, int rank, const uint64_t *shape, const float *v)
{
    const hd_dtype_traits *row = hd_dtype_get(t);
    EXPECT(row->from_f32);
    void *bytes = hd_alloc(tensor_bytes(t, rank, shape));
    EXPECT(bytes);
    row->from_f32(v, bytes, (int64_t)count(rank, shape));
    return bytes;
}

// ---- GGUF ----------------------------------------------------------------------------------

void hd_gguf_writer_init(hd_gguf_writer *w)
{
    *w = (hd_gguf_writer){.version = 3, .align = 32};
}

void hd_gguf_writer_fini(hd_gguf_writer *w)
{
    hd_buf_fini(&w->keys);
    hd_buf_fini(&w->infos);
    hd_buf_fini(&w->data);
    hd_buf_fini(&w->out);
}

hd_slice hd_gw_finish(hd_gguf_writer *w)
{
    hd_buf *b = &w->out;
    hd_buf_clear(b);
    hd_buf_puts(b, "GGUF");
    put_le(b, w->version, 4);
    put_le(b, w->n_tensors, 8);
    put_le(b, w->n_keys, 8);
    hd_buf_put_slice(b, hd_buf_slice(&w->keys));
    hd_buf_put_slice(b, hd_buf_slice(&w->infos));
    if (w->n_tensors > 0) pad(b, w->align, '\0');
    hd_buf_put_slice(b, hd_buf_slice(&w->data));
    EXPECT(!b->failed && !w->keys.failed && !w->infos.failed && !w->data.failed);
    return hd_buf_slice(b);
}

void hd_gw_save(hd_gguf_writer *w, const char *path)
{
    hd_test_write(path, hd_gw_finish(w));
}

void hd_gw_raw(hd_gguf_writer *w, hd_slice key, uint32_t type, const void *value, size_t bytes)
{
    put_text(&w->keys, key);
    put_le(&w->keys, type, 4);
    hd_buf_put(&w->keys, value, bytes);
    w->n_keys++;
}

static void number(hd_gguf_writer *w, const char *key, hd_gguf_type type, uint64_t v, int bytes)
{
    hd_gw_raw(w, hd_slice_str(key), type, "", 0);
    put_le(&w->keys, v, bytes);
}

void hd_gw_u8(hd_gguf_writer *w, const char *key, uint8_t v)
{
    number(w, key, HD_GGUF_U8, v, 1);
}

void hd_gw_u16(hd_gguf_writer *w, const char *key, uint16_t v)
{
    number(w, key, HD_GGUF_U16, v, 2);
}

void hd_gw_u32(hd_gguf_writer *w, const char *key, uint32_t v)
{
    number(w, key, HD_GGUF_U32, v, 4);
}

void hd_gw_i32(hd_gguf_writer *w, const char *key, int32_t v)
{
    number(w, key, HD_GGUF_I32, (uint32_t)v, 4);
}

void hd_gw_u64(hd_gguf_writer *w, const char *key, uint64_t v)
{
    number(w, key, HD_GGUF_U64, v, 8);
}

void hd_gw_i64(hd_gguf_writer *w, const char *key, int64_t v)
{
    number(w, key, HD_GGUF_I64, (uint64_t)v, 8);
}

void hd_gw_f32(hd_gguf_writer *w, const char *key, float v)
{
    number(w, key, HD_GGUF_F32, hd_f32_bits(v), 4);
}

void hd_gw_f64(hd_gguf_writer *w, const char *key, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    number(w, key, HD_GGUF_F64, bits, 8);
}

void hd_gw_bool(hd_gguf_writer *w, const char *key, bool v)
{
    number(w, key, HD_GGUF_BOOL, v, 1);
}

void hd_gw_str(hd_gguf_writer *w, const char *key, const char *v)
{
    hd_gw_raw(w, hd_slice_str(key), HD_GGUF_STRING, "", 0);
    put_text(&w->keys, hd_slice_str(v));
}

static void array(hd_gguf_writer *w, const char *key, hd_gguf_type type, size_t n)
{
    hd_gw_raw(w, hd_slice_str(key), HD_GGUF_ARRAY, "", 0);
    put_le(&w->keys, type, 4);
    put_le(&w->keys, n, 8);
}

void hd_gw_strs(hd_gguf_writer *w, const char *key, const char *const *v, size_t n)
{
    array(w, key, HD_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        put_text(&w->keys, hd_slice_str(v[i]));
}

void hd_gw_i32s(hd_gguf_writer *w, const char *key, const int32_t *v, size_t n)
{
    array(w, key, HD_GGUF_I32, n);
    for (size_t i = 0; i < n; i++)
        put_le(&w->keys, (uint32_t)v[i], 4);
}

void hd_gw_f32s(hd_gguf_writer *w, const char *key, const float *v, size_t n)
{
    array(w, key, HD_GGUF_F32, n);
    for (size_t i = 0; i < n; i++)
        put_le(&w->keys, hd_f32_bits(v[i]), 4);
}

void hd_gw_split(hd_gguf_writer *w, uint16_t no, uint16_t parts, int32_t n_tensors)
{
    hd_gw_u16(w, "split.no", no);
    hd_gw_u16(w, "split.count", parts);
    hd_gw_i32(w, "split.tensors.count", n_tensors);
}

void hd_gw_info_raw(hd_gguf_writer *w, hd_slice name, uint32_t n_dims, const uint64_t *ne,
                    uint32_t type, uint64_t offset)
{
    put_text(&w->infos, name);
    put_le(&w->infos, n_dims, 4);
    for (uint32_t i = 0; i < n_dims && i < 8; i++)
        put_le(&w->infos, ne[i], 8);
    put_le(&w->infos, type, 4);
    put_le(&w->infos, offset, 8);
    w->n_tensors++;
}

void hd_gw_data(hd_gguf_writer *w, const void *data, size_t bytes)
{
    put_data(&w->data, data, bytes);
}

void hd_gw_tensor(hd_gguf_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const void *data)
{
    uint64_t ne[8];
    EXPECT(rank <= 8 && hd_dtype_get(t)->ggml_id >= 0);
    for (int i = 0; i < rank; i++)
        ne[i] = shape[rank - 1 - i];
    pad(&w->data, w->align, '\0');
    hd_gw_info_raw(w, hd_slice_str(name), (uint32_t)rank, ne, (uint32_t)hd_dtype_get(t)->ggml_id,
                   w->data.len);
    hd_gw_data(w, data, tensor_bytes(t, rank, shape));
}

void hd_gw_floats(hd_gguf_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const float *v)
{
    void *bytes = encode(t, rank, shape, v);
    hd_gw_tensor(w, name, t, rank, shape, bytes);
    hd_free(bytes);
}

// ---- safetensors ---------------------------------------------------------------------------

void hd_st_writer_init(hd_st_writer *w)
{
    *w = (hd_st_writer){.pad = 8};
    hd_buf_putc(&w->header, '{');
}

void hd_st_writer_fini(hd_st_writer *w)
{
    hd_buf_fini(&w->header);
    hd_buf_fini(&w->data);
    hd_buf_fini(&w->out);
}

void hd_sw_raw(hd_st_writer *w, const char *member)
{
    if (w->header.len > 1) hd_buf_putc(&w->header, ',');
    hd_buf_puts(&w->header, member);
}

void hd_sw_data(hd_st_writer *w, const void *data, size_t bytes)
{
    put_data(&w->data, data, bytes);
}

void hd_sw_tensor(hd_st_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const void *data)
{
    size_t begin = w->data.len, bytes = tensor_bytes(t, rank, shape);
    const char *dtype = hd_dtype_get(t)->st;
    EXPECT(dtype);
    if (w->header.len > 1) hd_buf_putc(&w->header, ',');
    hd_json_put_str(&w->header, hd_slice_str(name));
    hd_buf_printf(&w->header, ":{\"dtype\":\"%s\",\"shape\":[", dtype);
    for (int i = 0; i < rank; i++)
        hd_buf_printf(&w->header, "%s%" PRIu64, i ? "," : "", shape[i]);
    hd_buf_printf(&w->header, "],\"data_offsets\":[%zu,%zu]}", begin, begin + bytes);
    hd_sw_data(w, data, bytes);
}

void hd_sw_floats(hd_st_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const float *v)
{
    void *bytes = encode(t, rank, shape, v);
    hd_sw_tensor(w, name, t, rank, shape, bytes);
    hd_free(bytes);
}

hd_slice hd_sw_finish(hd_st_writer *w)
{
    hd_buf *b = &w->out;
    hd_buf_clear(b);
    size_t n = w->header.len + 1, align = (size_t)w->pad;
    size_t padded = (n + align - 1) / align * align;
    put_le(b, padded, 8);
    hd_buf_put_slice(b, hd_buf_slice(&w->header));
    hd_buf_putc(b, '}');
    for (; n < padded; n++)
        hd_buf_putc(b, ' ');
    hd_buf_put_slice(b, hd_buf_slice(&w->data));
    EXPECT(!b->failed && !w->header.failed && !w->data.failed);
    return hd_buf_slice(b);
}

void hd_sw_save(hd_st_writer *w, const char *path)
{
    hd_test_write(path, hd_sw_finish(w));
}

void hd_st_bytes(hd_buf *out, hd_slice header, size_t data_bytes)
{
    put_le(out, header.n, 8);
    hd_buf_put_slice(out, header);
    put_pattern(out, data_bytes);
    EXPECT(!out->failed);
}

// ---- files and memory ----------------------------------------------------------------------

const char *hd_test_path(const char *dir, const char *file)
{
    enum { KEPT = 64 };
    static char path[KEPT][512];
    static int next;
    char *p = path[next++ % KEPT];
    int n = snprintf(p, sizeof(path[0]), "%s/%s", dir, file);
    EXPECT(n > 0 && (size_t)n < sizeof(path[0]));
    return p;
}

void hd_test_write(const char *path, hd_slice bytes)
{
    hd_err err = {0};
    if (hd_file_write(path, bytes, &err) != HD_OK) hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

void hd_test_write_str(const char *path, const char *text)
{
    hd_test_write(path, hd_slice_str(text));
}

void hd_test_mkdir(const char *path)
{
    EXPECT(mkdir(path, 0700) == 0);
}

hd_guarded hd_guard(hd_slice s)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (s.n + page - 1) / page * page;
    hd_guarded g = {.map_bytes = body + page};
    char *p = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED);
    char *at = p + body - s.n;
    if (s.n) memcpy(at, s.p, s.n);
    if (body) EXPECT(mprotect(p, body, PROT_READ) == 0);
    EXPECT(mprotect(p + body, page, PROT_NONE) == 0);
    g.map = p;
    g.bytes = hd_slice_of(at, s.n);
    return g;
}

void hd_guard_free(hd_guarded *g)
{
    munmap(g->map, g->map_bytes);
    *g = (hd_guarded){.map = NULL};
}
