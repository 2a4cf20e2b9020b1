// Binder, the packing: weights are created and filled on the pool, a few matrices at a time.
//
// A task holds about TASK_BYTES of sources, so that the experts of one layer are filled by all
// threads and what is mapped of the files at any time stays small: a task's pages are asked for
// ahead, and given back when it is done. Single matrices larger than that come first, largest
// first, so that no worker is left with a giant at the end; everything else comes in the order of
// the requests, which is about that of the files.
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "models/weights/binder_impl.h"
#include "models/weights/policy.h"

#include <stdlib.h>
#include <string.h>

enum { REPORT_NS = 100 * 1000 * 1000, TASK_BYTES = 48 << 20 };

// ---- tasks ---------------------------------------------------------------------------------

static int task_order(const void *a, const void *b)
{
    const hd_bind_task *x = a, *y = b;
    const uint64_t p = x->bytes > TASK_BYTES ? x->bytes : 0;
    const uint64_t q = y->bytes > TASK_BYTES ? y->bytes : 0;
    if (p != q) return p < q ? 1 : -1;
    return (x->order > y->order) - (x->order < y->order);
}

// Matrices of one task of j; on the dry backend there is nothing to share out.
static int32_t task_matrices(const hd_binder *b, const hd_bind_job *j)
{
    const uint64_t one = j->bytes / (uint64_t)j->spec.n_mat;
    if (b->dry || one == 0) return j->spec.n_mat;
    const uint64_t n = TASK_BYTES / one;
    return n < 1 ? 1 : n < (uint64_t)j->spec.n_mat ? (int32_t)n : j->spec.n_mat;
}

static bool make_tasks(hd_binder *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_jobs; i++) {
        const int32_t per = task_matrices(b, &b->jobs[i]);
        n += ((size_t)b->jobs[i].spec.n_mat + (size_t)per - 1) / (size_t)per;
    }
    HD_ASSERT(n <= INT32_MAX);
    b->tasks = hd_reallocarray(NULL, n, sizeof(*b->tasks));
    if (!b->tasks) return false;
    for (size_t i = 0; i < b->n_jobs; i++) {
        hd_bind_job *j = &b->jobs[i];
        const uint64_t one = j->bytes / (uint64_t)j->spec.n_mat;
        const int32_t per = task_matrices(b, j);
        for (int32_t first = 0; first < j->spec.n_mat; first += per) {
            const int32_t rest = j->spec.n_mat - first, m = rest < per ? rest : per;
            b->tasks[b->n_tasks] = (hd_bind_task){j, first, m, one * (uint64_t)m, b->n_tasks};
            b->n_tasks++;
        }
    }
    if (n > 0) qsort(b->tasks, n, sizeof(*b->tasks), task_order);
    return true;
}

// ---- pages of the files --------------------------------------------------------------------

typedef void hint_fn(const hd_source *s, const hd_source_tensor *t, uint64_t offset,
                     uint64_t bytes);

typedef struct range { // of one tensor
    const hd_source_tensor *t;
    const char *from, *to;
} range;

static void hint_range(const hd_binder *b, const range *r, hint_fn *fn)
{
    if (r->t)
        fn(b->src, r->t, (uint64_t)(r->from - (const char *)r->t->data),
           (uint64_t)(r->to - r->from));
}

// Adds source i to the range, or hints what was collected and begins anew.
static void extend(const hd_binder *b, const hd_bind_job *j, int64_t i, range *r, hint_fn *fn)
{
    const hd_weight_src *s = &j->src[i];
    const char *from = s->data;
    if (r->t != j->tensor[i] || r->to != from) {
        hint_range(b, r, fn);
        *r = (range){j->tensor[i], from, from};
    }
    r->to = from + hd_bind_src_bytes(s);
}

