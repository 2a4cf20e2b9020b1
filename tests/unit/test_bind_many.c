// Binding as many tensors as the largest checkpoints have.
#include "tests/unit/bind_kit.h"
#include "tests/unit/bind_spy.h"

#include <stdio.h>

enum { MANY_LAYERS = 24, MANY_EXPERTS = 256 };

static void add_many(files *f)
{
    static const char *const stem[] = {"gate", "up", "down"};
    static const uint64_t shape[] = {1, 2}, one[] = {1, 1};
    char name[96];
    hd_st_writer_init(&f->w);
    for (int i = 0; i < MANY_LAYERS * MANY_EXPERTS * 3; i++) {
        snprintf(name, sizeof(name), "layers.%d.experts.%d.%s.weight", i / 3 / MANY_EXPERTS,
                 i / 3 % MANY_EXPERTS, stem[i % 3]);
        hd_sw_tensor(&f->w, name, HD_F8_E4M3, 2, shape, NULL);
        snprintf(name + strlen(name), sizeof(name) - strlen(name), "_scale_inv");
        hd_sw_tensor(&f->w, name, HD_F32, 2, one, NULL);
    }
}

// Opening and binding grow with the number of tensors: 37,000 take a fraction of a second, where a
// search through a list of names would run into the time limit of the whole test.
static void many_tensors_bind_quickly(void)
{
    files f = {0};
    spy s;
    char name[3][64];
    hd_weight *w[2 * MANY_LAYERS] = {0};
    spy_open(&s);
    add_many(&f);
    files_open(&f);
    EXPECT_INT(hd_source_count(f.src), MANY_LAYERS * MANY_EXPERTS * 6);
    hd_binder *b = binder(f.src, &s.base, &keep);
    hd_binder_set_fp8(b, 128, 128);
    for (int l = 0; l < MANY_LAYERS; l++) {
        snprintf(name[0], sizeof(name[0]), "layers.%d.experts.#.gate.weight", l);
        snprintf(name[1], sizeof(name[1]), "layers.%d.experts.#.up.weight", l);
        snprintf(name[2], sizeof(name[2]), "layers.%d.experts.#.down.weight", l);
        const hd_bind_part part[] = {{name[0], 1, false}, {name[1], 1, false}, {name[2], 1, false}};
        hd_bind_stack(b, &w[2 * l], HD_USE_EXPERT, HD_SHARD_EXPERTS, MANY_EXPERTS, part, 2, 2);
        hd_bind_stack(b, &w[2 * l + 1], HD_USE_EXPERT, HD_SHARD_EXPERTS, MANY_EXPERTS, part + 2, 1,
                      2);
    }
    uint64_t bytes;
    hd_err err = {0};
    EXPECT_INT(hd_binder_finish(b, &bytes, &err), HD_OK);
    hd_binder_close(b);
    for (int i = 0; i < 2 * MANY_LAYERS; i++)
        spy_free(&s.base, w[i]);
    spy_close(&s);
    files_close(&f);
}

HD_TEST_MAIN("bind_many", {"many_tensors_bind_quickly", many_tensors_bind_quickly})
