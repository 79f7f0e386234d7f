/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>
#include <time.h>

#include "lib/base/prng.h"
#include "lib/sys/clock.h"

static void formats_known_moments(void **state)
{
    (void)state;
    const struct {
        int64_t wall_us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {999, "1970-01-01T00:00:00.000Z"},
        {1000, "1970-01-01T00:00:00.001Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {-1000000, "1969-12-31T23:59:59.000Z"},
        {INT64_C(951782399999999), "2000-02-28T23:59:59.999Z"},
        {INT64_C(951782400000000), "2000-02-29T00:00:00.000Z"},
        {INT64_C(1795424400123000), "2026-11-23T09:00:00.123Z"},
        {INT64_C(2147483648000000), "2038-01-19T03:14:08.000Z"},
        {INT64_C(253402300799999999), "9999-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[MLQ_CLOCK_TEXT_BYTES];
        mlq_clock_format_wall(cases[i].wall_us, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* Whatever the number, the text fits (the sanitizer watches the buffer). */
static void formats_any_number(void **state)
{
    (void)state;
    char text[MLQ_CLOCK_TEXT_BYTES];
    mlq_clock_format_wall(INT64_MAX, text);
    assert_true(strlen(text) < sizeof text && text[strlen(text) - 1] == 'Z');
    mlq_clock_format_wall(INT64_MIN, text);
    assert_true(strlen(text) < sizeof text && text[strlen(text) - 1] == 'Z');
    struct mlq_prng prng;
    mlq_prng_seed(&prng, 1);
    for (int i = 0; i < 10000; i++) {
        mlq_clock_format_wall((int64_t)mlq_prng_next(&prng), text);
        assert_true(strlen(text) < sizeof text);
    }
}

static void the_zone_of_the_machine_does_not_matter(void **state)
{
    (void)state;
    char text[MLQ_CLOCK_TEXT_BYTES];
    assert_int_equal(setenv("TZ", "XYZ-13", 1), 0);
    tzset();
    mlq_clock_format_wall(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
}

static void clocks_go_forward(void **state)
{
    (void)state;
    int64_t before = mlq_clock_boot_ns();
    int64_t first = before;
    for (int i = 0; i < 10000; i++) {
        int64_t now = mlq_clock_boot_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(before > first);
    assert_true(mlq_clock_wall_us() > INT64_C(1700000000000000)); /* after 2023 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_known_moments),
        cmocka_unit_test(formats_any_number),
        cmocka_unit_test(the_zone_of_the_machine_does_not_matter),
        cmocka_unit_test(clocks_go_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
