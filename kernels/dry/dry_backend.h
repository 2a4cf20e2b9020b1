// The dry backend as backend.c sees it.
#ifndef HADAL_KERNELS_DRY_DRY_BACKEND_H
#define HADAL_KERNELS_DRY_DRY_BACKEND_H

#include "kernels/backend.h"

extern const hd_backend_ops hd_dry_ops;

#endif
