// KV pages: layout of the planes, and random reserving and releasing. Sharing is in test_prefix.c.
#include "engine/kvpool.h"
#include "engine/memory.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

// A made-up architecture: even layers cache two planes, odd ones a compressed stream besides.
static void spec(const hd_model_cfg *cfg, int layer, hd_kv_spec *out)
{
    *out = (hd_kv_spec){.n_planes = 2};
    out->plane[0].width = out->plane[1].width = cfg->n_kv_heads * cfg->d_head;
    out->plane[0].ratio = out->plane[1].ratio = 1;
    if (layer % 2 == 0) return;
    out->n_planes = 3;
    out->plane[2].width = 8;
    out->plane[2].ratio = 4;
}

static const hd_arch arch = {.name = "made-up", .kv_spec = spec};
static const hd_model_cfg cfg = {.n_layers = 3, .n_kv_heads = 2, .d_head = 16};

static hd_backend *open_cpu(void)
{
    hd_backend *be = NULL;
    const hd_device_cfg device = {.device = "cpu"};
    EXPECT_INT(hd_backend_open(&device, &be, NULL), HD_OK);
    return be;
}

static hd_kvpool *new_pool(hd_backend *be, int32_t n_pages)
{
    hd_kvpool *p = NULL;
    hd_err err = {HD_OK, ""};
    hd_kvpool_create(&arch, &cfg, be, HD_BF16, n_pages, false, &p, &err);
    EXPECT_STR(err.msg, "");
    return p;
}

static void planes_do_not_overlap(void)
{
    hd_backend *be = open_cpu();
    enum { PAGES = 10, PLANES = 2 + 3 + 2 };
    hd_kvpool *p = new_pool(be, PAGES);
    const hd_kv_plane *plane = hd_kvpool_planes(p);
    size_t total = 0;
    for (int i = 0; i < PLANES; i++) {
        EXPECT_INT(plane[i].width, i == 4 ? 8 : 32);
        EXPECT_INT(plane[i].page_rows, i == 4 ? 16 : 64);
        EXPECT_INT(plane[i].dtype, HD_BF16);
        size_t bytes = (size_t)plane[i].width * 2 * (size_t)plane[i].page_rows;
        total += bytes;
        memset(plane[i].base, i + 1, bytes * PAGES); // the sanitizer watches the ends
    }
    for (int i = 0; i < PLANES; i++) {
        const unsigned char *c = plane[i].base;
        size_t bytes = (size_t)plane[i].width * 2 * (size_t)plane[i].page_rows * PAGES;
        EXPECT(c[0] == i + 1 && c[bytes - 1] == i + 1);
        EXPECT_INT((uintptr_t)c % 64, 0);
    }
    EXPECT_INT(hd_kvpool_page_bytes(&arch, &cfg, HD_BF16), total);
    hd_kvpool_destroy(p);
    hd_backend_close(be);
}

static void pages_come_and_go(void)
{
    hd_backend *be = open_cpu();
    hd_kvpool *p = new_pool(be, 5);
    hd_kvseq a, b;
    EXPECT(hd_kvseq_init(&a, 300) && hd_kvseq_init(&b, 300));
    EXPECT_INT(a.cap_pages, 5);
    EXPECT(hd_kvseq_reserve(p, &a, 1));
    EXPECT_INT(a.n_pages, 1);
    EXPECT(hd_kvseq_reserve(p, &a, 64));
    EXPECT_INT(a.n_pages, 1);
    EXPECT(hd_kvseq_reserve(p, &a, 65));
    EXPECT_INT(a.n_pages, 2);
    EXPECT_INT(a.page[0], 0); // low pages first
    EXPECT_INT(a.page[1], 1);
    EXPECT(!hd_kvseq_reserve(p, &b, 257)); // all or nothing
    EXPECT_INT(b.n_pages, 0);
    EXPECT_INT(hd_kvpool_free(p), 3);
    EXPECT(hd_kvseq_reserve(p, &b, 192));
    EXPECT_INT(hd_kvpool_free(p), 0);
    hd_kvseq_release(p, &a);
    hd_kvseq_release(p, &b);
    EXPECT_INT(hd_kvpool_free(p), 5);
    hd_kvseq_fini(&a);
    hd_kvseq_fini(&b);
    hd_kvpool_destroy(p);
    hd_kvpool_destroy(NULL);
    hd_backend_close(be);
}

