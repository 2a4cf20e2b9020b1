// Files and paths on POSIX calls. No caching, no directory walking, no knowledge of formats.
#include "kernels/base/file.h"

#include "kernels/base/log.h"
#include "kernels/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- opening -------------------------------------------------------------------------------

static hd_status os_error(const char *path, const char *doing, int code, hd_err *err)
{
    char text[128];
    hd_status st = code == ENOENT || code == ENOTDIR ? HD_E_NOTFOUND
                   : code == ENOMEM                  ? HD_E_NOMEM
                                                     : HD_E_IO;
    return HD_FAIL(err, st, "%s: cannot %s: %s", path, doing, strerror_r(code, text, sizeof(text)));
}

static hd_status open_for_reading(const char *path, int *fd, struct stat *st, hd_err *err)
{
    // Without O_NONBLOCK, a FIFO in place of a model file would hang the process here.
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return os_error(path, "open", errno, err);
    if (fstat(*fd, st) == 0) return HD_OK;
    int code = errno;
    close(*fd);
    *fd = -1;
    return os_error(path, "examine", code, err);
}

// ---- bytes by address ----------------------------------------------------------------------

// False, with errno, where it cannot be.
static bool map_whole(const char *path, int fd, size_t size, hd_filemap *out)
{
    void *p = MAP_FAILED;
    if (out->access == HD_FILE_MAP) {
        p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED && errno != ENODEV && errno != EINVAL) return false;
    }
    if (p != MAP_FAILED) {
        *out = (hd_filemap){p, size, size, HD_FILE_MAP, -1};
        return true;
    }
    if (out->access == HD_FILE_MAP)
        HD_LOG(HD_LOG_WARN, "load", "the file system cannot map this file, it will be read",
               hd_f_str("path", path));
    p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return false;
    *out = (hd_filemap){p, size, 0, HD_FILE_READ, fd};
    return true;
}

hd_status hd_filemap_open(const char *path, hd_file_access access, hd_filemap *out, hd_err *err)
{
    *out = (hd_filemap){.access = access, .fd = -1};
    int fd;
    struct stat st;
    hd_status rc = HD_OK;
    HD_TRY(open_for_reading(path, &fd, &st, err));
    if (!S_ISREG(st.st_mode))
        rc = HD_FAIL(err, HD_E_INVAL, "%s: found %s, expected a regular file", path,
                     S_ISDIR(st.st_mode) ? "a folder" : "a special file");
    else if (st.st_size > 0 && !map_whole(path, fd, (size_t)st.st_size, out))
        rc = os_error(path, "map", errno, err);
    if (out->fd < 0) close(fd); // a mapping keeps the file alive
    return rc;
}

// The system calls on mappings want plain pointers although they leave the bytes as they are.
static void *map_address(const hd_filemap *m, size_t offset)
{
    return (void *)((uintptr_t)m->data + offset); // NOLINT(performance-no-int-to-ptr)
}

void hd_filemap_close(hd_filemap *m)
{
    if (m->data) munmap(map_address(m, 0), m->size);
    if (m->data && m->access == HD_FILE_READ) close(m->fd);
    *m = (hd_filemap){.fd = -1};
}

static hd_status read_range(int fd, size_t offset, size_t bytes, char *to, hd_err *err)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(fd, to + done, bytes - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        char text[128];
        HD_CHECK(got >= 0, err, HD_E_IO, "cannot read %zu bytes from byte %zu on: %s", bytes,
                 offset, strerror_r(errno, text, sizeof(text)));
        HD_CHECK(got > 0, err, HD_E_CORRUPT,
                 "found the end of the file at byte %zu, expected %zu bytes from byte %zu on; it "
                 "was cut while it was read",
                 offset + done, bytes, offset);
        done += (size_t)got;
    }
    return HD_OK;
}

hd_status hd_filemap_need(hd_filemap *m, size_t bytes, hd_err *err)
{
    enum { STEP = 1 << 20 };
    HD_DASSERT(bytes <= m->size);
    if (bytes <= m->here) return HD_OK;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t ahead = m->here + m->here / 2 + STEP; // few calls for many small needs
    const size_t end = ahead < bytes ? bytes : ahead < m->size ? ahead : m->size;
    const size_t from = m->here & ~(page - 1);
    char text[128];
    HD_CHECK(mprotect(map_address(m, from), end - from, PROT_READ | PROT_WRITE) == 0, err,
             HD_E_NOMEM, "no memory for %zu bytes of the file: %s", end,
             strerror_r(errno, text, sizeof(text)));
    HD_TRY(read_range(m->fd, m->here, end - m->here, map_address(m, m->here), err));
    m->here = end;
    return HD_OK;
}

hd_status hd_filemap_copy(const hd_filemap *m, size_t offset, size_t bytes, void *to, hd_err *err)
{
    HD_DASSERT(offset <= m->size && bytes <= m->size - offset);
    if (m->access == HD_FILE_READ) return read_range(m->fd, offset, bytes, to, err);
    if (bytes > 0) memcpy(to, m->data + offset, bytes);
    return HD_OK;
}

// Clips [offset, offset + bytes) to the mapping; returns its end.
static size_t clip(const hd_filemap *m, size_t *offset, size_t bytes)
{
    if (*offset > m->size) *offset = m->size;
    return bytes > m->size - *offset ? m->size : *offset + bytes;
}

