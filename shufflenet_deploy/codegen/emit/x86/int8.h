/* What int8 kernels do with the vectors of x86: of 64, 32 or 16 bytes.
   Bytes that were packed from four vectors of words lie lane by lane: TURN puts them in order. */
#if defined(__AVX512BW__)
typedef __m512i vec;
typedef __m512 reals;
#define OP(name) _mm512_##name
#define LOAD(p) _mm512_loadu_si512((const void *)(p))
#define STORE(p, v) _mm512_storeu_si512((void *)(p), v)
#define ZERO _mm512_setzero_si512()
#define ALL(v) _mm512_broadcast_i32x4(v)
#define TURNED _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
#define TURN(v) _mm512_permutexvar_epi32(TURNED, v)
#define UNTURN(v) TURN(v)
#define STORE_SOME(p, v, at, count)                                                         \
    _mm512_mask_storeu_epi8((p) - (at), (~0ULL >> (64 - (count))) << (at), v)
#define STORE_REALS(p, v, count)                                                            \
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffff >> (16 - (count))), v)
/* Sixteen words, at least 0, as bytes. */
#define STORE_WORDS(p, v, count)                                                            \
    _mm_mask_storeu_epi8(p, (__mmask16)(0xffff >> (16 - (count))),                          \
                         _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, ZERO)))
#define TWO_HALVES(p, q)                                                                    \
    _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(p))),       \
                       _mm256_loadu_si256((const void *)(q)), 1)
#define SPREAD_8(p) _mm512_set1_epi64(eight(p))
#define SPREAD_16(p) ALL(_mm_loadu_si128((const void *)(p)))
/* Lanes of an output added up, two or four side by side, for as many pixels. */
#define ADDED_2(a, b)                                                                       \
    _mm512_add_epi32(SHUFFLED(a, b, 0x88), SHUFFLED(a, b, 0xdd))
#define SHUFFLED(a, b, order)                                                               \
    _mm512_castps_si512(                                                                    \
        _mm512_shuffle_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), order))
#define ADDED_4(a, b, c, d) ADDED_2(ADDED_2(a, b), ADDED_2(c, d))
#define FOUR_QUARTERS(p, q, r, s)                                                           \
    _mm512_inserti32x4(                                                                     \
        _mm512_inserti32x4(                                                                 \
            _mm512_inserti32x4(_mm512_castsi128_si512(_mm_loadu_si128((const void *)(p))),  \
                               _mm_loadu_si128((const void *)(q)), 1),                      \
            _mm_loadu_si128((const void *)(r)), 2),                                         \
        _mm_loadu_si128((const void *)(s)), 3)
#define WIDE(p) _mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(p)))
#define WIDE_SIGNED(p) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(p)))
#elif defined(__AVX2__)
typedef __m256i vec;
typedef __m256 reals;
#define OP(name) _mm256_##name
#define LOAD(p) _mm256_loadu_si256((const void *)(p))
#define STORE(p, v) _mm256_storeu_si256((void *)(p), v)
#define ZERO _mm256_setzero_si256()
#define ALL(v) _mm256_broadcastsi128_si256(v)
#define TURN(v) _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
#define UNTURN(v) _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))
#define SIXTEEN(v, at) _mm256_extracti128_si256(v, (at) / 16)
#define TWO_HALVES(p, q)                                                                    \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const void *)(p))),     \
                            _mm_loadu_si128((const void *)(q)), 1)
#define WIDE(p) _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(p)))
#define WIDE_SIGNED(p) _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(p)))
#else
typedef __m128i vec;
typedef __m128 reals;
#define OP(name) _mm_##name
#define LOAD(p) _mm_loadu_si128((const void *)(p))
#define STORE(p, v) _mm_storeu_si128((void *)(p), v)
#define ZERO _mm_setzero_si128()
#define ALL(v) (v)
#define TURN(v) (v)
#define UNTURN(v) (v)
#define SIXTEEN(v, at) (v)
#define WIDE(p) _mm_unpacklo_epi8(_mm_loadl_epi64((const void *)(p)), _mm_setzero_si128())
#define WIDE_SIGNED(p)                                                                      \
    _mm_srai_epi16(_mm_unpacklo_epi8(_mm_setzero_si128(), _mm_loadl_epi64((const void *)(p))), 8)
#endif

