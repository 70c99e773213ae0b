/* Random input: numpy's RandomState (MT19937), so that every runtime is given the same image. */
#include <stdint.h>

/* numpy's RandomState: the same image as the other runtimes are given. */
static uint32_t mt19937[624];

static void seed_mt19937(uint32_t seed)
{
    for (int i = 0; i < 624; ++i) {
        mt19937[i] = seed;
        seed = 1812433253u * (seed ^ (seed >> 30)) + (uint32_t)i + 1;
    }
}

static uint32_t next_uint32(void)
{
    static int at = 624;
    if (at == 624) {
        for (int i = 0; i < 624; ++i) {
            const uint32_t y = (mt19937[i] & 0x80000000u) | (mt19937[(i + 1) % 624] & 0x7fffffffu);
            mt19937[i] = mt19937[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        at = 0;
    }
    uint32_t y = mt19937[at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* Seeded uniform values in [-1, 1). */
static void random_image(uint32_t seed)
{
    seed_mt19937(seed);
    for (unsigned i = 0; i < net_input_floats; ++i) {
        const double high = next_uint32() >> 5, low = next_uint32() >> 6;
        input[i] = (float)(-1.0 + 2.0 * ((high * 67108864.0 + low) / 9007199254740992.0));
    }
}
