/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/gate_judge.h"

#include <string.h>

#include "tests/unit/cm.h"
#include "worker/op/jget.h"

static const char record_text[] =
    "{\"job\": {\"stages\": ["
    "{\"name\": \"train\", \"metrics\": {\"val_loss\": 0.25, \"accuracy\": 0.5, \"lr\": 1}},"
    "{\"name\": \"eval\", \"needs\": [\"train\"], \"metrics\": {\"accuracy\": 0.96, \"odd\": "
    "\"nan\", \"big\": \"inf\"}},"
    "{\"name\": \"eval.b\", \"metrics\": {\"accuracy\": 0.97, \"same\": 3}},"
    "{\"name\": \"other\", \"metrics\": {\"lr\": 2, \"same\": 3}},"
    "{\"name\": 5, \"metrics\": []}, null,"
    "{\"name\": \"gate\", \"needs\": [\"eval\"], \"metrics\": {\"own\": 1}}]}}";

static json_t *document;

static json_t *load(const char *text)
{
    json_t *json = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(jget_bytes("t", text, strlen(text), &json, &err), 0);
    return json;
}

/* Judges `require` on a metrics file (NULL: none) and the record above, or none. */
static enum gate_verdict judge(const char *require, const char *metrics, const char *record)
{
    struct gate_condition conditions[GATE_CONDITIONS_MAX];
    size_t count = 0;
    struct mlq_err err = MLQ_ERR_INIT;
    assert_int_equal(gate_condition_parse(mlq_str_from(require), conditions, &count, &err), 0);
    json_t *file = metrics == NULL ? NULL : load(metrics);
    json_t *facts = record == NULL ? NULL : load(record);
    struct gate_evidence evidence = {.files = {file},
                                     .file_count = metrics != NULL,
                                     .record = facts,
                                     .own_stage = "gate",
                                     .record_lack = record == NULL ? "nobody answers" : NULL};
    json_decref(document);
    document = NULL;
    enum gate_verdict verdict = gate_judge_all(conditions, count, &evidence, &document);
    assert_string_equal(jget_text(document, "verdict"), gate_judge_text(verdict));
    assert_int_equal(json_array_size(jget_array(document, "conditions")), count);
    json_decref(file);
    json_decref(facts);
    return verdict;
}

static const json_t *condition(size_t i)
{
    return json_array_get(jget_array(document, "conditions"), i);
}

static void test_three_verdicts(void **state)
{
    (void)state;
    const char *metrics = "{\"accuracy\": 0.96, \"loss\": 0.2, \"f1\": null, \"per_class\": []}";
    assert_int_equal(judge("accuracy >= 0.95 and loss < 0.3", metrics, NULL), GATE_PASS);
    assert_int_equal(judge("accuracy >= 0.97 and loss < 0.3", metrics, NULL), GATE_FAIL);
    assert_int_equal(judge("accuracy >= 0.95 and f1 > 0", metrics, NULL), GATE_INCONCLUSIVE);
    assert_int_equal(judge("f1 > 0 and accuracy >= 0.97", metrics, NULL), GATE_FAIL);
    assert_int_equal(judge("per_class > 0", metrics, NULL), GATE_INCONCLUSIVE);
    assert_int_equal(judge("missing != 0", metrics, NULL), GATE_INCONCLUSIVE);
    assert_non_null(strstr(jget_text(condition(0), "reason"), "nobody answers"));
    assert_true(json_is_null(json_object_get(condition(0), "value")));
}

static void test_not_a_number_never_decides(void **state)
{
    (void)state;
    assert_int_equal(judge("a != 1", "{\"a\": \"nan\"}", NULL), GATE_INCONCLUSIVE);
    assert_int_equal(judge("a < 1", "{\"a\": null}", NULL), GATE_INCONCLUSIVE);
    assert_int_equal(judge("odd < 1", NULL, record_text), GATE_INCONCLUSIVE);
    assert_non_null(strstr(jget_text(condition(0), "reason"), "not a number"));
    assert_int_equal(judge("big > 1", NULL, record_text), GATE_PASS);
    assert_string_equal(jget_text(condition(0), "value"), "inf");
    assert_int_equal(judge("a == 1", "{\"a\": \"1\"}", NULL), GATE_INCONCLUSIVE);
    assert_int_equal(judge("a == 1", "{\"a\": true}", NULL), GATE_INCONCLUSIVE);
}

static void test_where_a_metric_is_found(void **state)
{
    (void)state;
    assert_int_equal(judge("accuracy == 0.96", NULL, record_text),
                     GATE_PASS); /* of the needed stage */
    assert_string_equal(jget_text(condition(0), "source"), "stage eval");
    assert_int_equal(judge("val_loss == 0.25", NULL, record_text), GATE_PASS); /* of any other */
    assert_int_equal(judge("train.accuracy == 0.5", NULL, record_text), GATE_PASS);
    assert_int_equal(judge("eval.b.accuracy == 0.97", NULL, record_text), GATE_PASS);
    assert_int_equal(judge("accuracy == 0.1", "{\"accuracy\": 0.1}", record_text),
                     GATE_PASS);                                        /* the file first */
    assert_int_equal(judge("same == 3", NULL, record_text), GATE_PASS); /* two stages agree */
    assert_int_equal(judge("own == 1", NULL, record_text), GATE_INCONCLUSIVE);
    assert_int_equal(judge("nowhere.accuracy > 0", NULL, record_text), GATE_INCONCLUSIVE);
}

static void test_two_values_are_no_value(void **state)
{
    (void)state;
    assert_int_equal(judge("lr > 0", NULL, record_text), GATE_INCONCLUSIVE);
    assert_non_null(strstr(jget_text(condition(0), "reason"), "write STAGE.lr"));
    assert_int_equal(judge("train.lr == 1", NULL, record_text), GATE_PASS);
}

static int teardown(void **state)
{
    (void)state;
    json_decref(document);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_verdicts),
        cmocka_unit_test(test_not_a_number_never_decides),
        cmocka_unit_test(test_where_a_metric_is_found),
        cmocka_unit_test(test_two_values_are_no_value),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
