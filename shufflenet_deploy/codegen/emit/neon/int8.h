/* What int8 kernels do with NEON vectors. */
/* Two accumulators times their factors, with `shift` bits rounded off, as 16-bit numbers. */
#define BOTH(a, m, b, n, shift)                                                             \
    vqrshrn_high_n_s32(vqrshrn_n_s32(vqrdmulhq_s32(a, m), shift), vqrdmulhq_s32(b, n), shift)
#define HALF(a, m, shift)                                                                   \
    vcombine_s16(vqrshrn_n_s32(vqrdmulhq_s32(a, m), shift), vdup_n_s16(0))
#define BOTH0(a, m, b, n) vqmovn_high_s32(vqmovn_s32(vqrdmulhq_s32(a, m)), vqrdmulhq_s32(b, n))
#define HALF0(a, m) vcombine_s16(vqmovn_s32(vqrdmulhq_s32(a, m)), vdup_n_s16(0))
#define LOAD_4(p)                                                                           \
    vreinterpretq_s8_s32(vld1q_lane_s32((const int32_t *)(const void *)(p), vdupq_n_s32(0), 0))
#define STORE_LANE(p, v, kind, lane)                                                        \
    vst1q_lane_##kind((void *)(p), vreinterpretq_##kind##_s8_(v), lane)
#define vreinterpretq_s32_s8_ vreinterpretq_s32_s8
#define vreinterpretq_s16_s8_ vreinterpretq_s16_s8
#define vreinterpretq_s8_s8_(v) (v)
/* Without dot products: four inputs as pairs for each of four outputs, low pair and high pair. */
#define SPREAD ((int8x16_t){0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3})
#define PICK(x, pick, lane)                                                                 \
    vqtbl1q_s8(x, vreinterpretq_u8_s8(vaddq_s8(pick, vdupq_n_s8(4 * (lane)))))
#define MAC(a, w, x)                                                                        \
    ADD_PAIRS(a, vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x))
#define ADD_PAIRS(a, products)                                                              \
    __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(a) : "w"(products))
/* Three pixels of a column, sixteen channels each, as lanes of one channel: three taps and zero. */
#define SORT(c0, c1, c2, c3, x0, x1, x2)                                                    \
    do {                                                                                    \
        const int8x16_t none_ = vdupq_n_s8(0);                                              \
        const int16x8_t a_ = vreinterpretq_s16_s8(vzip1q_s8(x0, x1));                       \
        const int16x8_t b_ = vreinterpretq_s16_s8(vzip2q_s8(x0, x1));                       \
        const int16x8_t c_ = vreinterpretq_s16_s8(vzip1q_s8(x2, none_));                    \
        const int16x8_t d_ = vreinterpretq_s16_s8(vzip2q_s8(x2, none_));                    \
        c0 = vreinterpretq_s32_s16(vzip1q_s16(a_, c_));                                     \
        c1 = vreinterpretq_s32_s16(vzip2q_s16(a_, c_));                                     \
        c2 = vreinterpretq_s32_s16(vzip1q_s16(b_, d_));                                     \
        c3 = vreinterpretq_s32_s16(vzip2q_s16(b_, d_));                                     \
    } while (0)
#define LOAD_PAIR(a, b, p, at)                                                              \
    __asm__ volatile("ldp %q0, %q1, [%2, %3]" : "=w"(a), "=w"(b) : "r"(p), "i"(at))
#define LOAD_ONE(a, p, at) __asm__ volatile("ldr %q0, [%1, %2]" : "=w"(a) : "r"(p), "i"(at))
#ifndef ASMDOT
#define DOT(a, w, x, lane)                                                                  \
    __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(a) : "w"(w), "w"(x))
#else
#define DOT(a, w, x, lane) a = vdotq_laneq_s32(a, w, x, lane)
#endif
/* Sixteen bytes of joins.h; shifts by constants, once these are part of a kernel. */
#define BYTES_PER_VECTOR 16
INLINE int8x16_t shift_and_narrow(int16x8_t low, int16x8_t high, int start, int power)
{
    const int16x8_t shift = vdupq_n_s16((int16_t)-power), begin = vdupq_n_s16((int16_t)start);
    low = vshlq_s16(vqaddq_s16(low, begin), shift);
    high = vshlq_s16(vqaddq_s16(high, begin), shift);
    return vqmovn_high_s16(vqmovn_s16(low), high);
}
INLINE void scale_bytes_vector(const byte *x, const int16_t *by, byte *y, int zero, int start, int power)
{
    const int8x16_t v = vld1q_s8(x), none = vdupq_n_s8((int8_t)zero);
    const int16x8_t low = vshlq_n_s16(vsubl_s8(vget_low_s8(v), vget_low_s8(none)), 7);
    const int16x8_t high = vshlq_n_s16(vsubl_high_s8(v, none), 7);
    vst1q_s8(y, shift_and_narrow(vqrdmulhq_s16(low, vld1q_s16(by)),
                        vqrdmulhq_s16(high, vld1q_s16(by + 8)), start, power));
}
INLINE void add_bytes_vector(const byte *x, const byte *r, byte *y, int first, int second, int start,
                         int power)
{
    const int8x16_t a = vld1q_s8(x), b = vld1q_s8(r);
    const int16_t one = (int16_t)first, two = (int16_t)second;
    const int16x8_t low = vaddq_s16(vqrdmulhq_n_s16(vshll_n_s8(vget_low_s8(a), 7), one),
                                    vqrdmulhq_n_s16(vshll_n_s8(vget_low_s8(b), 7), two));
    const int16x8_t high = vaddq_s16(vqrdmulhq_n_s16(vshll_high_n_s8(a, 7), one),
                                     vqrdmulhq_n_s16(vshll_high_n_s8(b, 7), two));
    vst1q_s8(y, shift_and_narrow(low, high, start, power));
}
