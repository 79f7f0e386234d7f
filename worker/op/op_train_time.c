/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/op_train_time.h"

#include <stdio.h>

#include "lib/sys/clock.h"

void op_train_time_enter(struct op_train_time *time, enum task_flight_phase phase)
{
    int64_t now_ns = mlq_clock_boot_ns();
    if (time->since_ns != 0) {
        time->spent_ns[time->phase] += now_ns - time->since_ns;
    }
    time->phase = phase;
    time->since_ns = now_ns;
}

void op_train_time_wait(struct op_train_time *time, int64_t ns)
{
    time->wait_ns += ns;
    time->spent_ns[time->phase] -= ns;
}

json_t *op_train_time_tell(struct op_train_time *time, struct op_context *ctx)
{
    op_train_time_enter(time, time->phase);
    const int64_t *spent = time->spent_ns;
    const struct {
        const char *name;
        int64_t ns;
    } phases[] = {
        {"load", spent[TASK_FLIGHT_LOAD]},
        {"gang", spent[TASK_FLIGHT_WAIT] + spent[TASK_FLIGHT_MEET] + spent[TASK_FLIGHT_SHARE]},
        {"wait", time->wait_ns},
        {"data", time->gather_ns},
        {"compute", spent[TASK_FLIGHT_COMPUTE] - time->gather_ns},
        {"exchange", spent[TASK_FLIGHT_EXCHANGE]},
        {"optimizer", spent[TASK_FLIGHT_APPLY]},
        {"validation", spent[TASK_FLIGHT_VALIDATE]},
        {"checkpoint", spent[TASK_FLIGHT_CHECKPOINT]},
    };
    json_t *json = json_object();
    for (size_t i = 0; i < MLQ_COUNT_OF(phases); i++) {
        char metric[32];
        double seconds = (double)phases[i].ns / (double)MLQ_NS_PER_S;
        (void)snprintf(metric, sizeof(metric), "seconds_%s", phases[i].name);
        (void)json_object_set_new(json, phases[i].name, json_real(seconds));
        op_metric(ctx, metric, seconds, OP_NO_STEP);
    }
    return json;
}
