/* Bytes of sums and of gated values: vectors where there are kernels, the rest one by one. */
/* Each byte above its zero times its own factor; `start` is the output's zero and a half. */
INLINE void gated(const byte *x, const int16_t *by, byte *y, int count, int zero, int start,
                  int power)
{
    int c = 0;
#ifdef BYTES_AT_ONCE
    for (; c + BYTES_AT_ONCE <= count; c += BYTES_AT_ONCE)
        gated_vector(x + c, by + c, y + c, zero, start, power);
#endif
    for (; c < count; ++c)
        y[c] = byte_of((part_of(x[c] - zero, by[c]) + start) >> power);
}
/* Bytes of two values, each with a factor of its own. */
INLINE void added(const byte *x, const byte *r, byte *y, int count, int first, int second,
                  int start, int power)
{
    int c = 0;
#ifdef BYTES_AT_ONCE
    for (; c + BYTES_AT_ONCE <= count; c += BYTES_AT_ONCE)
        added_vector(x + c, r + c, y + c, first, second, start, power);
#endif
    for (; c < count; ++c)
        y[c] = byte_of((part_of(x[c], first) + part_of(r[c], second) + start) >> power);
}
