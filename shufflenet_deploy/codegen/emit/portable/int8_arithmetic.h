/* An accumulator in steps of the output, in 16 bits, and integers as bytes. */
INLINE int saturate_16(int64_t v) { return (int)(v > -32768 ? (v < 32767 ? v : 32767) : -32768); }
INLINE byte saturate_8(int v)
{
    return (byte)(v > LOWEST ? (v < LOWEST + 255 ? v : LOWEST + 255) : LOWEST);
}
#ifdef FLOAT_REQUANTIZATION
INLINE int requantize(int32_t a, float factor, int shift)
{
    (void)shift;
    return saturate_16((int64_t)rintf((float)a * factor));
}
#else
INLINE int requantize(int32_t a, int32_t factor, int shift)
{
    const int64_t upper = ((int64_t)a * factor + (1LL << 30)) >> 31;
    return saturate_16((upper + (1 << shift >> 1)) >> shift);
}
#endif
INLINE int add_residual(int near, int other, int power)
{
    return (saturate_16(near + other) + (1 << power >> 1)) >> power;
}
/* A number of steps of the image's scale as a byte. */
INLINE byte quantize_8(float steps, int zero)
{
    const float near = steps > -32768.0f ? (steps < 32767.0f ? steps : 32767.0f) : -32768.0f;
    return saturate_8((int)rintf(near) + zero);
}
/* A byte, or what it is above its zero, times a factor: with fractions of a step. */
INLINE int scale_to_16(int x, int by) { return (x * 128 * by + (1 << 14)) >> 15; }
/* Which factor a sum of squares and one chooses: the upper half of it as a float. */
INLINE int16_t norm_index(int squares)
{
    const float real = (float)squares;
    int32_t bits;
    memcpy(&bits, &real, 4);
    return (int16_t)((bits >> 16) - 0x3f80);
}
