// Files: their bytes by address, bounded whole reads, path joining.
//
// Error messages name the path and the operating system's reason.
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

typedef enum hd_file_access {
    HD_FILE_MAP, // where the file system cannot map, a warning is logged and the file is read
    HD_FILE_READ
} hd_file_access;

// A regular file's bytes by address, read-only. Of a file that is read, `data` reserves addresses
// alone: the first `here` bytes are there, the others come with hd_filemap_copy; touching them ends
// the process. Any thread may use one, except that hd_filemap_need is its opener's alone.
typedef struct hd_filemap {
    const uint8_t *data; // NULL when size is 0
    size_t size, here;   // here == size: mapped, or all of it was needed
    hd_file_access access;
    int fd; // open with HD_FILE_READ
} hd_filemap;

hd_status hd_filemap_open(const char *path, hd_file_access access, hd_filemap *out, hd_err *err);
void hd_filemap_close(hd_filemap *m); // a zeroed one is legal
// Brings the first `bytes` bytes; they stay. Messages of this and the next do not name the path.
hd_status hd_filemap_need(hd_filemap *m, size_t bytes, hd_err *err);
// Copies a range that lies inside the file. A file that was cut meanwhile is an error if it is
// read.
hd_status hd_filemap_copy(const hd_filemap *m, size_t offset, size_t bytes, void *to, hd_err *err);
// Tells the system that the range has been consumed (a mapping's pages may go) or will be read.
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
