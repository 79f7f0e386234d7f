/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A learning-rate range test in place of a training (worker/ml/rate_range.h): the same steps with a
 * rate that grows. It goes on over as many epochs as it has steps for, without validation and
 * without checkpoints: a test that was stopped begins anew, one that a rank has left goes on. The
 * weights that it ends with are of no use; it writes no model, but
 *
 *     range_test.json   {"from", "to", "steps" (wanted), "end": "rose" | "not_finite" | "steps",
 *                        "points": [{"step": 1, "rate", "loss", "smoothed"}, ..],
 *                        "suggestions": {"steepest": {"rate", "source"}, "minimum_10": {..}}
 * (absent when it ended too early to tell), "seed", "batch", "rows"}
 *
 * and tells each step as the metrics range_rate, range_loss and range_smoothed, and in the end
 * rate_steepest and rate_minimum_10.
 */
#ifndef MLQ_OP_OP_TRAIN_RANGE_H
#define MLQ_OP_OP_TRAIN_RANGE_H

#include "worker/op/op_train.h"

/* How it ended: `range_end` of the cursor. */
enum op_train_range_end {
    OP_TRAIN_RANGE_RUNS,
    OP_TRAIN_RANGE_ROSE,       /* over four times the least loss */
    OP_TRAIN_RANGE_NOT_FINITE, /* the loss is no number any more */
    OP_TRAIN_RANGE_STEPS,      /* all are done */
};

/* After the other parameters. Refuses what moves the rate itself, or needs epochs. */
int op_train_range_read(const struct op_context *ctx, struct op_train_config *config,
                        struct mlq_err *err);

static inline bool op_train_range_is_on(const struct op_train_config *config)
{
    return config->range.steps > 0;
}

/* Once the rows are known: how many epochs it takes. */
void op_train_range_fit(struct op_train *train);

/* A step is done, with this mean loss; decides from what all ranks hold whether it was the last. */
void op_train_range_note(struct op_train *train, double loss);

int op_train_range_write(struct op_train *train, struct mlq_err *err);

#endif
