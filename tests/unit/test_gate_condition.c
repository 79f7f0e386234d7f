/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/spec/gate_condition.h"

#include <math.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "tests/unit/cm.h"

static struct gate_condition all[GATE_CONDITIONS_MAX];
static size_t count;
static struct mlq_err err;

static int parse(const char *text)
{
    count = 0;
    err = (struct mlq_err)MLQ_ERR_INIT;
    return gate_condition_parse(mlq_str_from(text), all, &count, &err);
}

static void test_each_operator(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum gate_operator op;
        bool below; /* holds for limit - 1, limit, limit + 1 */
        bool at;
        bool above;
    } cases[] = {
        {"m >= 2", GATE_AT_LEAST, false, true, true}, {"m <= 2", GATE_AT_MOST, true, true, false},
        {"m > 2", GATE_ABOVE, false, false, true},    {"m < 2", GATE_BELOW, true, false, false},
        {"m == 2", GATE_EQUAL, false, true, false},   {"m != 2", GATE_UNEQUAL, true, false, true},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        assert_int_equal(parse(cases[i].text), 0);
        assert_int_equal(count, 1);
        assert_int_equal(all[0].op, cases[i].op);
        assert_int_equal(gate_condition_holds(&all[0], 1.0), cases[i].below);
        assert_int_equal(gate_condition_holds(&all[0], 2.0), cases[i].at);
        assert_int_equal(gate_condition_holds(&all[0], 3.0), cases[i].above);
    }
    assert_int_equal(parse("m < 2"), 0);
    assert_true(gate_condition_holds(&all[0], -INFINITY));
    assert_false(gate_condition_holds(&all[0], INFINITY));
}

static void test_names_and_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *metric;
        double limit;
    } cases[] = {
        {"accuracy>=0.95", "accuracy", 0.95},
        {"  eval.f1_macro\t<  .5  ", "eval.f1_macro", 0.5},
        {"p@5/top:1-x != -1e-3", "p@5/top:1-x", -1e-3},
        {"_a == +2.", "_a", 2.0},
        {"loss <= 1E+2", "loss", 100.0},
        {"and >= 1", "and", 1.0},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        assert_int_equal(parse(cases[i].text), 0);
        assert_string_equal(all[0].metric, cases[i].metric);
        assert_true(all[0].limit == cases[i].limit);
    }
}

static void test_and_makes_several(void **state)
{
    (void)state;
    assert_int_equal(parse("accuracy >= 0.95 and log_loss < 0.3  and\tandy == 1"), 0);
    assert_int_equal(count, 3);
    assert_true(mlq_str_eq_c(all[0].text, "accuracy >= 0.95"));
    assert_true(mlq_str_eq_c(all[1].text, "log_loss < 0.3"));
    assert_string_equal(all[2].metric, "andy");
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *place;
    } cases[] = {
        {"", "column 1: expected the name of a metric"},
        {"   ", "column 4: expected the name of a metric"},
        {"accuracy", "column 9: expected one of >= <= > < == !="},
        {"accuracy = 1", "column 10: expected one of"},
        {"accuracy => 1", "column 10: expected one of"},
        {"accuracy >=", "column 12: expected a decimal number"},
        {"accuracy >= nan", "column 13: expected a decimal number"},
        {"accuracy >= inf", "column 13: expected a decimal number"},
        {"accuracy >= 0x1", "column 13: expected a decimal number"},
        {"accuracy >= 1e", "column 13: expected a decimal number"},
        {"accuracy >= .", "column 13: expected a decimal number"},
        {"accuracy >= 1e999", "column 13: expected a number in the range of a double"},
        {"accuracy >= 95%", "column 15: expected 'and'"},
        {"accuracy >= 1 or f1 > 2", "column 15: expected 'and'"},
        {"accuracy >= 1 and", "column 15: expected 'and'"},
        {"accuracy >= 1 and f1", "column 21: expected one of"},
        {"accuracy >= 1and f1 > 1", "column 13: expected a decimal number"},
        {"9lives > 1", "column 1: expected the name of a metric"},
        {"ac\xc3\xa7 > 1", "column 3: expected one of"},
        {"a > 1\xff", "expected text"},
        {"$(reboot) > 1", "column 1: expected the name"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        assert_int_equal(parse(cases[i].text), MLQ_EINVAL);
        assert_int_equal(count, 0);
        if (strstr(err.text, cases[i].place) == NULL) {
            fail_msg("'%s' gave: %s", cases[i].text, err.text);
        }
    }
    struct mlq_str with_nul = {.ptr = "a > 1\0x", .len = 7};
    assert_int_equal(gate_condition_parse(with_nul, all, &count, &err), MLQ_EINVAL);
}

static void test_limits(void **state)
{
    (void)state;
    char text[GATE_TEXT_BYTES_MAX + 64];
    memset(text, 'a', sizeof(text));
    (void)snprintf(text + GATE_METRIC_BYTES_MAX, 8, " > 1");
    assert_int_equal(parse(text), 0);
    assert_int_equal(strlen(all[0].metric), GATE_METRIC_BYTES_MAX);
    memset(text, 'a', sizeof(text));
    (void)snprintf(text + GATE_METRIC_BYTES_MAX + 1, 8, " > 1");
    assert_int_equal(parse(text), MLQ_EINVAL);
    (void)snprintf(text, sizeof(text), "a > %0500d", 1);
    assert_int_equal(parse(text), MLQ_EINVAL);
    (void)snprintf(text, sizeof(text), "a > 1%*s", (int)GATE_TEXT_BYTES_MAX, "");
    assert_int_equal(parse(text), MLQ_EINVAL);

    count = 0;
    for (size_t i = 0; i < GATE_CONDITIONS_MAX; i++) {
        assert_int_equal(gate_condition_parse(MLQ_STR("a > 1"), all, &count, &err), 0);
    }
    assert_int_equal(gate_condition_parse(MLQ_STR("a > 1"), all, &count, &err), MLQ_EFULL);
    assert_int_equal(count, GATE_CONDITIONS_MAX);
    count = GATE_CONDITIONS_MAX - 1;
    assert_int_equal(gate_condition_parse(MLQ_STR("a > 1 and b > 1"), all, &count, &err),
                     MLQ_EFULL);
    assert_int_equal(count, GATE_CONDITIONS_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operator),
        cmocka_unit_test(test_names_and_numbers),
        cmocka_unit_test(test_and_makes_several),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
