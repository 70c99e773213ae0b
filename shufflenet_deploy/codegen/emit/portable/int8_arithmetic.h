/* An accumulator in steps of the output, in 16 bits, and whole numbers as bytes. */
INLINE int sixteen(int64_t v) { return (int)(v > -32768 ? (v < 32767 ? v : 32767) : -32768); }
INLINE byte byte_of(int v)
{
    return (byte)(v > LOWEST ? (v < LOWEST + 255 ? v : LOWEST + 255) : LOWEST);
}
#ifdef IN_FLOAT
INLINE int scaled(int32_t a, float factor, int shift)
{
    (void)shift;
    return sixteen((int64_t)rintf((float)a * factor));
}
#else
INLINE int scaled(int32_t a, int32_t factor, int shift)
{
    const int64_t upper = ((int64_t)a * factor + (1LL << 30)) >> 31;
    return sixteen((upper + (1 << shift >> 1)) >> shift);
}
#endif
INLINE int sum_of(int near, int other, int power)
{
    return (sixteen(near + other) + (1 << power >> 1)) >> power;
}
/* A number of steps of a picture's scale as a byte. */
INLINE byte byte_of_steps(float steps, int zero)
{
    const float near = steps > -32768.0f ? (steps < 32767.0f ? steps : 32767.0f) : -32768.0f;
    return byte_of((int)rintf(near) + zero);
}
/* A byte, or what it is above its zero, times a factor: with fractions of a step. */
INLINE int part_of(int x, int by) { return (x * 128 * by + (1 << 14)) >> 15; }
/* Which factor a sum of squares and one chooses: the upper half of it as a float. */
INLINE int16_t choice(int squares)
{
    const float real = (float)squares;
    int32_t bits;
    memcpy(&bits, &real, 4);
    return (int16_t)((bits >> 16) - 0x3f80);
}
