// The block formats' entries of one level: included last by dot_<level>.c, after sweep(call, type).
MM(mm_q4_0, sweep(&c, HD_Q4_0))
MM(mm_q4_1, sweep(&c, HD_Q4_1))
MM(mm_q5_0, sweep(&c, HD_Q5_0))
MM(mm_q5_1, sweep(&c, HD_Q5_1))
MM(mm_q8_0, sweep(&c, HD_Q8_0))
MM(mm_iq4_nl, sweep(&c, HD_IQ4_NL))
MM(mm_mxfp4, sweep(&c, HD_MXFP4))
MM(mm_q2_k, sweep(&c, HD_Q2_K))
MM(mm_q3_k, sweep(&c, HD_Q3_K))
MM(mm_q4_k, sweep(&c, HD_Q4_K))
MM(mm_q5_k, sweep(&c, HD_Q5_K))
MM(mm_q6_k, sweep(&c, HD_Q6_K))
MM(mm_iq4_xs, sweep(&c, HD_IQ4_XS))

static void fill_blocks(hd_cpu_fns *f)
{
    f->mm[HD_Q4_0] = mm_q4_0;
    f->mm[HD_Q4_1] = mm_q4_1;
    f->mm[HD_Q5_0] = mm_q5_0;
    f->mm[HD_Q5_1] = mm_q5_1;
    f->mm[HD_Q8_0] = mm_q8_0;
    f->mm[HD_IQ4_NL] = mm_iq4_nl;
    f->mm[HD_MXFP4] = mm_mxfp4;
    f->mm[HD_Q2_K] = mm_q2_k;
    f->mm[HD_Q3_K] = mm_q3_k;
    f->mm[HD_Q4_K] = mm_q4_k;
    f->mm[HD_Q5_K] = mm_q5_k;
    f->mm[HD_Q6_K] = mm_q6_k;
    f->mm[HD_IQ4_XS] = mm_iq4_xs;
}
