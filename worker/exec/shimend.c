/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/shimend.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "worker/exec/cgroup.h"

static bool was_oom_killed(const char *const *cgroups)
{
    uint64_t kills = 0;
    for (int i = 0; cgroups[i] != NULL; i++) {
        kills += cgroup_oom_kills(cgroups[i]);
    }
    return kills > 0;
}

static const char *stop_text(enum worker_cause cause)
{
    return cause == WORKER_CAUSE_LEASE     ? "killed: the lease ended"
           : cause == WORKER_CAUSE_TIMEOUT ? "stopped: the time limit was reached"
                                           : "stopped";
}

void shimend_judge(const struct shimend_facts *facts, struct shimfile_end *end)
{
    char text[SHIMFILE_DETAIL_BYTES] = "";
    const int status = facts->wait_status;
    end->exit_code = facts->has_status && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    end->signal = facts->has_status && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    bool is_success = end->exit_code == 0;
    end->cause = WORKER_CAUSE_NONE;
    if (facts->child->exec_errno != 0) {
        end->cause = WORKER_CAUSE_SPAWN;
        end->exit_code = -1;
        (void)snprintf(text, sizeof text, "%s: %s", facts->child->failed_step,
                       strerror(facts->child->exec_errno));
    } else if (facts->stop_cause != WORKER_CAUSE_NONE) {
        end->cause = facts->stop_cause;
        (void)snprintf(text, sizeof text, "%s", stop_text(end->cause));
    } else if (!is_success && was_oom_killed(facts->cgroups)) {
        end->cause = WORKER_CAUSE_OOM;
        (void)snprintf(text, sizeof text, "killed for memory: it was over its limit");
    } else if (end->signal != 0) {
        end->cause = WORKER_CAUSE_SIGNAL;
        (void)snprintf(text, sizeof text, "died by signal %d (%s)", end->signal,
                       strsignal(end->signal));
    } else if (end->exit_code == 75) {
        end->cause = WORKER_CAUSE_REQUEUE;
        (void)snprintf(text, sizeof text, "exit status 75: saved, to be run again");
    } else if (!is_success) {
        end->cause = WORKER_CAUSE_EXIT;
        (void)snprintf(text, sizeof text, "exit status %d", end->exit_code);
    }
    if (end->detail[0] == '\0') {
        memcpy(end->detail, text, sizeof text);
    }
}
