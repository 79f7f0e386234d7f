/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Scores equal those of scikit-learn 1.2.1 (tests/golden/make_metrics.py) to 1e-9.
 */
#include "tests/unit/cm.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/sys/mem.h"
#include "worker/ml/metrics.h"

#define TOLERANCE 1e-9
#define CASES_MIN 17

/* Null stands for undefined: NaN with us. */
static void assert_score(const char *file, const json_t *expected, const char *name, double value)
{
    const json_t *json = json_object_get(expected, name);
    assert_non_null(json);
    double wanted = json_number_value(json);
    if (json_is_null(json) ? !isnan(value)
                           : !(fabs(value - wanted) <= TOLERANCE * fmax(1, fabs(wanted)))) {
        fail_msg("%s: %s is %.17g, scikit-learn says %.17g", file, name, value, wanted);
    }
}

static uint32_t *read_indices(const json_t *array)
{
    uint32_t *values = mlq_alloc_array(json_array_size(array), sizeof(*values));
    for (size_t i = 0; i < json_array_size(array); i++) {
        values[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    }
    return values;
}

static double *read_numbers(const json_t *array)
{
    double *values = mlq_alloc_array(json_array_size(array), sizeof(*values));
    for (size_t i = 0; i < json_array_size(array); i++) {
        values[i] = json_number_value(json_array_get(array, i));
    }
    return values;
}

static double *read_matrix(const json_t *rows, size_t width)
{
    double *values = mlq_alloc_array(json_array_size(rows) * width, sizeof(*values));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        for (size_t j = 0; j < width; j++) {
            values[i * width + j] = json_number_value(json_array_get(json_array_get(rows, i), j));
        }
    }
    return values;
}

static void
check_scores(const char *file, const json_t *expected, const struct metrics_classification *m)
{
    assert_score(file, expected, "accuracy", m->accuracy);
    assert_score(file, expected, "balanced_accuracy", m->balanced_accuracy);
    assert_score(file, expected, "precision_macro", m->precision_macro);
    assert_score(file, expected, "recall_macro", m->recall_macro);
    assert_score(file, expected, "f1_macro", m->f1_macro);
    assert_score(file, expected, "precision_weighted", m->precision_weighted);
    assert_score(file, expected, "recall_weighted", m->recall_weighted);
    assert_score(file, expected, "f1_weighted", m->f1_weighted);
    assert_score(file, expected, "f1_micro", m->f1_micro);
    assert_score(file, expected, "log_loss", m->log_loss);
    assert_score(file, expected, "roc_auc", m->roc_auc);
    if (m->class_count == 2) {
        assert_score(file, expected, "brier", m->brier);
    }
}

static void check_classification(const char *file, const json_t *golden)
{
    uint32_t classes = (uint32_t)json_integer_value(json_object_get(golden, "classes"));
    uint32_t *labels = read_indices(json_object_get(golden, "labels"));
    uint32_t *predicted = read_indices(json_object_get(golden, "predicted"));
    double *probabilities = read_matrix(json_object_get(golden, "probabilities"), classes);
    struct metrics_rows rows = {
        .rows = json_array_size(json_object_get(golden, "labels")),
        .class_count = classes,
        .positive = (uint32_t)json_integer_value(json_object_get(golden, "positive")),
        .labels = labels,
        .predicted = predicted,
        .probabilities = probabilities,
    };
    struct metrics_classification *m = NULL;
    assert_int_equal(metrics_classify(&rows, &m, NULL), 0);
    check_scores(file, json_object_get(golden, "expected"), m);
    const json_t *per_class = json_object_get(golden, "per_class");
    const json_t *confusion = json_object_get(golden, "confusion");
    for (uint32_t k = 0; k < classes; k++) {
        const json_t *row = json_array_get(per_class, k);
        assert_true(fabs(m->per_class[k].precision - json_number_value(json_array_get(row, 0))) <=
                    TOLERANCE);
        assert_true(fabs(m->per_class[k].recall - json_number_value(json_array_get(row, 1))) <=
                    TOLERANCE);
        assert_true(fabs(m->per_class[k].f1 - json_number_value(json_array_get(row, 2))) <=
                    TOLERANCE);
        assert_true((double)m->per_class[k].support == json_number_value(json_array_get(row, 3)));
        for (uint32_t j = 0; j < classes; j++) {
            assert_int_equal(m->confusion[k * classes + j],
                             json_integer_value(json_array_get(json_array_get(confusion, k), j)));
        }
    }
    metrics_destroy(&m);
    mlq_free(labels);
    mlq_free(predicted);
    mlq_free(probabilities);
}

