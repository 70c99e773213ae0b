/* Nothing but multiply-adds of floats: what one core can do at most, here and now.
 *
 * Twenty sums (twelve where there are 16 registers) that do not wait for each other keep every
 * multiplier of the core busy. Assembly, so that no compiler takes any of it away.
 */
#if defined(__AVX512F__)
#define LANES 16
#define MULTIPLY_ADD(sum) __asm__("vfmadd231ps %1, %1, %0" : "+v"(sum) : "v"(factor))
#elif defined(__FMA__)
#define LANES 8
#define FEW_REGISTERS
#define MULTIPLY_ADD(sum) __asm__("vfmadd231ps %1, %1, %0" : "+x"(sum) : "x"(factor))
#elif defined(__aarch64__)
#define LANES 4
#define MULTIPLY_ADD(sum) __asm__("fmla %0.4s, %1.4s, %1.4s" : "+w"(sum) : "w"(factor))
#else
#error "no fused multiply-adds"
#endif

#define ROUNDS 100000

typedef float vector __attribute__((vector_size(4 * LANES)));

#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#ifdef FEW_REGISTERS
#define SUMS 12
#define EACH(DO) TWELVE(DO)
#else
#define SUMS 20
#define EACH(DO) TWELVE(DO) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19)
#endif
#define DECLARE(n) vector sum##n = factor * n;
#define STEP(n) MULTIPLY_ADD(sum##n);
#define COLLECT(n) whole += sum##n;

const unsigned peak_multiply_adds = ROUNDS * SUMS * LANES;

/* The sum is handed out so that nothing is thrown away. */
float peak_run(void)
{
    vector factor = {0}, whole = {0};
    factor += 0.5f;
    EACH(DECLARE)
    for (int round = 0; round < ROUNDS; round++) {
        EACH(STEP)
    }
    EACH(COLLECT)
    return whole[0];
}
