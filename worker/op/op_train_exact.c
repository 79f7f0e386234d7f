/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Levels elastic and repeat: the same bits for any number of ranks. Each rank computes the
 * gradients of its shards, by kernel calls that depend on nothing but the shapes, and adds what its
 * range allows (worker/ml/tree.h).
 *
 * Ranks that are all of one machine hold the state together (op_train_joint.h), and their partial
 * sums lie beside it: nothing is moved, and each finishes the tree over the slice that it steps.
 *
 * Else the vectors are cut into a slice for each rank, which gets that slice of all partial sums,
 * finishes the tree over it, and gives the result to all: each moves and adds about what it would in
 * an all-reduce, but in an order that is ours. With the last slice goes what the ranks have to say,
 * and what follows from it comes back with the sum. Two ranks move no more when each gets all of the
 * other's, so they do, nothing has to come back, and the sum is made where it is used
 * (op_train_apply.c). Pieces for a rank of the same machine are read where they lie (coll_memory).
 */
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/ml/tree.h"
#include "worker/op/op_train_joint.h"
#include "worker/op/op_train_step.h"

/* Behind a rank's first partial sum: this, then a double per shard of its range, the losses. */
struct said {
    uint64_t stop;   /* it was asked to stop, and leaves behind this step */
    uint64_t newest; /* generation that it has heard of */
};

/* What follows from it; behind the whole sum, where that is sent. */
struct heard {
    uint64_t leaving; /* bit r: rank r */
    uint64_t newest;
    double loss; /* of all shards */
};
_Static_assert(COLL_RANKS_MAX <= 64, "a bit for each rank");

struct exact {
    struct op_train *train;
    uint32_t ranks;
    uint32_t rank;
    bool is_joint;                     /* the ranks hold the state together */
    bool is_whole;                     /* each rank owns the whole vector, or may read all of it */
    uint32_t rounds;                   /* the most partial sums that a rank has, one at least */
    uint32_t partials[COLL_RANKS_MAX]; /* how many each has */
    uint64_t width;                    /* of a vector: the arena, made even by a zero */
    struct op_train_batch *batch;
    float *sums;       /* the tree's memory: in the end the partial sums */
    float *own_sums;   /* the same, if it is no memory of the ranks' */
    uint8_t *received; /* pieces that were moved: of rank 0, 1, ... of each round */
    const void *pieces[TREE_NODES_MAX][COLL_RANKS_MAX]; /* of each round and rank, where they lie */
    struct tree_view views[TREE_SHARDS_MAX]; /* those, in the order of the tree */
    float *slice;    /* of the whole sum, and struct heard; NULL where each rank makes all of it */
    float *gradient; /* memory for the whole sum, and struct heard if it was sent; NULL: the joint
                      * state's, or this rank is alone */
    double losses[TREE_SHARDS_MAX];
};

/* ---- Who has what ---- */

static uint32_t shard_rows(const struct op_train_config *config)
{
    return (config->batch + config->shards - 1) / config->shards;
}

static struct tree_range range_of(const struct exact *exact, uint32_t rank)
{
    return tree_deal(exact->train->config.shards, exact->ranks, rank);
}

static uint64_t slice_floats(const struct exact *exact, uint32_t rank)
{
    uint64_t begin = exact->width * rank / exact->ranks;
    return exact->is_whole ? exact->width : exact->width * (rank + 1) / exact->ranks - begin;
}

/* The owner of the last slice is told what the ranks have to say. */
static bool is_told(const struct exact *exact, uint32_t rank)
{
    return exact->is_whole || rank + 1 == exact->ranks;
}

static uint64_t said_bytes(const struct exact *exact, uint32_t rank)
{
    struct tree_range range = range_of(exact, rank);
    return sizeof(struct said) + (range.end - range.begin) * sizeof(double);
}

/* What one rank has for another in a round: the slice of a partial sum, where it has one, and in the
 * first round what it says. */
static uint64_t piece_bytes(const struct exact *exact, uint32_t from, uint32_t to, uint32_t round)
{
    uint64_t sum = round < exact->partials[from] ? slice_floats(exact, to) * sizeof(float) : 0;
    return sum + (round == 0 && is_told(exact, to) ? said_bytes(exact, from) : 0);
}