// Neighbours are hinted together, because only whole pages can be given back. Parts interleave when
// all are rows of one tensor; else every part has tensors of its own.
static void hint(const hd_binder *b, const hd_bind_task *t, hint_fn *fn)
{
    const hd_bind_job *j = t->job;
    const int32_t n_part = j->spec.n_part;
    const int64_t first = (int64_t)t->first * n_part, end = first + (int64_t)t->n * n_part;
    const bool one = j->tensor[first] == j->tensor[first + n_part - 1];
    range r = {0};
    if (!b->src || b->dry) return;
    for (int32_t p = 0; p < (one ? 1 : n_part); p++)
        for (int64_t i = first + p; i < end; i += one ? 1 : n_part)
            extend(b, j, i, &r, fn);
    hint_range(b, &r, fn);
}

// ---- stopping and progress -----------------------------------------------------------------

static bool stopped(hd_binder *b)
{
    pthread_mutex_lock(&b->lock);
    bool stop = b->stop;
    pthread_mutex_unlock(&b->lock);
    return stop;
}

static void stop(hd_binder *b, hd_status st, const hd_err *why)
{
    pthread_mutex_lock(&b->lock);
    if (!b->stop) {
        b->stop = true;
        b->st = st;
        b->err = *why;
    }
    pthread_mutex_unlock(&b->lock);
}

// Cancelling and progress belong to the loading thread, which is worker 0.
static void poll_cancel(hd_binder *b)
{
    hd_err err;
    if (b->opts.cancel && __atomic_load_n(b->opts.cancel, __ATOMIC_RELAXED))
        stop(b, hd_fail(&err, HD_E_CANCELLED, "loading was cancelled"), &err);
}

static void report(hd_binder *b, bool always)
{
    if (!b->opts.progress) return;
    int64_t now = hd_mono_ns();
    if (!always && now - b->reported_ns < REPORT_NS) return;
    b->reported_ns = now;
    pthread_mutex_lock(&b->lock);
    uint64_t done = b->done_bytes;
    pthread_mutex_unlock(&b->lock);
    b->opts.progress(b->opts.progress_ctx, done, b->total_bytes);
}

// ---- packing -------------------------------------------------------------------------------

// The first task of a job creates the weight, so that memory is taken as the files are read.
static hd_status weight_of(hd_binder *b, const hd_bind_job *j, hd_weight **out, hd_err *err)
{
    hd_status st = HD_OK;
    pthread_mutex_lock(&b->lock);
    if (!*j->slot) st = b->be->ops->weight_new(b->be, &j->spec, j->slot, err);
    *out = *j->slot;
    pthread_mutex_unlock(&b->lock);
    return st;
}

static hd_status fill(hd_binder *b, const hd_bind_task *t, hd_err *err)
{
    hd_weight *w;
    HD_TRY(weight_of(b, t->job, &w, err));
    hd_weight_spec spec = t->job->spec;
    hd_bind_stage stage = {0};
    if (b->staged) {
        HD_TRY(hd_bind_stage_open(b, t, &stage, err));
        spec.src = stage.src;
    }
    hd_status st = b->be->ops->weight_fill(b->be, w, &spec, t->first, t->n, err);
    hd_bind_stage_close(&stage);
    return st;
}

static void pack_task(void *ctx, int task, int worker)
{
    hd_binder *b = ctx;
    const hd_bind_task *t = &b->tasks[task];
    const size_t ahead = (size_t)task + (size_t)hd_pool_size(b->opts.pool);
    hd_err err;
    if (worker == 0) poll_cancel(b);
    if (stopped(b)) return;
    if (ahead < b->n_tasks) hint(b, &b->tasks[ahead], hd_source_want_range);
    hd_status st = fill(b, t, &err);
    if (st != HD_OK) {
        stop(b, st, &err);
        return;
    }
    hint(b, t, hd_source_drop_range);
    pthread_mutex_lock(&b->lock);
    b->done_bytes += t->bytes;
    pthread_mutex_unlock(&b->lock);
    if (worker == 0) report(b, false);
}

static void pack(hd_binder *b)
{
    const size_t first = (size_t)hd_pool_size(b->opts.pool);
    if (!make_tasks(b)) {
        hd_binder_fail(b, HD_E_NOMEM, "no memory while packing %zu weights", b->n_jobs);
        return;
    }
    for (size_t i = 0; i < first && i < b->n_tasks; i++)
        hint(b, &b->tasks[i], hd_source_want_range);
    b->reported_ns = hd_mono_ns();
    hd_pool_run(b->opts.pool, pack_task, b, (int)b->n_tasks);
    poll_cancel(b);
}

