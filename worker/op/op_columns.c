/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_columns.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define LABEL_BYTES    32 /* a whole number up to 2^53 as text */
#define DISTINCT_CHUNK MODEL_CLASSES_MAX

void op_columns_list(const struct table *table,
                     bool features_only,
                     struct mlq_region *region,
                     struct op_columns *columns)
{
    size_t count = table_column_count(table);
    columns->columns = mlq_region_array(region, count, sizeof(struct preprocess_column));
    columns->count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct table_column *column = table_column(table, i);
        if (features_only && column->role != TABLE_FEATURE) {
            continue;
        }
        columns->columns[columns->count++] = (struct preprocess_column){
            .name = column->name,
            .kind = column->kind == TABLE_NUMBER ? MODEL_NUMBER : MODEL_CATEGORY,
            .numbers = column->numbers,
            .codes = column->codes,
            .value_count = column->dictionary_count,
            .values = column->dictionary,
        };
    }
}

/* ---- Fitting ---- */

static int check_present(const struct table *table,
                         const char *which,
                         const struct table_column *target,
                         struct mlq_err *err)
{
    uint64_t rows = table_rows(table), missing = 0, first = 0;
    for (uint64_t i = 0; i < rows; i++) {
        bool absent =
            target->kind == TABLE_NUMBER ? isnan(target->numbers[i]) : target->codes[i] < 0;
        first = absent && missing == 0 ? i : first;
        missing += absent;
    }
    if (missing > 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the target '%s' has no value in %" PRIu64 " rows of the %s table "
                        "(the first: row %" PRId64 " of %s, from 0): remove them, or let "
                        "data.validate find them",
                        target->name, missing, which, table_source_row(table, first),
                        table_source_file(table));
    }
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The different values, sorted; more than MODEL_CLASSES_MAX of them need not be counted further.
 * Memory of these and a chunk, whatever the number of rows. */
static uint32_t distinct_numbers(const double *numbers, uint64_t rows, double **distinct)
{
    double *sorted = mlq_alloc_array(MODEL_CLASSES_MAX + DISTINCT_CHUNK, sizeof(double));
    uint32_t count = 0;
    for (uint64_t i = 0; i < rows && count <= MODEL_CLASSES_MAX; i += DISTINCT_CHUNK) {
        uint32_t more = rows - i < DISTINCT_CHUNK ? (uint32_t)(rows - i) : DISTINCT_CHUNK;
        memcpy(sorted + count, numbers + i, more * sizeof(double));
        more += count;
        qsort(sorted, more, sizeof(double), compare_numbers);
        count = 0;
        for (uint32_t k = 0; k < more; k++) {
            if (count == 0 || sorted[count - 1] != sorted[k]) {
                sorted[count++] = sorted[k];
            }
        }
    }
    *distinct = sorted;
    return count;
}

static void format_label(double value, char text[LABEL_BYTES])
{
    (void)snprintf(text, LABEL_BYTES, "%.0f", value == 0 ? 0.0 : value); /* no "-0" */
}

static void classes_from_numbers(struct model *model, const double *distinct, uint32_t count)
{
    model->classes = mlq_alloc_array(count, sizeof(char *));
    for (uint32_t i = 0; i < count; i++) {
        char text[LABEL_BYTES];
        format_label(distinct[i], text);
        model->classes[model->class_count++] = mlq_strdup(text);
    }
}

static void
classes_from_codes(struct model *model, const struct table_column *target, uint64_t rows)
{
    bool *seen = mlq_alloc_array(target->dictionary_count, sizeof(bool));
    for (uint64_t i = 0; i < rows; i++) {
        seen[target->codes[i]] = true;
    }
    model->classes = mlq_alloc_array(target->dictionary_count, sizeof(char *));
    for (uint32_t code = 0; code < target->dictionary_count; code++) {
        if (seen[code]) {
            model->classes[model->class_count++] = mlq_strdup(target->dictionary[code]);
        }
    }
    mlq_free(seen);
}

static int fit_regression(struct model *model,
                          const struct table_column *target,
                          uint64_t rows,
                          struct mlq_err *err)
{
    if (target->kind != TABLE_NUMBER) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the target '%s' is a category: regression needs numbers (task: "
                        "classification)",
                        target->name);
    }
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < rows; i++) {
        sum += target->numbers[i];
    }
    double mean = sum / (double)rows;
    for (uint64_t i = 0; i < rows; i++) {
        squares += (target->numbers[i] - mean) * (target->numbers[i] - mean);
    }
    double deviation = sqrt(squares / (double)rows);
    if (!isfinite(mean) || !isfinite(deviation)) {
        return mlq_fail(err, MLQ_EINVAL, "the target '%s': its values are too large", target->name);
    }
    model->task = MODEL_REGRESSION;
    model->target_mean = mean;
    model->target_scale = deviation > 0 ? deviation : 1;
    return 0;
}

