// The world of one rank.
#include "kernels/comm.h"

static void self_all_reduce(hd_comm *c, hd_tensor x)
{
    (void)c;
    (void)x;
}

static void self_broadcast(hd_comm *c, void *p, size_t bytes)
{
    (void)c;
    (void)p;
    (void)bytes;
}

hd_comm hd_comm_self = {0, 1, self_all_reduce, self_broadcast, NULL};
