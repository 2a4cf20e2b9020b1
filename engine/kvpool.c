// KV pages: a stack of free page numbers over one block of device memory.
//
// The block is cut into planes, each plane into pages, so a page's number is the same in every
// layer. Pages that were used last are used first: memory that was never needed is never touched.
#include "engine/kvpool.h"

#include "kernels/base/mem.h"

enum { PLANE_ALIGN = 4096 }; // planes begin on memory pages of their own

struct hd_kvpool {
    hd_backend *be;
    void *block;
    hd_kv_plane *plane;
    int32_t *free_page; // [total]; the first n_free are free
    bool *held;         // [total]
    int32_t total, n_free;
};

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
                        hd_err *err)
{
    size_t bytes;
    p->plane = hd_calloc(count_planes(arch, cfg), sizeof(*p->plane));
    p->free_page = hd_calloc((size_t)p->total, sizeof(*p->free_page));
    p->held = hd_calloc((size_t)p->total, sizeof(*p->held));
    HD_CHECK(p->plane && p->free_page && p->held, err, HD_E_NOMEM,
             "KV cache: no memory for the tables of %d pages", p->total);
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
                           hd_dtype dtype, int32_t n_pages, hd_kvpool **out, hd_err *err)
{
    *out = NULL;
    HD_CHECK(n_pages > 0, err, HD_E_INVAL, "KV cache: %d pages, expected at least 1", n_pages);
    hd_kvpool *p = hd_calloc(1, sizeof(*p));
    HD_CHECK(p, err, HD_E_NOMEM, "KV cache: no memory");
    p->be = be;
    p->total = n_pages;
    hd_status st = create(p, arch, cfg, dtype, err);
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
    hd_free(p->held);
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
    return p->n_free;
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

bool hd_kvseq_reserve(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens)
{
    int32_t need = pages_for(n_tokens) - s->n_pages;
    HD_ASSERT(pages_for(n_tokens) <= s->cap_pages);
    if (need > p->n_free) return false;
    for (; need > 0; need--) {
        int32_t page = p->free_page[--p->n_free];
        HD_ASSERT(!p->held[page]);
        p->held[page] = true;
        s->page[s->n_pages++] = page;
    }
    return true;
}

static void give_back(hd_kvpool *p, hd_kvseq *s, int32_t n_keep)
{
    while (s->n_pages > n_keep) {
        int32_t page = s->page[--s->n_pages];
        HD_ASSERT(p->held[page]);
        p->held[page] = false;
        p->free_page[p->n_free++] = page;
    }
}

void hd_kvseq_trim(hd_kvpool *p, hd_kvseq *s, int32_t n_tokens)
{
    give_back(p, s, pages_for(n_tokens));
    if (s->n_tokens > n_tokens) s->n_tokens = n_tokens;
}

void hd_kvseq_release(hd_kvpool *p, hd_kvseq *s)
{
    hd_kvseq_trim(p, s, 0);
}

void hd_kvseq_fini(hd_kvseq *s)
{
    HD_ASSERT(s->n_pages == 0);
    hd_free(s->page);
    *s = (hd_kvseq){0};
}
