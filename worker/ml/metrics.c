/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/ml/metrics.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

/* scikit-learn's zero_division=0. */
static double ratio(double numerator, double denominator)
{
    return denominator == 0 ? 0 : numerator / denominator;
}

/* ---- Counts ---- */

static void count_rows(const struct metrics_rows *rows, struct metrics_classification *result)
{
    uint64_t correct = 0;
    for (uint64_t i = 0; i < rows->rows; i++) {
        uint32_t label = rows->labels[i], guess = rows->predicted[i];
        MLQ_ASSERT(label < rows->class_count && guess < rows->class_count);
        result->confusion[(size_t)label * rows->class_count + guess]++;
        result->per_class[label].support++;
        result->per_class[guess].predicted++;
        correct += label == guess;
    }
    result->accuracy = (double)correct / (double)rows->rows;
    result->f1_micro = result->accuracy;
}

static void average_classes(const struct metrics_rows *rows, struct metrics_classification *result)
{
    double seen = 0, with_truth = 0, recalls = 0;
    for (uint32_t k = 0; k < rows->class_count; k++) {
        struct metrics_class *class = &result->per_class[k];
        double hits = (double)result->confusion[(size_t)k * rows->class_count + k];
        double support = (double)class->support, predicted = (double)class->predicted;
        class->precision = ratio(hits, predicted);
        class->recall = ratio(hits, support);
        class->f1 = ratio(2 * hits, support + predicted);
        if (class->support + class->predicted == 0) {
            continue;
        }
        double weight = support / (double)rows->rows;
        seen++;
        result->precision_macro += class->precision;
        result->recall_macro += class->recall;
        result->f1_macro += class->f1;
        result->precision_weighted += weight * class->precision;
        result->recall_weighted += weight * class->recall;
        result->f1_weighted += weight * class->f1;
        with_truth += class->support > 0;
        recalls += class->support > 0 ? class->recall : 0;
    }
    result->precision_macro /= seen;
    result->recall_macro /= seen;
    result->f1_macro /= seen;
    result->balanced_accuracy = recalls / with_truth;
}

static double clip(double p)
{
    return p < DBL_EPSILON ? DBL_EPSILON : p > 1 - DBL_EPSILON ? 1 - DBL_EPSILON : p;
}

static double log_loss(const struct metrics_rows *rows)
{
    double total = 0;
    for (uint64_t i = 0; i < rows->rows; i++) {
        const double *p = rows->probabilities + i * rows->class_count;
        double sum = 0;
        for (uint32_t k = 0; k < rows->class_count; k++) {
            sum += clip(p[k]);
        }
        total -= log(clip(p[rows->labels[i]]) / sum);
    }
    return total / (double)rows->rows;
}

/* ---- Ranking ---- */

struct scored {
    double score;
    bool positive;
};

static int compare_scores(const void *a, const void *b)
{
    double x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x > y) - (x < y);
}

/* One class against the rest, by score from low to high. */
static void rank_rows(const struct metrics_rows *rows, uint32_t class, struct scored *ranked)
{
    for (uint64_t i = 0; i < rows->rows; i++) {
        ranked[i] = (struct scored){
            .score = rows->probabilities[i * rows->class_count + class],
            .positive = rows->labels[i] == class,
        };
    }
    qsort(ranked, rows->rows, sizeof(*ranked), compare_scores);
}

/* Mann and Whitney's statistic (1947) over the product of the counts, which is the area under the
 * ROC curve: each positive beats the negatives below it, and half of those with its score. */
static double area(const struct scored *ranked, uint64_t count)
{
    double wins = 0, negatives = 0, positives = 0;
    uint64_t i = 0;
    while (i < count) {
        double tied_positives = 0, tied_negatives = 0;
        double score = ranked[i].score;
        for (; i < count && ranked[i].score == score; i++) {
            tied_positives += ranked[i].positive;
            tied_negatives += !ranked[i].positive;
        }
        wins += tied_positives * (negatives + tied_negatives / 2);
        negatives += tied_negatives;
        positives += tied_positives;
    }
    return positives == 0 || negatives == 0 ? (double)NAN : wins / (positives * negatives);
}

/* One point per different score, from the highest: all of them into `points` (room for count +
 * 1). */
static uint64_t curve(const struct scored *ranked, uint64_t count, struct metrics_point *points)
{
    double positives = 0, hits = 0, alarms = 0;
    for (uint64_t i = 0; i < count; i++) {
        positives += ranked[i].positive;
    }
    double negatives = (double)count - positives;
    uint64_t used = 0;
    points[used++] = (struct metrics_point){.x = 0, .y = 0};
    for (uint64_t i = count; i-- > 0;) {
        hits += ranked[i].positive;
        alarms += !ranked[i].positive;
        if (i == 0 || ranked[i - 1].score != ranked[i].score) {
            points[used++] = (struct metrics_point){.x = alarms / negatives, .y = hits / positives};
        }
    }
    return used;
}

