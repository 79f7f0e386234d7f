/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What users get wrong and what strangers try: each is refused with its place and its limit, in
 * bounded memory. The exact words stand here; that `mlq submit` makes exit code 5 of them, and
 * records nothing, is in tests/e2e/40-mistakes.bats.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/ownership.h"
#include "lib/spec/spec.h"
#include "lib/spec/yaml.h"
#include "lib/sys/mem.h"

#define TOP "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t}\nspec:\n"
#define HEAD TOP "  stages:\n"

static struct mlq_region *region;
static struct diag_list diags;

static int setup(void **state)
{
    (void)state;
    region = mlq_region_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mlq_region_destroy(&region);
    return 0;
}

static void refuses_bytes(struct mlq_str text, const char *expected)
{
    diag_init(&diags, region, "t.yaml");
    if (spec_parse(text, NULL, region, &diags) != NULL) {
        fail_msg("was accepted; expected: %s", expected);
    }
    assert_string_equal(diag_text(&diags), expected);
}

static void refuses(const char *text, const char *expected)
{
    refuses_bytes(mlq_str_from(text), expected);
}

static void accepts(const char *text)
{
    diag_init(&diags, region, "t.yaml");
    if (spec_parse(mlq_str_from(text), NULL, region, &diags) == NULL) {
        fail_msg("%s", diag_text(&diags));
    }
}

/* "KEY: VALUE" in a stage that is right otherwise; `column` is that of the value unless said. */
struct number {
    const char *key;
    const char *value;
    unsigned column;
    const char *expected;
};

#define DURATION ": expected a duration like 90s, 10m or 1h30m, found "
#define DURATION_LIMIT ": must be between 1ms and 366d"
#define CPUS "cpus: expected CPUs like 2, 0.5 or 500m, found "
#define SIZE "memory: expected a size like 512Mi or 4Gi, found "
#define SIZE_LIMIT "memory: must be between 1 byte and 8192Ti"

