// The prefix cache: the index, sharing of pages, and random lives against what pages must hold.
#include "engine/kvpool.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "tests/harness/test.h"

enum { PAGE = HD_PAGE_TOKENS, PAGES = 32, LONGEST = 10 * PAGE };

static void spec(const hd_model_cfg *cfg, int layer, hd_kv_spec *out)
{
    (void)layer;
    *out = (hd_kv_spec){.n_planes = 1};
    out->plane[0].width = cfg->d_head;
    out->plane[0].ratio = 1;
}

static const hd_arch arch = {.name = "made-up", .kv_spec = spec};
static const hd_model_cfg cfg = {.n_layers = 1, .n_kv_heads = 1, .d_head = 8};

typedef struct kit {
    hd_backend *be;
    hd_kvpool *pool;
} kit;

static kit kit_open(int32_t n_pages, bool share)
{
    kit k = {0};
    const hd_device_cfg device = {.device = "cpu"};
    EXPECT_INT(hd_backend_open(&device, &k.be, NULL), HD_OK);
    EXPECT_INT(hd_kvpool_create(&arch, &cfg, k.be, HD_F32, n_pages, share, &k.pool, NULL), HD_OK);
    return k;
}

static void kit_close(kit *k)
{
    hd_kvpool_destroy(k->pool);
    hd_backend_close(k->be);
}

// ---- the index -----------------------------------------------------------------------------

static void found_by_all_of_it(void)
{
    hd_prefix *x = hd_prefix_create(8);
    int32_t a[PAGE] = {0}, b[PAGE] = {0};
    b[PAGE - 1] = 1;
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 0, a), HD_PREFIX_NONE);
    hd_prefix_insert(x, 3, HD_PREFIX_NONE, 0, a);
    hd_prefix_insert(x, 5, 3, 0, a);
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 0, a), 3);
    EXPECT_INT(hd_prefix_find(x, 3, 0, a), 5);
    EXPECT_INT(hd_prefix_find(x, 5, 0, a), HD_PREFIX_NONE); // nothing behind it
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 0, b), HD_PREFIX_NONE);
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 1, a), HD_PREFIX_NONE); // another tenant
    hd_prefix_insert(x, 0, HD_PREFIX_NONE, 1, a);
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 1, a), 0);
    EXPECT(hd_prefix_has(x, 5) && !hd_prefix_has(x, 4));
    hd_prefix_remove(x, 5);
    hd_prefix_remove(x, 3);
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 0, a), HD_PREFIX_NONE);
    EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 1, a), 0);
    hd_prefix_destroy(x);
    hd_prefix_destroy(NULL);
}

// Many nodes in few chains: each is found, and each removal leaves the others.
static void crowded(void)
{
    enum { N = 3000 };
    hd_prefix *x = hd_prefix_create(N);
    int32_t ids[PAGE] = {0};
    for (int32_t i = 0; i < N; i++) {
        ids[i % PAGE] = i;
        ids[0] = i;
        hd_prefix_insert(x, i, HD_PREFIX_NONE, 7, ids);
        EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 7, ids), i);
    }
    memset(ids, 0, sizeof(ids));
    for (int32_t i = 0; i < N; i++) {
        ids[i % PAGE] = i;
        ids[0] = i;
        EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 7, ids), i);
        hd_prefix_remove(x, i);
        EXPECT_INT(hd_prefix_find(x, HD_PREFIX_NONE, 7, ids), HD_PREFIX_NONE);
    }
    hd_prefix_destroy(x);
}

// ---- sequences -----------------------------------------------------------------------------

static hd_kvseq new_seq(uint64_t salt)
{
    hd_kvseq s;
    EXPECT(hd_kvseq_init(&s, LONGEST));
    s.salt = salt;
    return s;
}

static void store(kit *k, hd_kvseq *s, const int32_t *ids, int32_t n)
{
    EXPECT(hd_kvseq_reserve(k->pool, s, n));
    s->n_tokens = n;
    hd_kvseq_commit(k->pool, s, ids);
}

static void end(kit *k, hd_kvseq *s)
{
    hd_kvseq_release(k->pool, s);
    hd_kvseq_fini(s);
}

