/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Where the ranks of trainings are, from what they write down (lib/task/task_flight.h). A rank that
 * hangs says nothing, and its file still tells where.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/task/task_flight.h"
#include "worker/worker.h"

#define STAT_BYTES_MAX 4096u

static bool waits_for_others(enum task_flight_phase phase)
{
    return phase == TASK_FLIGHT_WAIT || phase == TASK_FLIGHT_MEET || phase == TASK_FLIGHT_SHARE ||
           phase == TASK_FLIGHT_EXCHANGE;
}

/* By a signal or a debugger: then it waits for nobody, whatever it wrote down before. `pid` is what the
 * task says; of a process that it is not, this letter is all that is read. */
static bool is_stopped(uint64_t pid)
{
    char *stat = NULL;
    size_t len;
    char *path = mlq_format("/proc/%" PRIu64 "/stat", pid);
    int rc = mlq_fs_read(path, STAT_BYTES_MAX, &stat, &len, NULL);
    const char *name_end = rc == MLQ_OK ? strrchr(stat, ')') : NULL; /* proc_pid_stat(5): "PID (NAME) STATE" */
    bool stopped = name_end != NULL && (strncmp(name_end, ") T", 3) == 0 || strncmp(name_end, ") t", 3) == 0);
    mlq_free(stat);
    mlq_free(path);
    return stopped;
}

/* A task of one rank has nobody who waits for it; of one that was found again it is not known. */
static bool may_have_peers(const struct attempt *attempt)
{
    return attempt->shim != NULL && !attempt->has_ended && attempt->assignment.ranks != 1;
}

size_t flights_gather(struct worker *worker, struct msg_flight *flights, size_t room)
{
    struct task_flight_log log;
    size_t count = 0;
    for (struct mlq_list *at = worker->attempts.next; at != &worker->attempts && count < room;
         at = at->next) {
        const struct attempt *attempt = MLQ_CONTAINER_OF(at, struct attempt, in_worker);
        if (!may_have_peers(attempt)) {
            continue;
        }
        char *path = mlq_format("%s/work/" TASK_FLIGHT_FILE, attempt->dir);
        int rc = task_flight_read(path, &log, NULL);
        mlq_free(path);
        if (rc != MLQ_OK || log.count == 0) {
            continue;
        }
        const struct task_flight_event *last = &log.events[log.count - 1];
        bool stopped = is_stopped(log.pid);
        flights[count++] = (struct msg_flight){
            .member = {.attempt = attempt->attempt, .rank = attempt->rank},
            .phase = mlq_str_from(stopped ? "stopped" : task_flight_phase_text(last->phase)),
            .waits = !stopped && waits_for_others(last->phase),
            .epoch = last->epoch,
            .step = last->step,
            .age_ns = mlq_clock_boot_ns() - last->at_ns,
        };
    }
    return count;
}
