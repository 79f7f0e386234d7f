/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The fast path is Clinger's (How to Read Floating Point Numbers Accurately, 1990): an integer
 * below 2^53 and a power of ten up to 10^22 are both exact doubles, so that one multiplication or
 * division rounds once, correctly. Up to 19 digits, as programs write doubles, and 10^27 the same is done
 * with integers: those digits and 5^27 fit 64 bits. Everything else goes to strtod.
 */
#include "worker/op/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EXACT_INTEGER_MAX (UINT64_C(1) << 53)
#define EXACT_POWER_MAX   22
#define FIVES_MAX         27 /* whose power fits a uint64_t */
#define DIGITS_MAX        19 /* that fit a uint64_t */
#define EXPONENT_MAX      99999
#define WORD_DIGITS       8 /* that are read at once */
#define SHORT_BYTES_MAX   16u
#define EACH_BYTE         UINT64_C(0x0101010101010101)

__extension__ typedef unsigned __int128 wide_uint;

/* Eight digits at once: the first one is in the lowest byte. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian machine needs swapping");

static const double powers[EXACT_POWER_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

static struct mlq_str trim(struct mlq_str s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

static enum number_result classify_word(struct mlq_str s)
{
    static const char *const words[] = {"inf", "infinity", "nan"};
    if (s.len > 0 && (s.ptr[0] == '+' || s.ptr[0] == '-')) {
        s.ptr++;
        s.len--;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (s.len == strlen(words[i]) && strncasecmp(s.ptr, words[i], s.len) == 0) {
            return NUMBER_NOT_FINITE;
        }
    }
    return NUMBER_NONE;
}

/* The grammar was checked, so strtod takes all of it. */
static enum number_result parse_slowly(struct mlq_str s, double *value)
{
    char text[NUMBER_TEXT_BYTES_MAX + 1];
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    double parsed = strtod(text, NULL);
    if (isinf(parsed)) {
        return NUMBER_NOT_FINITE;
    }
    *value = parsed;
    return NUMBER_FINITE;
}

/* At *at, after 'e'. False when there are no digits. */
static bool parse_exponent(const char **at, const char *end, int *exponent)
{
    const char *p = *at;
    bool negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+') ? 1 : 0;
    if (p == end || !is_digit(*p)) {
        return false;
    }
    int sum = 0;
    for (; p < end && is_digit(*p); p++) {
        sum = sum < EXPONENT_MAX ? sum * 10 + (*p - '0') : sum;
    }
    *exponent += negative ? -sum : sum;
    *at = p;
    return true;
}

/* Whether each byte is a digit: '0' to '9' are 0x30 to 0x39, and six more would carry into 0x40. */
static bool are_digits(uint64_t word)
{
    return ((word & (EACH_BYTE * 0xf0)) | ((word + EACH_BYTE * 6) & (EACH_BYTE * 0xf0)) >> 4) ==
           EACH_BYTE * 0x33;
}

/* The number that eight digits stand for, the first one in the lowest byte: pairs, fours, all. */
static uint64_t value_of(uint64_t word)
{
    word = (word & (EACH_BYTE * 0x0f)) * (1 + (10 << 8)) >> 8;
    word = (word & UINT64_C(0x00ff00ff00ff00ff)) * (1 + (100 << 16)) >> 16;
    return (word & UINT64_C(0x0000ffff0000ffff)) * (1 + (UINT64_C(10000) << 32)) >> 32;
}

/* A text of eight bytes and more that ends in `count` digits, 1 to 8: adds them to *mantissa. False
 * when they are no digits. */
static bool add_last_digits(struct mlq_str s, ptrdiff_t count, uint64_t *mantissa)
{
    static const uint64_t tens[WORD_DIGITS + 1] = {1,      10,      100,      1000,     10000,
                                                   100000, 1000000, 10000000, 100000000};
    uint64_t word;
    memcpy(&word, s.ptr + s.len - WORD_DIGITS, WORD_DIGITS);
    uint64_t before = count == WORD_DIGITS
                          ? 0
                          : (UINT64_C(1) << 8 * (WORD_DIGITS - count)) - 1; /* these are not ours */
    word = (word & ~before) | (EACH_BYTE * '0' & before);
    *mantissa = *mantissa * tens[count] + value_of(word);
    return are_digits(word);
}

