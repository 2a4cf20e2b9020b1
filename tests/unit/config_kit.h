// What the tests of configurations share: texts and GGUF keys to a configuration, and refusals.
#ifndef HADAL_TESTS_UNIT_CONFIG_KIT_H
#define HADAL_TESTS_UNIT_CONFIG_KIT_H

#include "models/config.h"
#include "models/model.h"
#include "tests/harness/test.h"
#include "tests/unit/write_files.h"

#include <stdio.h>

// `head` is an object without its closing brace, `more` begins with a comma; later fields win.
static inline hd_status parse(const char *head, const char *more, hd_model_cfg *cfg, hd_err *err)
{
    char text[2048];
    hd_json *j;
    snprintf(text, sizeof(text), "%s%s}", head, more);
    if (hd_json_parse(hd_slice_str(text), &hd_json_file_limits, &j, err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", text, err->msg);
    hd_status st = hd_config_from_json(j, cfg, err);
    hd_json_free(j);
    return st;
}

static inline hd_model_cfg good(const char *head, const char *more)
{
    hd_model_cfg cfg;
    hd_err err = {0};
    if (parse(head, more, &cfg, &err) != HD_OK)
        hd_test_fail(__FILE__, __LINE__, "%s: %s", more, err.msg);
    return cfg;
}

typedef struct refusal {
    const char *head, *more;
    hd_status st;
    const char *message; // a part of it
} refusal;

static inline void expect_refusals(const refusal *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hd_model_cfg cfg;
        hd_err err = {0};
        hd_status st = parse(row[i].head, row[i].more, &cfg, &err);
        if (st != row[i].st || !strstr(err.msg, row[i].message))
            hd_test_fail(__FILE__, __LINE__, "%s: got %s \"%s\", want %s \"%s\"", row[i].more,
                         hd_status_name(st), err.msg, hd_status_name(row[i].st), row[i].message);
    }
}

// ---- GGUF ----------------------------------------------------------------------------------

typedef struct gguf_int {
    const char *key;
    uint32_t value;
} gguf_int;

// A file of these keys, with "arch." in front; `more`, if any, adds the rest.
static inline hd_status read_gguf(const char *arch, const gguf_int *ints, size_t n,
                                  void (*more)(hd_gguf_writer *w), hd_model_cfg *cfg, hd_err *err)
{
    char key[96];
    hd_gguf_writer w;
    hd_gguf *g;
    hd_gguf_writer_init(&w);
    hd_gw_str(&w, "general.architecture", arch);
    for (size_t i = 0; i < n; i++) {
        snprintf(key, sizeof(key), "%s.%s", arch, ints[i].key);
        hd_gw_u32(&w, key, ints[i].value);
    }
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", arch);
    hd_gw_f32(&w, key, 1e-5f);
    if (more) more(&w);
    EXPECT_INT(hd_gguf_open_mem(hd_gw_finish(&w), &g, err), HD_OK);
    hd_status st = hd_config_from_gguf(g, cfg, err);
    hd_gguf_close(g);
    hd_gguf_writer_fini(&w);
    return st;
}

// Files that are refused, and a part of why.
typedef struct gguf_refusal {
    const char *arch;
    void (*more)(hd_gguf_writer *w);
    const char *message;
} gguf_refusal;

typedef hd_status gguf_reader(const char *arch, void (*more)(hd_gguf_writer *w), hd_model_cfg *cfg,
                              hd_err *err);

static inline void expect_gguf_refusals(gguf_reader *read, const gguf_refusal *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hd_model_cfg cfg;
        hd_err err = {0};
        EXPECT(read(row[i].arch, row[i].more, &cfg, &err) != HD_OK);
        EXPECT_CONTAINS(err.msg, row[i].message);
    }
}

#endif
