/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Gradient boosting by XGBoost, one round at a time. The promise: round r is a function of the
 * trees before it, the rows, the options and r alone, so that a booster that was saved and loaded
 * goes on with the same bits. The number of threads is one of the options: it decides how sums of
 * doubles are grouped, which seldom shows in the floats that are kept.
 */
#ifndef MLQ_OP_BOOSTER_H
#define MLQ_OP_BOOSTER_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "worker/ml/forest.h"

enum booster_objective { BOOSTER_SQUARED, BOOSTER_LOGISTIC, BOOSTER_SOFTMAX };

/* XGBoost's parameters, by its names. */
struct booster_options {
    enum booster_objective objective;
    uint32_t classes;  /* SOFTMAX */
    double base_score; /* SQUARED: what the first trees start from */
    int64_t max_depth;
    int64_t max_bin;
    double eta;
    double subsample;
    double colsample_bytree;
    double min_child_weight;
    double lambda;
    double alpha;
    double gamma;
    uint32_t seed;
    uint32_t threads;
};

/* Rows that it learns from, or that it is judged on. Copied. */
struct booster_rows {
    uint32_t rows; /* 0: none */
    uint32_t columns;
    const float *inputs; /* [rows][columns]; NaN is missing */
    const float *labels; /* a class's index, or the number itself */
};

enum booster_set { BOOSTER_TRAIN, BOOSTER_VALIDATION };

struct booster;

/* One per process. */
int booster_open(const struct booster_options *options, const struct booster_rows *train,
                 const struct booster_rows *validation, MLQ_OWNED_RETURN struct booster **booster,
                 struct mlq_err *err);
void booster_close(struct booster **booster); /* takes NULL, frees, nulls */

const char *booster_version(const struct booster *booster);
uint32_t booster_outputs(const struct booster *booster); /* of a row */

/* Adds one tree for each output. */
int booster_update(struct booster *booster, struct mlq_err *err);
uint32_t booster_rounds(const struct booster *booster);

/* What its trees add up to: [rows][outputs], before sigmoid or softmax. Valid until the next call.
 */
int booster_margins(struct booster *booster, enum booster_set set, const float **margins,
                    struct mlq_err *err);

/* Of its first `rounds` rounds: XGBoost's own file ("ubj" or "json"), with the inputs' names (NULL:
 * none). */
int booster_save(struct booster *booster, uint32_t rounds, const char *format,
                 const char *const *names, MLQ_OWNED_RETURN char **bytes, size_t *len,
                 struct mlq_err *err);

/* Goes on from a file in the format "ubj" that booster_save gave, of `rounds` rounds. */
int booster_load(struct booster *booster, const char *bytes, size_t len, uint32_t rounds,
                 struct mlq_err *err);

/* The first `rounds` rounds as a forest. */
int booster_forest(struct booster *booster, uint32_t rounds,
                   MLQ_OWNED_RETURN struct forest **forest, struct mlq_err *err);

/* ---- For booster_forest.c ---- */

/* Rounds [first, end) as XGBoost's file. */
int booster_save_part(struct booster *booster, uint32_t first, uint32_t end, const char *format,
                      const char *const *names, MLQ_OWNED_RETURN char **bytes, size_t *len,
                      struct mlq_err *err);
uint32_t booster_columns(const struct booster *booster);
float booster_base_margin(const struct booster *booster);

#endif