/* Node i of the tree's memory that a rank has at `sums`. What is said lies behind the first. */
static float *node_at(const struct exact *exact, uint32_t rank, float *sums, uint32_t i)
{
    uint64_t said_floats = said_bytes(exact, rank) / sizeof(float);
    return sums + i * exact->width + (i > 0 ? said_floats : 0);
}

/* ---- Memory ---- */

/* Of a rank's partial sums: while they are made, the tree holds more than in the end. */
static uint64_t sums_bytes(const struct exact *exact, uint32_t rank)
{
    return tree_places(range_of(exact, rank)) * exact->width * sizeof(float) +
           said_bytes(exact, rank);
}

static uint64_t most_sums_bytes(const struct exact *exact)
{
    uint64_t most = 0;
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        uint64_t bytes = sums_bytes(exact, rank);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* A vector, or a part of one, with struct heard behind it. */
static uint64_t sum_bytes(uint64_t floats)
{
    return floats * sizeof(float) + sizeof(struct heard);
}

static void count_partials(struct exact *exact)
{
    struct tree_node nodes[TREE_NODES_MAX];
    exact->rounds = 1;
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        uint32_t partials = tree_partials(range_of(exact, rank), nodes);
        exact->partials[rank] = partials;
        exact->rounds = partials > exact->rounds ? partials : exact->rounds;
    }
}

/* All that the ranks have lies where it stays. */
static void point_at_sums(struct exact *exact)
{
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        float *sums = op_train_joint_sums(exact->train, rank);
        exact->pieces[0][rank] = exact->partials[rank] > 0 ? sums : sums + exact->width;
        for (uint32_t round = 1; round < exact->partials[rank]; round++) {
            exact->pieces[round][rank] = node_at(exact, rank, sums, round);
        }
    }
    exact->sums = op_train_joint_sums(exact->train, exact->rank);
}

/* Where the ranks share no memory, or not all of them. Two that send each other all that they have do
 * so once a step: what each reads then must not change until the next one, so it is moved. */
static void take_memories(struct exact *exact)
{
    struct coll *coll = exact->train->coll;
    uint64_t received = 0, bytes = sums_bytes(exact, exact->rank);
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        for (uint32_t round = 0; round == 0 || round < exact->partials[rank]; round++) {
            received += piece_bytes(exact, rank, exact->rank, round);
        }
    }
    exact->own_sums = exact->is_whole ? mlq_alloc(bytes) : NULL;
    exact->sums = exact->is_whole ? exact->own_sums : coll_memory(coll, bytes);
    if (exact->ranks > 1) {
        exact->received = mlq_alloc(received);
        exact->gradient = mlq_alloc(sum_bytes(exact->width));
    }
    if (exact->ranks > 1 && !exact->is_whole) {
        exact->slice = coll_memory(coll, sum_bytes(slice_floats(exact, exact->rank)));
    }
}

static int exact_create(struct op_train *train, void **state, struct mlq_err *err)
{
    struct exact *exact = mlq_alloc(sizeof(*exact));
    *exact = (struct exact){.train = train,
                            .ranks = coll_size(train->coll),
                            .rank = coll_rank(train->coll),
                            .width = (train->data.model->arena_count + 1) / 2 * 2};
    struct tree_range range = range_of(exact, exact->rank);
    int rc = op_train_joint_enter(train, most_sums_bytes(exact), err);
    if (rc != 0) {
        mlq_free(exact);
        return rc;
    }
    exact->is_joint = train->joint != NULL;
    exact->is_whole = exact->is_joint || exact->ranks == 2;
    exact->batch =
        op_train_batch_create(train, range.end - range.begin, shard_rows(&train->config));
    count_partials(exact);
    if (exact->is_joint) {
        point_at_sums(exact);
    } else {
        take_memories(exact);
    }
    *state = exact;
    return 0;
}

static void exact_destroy(void *state)
{
    struct exact *exact = state;
    if (exact == NULL) {
        return;
    }
    op_train_joint_leave(exact->train);
    mlq_free(exact->own_sums);
    mlq_free(exact->received);
    mlq_free(exact->gradient);
    op_train_batch_destroy(&exact->batch);
    mlq_free(exact);
}

