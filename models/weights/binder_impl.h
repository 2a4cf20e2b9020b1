// The inside of the binder: what requests (binder.c) leave for packing (bind_pack.c). Private to
// models/weights.
#ifndef HADAL_MODELS_WEIGHTS_BINDER_IMPL_H
#define HADAL_MODELS_WEIGHTS_BINDER_IMPL_H

#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "models/weights/binder.h"

#include <pthread.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_bind_job { // one weight to pack
    hd_weight **slot;        // NULL until the packing creates the weight
    hd_weight_spec spec;
    hd_weight_src *src;              // spec.src
    const hd_source_tensor **tensor; // of src[i]; NULL without a source
    uint64_t bytes;                  // of the sources, scales not counted
    hd_weight_use use;
} hd_bind_job;

typedef struct hd_bind_task { // matrices [first, first + n) of one weight
    hd_bind_job *job;
    int32_t first, n;
    uint64_t bytes;
    size_t order; // of the files, as far as hd_bind calls follow them
} hd_bind_task;

struct hd_binder {
    const hd_source *src; // NULL: shapes come from the requests (dry backend)
    hd_backend *be;
    hd_model_opts opts;
    bool dry;                   // data is never read
    bool staged;                // files are not in memory: tasks read what they need
    int32_t fp8_rows, fp8_cols; // 0: no scales
    hd_arena arena;             // specs, names, prefixes
    hd_bind_job *jobs;
    size_t n_jobs, cap_jobs;
    hd_map used;         // names asked for
    const char **skip;   // prefixes of tensors that are not needed
    int32_t n_skip;      //
    int32_t n_kept;      // weights that keep their type although another was wanted
    int32_t n_neighbour; // and that got another type than was wanted
    hd_weight_totals totals;
    hd_status st; // sticky
    hd_err err;

    // While packing; under the lock from `stop` on, as are the jobs' slots.
    hd_bind_task *tasks;
    size_t n_tasks;
    int64_t reported_ns; // the loading thread's alone
    pthread_mutex_t lock;
    bool stop;
    uint64_t done_bytes, total_bytes;
};

// Bytes of one matrix in its file.
static inline size_t hd_bind_src_bytes(const hd_weight_src *s)
{
    const int32_t rows = s->transposed ? s->n_in : s->n_out;
    return hd_row_bytes(s->dtype, s->transposed ? s->n_out : s->n_in) * (size_t)rows;
}

// Copies of a task's sources, for files that are not in memory.
typedef struct hd_bind_stage {
    hd_weight_src *src; // of the whole job; those of the task's matrices point into bytes
    char *bytes;
} hd_bind_stage;
hd_status hd_bind_stage_open(const hd_binder *b, const hd_bind_task *t, hd_bind_stage *out,
                             hd_err *err);
void hd_bind_stage_close(hd_bind_stage *s);

// Sticky failure: the first message stays.
void hd_binder_fail(hd_binder *b, hd_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __cplusplus
}
#endif

#endif