void hd_filemap_drop(const hd_filemap *m, size_t offset, size_t bytes)
{
    if (m->access == HD_FILE_READ) return;
    // Whole pages only: the neighbours on both sides may still be wanted. The file's last page has
    // no neighbour behind it.
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t end = clip(m, &offset, bytes);
    size_t from = (offset + page - 1) & ~(page - 1);
    if (end != m->size) end &= ~(page - 1);
    if (from < end) (void)madvise(map_address(m, from), end - from, MADV_DONTNEED);
}

void hd_filemap_want(const hd_filemap *m, size_t offset, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t end = clip(m, &offset, bytes);
    size_t from = offset & ~(page - 1);
    if (from >= end) return;
    if (m->access == HD_FILE_READ)
        (void)posix_fadvise(m->fd, (off_t)from, (off_t)(end - from), POSIX_FADV_WILLNEED);
    else
        (void)madvise(map_address(m, from), end - from, MADV_WILLNEED);
}

// ---- whole reads and writes ----------------------------------------------------------------

// Reads until the end, whatever the size was said to be: /proc files claim 0 bytes.
static hd_status read_all(const char *path, int fd, size_t expected, size_t max_bytes, hd_buf *out,
                          hd_err *err)
{
    enum { STEP = 64 * 1024 };
    size_t start = out->len;
    size_t room = expected + 1; // the extra byte meets the end without growing once more
    for (;;) {
        HD_CHECK(hd_buf_reserve(out, room), err, HD_E_NOMEM, "%s: no memory for its content", path);
        ssize_t got = read(fd, out->data + out->len, out->cap - out->len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return os_error(path, "read", errno, err);
        if (got == 0) return HD_OK;
        out->len += (size_t)got;
        out->data[out->len] = '\0';
        HD_CHECK(out->len - start <= max_bytes, err, HD_E_LIMIT,
                 "%s: found more than %zu bytes, expected at most that", path, max_bytes);
        room = out->len < out->cap ? 1 : STEP;
    }
}

hd_status hd_file_read(const char *path, size_t max_bytes, hd_buf *out, hd_err *err)
{
    int fd;
    struct stat st;
    size_t start = out->len;
    HD_TRY(open_for_reading(path, &fd, &st, err));
    hd_status rc;
    size_t expected = st.st_size > 0 && S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    if (S_ISDIR(st.st_mode))
        rc = HD_FAIL(err, HD_E_INVAL, "%s: found a folder, expected a file", path);
    else if (expected > max_bytes)
        rc = HD_FAIL(err, HD_E_LIMIT, "%s: found %zu bytes, expected at most %zu", path, expected,
                     max_bytes);
    else if (fcntl(fd, F_SETFL, 0) != 0) // pipes are legal here, and reading them may wait
        rc = os_error(path, "open", errno, err);
    else
        rc = read_all(path, fd, expected, max_bytes, out, err);
    close(fd);
    if (rc != HD_OK && out->data) {
        out->len = start;
        out->data[start] = '\0';
    }
    return rc;
}

// Opens a new file beside path; tmp receives its name. Not mkstemp: that gives mode 0600 where the
// user's umask should decide.
static int open_temporary(const char *path, char *tmp, size_t n)
{
    for (unsigned i = 0;; i++) {
        snprintf(tmp, n, "%s.%ld-%u.tmp", path, (long)getpid(), i);
        int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST || i == 1000) return fd;
    }
}

static bool write_all(int fd, hd_slice bytes)
{
    for (size_t done = 0; done < bytes.n;) {
        ssize_t put = write(fd, bytes.p + done, bytes.n - done);
        if (put < 0 && errno != EINTR) return false;
        if (put > 0) done += (size_t)put;
    }
    return fsync(fd) == 0; // else a crash could leave the new name on an empty file
}

hd_status hd_file_write(const char *path, hd_slice bytes, hd_err *err)
{
    size_t n = strlen(path) + 48;
    char *tmp = hd_alloc(n);
    HD_CHECK(tmp, err, HD_E_NOMEM, "%s: no memory to write it", path);
    hd_status rc = HD_OK;
    int fd = open_temporary(path, tmp, n);
    if (fd < 0) {
        rc = os_error(path, "create", errno, err);
        goto done;
    }
    int code = write_all(fd, bytes) ? 0 : errno;
    if (close(fd) != 0 && code == 0) code = errno;
    if (code == 0 && rename(tmp, path) != 0) code = errno;
    if (code != 0) {
        unlink(tmp);
        rc = os_error(path, "write", code, err);
    }
done:
    hd_free(tmp);
    return rc;
}

// ---- paths ---------------------------------------------------------------------------------

hd_path_kind hd_path_stat(const char *path, uint64_t *size)
{
    struct stat st;
    if (stat(path, &st) != 0) return HD_PATH_NONE;
    if (size) *size = (uint64_t)st.st_size;
    return S_ISREG(st.st_mode) ? HD_PATH_FILE : S_ISDIR(st.st_mode) ? HD_PATH_DIR : HD_PATH_OTHER;
}

char *hd_path_join(const char *dir, const char *name)
{
    size_t n_dir = strlen(dir), n_name = strlen(name);
    bool slash = n_dir > 0 && dir[n_dir - 1] != '/';
    char *path = hd_alloc(n_dir + slash + n_name + 1);
    if (!path) return NULL;
    memcpy(path, dir, n_dir);
    if (slash) path[n_dir] = '/';
    memcpy(path + n_dir + slash, name, n_name + 1);
    return path;
}

bool hd_path_is_plain(hd_slice name)
{
    if (name.n == 0 || memchr(name.p, '/', name.n) || memchr(name.p, '\0', name.n)) return false;
    return !hd_slice_eq_str(name, ".") && !hd_slice_eq_str(name, "..");
}

const char *hd_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