// free + held = total, and no page is held twice.
static void random_life(void)
{
    enum { PAGES = 64, SEQS = 12 };
    hd_backend *be = open_cpu();
    hd_kvpool *p = new_pool(be, PAGES);
    hd_kvseq s[SEQS];
    hd_rng rng;
    hd_rng_seed(&rng, 3);
    for (int i = 0; i < SEQS; i++)
        EXPECT(hd_kvseq_init(&s[i], 20 * HD_PAGE_TOKENS));
    for (int round = 0; round < 50000; round++) {
        hd_kvseq *q = &s[hd_rng_below(&rng, SEQS)];
        int32_t n = (int32_t)hd_rng_below(&rng, 20 * HD_PAGE_TOKENS + 1);
        if (hd_rng_below(&rng, 2) == 0) {
            int32_t had = q->n_pages, free = hd_kvpool_free(p);
            int32_t need = (n + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS;
            bool ok = hd_kvseq_reserve(p, q, n);
            EXPECT_INT(ok, need - had <= free);
            EXPECT_INT(q->n_pages, ok && need > had ? need : had);
        } else {
            hd_kvseq_release(p, q);
        }
        int32_t held = 0;
        bool seen[PAGES] = {0};
        for (int i = 0; i < SEQS; i++) {
            held += s[i].n_pages;
            for (int32_t k = 0; k < s[i].n_pages; k++) {
                int32_t page = s[i].page[k];
                EXPECT(page >= 0 && page < PAGES && !seen[page]);
                seen[page] = true;
            }
        }
        EXPECT_INT(held + hd_kvpool_free(p), PAGES);
    }
    for (int i = 0; i < SEQS; i++) {
        hd_kvseq_release(p, &s[i]);
        hd_kvseq_fini(&s[i]);
    }
    hd_kvpool_destroy(p);
    hd_backend_close(be);
}

static void memory_runs_out(void)
{
    hd_backend *be = open_cpu();
    for (int n = 1;; n++) {
        hd_kvpool *p = NULL;
        hd_mem_fail_at(n, false);
        hd_status st = hd_kvpool_create(&arch, &cfg, be, HD_F32, 8, true, &p, NULL);
        hd_mem_fail_at(0, false);
        EXPECT_INT(st == HD_OK, p != NULL);
        hd_kvpool_destroy(p);
        if (st == HD_OK) break;
        EXPECT_INT(st, HD_E_NOMEM);
        EXPECT(n < 20);
    }
    hd_err err;
    hd_kvpool *p;
    EXPECT_INT(hd_kvpool_create(&arch, &cfg, be, HD_F32, 0, true, &p, &err), HD_E_INVAL);
    hd_backend_close(be);
}

// ---- sharing out memory --------------------------------------------------------------------

static void memory_is_shared_out(void)
{
    hd_memory_share s;
    hd_err err;
    hd_memory_need n = {
        .budget = 1000 << 20,
        .weights = 500 << 20,
        .buffers = 100 << 20,
        .page = 1 << 20,
        .context = 64 * 100,
        .max_seqs = 2,
    };
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_OK); // plenty: no more than can be used
    EXPECT_INT(s.pages, 200);
    EXPECT_INT(s.context, 6400);
    EXPECT_INT(s.kv, 200 << 20);
    n.max_seqs = 16;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_OK); // what is left
    EXPECT_INT(s.pages, 400);
    EXPECT_INT(s.context, 6400);
    n.context = 64 * 1000 + 1;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_OK); // context gives way
    EXPECT_INT(s.pages, 400);
    EXPECT_INT(s.context, 64 * 400);
    n.context_is_wanted = true;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "64001");
    EXPECT_CONTAINS(err.msg, "--memory");
    n.context_is_wanted = false;
    n.budget = 604 << 20;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_OK);
    EXPECT_INT(s.context, 256);
    n.budget = (604 << 20) - 1;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_E_LIMIT);
    EXPECT_CONTAINS(err.msg, "500.0 MiB");
    n.budget = 10;
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_E_LIMIT);
    n.budget = 604 << 20;
    n.context = 10; // shorter than the least worth having
    EXPECT_INT(hd_memory_fit(&n, &s, &err), HD_OK);
    EXPECT_INT(s.pages, 4);
    EXPECT_INT(s.context, 10);
}

HD_TEST_MAIN("kvpool", {"planes_do_not_overlap", planes_do_not_overlap},
             {"pages_come_and_go", pages_come_and_go}, {"random_life", random_life},
             {"memory_runs_out", memory_runs_out}, {"memory_is_shared_out", memory_is_shared_out})
