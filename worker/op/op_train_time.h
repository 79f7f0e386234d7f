/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where the time of this process went: it is in one phase at a time, those of the flight recorder.
 * Gathering rows is told apart from the computing that it is part of.
 */
#ifndef MLQ_OP_OP_TRAIN_TIME_H
#define MLQ_OP_OP_TRAIN_TIME_H

#include <jansson.h>
#include <stdint.h>

#include "lib/base/ownership.h"
#include "lib/task/task_flight.h"
#include "worker/op/op.h"

struct op_train_time {
    enum task_flight_phase phase;
    int64_t since_ns; /* when it began; 0: not begun */
    int64_t spent_ns[TASK_FLIGHT_PHASES];
    int64_t gather_ns; /* of spent_ns[TASK_FLIGHT_COMPUTE] */
    int64_t wait_ns;   /* for rows, of no phase */
};

void op_train_time_enter(struct op_train_time *time, enum task_flight_phase phase);

/* Of the running phase so much was waiting for rows that come from disk. */
void op_train_time_wait(struct op_train_time *time, int64_t ns);

/* {"load": SECONDS, "gang", "wait", "data", "compute", "exchange", "optimizer", "validation",
 * "checkpoint"}; and the same as final metrics "seconds_load", ... */
MLQ_OWNED_RETURN json_t *op_train_time_tell(struct op_train_time *time, struct op_context *ctx);

#endif
