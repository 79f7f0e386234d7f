/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/preprocess.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/thread.h"
#include "worker/ml/wide.h"

#define LANES        8u           /* sums that are kept side by side, so that none waits for itself */
#define SCALED_ROWS  64u          /* of one column, before they go to their rows */
#define BLOCK_BYTES    (256u << 10) /* of inputs that are made at a time */
#define BLOCK_ROWS_MIN 64u          /* of a column there should be some lines to read */

/* ---- Fitting ---- */

static int refuse_infinity(const char *column, uint64_t row, struct mlq_err *err)
{
    return mlq_fail(err, MLQ_EINVAL, "column '%s', row %" PRIu64 ": the value is infinite", column,
                    row);
}

static int refuse_numbers(const struct preprocess_column *column, uint64_t rows, struct mlq_err *err)
{
    for (uint64_t row = 0; row < rows; row++) {
        if (isinf(column->numbers[row])) {
            return refuse_infinity(column->name, row, err);
        }
    }
    return mlq_fail(err, MLQ_EINVAL, "column '%s': its values are too large to average", column->name);
}

static double sum_of_lanes(const double lanes[LANES])
{
    double pairs[LANES / 2];
    for (uint32_t k = 0; k < LANES / 2; k++) {
        pairs[k] = lanes[k] + lanes[k + LANES / 2];
    }
    return (pairs[0] + pairs[2]) + (pairs[1] + pairs[3]);
}

/* Row i of a column belongs to lane i % LANES: `add` for each whole set of lanes, and what is left over. */
#define FOR_LANES(rows, add)                                                                       \
    for (uint64_t i = 0; i < (rows) / LANES * LANES; i += LANES) {                                 \
        for (uint32_t k = 0; k < LANES; k++) {                                                     \
            add;                                                                                   \
        }                                                                                          \
    }                                                                                              \
    for (uint64_t i = (rows) / LANES * LANES, k = 0; i + k < (rows); k++) {                        \
        add;                                                                                       \
    }

ML_WIDE static double sum_present(const double *numbers, uint64_t rows, uint64_t *present)
{
    double sums[LANES] = {0}, counts[LANES] = {0}; /* exact below 2^53 */
    FOR_LANES(rows, {
        double x = numbers[i + k];
        sums[k] += isnan(x) ? 0 : x;
        counts[k] += isnan(x) ? 0 : 1;
    })
    *present = (uint64_t)sum_of_lanes(counts);
    return sum_of_lanes(sums);
}

/* Of the distances from the mean, which fills what is missing. */
ML_WIDE static double sum_squares(const double *numbers, uint64_t rows, double mean)
{
    double sums[LANES] = {0};
    FOR_LANES(rows, {
        double distance = isnan(numbers[i + k]) ? 0 : numbers[i + k] - mean;
        sums[k] += distance * distance;
    })
    return sum_of_lanes(sums);
}

/* Two passes, since the one-pass formula loses digits when the mean is large. */
static int fit_number(struct model_feature *feature,
                      const struct preprocess_column *column,
                      uint64_t rows,
                      struct mlq_err *err)
{
    uint64_t present = 0;
    double sum = sum_present(column->numbers, rows, &present);
    double mean = present == 0 ? 0 : sum / (double)present;
    double deviation = sqrt(sum_squares(column->numbers, rows, mean) / (double)rows);
    if (!isfinite(mean) || !isfinite(deviation)) {
        return refuse_numbers(column, rows, err);
    }
    /* A column that is constant up to rounding carries nothing; dividing by its noise would. */
    bool constant = deviation <= 1e-14 * fabs(mean) || deviation == 0;
    feature->fill = mean;
    feature->mean = mean;
    feature->scale = constant ? 1 : deviation;
    feature->width = 1;
    return 0;
}

static int fit_category(struct model_feature *feature,
                        const struct preprocess_column *column,
                        uint64_t rows,
                        struct mlq_err *err)
{
    uint64_t *counts = mlq_alloc_array(column->value_count, sizeof(uint64_t));
    uint32_t used = 0;
    for (uint64_t i = 0; i < rows; i++) {
        int32_t code = column->codes[i];
        if (code >= 0) {
            MLQ_ASSERT((uint32_t)code < column->value_count);
            used += counts[code] == 0;
            counts[code]++;
        }
    }
    int rc = 0;
    if (used == 0) {
        rc = mlq_fail(err, MLQ_EINVAL,
                      "column '%s' has no value in any training row: give it the role "
                      "'ignore'",
                      column->name);
    } else if (used > MODEL_VALUES_MAX) {
        rc = mlq_fail(err, MLQ_EFULL,
                      "column '%s' has %u different values: at most %u can be one-hot "
                      "encoded",
                      column->name, used, MODEL_VALUES_MAX);
    }
    if (rc == 0) {
        feature->values = mlq_alloc_array(used, sizeof(char *));
        uint64_t most = 0;
        for (uint32_t code = 0; code < column->value_count; code++) {
            if (counts[code] == 0) {
                continue;
            }
            if (counts[code] > most) {
                most = counts[code];
                feature->fill_value = feature->value_count;
            }
            feature->values[feature->value_count++] = mlq_strdup(column->values[code]);
        }
        feature->width = feature->value_count;
    }
    mlq_free(counts);
    return rc;
}