static void count_up(int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = i * 3 % 251;
}

static void a_prefix_is_found_again(void)
{
    kit k = kit_open(8, true);
    int32_t ids[LONGEST];
    count_up(ids, LONGEST);
    hd_kvseq a = new_seq(0), b = new_seq(0), c = new_seq(9);
    EXPECT_INT(hd_kvseq_attach(k.pool, &a, ids, 200), 0);
    store(&k, &a, ids, 200);
    EXPECT_INT(hd_kvseq_attach(k.pool, &b, ids, 200), 192); // while a still runs
    EXPECT(memcmp(a.page, b.page, 3 * sizeof(a.page[0])) == 0);
    EXPECT_INT(hd_kvpool_free(k.pool), 4);
    EXPECT_INT(hd_kvseq_attach(k.pool, &c, ids, 200), 0); // another tenant
    hd_kvseq_release(k.pool, &b);
    hd_kvseq_release(k.pool, &a);
    EXPECT_INT(hd_kvpool_free(k.pool), 8);
    EXPECT_INT(hd_kvpool_cached(k.pool), 3);
    EXPECT_INT(hd_kvseq_attach(k.pool, &b, ids, 191), 128);
    hd_kvseq_release(k.pool, &b);
    ids[130]++;
    EXPECT_INT(hd_kvseq_attach(k.pool, &b, ids, 200), 128);
    end(&k, &a);
    end(&k, &b);
    end(&k, &c);
    kit_close(&k);
}

static void the_same_computed_twice_is_kept_once(void)
{
    kit k = kit_open(8, true);
    int32_t ids[LONGEST];
    count_up(ids, LONGEST);
    hd_kvseq a = new_seq(0), b = new_seq(0);
    EXPECT(hd_kvseq_reserve(k.pool, &a, 130) && hd_kvseq_reserve(k.pool, &b, 130));
    EXPECT_INT(hd_kvpool_free(k.pool), 2);
    store(&k, &a, ids, 130);
    store(&k, &b, ids, 130);
    EXPECT_INT(a.page[0], b.page[0]);
    EXPECT_INT(a.page[1], b.page[1]);
    EXPECT(a.page[2] != b.page[2]); // not full: its own
    EXPECT_INT(hd_kvpool_free(k.pool), 4);
    end(&k, &a);
    EXPECT_INT(hd_kvpool_cached(k.pool), 0); // b holds them
    end(&k, &b);
    EXPECT_INT(hd_kvpool_cached(k.pool), 2);
    kit_close(&k);
}

static void the_oldest_is_evicted_from_its_end(void)
{
    kit k = kit_open(6, true);
    int32_t one[LONGEST], two[LONGEST];
    count_up(one, LONGEST);
    count_up(two, LONGEST);
    two[0] = 99;
    hd_kvseq a = new_seq(0), b = new_seq(0);
    store(&k, &a, one, 3 * PAGE);
    hd_kvseq_release(k.pool, &a);
    store(&k, &b, two, 3 * PAGE);
    hd_kvseq_release(k.pool, &b);
    EXPECT_INT(hd_kvpool_cached(k.pool), 6);
    EXPECT_INT(hd_kvseq_attach(k.pool, &a, one, PAGE), PAGE); // used again: the newest now
    hd_kvseq_release(k.pool, &a);
    EXPECT(hd_kvseq_reserve(k.pool, &a, 3 * PAGE));
    hd_kvseq_release(k.pool, &a);
    EXPECT_INT(hd_kvseq_attach(k.pool, &a, one, LONGEST), PAGE); // its rest was the oldest
    EXPECT_INT(hd_kvseq_attach(k.pool, &b, two, LONGEST), 2 * PAGE);
    end(&k, &a);
    end(&k, &b);
    kit_close(&k);
}

static void off_means_off(void)
{
    kit k = kit_open(4, false);
    int32_t ids[LONGEST];
    count_up(ids, LONGEST);
    hd_kvseq a = new_seq(0);
    store(&k, &a, ids, 3 * PAGE);
    hd_kvseq_release(k.pool, &a);
    EXPECT_INT(hd_kvpool_cached(k.pool), 0);
    EXPECT_INT(hd_kvseq_attach(k.pool, &a, ids, LONGEST), 0);
    end(&k, &a);
    kit_close(&k);
}