/* ---- This rank's shards ---- */

/* Where the ranks hold the state together each reads the slice that it steps of all partial sums. */
static struct tree_near near_of(const struct exact *exact)
{
    if (!exact->is_joint) {
        return (struct tree_near){.streams_rest = false};
    }
    struct joint_part slice = op_train_joint_slice(exact->train);
    return (struct tree_near){.streams_rest = op_train_joint_stream(exact->train)->streams,
                              .begin = slice.begin,
                              .end = slice.end};
}

static void sum_range(struct exact *exact, struct op_train_piece step)
{
    float *places[TREE_NODES_MAX + 1];
    for (uint32_t i = 0; i < MLQ_COUNT_OF(places); i++) {
        places[i] = node_at(exact, exact->rank, exact->sums, i);
    }
    op_train_batch_sum(exact->batch, step, range_of(exact, exact->rank), places, near_of(exact),
                       exact->losses);
}

/* ---- Over all ranks ---- */

static void say(struct exact *exact, bool stop)
{
    struct said said = {.stop = stop, .newest = op_train_gang_newest(exact->train->gang)};
    struct tree_range range = range_of(exact, exact->rank);
    uint8_t *to = (uint8_t *)(exact->sums + exact->width);
    memcpy(to, &said, sizeof(said));
    memcpy(to + sizeof(said), &exact->losses[range.begin],
           (range.end - range.begin) * sizeof(double));
}

/* The slices of all partial sums to their owners, a round for the first ones, the second ones, ... */
static int send_pieces(struct exact *exact, int64_t deadline_ns, struct mlq_err *err)
{
    uint8_t *to = exact->received;
    for (uint32_t round = 0; round < exact->rounds; round++) {
        uint64_t out[COLL_RANKS_MAX], in[COLL_RANKS_MAX], received = 0;
        for (uint32_t rank = 0; rank < exact->ranks; rank++) {
            out[rank] = piece_bytes(exact, exact->rank, rank, round);
            in[rank] = piece_bytes(exact, rank, exact->rank, round);
            received += in[rank];
        }
        bool has_none = exact->partials[exact->rank] == 0; /* but something to say */
        const float *from = has_none ? exact->sums + exact->width
                                     : node_at(exact, exact->rank, exact->sums, round);
        int64_t left_ns = deadline_ns - mlq_clock_boot_ns();
        struct coll *coll = exact->train->coll;
        const void **pieces = exact->pieces[round];
        int rc = exact->is_whole
                     ? coll_allgather_view(coll, from, to, in, pieces, left_ns, err)
                     : coll_alltoall_view(coll, from, out, to, in, pieces, left_ns, err);
        if (rc != 0) {
            return rc;
        }
        to += received;
    }
    return 0;
}

/* What `rank` has said stands at `from`, as bytes: alignment is not promised. */
static void hear(struct exact *exact, uint32_t rank, const uint8_t *from, struct heard *heard)
{
    struct said said;
    struct tree_range range = range_of(exact, rank);
    memcpy(&said, from, sizeof(said));
    memcpy(&exact->losses[range.begin], from + sizeof(said),
           (range.end - range.begin) * sizeof(double));
    heard->leaving |= (uint64_t)(said.stop != 0) << rank;
    heard->newest = said.newest > heard->newest ? said.newest : heard->newest;
}

/* The pieces as what is left of the tree, over this rank's slice. */
static struct tree_rest rest_of(struct exact *exact)
{
    uint32_t count = 0;
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        struct tree_node nodes[TREE_NODES_MAX];
        uint32_t partials = tree_partials(range_of(exact, rank), nodes);
        for (uint32_t round = 0; round < partials; round++) {
            exact->views[count++] = (struct tree_view){.level = nodes[round].level,
                                                       .index = nodes[round].index,
                                                       .values = exact->pieces[round][rank]};
        }
    }
    return (struct tree_rest){.views = exact->views, .count = count};
}

