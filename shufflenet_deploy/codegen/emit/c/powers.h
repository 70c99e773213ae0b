/* Roots and powers of vectors of floats, in place; after functions.h. */
INLINE void vector_square_root(vfloat *v)
{
    for (int p = 0; p < LANES; ++p)
        (*v)[p] = sqrtf((*v)[p]);
}

INLINE void vector_reciprocal_root(vfloat *v)
{
    vector_square_root(v);
    *v = 1.0f / *v;
}

INLINE void vector_power(vfloat *v, float exponent)
{
    for (int p = 0; p < LANES; ++p)
        (*v)[p] = powf((*v)[p], exponent);
}