#if defined(__AVX512BW__)
#define STORE_1(p, v, at) STORE_SOME(p, v, at, 1)
#else
/* The bytes of a vector from one on: 16, or as many as there are before the next 16. */
#define BYTES(v, at) _mm_srli_si128(SIXTEEN(v, at), (at) % 16)
#define STORE_16(p, v, at) _mm_storeu_si128((void *)(p), SIXTEEN(v, at))
#define STORE_8(p, v, at) _mm_storel_epi64((void *)(p), BYTES(v, at))
#define STORE_4(p, v, at) store_some(p, _mm_cvtsi128_si32(BYTES(v, at)), 4)
#define STORE_2(p, v, at) store_some(p, _mm_cvtsi128_si32(BYTES(v, at)), 2)
#define STORE_1(p, v, at) store_some(p, _mm_cvtsi128_si32(BYTES(v, at)), 1)
#define STORE_REALS(p, v, count)                                                            \
    do {                                                                                    \
        float some_[sizeof(reals) / 4];                                                     \
        OP(storeu_ps)(some_, v);                                                            \
        memcpy(p, some_, 4 * (count));                                                      \
    } while (0)
INLINE void store_some(byte *p, int v, int count)
{
    memcpy(p, &v, (size_t)count);
}
#endif

INLINE int four(const byte *p)
{
    int v;
    memcpy(&v, p, 4);
    return v;
}
INLINE long long eight(const byte *p)
{
    long long v;
    memcpy(&v, p, 8);
    return v;
}
#define SPREAD(p) OP(set1_epi32)(four(p))
#define REALS(p) OP(loadu_ps)((const float *)(const void *)(p))
/* Four products of bytes, or two of 16-bit numbers, added to each word. */
#if defined(__AVX512VNNI__)
#define DOT(a, x, w) _mm512_dpbusd_epi32(a, x, w)
#elif defined(__AVXVNNI__)
#define DOT(a, x, w) _mm256_dpbusd_avx_epi32(a, x, w)
#else
#define DOT(a, x, w) HELD(OP(add_epi32)(a, OP(madd_epi16)(x, w)))
#endif
/* gcc would put off these additions, and keep the products in memory until then: volatile keeps
   their order. */
#if defined(__clang__)
#define HELD(v) (v)
#else
INLINE vec held(vec v)
{
    __asm__ volatile("" : "+x"(v));
    return v;
}
#define HELD(v) held(v)
#endif
#define REAL(a, m) OP(mul_ps)(OP(cvtepi32_ps)(a), m)
#define SCALE(a, m) OP(cvtps_epi32)(REAL(a, m))
#define PACK(a, b, c, d)                                                                    \
    OP(packus_epi16)(OP(packs_epi32)(a, b), OP(packs_epi32)(c, d))
/* (v * m + 2**14) >> 15 */
#if defined(__SSSE3__)
#define ROUNDED(v, m) OP(mulhrs_epi16)(v, m)
#else
INLINE __m128i rounded(__m128i v, __m128i m)
{
    const __m128i low = _mm_mullo_epi16(v, m), high = _mm_mulhi_epi16(v, m);
    const __m128i half = _mm_set1_epi32(1 << 14);
    const __m128i one = _mm_add_epi32(_mm_unpacklo_epi16(low, high), half);
    const __m128i two = _mm_add_epi32(_mm_unpackhi_epi16(low, high), half);
    return _mm_packs_epi32(_mm_srai_epi32(one, 15), _mm_srai_epi32(two, 15));
}
#define ROUNDED(v, m) rounded(v, m)
#endif
/* Four words packed to bytes, after what is added to each: `other`'s bytes times a factor; then a
   shift, as `round` (2**(15 - shift)) says. */
#define SUM_OF(a, b, c, d, other, times, round)                                             \
    OP(packus_epi16)(                                                                       \
        ROUNDED(OP(adds_epi16)(OP(packs_epi32)(a, b), LOW_TIMES(other, times)), round),     \
        ROUNDED(OP(adds_epi16)(OP(packs_epi32)(c, d), HIGH_TIMES(other, times)), round))
/* Bytes as SUM_OF takes them: lane by lane, and with permutations of bytes pair by pair. */
#if defined(__AVX512VBMI__)
#define OTHER(v)                                                                            \
    _mm512_permutexvar_epi8(_mm512_setr_epi64(PAIRED(0), PAIRED(16), PAIRED(4), PAIRED(20),   \
                                              PAIRED(8), PAIRED(24), PAIRED(12), PAIRED(28)), \
                            v)
