/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Preprocessing: fitted on the training table alone, kept in the model, applied to any table
 * (model.h says how a row becomes inputs). Fitting on anything but the training rows would leak: no
 * function here takes two tables.
 */
#ifndef MLQ_ML_PREPROCESS_H
#define MLQ_ML_PREPROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/model.h"

/* A column of the caller's table. Numbers: NaN is missing, infinities are refused. Codes: -1 is
 * missing, else an index into `values`. Nothing is copied or kept. */
struct preprocess_column {
    const char *name;
    enum model_feature_kind kind;
    const double *numbers;
    const int32_t *codes;
    uint32_t value_count;
    const char *const *values;
};

/* Fits features on `rows` rows of `columns` and fills model->features and model->input_count. A
 * number column: fill = mean of what is there (0 when nothing is), scale = population deviation
 * after filling (1 when that is 0, as scikit-learn's StandardScaler). A category column: the values
 * that occur, in dictionary order; fill = the most frequent, the first of equals. Columns are fitted side by side by
 * `threads` threads: the same bits by any number of them. */
int preprocess_fit(struct model *model,
                   const struct preprocess_column *columns,
                   uint32_t column_count,
                   uint64_t rows,
                   unsigned threads,
                   struct mlq_err *err);

/* For images, channels last: after preprocess_fit, all pixels of a channel get its common mean and
 * deviation, so that an image may be moved. Does nothing unless all features are numbers. */
void preprocess_share_channels(struct model *model,
                               const struct preprocess_column *columns,
                               uint32_t channels,
                               uint64_t rows);

/* After preprocess_fit, for trees, which need no scale and know what to do with a missing value:
 * numbers as they are, and NaN for what is missing. */
void preprocess_keep(struct model *model);

/* A model's features found in a table: which column, and its dictionary mapped to the model's
 * values. */
struct preprocess;

/* By name; columns that the model does not use are ignored. Refuses a missing column or one of
 * another kind. `columns` and the model must outlive the result. */
int preprocess_bind(const struct model *model,
                    const struct preprocess_column *columns,
                    uint32_t column_count,
                    MLQ_OWNED_RETURN struct preprocess **bound,
                    struct mlq_err *err);
void preprocess_destroy(struct preprocess **bound);

/* inputs[row_count][model->input_count] for rows [row, row + row_count). Refuses an infinity, by
 * column and row. For different rows it may run on several threads. */
int preprocess_rows(const struct preprocess *bound,
                    uint64_t row,
                    uint64_t row_count,
                    float *inputs,
                    struct mlq_err *err);

/* A row in four bytes per feature, however many values a category has: what is kept of rows that
 * are not kept as inputs. */
union preprocess_cell {
    float number;  /* scaled; NaN where the model keeps what is missing */
    int32_t value; /* of a category: its index, PREPROCESS_UNKNOWN or PREPROCESS_MISSING */
};
#define PREPROCESS_UNKNOWN (-1)
#define PREPROCESS_MISSING (-2) /* where the model keeps that */

/* cells[row_count][model->feature_count]; refuses what preprocess_rows does. */
int preprocess_pack(const struct preprocess *bound,
                    uint64_t row,
                    uint64_t row_count,
                    union preprocess_cell *cells,
                    struct mlq_err *err);

/* One row: the bits that preprocess_rows gives for it. */
void preprocess_unpack(const struct model *model, const union preprocess_cell *cells, float *inputs);

#endif
