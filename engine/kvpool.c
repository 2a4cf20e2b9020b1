// KV pages: numbers over one block of device memory, a stack of the free ones, a list of the
// cached.
//
// The block is cut into planes, each plane into pages, so a page's number is the same in every
// layer. Pages that were used last are used first: memory that was never needed is never touched.
//
// A sequence gives its pages back from its end, and holds every page before one it holds. So a page
// is always let go of later than those behind it, and the list, which is evicted from its old end,
// loses children before parents.
#include "engine/kvpool.h"

#include "kernels/base/mem.h"

enum { PLANE_ALIGN = 4096 }; // planes begin on memory pages of their own

typedef struct link {
    int32_t prev, next;
} link;

struct hd_kvpool {
    hd_backend *be;
    void *block;
    hd_kv_plane *plane;
    int32_t *free_page; // [total]; the first n_free are free
    int32_t *refs;      // [total] sequences that hold it
    int32_t total, n_free;

    hd_prefix *index; // NULL: pages are not shared
    link *lru;        // [total + 1]; the last is the ring's head: next is the oldest cached page
    int32_t n_cached;
};

static int32_t smaller(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

// ---- layout --------------------------------------------------------------------------------

static size_t plane_page_bytes(const hd_kv_spec *spec, int32_t i, hd_dtype dtype)
{
    HD_ASSERT(spec->plane[i].ratio > 0 && HD_PAGE_TOKENS % spec->plane[i].ratio == 0);
    return hd_row_bytes(dtype, spec->plane[i].width) *
           (size_t)(HD_PAGE_TOKENS / spec->plane[i].ratio);
}

size_t hd_kvpool_page_bytes(const hd_arch *arch, const hd_model_cfg *cfg, hd_dtype dtype)
{
    size_t bytes = 0;
    for (int32_t l = 0; l < cfg->n_layers; l++) {
        hd_kv_spec spec;
        arch->kv_spec(cfg, l, &spec);
        for (int32_t i = 0; i < spec.n_planes; i++)
            bytes += plane_page_bytes(&spec, i, dtype);
    }
    return bytes;
}

// Fills the planes, based at `block` when it is there, and sums up their bytes. False: overflow.
static bool lay_out(hd_kvpool *p, const hd_arch *arch, const hd_model_cfg *cfg, hd_dtype dtype,
                    size_t *bytes)
{
    hd_kv_plane *at = p->plane;
    *bytes = 0;
    for (int32_t l = 0; l < cfg->n_layers; l++) {
        hd_kv_spec spec;
        arch->kv_spec(cfg, l, &spec);
        for (int32_t i = 0; i < spec.n_planes; i++, at++) {
            size_t n;
            *at = (hd_kv_plane){
                .base = p->block ? (char *)p->block + *bytes : NULL,
                .dtype = dtype,
                .width = spec.plane[i].width,
                .page_rows = HD_PAGE_TOKENS / spec.plane[i].ratio,
            };
            if (!hd_mul_size(plane_page_bytes(&spec, i, dtype), (size_t)p->total, &n) ||
                !hd_align_size(n, PLANE_ALIGN, &n) || !hd_add_size(*bytes, n, bytes))
                return false;
        }
    }
    return true;
}

static size_t count_planes(const hd_arch *arch, const hd_model_cfg *cfg)
{
    size_t n = 0;
    for (int32_t l = 0; l < cfg->n_layers; l++) {
        hd_kv_spec spec;
        arch->kv_spec(cfg, l, &spec);
        n += (size_t)spec.n_planes;
    }
    return n;
}

static hd_status create(hd_kvpool *p, const hd_arch *arch, const hd_model_cfg *cfg, hd_dtype dtype,
                        bool share, hd_err *err)
{
    size_t bytes;
    p->plane = hd_calloc(count_planes(arch, cfg), sizeof(*p->plane));
    p->free_page = hd_calloc((size_t)p->total, sizeof(*p->free_page));
    p->refs = hd_calloc((size_t)p->total, sizeof(*p->refs));
    p->lru = hd_calloc((size_t)p->total + 1, sizeof(*p->lru));
    if (share) p->index = hd_prefix_create(p->total);
    HD_CHECK(p->plane && p->free_page && p->refs && p->lru && (p->index || !share), err, HD_E_NOMEM,
             "KV cache: no memory for the tables of %d pages", p->total);
    p->lru[p->total] = (link){p->total, p->total};
    HD_CHECK(lay_out(p, arch, cfg, dtype, &bytes), err, HD_E_LIMIT,
             "KV cache: %d pages are too many for this machine's addresses", p->total);
    HD_TRY(p->be->ops->alloc(p->be, bytes, HD_MEM_KV, &p->block, err));
    lay_out(p, arch, cfg, dtype, &bytes);
    for (int32_t i = 0; i < p->total; i++)
        p->free_page[i] = p->total - 1 - i; // page 0 is on top
    p->n_free = p->total;
    return HD_OK;
}

hd_status hd_kvpool_create(const hd_arch *arch, const hd_model_cfg *cfg, hd_backend *be,
                           hd_dtype dtype, int32_t n_pages, bool share, hd_kvpool **out,
                           hd_err *err)
{
    *out = NULL;
    HD_CHECK(n_pages > 0, err, HD_E_INVAL, "KV cache: %d pages, expected at least 1", n_pages);
    hd_kvpool *p = hd_calloc(1, sizeof(*p));
    HD_CHECK(p, err, HD_E_NOMEM, "KV cache: no memory");
    p->be = be;
    p->total = n_pages;
    hd_status st = create(p, arch, cfg, dtype, share, err);
    if (st == HD_OK)
        *out = p;
    else
        hd_kvpool_destroy(p);
    return st;
}

void hd_kvpool_destroy(hd_kvpool *p)
{
    if (!p) return;
    if (p->block) p->be->ops->release(p->be, p->block);
    hd_prefix_destroy(p->index);
    hd_free(p->lru);
    hd_free(p->refs);
    hd_free(p->free_page);
    hd_free(p->plane);
    hd_free(p);
}

const hd_kv_plane *hd_kvpool_planes(const hd_kvpool *p)
{
    return p->plane;
}

int32_t hd_kvpool_total(const hd_kvpool *p)
{
    return p->total;
}

int32_t hd_kvpool_free(const hd_kvpool *p)
{
    return p->n_free + p->n_cached;
}

int32_t hd_kvpool_cached(const hd_kvpool *p)
{
    return p->n_cached;
}

// ---- pages ---------------------------------------------------------------------------------

static void cache_add(hd_kvpool *p, int32_t page) // as the newest
{
    link *head = &p->lru[p->total];
    p->lru[page] = (link){head->prev, p->total};
    p->lru[head->prev].next = page;
    head->prev = page;
    p->n_cached++;
}

static void cache_take(hd_kvpool *p, int32_t page)
{
    const link l = p->lru[page];
    p->lru[l.prev].next = l.next;
    p->lru[l.next].prev = l.prev;
    p->n_cached--;
}

static int32_t evict_oldest(hd_kvpool *p)
{
    const int32_t page = p->lru[p->total].next;
    HD_ASSERT(page != p->total);
    cache_take(p, page);
    hd_prefix_remove(p->index, page);
    return page;
}

static int32_t take_page(hd_kvpool *p)
{
    const int32_t page = p->n_free > 0 ? p->free_page[--p->n_free] : evict_oldest(p);
    HD_ASSERT(p->refs[page] == 0);
    p->refs[page] = 1;
    return page;
}

static void hold(hd_kvpool *p, int32_t page)
{
    if (p->refs[page]++ == 0) cache_take(p, page);
}

static void let_go(hd_kvpool *p, int32_t page)
{
    HD_ASSERT(p->refs[page] > 0);
    if (--p->refs[page] > 0) return;
    if (p->index && hd_prefix_has(p->index, page))
        cache_add(p, page);
    else
        p->free_page[p->n_free++] = page;
}

// ---- sequences -----------------------------------------------------------------------------

static int32_t pages_for(int32_t n_tokens)
{
    return (int32_t)(((int64_t)n_tokens + HD_PAGE_TOKENS - 1) / HD_PAGE_TOKENS);
}

bool hd_kvseq_init(hd_kvseq *s, int32_t max_tokens)
{
    *s = (hd_kvseq){.cap_pages = pages_for(max_tokens)};
    s->page = hd_calloc((size_t)s->cap_pages, sizeof(*s->page));
    return s->page != NULL;
}

// The page in front of page i, as the index names it.
static int32_t parent_of(const hd_kvseq *s, int32_t i)
{
    return i > 0 ? s->page[i - 1] : HD_PREFIX_NONE;
}

int32_t hd_kvseq_attach(hd_kvpool *p, hd_kvseq *s, const int32_t *ids, int32_t n)
{
    const int32_t most = smaller(n / HD_PAGE_TOKENS, s->cap_pages);
    HD_ASSERT(s->n_pages == 0 && s->n_tokens == 0);
    while (p->index && s->n_pages < most) {
        const int32_t *at = ids + (size_t)s->n_pages * HD_PAGE_TOKENS;
        const int32_t page = hd_prefix_find(p->index, parent_of(s, s->n_pages), s->salt, at);
        if (page == HD_PREFIX_NONE) break;
        hold(p, page);
        s->page[s->n_pages++] = page;
    }
    s->n_known = s->n_pages;
    s->n_tokens = s->n_pages * HD_PAGE_TOKENS;
    return s->n_tokens;
}

bool hd_kvseq_reserve(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens)
{
    int32_t need = pages_for(n_tokens) - s->n_pages;
    HD_ASSERT(pages_for(n_tokens) <= s->cap_pages);
    if (need > hd_kvpool_free(p)) return false;
    for (; need > 0; need--)
        s->page[s->n_pages++] = take_page(p);
    return true;
}

void hd_kvseq_commit(hd_kvpool *p, hd_kvseq *s, const int32_t *ids)
{
    const int32_t full = s->n_tokens / HD_PAGE_TOKENS;
    for (; p->index && s->n_known < full; s->n_known++) {
        const int32_t i = s->n_known, parent = parent_of(s, i), own = s->page[i];
        const int32_t *at = ids + (size_t)i * HD_PAGE_TOKENS;
        const int32_t page = hd_prefix_find(p->index, parent, s->salt, at);
        if (page == HD_PREFIX_NONE) {
            hd_prefix_insert(p->index, own, parent, s->salt, at);
            continue;
        }
        hold(p, page);
        s->page[i] = page;
        let_go(p, own);
    }
}

void hd_kvseq_release(hd_kvpool *p, hd_kvseq *s)
{
    while (s->n_pages > 0)
        let_go(p, s->page[--s->n_pages]);
    s->n_tokens = s->n_known = 0;
}

void hd_kvseq_fini(hd_kvseq *s)
{
    HD_ASSERT(s->n_pages == 0);
    hd_free(s->page);
    *s = (hd_kvseq){0};
}
