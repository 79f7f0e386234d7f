/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/html.h"

#include <math.h>
#include <string.h>

#include "tests/unit/cm.h"
#include "worker/op/svg.h"

#define NBSP "\xc2\xa0"

static struct html h;

static const char *written(void)
{
    static char text[4096];
    (void)snprintf(text, sizeof(text), "%s", h.bytes == NULL ? "" : h.bytes);
    html_fini(&h);
    return text;
}

static void test_escaping(void **state)
{
    (void)state;
    html_text(&h, "<a href=\"x\" id='y'>&amp;</a>");
    assert_string_equal(written(), "&lt;a href=&#34;x&#34; id=&#39;y&#39;&gt;&amp;amp;&lt;/a&gt;");
    html_text(&h, NULL);
    assert_string_equal(written(), "");
    html_text(&h, "caf\xc3\xa9 \xd7\xa9 \xe6\x95\xb0 \xf0\x9f\x99\x82\t\n");
    assert_string_equal(written(), "caf\xc3\xa9 \xd7\xa9 \xe6\x95\xb0 \xf0\x9f\x99\x82\t\n");
}

static void test_what_is_not_text(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x01",
        "\x7f",
        "\xff",
        "\xc0\xaf",
        "\xe0\x80\xaf",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xe2\x80\xae",
        "\xe2\x81\xa6",
        "\xe2\x80\x8f",
        "\xef\xbf\xbf",
        "\xc2\x85",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        html_text(&h, bad[i]);
        const char *text = written();
        assert_int_equal(strlen(text) % 3, 0);
        for (size_t k = 0; k < strlen(text); k += 3) {
            assert_memory_equal(text + k, "\xef\xbf\xbd", 3);
        }
    }
    html_text(&h, "a\xe2\x82"); /* cut in the middle of a character */
    assert_string_equal(written(), "a\xef\xbf\xbd\xef\xbf\xbd");
}

static void test_cut(void **state)
{
    (void)state;
    html_cut(&h, "abc", 3);
    assert_string_equal(written(), "abc");
    html_cut(&h, "abcd", 3);
    assert_string_equal(written(), "ab\xe2\x80\xa6");
    html_cut(&h, "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9", 2);
    assert_string_equal(written(), "\xc3\xa9\xe2\x80\xa6");
}

static void assert_number(double value, const char *expected)
{
    html_number(&h, value);
    assert_string_equal(written(), expected);
}

static void test_numbers(void **state)
{
    (void)state;
    assert_number(0.97743, "0.9774");
    assert_number(1.0, "1");
    assert_number(1797.0, "1,797");
    assert_number(-1234567.0, "-1,234,567");
    assert_number(0.00001234, "1.23e-05");
    assert_number(12.34567, "12.346");
    assert_number(1e300, "1e+300");
    assert_number(NAN, "-");
    assert_number(-INFINITY, "-\xe2\x88\x9e");
    html_size(&h, 812);
    assert_string_equal(written(), "812" NBSP "B");
    html_size(&h, 34918);
    assert_string_equal(written(), "34.1" NBSP "KiB");
    html_size(&h, UINT64_MAX);
    assert_string_equal(written(), "16777216" NBSP "TiB");
    html_duration(&h, 840);
    assert_string_equal(written(), "840" NBSP "ms");
    html_duration(&h, 12440);
    assert_string_equal(written(), "12.4" NBSP "s");
    html_duration(&h, 200000);
    assert_string_equal(written(), "3" NBSP "min 20" NBSP "s");
    html_duration(&h, 7500000);
    assert_string_equal(written(), "2" NBSP "h 5" NBSP "min");
    html_duration(&h, INT64_MAX);
    assert_non_null(strstr(written(), NBSP "d "));
    html_duration(&h, -1);
    assert_string_equal(written(), "-");
    html_share(&h, 0.125);
    assert_string_equal(written(), "12.5" NBSP "%");
    html_share(&h, 0.0001);
    assert_string_equal(written(), "&lt;" NBSP "0.1" NBSP "%");
}

static void test_a_limit_is_kept(void **state)
{
    (void)state;
    static char block[(1 << 20) + 1];
    memset(block, 'x', sizeof(block) - 1);
    for (size_t i = 0; i < (HTML_BYTES_MAX >> 20) + 2; i++) {
        html_add(&h, block);
    }
    assert_true(h.full);
    assert_true(h.len <= HTML_BYTES_MAX);
    html_fini(&h);
    assert_false(h.full);
}

static void test_ticks(void **state)
{
    (void)state;
    struct svg_ticks t = svg_ticks_make(0.03, 0.97, 5);
    assert_true(fabs(t.step - 0.2) < 1e-12 && t.first == 0.0 && t.count == 6 && t.decimals == 1);
    static const double ranges[][2] = {{0, 0},    {5, 5},           {-3, 3},        {1e-9, 2e-9},
                                       {0, 1e18}, {0.9371, 0.9372}, {-1e300, 1e300}};
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        t = svg_ticks_make(ranges[i][0], ranges[i][1], 5);
        assert_true(t.count >= 2 && t.count <= SVG_TICKS_MAX && t.step > 0.0);
        assert_true(t.first <= ranges[i][0]);
        assert_true(t.first + t.step * (double)(t.count - 1) >= ranges[i][1] - t.step * 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_what_is_not_text),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_a_limit_is_kept),
        cmocka_unit_test(test_ticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