static const struct number numbers[] = {
    {"array", "-1", 26, "array: -1 is not between 1 and 1000000"},
    {"array", "0", 26, "array: 0 is not between 1 and 1000000"},
    {"array", "1000001", 26, "array: 1000001 is not between 1 and 1000000"},
    {"array", "99999999999999999999", 26, "array: expected a whole number, found '99999999999999999999'"},
    {"array", "nan", 26, "array: expected a whole number, found 'nan'"},
    {"array", "1.5", 26, "array: expected a whole number, found '1.5'"},
    {"array", "[1]", 26, "array: expected a whole number, found a list"},
    {"array", "{parallel: 1}", 26, "array: needs a count"},
    {"array", "{count: 5, parallel: -1}", 47, "array.parallel: -1 is not between 0 and 1000000"},
    {"ranks", "0", 26, "ranks: 0 is not between 1 and 256"},
    {"ranks", "-1", 26, "ranks: -1 is not between 1 and 256"},
    {"ranks", "257", 26, "ranks: 257 is not between 1 and 256"},
    {"ranks", "3..1", 26, "ranks: expected a number, or MIN..MAX with 1 <= MIN <= MAX <= 256, as in 2..8"},
    {"ranks", "0..2", 26, "ranks: expected a number, or MIN..MAX with 1 <= MIN <= MAX <= 256, as in 2..8"},
    {"ranks", "a..b", 26, "ranks: expected a number, or MIN..MAX with 1 <= MIN <= MAX <= 256, as in 2..8"},
    {"ranks", "1e3", 26, "ranks: expected a whole number, found '1e3'"},
    {"timeout", "0s", 28, "timeout" DURATION_LIMIT},
    {"timeout", "-5s", 28, "timeout" DURATION "'-5s'"},
    {"timeout", ".inf", 28, "timeout" DURATION "'.inf'"},
    {"timeout", "1e300s", 28, "timeout" DURATION "'1e300s'"},
    {"timeout", "99999999999999999999d", 28, "timeout" DURATION_LIMIT},
    {"grace", "0", 26, "grace" DURATION_LIMIT},
    {"grace", "nan", 26, "grace" DURATION "'nan'"},
    {"grace", "367d", 26, "grace" DURATION_LIMIT},
    {"retry", "-1", 26, "retry.limit: -1 is not between 0 and 10000"},
    {"retry", "10001", 26, "retry.limit: 10001 is not between 0 and 10000"},
    {"retry", "[1]", 26, "retry: expected a mapping, found a list"},
    {"retry", "{limit: 1, backoff: 0s}", 46, "retry.backoff" DURATION_LIMIT},
    {"retry", "{backoff: 2s, backoff_max: 1s}", 53, "retry.backoff_max: 1s is less than retry.backoff (2s)"},
    {"retry", "{on: [exti]}", 32,
     "retry.on: 'exti' is not a cause (exit, signal, oom, timeout, node, lease, spawn, input, output, peer) "
     "(did you mean 'exit'?)"},
    {"resources", "{cpus: 0}", 37, "cpus: must be between 1m and 1024"},
    {"resources", "{cpus: -1}", 37, CPUS "'-1'"},
    {"resources", "{cpus: nan}", 37, CPUS "'nan'"},
    {"resources", "{cpus: 1e9}", 37, CPUS "'1e9'"},
    {"resources", "{cpus: 1025}", 37, "cpus: must be between 1m and 1024"},
    {"resources", "{memory: 0}", 39, SIZE_LIMIT},
    {"resources", "{memory: -1Gi}", 39, SIZE "'-1Gi'"},
    {"resources", "{memory: inf}", 39, SIZE "'inf'"},
    {"resources", "{memory: 99999999999999999999}", 39, SIZE_LIMIT},
    {"resources", "{gpus: -1}", 37, "gpus: -1 is not between 0 and 64"},
    {"resources", "{gpus: 65}", 37, "gpus: 65 is not between 0 and 64"},
    {"resources", "{gpus: 0.5}", 37, "gpus: expected a whole number, found '0.5'"},
    {"resources", "[]", 30, "resources: expected a mapping, found a list"},
    {"env", "{\"A=B\": x}", 26, "env: 'A=B' is not a variable's name"},
    {"env", "{MLQ_X: y}", 25, "env: 'MLQ_X': names that begin with MLQ_ are the scheduler's own"},
    {"env", "{A: [x]}", 28, "env: expected text, found a list"},
    {"env", "{A: \"a\\0b\"}", 28, "control character in text"},
    {"code", "../..", 25, "code: '..' is not a usable file name"},
    {"needs", "7", 26, "needs: there is no stage '7' (did you mean 'a'?)"},
    {"with", "{}", 19, "with: belongs to operators; give a command its values in run: or env:"},
};

static void numbers_out_of_range_name_their_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < MLQ_COUNT_OF(numbers); i++) {
        const struct number *n = &numbers[i];
        refuses(mlq_region_format(region, HEAD "    a: {run: [x], %s: %s}\n", n->key, n->value),
                mlq_region_format(region, "t.yaml:6:%u: %s\n", n->column, n->expected));
    }
    refuses(TOP "  priority: 1000001\n  stages:\n    a: {run: [x]}\n",
            "t.yaml:5:13: priority: 1000001 is not between -1000000 and 1000000\n");
    refuses(TOP "  deadline: -1s\n  stages:\n    a: {run: [x]}\n", "t.yaml:5:13: deadline" DURATION "'-1s'\n");
}

#define RANGE                                                                                                         \
    "means nothing with range_test: the test moves the learning rate itself, and ends when the loss rises: leave it " \
    "out, or range_test"
#define IMPORT HEAD "    a: {uses: data.import, with: {path: d.csv}}\n"
#define TRAIN "    b: {uses: train.native, needs: [a], with: {"

