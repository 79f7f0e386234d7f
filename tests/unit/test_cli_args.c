/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <stdbool.h>
#include <string.h>

#include "client/cli/args.h"
#include "lib/sys/clock.h"

struct values {
    bool flag;
    bool other;
    const char *text;
    uint64_t number;
    int64_t integer;
    int64_t ns;
    struct args_list list;
};

static int parse(struct values *values, struct args *args, struct mlq_err *err, int argc,
                 const char *const *words)
{
    static char copies[16][300];
    static char *argv[17];
    const struct args_option own[] = {
        {.name = "flag", .letter = 'f', .kind = ARGS_FLAG, .value = &values->flag},
        {.name = "other", .letter = 'o', .kind = ARGS_FLAG, .value = &values->other},
        {.name = "text", .letter = 't', .kind = ARGS_TEXT, .value = &values->text},
        {0},
    };
    const struct args_option common[] = {
        {.name = "number", .kind = ARGS_NUMBER, .value = &values->number, .max = 10},
        {.name = "integer", .kind = ARGS_INTEGER, .value = &values->integer, .max = 5},
        {.name = "wait-for", .kind = ARGS_DURATION, .value = &values->ns},
        {.name = "set", .kind = ARGS_LIST, .value = &values->list},
        {0},
    };
    *values = (struct values){0};
    *args = (struct args){.options = {own, common}};
    for (int i = 0; i < argc; i++) {
        (void)snprintf(copies[i], sizeof copies[i], "%s", words[i]);
        argv[i] = copies[i];
    }
    argv[argc] = NULL;
    return args_parse(args, argc, argv, err);
}

#define PARSE(...)                                                                                 \
    parse(&values, &args, &err,                                                                    \
          (int)(sizeof((const char *[]){"verb", __VA_ARGS__}) / sizeof(char *)),                   \
          (const char *[]){"verb", __VA_ARGS__})

static void options_and_operands_come_in_any_order(void **state)
{
    struct values values;
    struct args args;
    struct mlq_err err;
    (void)state;
    assert_int_equal(PARSE("12", "--text", "a", "-f", "last", "--number=7", "--integer", "-3",
                           "--wait-for=1m30s", "-"),
                     MLQ_OK);
    assert_int_equal(args.count, 3);
    assert_string_equal(args.operands[0], "12");
    assert_string_equal(args.operands[1], "last");
    assert_string_equal(args.operands[2], "-");
    assert_true(values.flag);
    assert_false(values.other);
    assert_string_equal(values.text, "a");
    assert_int_equal(values.number, 7);
    assert_int_equal(values.integer, -3);
    assert_int_equal(values.ns, 90 * MLQ_NS_PER_S);
}

static void letters_may_be_joined(void **state)
{
    struct values values;
    struct args args;
    struct mlq_err err;
    (void)state;
    assert_int_equal(PARSE("-fot", "x"), MLQ_OK);
    assert_true(values.flag && values.other);
    assert_string_equal(values.text, "x");
    assert_int_equal(PARSE("-tvalue"), MLQ_OK);
    assert_string_equal(values.text, "value");
    assert_int_equal(PARSE("--text="), MLQ_OK);
    assert_string_equal(values.text, "");
}

static void what_follows_two_dashes_is_not_looked_at(void **state)
{
    struct values values;
    struct args args;
    struct mlq_err err;
    (void)state;
    assert_int_equal(PARSE("--flag", "--", "python3", "--flag", "-x", "--"), MLQ_OK);
    assert_int_equal(args.count, 0);
    assert_int_equal(args.rest_count, 4);
    assert_string_equal(args.rest[0], "python3");
    assert_string_equal(args.rest[3], "--");
    assert_int_equal(PARSE("--"), MLQ_OK);
    assert_int_equal(args.rest_count, 0);
}

static void lists_grow_up_to_their_limit(void **state)
{
    struct values values;
    struct args args;
    struct mlq_err err;
    (void)state;
    assert_int_equal(PARSE("--set", "a=1", "--set=b=2"), MLQ_OK);
    assert_int_equal(values.list.count, 2);
    assert_string_equal(values.list.items[1], "b=2");
    static char verb[] = "verb";
    static char option[] = "--set";
    static char pair[] = "k=v";
    char *many[2 * ARGS_LIST_MAX + 4] = {verb};
    int count = 1;
    for (int i = 0; i <= ARGS_LIST_MAX; i++) {
        many[count++] = option;
        many[count++] = pair;
    }
    struct args_list list = {0};
    const struct args_option own[] = {{.name = "set", .kind = ARGS_LIST, .value = &list}, {0}};
    args = (struct args){.options = {own, NULL}};
    assert_int_equal(args_parse(&args, count, many, &err), MLQ_EINVAL);
    assert_int_equal(list.count, ARGS_LIST_MAX);
}

static void wrong_words_are_named_with_what_was_meant(void **state)
{
    struct values values;
    struct args args;
    struct mlq_err err;
    (void)state;
    assert_int_equal(PARSE("--flga"), MLQ_EINVAL);
    assert_non_null(strstr(err.text, "--flga"));
    assert_non_null(strstr(err.text, "did you mean --flag?"));
    assert_int_equal(PARSE("--zzzzzzzz"), MLQ_EINVAL);
    assert_null(strstr(err.text, "did you mean"));
    assert_int_equal(PARSE("-z"), MLQ_EINVAL);
    assert_int_equal(PARSE("--flag=yes"), MLQ_EINVAL);
    assert_int_equal(PARSE("--text"), MLQ_EINVAL);
    assert_int_equal(PARSE("-t"), MLQ_EINVAL);
    assert_int_equal(PARSE("--number", "11"), MLQ_EINVAL);
    assert_int_equal(PARSE("--number", "-1"), MLQ_EINVAL);
    assert_int_equal(PARSE("--number", "1x"), MLQ_EINVAL);
    assert_int_equal(PARSE("--integer", "-6"), MLQ_EINVAL);
    assert_int_equal(PARSE("--integer", "99999999999999999999"), MLQ_EINVAL);
    assert_int_equal(PARSE("--wait-for", "soon"), MLQ_EINVAL);
}

static void durations(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"0", 0},          {"90", 90000},   {"0.5", 500},  {"250ms", 250}, {"1h30m", 5400000},
        {"2d", 172800000}, {"1.5m", 90000}, {"", -1},      {"m", -1},      {"-1", -1},
        {"1y", -1},        {"5 m", -1},     {"1e400", -1}, {"nan", -1},    {"inf", -1},
        {"400d", -1},      {"1h30", -1},    {"0x10", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ns = -7;
        bool valid = args_duration(cases[i].text, &ns);
        if (valid != (cases[i].ms >= 0) || (valid && ns != cases[i].ms * MLQ_NS_PER_MS)) {
            fail_msg("'%s' gives %d, %lld ns", cases[i].text, (int)valid, (long long)ns);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_operands_come_in_any_order),
        cmocka_unit_test(letters_may_be_joined),
        cmocka_unit_test(what_follows_two_dashes_is_not_looked_at),
        cmocka_unit_test(lists_grow_up_to_their_limit),
        cmocka_unit_test(wrong_words_are_named_with_what_was_meant),
        cmocka_unit_test(durations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
