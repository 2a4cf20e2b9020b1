// The block formats of one level: included last by dot_<level>.c, after its vocabulary and byte
// products.
HD_INLINE void sweep(const mm_call *c, hd_dtype type)
{
    if (is_super(type))
        sweep256(c, type);
    else
        sweep32(c, type);
}

#include "kernels/cpu/tmpl/dot_blocks_tmpl.c"
