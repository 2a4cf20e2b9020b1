// Matrix kernels of block formats with AVX-512 VNNI: the templates on 512-bit vectors, with the
// instructions that multiply and add bytes and words in one step.
#include "kernels/cpu/x86/vec_avx512.h"
#include "kernels/cpu/x86/x86.h"

HD_INLINE vi dot_pairs(vi acc, vi a, vi b)
{
    return _mm512_dpwssd_epi32(acc, a, b);
}

HD_INLINE vi dot32(vi start, vi lo, vi a, vi hi, vi b)
{
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(start, lo, a), hi, b);
}

// vpdpbusd is exact for any unsigned byte.
enum { iq4_raised = 1 };

// A sum that fits 16 bits, in a 32-bit lane, is multiplied by the scale in the lower word and by
// nothing in the upper: a multiply-add in one instruction. Four products of codes below 64 or eight
// of codes below 32 fit (63 * 127 * 4 and 31 * 127 * 8).
enum {
    scale16_form = (int)0x80800100,
    scale32_form = (int)0x80800100,
    scale_iq4_form = 0x01000100
};

HD_INLINE vi scaled_dot16(vi acc, vi q, vi a, vi scale)
{
    return _mm512_dpwssd_epi32(acc, _mm512_dpbusd_epi32(v_zero(), q, a), scale);
}

HD_INLINE vi scaled_dot32(vi acc, vi q, vi a, vi r, vi b, vi scale)
{
    return _mm512_dpwssd_epi32(acc, dot32(v_zero(), q, a, r, b), scale);
}

HD_INLINE vi scaled_dot_iq4(vi acc, vi q, vi a, vi r, vi b, vi scale)
{
    vi wide = _mm512_srai_epi32(scale, 16);
    return v_add32(acc, v_mul32(dot32(v_zero(), q, a, r, b), wide));
}

#include "kernels/cpu/x86/dot256_strip_tmpl.c"
#include "kernels/cpu/x86/dot32_strip_tmpl.c"
#include "kernels/cpu/x86/dot_blocks_tmpl.c"

void hd_fill_avx512vnni_dot(hd_cpu_fns *f)
{
    fill_blocks(f);
}
