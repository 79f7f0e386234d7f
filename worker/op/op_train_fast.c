/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Level fast: each rank takes its share of a step's rows through the network at once, and the
 * gradients are added by an all-reduce in whatever order is the quickest. No virtual shards, no
 * tree: another number of ranks gives another model, as near to the exact one as floats are; batch
 * norm takes its statistics from a rank's rows. Rows, masks and changes are still those of (seed,
 * epoch, sample), and all ranks hold the same bits, since all get the same sums.
 */
#include <string.h>

#include "lib/sys/mem.h"
#include "worker/ml/wide.h"
#include "worker/op/op_train_step.h"

/* Behind the gradient, in the same all-reduce. */
enum { BEHIND_LOSS, BEHIND_LEAVING, BEHIND_COUNT };

struct fast {
    struct op_train *train;
    uint32_t rows; /* at once: `accumulate` times that are a rank's share */
    struct op_train_batch *batch;
    float *sums;  /* [arena_count + BEHIND_COUNT], where ranks of the same machine can read it */
    float *spare; /* a second gradient, before it is added; NULL: there is one alone */
    struct tree_view view; /* of the sums */
};

static int fast_create(struct op_train *train, void **state, struct mlq_err *err)
{
    (void)err;
    const struct op_train_config *config = &train->config;
    uint64_t arena = train->data.model->arena_count;
    uint32_t ranks = coll_size(train->coll), pieces = ranks * config->accumulate;
    struct fast *fast = mlq_alloc(sizeof(*fast));
    fast->train = train;
    fast->rows = (config->batch + pieces - 1) / pieces;
    fast->batch = op_train_batch_create(train, 1, fast->rows);
    fast->sums = coll_memory(train->coll, (arena + BEHIND_COUNT) * sizeof(float));
    fast->spare = config->accumulate > 1 ? mlq_alloc_array(arena, sizeof(float)) : NULL;
    *state = fast;
    return 0;
}

static void fast_destroy(void *state)
{
    struct fast *fast = state;
    if (fast == NULL) {
        return;
    }
    op_train_batch_destroy(&fast->batch);
    mlq_free(fast->spare);
    mlq_free(fast);
}

ML_WIDE
static void add_into(float *restrict to, const float *restrict from, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        to[i] += from[i];
    }
}

static struct op_train_span fast_share(const struct op_train *train, uint32_t count)
{
    uint64_t ranks = coll_size(train->coll), rank = coll_rank(train->coll);
    return (struct op_train_span){.begin = (uint32_t)(count * rank / ranks),
                                  .end = (uint32_t)(count * (rank + 1) / ranks)};
}

/* The gradient of this rank's share into `sums`, as few rows at once as memory was taken for; gives
 * its loss. */
static double sum_share(struct fast *fast, struct op_train_piece step)
{
    struct op_train_span share = fast_share(fast->train, step.count);
    uint32_t at = share.begin, end = share.end;
    float *gradient = fast->sums;
    double loss = 0;
    do {
        uint32_t count = end - at < fast->rows ? end - at : fast->rows;
        struct op_train_piece piece = {
            .samples = step.samples + at, .count = count, .scale = step.scale};
        loss += op_train_batch_run(fast->batch, piece, gradient);
        if (gradient != fast->sums) {
            add_into(fast->sums, gradient, fast->train->data.model->arena_count);
        }
        gradient = fast->spare;
        at += count;
    } while (at < end);
    return loss;
}

static int fast_run(void *state, struct op_train_piece step, bool stop,
                    struct op_train_total *total, struct mlq_err *err)
{
    struct fast *fast = state;
    struct op_train *train = fast->train;
    uint64_t arena = train->data.model->arena_count;
    float *behind = fast->sums + arena;
    fast->view = (struct tree_view){.values = fast->sums};
    *total = (struct op_train_total){.gradient = {.views = &fast->view, .count = 1}};
    op_train_note(train, TASK_FLIGHT_COMPUTE);
    behind[BEHIND_LOSS] = (float)sum_share(fast, step);
    behind[BEHIND_LEAVING] = stop;
    op_train_note(train, TASK_FLIGHT_EXCHANGE);
    struct coll_floats sums = {.values = fast->sums, .count = arena + BEHIND_COUNT};
    int rc = coll_allreduce(train->coll, sums, OP_TRAIN_TIMEOUT_NS, err);
    op_train_note(train, TASK_FLIGHT_APPLY);
    total->loss = (double)behind[BEHIND_LOSS];
    total->leaving = rc == 0 ? (uint32_t)behind[BEHIND_LEAVING] : 0;
    return rc;
}

const struct op_train_sum_ops op_train_fast_ops = {
    .create = fast_create,
    .destroy = fast_destroy,
    .share = fast_share,
    .run = fast_run,
};