static void parameters_of_operators_have_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *with;
        const char *expected;
    } cases[] = {
        {"epochs: 0", "epochs: 0 is not at least 1 and at most 1000000"},
        {"epochs: -3", "epochs: -3 is not at least 1 and at most 1000000"},
        {"epochs: nan", "epochs: expected a whole number, found 'nan'"},
        {"l2: -1", "l2: -1 is not at least 0 and at most 1000000"},
        {"l2: .inf", "l2: expected a finite number, found '.inf'"},
        {"l2: 1e999", "l2: expected a finite number, found '1e999'"},
        {"batch: 1.5", "batch: expected a whole number, found '1.5'"},
        {"shards: 8, level: fast",
         "shards: means nothing with level: fast: leave it out, or use level: elastic or repeat"},
        {"shards: '${{ stages.a.metrics.rows }}', level: fast",
         "shards: means nothing with level: fast: leave it out, or use level: elastic or repeat"},
        {"shards: 6", "shards: 6 is not a power of two: use 4 or 8"},
        {"shards: 1000", "shards: 1000 is not a power of two: use 512 or 1024"},
        {"shards: 2000", "shards: 2000 is not at least 1 and at most 1024"},
        {"accumulate: 3", "accumulate: 3 is not a power of two: use 2 or 4"},
        {"accumulate: 256", "accumulate: 256 times shards, which is 8, is more than 1024 shards of a step: lower one of them"},
        {"accumulate: 8, batch: 200000",
         "accumulate: 8 times batch, which is 200000, is more than 1048576 rows of a step: lower one of them"},
        {"early_stop: {}, range_test: {}", "early_stop: " RANGE},
        {"schedule: cosine, range_test: {}", "schedule: " RANGE},
        {"warmup: 0.5, range_test: {from: 0.001}", "warmup: " RANGE},
        {"balance: true, mixup: 0.2", "balance: means nothing with mixup: a mixed row has no one weight or category: leave "
                                      "it out, or mixup"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(cases); i++) {
        unsigned column = (unsigned)(strlen(TRAIN) + strcspn(cases[i].with, ":") + 3);
        refuses(mlq_region_format(region, IMPORT TRAIN "%s}}\n", cases[i].with),
                mlq_region_format(region, "t.yaml:7:%u: %s\n", column, cases[i].expected));
    }
}

/* At the value inside its mapping; and what asks for nothing beyond the default, or for what is not known yet, is
 * no mistake. */
static void parameters_are_held_to_each_other(void **state)
{
    (void)state;
    static const char *const fine[] = {
        "range_test: {}, schedule: constant, warmup: 0",
        "range_test: {}, warmup: '${{ stages.a.metrics.rows }}'",
        "shards: '${{ stages.a.metrics.rows }}'",
        "mixup: 0, balance: true",
        "mixup: 0.2, balance: false, class_weights: {}",
        "shards: 1, accumulate: 1024, batch: 1",
        "level: fast, accumulate: 1024",
        "accumulate: 256, shards: '${{ stages.a.metrics.rows }}'",
        "optimizer: {sgd: {momentum: 0}}",
        "optimizer: {sgd: {momentum: 0, nesterov: false}}",
        "optimizer: {sgd: {nesterov: true}}",
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(fine); i++) {
        accepts(mlq_region_format(region, IMPORT TRAIN "%s}}\n", fine[i]));
    }
    refuses(IMPORT TRAIN "range_test: {from: 2, to: 1}}}\n",
            "t.yaml:7:67: range_test.from: 2 is not below range_test.to, which is 1: lower the one or raise the "
            "other\n");
    refuses(IMPORT TRAIN "optimizer: {sgd: {momentum: 0.0, nesterov: true}}}}\n",
            "t.yaml:7:91: optimizer.sgd.nesterov: means nothing with optimizer.sgd.momentum: 0: it looks ahead along the "
            "momentum: leave it out, or give a momentum\n");
    refuses(IMPORT "    b: {uses: train.xgboost, needs: [a], with: {eta: 0.1, learning_rate: 0.1}}\n",
            "t.yaml:7:74: learning_rate: means nothing with eta: these are two names of one parameter: leave one out\n");
}

