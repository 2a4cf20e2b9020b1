// Entries of what writes cached rows, and of the encoders of weights that do the same: included
// after kv_write_f16, kv_write_bf16 and kv_write_q8_0.
enum { PIECE = 1 << 20 };

HD_INLINE void encode(hd_quant_act_fn *write, hd_dtype type, const float *src, uint8_t *dst,
                      int64_t n)
{
    for (; n > 0; n -= PIECE, src += PIECE, dst += hd_row_bytes(type, PIECE))
        write(dst, src, (int)(n < PIECE ? n : PIECE));
}

static void encode_f16(const float *restrict src, void *restrict dst, int64_t n)
{
    encode(kv_write_f16, HD_F16, src, dst, n);
}
static void encode_bf16(const float *restrict src, void *restrict dst, int64_t n)
{
    encode(kv_write_bf16, HD_BF16, src, dst, n);
}
static void encode_q8_0(const float *restrict src, void *restrict dst, int64_t n)
{
    encode(kv_write_q8_0, HD_Q8_0, src, dst, n);
}

static void fill_kv(hd_cpu_fns *f)
{
    f->encode[HD_F16] = encode_f16;
    f->encode[HD_BF16] = encode_bf16;
    f->encode[HD_Q8_0] = encode_q8_0;
    f->kv_write[HD_F16] = kv_write_f16;
    f->kv_write[HD_BF16] = kv_write_bf16;
    f->kv_write[HD_Q8_0] = kv_write_q8_0;
}
