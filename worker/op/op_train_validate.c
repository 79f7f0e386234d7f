/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <string.h>

#include "lib/sys/mem.h"
#include "worker/ml/loss.h"
#include "worker/ml/net.h"
#include "worker/op/op_train_step.h"

/* Fixed, since the number of rows of a product changes its bits. */
#define CHUNK_ROWS 256u

struct net *op_train_validate_net(const struct op_train *train)
{
    return train->data.validation.rows == 0 ? NULL
                                            : net_create(train->data.model, CHUNK_ROWS, false);
}

static int score_chunk(const struct op_train *train, struct net *net, uint32_t begin,
                       struct op_train_score *score, struct mlq_err *err)
{
    const struct op_train_set *set = &train->data.validation;
    const struct model *model = train->data.model;
    size_t width = model->input_count;
    uint32_t rows = set->rows - begin < CHUNK_ROWS ? set->rows - begin : CHUNK_ROWS;
    uint32_t outputs = model_output_count(model);
    float *inputs = net_inputs(net);
    int rc = op_train_data_read(set, model, begin, rows, inputs, err);
    if (rc != 0) {
        return rc;
    }
    memset(inputs + rows * width, 0, (CHUNK_ROWS - rows) * width * sizeof(float));
    const float *z = net_forward(net, rows);
    struct loss_shape shape = {.rows = rows, .rows_padded = CHUNK_ROWS, .outputs = outputs};
    struct loss_truth truth = {.labels = set->labels == NULL ? NULL : set->labels + begin,
                               .targets = set->targets == NULL ? NULL : set->targets + begin};
    score->loss = loss_compute(&train->data.loss, shape, z, truth, 1, NULL);
    if (model->task == MODEL_REGRESSION) {
        const struct loss squared = {.kind = LOSS_SQUARED};
        score->squared = loss_compute(&squared, shape, z, truth, 1, NULL);
        return 0;
    }
    for (size_t row = 0; row < rows; row++) {
        uint32_t guess = outputs == 1 ? z[row] > 0 : loss_argmax(z + row * outputs, outputs);
        score->correct += guess == truth.labels[row];
    }
    return 0;
}

/* The scores of all ranks' chunks, in order. */
static int gather(struct op_train *train, const struct op_train_score *own, uint64_t chunks,
                  struct op_train_score *all, struct mlq_err *err)
{
    uint64_t bytes[COLL_RANKS_MAX];
    uint32_t ranks = coll_size(train->coll);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        bytes[rank] = (chunks * (rank + 1) / ranks - chunks * rank / ranks) * sizeof(*own);
    }
    if (ranks > 1) {
        op_train_note(train, TASK_FLIGHT_EXCHANGE);
    }
    int rc = coll_allgather(train->coll, own, all, bytes, OP_TRAIN_TIMEOUT_NS, err);
    op_train_note(train, TASK_FLIGHT_VALIDATE);
    return rc;
}

/* Chunks are dealt to the ranks; their scores are added in the order of chunks by everyone. */
int op_train_validate(struct op_train *train, struct net *net, struct op_train_score *total,
                      struct mlq_err *err)
{
    struct coll *coll = train->coll;
    uint32_t rows = train->data.validation.rows, ranks = coll_size(coll);
    uint64_t chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    uint64_t first = chunks * coll_rank(coll) / ranks, end = chunks * (coll_rank(coll) + 1) / ranks;
    struct op_train_score *own = mlq_alloc_array(end - first, sizeof(*own));
    struct op_train_score *all = mlq_alloc_array(chunks, sizeof(*all));
    int rc = 0;
    for (uint64_t i = first; i < end && rc == 0; i++) {
        rc = score_chunk(train, net, (uint32_t)i * CHUNK_ROWS, &own[i - first], err);
    }
    rc = rc != 0 ? rc : gather(train, own, chunks, all, err);
    *total = (struct op_train_score){.loss = 0};
    for (uint64_t i = 0; i < chunks && rc == 0; i++) {
        total->loss += all[i].loss;
        total->correct += all[i].correct;
        total->squared += all[i].squared;
    }
    mlq_free(own);
    mlq_free(all);
    return rc;
}
