// Writers of small model files for tests: GGUF, safetensors, folders; and guarded copies of bytes.
//
//   hd_gguf_writer w;
//   hd_gguf_writer_init(&w);
//   hd_gw_str(&w, "general.architecture", "llama");
//   hd_gw_floats(&w, "token_embd.weight", HD_Q8_0, 2, (const uint64_t[]){16, 32}, values);
//   hd_gw_save(&w, path);                  // or: hd_slice bytes = hd_gw_finish(&w);
//   hd_gguf_writer_fini(&w);
//
// Shapes are given as PyTorch prints them, outermost first. The *_raw functions write whatever they
// are told, for files that must be refused. Trouble of the writer itself ends the test. One thread.
#ifndef HADAL_TESTS_UNIT_WRITE_FILES_H
#define HADAL_TESTS_UNIT_WRITE_FILES_H

#include "kernels/base/buf.h"
#include "kernels/dtype.h"
#include "models/weights/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- GGUF ----------------------------------------------------------------------------------

typedef struct hd_gguf_writer {
    uint32_t version; // 3
    uint32_t align;   // 32; the caller adds general.alignment when he changes it
    uint64_t n_keys;  // as they will stand in the head
    uint64_t n_tensors;
    hd_buf keys, infos, data, out;
} hd_gguf_writer;

void hd_gguf_writer_init(hd_gguf_writer *w);
void hd_gguf_writer_fini(hd_gguf_writer *w);
// The file's bytes; valid until the next call on w.
hd_slice hd_gw_finish(hd_gguf_writer *w);
void hd_gw_save(hd_gguf_writer *w, const char *path);

void hd_gw_u8(hd_gguf_writer *w, const char *key, uint8_t v);
void hd_gw_u16(hd_gguf_writer *w, const char *key, uint16_t v);
void hd_gw_u32(hd_gguf_writer *w, const char *key, uint32_t v);
void hd_gw_i32(hd_gguf_writer *w, const char *key, int32_t v);
void hd_gw_u64(hd_gguf_writer *w, const char *key, uint64_t v);
void hd_gw_i64(hd_gguf_writer *w, const char *key, int64_t v);
void hd_gw_f32(hd_gguf_writer *w, const char *key, float v);
void hd_gw_f64(hd_gguf_writer *w, const char *key, double v);
void hd_gw_bool(hd_gguf_writer *w, const char *key, bool v);
void hd_gw_str(hd_gguf_writer *w, const char *key, const char *v);
void hd_gw_strs(hd_gguf_writer *w, const char *key, const char *const *v, size_t n);
void hd_gw_i32s(hd_gguf_writer *w, const char *key, const int32_t *v, size_t n);
void hd_gw_f32s(hd_gguf_writer *w, const char *key, const float *v, size_t n);
// split.no (from 0), split.count and split.tensors.count
void hd_gw_split(hd_gguf_writer *w, uint16_t no, uint16_t count, int32_t n_tensors);
// A pair with any type number; value: its bytes as they shall stand in the file.
void hd_gw_raw(hd_gguf_writer *w, hd_slice key, uint32_t type, const void *value, size_t bytes);

// A tensor with its bytes; data NULL fills it with a pattern.
void hd_gw_tensor(hd_gguf_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const void *data);
// A tensor encoded from floats; t must be a format that can be written.
void hd_gw_floats(hd_gguf_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const float *v);
// A directory entry alone: ne as it stands in the file (contiguous dimension first; at most 8 are
// written), type id and offset as given. Its data, if any, is put with hd_gw_data.
void hd_gw_info_raw(hd_gguf_writer *w, hd_slice name, uint32_t n_dims, const uint64_t *ne,
                    uint32_t type, uint64_t offset);
void hd_gw_data(hd_gguf_writer *w, const void *data, size_t bytes); // NULL: a pattern

// ---- safetensors ---------------------------------------------------------------------------

typedef struct hd_st_writer {
    hd_buf header; // without its closing brace
    hd_buf data, out;
    int pad; // the header is filled with blanks to a multiple of it; 8
} hd_st_writer;

void hd_st_writer_init(hd_st_writer *w);
void hd_st_writer_fini(hd_st_writer *w);
hd_slice hd_sw_finish(hd_st_writer *w);
void hd_sw_save(hd_st_writer *w, const char *path);
void hd_sw_tensor(hd_st_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const void *data); // data NULL: a pattern
void hd_sw_floats(hd_st_writer *w, const char *name, hd_dtype t, int rank, const uint64_t *shape,
                  const float *v);
// One member of the header as it shall stand there: "\"__metadata__\":{}".
void hd_sw_raw(hd_st_writer *w, const char *member);
void hd_sw_data(hd_st_writer *w, const void *data, size_t bytes); // NULL: a pattern
// A file from a header and so many bytes of data; appended to out.
void hd_st_bytes(hd_buf *out, hd_slice header, size_t data_bytes);

// ---- files and memory ----------------------------------------------------------------------

// Path of `file` in `dir`; lives until the test ends.
const char *hd_test_path(const char *dir, const char *file);
void hd_test_write(const char *path, hd_slice bytes);
void hd_test_write_str(const char *path, const char *text);
void hd_test_mkdir(const char *path);

// A copy of s that ends at a page no one may touch; read-only.
typedef struct hd_guarded {
    hd_slice bytes;
    void *map;
    size_t map_bytes;
} hd_guarded;
hd_guarded hd_guard(hd_slice s);
void hd_guard_free(hd_guarded *g);

#endif