// ---- random lives --------------------------------------------------------------------------

enum { SEQS = 9 };

typedef struct world {
    kit k;
    hd_kvseq seq[SEQS];
    int32_t ids[SEQS][LONGEST]; // as the sequence stored them
    int32_t held[PAGE * PAGES]; // what was written into each page
} world;

// Few different texts, so that beginnings coincide.
static void invent(hd_rng *rng, int32_t *ids)
{
    int32_t v = (int32_t)hd_rng_below(rng, 2);
    for (int32_t i = 0; i < LONGEST; i++) {
        if (i % PAGE == 0 && hd_rng_below(rng, 4) == 0) v += (int32_t)hd_rng_below(rng, 2);
        ids[i] = v + i;
    }
}

static void write_more(world *w, int32_t i, int32_t n)
{
    hd_kvseq *s = &w->seq[i];
    for (; s->n_tokens < n; s->n_tokens++) {
        const int32_t page = s->page[s->n_tokens / PAGE];
        for (int32_t j = 0; j < SEQS; j++) // nobody else reads what is written
            for (int32_t p = 0; j != i && p < w->seq[j].n_pages; p++)
                EXPECT(w->seq[j].page[p] != page);
        w->held[page * PAGE + s->n_tokens % PAGE] = w->ids[i][s->n_tokens];
    }
    hd_kvseq_commit(w->k.pool, s, w->ids[i]);
}

static void check_world(const world *w)
{
    int32_t holders[PAGES] = {0}, held = 0;
    for (int32_t i = 0; i < SEQS; i++) {
        const hd_kvseq *s = &w->seq[i];
        for (int32_t p = 0; p < s->n_pages; p++)
            held += holders[s->page[p]]++ == 0;
        for (int32_t t = 0; t < s->n_tokens; t++)
            EXPECT_INT(w->held[s->page[t / PAGE] * PAGE + t % PAGE], w->ids[i][t]);
    }
    EXPECT_INT(held + hd_kvpool_free(w->k.pool), PAGES);
    EXPECT(hd_kvpool_cached(w->k.pool) <= hd_kvpool_free(w->k.pool));
}

static void random_life(void)
{
    static world w;
    hd_rng rng;
    int64_t found = 0, refused = 0;
    hd_rng_seed(&rng, 5);
    w.k = kit_open(PAGES, true);
    for (int32_t i = 0; i < SEQS; i++)
        w.seq[i] = new_seq((uint64_t)i % 2);
    for (int round = 0; round < 20000; round++) {
        const int32_t i = (int32_t)hd_rng_below(&rng, SEQS);
        hd_kvseq *s = &w.seq[i];
        const int32_t n = 1 + (int32_t)hd_rng_below(&rng, LONGEST);
        if (s->n_pages == 0) {
            invent(&rng, w.ids[i]);
            found += hd_kvseq_attach(w.k.pool, s, w.ids[i], n);
        } else if (hd_rng_below(&rng, 3) == 0) {
            hd_kvseq_release(w.k.pool, s);
            continue;
        }
        if (hd_kvseq_reserve(w.k.pool, s, n))
            write_more(&w, i, n);
        else
            refused++;
        check_world(&w);
    }
    EXPECT(found > 100000 && refused > 100); // or little was shown
    for (int32_t i = 0; i < SEQS; i++)
        end(&w.k, &w.seq[i]);
    EXPECT_INT(hd_kvpool_free(w.k.pool), PAGES);
    kit_close(&w.k);
}

HD_TEST_MAIN("prefix", {"found_by_all_of_it", found_by_all_of_it}, {"crowded", crowded},
             {"a_prefix_is_found_again", a_prefix_is_found_again},
             {"the_same_computed_twice_is_kept_once", the_same_computed_twice_is_kept_once},
             {"the_oldest_is_evicted_from_its_end", the_oldest_is_evicted_from_its_end},
             {"off_means_off", off_means_off}, {"random_life", random_life})
