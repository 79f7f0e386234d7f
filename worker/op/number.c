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
    *value = negative ? -magnitude : magnitude;
    return NUMBER_FINITE;
}