static void thin_curve(const struct metrics_point *points,
                       uint64_t count,
                       struct metrics_classification *result)
{
    uint64_t kept = count < METRICS_CURVE_MAX ? count : METRICS_CURVE_MAX;
    for (uint64_t i = 0; i < kept; i++) {
        result->roc[i] = points[kept == 1 ? 0 : i * (count - 1) / (kept - 1)];
    }
    result->roc_count = (uint32_t)kept;
}

static void calibrate(const struct metrics_rows *rows, struct metrics_classification *result)
{
    for (uint64_t i = 0; i < rows->rows; i++) {
        double p = rows->probabilities[i * rows->class_count + rows->positive];
        double y = rows->labels[i] == rows->positive ? 1 : 0;
        uint32_t bin = p >= 1 ? METRICS_BINS - 1 : (uint32_t)(p * METRICS_BINS);
        result->calibration[bin].mean_predicted += p;
        result->calibration[bin].fraction_positive += y;
        result->calibration[bin].count++;
        result->brier += (p - y) * (p - y);
    }
    for (uint32_t bin = 0; bin < METRICS_BINS; bin++) {
        result->calibration[bin].mean_predicted /= (double)result->calibration[bin].count;
        result->calibration[bin].fraction_positive /= (double)result->calibration[bin].count;
    }
    result->brier /= (double)rows->rows;
}

static void rank_all(const struct metrics_rows *rows, struct metrics_classification *result)
{
    struct scored *ranked = mlq_alloc_array(rows->rows, sizeof(*ranked));
    result->brier = (double)NAN;
    if (rows->class_count == 2) {
        rank_rows(rows, rows->positive, ranked);
        result->roc_auc = area(ranked, rows->rows);
        if (!isnan(result->roc_auc)) {
            struct metrics_point *points = mlq_alloc_array(rows->rows + 1, sizeof(*points));
            thin_curve(points, curve(ranked, rows->rows, points), result);
            mlq_free(points);
        }
        result->brier = 0;
        calibrate(rows, result);
    } else {
        for (uint32_t k = 0; k < rows->class_count; k++) {
            rank_rows(rows, k, ranked);
            result->roc_auc += area(ranked, rows->rows) / rows->class_count;
        }
    }
    mlq_free(ranked);
}

int metrics_classify(const struct metrics_rows *rows,
                     struct metrics_classification **result,
                     struct mlq_err *err)
{
    MLQ_ASSERT(rows->rows > 0 && rows->class_count >= 2 && rows->positive < rows->class_count);
    if (rows->class_count > METRICS_CLASSES_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%u classes: evaluation takes at most %u",
                        rows->class_count, METRICS_CLASSES_MAX);
    }
    struct metrics_classification *scores = mlq_alloc(sizeof(*scores));
    size_t classes = rows->class_count;
    scores->class_count = rows->class_count;
    scores->per_class = mlq_alloc_array(classes, sizeof(struct metrics_class));
    scores->confusion = mlq_alloc_array(classes * classes, sizeof(uint64_t));
    count_rows(rows, scores);
    average_classes(rows, scores);
    scores->log_loss = log_loss(rows);
    rank_all(rows, scores);
    *result = scores;
    return 0;
}

void metrics_destroy(struct metrics_classification **result)
{
    if (*result == NULL) {
        return;
    }
    mlq_free((*result)->per_class);
    mlq_free((*result)->confusion);
    mlq_free(*result);
    *result = NULL;
}

/* ---- Regression ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void metrics_regress(const double *truth,
                     const double *predicted,
                     uint64_t rows,
                     struct metrics_regression *result)
{
    MLQ_ASSERT(rows > 0);
    double *errors = mlq_alloc_array(rows, sizeof(double));
    double sum = 0, squares = 0, absolute = 0, spread = 0;
    for (uint64_t i = 0; i < rows; i++) {
        errors[i] = fabs(truth[i] - predicted[i]);
        sum += truth[i];
        squares += errors[i] * errors[i];
        absolute += errors[i];
    }
    double count = (double)rows;
    for (uint64_t i = 0; i < rows; i++) {
        double distance = truth[i] - sum / count;
        spread += distance * distance;
    }
    qsort(errors, rows, sizeof(double), compare_doubles);
    result->mse = squares / count;
    result->rmse = sqrt(result->mse);
    result->mae = absolute / count;
    result->median_ae = (errors[(rows - 1) / 2] + errors[rows / 2]) / 2;
    if (rows < 2) {
        result->r2 = (double)NAN;
    } else if (spread == 0) {
        result->r2 = squares == 0 ? 1 : 0;
    } else {
        result->r2 = 1 - squares / spread;
    }
    mlq_free(errors);
}
