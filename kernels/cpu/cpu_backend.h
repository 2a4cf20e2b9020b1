// The CPU backend as backend.c sees it.
#ifndef HADAL_KERNELS_CPU_CPU_BACKEND_H
#define HADAL_KERNELS_CPU_CPU_BACKEND_H

#include "kernels/backend.h"

extern const hd_backend_ops hd_cpu_ops;

#endif