#define PAIRED(n) (0x2303220221012000 + (n) * 0x0101010101010101)
#define TIMES(n) OP(set1_epi16)(n)
#define LOW_TIMES(v, times) OP(maddubs_epi16)(v, times)
#define HIGH_TIMES(v, times) OP(maddubs_epi16)(v, OP(slli_epi16)(times, 8))
#else
#define OTHER(v) UNTURN(v)
#define TIMES(n) OP(set1_epi16)(n)
#define LOW_TIMES(v, times) OP(mullo_epi16)(OP(unpacklo_epi8)(v, ZERO), times)
#define HIGH_TIMES(v, times) OP(mullo_epi16)(OP(unpackhi_epi8)(v, ZERO), times)
#endif
/* Four bytes of each of four channels as four pixels, in every 16 bytes. */
#if defined(__SSSE3__)
#define PIXELS(v)                                                                           \
    OP(shuffle_epi8)(                                                                       \
        v, ALL(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)))
#else
INLINE __m128i pixels_of(__m128i v)
{
    v = _mm_unpacklo_epi8(v, _mm_srli_si128(v, 8));
    return _mm_unpacklo_epi8(v, _mm_srli_si128(v, 8));
}
#define PIXELS(v) pixels_of(v)
#endif
/* Three pixels of a column as words of one channel each: three taps and zero. */
#define SORT(c0, c1, c2, c3, x0, x1, x2)                                                    \
    do {                                                                                    \
        const vec a_ = OP(unpacklo_epi8)(x0, x1), b_ = OP(unpackhi_epi8)(x0, x1);           \
        const vec c_ = OP(unpacklo_epi8)(x2, ZERO), d_ = OP(unpackhi_epi8)(x2, ZERO);       \
        c0 = OP(unpacklo_epi16)(a_, c_), c1 = OP(unpackhi_epi16)(a_, c_);                   \
        c2 = OP(unpacklo_epi16)(b_, d_), c3 = OP(unpackhi_epi16)(b_, d_);                   \
    } while (0)
/* The bytes of two pixels as pairs of 16-bit numbers. */
#define PAIRS(c0, c1, c2, c3, x0, x1)                                                       \
    do {                                                                                    \
        const vec a_ = OP(unpacklo_epi8)(x0, x1), b_ = OP(unpackhi_epi8)(x0, x1);           \
        c0 = OP(unpacklo_epi8)(a_, ZERO), c1 = OP(unpackhi_epi8)(a_, ZERO);                 \
        c2 = OP(unpacklo_epi8)(b_, ZERO), c3 = OP(unpackhi_epi8)(b_, ZERO);                 \
    } while (0)
/* Bytes from somewhere in 16, chosen by a table. */
#define PICK(p, table) _mm_shuffle_epi8(_mm_loadu_si128((const void *)(p)), table)
/* Half a vector's bytes of joins.h, as words. */
#define BYTES_PER_VECTOR ((int)sizeof(vec) / 2)
INLINE void store_half(byte *y, vec words)
{
#if defined(__AVX512BW__)
    _mm256_storeu_si256((void *)y, _mm512_cvtusepi16_epi8(OP(max_epi16)(words, ZERO)));
#elif defined(__AVX2__)
    const vec bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(words, words), 8);
    _mm_storeu_si128((void *)y, _mm256_castsi256_si128(bytes));
#else
    _mm_storel_epi64((void *)y, _mm_packus_epi16(words, words));
#endif
}
INLINE void shift_and_store(byte *y, vec words, int start, int power)
{
    words = OP(adds_epi16)(words, OP(set1_epi16)((short)start));
    store_half(y, OP(sra_epi16)(words, _mm_cvtsi32_si128(power)));
}
INLINE void scale_bytes_vector(const byte *x, const int16_t *by, byte *y, int zero, int start, int power)
{
    const vec above = OP(sub_epi16)(WIDE(x), OP(set1_epi16)((short)zero));
    shift_and_store(y, ROUNDED(OP(slli_epi16)(above, 7), LOAD(by)), start, power);
}
INLINE vec scale_to_16_vector(const byte *x, int by)
{
    return ROUNDED(OP(slli_epi16)(WIDE(x), 7), OP(set1_epi16)((short)by));
}
INLINE void add_bytes_vector(const byte *x, const byte *r, byte *y, int first, int second, int start,
                         int power)
{
    shift_and_store(y, OP(add_epi16)(scale_to_16_vector(x, first), scale_to_16_vector(r, second)), start, power);
}