struct fit {
    struct model_feature *features;
    const struct preprocess_column *columns;
    uint64_t rows;
};

static int fit_column(void *context, size_t i, struct mlq_err *err)
{
    const struct fit *fit = context;
    struct model_feature *feature = &fit->features[i];
    return feature->kind == MODEL_NUMBER ? fit_number(feature, &fit->columns[i], fit->rows, err)
                                         : fit_category(feature, &fit->columns[i], fit->rows, err);
}

static int place_features(struct model *model, struct mlq_err *err)
{
    for (uint32_t i = 0; i < model->feature_count; i++) {
        struct model_feature *feature = &model->features[i];
        feature->offset = model->input_count;
        if (feature->width > MODEL_INPUTS_MAX - model->input_count) {
            return mlq_fail(err, MLQ_EFULL,
                            "the features need more than %u inputs at column '%s': give "
                            "categories with many values the role 'ignore'",
                            MODEL_INPUTS_MAX, feature->name);
        }
        model->input_count += feature->width;
    }
    return 0;
}

int preprocess_fit(struct model *model,
                   const struct preprocess_column *columns,
                   uint32_t column_count,
                   uint64_t rows,
                   unsigned threads,
                   struct mlq_err *err)
{
    MLQ_ASSERT(model->features == NULL && rows > 0);
    if (column_count == 0 || column_count > MODEL_FEATURES_MAX) {
        return mlq_fail(err, MLQ_EINVAL, "%u feature columns: expected 1 to %u", column_count,
                        MODEL_FEATURES_MAX);
    }
    model->features = mlq_alloc_array(column_count, sizeof(struct model_feature));
    model->input_count = 0;
    model->feature_count = column_count;
    for (uint32_t i = 0; i < column_count; i++) {
        model->features[i].name = mlq_strdup(columns[i].name);
        model->features[i].kind = columns[i].kind;
    }
    struct fit fit = {.features = model->features, .columns = columns, .rows = rows};
    int rc = mlq_thread_each(threads, column_count, fit_column, &fit, err);
    return rc == 0 ? place_features(model, err) : rc;
}

static void share_channel(struct model *model,
                          const struct preprocess_column *columns,
                          uint32_t first,
                          uint32_t channels,
                          uint64_t rows)
{
    double mean = 0, squares = 0, pixels = 0;
    for (uint32_t i = first; i < model->feature_count; i += channels) {
        mean += model->features[i].mean;
        pixels++;
    }
    mean /= pixels;
    for (uint32_t i = first; i < model->feature_count; i += channels) {
        for (uint64_t row = 0; row < rows; row++) {
            double x = columns[i].numbers[row];
            double distance = (isnan(x) ? model->features[i].fill : x) - mean;
            squares += distance * distance;
        }
    }
    double deviation = sqrt(squares / ((double)rows * pixels));
    bool constant = deviation <= 1e-14 * fabs(mean) || deviation == 0;
    for (uint32_t i = first; i < model->feature_count; i += channels) {
        model->features[i].mean = mean;
        model->features[i].scale = constant ? 1 : deviation;
    }
}

void preprocess_share_channels(struct model *model,
                               const struct preprocess_column *columns,
                               uint32_t channels,
                               uint64_t rows)
{
    bool numbers = true;
    for (uint32_t i = 0; i < model->feature_count; i++) {
        numbers = numbers && model->features[i].kind == MODEL_NUMBER;
    }
    for (uint32_t c = 0; c < channels && c < model->feature_count && numbers; c++) {
        share_channel(model, columns, c, channels, rows);
    }
}

void preprocess_keep(struct model *model)
{
    for (uint32_t i = 0; i < model->feature_count; i++) {
        struct model_feature *feature = &model->features[i];
        feature->keeps_missing = true;
        feature->fill = (double)NAN;
        feature->mean = 0;
        feature->scale = 1;
    }
}

/* ---- Applying ---- */

struct bound_feature {
    const struct preprocess_column *column;
    int32_t *value_of_code; /* category: index into the model's values, -1 for an unknown value */
};

