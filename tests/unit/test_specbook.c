/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/unit/cm.h"

#include <string.h>

#include "lib/sys/mem.h"
#include "scheduler/specbook.h"
#include "tests/unit/spec_text.h"

TEST_CATCHES_PANICS

/* Everything that a spec can hold. */
static const char full[] =
    "apiVersion: mlq/v1\nkind: Pipeline\nmetadata: {name: t, labels: {a: b, c: d}}\nspec:\n  priority: 7\n  deadline: 1h\n"
    "  params: {k: v}\n  stages:\n"
    "    one: {run: [echo, \"${{ params.k }}\", \"é\\n\"], env: {X: y}, retry: {limit: 2, on: [oom, exit]}, timeout: 3s}\n"
    "    two: {uses: noop, needs: one}\n"
    "    three: {run: [cat], needs: [one, two], inputs: {x: one.y}, array: {count: 9, parallel: 3, max_failures: 1}}\n";

static struct mlq_str numbered(unsigned number)
{
    char yaml[200];
    (void)snprintf(yaml, sizeof yaml, "apiVersion: mlq/v1\nkind: Job\nmetadata: {name: t}\nspec: {run: [echo, \"%u\"]}\n", number);
    return spec_text_canonical(yaml);
}

static void test_what_is_kept_is_what_was_said(void **state)
{
    (void)state;
    struct specbook *book = specbook_create();
    struct mlq_region *region = mlq_region_create();
    struct mlq_str text = spec_text_canonical(full);
    const struct specbook_spec *shared = specbook_take(book, text, NULL);
    assert_non_null(shared);
    assert_true(mlq_str_eq(shared->text, text));
    assert_true(mlq_str_eq(spec_canonical(shared->spec, region), text));
    assert_int_equal(shared->desc.priority, 7);
    assert_int_equal(shared->desc.deadline_ns, INT64_C(3600000000000));
    assert_int_equal(shared->desc.stage_count, 3);
    assert_int_equal(shared->desc.stages[0].retry.limit, 2);
    assert_int_equal(shared->desc.stages[0].retry.cause_mask, 1u << CAUSE_OOM | 1u << CAUSE_EXIT);
    assert_int_equal(shared->desc.stages[2].needs_count, 2);
    assert_int_equal(shared->desc.stages[2].needs[1], 1);
    assert_int_equal(shared->desc.stages[2].array_parallel, 3);
    assert_true(mlq_str_eq_c(shared->spec->stages[2].inputs[0].output, "y"));
    specbook_give(book, shared);
    mlq_region_destroy(&region);
    specbook_destroy(&book);
    assert_null(book);
    specbook_destroy(&book);
}

static void test_the_same_text_is_kept_once(void **state)
{
    (void)state;
    struct specbook *book = specbook_create();
    const struct specbook_spec *one = specbook_take(book, numbered(1), NULL);
    const struct specbook_spec *two = specbook_take(book, numbered(2), NULL);
    assert_ptr_equal(specbook_take(book, numbered(1), NULL), one);
    assert_ptr_not_equal(one, two);
    specbook_give(book, one);
    assert_true(mlq_str_eq_c(one->spec->stages[0].argv[1], "1")); /* one still has it */
    specbook_give(book, one);
    assert_ptr_equal(specbook_take(book, numbered(1), NULL), one); /* nobody had it, and it was remembered */
    specbook_give(book, one);
    specbook_give(book, two);
    specbook_destroy(&book);
}

static void test_other_words_for_the_same_are_the_same(void **state)
{
    (void)state;
    struct specbook *book = specbook_create();
    struct mlq_str text = numbered(1);
    char loose[4096];
    (void)snprintf(loose, sizeof loose, " %.*s\n", MLQ_STR_ARG(text));
    const struct specbook_spec *one = specbook_take(book, mlq_str_from(loose), NULL);
    assert_true(mlq_str_eq(one->text, text));
    assert_ptr_equal(specbook_take(book, text, NULL), one);
    specbook_give(book, one);
    specbook_give(book, one);
    specbook_destroy(&book);
}

static void test_what_is_no_spec_is_refused(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct specbook *book = specbook_create();
    assert_null(specbook_take(book, MLQ_STR("nonsense"), &err));
    assert_int_equal(err.code, MLQ_EINVAL);
    assert_non_null(strstr(err.text, "JSON"));
    specbook_destroy(&book);
}

/* It grows, forgets what is idle beyond its limit, and not what is in use. */
static void test_it_grows_and_forgets(void **state)
{
    (void)state;
    enum { SPECS = 3000 };
    static const struct specbook_spec *taken[SPECS];
    struct specbook *book = specbook_create();
    for (unsigned i = 0; i < SPECS; i++) {
        taken[i] = specbook_take(book, numbered(i), NULL);
    }
    for (unsigned i = 0; i < SPECS; i++) {
        assert_ptr_equal(specbook_take(book, numbered(i), NULL), taken[i]);
    }
    for (unsigned i = 0; i < SPECS; i++) {
        specbook_give(book, taken[i]);
        specbook_give(book, taken[i]);
    }
    const struct specbook_spec *last = specbook_take(book, numbered(SPECS - 1), NULL);
    assert_ptr_equal(last, taken[SPECS - 1]);
    specbook_give(book, last);
    specbook_give(book, specbook_take(book, numbered(0), NULL));
    specbook_destroy(&book);
}

static void test_too_much_is_given_back(void **state)
{
    (void)state;
    struct specbook *book = specbook_create();
    const struct specbook_spec *one = specbook_take(book, numbered(1), NULL);
    assert_panics(specbook_destroy(&book));
    specbook_give(book, one);
    assert_panics(specbook_give(book, one));
    specbook_destroy(&book);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_kept_is_what_was_said), cmocka_unit_test(test_the_same_text_is_kept_once),
        cmocka_unit_test(test_other_words_for_the_same_are_the_same), cmocka_unit_test(test_what_is_no_spec_is_refused),
        cmocka_unit_test(test_it_grows_and_forgets), cmocka_unit_test(test_too_much_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
