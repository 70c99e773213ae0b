/* Quotients, choices, norms and softmax of bytes, in integers but for the root of a variance. */
INLINE int greater(int a, int b) { return a > b ? a : b; }
INLINE int lesser(int a, int b) { return a < b ? a : b; }
/* The greatest integer that is not above n / d, for d above zero. */
INLINE int64_t floor_divide(int64_t n, int64_t d) { return n / d - (n % d < 0); }
/* factor * a / b with so many fraction bits in the factor, rounded half up. */
INLINE int quotient(int a, int b, int factor, int bits)
{
    if (b == 0)
        return a > 0 ? 32767 : a < 0 ? -32768 : 0;
    const int64_t n = (int64_t)(b < 0 ? -a : a) * factor;
    const int64_t d = (int64_t)(b < 0 ? -b : b) * ((int64_t)1 << bits);
    return saturate_16(floor_divide(2 * n + d, 2 * d));
}
/* 1 / sqrt(spread + epsilon) with so many fraction bits: no sum of products that a compiler fuses. */
INLINE int64_t reciprocal_root(int64_t spread, double epsilon, int bits)
{
    const double root = __builtin_sqrt((double)spread + epsilon);
    return (int64_t)((double)((int64_t)1 << bits) / root + 0.5);
}
/* A byte of a difference from the mean, by so many bits too large, times a factor and shifted. */
INLINE int normal_byte(int64_t d, int less, int64_t scale, int64_t shift, int bits)
{
    const int64_t normal = (d + ((int64_t)1 << less >> 1)) >> less;
    return saturate_8(saturate_16((normal * scale + shift) >> bits));
}
INLINE int greatest_byte(const byte *x, int step, int count)
{
    int most = x[0];
    for (int k = 1; k < count; ++k)
        most = greater(most, x[k * step]);
    return most;
}
/* Shares of exponentials in their sum; `e` has one for each step below the maximum. */
INLINE void softmax_bytes(const byte *x, int x_step, byte *y, int y_step, int count,
                          const int32_t *e, int64_t factor, int zero, int bits)
{
    const int most = greatest_byte(x, x_step, count);
    int64_t total = 0;
    for (int k = 0; k < count; ++k)
        total += e[most - x[k * x_step]];
    const int64_t half = total * ((int64_t)1 << bits);
    for (int k = 0; k < count; ++k) {
        const int64_t n = 2 * factor * e[most - x[k * x_step]] + half;
        y[k * y_step] = saturate_8(saturate_16(n / (2 * half)) + zero);
    }
}
/* Their logarithms; `t` has the sums from which the logarithm is a fraction of a step higher. */
INLINE void log_softmax_bytes(const byte *x, int x_step, byte *y, int y_step, int count,
                              const int32_t *e, int64_t factor, int zero, const int64_t *t,
                              int thresholds, int bits, int fractions)
{
    const int most = greatest_byte(x, x_step, count);
    int64_t total = 0, steps = 0;
    for (int k = 0; k < count; ++k)
        total += e[most - x[k * x_step]];
    for (int64_t end = thresholds; steps < end;) {
        const int64_t middle = (steps + end) / 2;
        if (t[middle] <= total)
            steps = middle + 1;
        else
            end = middle;
    }
    const int64_t start = ((int64_t)1 << bits >> 1) - steps * ((int64_t)1 << fractions);
    for (int k = 0; k < count; ++k) {
        const int64_t n = start - factor * (most - x[k * x_step]);
        y[k * y_step] = saturate_8(saturate_16(n >> bits) + zero);
    }
}
