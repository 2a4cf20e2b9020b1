// Measures what the machine can do, so that speeds can be stated as a share of it.
#ifndef HADAL_ENGINE_PROBE_H
#define HADAL_ENGINE_PROBE_H

#include "kernels/base/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

// Sequential read bandwidth of the pool's threads together, in bytes per second: the best of
// several passes over memory far larger than any cache. Takes well under a second; 0 when memory is
// short. The pool should be the one whose work is judged: where its threads are bound decides the
// figure.
double hd_probe_read_bandwidth(hd_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
