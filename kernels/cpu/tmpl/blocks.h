// What differs between the block formats, folded away where the type is a constant.
#ifndef HADAL_KERNELS_CPU_TMPL_BLOCKS_H
#define HADAL_KERNELS_CPU_TMPL_BLOCKS_H

#include "kernels/cpu/tmpl/mm.h"

HD_INLINE size_t block_bytes(hd_dtype type)
{
    switch (type) {
    case HD_Q4_0:
        return sizeof(hd_block_q4_0);
    case HD_Q4_1:
        return sizeof(hd_block_q4_1);
    case HD_Q5_0:
        return sizeof(hd_block_q5_0);
    case HD_Q5_1:
        return sizeof(hd_block_q5_1);
    case HD_Q8_0:
        return sizeof(hd_block_q8_0);
    case HD_IQ4_NL:
        return sizeof(hd_block_iq4_nl);
    case HD_MXFP4:
        return sizeof(hd_block_mxfp4);
    case HD_Q2_K:
        return sizeof(hd_block_q2_k);
    case HD_Q3_K:
        return sizeof(hd_block_q3_k);
    case HD_Q4_K:
        return sizeof(hd_block_q4_k);
    case HD_Q5_K:
        return sizeof(hd_block_q5_k);
    case HD_Q6_K:
        return sizeof(hd_block_q6_k);
    default:
        return sizeof(hd_block_iq4_xs);
    }
}

// m of the blocks of 32, min of the super-blocks.
HD_INLINE bool has_min(hd_dtype type)
{
    return type == HD_Q4_1 || type == HD_Q5_1 || type == HD_Q2_K || type == HD_Q4_K ||
           type == HD_Q5_K;
}

// Eight sub-blocks of 32 elements rather than sixteen of 16.
HD_INLINE bool wide_sub_blocks(hd_dtype type)
{
    return type == HD_Q4_K || type == HD_Q5_K || type == HD_IQ4_XS;
}

HD_INLINE bool is_super(hd_dtype type)
{
    return wide_sub_blocks(type) || type == HD_Q2_K || type == HD_Q3_K || type == HD_Q6_K;
}

#endif
