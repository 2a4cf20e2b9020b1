// Byte products of the levels without VNNI, over either vocabulary.
//
// vpmaddubsw adds two products in 16 bits and saturates: unsigned codes must stay below 129. Signed
// codes are multiplied as |code| times the activation with the code's sign; activations are never
// -128.
enum { signed_quarter = 0, iq4_raised = 0 };
enum { scale16_form = 0x01000100, scale32_form = 0x01000100, scale_iq4_form = 0x01000100 };

HD_INLINE vi dot_pairs(vi acc, vi a, vi b)
{
    return v_add32(acc, v_madd16(a, b));
}

HD_INLINE vi signed_products(vi q, vi a)
{
    return v_maddubs(v_abs8(q), v_sign8(a, q));
}

// Sums of four products of codes below 32 fit 16 bits.
HD_INLINE vi products32(vi q, vi a, vi r, vi b)
{
    return v_add16(v_maddubs(q, a), v_maddubs(r, b));
}

HD_INLINE vi dot32(vi start, vi lo, vi a, vi hi, vi b)
{
    return dot_pairs(start, products32(lo, a, hi, b), v_set16(1));
}

HD_INLINE vi signed_dot32(vi start, vi lo, vi a, vi hi, vi b)
{
    start = dot_pairs(start, signed_products(lo, a), v_set16(1));
    return dot_pairs(start, signed_products(hi, b), v_set16(1));
}

HD_INLINE vi scaled_dot16(vi acc, vi q, vi a, vi scale)
{
    return dot_pairs(acc, v_maddubs(q, a), scale);
}

HD_INLINE vi scaled_dot32(vi acc, vi q, vi a, vi r, vi b, vi scale)
{
    return dot_pairs(acc, products32(q, a, r, b), scale);
}

HD_INLINE vi scaled_dot_iq4(vi acc, vi q, vi a, vi r, vi b, vi scale)
{
    acc = dot_pairs(acc, signed_products(q, a), scale);
    return dot_pairs(acc, signed_products(r, b), scale);
}
