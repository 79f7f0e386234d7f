/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Scores of predictions, with scikit-learn 1.2.1's definitions (sklearn.metrics; golden files in
 * tests/golden/metrics):
 *   precision, recall, f1   of one class; 0 where the denominator is 0 (zero_division=0)
 *   _macro                  mean over the classes that occur among the true or the predicted labels
 *   _weighted               mean weighted by the number of true rows
 *   f1_micro                equals accuracy when each row has one label
 *   balanced_accuracy       mean recall over the classes that occur among the true labels
 *   log_loss                probabilities clipped to [eps, 1 - eps], eps = 2^-52, rows renormalised
 *   roc_auc                 binary: P(score of a positive > score of a negative), ties count half;
 *                           multiclass: macro mean of one class against the rest
 *   brier                   binary: mean (p - y)^2
 * What is undefined (the AUC of one class) is NaN here, and left out of reports.
 */
#ifndef MLQ_ML_METRICS_H
#define MLQ_ML_METRICS_H

#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"

#define METRICS_CLASSES_MAX 2048u /* the confusion matrix is square */
#define METRICS_CURVE_MAX   101u  /* points of a curve; longer ones are thinned */
#define METRICS_BINS        10u   /* of the calibration table */

struct metrics_class {
    double precision;
    double recall;
    double f1;
    uint64_t support;   /* true rows */
    uint64_t predicted; /* predicted rows */
};

struct metrics_point {
    double x;
    double y;
};

struct metrics_bin {
    double mean_predicted; /* NaN in an empty bin */
    double fraction_positive;
    uint64_t count;
};

struct metrics_classification {
    uint32_t class_count;
    double accuracy;
    double balanced_accuracy;
    double precision_macro, recall_macro, f1_macro;
    double precision_weighted, recall_weighted, f1_weighted;
    double f1_micro;
    double log_loss;
    double roc_auc;
    double brier;
    struct metrics_class *per_class;
    uint64_t *confusion; /* [true][predicted] */
    uint32_t roc_count;  /* binary: false positive rate against true positive rate */
    struct metrics_point roc[METRICS_CURVE_MAX];
    struct metrics_bin
        calibration[METRICS_BINS]; /* binary: equal widths of the positive's probability */
};

/* Rows of a classification: labels and predictions are indices below class_count, probabilities
 * [rows][class_count]. `positive` is the class that AUC, Brier and the curves are about when
 * class_count is 2. */
struct metrics_rows {
    uint64_t rows; /* > 0 */
    uint32_t class_count;
    uint32_t positive;
    const uint32_t *labels;
    const uint32_t *predicted;
    const double *probabilities;
};

/* Refuses more than METRICS_CLASSES_MAX classes. */
int metrics_classify(const struct metrics_rows *rows,
                     MLQ_OWNED_RETURN struct metrics_classification **result,
                     struct mlq_err *err);
void metrics_destroy(struct metrics_classification **result); /* takes NULL, frees, nulls */

struct metrics_regression {
    double mse;
    double rmse;
    double mae;
    double median_ae;
    double r2; /* 1 for perfect constants, 0 for other constants; NaN for one row */
};

void metrics_regress(const double *truth,
                     const double *predicted,
                     uint64_t rows,
                     struct metrics_regression *result);

#endif
