// Files on a real file system: mappings, whole reads and writes, paths, exhausted memory.
#include "kernels/base/file.h"
#include "kernels/base/mem.h"
#include "tests/harness/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *in_tmp(const char *name)
{
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof(path[0]), "%s/%s", hd_test_tmpdir(), name);
    return p;
}

static void put(const char *path, const char *bytes, size_t n)
{
    hd_err err = {0};
    if (hd_file_write(path, hd_slice_of(bytes, n), &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static int entries(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    EXPECT(d != NULL);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void maps_regular_files(void)
{
    hd_filemap m;
    hd_err err = {0};
    put(in_tmp("a"), "hello\0world", 11);
    EXPECT_INT(hd_filemap_open(in_tmp("a"), HD_FILE_MAP, &m, &err), HD_OK);
    EXPECT(m.size == 11 && memcmp(m.data, "hello\0world", 11) == 0);
    unlink(in_tmp("a")); // the mapping keeps it
    EXPECT_INT(m.data[10], 'd');
    hd_filemap_close(&m);
    EXPECT(m.data == NULL && m.size == 0);
    hd_filemap_close(&m);
    put(in_tmp("empty"), "", 0);
    EXPECT_INT(hd_filemap_open(in_tmp("empty"), HD_FILE_MAP, &m, &err), HD_OK);
    EXPECT(m.data == NULL && m.size == 0);
    hd_filemap_drop(&m, 0, 10);
    hd_filemap_want(&m, 0, 10);
    hd_filemap_close(&m);
}

static void refuses_what_is_no_file(void)
{
    hd_filemap m;
    hd_err err = {0};
    EXPECT_INT(hd_filemap_open(in_tmp("none"), HD_FILE_MAP, &m, &err), HD_E_NOTFOUND);
    EXPECT_CONTAINS(err.msg, "none: cannot open: No such file");
    EXPECT(m.data == NULL && m.size == 0);
    EXPECT_INT(hd_filemap_open(hd_test_tmpdir(), HD_FILE_MAP, &m, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "found a folder, expected a regular file");
    EXPECT_INT(mkfifo(in_tmp("fifo"), 0600), 0); // must not wait for a writer
    EXPECT_INT(hd_filemap_open(in_tmp("fifo"), HD_FILE_MAP, &m, &err), HD_E_INVAL);
    EXPECT_CONTAINS(err.msg, "found a special file");
}

static void reads_what_is_needed(void)
{
    enum { BYTES = 5 << 20 };
    char *bytes = malloc(BYTES), *copy = malloc(BYTES);
    hd_filemap m;
    hd_err err = {0};
    EXPECT(bytes != NULL && copy != NULL);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 31 + i / 4096);
    put(in_tmp("a"), bytes, BYTES);
    EXPECT_INT(hd_filemap_open(in_tmp("a"), HD_FILE_READ, &m, &err), HD_OK);
    EXPECT(m.data && m.size == BYTES && m.here == 0);
    static const size_t need[] = {0, 1, 4096, 5000, (1 << 20) + 1, 3 << 20, BYTES - 1, BYTES};
    for (size_t i = 0; i < sizeof(need) / sizeof(need[0]); i++) {
        EXPECT_INT(hd_filemap_need(&m, need[i], &err), HD_OK);
        EXPECT(m.here >= need[i] && m.here <= BYTES && memcmp(m.data, bytes, m.here) == 0);
    }
    hd_filemap_drop(&m, 0, BYTES); // what is there stays
    hd_filemap_want(&m, 0, BYTES);
    EXPECT(memcmp(m.data, bytes, BYTES) == 0);
    EXPECT_INT(hd_filemap_copy(&m, 4095, BYTES - 5000, copy, &err), HD_OK);
    EXPECT(memcmp(copy, bytes + 4095, BYTES - 5000) == 0);
    EXPECT_INT(truncate(in_tmp("a"), 4096), 0);
    EXPECT_INT(hd_filemap_copy(&m, 4000, 97, copy, &err), HD_E_CORRUPT);
    EXPECT_CONTAINS(err.msg, "found the end of the file at byte 4096, expected 97 bytes");
    hd_filemap_close(&m);
    EXPECT(m.data == NULL && m.size == 0);
    hd_filemap_close(&m);
    free(bytes);
    free(copy);
}

// Files that a file system makes up as they are read have no pages to map.
static void reads_what_cannot_be_mapped(void)
{
    static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
    hd_filemap m;
    hd_err err = {0};
    struct stat st;
    if (stat(path, &st) != 0 || st.st_size == 0) hd_test_skip("no such file in /sys");
    EXPECT_INT(hd_filemap_open(path, HD_FILE_MAP, &m, &err), HD_OK);
    EXPECT(m.access == HD_FILE_READ && m.size == (size_t)st.st_size);
    char text[8] = "";
    EXPECT_INT(hd_filemap_copy(&m, 0, 6, text, &err), HD_OK);
    EXPECT(strcmp(text, "always") == 0 || strcmp(text, "[alway") == 0);
    EXPECT_INT(hd_filemap_need(&m, m.size, &err), HD_E_CORRUPT); // shorter than it says
    hd_filemap_close(&m);
}

static void drops_and_wants_any_range(void)
{
    static char bytes[5 * 4096 + 100];
    hd_filemap m;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 31 + i / 4096);
    put(in_tmp("big"), bytes, sizeof(bytes));
    EXPECT_INT(hd_filemap_open(in_tmp("big"), HD_FILE_MAP, &m, NULL), HD_OK);
    static const size_t at[] = {0, 1, 4095, 4096, 4097, 5 * 4096, sizeof(bytes), 1 << 20, SIZE_MAX};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
        for (size_t k = 0; k < sizeof(at) / sizeof(at[0]); k++) {
            hd_filemap_drop(&m, at[i], at[k]);
            hd_filemap_want(&m, at[i], at[k]);
            EXPECT(memcmp(m.data, bytes, sizeof(bytes)) == 0);
        }
    hd_filemap_close(&m);
}

static void reads_within_the_limit(void)
{
    hd_buf b = {0};
    hd_err err = {0};
    put(in_tmp("a"), "12345678", 8);
    hd_buf_puts(&b, "> ");
    EXPECT_INT(hd_file_read(in_tmp("a"), 8, &b, &err), HD_OK);
    EXPECT_STR(b.data, "> 12345678");
    EXPECT_INT(hd_file_read(in_tmp("a"), 7, &b, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "a: found 8 bytes, expected at most 7");
    EXPECT_STR(b.data, "> 12345678");
    EXPECT_INT(hd_file_read(hd_test_tmpdir(), 7, &b, &err), HD_E_INVAL);
    EXPECT_INT(hd_file_read(in_tmp("none"), 7, &b, &err), HD_E_NOTFOUND);
    // Files that do not know their size: one of the kernel's, and an endless one.
    hd_buf_clear(&b);
    EXPECT_INT(hd_file_read("/proc/self/status", 1 << 20, &b, &err), HD_OK);
    EXPECT_CONTAINS(b.data, "VmRSS");
    hd_buf_clear(&b);
    EXPECT_INT(hd_file_read("/dev/zero", 1 << 20, &b, &err), HD_E_LIMIT);
    EXPECT_INT(b.len, 0);
    hd_buf_fini(&b);
}

static void writes_whole_or_nothing(void)
{
    hd_buf b = {0};
    hd_err err = {0};
    struct stat st;
    umask(022);
    put(in_tmp("a"), "old", 3);
    put(in_tmp("a"), "new content", 11);
    EXPECT(hd_file_read(in_tmp("a"), 100, &b, &err) == HD_OK && strcmp(b.data, "new content") == 0);
    EXPECT(stat(in_tmp("a"), &st) == 0 && (st.st_mode & 0777) == 0644);
    EXPECT_INT(mkdir(in_tmp("folder"), 0700), 0);
    EXPECT(hd_file_write(in_tmp("folder"), hd_slice_str("x"), &err) != HD_OK);
    EXPECT_CONTAINS(err.msg, "folder: cannot write");
    EXPECT_INT(hd_file_write(in_tmp("none/x"), hd_slice_str("x"), &err), HD_E_NOTFOUND);
    EXPECT_INT(entries(hd_test_tmpdir()), 2); // no temporary file stayed behind
    hd_buf_fini(&b);
}

static void survives_exhausted_memory(void)
{
    hd_err err = {0};
    hd_buf b = {0};
    put(in_tmp("a"), "abc", 3);
    hd_mem_fail_at(1, false);
    EXPECT_INT(hd_file_read(in_tmp("a"), 100, &b, &err), HD_E_NOMEM);
    hd_mem_fail_at(1, false);
    EXPECT_INT(hd_file_write(in_tmp("b"), hd_slice_str("x"), &err), HD_E_NOMEM);
    hd_mem_fail_at(1, false);
    EXPECT(hd_path_join("a", "b") == NULL);
    hd_mem_fail_at(0, false);
    EXPECT_INT(entries(hd_test_tmpdir()), 1);
    hd_buf_fini(&b);
}

static void joins_and_judges_paths(void)
{
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {"a", "", "a/"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *p = hd_path_join(cases[i][0], cases[i][1]);
        EXPECT_STR(p, cases[i][2]);
        hd_free(p);
    }
    EXPECT(hd_path_is_plain(hd_slice_str("model-00001.safetensors")));
    EXPECT(hd_path_is_plain(hd_slice_str("...")) && hd_path_is_plain(hd_slice_str(".x")));
    static const char *const bad[] = {"", ".", "..", "/", "a/b", "../a", "a/"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        EXPECT(!hd_path_is_plain(hd_slice_str(bad[i])));
    EXPECT(!hd_path_is_plain(hd_slice_of("a\0b", 3)));
    EXPECT_STR(hd_path_base("/a/b.c"), "b.c");
    EXPECT_STR(hd_path_base("b.c"), "b.c");
    EXPECT_STR(hd_path_base("a/"), "");
    uint64_t size = 0;
    put(in_tmp("f"), "123", 3);
    EXPECT(hd_path_stat(in_tmp("f"), &size) == HD_PATH_FILE && size == 3);
    EXPECT_INT(hd_path_stat(hd_test_tmpdir(), NULL), HD_PATH_DIR);
    EXPECT_INT(hd_path_stat(in_tmp("none"), NULL), HD_PATH_NONE);
    EXPECT_INT(hd_path_stat("/dev/null", NULL), HD_PATH_OTHER);
    EXPECT(symlink("f", in_tmp("link")) == 0 && hd_path_stat(in_tmp("link"), NULL) == HD_PATH_FILE);
}

HD_TEST_MAIN("file", {"maps_regular_files", maps_regular_files},
             {"refuses_what_is_no_file", refuses_what_is_no_file},
             {"reads_what_is_needed", reads_what_is_needed},
             {"reads_what_cannot_be_mapped", reads_what_cannot_be_mapped},
             {"drops_and_wants_any_range", drops_and_wants_any_range},
             {"reads_within_the_limit", reads_within_the_limit},
             {"writes_whole_or_nothing", writes_whole_or_nothing},
             {"survives_exhausted_memory", survives_exhausted_memory},
             {"joins_and_judges_paths", joins_and_judges_paths})
