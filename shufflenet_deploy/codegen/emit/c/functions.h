/* Functions of vectors of floats, in place; numbers of half precision are widened for them. */
typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef uint32_t vbits __attribute__((vector_size(4 * LANES)));
#define WIDENED(a) __builtin_convertvector((a), vfloat)
#define NARROWED(a) __builtin_convertvector((a), vf)
#define CHOOSE(mask, a, b)                                                                  \
    ((vfloat)(((vbits)(mask) & (vbits)(a)) | (~(vbits)(mask) & (vbits)(b))))

INLINE void bound(vfloat *v, float low, float high)
{
    const vfloat x = *v, least = low - (vfloat){0}, most = high - (vfloat){0};
    const vfloat above = CHOOSE(x > least, x, least);
    *v = CHOOSE(above < most, above, most);
}

/* exp, with a relative error of about 2e-7; what is beyond the range of floats is clamped. */
INLINE void exponential(vfloat *v)
{
    vfloat x = *v;
    bound(&x, -87.0f, 88.0f);
    /* x = n * ln 2 + r: adding 1.5 * 2^23 rounds, and leaves n in the low bits. */
    const vfloat shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const vfloat r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vfloat p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    *v = (vfloat)((vbits)p + ((vbits)shifted << 23));
}

INLINE void vector_sigmoid(vfloat *v)
{
    vfloat e = -*v;
    exponential(&e);
    *v = 1.0f / (1.0f + e);
}

INLINE void vector_silu(vfloat *v)
{
    vfloat s = *v;
    vector_sigmoid(&s);
    *v *= s;
}

INLINE void vector_tanh(vfloat *v)
{
    vfloat s = *v * 2.0f;
    vector_sigmoid(&s);
    *v = s * 2.0f - 1.0f;
}

INLINE void vector_hard_sigmoid(vfloat *v)
{
    *v = *v * 0.166666667f + 0.5f;
    bound(v, 0.0f, 1.0f);
}

INLINE void vector_hard_swish(vfloat *v)
{
    vfloat s = *v;
    vector_hard_sigmoid(&s);
    *v *= s;
}

/* The error function by Abramowitz and Stegun, 7.1.26: within 1.5e-7. */
INLINE void vector_gelu(vfloat *v)
{
    const vfloat x = *v, z = x * 0.707106781f, size = CHOOSE(z < 0.0f, -z, z);
    const vfloat t = 1.0f / (1.0f + 0.3275911f * size);
    vfloat e = -z * z;
    exponential(&e);
    vfloat p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const vfloat erf = 1.0f - p * t * e;
    *v = 0.5f * x * (1.0f + CHOOSE(z < 0.0f, -erf, erf));
}

INLINE void vector_gelu_tanh(vfloat *v)
{
    const vfloat x = *v;
    vfloat s = 1.59576912f * (x + 0.044715f * x * x * x);
    vector_sigmoid(&s);
    *v = x * s;
}

/* tanh(ln(1 + e)) = (e^2 + 2e) / (e^2 + 2e + 2); from e = exp(20) on it is 1. */
INLINE void vector_mish(vfloat *v)
{
    vfloat e = *v;
    bound(&e, -87.0f, 20.0f);
    exponential(&e);
    const vfloat n = e * (e + 2.0f);
    *v *= n / (n + 2.0f);
}

INLINE void vector_elu(vfloat *v, float alpha)
{
    vfloat e = *v;
    exponential(&e);
    *v = CHOOSE(*v > 0.0f, *v, alpha * (e - 1.0f));
}

INLINE void vector_leaky_relu(vfloat *v, float slope)
{
    *v = CHOOSE(*v > 0.0f, *v, *v * slope);
}
