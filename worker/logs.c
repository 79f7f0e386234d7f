/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Logs by pull: a reader names an offset and gets what is there, or waits. While one waits, a short
 * timer looks at the files; otherwise nothing does.
 */
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "worker/exec/joblog.h"
#include "worker/worker.h"

#define LOOK_PERIOD_NS (50 * MLQ_NS_PER_MS)
#define BYTES_MAX      (1u << 20)
#define WAIT_MAX_NS    (60 * MLQ_NS_PER_S)

/* True when the reader got an answer. */
static bool answer(struct worker *worker, const struct worker_log_waiter *waiter, int64_t now)
{
    struct attempt *attempt = attempt_find(worker, waiter->attempt, waiter->rank);
    struct msg msg = {.kind = MSG_LOG_DATA,
                      .log_data = {.request = waiter->request, .offset = waiter->offset}};
    if (attempt == NULL) {
        msg.log_data.code = MLQ_ENOENT;
        msg.log_data.end = true;
        (void)outbound_send(worker, &msg);
        return true;
    }
    struct mlq_err err = MLQ_ERR_INIT;
    bool has_ended = attempt->has_ended; /* asked before reading: then all of it is there */
    uint64_t total;
    size_t len;
    char *bytes = mlq_alloc(waiter->bytes_max);
    msg.log_data.code = joblog_read(attempt->dir, &msg.log_data.offset, bytes, waiter->bytes_max,
                                    &len, &total, &err);
    msg.log_data.bytes = (struct mlq_str){.ptr = bytes, .len = len};
    msg.log_data.end = has_ended && msg.log_data.offset + len >= total;
    bool is_due =
        len > 0 || msg.log_data.end || msg.log_data.code != MLQ_OK || now >= waiter->deadline_ns;
    if (is_due) {
        (void)outbound_send(worker, &msg);
    }
    mlq_free(bytes);
    return is_due;
}

void logs_read(struct worker *worker, const struct msg_log_read *read)
{
    int64_t now = mlq_clock_boot_ns();
    int64_t wait = read->wait_ns < 0             ? 0
                   : read->wait_ns < WAIT_MAX_NS ? read->wait_ns
                                                 : WAIT_MAX_NS;
    struct worker_log_waiter waiter = {
        .request = read->request,
        .attempt = read->member.attempt,
        .rank = read->member.rank,
        .bytes_max = read->bytes_max < 1           ? 1
                     : read->bytes_max < BYTES_MAX ? read->bytes_max
                                                   : BYTES_MAX,
        .offset = read->offset,
        .deadline_ns = now + wait,
    };
    if (read->request == 0 || answer(worker, &waiter, now)) {
        return;
    }
    for (size_t i = 0; i < WORKER_LOG_WAITERS_MAX; i++) {
        if (worker->waiters[i].request == 0) {
            worker->waiters[i] = waiter;
            loop_timer_set(worker->logs_timer, LOOK_PERIOD_NS, 0);
            return;
        }
    }
    (void)answer(worker, &waiter,
                 INT64_MAX); /* too many wait: it hears at once that there is no more */
}

void logs_serve(void *context)
{
    struct worker *worker = context;
    int64_t now = mlq_clock_boot_ns();
    bool has_waiter = false;
    for (size_t i = 0; i < WORKER_LOG_WAITERS_MAX; i++) {
        struct worker_log_waiter *waiter = &worker->waiters[i];
        if (waiter->request != 0 && answer(worker, waiter, now)) {
            *waiter = (struct worker_log_waiter){0};
        }
        has_waiter = has_waiter || waiter->request != 0;
    }
    if (has_waiter) {
        loop_timer_set(worker->logs_timer, LOOK_PERIOD_NS, 0);
    }
}
