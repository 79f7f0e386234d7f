/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/number.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/prng.h"

/* number_parse, of which number_parse_run gives the same bits, and ends where it finds no number. */
static enum number_result parse(struct mlq_str text, double *value)
{
    const struct mlq_str texts[] = {text, MLQ_STR("-16.25"), text, MLQ_STR("x"), text};
    double values[15] = {0};
    enum number_result result = number_parse(text, value);
    size_t count = number_parse_run(texts, 5, values, 3);
    assert_int_equal(count, result == NUMBER_FINITE ? 3 : 0);
    if (result == NUMBER_FINITE) {
        assert_memory_equal(&values[0], value, sizeof *value);
        assert_memory_equal(&values[6], value, sizeof *value);
        assert_true(values[1] == 0 && values[3] == -16.25);
    }
    return result;
}

static void assert_same_as_strtod(const char *text)
{
    double value = 0;
    double wanted = strtod(text, NULL);
    enum number_result result = parse(mlq_str_from(text), &value);
    if (isinf(wanted)) {
        assert_int_equal(result, NUMBER_NOT_FINITE);
        return;
    }
    if (result != NUMBER_FINITE || memcmp(&value, &wanted, sizeof value) != 0) {
        fail_msg("'%s': %d, %.17g instead of %.17g", text, (int)result, value, wanted);
    }
}

static void test_known_texts(void **state)
{
    (void)state;
    const char *finite[] = {"0", "-0", "+1", "16", "0.1", "-1.5e3", "1E-5", ".5", "5.",
                            "9007199254740993", "123456789012345678901234567890", "1e22", "1e23",
                            "1e-22", "1e-23", "4.9e-324", "2.2250738585072011e-308", "1e-400",
                            "179769313486231570000e288", "0.30000000000000004", "00001",
                            "0.000000000000000000000000000000001", "9999999999999999999", "1e+5",
                            "9007199254740993.0", "9007199254740993e-27", "9007199254740995e27",
                            "4503599627370496.5", "4503599627370497.5", "0.1000000000000000055",
                            "9999999999999999999e27", "1e-27", "1e27", "1e-28", "0e27", "-0.0e25"};
    for (size_t i = 0; i < sizeof finite / sizeof finite[0]; i++) {
        assert_same_as_strtod(finite[i]);
    }
    const char *none[] = {"",     " ",   "-",    ".",  "e5",  "1e",    "1e+", "1.2.3", "0x10", "1,5",
                          "1 2",  "1_0", "abc", "1a", "--1", "+-1", "infinite", "na", "1e5.5", "١"};
    double value = 7;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        if (parse(mlq_str_from(none[i]), &value) != NUMBER_NONE) {
            fail_msg("'%s' is taken for a number", none[i]);
        }
    }
    const char *not_finite[] = {"inf", "-Inf", "INFINITY", "nan", "NaN", "+nan", "1e309", "-1e999",
                                "1e99999999999999999999"};
    for (size_t i = 0; i < sizeof not_finite / sizeof not_finite[0]; i++) {
        assert_int_equal(parse(mlq_str_from(not_finite[i]), &value), NUMBER_NOT_FINITE);
    }
    assert_true(value == 7);
    assert_int_equal(parse(MLQ_STR(" \t4.5 "), &value), NUMBER_FINITE);
    assert_true(value == 4.5);
    assert_int_equal(parse(MLQ_STR("0e999999999999"), &value), NUMBER_FINITE);
    assert_true(value == 0);
}