/* By its bit: half of all numbers are negative, and no processor guesses which. */
static inline double with_sign(double magnitude, bool is_negative)
{
    uint64_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    bits |= (uint64_t)is_negative << 63;
    memcpy(&magnitude, &bits, sizeof bits);
    return magnitude;
}

/* integer * 2^exponent, rounded once: what integers of 64 bits have behind their 53rd is rounded to even. */
static double scale(uint64_t integer, int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return (double)integer * power;
}

/* mantissa * 10^exponent, not zero, with exponents of at most FIVES_MAX either way: so no result is too large,
 * nor has it fewer than 53 bits. */
static double scale_by_ten(uint64_t mantissa, int exponent)
{
    static const uint64_t fives[FIVES_MAX + 1] = {
        1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125, 9765625, 48828125, 244140625,
        1220703125, 6103515625, 30517578125, 152587890625, 762939453125, 3814697265625,
        19073486328125, 95367431640625, 476837158203125, 2384185791015625, 11920928955078125,
        59604644775390625, 298023223876953125, 1490116119384765625, 7450580596923828125,
    };
    if (exponent < 0) {
        int up = __builtin_clzll(mantissa);
        int up_by = __builtin_clzll(fives[-exponent]);
        wide_uint dividend = (wide_uint)(mantissa << up) << 63;
        uint64_t divisor = fives[-exponent] << up_by;
        uint64_t quotient = (uint64_t)(dividend / divisor); /* of 63 or 64 bits */
        bool has_rest = (wide_uint)quotient * divisor != dividend;
        return scale(quotient | has_rest, up_by - up - 63 + exponent);
    }
    wide_uint product = (wide_uint)mantissa * fives[exponent];
    uint64_t high = (uint64_t)(product >> 64);
    if (high == 0) {
        return scale((uint64_t)product, exponent);
    }
    int down = 64 - __builtin_clzll(high);
    bool has_rest = (uint64_t)product << (64 - down) != 0;
    return scale((uint64_t)(product >> down) | has_rest, down + exponent);
}

enum number_result number_parse_any(struct mlq_str text, double *value)
{
    struct mlq_str s = trim(text);
    const char *p = s.ptr;
    const char *end = s.ptr + s.len;
    if (s.len == 0 || s.len > NUMBER_TEXT_BYTES_MAX) {
        return NUMBER_NONE;
    }
    bool negative = *p == '-';
    p += *p == '-' || *p == '+' ? 1 : 0;
    uint64_t mantissa = 0;
    int exponent = 0;
    const char *digits = p;
    for (; p < end && is_digit(*p); p++) {
        mantissa = mantissa * 10 + (uint64_t)(*p - '0'); /* wraps over 19 digits: not used then */
    }
    ptrdiff_t digit_count = p - digits;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        uint64_t all = mantissa;
        if (s.len >= WORD_DIGITS && end - p <= WORD_DIGITS && p < end &&
            add_last_digits(s, end - p, &all)) {
            mantissa = all;
            p = end;
        }
        for (; p < end && is_digit(*p); p++) {
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
        }
        exponent = (int)(fraction - p);
        digit_count += p - fraction;
    }
    if (digit_count == 0) {
        return classify_word(s);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (!parse_exponent(&p, end, &exponent)) {
            return NUMBER_NONE;
        }
    }
    if (p != end) {
        return NUMBER_NONE;
    }
    if (digit_count > DIGITS_MAX || exponent > FIVES_MAX || exponent < -FIVES_MAX) {
        return parse_slowly(s, value);
    }
    double magnitude = (double)mantissa;
    if (mantissa > EXACT_INTEGER_MAX || exponent > EXACT_POWER_MAX || exponent < -EXACT_POWER_MAX) {
        magnitude = mantissa == 0 ? 0 : scale_by_ten(mantissa, exponent);
    } else {
        magnitude = exponent < 0 ? magnitude / powers[-exponent] : magnitude * powers[exponent];
    }
    *value = with_sign(magnitude, negative);
    return NUMBER_FINITE;
}

/* ---- Many at once ---- */

static size_t run_narrow(const struct mlq_str *texts, size_t count, double *values, size_t stride)
{
    size_t i = 0;
    while (i < count && number_parse(texts[i], &values[i * stride]) == NUMBER_FINITE) {
        i++;
    }
    return i;
}

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2,bmi")))

/* The bytes at `at` as digits, 0 to 9. */
static inline uint64_t load_digits(const char *at, size_t bytes)
{
    uint64_t word = 0;
    memcpy(&word, at, bytes);
    return word ^ EACH_BYTE * '0' >> (64 - 8 * bytes);
}

