/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A new generation finds its common state. All tell what they have: whoever has come furthest sends
 * its state to the others, from memory to memory; among equals the first one does. Only when nobody
 * has any (all are new) does rank 0 look for a checkpoint. A rank's own state is replaced at once,
 * when the whole of the other one has arrived, so that a sender that dies in the middle takes
 * nothing along.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/op/op_train.h"

/* Fixed-size numbers, sent as they are. */
struct standing {
    uint64_t fingerprint;
    uint64_t probe;
    uint64_t has_state;
    uint64_t epoch;
    uint64_t step;
};

struct state_head {
    struct op_train_cursor cursor;
    uint64_t optimizer_steps;
    uint64_t resumed;
    uint64_t is_needed; /* by anybody: the rest follows */
    uint64_t history_bytes;
};

static int exchange_standings(struct op_train *train, struct standing all[COLL_RANKS_MAX],
                              struct mlq_err *err)
{
    struct standing own = {.fingerprint = train->data.fingerprint,
                           .probe = train->engine.probe,
                           .has_state = train->has_state,
                           .epoch = train->cursor.epoch,
                           .step = train->cursor.step};
    uint64_t bytes[COLL_RANKS_MAX];
    for (uint32_t rank = 0; rank < coll_size(train->coll); rank++) {
        bytes[rank] = sizeof(own);
    }
    return coll_allgather(train->coll, &own, all, bytes, OP_TRAIN_TIMEOUT_NS, err);
}

/* All ranks must hold the same rows and parameters, and compute with the same engine: else the
 * shards' gradients would be those of different trainings. */
static int compare(const struct standing *all, uint32_t ranks, struct mlq_err *err)
{
    for (uint32_t rank = 1; rank < ranks; rank++) {
        if (all[rank].fingerprint != all[0].fingerprint) {
            return mlq_fail(err, MLQ_EINVAL, "rank %u reads other tables or parameters than rank 0",
                            rank);
        }
        if (all[rank].probe != all[0].probe) {
            return mlq_fail(err, MLQ_EINVAL,
                            "rank %u computes other bits than rank 0 (another CPU type): set "
                            "OPENBLAS_CORETYPE to one that all machines have, for instance Haswell",
                            rank);
        }
    }
    return 0;
}

static bool is_further(const struct standing *a, const struct standing *b)
{
    if (a->has_state != b->has_state) {
        return a->has_state > b->has_state;
    }
    return a->epoch != b->epoch ? a->epoch > b->epoch : a->step > b->step;
}

static uint32_t find_source(const struct standing *all, uint32_t ranks)
{
    uint32_t source = 0;
    for (uint32_t rank = 1; rank < ranks; rank++) {
        if (is_further(&all[rank], &all[source])) {
            source = rank;
        }
    }
    return source;
}

static bool is_anybody_behind(const struct standing *all, uint32_t ranks, uint32_t source)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        if (is_further(&all[source], &all[rank])) {
            return true;
        }
    }
    return false;
}

static int broadcast(struct op_train *train, void *data, uint64_t bytes, uint32_t source,
                     struct mlq_err *err)
{
    return coll_broadcast(train->coll, data, bytes, source, OP_TRAIN_TIMEOUT_NS, err);
}

static int send_state(struct op_train *train, char *history, const struct state_head *head,
                      uint32_t source, struct mlq_err *err)
{
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    size_t count = op_train_parts(train, parts);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = broadcast(train, parts[i].values, parts[i].count * sizeof(float), source, err);
    }
    return rc == 0 ? broadcast(train, history, head->history_bytes, source, err) : rc;
}

static void take_parts(struct op_train *train, struct op_train_part *received, size_t count)
{
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    (void)op_train_parts(train, parts);
    for (size_t i = 0; i < count; i++) {
        memcpy(parts[i].values, received[i].values, parts[i].count * sizeof(float));
    }
}

static int receive_state(struct op_train *train, const struct state_head *head, uint32_t source,
                         struct mlq_err *err)
{
    struct op_train_part parts[OP_TRAIN_PARTS_MAX];
    size_t count = op_train_parts(train, parts);
    char *text = mlq_alloc(head->history_bytes);
    json_t *history = NULL;
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        parts[i].values = mlq_alloc_array(parts[i].count, sizeof(float));
        rc = rc == 0
                 ? broadcast(train, parts[i].values, parts[i].count * sizeof(float), source, err)
                 : rc;
    }
    rc = rc == 0 ? broadcast(train, text, head->history_bytes, source, err) : rc;
    if (rc == 0) {
        history = json_loadb(text, head->history_bytes, JSON_REJECT_DUPLICATES, NULL);
        rc = json_is_array(history)
                 ? 0
                 : mlq_fail(err, MLQ_EPROTO, "rank %u sent a broken history", source);
    }
    if (rc == 0) {
        take_parts(train, parts, count);
        json_decref(train->history);
        train->history = json_incref(history);
        train->cursor = head->cursor;
        train->optim->steps = head->optimizer_steps;
        train->resumed = head->resumed != 0;
        train->has_state = true;
    }
    for (size_t i = 0; i < count; i++) {
        mlq_free(parts[i].values);
    }
    json_decref(history);
    mlq_free(text);
    return rc;
}

/* From the source to all; who stands where the source does has the same bits already, and takes
 * them all the same. */
static int move_state(struct op_train *train, uint32_t source, bool *is_needed, struct mlq_err *err)
{
    bool is_source = coll_rank(train->coll) == source;
    char *history =
        is_source ? json_dumps(train->history, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    struct state_head head = {.cursor = train->cursor,
                              .optimizer_steps = train->optim->steps,
                              .resumed = train->resumed,
                              .is_needed = *is_needed,
                              .history_bytes = history == NULL ? 0 : strlen(history)};
    int rc = broadcast(train, &head, sizeof(head), source, err);
    *is_needed = head.is_needed != 0; /* the source knows whether it found a checkpoint */
    if (rc == 0 && *is_needed) {
        rc = is_source ? send_state(train, history, &head, source, err)
                       : receive_state(train, &head, source, err);
    }
    mlq_free(history); /* jansson's, which comes from malloc as ours does */
    return rc;
}

int op_train_share(struct op_train *train, struct mlq_err *err)
{
    struct standing all[COLL_RANKS_MAX];
    uint32_t ranks = coll_size(train->coll), rank = coll_rank(train->coll);
    int rc = exchange_standings(train, all, err);
    if (rc == 0) {
        rc = compare(all, ranks, err);
    }
    if (rc != 0) {
        return rc;
    }
    uint32_t source = find_source(all, ranks);
    bool is_needed = is_anybody_behind(all, ranks, source);
    if (all[source].has_state == 0 && rank == source) {
        rc = op_train_checkpoint_load(train, &train->resumed, err);
        is_needed = train->resumed; /* else all start from the same seed */
        train->has_state = rc == 0;
    }
    if (rc == 0) {
        rc = move_state(train, source, &is_needed, err);
    }
    train->has_state = train->has_state || rc == 0;
    if (rc == 0) {
        log_info("train.gang",
                 "generation=%" PRIu64 " rank=%u ranks=%u epoch=%" PRIu64 " step=%" PRIu64
                 " state=%s source=%u",
                 op_train_gang_generation(train->gang), rank, ranks, train->cursor.epoch,
                 train->cursor.step, is_needed ? "sent" : "had", source);
    }
    return rc;
}
