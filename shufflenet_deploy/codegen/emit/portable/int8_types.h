/* Integers for gcc 12+, clang and zig cc. Bytes are signed where arithmetic is in
   integers, and unsigned where an accumulator becomes a byte through a float. */
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

#ifdef FLOAT_REQUANTIZATION
typedef uint8_t byte;
typedef float factor;
#define LOWEST 0
#else
typedef int8_t byte;
typedef int32_t factor;
#define LOWEST (-128)
#endif
