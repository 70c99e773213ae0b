/* x * min(max(x + 3, 0), 6) / 6, of vectors and of one number. */
#define HARD_SWISH_OF(n, a)                                                                 \
    __extension__({                                                                         \
        const v##n x_ = (a);                                                                \
        x_ * (MIN##n(MAX##n(x_ + (real)3, (v##n){0}), SPLAT##n(6)) * (real)0.166666667f);   \
    })
#define HARD_SWISH4(a) HARD_SWISH_OF(4, a)
#define HARD_SWISH8(a) HARD_SWISH_OF(8, a)
#define HARD_SWISH16(a) HARD_SWISH_OF(16, a)
#if LANES == 4
#define HARD_SWISH HARD_SWISH4
#elif LANES == 8
#define HARD_SWISH HARD_SWISH8
#else
#define HARD_SWISH HARD_SWISH16
#endif
INLINE float hard_swish(float x) { return x * (relu6(x + 3.0f) * 0.166666667f); }