static int fit_classes(struct model *model,
                       const struct table_column *target,
                       const double *distinct,
                       uint32_t distinct_count,
                       uint64_t rows,
                       struct mlq_err *err)
{
    if (target->kind == TABLE_CATEGORY) {
        classes_from_codes(model, target, rows);
    } else if (!target->integer) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the target '%s' holds numbers with fractions, which are no "
                        "classes: use task: regression",
                        target->name);
    } else if (distinct_count <= MODEL_CLASSES_MAX) {
        classes_from_numbers(model, distinct, distinct_count);
    } else {
        return mlq_fail(err, MLQ_EFULL,
                        "the target '%s' has more than %u different values, which are too many "
                        "classes (task: regression?)",
                        target->name, MODEL_CLASSES_MAX);
    }
    if (model->class_count < 2) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the target '%s' is '%s' in every training row: there is nothing "
                        "to learn from one class",
                        target->name, model->classes[0]);
    }
    if (model->class_count == rows && rows > 2) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the target '%s' has a class of its own for each of the %" PRIu64
                        " training rows: is it an identifier? (a number: task: regression)",
                        target->name, rows);
    }
    model->task = model->class_count == 2 ? MODEL_BINARY : MODEL_MULTICLASS;
    return 0;
}

int op_columns_fit_target(const struct table *table,
                          enum op_columns_task task,
                          struct model *model,
                          struct mlq_err *err)
{
    const struct table_column *target = table_target(table);
    uint64_t rows = table_rows(table);
    if (target == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the training table has no target column: name one with `target:` "
                        "of data.import");
    }
    if (rows == 0) {
        return mlq_fail(err, MLQ_EINVAL, "the training table has no rows");
    }
    int rc = check_present(table, "training", target, err);
    if (rc != 0) {
        return rc;
    }
    model->target = mlq_strdup(target->name);
    model->target_scale = 1;
    double *distinct = NULL;
    uint32_t distinct_count = 0;
    if (target->kind == TABLE_NUMBER && target->integer && task != OP_COLUMNS_REGRESSION) {
        distinct_count = distinct_numbers(target->numbers, rows, &distinct);
    }
    bool classes = task == OP_COLUMNS_CLASSIFICATION || target->kind == TABLE_CATEGORY ||
                   (distinct_count > 0 && distinct_count <= OP_COLUMNS_AUTO_CLASSES_MAX);
    if (task == OP_COLUMNS_REGRESSION || !classes) {
        rc = fit_regression(model, target, rows, err);
    } else {
        rc = fit_classes(model, target, distinct, distinct_count, rows, err);
    }
    mlq_free(distinct);
    return rc;
}

/* ---- Applying ---- */

static int find_target(const struct table *table,
                       const char *which,
                       const struct model *model,
                       const struct table_column **target,
                       struct mlq_err *err)
{
    *target = table_find(table, model->target);
    if (*target == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the %s table has no column '%s', which the model predicts", which,
                        model->target);
    }
    return check_present(table, which, *target, err);
}

struct known_class {
    const char *text; /* first, for compare_classes */
    uint32_t index;
};

static int compare_classes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const struct known_class *
find_class(const struct known_class *sorted, uint32_t count, const char *text)
{
    struct known_class key = {.text = text};
    return bsearch(&key, sorted, count, sizeof(*sorted), compare_classes);
}

static const char *
label_text(const struct table_column *target, uint64_t row, char text[LABEL_BYTES])
{
    if (target->kind == TABLE_CATEGORY) {
        return target->dictionary[target->codes[row]];
    }
    format_label(target->numbers[row], text);
    return text;
}

int op_columns_labels(const struct table *table,
                      const char *which,
                      const struct model *model,
                      uint32_t *labels,
                      struct mlq_err *err)
{
    MLQ_ASSERT(model->task != MODEL_REGRESSION);
    const struct table_column *target = NULL;
    int rc = find_target(table, which, model, &target, err);
    if (rc != 0) {
        return rc;
    }
    struct known_class *sorted = mlq_alloc_array(model->class_count, sizeof(*sorted));
    for (uint32_t i = 0; i < model->class_count; i++) {
        sorted[i] = (struct known_class){.text = model->classes[i], .index = i};
    }
    qsort(sorted, model->class_count, sizeof(*sorted), compare_classes);
    uint64_t rows = table_rows(table);
    for (uint64_t i = 0; i < rows; i++) {
        char buffer[LABEL_BYTES];
        const char *text = label_text(target, i, buffer);
        bool whole = target->kind == TABLE_CATEGORY || target->integer ||
                     target->numbers[i] == floor(target->numbers[i]);
        const struct known_class *known =
            whole ? find_class(sorted, model->class_count, text) : NULL;
        if (known == NULL) {
            rc = mlq_fail(err, MLQ_EINVAL,
                          "the %s table, row %" PRId64 " of %s (from 0): the label '%s' of '%s' "
                          "was never seen in training",
                          which, table_source_row(table, i), table_source_file(table), text,
                          target->name);
            break;
        }
        labels[i] = known->index;
    }
    mlq_free(sorted);
    return rc;
}

int op_columns_targets(const struct table *table,
                       const char *which,
                       const struct model *model,
                       const double **targets,
                       struct mlq_err *err)
{
    const struct table_column *target = NULL;
    int rc = find_target(table, which, model, &target, err);
    if (rc == 0 && target->kind != TABLE_NUMBER) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "the %s table: '%s' is a category, but the model predicts numbers", which,
                      target->name);
    }
    if (rc == 0) {
        *targets = target->numbers;
    }
    return rc;
}
