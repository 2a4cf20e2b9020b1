// Collectives between ranks of one model. The world of one is built in; NCCL and MPI are plugins.
#ifndef HADAL_KERNELS_COMM_H
#define HADAL_KERNELS_COMM_H

#include "kernels/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_comm hd_comm;
struct hd_comm {
    int32_t rank, world;
    void (*all_reduce)(hd_comm *c, hd_tensor x);          // sum over ranks, in place
    void (*broadcast)(hd_comm *c, void *p, size_t bytes); // from rank 0
    void *ctx;
};

extern hd_comm hd_comm_self; // rank 0 of 1: both operations return at once

#ifdef __cplusplus
}
#endif

#endif
