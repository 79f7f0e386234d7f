/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.arrays: an array of samples (input `samples`) and one of labels (input `labels`), IDX or
 * NPY, become table.safetensors. Sample i is row i; its numbers, in C order, are the columns p0,
 * p1, ... Labels are the target "label": whole numbers from 0, named by `classes`, or, with task
 * regression, numbers as they are.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/sys/mem.h"
#include "worker/op/array_file.h"
#include "worker/op/op.h"
#include "worker/op/op_table.h"
#include "worker/op/profile.h"
#include "worker/op/table.h"

#define BLOCK_COLUMNS 32u /* read from each row at once: a piece of a line of an image */
#define CLASSES_MAX   65536u
#define NAME_BYTES    16u

struct arrays {
    struct op_context *ctx;
    const char *samples_path;
    const char *labels_path;
    struct array_file *samples;
    struct array_file *labels;
    uint64_t rows;
    uint32_t width; /* numbers of a sample */
    bool classes;
    const char **names;  /* of the classes, by label */
    const char **sorted; /* the same, by bytes */
    int32_t *code_of;    /* label: place in sorted */
    uint32_t class_count;
};

/* ---- What fits together ---- */

static int check_shapes(struct arrays *a, struct mlq_err *err)
{
    uint64_t width = 1;
    a->rows = array_file_size(a->samples, 0);
    for (uint32_t i = 1; i < array_file_rank(a->samples); i++) {
        width *= array_file_size(a->samples, i); /* the file is as large as that: no overflow */
    }
    if (a->rows == 0 || width == 0 || width >= TABLE_COLUMNS_MAX) {
        return mlq_fail(err, MLQ_EINVAL,
                        "samples: %" PRIu64 " of %" PRIu64
                        " numbers each: expected at least one, of "
                        "1 to %u numbers",
                        a->rows, width, TABLE_COLUMNS_MAX - 1);
    }
    if (array_file_rank(a->labels) != 1 || array_file_size(a->labels, 0) != a->rows) {
        return mlq_fail(err, MLQ_EINVAL,
                        "labels: %u dimensions, the first of %" PRIu64 ": expected one label for "
                        "each of the %" PRIu64 " samples",
                        array_file_rank(a->labels), array_file_size(a->labels, 0), a->rows);
    }
    a->width = (uint32_t)width;
    return 0;
}

static int read_names(struct arrays *a, struct mlq_err *err)
{
    const json_t *list = op_with(a->ctx, "classes");
    a->class_count = (uint32_t)json_array_size(list);
    a->names = mlq_region_array(op_region(a->ctx), a->class_count + 1, sizeof(char *));
    for (uint32_t i = 0; i < a->class_count; i++) {
        a->names[i] = json_string_value(json_array_get(list, i));
        if (a->names[i] == NULL || a->names[i][0] == '\0') {
            return mlq_fail(err, MLQ_EINVAL, "classes: entry %u is not a text", i + 1);
        }
    }
    return 0;
}

