/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * data.split: each row of the table `data` goes to exactly one of train, validation and test. The
 * same seed and rows give the same parts on every machine, in memory of one byte per row.
 *
 *   random       exactly round(fraction * rows) rows, by selection sampling (Knuth, TAOCP 2, 3.4.2,
 *                algorithm S): every subset of that size has the same chance
 *   stratify: C  the same within each class of column C, at least one row of each class in each
 * part by: K        by a hash of the value in column K, so rows of one key stay together and never
 * change sides when rows are added; fractions are then met on average only
 *
 * Rows keep their order, and "mlq.row" of each part tells where each came from. With `by`, column K
 * becomes a key: nothing is learned from it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/op/op_table.h"
#include "worker/op/table.h"

#define CLASSES_MAX  10000u
#define SEED_MAX     (INT64_C(1) << 53)
#define KEY_TEXT_MAX 40 /* of a number */

enum part { PART_TRAIN, PART_VALIDATION, PART_TEST, PART_COUNT };

static const char *const part_names[PART_COUNT] = {"train", "validation", "test"};

struct class
{
    double number; /* of a number column */
    uint64_t rows;
    uint64_t left;             /* rows not yet met */
    uint64_t need[PART_COUNT]; /* still to be given */
    uint64_t given[PART_COUNT];
};

struct split {
    const struct table *table;
    double share[PART_COUNT];
    int64_t seed;
    const struct table_column *stratify;
    const struct table_column *by;
    uint8_t *part; /* of each row */
    uint64_t rows[PART_COUNT];

    /* Number columns: sorted by value. Categories: by code. None without `stratify`. One more, at
     * class_count, holds the rows without a value, which is every row without `stratify`. */
    struct class *classes;
    size_t class_count;
};

/* ---- Parameters ---- */

static int read_column(struct op_context *ctx, struct split *split, const char *parameter,
                       const struct table_column **column, struct mlq_err *err)
{
    const char *name = NULL;
    int rc = op_get_text(ctx, parameter, NULL, &name, err);
    if (rc != MLQ_OK || name == NULL) {
        return rc;
    }
    rc = table_need(split->table, name, column, err);
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "with.%s", parameter);
}

static int read_parameters(struct op_context *ctx, struct split *split, struct mlq_err *err)
{
    int rc = op_get_number(ctx, "test", (struct op_number_range){0.2, 0, 1},
                           &split->share[PART_TEST], err);
    if (rc == MLQ_OK) {
        rc = op_get_number(ctx, "validation", (struct op_number_range){0.1, 0, 1},
                           &split->share[PART_VALIDATION], err);
    }
    if (rc == MLQ_OK) {
        rc = op_get_int(ctx, "seed", (struct op_int_range){0, 0, SEED_MAX}, &split->seed, err);
    }
    if (rc == MLQ_OK) {
        rc = read_column(ctx, split, "stratify", &split->stratify, err);
    }
    if (rc == MLQ_OK) {
        rc = read_column(ctx, split, "by", &split->by, err);
    }
    if (rc != MLQ_OK) {
        return rc;
    }
    split->share[PART_TRAIN] = 1 - split->share[PART_TEST] - split->share[PART_VALIDATION];
    if (split->share[PART_TRAIN] <= 0) {
        return mlq_fail(err, MLQ_EINVAL,
                        "with.test %g and with.validation %g leave nothing to train on",
                        split->share[PART_TEST], split->share[PART_VALIDATION]);
    }
    if (split->by != NULL && split->stratify != NULL) {
        return mlq_fail(
            err, MLQ_EINVAL,
            "with.by and with.stratify exclude each other: a key decides alone where its rows "
            "go");
    }
    if (split->by != NULL && split->by->role == TABLE_TARGET) {
        return mlq_fail(err, MLQ_EINVAL, "with.by is '%.100s', which is the target",
                        split->by->name);
    }
    return MLQ_OK;
}

/* ---- By key ---- */

