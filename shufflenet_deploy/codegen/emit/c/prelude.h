/* Vectors of numbers and what the kernels do with them, for gcc 12+, clang and zig cc. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))
#define LOOP static __attribute__((noinline))

/* What is computed with, the integers of its size, and how assembly calls a vector of it. */
#if defined(FP16)
typedef _Float16 real;
typedef int16_t whole;
#define ARRANGEMENT "8h"
#else
typedef float real;
typedef int32_t whole;
#define ARRANGEMENT "4s"
#endif
typedef real v4 __attribute__((vector_size(4 * sizeof(real))));
typedef real v8 __attribute__((vector_size(8 * sizeof(real))));
typedef real v16 __attribute__((vector_size(16 * sizeof(real))));
typedef whole i4 __attribute__((vector_size(4 * sizeof(whole))));
typedef whole i8 __attribute__((vector_size(8 * sizeof(whole))));
typedef whole i16 __attribute__((vector_size(16 * sizeof(whole))));
typedef v4 u4 __attribute__((aligned(sizeof(real)), may_alias));
typedef v8 u8 __attribute__((aligned(sizeof(real)), may_alias));
typedef v16 u16 __attribute__((aligned(sizeof(real)), may_alias));

#define LOAD4(p) ((v4) * (const u4 *)(const void *)(p))
#define LOAD8(p) ((v8) * (const u8 *)(const void *)(p))
#define LOAD16(p) ((v16) * (const u16 *)(const void *)(p))
#define STORE4(p, a) (*(u4 *)(void *)(p) = (a))
#define STORE8(p, a) (*(u8 *)(void *)(p) = (a))
#define STORE16(p, a) (*(u16 *)(void *)(p) = (a))
#define SPLAT4(s) ((real)(s) - (v4){0})
#define SPLAT8(s) ((real)(s) - (v8){0})
#define SPLAT16(s) ((real)(s) - (v16){0})

