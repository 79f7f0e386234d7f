/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The fast path is Clinger's (How to Read Floating Point Numbers Accurately, 1990): an integer
 * below 2^53 and a power of ten up to 10^22 are both exact doubles, so that one multiplication or
 * division rounds once, correctly. Everything else goes to strtod.
 */
#include "worker/op/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXACT_INTEGER_MAX (UINT64_C(1) << 53)
#define EXACT_POWER_MAX   22
#define DIGITS_MAX        19 /* that fit a uint64_t */
#define EXPONENT_MAX      99999
#define WORD_DIGITS       8 /* that are read at once */
#define EACH_BYTE         UINT64_C(0x0101010101010101)

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
    if (digit_count > DIGITS_MAX || mantissa > EXACT_INTEGER_MAX || exponent > EXACT_POWER_MAX ||
        exponent < -EXACT_POWER_MAX) {
        return parse_slowly(s, value);
    }
    double magnitude = (double)mantissa;
    magnitude = exponent < 0 ? magnitude / powers[-exponent] : magnitude * powers[exponent];
    /* By its bit: half of all numbers are negative, and no processor guesses which. */
    uint64_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    bits |= (uint64_t)negative << 63;
    memcpy(value, &bits, sizeof bits);
    return NUMBER_FINITE;
}