/* The sixteen bytes that end with the text, of 1 to 16: its digits as 0 to 9, and before it zeros, which do not
 * count. Those in its middle are read twice: so none outside is, and no loop has an end to guess. */
AVX2 static inline __m128i gather(struct mlq_str text)
{
    const char *end = text.ptr + text.len;
    uint64_t low;
    if (text.len > WORD_DIGITS) {
        low = load_digits(end - 8, 8);
        uint64_t high = load_digits(text.ptr, 8) << 8 * (SHORT_BYTES_MAX - text.len);
        return _mm_set_epi64x((int64_t)low, (int64_t)high);
    }
    size_t before = 8 * (WORD_DIGITS - text.len); /* bits */
    if (text.len >= 4) {
        low = load_digits(text.ptr, 4) << before | load_digits(end - 4, 4) << 32;
    } else if (text.len >= 2) {
        low = load_digits(text.ptr, 2) << before | load_digits(end - 2, 2) << 48;
    } else {
        low = load_digits(text.ptr, 1) << 56;
    }
    return _mm_set_epi64x((int64_t)low, 0);
}

/* Of 1 to 16 bytes, if they are digits and at most one point: nearly all numbers of nearly all files, and no
 * branch depends on what the bytes are. */
AVX2 static inline bool parse_short(struct mlq_str text, double *magnitude)
{
    /* By the byte that is the point, plus one. 0: there is none. */
    static const double units[SHORT_BYTES_MAX + 1] = {1e0, 1e15, 1e14, 1e13, 1e12, 1e11,
                                                      1e10, 1e9, 1e8, 1e7, 1e6, 1e5,
                                                      1e4, 1e3, 1e2, 1e1, 1e0};
    const __m128i places = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i digits = gather(text);
    __m128i is_point = _mm_cmpeq_epi8(digits, _mm_set1_epi8('.' ^ '0'));
    unsigned points = (unsigned)_mm_movemask_epi8(is_point);
    unsigned moved = points == 0 ? 0 : (unsigned)__builtin_ctz(points) + 1;
    /* What stands before the point moves over it: each byte from the one below. */
    __m128i moves = _mm_cmpgt_epi8(_mm_set1_epi8((char)moved), places); /* -1, or 0 */
    digits = _mm_shuffle_epi8(digits, _mm_add_epi8(places, moves));
    __m128i others = _mm_subs_epu8(digits, _mm_set1_epi8(9));
    /* Digits to pairs, to fours, to eights. */
    __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(1 << 8 | 10));
    __m128i fours = _mm_madd_epi16(pairs, _mm_set1_epi32(1 << 16 | 100));
    __m128i packed = _mm_packus_epi32(fours, fours);
    __m128i eights = _mm_madd_epi16(packed, _mm_set1_epi32(1 << 16 | 10000));
    uint64_t both = (uint64_t)_mm_cvtsi128_si64(eights);
    uint64_t mantissa = (both & UINT32_MAX) * 100000000 + (both >> 32);
    /* Rounded once: beside a point there are 15 digits at most. As signed, it is one instruction. */
    *magnitude = (double)(int64_t)mantissa / units[moved];
    return _mm_testz_si128(others, others) && text.len > (points != 0);
}

AVX2 static size_t run_wide(const struct mlq_str *texts, size_t count, double *values,
                            size_t stride)
{
    for (size_t i = 0; i < count; i++) {
        struct mlq_str text = texts[i];
        double *value = &values[i * stride];
        bool is_negative = text.len > 0 && text.ptr[0] == '-';
        double magnitude;
        text.ptr += is_negative;
        text.len -= is_negative;
        if (text.len - 1 < SHORT_BYTES_MAX && parse_short(text, &magnitude)) {
            *value = with_sign(magnitude, is_negative);
        } else if (number_parse_any(texts[i], value) != NUMBER_FINITE) {
            return i;
        }
    }
    return count;
}

size_t number_parse_run(const struct mlq_str *texts, size_t count, double *values, size_t stride)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi")
               ? run_wide(texts, count, values, stride)
               : run_narrow(texts, count, values, stride);
}

#else

size_t number_parse_run(const struct mlq_str *texts, size_t count, double *values, size_t stride)
{
    return run_narrow(texts, count, values, stride);
}

#endif
