/* Bytes of sums and of gated values: vectors where there are kernels, the rest one by one. */
/* Each byte above its zero times its own factor; `start` is the output's zero and a half. */
INLINE void scale_bytes(const byte *x, const int16_t *by, byte *y, int count, int zero, int start,
                  int power)
{
    int c = 0;
#ifdef BYTES_PER_VECTOR
    for (; c + BYTES_PER_VECTOR <= count; c += BYTES_PER_VECTOR)
        scale_bytes_vector(x + c, by + c, y + c, zero, start, power);
#endif
    for (; c < count; ++c)
        y[c] = saturate_8((scale_to_16(x[c] - zero, by[c]) + start) >> power);
}
/* Bytes of two values, each with a factor of its own. */
INLINE void add_bytes(const byte *x, const byte *r, byte *y, int count, int first, int second,
                  int start, int power)
{
    int c = 0;
#ifdef BYTES_PER_VECTOR
    for (; c + BYTES_PER_VECTOR <= count; c += BYTES_PER_VECTOR)
        add_bytes_vector(x + c, r + c, y + c, first, second, start, power);
#endif
    for (; c < count; ++c)
        y[c] = saturate_8((scale_to_16(x[c], first) + scale_to_16(r[c], second) + start) >> power);
}
