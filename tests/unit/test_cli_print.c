/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What people and scripts read: tables, words, documents.
 */
#include "tests/unit/cm.h"

#include <stdbool.h>
#include <string.h>

#include "client/cli/doc.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "lib/base/ownership.h"
#include "lib/sys/region.h"

static char printed[65536];

/* What `print` writes, terminated. */
static const char *captured(FILE *file)
{
    (void)fflush(file);
    long len = ftell(file);
    rewind(file);
    size_t got = fread(printed, 1, sizeof printed - 1, file);
    assert_int_equal(got, len);
    printed[got] = '\0';
    fclose(file);
    return printed;
}

static const struct table_column columns[] = {{.title = "ID", .right = true},
                                              {.title = "NAME", .may_cut = true},
                                              {.title = "STATE", .state = true}};

static struct table *sample(struct mlq_region *region)
{
    struct table *table = table_create(region, columns, MLQ_COUNT_OF(columns));
    table_cell(table, "%d", 7);
    table_cell(table, "%s", "größe");
    table_cell(table, "%s", "failed");
    table_cell(table, "%s", "123456789012345678");
    table_cell(table, "%s", "a name that is rather long");
    table_cell(table, "%s", "pending");
    return table;
}

static void columns_are_aligned(void **state)
{
    struct mlq_region *region = mlq_region_create();
    FILE *file = tmpfile();
    (void)state;
    table_print(sample(region), file, true, 0, false);
    assert_string_equal(captured(file),
                        "                ID  NAME                        STATE\n"
                        "                 7  größe                       failed\n"
                        "123456789012345678  a name that is rather long  pending\n");
    mlq_region_destroy(&region);
}

static void ids_are_never_cut(void **state)
{
    struct mlq_region *region = mlq_region_create();
    FILE *file = tmpfile();
    (void)state;
    table_print(sample(region), file, false, 40, false);
    assert_string_equal(captured(file), "                 7  größe        failed\n"
                                        "123456789012345678  a name tha…  pending\n");
    file = tmpfile();
    table_print(sample(region), file, false, 5, false); /* narrower than it can be */
    assert_non_null(strstr(captured(file), "123456789012345678  a name …  pending\n"));
    mlq_region_destroy(&region);
}

static void colours_only_when_asked(void **state)
{
    struct mlq_region *region = mlq_region_create();
    FILE *file = tmpfile();
    (void)state;
    table_print(sample(region), file, true, 0, true);
    assert_non_null(strstr(captured(file), "\033[31mfailed\033[0m"));
    file = tmpfile();
    table_print(sample(region), file, true, 0, false);
    assert_null(strchr(captured(file), '\033'));
    file = tmpfile();
    assert_false(table_colour(file)); /* no terminal */
    assert_int_equal(table_width(file), 0);
    fclose(file);
    mlq_region_destroy(&region);
}

static void control_characters_are_defused(void **state)
{
    struct mlq_region *region = mlq_region_create();
    struct table *table = table_create(region, columns, 1);
    FILE *file = tmpfile();
    (void)state;
    table_cell(table, "%s",
               "a\033]0;evil\007b\nc\xc2\x9b"
               "31m\x7f");
    table_print(table, file, false, 0, false);
    assert_string_equal(captured(file), "a?]0;evil?b?c??31m?\n");
    struct mlq_str lines = text_safe(region, MLQ_STR("a\n\tb\033[1m\r"), true);
    assert_true(mlq_str_eq_c(lines, "a\n\tb?[1m\r"));
    mlq_region_destroy(&region);
}

static void cutting_counts_characters(void **state)
{
    struct mlq_region *region = mlq_region_create();
    (void)state;
    assert_int_equal(text_width(MLQ_STR("größe")), 5);
    assert_true(mlq_str_eq_c(text_cut(region, MLQ_STR("größe"), 5), "größe"));
    assert_true(mlq_str_eq_c(text_cut(region, MLQ_STR("größe"), 4), "grö…"));
    assert_true(mlq_str_eq_c(text_cut(region, MLQ_STR("größe"), 1), "…"));
    assert_int_equal(text_cut(region, MLQ_STR("größe"), 0).len, 0);
    mlq_region_destroy(&region);
}

