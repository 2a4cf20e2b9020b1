// RoPE frequencies for every scaling rule, and what scaling does to attention. Angles and rotation
// are the backend's business.
//
// transformers computes these in float32, and a difference of one unit in the last place grows with
// the position. So every step here is done in float and in its order, not in double.
#include "models/config.h"

#include <math.h>
#include <stddef.h>

static const double pi = 3.14159265358979323846;

// theta^(2i/n)
static float base_power(const hd_rope_cfg *r, int32_t n_rot, int32_t i)
{
    return powf((float)r->theta, (float)(2 * i) / (float)n_rot);
}

// Long wavelengths are stretched by factor, short ones kept, those between blended.
static float llama3(const hd_rope_cfg *r, float f)
{
    float factor = (float)r->factor;
    float low = (float)r->low_freq_factor, high = (float)r->high_freq_factor;
    float wavelength = (float)(2 * pi) / f;
    if (wavelength > (float)(r->original_context / r->low_freq_factor)) return f / factor;
    if (wavelength < (float)(r->original_context / r->high_freq_factor)) return f;
    float s = ((float)r->original_context / wavelength - low) / (high - low);
    return (1 - s) * f / factor + s * f;
}

// The pair index whose wavelength makes `turns` full turns within the original context.
static double yarn_index(const hd_rope_cfg *r, int32_t n_rot, double turns)
{
    return n_rot * log(r->original_context / (turns * 2 * pi)) / (2 * log(r->theta));
}

static void yarn(const hd_rope_cfg *r, int32_t n_rot, float *inv_freq)
{
    double low = yarn_index(r, n_rot, r->beta_fast);
    double high = yarn_index(r, n_rot, r->beta_slow);
    if (r->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, n_rot - 1);
    if (low == high) high += 0.001;
    for (int32_t i = 0; i < n_rot / 2; i++) {
        float power = base_power(r, n_rot, i);
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float keep = 1 - fminf(fmaxf(ramp, 0), 1);
        inv_freq[i] = 1 / ((float)r->factor * power) * (1 - keep) + 1 / power * keep;
    }
}

static double mscale(double factor, double m)
{
    return factor > 1 ? 0.1 * m * log(factor) + 1 : 1;
}

// The distill R1-0528-Qwen3-8B carries a key "attn_factor" meant to cancel this magnitude.
// transformers does not know that key, and neither do we: the magnitude stays.
static double yarn_magnitude(const hd_rope_cfg *r)
{
    if (r->attention_factor > 0) return r->attention_factor;
    if (r->mscale != 0 && r->mscale_all_dim != 0)
        return mscale(r->factor, r->mscale) / mscale(r->factor, r->mscale_all_dim);
    return mscale(r->factor, 1);
}

void hd_rope_frequencies(const hd_rope_cfg *r, int32_t n_rot, const float *factors, float *inv_freq,
                         float *magnitude)
{
    *magnitude = 1;
    if (r->scaling == HD_SCALING_YARN) {
        yarn(r, n_rot, inv_freq);
        *magnitude = (float)yarn_magnitude(r);
        return;
    }
    for (int32_t i = 0; i < n_rot / 2; i++) {
        float f = 1 / base_power(r, n_rot, i);
        if (r->scaling == HD_SCALING_LINEAR) f /= (float)r->factor;
        if (r->scaling == HD_SCALING_LLAMA3) f = llama3(r, f);
        if (r->scaling == HD_SCALING_FACTORS && factors) f /= factors[i];
        inv_freq[i] = f;
    }
}

double hd_cfg_attn_scale(const hd_model_cfg *c)
{
    const hd_rope_cfg *r = &c->rope;
    double scale = 1 / sqrt((double)c->d_head);
    if (c->mla.d_latent == 0 || r->scaling != HD_SCALING_YARN || r->mscale_all_dim == 0)
        return scale;
    double m = mscale(r->factor, r->mscale_all_dim);
    return scale * m * m;
}
