// Files: read-only mappings, bounded whole reads, path joining.
//
// Error messages name the path and the operating system's reason. A mapping is read-only and may be
// read by any thread; it belongs to whoever opened it.
#ifndef HADAL_KERNELS_BASE_FILE_H
#define HADAL_KERNELS_BASE_FILE_H

#include "kernels/base/buf.h"
#include "kernels/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_filemap {
    const uint8_t *data; // NULL when size is 0
    size_t size;
} hd_filemap;

hd_status hd_filemap_open(const char *path, hd_filemap *out, hd_err *err); // regular files only
void hd_filemap_close(hd_filemap *m);
// Tells the kernel that the range has been consumed (its page-cache pages may go) or will be read.
void hd_filemap_drop(const hd_filemap *m, size_t offset, size_t bytes);
void hd_filemap_want(const hd_filemap *m, size_t offset, size_t bytes);

// Appends the whole file; HD_E_LIMIT when it is larger than max_bytes.
hd_status hd_file_read(const char *path, size_t max_bytes, hd_buf *out, hd_err *err);
// Writes through a temporary file and a rename, so readers never see half of it.
hd_status hd_file_write(const char *path, hd_slice bytes, hd_err *err);

typedef enum hd_path_kind { HD_PATH_NONE, HD_PATH_FILE, HD_PATH_DIR, HD_PATH_OTHER } hd_path_kind;
hd_path_kind hd_path_stat(const char *path, uint64_t *size); // follows links; size may be NULL
char *hd_path_join(const char *dir, const char *name);       // heap; NULL: memory
// True when name is a plain file name: not empty, no '/', no NUL, not "." or "..".
bool hd_path_is_plain(hd_slice name);
const char *hd_path_base(const char *path); // points behind the last '/'

#ifdef __cplusplus
}
#endif

#endif