// ---- the end -------------------------------------------------------------------------------

// Buffers that old Llama exports kept; they are recomputed.
static bool is_rotary_buffer(hd_slice name)
{
    static const char tail[] = "rotary_emb.inv_freq";
    size_t n = sizeof(tail) - 1;
    return name.n >= n && memcmp(name.p + name.n - n, tail, n) == 0;
}

static bool is_skipped(const hd_binder *b, hd_slice name)
{
    for (int32_t i = 0; i < b->n_skip; i++) {
        const size_t n = strlen(b->skip[i]);
        if (name.n >= n && memcmp(name.p, b->skip[i], n) == 0) return true;
    }
    return false;
}

static void log_unused(const hd_binder *b)
{
    int64_t unused = 0, skipped = 0;
    uint64_t skipped_bytes = 0;
    for (size_t i = 0; b->src && i < hd_source_count(b->src); i++) {
        const hd_source_tensor *t = hd_source_at(b->src, i);
        if (hd_map_get(&b->used, t->name, NULL) || is_rotary_buffer(t->name)) continue;
        if (is_skipped(b, t->name)) {
            skipped++;
            skipped_bytes += t->bytes;
            continue;
        }
        unused++;
        HD_LOG(HD_LOG_DEBUG, "load", "tensor is not used", hd_f_slice("name", t->name));
    }
    if (skipped)
        HD_LOG(HD_LOG_INFO, "load", "tensors skipped that are not needed for plain generation",
               hd_f_int("count", skipped), hd_f_f64("mib", (double)skipped_bytes / (1 << 20), 1));
    if (unused)
        HD_LOG(HD_LOG_INFO, "load", "tensors in the files that this architecture does not use",
               hd_f_int("count", unused));
}

static void log_types(const hd_binder *b)
{
    const hd_weight_types *w = &b->opts.weights;
    if (b->n_kept + b->n_neighbour == 0) return;
    HD_LOG(HD_LOG_INFO, "load", "weights not of the type wanted: rows are no multiple of its block",
           hd_f_int("kept", b->n_kept), hd_f_int("same_width", b->n_neighbour),
           hd_f_str("wanted", hd_dtype_name(w->all)),
           hd_f_str("experts", hd_dtype_name(w->experts)),
           hd_f_str("attention", hd_dtype_name(w->attention)));
}

static void release_all(hd_binder *b)
{
    for (size_t i = 0; i < b->n_jobs; i++) {
        hd_weight **slot = b->jobs[i].slot;
        b->be->ops->weight_free(b->be, *slot);
        *slot = NULL;
    }
}

static void add_totals(hd_binder *b, uint64_t *weight_bytes)
{
    hd_weight_totals *sum = &b->totals;
    for (size_t i = 0; i < b->n_jobs; i++) {
        hd_weight_info info;
        b->be->ops->weight_info(b->be, *b->jobs[i].slot, &info);
        const uint64_t n = (uint64_t)info.n_mat * (uint64_t)info.n_out * (uint64_t)info.n_in;
        *weight_bytes += info.bytes;
        sum->bytes[info.dtype] += info.bytes;
        sum->params += n;
        if (b->jobs[i].use == HD_USE_EXPERT) sum->expert_params += n;
    }
}

hd_status hd_binder_finish(hd_binder *b, uint64_t *weight_bytes, hd_err *err)
{
    *weight_bytes = 0;
    if (b->st == HD_OK) pack(b);
    if (b->st != HD_OK) {
        release_all(b);
        return hd_fail(err, b->st, "%s", b->err.msg);
    }
    report(b, true);
    add_totals(b, weight_bytes);
    if (!b->dry) {
        log_unused(b);
        log_types(b);
    }
    return HD_OK;
}

void hd_binder_totals(const hd_binder *b, hd_weight_totals *out)
{
    *out = b->totals;
}