static void odd_names_are_refused(void **state)
{
    (void)state;
    static const char letters[] = " is not a name of 1 to 63 letters, digits, '-' and '_'";
    static const char *const names[][2] = {
        {"a/b", "'a/b'"}, {"..", "'..'"}, {"-a", "'-a'"}, {"a b", "'a b'"}, {"\xc3\xa9", "'\xc3\xa9'"},
    };
    for (size_t i = 0; i < MLQ_COUNT_OF(names); i++) {
        refuses(mlq_region_format(region, HEAD "    %s: {run: [x]}\n", names[i][0]),
                mlq_region_format(region, "t.yaml:6:5: stage %s%s\n", names[i][1], letters));
        refuses(mlq_region_format(region, TOP "  params: {%s: 1}\n  stages:\n    a: {run: [x]}\n", names[i][0]),
                mlq_region_format(region, "t.yaml:5:12: param %s is not a name of letters, digits, '-' and '_'\n",
                                  names[i][1]));
        refuses(mlq_region_format(region, "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: %s}\nspec: {run: [x]}\n",
                                  names[i][0]),
                mlq_region_format(region,
                                  "t.yaml:3:18: metadata.name: expected a name of 1 to 63 letters, digits, '-', '_' "
                                  "and '.', found %s\n",
                                  names[i][1]));
    }
    refuses(HEAD "    \"a\\nb\": {run: [x]}\n",
            "t.yaml:6:6: stage 'a?b' is not a name of 1 to 63 letters, digits, '-' and '_'\n");
    refuses(HEAD "    \"a\\x1b[31m\": {run: [x]}\n", "t.yaml:6:6: control character in text\n");
    char *longest = mlq_region_alloc(region, 10001);
    memset(longest, 'x', 10000);
    refuses(mlq_region_format(region, HEAD "    %s: {run: [x]}\n", longest),
            "t.yaml:6:5: stage 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...' is not a name of 1 to "
            "63 letters, digits, '-' and '_'\n");
}

static void wrong_types_say_what_was_expected(void **state)
{
    (void)state;
    refuses("[1, 2]\n", "t.yaml:1:1: the document: expected a mapping, found a list\n");
    refuses("hello\n", "t.yaml:1:1: the document: expected a mapping, found 'hello'\n");
    refuses(TOP "  params: [a]\n  stages:\n    a: {run: [x]}\n",
            "t.yaml:5:11: params: expected a mapping, found a list\n");
    refuses(TOP "  stages: [a]\n", "t.yaml:5:11: stages: expected a mapping of at least one stage\n");
    refuses(HEAD "    a: run\n", "t.yaml:6:8: stage 'a': expected a mapping, found 'run'\n");
    refuses(HEAD "    a: {run: {x: y}}\n", "t.yaml:6:14: run: expected a list, found a mapping\n");
    refuses(HEAD "    a: {run: []}\n", "t.yaml:6:14: run: the command is empty\n");
    refuses(HEAD "    a: {uses: gate, run: [x]}\n",
            "t.yaml:6:5: stage 'a' needs either 'uses' (an operator) or 'run' (a command), not both\n");
    refuses(HEAD "    a: {run: [x], needs: [a]}\n", "t.yaml:6:5: stages need each other in a circle: a\n");
    refuses(HEAD "    a: {run: ['${{ secrets.x }}']}\n",
            "t.yaml:6:15: ${{ secrets.x }}: expected params.NAME, stages.STAGE.outputs.NAME, "
            "stages.STAGE.metrics.NAME, job.id or job.name\n");
    refuses(HEAD "    a: {run: ['${{ params.x']}\n", "t.yaml:6:15: '${{' without '}}'\n");
}

static void what_is_not_yaml_has_a_place(void **state)
{
    (void)state;
    refuses("a: b: c\n", "t.yaml:1:5: not valid YAML: invalid nested block mapping on the same line\n");
    refuses(HEAD "\ta: {run: [x]}\n", "t.yaml:6:1: not valid YAML: tab character may not be used as indentation\n");
    refuses(HEAD "    a: {run: [x}\n", "t.yaml:6:16: not valid YAML: mismatched flow mapping end\n");
    refuses(HEAD "    a: {run: ['x]}\n", "t.yaml:6:16: not valid YAML: single-quoted scalar without closing quote\n");
    refuses("{\"apiVersion\": \"mlq/v1\", ", "t.yaml:2:1: not valid YAML: did not find expected node content\n");
    refuses("? [a]\n: b\n", "t.yaml:1:3: a key must be plain text\n");
    refuses("a: 1\n---\nb: 2\n", "t.yaml:2:1: one file holds one document: split at this '---'\n");
    refuses("a: \xff\xfe\n", "t.yaml: not UTF-8 text\n");
    refuses_bytes(MLQ_STR("a: \0\n"), "t.yaml: not UTF-8 text\n");
}

#define ANCHOR                                                                                     \
    ": anchors (&) and aliases (*) are not supported: write the value out, or use params and "     \
    "${{ params.x }}\n"