static void check_regression(const char *file, const json_t *golden)
{
    const json_t *expected = json_object_get(golden, "expected");
    double *truth = read_numbers(json_object_get(golden, "truth"));
    double *predicted = read_numbers(json_object_get(golden, "predicted"));
    struct metrics_regression m;
    metrics_regress(truth, predicted, json_array_size(json_object_get(golden, "truth")), &m);
    assert_score(file, expected, "mse", m.mse);
    assert_score(file, expected, "rmse", m.rmse);
    assert_score(file, expected, "mae", m.mae);
    assert_score(file, expected, "median_ae", m.median_ae);
    assert_score(file, expected, "r2", m.r2);
    mlq_free(truth);
    mlq_free(predicted);
}

static void scores_equal_scikit_learn(void **state)
{
    (void)state;
    char *folder = mlq_format("%s/tests/golden/metrics", getenv("MLQ_SOURCE_DIR"));
    DIR *dir = opendir(folder);
    int cases = 0;
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char *path = mlq_format("%s/%s", folder, entry->d_name);
        json_t *golden = json_load_file(path, 0, NULL);
        assert_non_null(golden);
        if (strcmp(json_string_value(json_object_get(golden, "kind")), "regression") == 0) {
            check_regression(entry->d_name, golden);
        } else {
            check_classification(entry->d_name, golden);
        }
        cases++;
        json_decref(golden);
        mlq_free(path);
    }
    (void)closedir(dir);
    mlq_free(folder);
    assert_true(cases >= CASES_MIN);
}

/* Eight rows by hand: thresholds 0.9, 0.8 (tied), 0.4, 0.1. */
static void roc_and_calibration_are_those_of_the_rows(void **state)
{
    (void)state;
    const uint32_t labels[] = {1, 1, 0, 0, 0}, predicted[] = {1, 1, 1, 0, 0};
    const double p[] = {0.1, 0.9, 0.2, 0.8, 0.2, 0.8, 0.6, 0.4, 0.9, 0.1};
    struct metrics_rows rows = {.rows = 5,
                                .class_count = 2,
                                .positive = 1,
                                .labels = labels,
                                .predicted = predicted,
                                .probabilities = p};
    struct metrics_classification *m = NULL;
    assert_int_equal(metrics_classify(&rows, &m, NULL), 0);
    const double x[] = {0, 0, 1 / 3.0, 2 / 3.0, 1}, y[] = {0, 0.5, 1, 1, 1};
    assert_int_equal(m->roc_count, 5);
    for (uint32_t i = 0; i < m->roc_count; i++) {
        assert_true(fabs(m->roc[i].x - x[i]) < 1e-12 && fabs(m->roc[i].y - y[i]) < 1e-12);
    }
    assert_int_equal(m->calibration[8].count, 2);
    assert_true(m->calibration[8].fraction_positive == 0.5);
    assert_true(isnan(m->calibration[5].mean_predicted));
    metrics_destroy(&m);
}

static void too_many_classes_are_refused(void **state)
{
    (void)state;
    struct mlq_err err = MLQ_ERR_INIT;
    struct metrics_rows rows = {.rows = 1, .class_count = METRICS_CLASSES_MAX + 1};
    struct metrics_classification *m = NULL;
    assert_int_equal(metrics_classify(&rows, &m, &err), MLQ_EFULL);
    assert_non_null(strstr(err.text, "2049"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_equal_scikit_learn),
        cmocka_unit_test(roc_and_calibration_are_those_of_the_rows),
        cmocka_unit_test(too_many_classes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
