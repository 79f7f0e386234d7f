/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * From a table to what the numerics take: columns for preprocessing, and the target as class
 * indices or as numbers. Shared by training and evaluation, so that both read a target in the same
 * way.
 */
#ifndef MLQ_OP_OP_COLUMNS_H
#define MLQ_OP_OP_COLUMNS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/sys/region.h"
#include "worker/ml/model.h"
#include "worker/ml/preprocess.h"
#include "worker/op/table.h"

/* With task `auto`, whole numbers with at most this many different values are classes. */
#define OP_COLUMNS_AUTO_CLASSES_MAX 100u

struct op_columns {
    struct preprocess_column *columns; /* into the table, valid while it is open */
    uint32_t count;
};

/* All columns, or only those of the role `feature`. */
void op_columns_list(const struct table *table,
                     bool features_only,
                     struct mlq_region *region,
                     struct op_columns *columns);

enum op_columns_task { OP_COLUMNS_AUTO, OP_COLUMNS_CLASSIFICATION, OP_COLUMNS_REGRESSION };

/* Decides the task and fills model->task, target, classes, or target_mean and target_scale from the
 * training table. Refuses a table without target, a missing target value, and a single class. */
int op_columns_fit_target(const struct table *table,
                          enum op_columns_task task,
                          struct model *model,
                          struct mlq_err *err);

/* The target of each row as an index into model->classes, into labels[rows]. Refuses a label that the
 * model does not know, by row. `which` names the table in messages. */
int op_columns_labels(const struct table *table,
                      const char *which,
                      const struct model *model,
                      uint32_t *labels,
                      struct mlq_err *err);

/* The target of each row as a number, in the table's units. Borrowed from the table. */
int op_columns_targets(const struct table *table,
                       const char *which,
                       const struct model *model,
                       const double **targets,
                       struct mlq_err *err);

#endif