/* The same for a key however its column is stored: numbers are hashed by their text. */
static uint64_t key_hash(const struct table_column *column, uint64_t row)
{
    char text[KEY_TEXT_MAX];
    const char *key = text;
    if (column->kind == TABLE_NUMBER) {
        (void)snprintf(text, sizeof text, "%.17g", column->numbers[row] + 0.0);
    } else {
        key = column->dictionary[column->codes[row]];
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (; *key != '\0'; key++) {
        hash = (hash ^ (unsigned char)*key) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool is_missing(const struct table_column *column, uint64_t row)
{
    return column->kind == TABLE_NUMBER ? isnan(column->numbers[row]) : column->codes[row] < 0;
}

/* Test takes from the low end and validation from the high one, so that changing one fraction does
 * not move the rows of the other. */
static int split_by_key(struct split *split, struct mlq_err *err)
{
    for (uint64_t row = 0; row < table_rows(split->table); row++) {
        if (is_missing(split->by, row)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "row %" PRId64 " of %s (from 0) has no value in the key column '%.100s'",
                            table_source_row(split->table, row), table_source_file(split->table),
                            split->by->name);
        }
        uint64_t hash = mlq_hash_keyed((uint64_t)split->seed, key_hash(split->by, row), 0);
        double place = (double)(hash >> 11) * 0x1p-53; /* in [0, 1) */
        enum part part = place < split->share[PART_TEST]              ? PART_TEST
                         : 1 - place <= split->share[PART_VALIDATION] ? PART_VALIDATION
                                                                      : PART_TRAIN;
        split->part[row] = (uint8_t)part;
        split->rows[part]++;
    }
    return MLQ_OK;
}

/* ---- By chance, within classes ---- */

/* The class with this number, or where it belongs. */
static size_t find_number(const struct split *split, double number)
{
    size_t low = 0;
    size_t high = split->class_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (split->classes[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static int collect_numbers(struct split *split, struct mlq_err *err)
{
    split->classes = mlq_alloc_array(CLASSES_MAX + 1, sizeof *split->classes);
    for (uint64_t row = 0; row < table_rows(split->table); row++) {
        double number = split->stratify->numbers[row];
        if (isnan(number)) {
            continue;
        }
        size_t at = find_number(split, number);
        if (at < split->class_count && split->classes[at].number == number) {
            continue;
        }
        if (split->class_count == CLASSES_MAX) {
            return mlq_fail(
                err, MLQ_EINVAL,
                "with.stratify: the column '%.100s' has more than %u different values: it is "
                "no class",
                split->stratify->name, CLASSES_MAX);
        }
        memmove(&split->classes[at + 1], &split->classes[at],
                (split->class_count - at) * sizeof *split->classes);
        split->classes[at] = (struct class){.number = number};
        split->class_count++;
    }
    return MLQ_OK;
}

/* The classes in a fixed order, and one more for rows without a value. */
static int make_classes(struct split *split, struct mlq_err *err)
{
    int rc = MLQ_OK;
    if (split->stratify == NULL) {
        split->classes = mlq_alloc_array(1, sizeof *split->classes);
    } else if (split->stratify->kind == TABLE_CATEGORY) {
        split->class_count = split->stratify->dictionary_count;
        split->classes = mlq_alloc_array(split->class_count + 1, sizeof *split->classes);
    } else {
        rc = collect_numbers(split, err);
    }
    split->classes[split->class_count] = (struct class){.rows = 0};
    return rc;
}

static struct class *class_of(const struct split *split, uint64_t row)
{
    if (split->stratify == NULL || is_missing(split->stratify, row)) {
        return &split->classes[split->class_count];
    }
    size_t i = split->stratify->kind == TABLE_CATEGORY
                   ? (size_t)split->stratify->codes[row]
                   : find_number(split, split->stratify->numbers[row]);
    return &split->classes[i];
}

static void class_text(const struct split *split, size_t i, char *text, size_t text_bytes)
{
    if (i == split->class_count) {
        (void)snprintf(text, text_bytes, "(no value)");
    } else if (split->stratify->kind == TABLE_CATEGORY) {
        (void)snprintf(text, text_bytes, "%s", split->stratify->dictionary[i]);
    } else {
        (void)snprintf(text, text_bytes, "%.17g", split->classes[i].number);
    }
}

static int refuse_class(const struct split *split, size_t i, struct mlq_err *err)
{
    char text[80];
    uint64_t rows = split->classes[i].rows;
    if (split->stratify == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "%" PRIu64
                        " rows are too few to give each of train, validation (%g) and test (%g) "
                        "a row",
                        rows, split->share[PART_VALIDATION], split->share[PART_TEST]);
    }
    class_text(split, i, text, sizeof text);
    return mlq_fail(err, MLQ_EINVAL,
                    "with.stratify: the class '%s' of '%.100s' has %" PRIu64
                    " row%s, too few to have one "
                    "in each part: merge it with another, drop it, or split without stratify",
                    text, split->stratify->name, rows, rows == 1 ? "" : "s");
}

static int set_needs(struct split *split, struct mlq_err *err)
{
    for (size_t i = 0; i <= split->class_count; i++) {
        struct class *class = &split->classes[i];
        class->left = class->rows;
        if (class->rows == 0) {
            continue; /* a text that occurs in no row of this table */
        }
        uint64_t taken = 0;
        for (int part = PART_VALIDATION; part < PART_COUNT; part++) {
            uint64_t wanted = (uint64_t)llround(split->share[part] * (double)class->rows);
            class->need[part] = wanted == 0 && split->share[part] > 0 ? 1 : wanted;
            taken += class->need[part];
        }
        if (taken >= class->rows) {
            return refuse_class(split, i, err);
        }
        class->need[PART_TRAIN] = class->rows - taken;
    }
    return MLQ_OK;
}

static int split_by_chance(struct split *split, struct mlq_err *err)
{
    int rc = make_classes(split, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    uint64_t rows = table_rows(split->table);
    for (uint64_t row = 0; row < rows; row++) {
        class_of(split, row)->rows++;
    }
    rc = set_needs(split, err);
    struct mlq_prng prng;
    mlq_prng_seed(&prng, (uint64_t)split->seed);
    for (uint64_t row = 0; rc == MLQ_OK && row < rows; row++) {
        struct class *class = class_of(split, row);
        uint64_t drawn = mlq_prng_below(&prng, class->left);
        enum part part = drawn < class->need[PART_TEST] ? PART_TEST
                         : drawn < class->need[PART_TEST] + class->need[PART_VALIDATION]
                             ? PART_VALIDATION
                             : PART_TRAIN;
        class->left--;
        class->need[part]--;
        class->given[part]++;
        split->part[row] = (uint8_t)part;
        split->rows[part]++;
    }
    return rc;
}

/* ---- Outputs ---- */

static int check_parts(const struct split *split, struct mlq_err *err)
{
    for (int part = 0; part < PART_COUNT; part++) {
        if (split->rows[part] == 0 && split->share[part] > 0) {
            return mlq_fail(
                err, MLQ_EINVAL,
                "the part '%s' got no row: the key column '%.100s' has too few different values "
                "for its fraction of %g",
                part_names[part], split->by == NULL ? "" : split->by->name, split->share[part]);
        }
    }
    return MLQ_OK;
}

static int write_parts(struct op_context *ctx, const struct split *split, struct mlq_err *err)
{
    size_t count = table_column_count(split->table);
    enum table_role *roles = mlq_alloc_array(count, sizeof *roles);
    for (size_t i = 0; i < count; i++) {
        const struct table_column *column = table_column(split->table, i);
        roles[i] = column == split->by ? TABLE_KEY : column->role;
    }
    int rc = MLQ_OK;
    for (int part = 0; rc == MLQ_OK && part < PART_COUNT; part++) {
        struct table_subset subset = {.part = split->part, .wanted = (uint8_t)part, .roles = roles};
        const char *name = mlq_region_format(op_region(ctx), "%s.safetensors", part_names[part]);
        rc = table_save_subset(split->table, op_output(ctx, name), &subset, err);
        op_progress(ctx, (part + 1.0) / PART_COUNT, "writing");
        if (rc == MLQ_OK && op_should_stop(ctx)) {
            rc = OP_STOPPED;
        }
    }
    mlq_free(roles);
    return rc;
}

/* Order matters: equal checksums mean the same rows in the same places, short of a collision. */
static uint64_t checksum(const struct split *split, enum part part)
{
    uint64_t sum = 0;
    for (uint64_t row = 0; row < table_rows(split->table); row++) {
        if (split->part[row] == part) {
            sum = mlq_hash_u64(sum ^ (uint64_t)table_source_row(split->table, row)) + 1;
        }
    }
    return sum;
}

static json_t *describe_classes(const struct split *split)
{
    json_t *classes = json_array();
    for (size_t i = 0; i <= split->class_count; i++) {
        const struct class *class = &split->classes[i];
        if (class->rows == 0) {
            continue;
        }
        json_t *value = i == split->class_count ? json_null()
                        : split->stratify->kind == TABLE_CATEGORY
                            ? json_string(split->stratify->dictionary[i])
                            : json_real(class->number);
        (void)json_array_append_new(classes,
                                    json_pack("{s:o, s:I, s:I, s:I}", "value", value, "train",
                                              (json_int_t) class->given[PART_TRAIN], "validation",
                                              (json_int_t) class->given[PART_VALIDATION], "test",
                                              (json_int_t) class->given[PART_TEST]));
    }
    return classes;
}

static int write_description(struct op_context *ctx, const struct split *split, struct mlq_err *err)
{
    const char *method = split->by != NULL         ? "key"
                         : split->stratify != NULL ? "stratified"
                                                   : "random";
    const struct table_column *column = split->by != NULL ? split->by : split->stratify;
    json_t *parts = json_object();
    for (int part = 0; part < PART_COUNT; part++) {
        char sum[20];
        (void)snprintf(sum, sizeof sum, "%016" PRIx64, checksum(split, (enum part)part));
        (void)json_object_set_new(parts, part_names[part],
                                  json_pack("{s:I, s:f, s:s}", "rows",
                                            (json_int_t)split->rows[part], "fraction",
                                            split->share[part], "checksum", sum));
        char name[32];
        (void)snprintf(name, sizeof name, "%s_rows", part_names[part]);
        op_metric(ctx, name, (double)split->rows[part], OP_NO_STEP);
    }
    json_t *root =
        json_pack("{s:s, s:I, s:s?, s:I, s:o}", "method", method, "seed", (json_int_t)split->seed,
                  "column", column == NULL ? NULL : column->name, "rows",
                  (json_int_t)table_rows(split->table), "parts", parts);
    MLQ_ASSERT(root != NULL);
    if (split->stratify != NULL) {
        (void)json_object_set_new(root, "classes", describe_classes(split));
    }
    int rc = op_write_json(ctx, "split.json", root, err);
    json_decref(root);
    return rc;
}

int op_split_run(struct op_context *ctx, struct mlq_err *err)
{
    const char *data = NULL;
    struct table *table = NULL;
    struct split split = {0};
    int rc = op_need_input(ctx, "data", &data, err);
    if (rc == MLQ_OK) {
        rc = table_open(data, &table, err);
    }
    split.table = table;
    if (rc == MLQ_OK) {
        rc = read_parameters(ctx, &split, err);
    }
    if (rc == MLQ_OK && table_rows(table) == 0) {
        rc = mlq_fail(err, MLQ_EINVAL, "the table has no rows to split");
    }
    if (rc == MLQ_OK) {
        split.part = mlq_alloc((size_t)table_rows(table));
        rc = split.by != NULL ? split_by_key(&split, err) : split_by_chance(&split, err);
    }
    if (rc == MLQ_OK) {
        rc = check_parts(&split, err);
    }
    if (rc == MLQ_OK) {
        rc = write_parts(ctx, &split, err);
    }
    if (rc == MLQ_OK) {
        rc = write_description(ctx, &split, err);
    }
    mlq_free(split.part);
    mlq_free(split.classes);
    table_close(&table);
    return rc;
}
