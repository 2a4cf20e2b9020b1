// Files and paths on POSIX calls. No caching, no directory walking, no knowledge of formats.
#include "kernels/base/file.h"

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

// ---- mappings ------------------------------------------------------------------------------

static hd_status map_whole(const char *path, int fd, const struct stat *st, hd_filemap *out,
                           hd_err *err)
{
    HD_CHECK(S_ISREG(st->st_mode), err, HD_E_INVAL, "%s: found %s, expected a regular file", path,
             S_ISDIR(st->st_mode) ? "a folder" : "a special file");
    if (st->st_size == 0) return HD_OK;
    void *p = mmap(NULL, (size_t)st->st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return os_error(path, "map", errno, err);
    out->data = p;
    out->size = (size_t)st->st_size;
    return HD_OK;
}

hd_status hd_filemap_open(const char *path, hd_filemap *out, hd_err *err)
{
    *out = (hd_filemap){NULL, 0};
    int fd;
    struct stat st;
    HD_TRY(open_for_reading(path, &fd, &st, err));
    hd_status rc = map_whole(path, fd, &st, out, err);
    close(fd); // the mapping keeps the file alive
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
    *m = (hd_filemap){NULL, 0};
}

// Clips [offset, offset + bytes) to the mapping; returns its end.
static size_t clip(const hd_filemap *m, size_t *offset, size_t bytes)
{
    if (*offset > m->size) *offset = m->size;
    return bytes > m->size - *offset ? m->size : *offset + bytes;
}

void hd_filemap_drop(const hd_filemap *m, size_t offset, size_t bytes)
{
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
    if (from < end) (void)madvise(map_address(m, from), end - from, MADV_WILLNEED);
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
