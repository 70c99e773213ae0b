/* Eight inputs of two pixels by those of two outputs: both outputs of one pixel, then of the other. */
#define MATRIX(a, x, w) __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(a) : "w"(x), "w"(w))
/* Eight inputs each of two pixels, and the eight after those. */
#define ROWS_LOW(x, y) \
    vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(x), vreinterpretq_s64_s8(y)))
#define ROWS_HIGH(x, y) \
    vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(x), vreinterpretq_s64_s8(y)))
/* Bytes of two pixels, two of each by turns: those of the first, of the second, and back. */
#define FIRST_PIXEL(v, w) \
    vreinterpretq_s8_s16(vuzp1q_s16(vreinterpretq_s16_s8(v), vreinterpretq_s16_s8(w)))
#define SECOND_PIXEL(v, w) \
    vreinterpretq_s8_s16(vuzp2q_s16(vreinterpretq_s16_s8(v), vreinterpretq_s16_s8(w)))
#define TURNS_LOW(x, y) \
    vreinterpretq_s8_s16(vzip1q_s16(vreinterpretq_s16_s8(x), vreinterpretq_s16_s8(y)))
#define TURNS_HIGH(x, y) \
    vreinterpretq_s8_s16(vzip2q_s16(vreinterpretq_s16_s8(x), vreinterpretq_s16_s8(y)))
/* Four inputs each of two pixels, of two places. */
#define EVEN_HALVES(x, y)                                                                          \
    vreinterpretq_s8_s32(vtrn1q_s32(vreinterpretq_s32_s8(x), vreinterpretq_s32_s8(y)))