/* The larger and the smaller, lane by lane. */
#define SELECT(n, a, b, op)                                                                 \
    __extension__({                                                                         \
        const v##n one_ = (a), two_ = (b);                                                  \
        const i##n mask_ = one_ op two_;                                                    \
        (v##n)((mask_ & (i##n)one_) | (~mask_ & (i##n)two_));                               \
    })
#if defined(__aarch64__) && !defined(FP16)
#define MAX4(a, b) ((v4)vmaxq_f32((float32x4_t)(a), (float32x4_t)(b)))
#define MIN4(a, b) ((v4)vminq_f32((float32x4_t)(a), (float32x4_t)(b)))
#elif defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC) && defined(FP16)
#define MAX4(a, b) ((v4)vmax_f16((float16x4_t)(a), (float16x4_t)(b)))
#define MIN4(a, b) ((v4)vmin_f16((float16x4_t)(a), (float16x4_t)(b)))
#elif defined(__x86_64__) && !defined(FP16)
#define MAX4(a, b) ((v4)_mm_max_ps((__m128)(a), (__m128)(b)))
#define MIN4(a, b) ((v4)_mm_min_ps((__m128)(a), (__m128)(b)))
#else
#define MAX4(a, b) SELECT(4, a, b, >)
#define MIN4(a, b) SELECT(4, a, b, <)
#endif
#if defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC) && defined(FP16)
#define MAX8(a, b) ((v8)vmaxq_f16((float16x8_t)(a), (float16x8_t)(b)))
#define MIN8(a, b) ((v8)vminq_f16((float16x8_t)(a), (float16x8_t)(b)))
#elif defined(__AVX__) && !defined(FP16)
#define MAX8(a, b) ((v8)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define MIN8(a, b) ((v8)_mm256_min_ps((__m256)(a), (__m256)(b)))
#else
#define MAX8(a, b) SELECT(8, a, b, >)
#define MIN8(a, b) SELECT(8, a, b, <)
#endif
#if defined(__AVX512F__) && !defined(FP16)
#define MAX16(a, b) ((v16)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define MIN16(a, b) ((v16)_mm512_min_ps((__m512)(a), (__m512)(b)))
#else
#define MAX16(a, b) SELECT(16, a, b, >)
#define MIN16(a, b) SELECT(16, a, b, <)
#endif

/* a + x * w[lane], with one lane of a register of four weights as the factor. */
#if defined(__aarch64__) && !defined(FP16)
#define FMA_LANE(a, x, w, lane)                                                             \
    ((v4)vfmaq_laneq_f32((float32x4_t)(a), (float32x4_t)(x), (float32x4_t)(w), lane))
#define SPLAT_LANE(w, lane) ((v4)vdupq_laneq_f32((float32x4_t)(w), lane))
#else
#define FMA_LANE(a, x, w, lane) ((a) + (x) * (w)[lane])
#define SPLAT_LANE(w, lane) SPLAT((w)[lane])
#endif

/* A load of fewer numbers than the vector has lanes; the others may be anything. gcc widens a vector
   inside a shuffle by way of the stack, which stalls the load that follows; a cast costs nothing. */
#if defined(__AVX512F__) && !defined(FP16)
#define WIDE8_4(p) ((v8)_mm256_castps128_ps256(_mm_loadu_ps(p)))
#define WIDE16_4(p) ((v16)_mm512_castps128_ps512(_mm_loadu_ps(p)))
#define WIDE16_8(p) ((v16)_mm512_castps256_ps512(_mm256_loadu_ps(p)))
#else
#define WIDE8_4(p) __builtin_shufflevector(LOAD4(p), LOAD4(p), 0, 1, 2, 3, 4, 5, 6, 7)
#define WIDE16_4(p)                                                                         \
    __builtin_shufflevector(LOAD4(p), LOAD4(p), 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7)
#define WIDE16_8(p)                                                                         \
    __builtin_shufflevector(                                                                \
        LOAD8(p), LOAD8(p), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
#endif

/* Every second of two vectors. */
#define EVEN4(a, b) __builtin_shufflevector((a), (b), 0, 2, 4, 6)
#define EVEN8(a, b) __builtin_shufflevector((a), (b), 0, 2, 4, 6, 8, 10, 12, 14)
#define EVEN16(a, b)                                                                        \
    __builtin_shufflevector(                                                                \
        (a), (b), 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD4(a, b) __builtin_shufflevector((a), (b), 1, 3, 5, 7)
#define ODD8(a, b) __builtin_shufflevector((a), (b), 1, 3, 5, 7, 9, 11, 13, 15)
#define ODD16(a, b)                                                                         \
    __builtin_shufflevector(                                                                \
        (a), (b), 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)

/* Every step-th of `count` numbers; reads no number after the last. */
INLINE void strided_copy(const real *restrict x, real *restrict y, int count, int step)
{
    int i = 0;
    if (step == 1) {
        for (; i + LANES <= count; i += LANES)
            STORE(y + i, LOAD(x + i));
    } else if (step == 2) {
        for (; i + LANES < count; i += LANES) {
            const vf one = LOAD(x + 2 * i), two = LOAD(x + 2 * i + LANES);
            STORE(y + i, EVEN(one, two));
        }
    }
    for (; i < count; ++i)
        y[i] = x[i * step];
}

/* Numbers by turns to one and to two, `count` to each; reads no number after the last. */
INLINE void deinterleave(const real *restrict x, real *restrict one, real *restrict two, int count)
{
    int i = 0;
#if defined(__aarch64__)
    const real *from = x;
    real *even = one, *odd = two;
    for (; i + 4 * LANES <= count; i += 4 * LANES)
        __asm__ volatile("ld2 {v0." ARRANGEMENT ", v1." ARRANGEMENT "}, [%[x]], #32\n"
                         "ld2 {v2." ARRANGEMENT ", v3." ARRANGEMENT "}, [%[x]], #32\n"
                         "ld2 {v4." ARRANGEMENT ", v5." ARRANGEMENT "}, [%[x]], #32\n"
                         "ld2 {v6." ARRANGEMENT ", v7." ARRANGEMENT "}, [%[x]], #32\n"
                         "stp q0, q2, [%[one]], #32\n"
                         "stp q1, q3, [%[two]], #32\n"
                         "stp q4, q6, [%[one]], #32\n"
                         "stp q5, q7, [%[two]], #32\n"
                         : [x] "+r"(from), [one] "+r"(even), [two] "+r"(odd)
                         :
                         : "memory", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7");
#else
#pragma GCC unroll 4
#endif
    for (; i + LANES <= count; i += LANES) {
        const vf a = LOAD(x + 2 * i), b = LOAD(x + 2 * i + LANES);
        STORE(one + i, EVEN(a, b));
        STORE(two + i, ODD(a, b));
    }
    for (; i < count; ++i)
        one[i] = x[2 * i], two[i] = x[2 * i + 1];
}

INLINE void fill(real *y, int count, real value)
{
    for (int i = 0; i < count; ++i)
        y[i] = value;
}

INLINE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
INLINE float relu(float x) { return x > 0.0f ? x : 0.0f; }
INLINE float relu6(float x) { return x > 0.0f ? (x < 6.0f ? x : 6.0f) : 0.0f; }
INLINE float none(float x) { return x; }
INLINE float squared(float x) { return x * x; }