static char *repeat(const char *head, const char *unit, size_t count, const char *tail)
{
    size_t len = strlen(unit);
    char *text = mlq_region_alloc(region, strlen(head) + len * count + strlen(tail) + 1);
    char *at = text + strlen(head);
    memcpy(text, head, strlen(head));
    for (size_t i = 0; i < count; i++, at += len) {
        memcpy(at, unit, len);
    }
    memcpy(at, tail, strlen(tail) + 1);
    return text;
}

/* `head`, then `count` lines "PREFIX<i>REST", then `tail`. */
static char *numbered(const char *head, const char *prefix, const char *rest, size_t count, const char *tail)
{
    size_t room = strlen(head) + count * (strlen(prefix) + strlen(rest) + 20) + strlen(tail) + 1;
    char *text = mlq_region_alloc(region, room);
    size_t len = (size_t)snprintf(text, room, "%s", head);
    for (size_t i = 0; i < count; i++) {
        len += (size_t)snprintf(text + len, room - len, "%s%zu%s", prefix, i, rest);
    }
    (void)snprintf(text + len, room - len, "%s", tail);
    return text;
}

static char *many_stages(size_t count)
{
    return numbered(HEAD, "    s", ": {run: [x]}\n", count, "");
}

static void bombs_are_refused_by_their_limit(void **state)
{
    (void)state;
    refuses("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "t.yaml:1:7" ANCHOR);
    refuses(HEAD "    a: {<<: *x, run: [x]}\n", "t.yaml:6:14" ANCHOR);
    refuses(HEAD "    a: {run: !!python/object [x]}\n", "t.yaml:6:30: tags (!) are not supported\n");
    refuses(repeat("", "[", 100000, ""), "t.yaml:1:33: more than 32 levels of nesting\n");
    refuses(repeat("", "{a: ", 50000, ""), "t.yaml:1:129: more than 32 levels of nesting\n");
    refuses(repeat(HEAD "    a: {run: [", "x,", 250000, "x]}\n"), "t.yaml:6:399997: more than 200000 values in one file\n");
    refuses(repeat(HEAD "    a: {run: [", "x,", 1024, "x]}\n"), "t.yaml:6:14: run: 1025 entries, at most 1024 are allowed\n");
    refuses(repeat(HEAD "    a: {run: [", "x", 65537, "]}\n"), "t.yaml:6:15: run: longer than 65536 bytes\n");
    refuses(repeat(HEAD "    a: {run: ", "x", 65537, "}\n"), "t.yaml:6:14: run: longer than 65536 bytes\n");
    refuses(repeat(HEAD, "# pad\n", 400000, ""), "t.yaml: larger than the limit of 2097152 bytes\n");
    refuses(many_stages(1025), "t.yaml:6:5: stages: 1025 stages, at most 1024 are allowed in one job (use array: for many alike)\n");
    refuses(many_stages(10000), "t.yaml:6:5: stages: 10000 stages, at most 1024 are allowed in one job (use array: for many alike)\n");
    refuses(HEAD "    a: {run: [x]}\n    b: {run: [x]}\n    a: {run: [x]}\n", "t.yaml:8:5: key 'a' appears twice (first on line 6)\n");
}

static void more_params_than_the_limit_are_refused(void **state)
{
    (void)state;
    const char *text = numbered(TOP "  params:\n", "    p", ": 1\n", 1025, "  stages:\n    a: {run: [x]}\n");
    refuses(text, "t.yaml:6:5: params: 1025 entries, at most 1024 are allowed\n");
}

/* Many expressions in one text once took memory that grew with the square of their number. */
static void expressions_take_memory_by_the_text(void **state)
{
    (void)state;
    char *text = repeat(HEAD "    a: {run: [\"", "${{a}}", 8000, "\"]}\n");
    size_t before = mlq_region_bytes(region);
    diag_init(&diags, region, "t.yaml");
    assert_null(spec_parse(mlq_str_from(text), NULL, region, &diags));
    assert_true(mlq_region_bytes(region) - before < (UINT64_C(16) << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_out_of_range_name_their_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_are_held_to_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(parameters_of_operators_have_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(odd_names_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_types_say_what_was_expected, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_yaml_has_a_place, setup, teardown),
        cmocka_unit_test_setup_teardown(bombs_are_refused_by_their_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(more_params_than_the_limit_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(expressions_take_memory_by_the_text, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