static void test_random_texts_give_the_bits_of_strtod(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 11);
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = mlq_prng_next(&prng);
        double wanted;
        memcpy(&wanted, &bits, sizeof wanted);
        if (i % 16 == 1 || i % 16 == 6) { /* of a size that people write */
            bits = (bits & ~(UINT64_C(0x7ff) << 52)) | (UINT64_C(1023) - 60 + bits % 120) << 52;
            memcpy(&wanted, &bits, sizeof wanted);
        } else if (i % 2 == 0) {
            wanted = (double)(int64_t)(bits >> 30) / pow(10, (double)(bits % 12));
        }
        if (!isfinite(wanted)) {
            continue;
        }
        char text[512];
        int precision = i % 8 == 0 ? 17 : (int)(bits % 21); /* 17: every double comes back */
        if (i % 3 == 0) {
            (void)snprintf(text, sizeof text, "%.*g", precision, wanted);
        } else if (i % 3 == 1) {
            (void)snprintf(text, sizeof text, "%.*f", precision, wanted);
        } else {
            (void)snprintf(text, sizeof text, "%.*e", precision, wanted);
        }
        assert_same_as_strtod(text);
    }
}

/* Halfway between two doubles, and the least bit to either side of it. */
static void test_halves_are_rounded_to_even(void **state)
{
    (void)state;
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 12);
    for (int i = 0; i < 100000; i++) {
        /* An odd one of 54 bits and 16 digits; with three more, what is left is less than any bit kept. */
        uint64_t integer = (UINT64_C(1) << 53) + (mlq_prng_below(&prng, UINT64_C(900000000000000)) | 1);
        static const char *const ends[] = {"", ".0", ".00", ".001"};
        char text[64];
        (void)snprintf(text, sizeof text, "%" PRIu64 "%s", integer, ends[i % 4]);
        assert_same_as_strtod(text);
        (void)snprintf(text, sizeof text, "%" PRIu64 "e%d", mlq_prng_next(&prng) >> i % 12,
                       (int)mlq_prng_below(&prng, 60) - 30);
        assert_same_as_strtod(text);
        (void)snprintf(text, sizeof text, "%" PRIu64 ".5", integer >> 1);
        assert_same_as_strtod(text);
    }
}

/* Digits behind the point are read eight at a time: each byte at each place among 1 to 10 of them. */
static void test_one_byte_that_is_no_digit_is_seen(void **state)
{
    (void)state;
    for (size_t digits = 1; digits <= 10; digits++) {
        char text[32] = "-4711.9081726354";
        size_t len = strlen("-4711.") + digits;
        for (size_t at = len - digits; at < len; at++) {
            for (int byte = 1; byte < 256; byte++) {
                char changed[32];
                memcpy(changed, text, len);
                changed[len] = '\0';
                changed[at] = (char)byte;
                if (strchr("0123456789", byte) != NULL || (byte | 0x20) == 'e') {
                    continue;
                }
                double value;
                bool is_space = at + 1 == len && (byte == ' ' || byte == '\t');
                assert_int_equal(parse((struct mlq_str){changed, len}, &value),
                                 is_space ? NUMBER_FINITE : NUMBER_NONE);
            }
            char good[32];
            memcpy(good, text, len);
            good[len] = '\0';
            for (char digit = '0'; digit <= '9'; digit++) {
                good[at] = digit;
                assert_same_as_strtod(good);
                assert_same_as_strtod(good + 1);
                assert_same_as_strtod(good + 4); /* "1.908..." */
            }
        }
    }
}

static void test_a_text_that_is_too_long_is_no_number(void **state)
{
    (void)state;
    char text[NUMBER_TEXT_BYTES_MAX + 2];
    memset(text, '1', sizeof text);
    double value;
    assert_int_equal(parse((struct mlq_str){text, sizeof text - 1}, &value), NUMBER_NONE);
    text[1] = '.';
    assert_int_equal(parse((struct mlq_str){text, NUMBER_TEXT_BYTES_MAX}, &value),
                     NUMBER_FINITE);
    assert_true(value == strtod("1.11111111111111111111", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_texts),
        cmocka_unit_test(test_random_texts_give_the_bits_of_strtod),
        cmocka_unit_test(test_halves_are_rounded_to_even),
        cmocka_unit_test(test_one_byte_that_is_no_digit_is_seen),
        cmocka_unit_test(test_a_text_that_is_too_long_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
