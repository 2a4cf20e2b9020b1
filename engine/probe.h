// Measures what the machine can do, so that speeds can be stated as a share of it.
#ifndef HADAL_ENGINE_PROBE_H
#define HADAL_ENGINE_PROBE_H

#ifdef __cplusplus
extern "C" {
#endif

// Sequential read bandwidth of `threads` threads together, in bytes per second: the best of several
// passes over memory far larger than any cache. Takes well under a second; 0 when memory is short.
double hd_probe_read_bandwidth(int threads);

#ifdef __cplusplus
}
#endif

#endif
