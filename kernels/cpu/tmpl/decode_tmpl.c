// Entries of the decoders of one level: included after them.
static void fill_decode(hd_cpu_fns *f)
{
    f->decode[HD_F16] = decode_f16;
    f->decode[HD_BF16] = decode_bf16;
    f->decode[HD_F8_E4M3] = decode_e4m3;
    f->decode[HD_F8_B128] = decode_f8_b128;
    f->decode[HD_Q4_0] = decode_q4_0;
    f->decode[HD_Q4_1] = decode_q4_1;
    f->decode[HD_Q5_0] = decode_q5_0;
    f->decode[HD_Q5_1] = decode_q5_1;
    f->decode[HD_Q8_0] = decode_q8_0;
    f->decode[HD_IQ4_NL] = decode_iq4_nl;
    f->decode[HD_MXFP4] = decode_mxfp4;
    f->decode[HD_Q2_K] = decode_q2_k;
    f->decode[HD_Q3_K] = decode_q3_k;
    f->decode[HD_Q4_K] = decode_q4_k;
    f->decode[HD_Q5_K] = decode_q5_k;
    f->decode[HD_Q6_K] = decode_q6_k;
    f->decode[HD_IQ4_XS] = decode_iq4_xs;
}