struct preprocess {
    const struct model *model;
    struct bound_feature *features;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The model's values are in the dictionary's order, but a foreign model may not be sorted: look up
 * in a sorted copy of pointers, whose positions give back the index. */
struct text_index {
    const char *text; /* first, for compare_texts */
    int32_t index;
};

static void map_values(struct bound_feature *bound, const struct model_feature *feature)
{
    struct text_index *sorted = mlq_alloc_array(feature->value_count, sizeof(*sorted));
    for (uint32_t i = 0; i < feature->value_count; i++) {
        sorted[i] = (struct text_index){.text = feature->values[i], .index = (int32_t)i};
    }
    qsort(sorted, feature->value_count, sizeof(*sorted), compare_texts);
    bound->value_of_code = mlq_alloc_array(bound->column->value_count, sizeof(int32_t));
    for (uint32_t code = 0; code < bound->column->value_count; code++) {
        struct text_index key = {.text = bound->column->values[code]};
        const struct text_index *found =
            bsearch(&key, sorted, feature->value_count, sizeof(*sorted), compare_texts);
        bound->value_of_code[code] = found == NULL ? -1 : found->index;
    }
    mlq_free(sorted);
}

static int bind_feature(struct bound_feature *bound,
                        const struct model_feature *feature,
                        const struct preprocess_column *columns,
                        uint32_t column_count,
                        uint32_t hint,
                        struct mlq_err *err)
{
    static const char *const kinds[] = {
        [MODEL_NUMBER] = "numbers", [MODEL_CATEGORY] = "categories"};
    /* From where the feature before it was: in most tables the next column is the one. */
    for (uint32_t i = 0; i < column_count && bound->column == NULL; i++) {
        const struct preprocess_column *column = &columns[(hint + i) % column_count];
        if (strcmp(column->name, feature->name) == 0) {
            bound->column = column;
        }
    }
    if (bound->column == NULL) {
        return mlq_fail(err, MLQ_EINVAL,
                        "the table has no column '%s', which the model was trained on",
                        feature->name);
    }
    if (bound->column->kind != feature->kind) {
        return mlq_fail(err, MLQ_EINVAL,
                        "column '%s' holds %s, but the model was trained on %s: import "
                        "the table with that type",
                        feature->name, kinds[bound->column->kind], kinds[feature->kind]);
    }
    if (feature->kind == MODEL_CATEGORY) {
        map_values(bound, feature);
    }
    return 0;
}

int preprocess_bind(const struct model *model,
                    const struct preprocess_column *columns,
                    uint32_t column_count,
                    struct preprocess **result,
                    struct mlq_err *err)
{
    struct preprocess *bound = mlq_alloc(sizeof(*bound));
    bound->model = model;
    bound->features = mlq_alloc_array(model->feature_count, sizeof(struct bound_feature));
    uint32_t hint = 0;
    for (uint32_t i = 0; i < model->feature_count; i++) {
        struct bound_feature *to = &bound->features[i];
        int rc = bind_feature(to, &model->features[i], columns, column_count, hint, err);
        if (rc != 0) {
            preprocess_destroy(&bound);
            return rc;
        }
        hint = (uint32_t)(to->column - columns) + 1;
    }
    *result = bound;
    return 0;
}

void preprocess_destroy(struct preprocess **bound)
{
    if (*bound == NULL) {
        return;
    }
    for (uint32_t i = 0; i < (*bound)->model->feature_count; i++) {
        mlq_free((*bound)->features[i].value_of_code);
    }
    mlq_free((*bound)->features);
    mlq_free(*bound);
    *bound = NULL;
}

/* False: some are missing, infinite or too far away. */
ML_WIDE static bool scale_plain(const double *numbers, uint64_t count, double mean, double scale, float *scaled)
{
    bool is_plain = true;
    for (uint64_t i = 0; i < count; i++) {
        scaled[i] = (float)((numbers[i] - mean) / scale);
        is_plain &= isfinite(scaled[i]);
    }
    return is_plain;
}

/* The numbers that are left to number_rows: from the first that is not plain. */
static uint64_t plain_rows(const struct model_feature *feature, const double *numbers, uint64_t row_count,
                           uint32_t stride, float *inputs)
{
    float scaled[SCALED_ROWS];
    uint64_t done = 0;
    while (done < row_count) {
        uint64_t count = row_count - done < SCALED_ROWS ? row_count - done : SCALED_ROWS;
        if (!scale_plain(numbers + done, count, feature->mean, feature->scale, scaled)) {
            break;
        }
        for (uint64_t i = 0; i < count; i++) {
            inputs[(done + i) * stride] = scaled[i];
        }
        done += count;
    }
    return done;
}

static int number_rows(const struct model_feature *feature,
                       const double *numbers,
                       uint64_t row,
                       uint64_t row_count,
                       uint32_t stride,
                       float *inputs,
                       struct mlq_err *err)
{
    for (uint64_t i = plain_rows(feature, numbers + row, row_count, stride, inputs); i < row_count; i++) {
        double x = numbers[row + i];
        if (isinf(x)) {
            return refuse_infinity(feature->name, row + i, err);
        }
        if (isnan(x) && feature->keeps_missing) {
            inputs[i * stride] = NAN;
            continue;
        }
        x = isnan(x) ? feature->fill : x;
        float scaled = (float)((x - feature->mean) / feature->scale);
        if (!isfinite(scaled)) {
            return mlq_fail(err, MLQ_EINVAL,
                            "column '%s', row %" PRIu64 ": %g is too far from the "
                            "training rows to be scaled",
                            feature->name, row + i, x);
        }
        inputs[i * stride] = scaled;
    }
    return 0;
}

static int32_t value_of(const struct model_feature *feature, const struct bound_feature *bound,
                        uint64_t row)
{
    int32_t code = bound->column->codes[row];
    if (code >= 0) {
        return bound->value_of_code[code];
    }
    /* An embedding has no place for what is missing. */
    bool is_kept = feature->keeps_missing && !feature->embedded;
    return is_kept ? PREPROCESS_MISSING : (int32_t)feature->fill_value;
}

static void put_value(const struct model_feature *feature, int32_t value, float *inputs)
{
    if (feature->embedded) {
        inputs[0] = (float)value; /* exact: indices are below 2^24 */
        return;
    }
    for (uint32_t k = 0; k < feature->width; k++) {
        inputs[k] = value == PREPROCESS_MISSING ? NAN : 0.0f;
    }
    if (value >= 0) {
        inputs[value] = 1.0f;
    }
}

static int block_of_rows(const struct preprocess *bound,
                         uint64_t row,
                         uint64_t row_count,
                         float *inputs,
                         struct mlq_err *err)
{
    uint32_t stride = bound->model->input_count;
    for (uint32_t i = 0; i < bound->model->feature_count; i++) {
        const struct model_feature *feature = &bound->model->features[i];
        const struct bound_feature *from = &bound->features[i];
        float *to = inputs + feature->offset;
        if (feature->kind == MODEL_CATEGORY) {
            for (uint64_t k = 0; k < row_count; k++) {
                put_value(feature, value_of(feature, from, row + k), to + k * stride);
            }
            continue;
        }
        int rc = number_rows(feature, from->column->numbers, row, row_count, stride, to, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Columns go in, rows come out: in blocks that stay in the cache, or each value would fetch a line. */
int preprocess_rows(const struct preprocess *bound,
                    uint64_t row,
                    uint64_t row_count,
                    float *inputs,
                    struct mlq_err *err)
{
    size_t row_bytes = bound->model->input_count * sizeof(float);
    uint64_t block = row_bytes == 0 ? row_count : BLOCK_BYTES / row_bytes;
    block = block < BLOCK_ROWS_MIN ? BLOCK_ROWS_MIN : block;
    int rc = 0;
    for (uint64_t done = 0; rc == 0 && done < row_count; done += block) {
        uint64_t count = row_count - done < block ? row_count - done : block;
        rc = block_of_rows(bound, row + done, count, inputs + done * bound->model->input_count, err);
    }
    return rc;
}

int preprocess_pack(const struct preprocess *bound,
                    uint64_t row,
                    uint64_t row_count,
                    union preprocess_cell *cells,
                    struct mlq_err *err)
{
    uint32_t stride = bound->model->feature_count;
    for (uint32_t i = 0; i < stride; i++) {
        const struct model_feature *feature = &bound->model->features[i];
        const struct bound_feature *from = &bound->features[i];
        if (feature->kind == MODEL_CATEGORY) {
            for (uint64_t k = 0; k < row_count; k++) {
                cells[k * stride + i].value = value_of(feature, from, row + k);
            }
            continue;
        }
        int rc = number_rows(feature, from->column->numbers, row, row_count, stride,
                             &cells[i].number, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

void preprocess_unpack(const struct model *model, const union preprocess_cell *cells, float *inputs)
{
    for (uint32_t i = 0; i < model->feature_count; i++) {
        const struct model_feature *feature = &model->features[i];
        if (feature->kind == MODEL_NUMBER) {
            inputs[feature->offset] = cells[i].number;
        } else {
            put_value(feature, cells[i].value, inputs + feature->offset);
        }
    }
}