static void words_for_sizes_and_times(void **state)
{
    char text[TEXT_BYTES];
    (void)state;
    assert_string_equal(text_bytes(0, text), "0 B");
    assert_string_equal(text_bytes(1023, text), "1023 B");
    assert_string_equal(text_bytes(1536, text), "1.5 KiB");
    assert_string_equal(text_bytes(94 * 1024, text), "94 KiB");
    assert_string_equal(text_bytes(5ull << 40, text), "5.0 TiB");
    assert_string_equal(text_bytes(UINT64_MAX, text), "16 EiB");
    assert_string_equal(text_duration(0.04, text), "40ms");
    assert_string_equal(text_duration(14.24, text), "14.2s");
    assert_string_equal(text_duration(59.97, text), "1m00s");
    assert_string_equal(text_duration(185, text), "3m05s");
    assert_string_equal(text_duration(7800, text), "2h10m");
    assert_string_equal(text_duration(3 * 86400 + 4 * 3600, text), "3d04h");
    assert_string_equal(text_duration(-5, text), "0ms");
    assert_string_equal(text_duration(0.0994, text), "99ms");
    assert_string_equal(text_duration(0.0996, text), "0.1s");
    assert_true(text_time("1970-01-02T00:00:00.500Z") > 86400.49 &&
                text_time("1970-01-02T00:00:00.500Z") < 86400.51);
    assert_true(text_time("yesterday") < 0);
    assert_true(text_time("") < 0);
    assert_string_equal(text_span("2026-11-23T09:00:00.000Z", "2026-11-23T09:00:02.500Z", text),
                        "2.5s");
    assert_string_equal(text_span("", "", text), "");
    assert_string_equal(text_ago("never", text), "");
}

static const char *pretty(const char *json)
{
    FILE *file = tmpfile();
    doc_print(file, mlq_str_from(json));
    return captured(file);
}

static void documents_keep_every_byte_of_their_values(void **state)
{
    (void)state;
    assert_string_equal(pretty("{\"a\":0.977000000000000001, \"b\" : [1,\"x, {y} \\\" "
                               "z\\\\\"],\"c\":{},\"d\":[ ] ,\"e\":null}"),
                        "{\n"
                        "  \"a\": 0.977000000000000001,\n"
                        "  \"b\": [\n"
                        "    1,\n"
                        "    \"x, {y} \\\" z\\\\\"\n"
                        "  ],\n"
                        "  \"c\": {},\n"
                        "  \"d\": [],\n"
                        "  \"e\": null\n"
                        "}\n");
    assert_string_equal(pretty("\"cut off"), "\"cut off\n"); /* no reading past the end */
    assert_string_equal(pretty("]]"), "\n]\n]\n");
    assert_string_equal(pretty(""), "\n");
}

static void missing_fields_are_empty(void **state)
{
    json_t *document = NULL;
    struct mlq_err err;
    (void)state;
    assert_int_equal(doc_parse(MLQ_STR("{\"a\": null, \"n\": 3, \"t\": \"x\"}"), &document, &err),
                     MLQ_OK);
    assert_string_equal(doc_text(document, "a"), "");
    assert_string_equal(doc_text(document, "n"), "");
    assert_string_equal(doc_text(document, "t"), "x");
    assert_string_equal(doc_text(NULL, "t"), "");
    assert_int_equal(doc_int(document, "n"), 3);
    assert_int_equal(doc_int(document, "t"), 0);
    json_decref(document);
    assert_int_equal(doc_parse(MLQ_STR("{"), &document, &err), MLQ_EPROTO);
    assert_int_equal(doc_parse((struct mlq_str){0}, &document, &err), MLQ_EPROTO);
}

static void numbers_are_the_shortest_that_mean_the_same(void **state)
{
    char text[DOC_NUMBER_BYTES];
    json_t *third = json_real(1.0 / 3);
    json_t *plain = json_real(0.977);
    json_t *whole = json_integer(1797);
    json_t *nan_text = json_string("NaN");
    (void)state;
    assert_string_equal(doc_number(third, text), "0.3333333333333333");
    assert_string_equal(doc_number(plain, text), "0.977");
    assert_string_equal(doc_number(whole, text), "1797");
    assert_string_equal(doc_number(nan_text, text), "NaN");
    assert_string_equal(doc_number(NULL, text), "-");
    json_decref(third);
    json_decref(plain);
    json_decref(whole);
    json_decref(nan_text);
}

static void bars_stay_within_their_width(void **state)
{
    char bar[PROGRESS_BAR_BYTES];
    (void)state;
    assert_int_equal(setenv("LC_ALL", "C", 1), 0);
    assert_string_equal(progress_bar(0.5, 10, bar), "#####.....");
    assert_string_equal(progress_bar(-1, 4, bar), "....");
    assert_string_equal(progress_bar(7, 4, bar), "####");
    assert_string_equal(progress_bar(0.0 / 1, 0, bar), "");
    assert_int_equal(setenv("LC_ALL", "C.UTF-8", 1), 0);
    assert_string_equal(progress_bar(0.5, 2, bar), "█░");
    assert_int_equal(text_width(mlq_str_from(progress_bar(1, 1000, bar))), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(ids_are_never_cut),
        cmocka_unit_test(colours_only_when_asked),
        cmocka_unit_test(control_characters_are_defused),
        cmocka_unit_test(cutting_counts_characters),
        cmocka_unit_test(words_for_sizes_and_times),
        cmocka_unit_test(documents_keep_every_byte_of_their_values),
        cmocka_unit_test(missing_fields_are_empty),
        cmocka_unit_test(numbers_are_the_shortest_that_mean_the_same),
        cmocka_unit_test(bars_stay_within_their_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