/* What stands behind the first piece of each rank, when this one is told. */
static struct heard hear_all(struct exact *exact)
{
    struct heard heard = {.leaving = 0};
    uint64_t bytes = slice_floats(exact, exact->rank) * sizeof(float);
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        const uint8_t *piece = exact->pieces[0][rank];
        hear(exact, rank, piece + (exact->partials[rank] > 0 ? bytes : 0), &heard);
    }
    heard.loss = tree_sum_doubles(exact->losses, exact->train->config.shards);
    return heard;
}

/* Each owner's slice of the sum to all; behind the last one goes what was heard. */
static int share_slices(struct exact *exact, int64_t deadline_ns, struct heard *heard,
                        struct mlq_err *err)
{
    uint64_t bytes[COLL_RANKS_MAX], own = slice_floats(exact, exact->rank);
    tree_finish(rest_of(exact), own, exact->slice);
    if (is_told(exact, exact->rank)) {
        *heard = hear_all(exact);
        memcpy(exact->slice + own, heard, sizeof(*heard));
    }
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        bytes[rank] = slice_floats(exact, rank) * sizeof(float);
    }
    bytes[exact->ranks - 1] += sizeof(*heard);
    int rc = coll_allgather(exact->train->coll, exact->slice, exact->gradient, bytes,
                            deadline_ns - mlq_clock_boot_ns(), err);
    memcpy(heard, exact->gradient + exact->width, sizeof(*heard));
    return rc;
}

/* What is left of the tree, and what was heard. */
static int exchange(struct exact *exact, struct tree_rest *rest, struct heard *heard,
                    struct mlq_err *err)
{
    int64_t deadline_ns = mlq_clock_boot_ns() + OP_TRAIN_TIMEOUT_NS;
    op_train_note(exact->train, TASK_FLIGHT_EXCHANGE);
    int rc = exact->is_joint ? op_train_joint_meet(exact->train, err)
                             : send_pieces(exact, deadline_ns, err);
    if (rc == 0 && exact->is_whole) {
        *rest = rest_of(exact);
        *heard = hear_all(exact);
    } else if (rc == 0) {
        rc = share_slices(exact, deadline_ns, heard, err);
        exact->views[0] = (struct tree_view){.values = exact->gradient};
        *rest = (struct tree_rest){.views = exact->views, .count = 1};
    }
    return rc;
}

static int exact_run(void *state, struct op_train_piece step, bool stop,
                     struct op_train_total *total, struct mlq_err *err)
{
    struct exact *exact = state;
    struct op_train *train = exact->train;
    struct heard heard = {.leaving = stop, .newest = op_train_gang_newest(train->gang)};
    op_train_note(train, TASK_FLIGHT_COMPUTE);
    sum_range(exact, step);
    exact->views[0] = (struct tree_view){.values = exact->sums};
    *total = (struct op_train_total){
        .gradient = {.views = exact->views, .count = 1},
        .whole = exact->is_joint ? op_train_joint_gradient(train) : exact->gradient};
    if (exact->ranks > 1) {
        say(exact, stop);
        int rc = exchange(exact, &total->gradient, &heard, err);
        if (rc != 0) {
            return rc;
        }
    } else {
        heard.loss = tree_sum_doubles(exact->losses, train->config.shards);
    }
    op_train_note(train, TASK_FLIGHT_APPLY);
    total->loss = heard.loss;
    total->newest = heard.newest;
    for (uint32_t rank = 0; rank < exact->ranks; rank++) {
        if ((heard.leaving >> rank & 1) != 0) {
            total->leaving++;
            op_train_gang_leaves(train->gang, rank);
        }
    }
    return 0;
}

static struct op_train_span exact_share(const struct op_train *train, uint32_t count)
{
    const struct op_train_config *config = &train->config;
    struct tree_range range =
        tree_deal(config->shards, coll_size(train->coll), coll_rank(train->coll));
    uint32_t rows = shard_rows(config), end = range.end * rows, begin = range.begin * rows;
    end = end < count ? end : count;
    return (struct op_train_span){.begin = begin < end ? begin : end, .end = end};
}

const struct op_train_sum_ops op_train_exact_ops = {
    .create = exact_create,
    .destroy = exact_destroy,
    .share = exact_share,
    .run = exact_run,
};