/* Without names, labels name themselves: "0", "1", ... up to the largest. */
static int check_labels(struct arrays *a, struct mlq_err *err)
{
    uint32_t largest = 0, limit = a->class_count > 0 ? a->class_count : CLASSES_MAX;
    for (uint64_t i = 0; i < a->rows; i++) {
        double label = array_file_number(a->labels, i);
        if (!(label >= 0 && label < (double)limit && floor(label) == label)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "labels: row %" PRIu64 " is %g: expected a whole number from 0 to %u%s",
                            i, label, limit - 1,
                            a->class_count > 0 ? ", the last of `classes`" : "");
        }
        largest = (uint32_t)label > largest ? (uint32_t)label : largest;
    }
    if (a->class_count == 0) {
        a->class_count = largest + 1;
        a->names = mlq_region_array(op_region(a->ctx), a->class_count, sizeof(char *));
        for (uint32_t i = 0; i < a->class_count; i++) {
            a->names[i] = mlq_region_format(op_region(a->ctx), "%u", i);
        }
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort_names(struct arrays *a, struct mlq_err *err)
{
    a->sorted = mlq_region_array(op_region(a->ctx), a->class_count, sizeof(char *));
    a->code_of = mlq_region_array(op_region(a->ctx), a->class_count, sizeof(int32_t));
    memcpy(a->sorted, a->names, a->class_count * sizeof(char *));
    qsort(a->sorted, a->class_count, sizeof(char *), compare_names);
    for (uint32_t i = 1; i < a->class_count; i++) {
        if (strcmp(a->sorted[i - 1], a->sorted[i]) == 0) {
            return mlq_fail(err, MLQ_EINVAL, "classes: '%s' stands there twice", a->sorted[i]);
        }
    }
    for (uint32_t i = 0; i < a->class_count; i++) {
        const char **found =
            bsearch(&a->names[i], a->sorted, a->class_count, sizeof(char *), compare_names);
        a->code_of[i] = (int32_t)(found - a->sorted);
    }
    return 0;
}

static int prepare(struct arrays *a, struct mlq_err *err)
{
    static const char *const tasks[] = {"classification", "regression"};
    size_t task = 0;
    int rc = op_get_choice(a->ctx, "task", tasks, MLQ_COUNT_OF(tasks), &task, err);
    rc = rc != 0 ? rc : op_need_input(a->ctx, "samples", &a->samples_path, err);
    rc = rc != 0 ? rc : op_need_input(a->ctx, "labels", &a->labels_path, err);
    rc = rc != 0 ? rc : array_file_open(a->samples_path, &a->samples, err);
    rc = rc != 0 ? rc : array_file_open(a->labels_path, &a->labels, err);
    rc = rc != 0 ? rc : check_shapes(a, err);
    a->classes = task == 0;
    if (rc == 0 && a->classes) {
        rc = read_names(a, err);
        rc = rc != 0 ? rc : check_labels(a, err);
        rc = rc != 0 ? rc : sort_names(a, err);
    }
    return rc;
}

/* ---- The table ---- */

static int create_writer(struct arrays *a, struct table_writer **writer, struct mlq_err *err)
{
    struct mlq_region *region = op_region(a->ctx);
    struct table_column *columns = mlq_region_array(region, a->width + 1u, sizeof(*columns));
    for (uint32_t i = 0; i < a->width; i++) {
        columns[i] = (struct table_column){.name = mlq_region_format(region, "p%u", i),
                                           .kind = TABLE_NUMBER,
                                           .role = TABLE_FEATURE};
    }
    columns[a->width] = (struct table_column){.name = "label",
                                              .kind = a->classes ? TABLE_CATEGORY : TABLE_NUMBER,
                                              .role = TABLE_TARGET,
                                              .dictionary = a->sorted,
                                              .dictionary_count = a->class_count};
    struct table_schema schema = {
        .rows = a->rows, .columns = columns, .column_count = a->width + 1u};
    return table_writer_create(op_output(a->ctx, "table.safetensors"), &schema, writer, err);
}

/* Columns [first, first + count) of all rows: memory for these columns alone. */
static int write_block(struct arrays *a,
                       struct table_writer *writer,
                       uint32_t first,
                       uint32_t count,
                       double *block,
                       struct mlq_err *err)
{
    for (uint64_t row = 0; row < a->rows; row++) {
        for (uint32_t j = 0; j < count; j++) {
            double value = array_file_number(a->samples, row * a->width + first + j);
            if (isinf(value)) {
                return mlq_fail(err, MLQ_EINVAL,
                                "samples: number %u of row %" PRIu64 " is infinite", first + j,
                                row);
            }
            block[j * a->rows + row] = value;
        }
    }
    int rc = 0;
    for (uint32_t j = 0; j < count && rc == 0; j++) {
        rc = table_write_numbers(writer, first + j, block + j * a->rows, a->rows, err);
    }
    return rc;
}

static int
write_labels(struct arrays *a, struct table_writer *writer, double *block, struct mlq_err *err)
{
    int32_t *codes = (int32_t *)(void *)block;
    for (uint64_t row = 0; row < a->rows; row++) {
        double label = array_file_number(a->labels, row);
        if (a->classes) {
            codes[row] = a->code_of[(uint32_t)label];
        } else if (isfinite(label)) {
            block[row] = label;
        } else {
            return mlq_fail(err, MLQ_EINVAL, "labels: row %" PRIu64 " is not a finite number", row);
        }
    }
    return a->classes ? table_write_codes(writer, a->width, codes, a->rows, err)
                      : table_write_numbers(writer, a->width, block, a->rows, err);
}

static int write_table(struct arrays *a, struct mlq_err *err)
{
    struct table_writer *writer = NULL;
    int rc = create_writer(a, &writer, err);
    double *block = mlq_alloc_array(a->rows * BLOCK_COLUMNS, sizeof(double));
    for (uint32_t first = 0; first < a->width && rc == 0; first += BLOCK_COLUMNS) {
        uint32_t left = a->width - first;
        rc = write_block(a, writer, first, left < BLOCK_COLUMNS ? left : BLOCK_COLUMNS, block, err);
        op_progress(a->ctx, (double)first / a->width, "columns");
        if (rc == 0 && op_should_stop(a->ctx)) {
            rc = OP_STOPPED;
        }
    }
    rc = rc != 0 ? rc : write_labels(a, writer, block, err);
    mlq_free(block);
    if (rc != 0) {
        table_writer_abort(&writer);
        return rc;
    }
    return table_writer_finish(&writer, err);
}

/* Of the target alone: what hundreds of pixels have in common says little. */
static int write_profile(struct arrays *a, struct mlq_err *err)
{
    struct table *table = NULL;
    int rc = table_open(op_output(a->ctx, "table.safetensors"), &table, err);
    if (rc != 0) {
        return rc;
    }
    struct profile *profile = profile_create();
    json_t *root = json_pack("{s:s, s:I, s:I, s:[o]}", "file", op_file_name(a->samples_path),
                             "rows", (json_int_t)a->rows, "columns_count", (json_int_t)a->width + 1,
                             "columns", profile_column(profile, table, a->width));
    profile_destroy(&profile);
    rc = root == NULL ? mlq_fail(err, MLQ_EINVAL, "a file's or a class's name is not UTF-8")
                      : op_write_json(a->ctx, "profile.json", root, err);
    op_metric(a->ctx, "rows", (double)a->rows, OP_NO_STEP);
    op_metric(a->ctx, "columns", (double)a->width + 1, OP_NO_STEP);
    json_decref(root);
    table_close(&table);
    return rc;
}

int op_arrays_run(struct op_context *ctx, struct mlq_err *err)
{
    struct arrays a = {.ctx = ctx};
    int rc = prepare(&a, err);
    rc = rc != 0 ? rc : write_table(&a, err);
    rc = rc != 0 ? rc : write_profile(&a, err);
    array_file_close(&a.samples);
    array_file_close(&a.labels);
    return rc;
}
