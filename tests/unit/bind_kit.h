// What the tests of the binder share: a backend that counts the weights of the CPU backend, a
// source in memory, and a binder on both.
#ifndef HADAL_TESTS_UNIT_BIND_KIT_H
#define HADAL_TESTS_UNIT_BIND_KIT_H

#include "models/weights/binder.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

// ---- a backend that only counts weights ----------------------------------------------------

typedef struct counting {
    hd_backend base;
    hd_backend_ops ops;
    hd_backend *cpu;
    int live, packed;
    int fail_at; // the so-manieth pack fails; 0: none
} counting;

static inline counting *counting_of(hd_backend *be)
{
    return (counting *)be;
}

static inline hd_status counting_new(hd_backend *be, const hd_weight_spec *spec, hd_weight **out,
                                     hd_err *err)
{
    counting *c = counting_of(be);
    *out = NULL;
    if (++c->packed == c->fail_at) return hd_fail(err, HD_E_DEVICE, "%s: out of luck", spec->name);
    hd_status st = c->cpu->ops->weight_new(c->cpu, spec, out, err);
    c->live += st == HD_OK;
    return st;
}

static inline hd_status counting_fill(hd_backend *be, hd_weight *w, const hd_weight_spec *spec,
                                      int32_t first, int32_t n, hd_err *err)
{
    counting *c = counting_of(be);
    return c->cpu->ops->weight_fill(c->cpu, w, spec, first, n, err);
}

static inline void counting_free(hd_backend *be, hd_weight *w)
{
    counting *c = counting_of(be);
    c->live -= w != NULL;
    c->cpu->ops->weight_free(c->cpu, w);
}

static inline void counting_info(const hd_backend *be, const hd_weight *w, hd_weight_info *out)
{
    const counting *c = (const counting *)be;
    c->cpu->ops->weight_info(c->cpu, w, out);
}

// One thread; for tests with a pool the CPU backend is used as it is.
static inline void counting_open(counting *c)
{
    const hd_device_cfg cfg = {.device = "cpu"};
    hd_err err = {0};
    *c = (counting){0};
    EXPECT_INT(hd_backend_open(&cfg, &c->cpu, &err), HD_OK);
    c->ops = *c->cpu->ops;
    c->ops.weight_new = counting_new;
    c->ops.weight_fill = counting_fill;
    c->ops.weight_free = counting_free;
    c->ops.weight_info = counting_info;
    c->base.ops = &c->ops;
}

static inline void counting_close(counting *c)
{
    EXPECT_INT(c->live, 0);
    hd_backend_close(c->cpu);
}

// ---- a source ------------------------------------------------------------------------------

static hd_file_access files_access = HD_FILE_MAP; // as the test wants it

typedef struct files {
    hd_st_writer w;
    hd_source *src;
} files;

static inline void add(files *f, const char *name, hd_dtype t, int rank, uint64_t a, uint64_t b,
                       uint64_t c)
{
    const uint64_t shape[] = {a, b, c};
    hd_sw_tensor(&f->w, name, t, rank, shape, NULL);
}

static inline void files_open(files *f)
{
    hd_err err = {0};
    const char *dir = hd_test_tmpdir();
    EXPECT_INT(hd_file_write(hd_test_path(dir, "model.safetensors"), hd_sw_finish(&f->w), &err),
               HD_OK);
    if (hd_source_open_safetensors(dir, files_access, &f->src, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
}

static inline void files_close(files *f)
{
    hd_source_close(f->src);
    hd_st_writer_fini(&f->w);
}

// A test once more, with files that are not mapped.
#define FROM_READ_FILES(test)                                                                      \
    static void test##_from_read_files(void)                                                       \
    {                                                                                              \
        files_access = HD_FILE_READ;                                                               \
        test();                                                                                    \
    }

static inline hd_binder *binder(const hd_source *src, hd_backend *be, const hd_model_opts *opts)
{
    hd_binder *b;
    hd_err err = {0};
    if (hd_binder_open(src, be, opts, &b, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s", err.msg);
    return b;
}

typedef struct progress { // what hd_model_opts.progress heard
    int calls;
    uint64_t done, total;
} progress;

static inline void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    progress *p = ctx;
    EXPECT(done >= p->done && done <= total);
    p->calls++;
    p->done = done;
    p->total = total;
}

static const hd_model_opts keep = {.weights = HD_WEIGHTS_ALL(HD_DTYPE_NONE)};

#endif
