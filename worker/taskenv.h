/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The environment of a task (ARCHITECTURE.md, "What a task sees"). Beyond what stands there:
 *
 *     MLQ_ATTEMPT, MLQ_FENCE   the attempt's number, as in `mlq show`; grows with every attempt
 *     MLQ_RETRY                how many attempts of this task came before; 0: this is the first
 *     MLQ_DEADLINE             Unix seconds at which the task will have been stopped, the earlier of its
 *                              time limit and the job's deadline; absent: none
 *     MLQ_WITH                 for operators: path of a JSON file with its parameters
 *     PATH                     the worker's, with mlq's own programs in front
 *     HOME TMPDIR              inside the attempt's folder; LANG C.UTF-8; PYTHONUNBUFFERED 1
 *
 * Gangs (ranks > 1) get the set of torchrun (torch/distributed/elastic/agent/server/
 * local_elastic_agent.py), TF_CONFIG, and JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.
 */
#ifndef MLQ_WORKER_TASKENV_H
#define MLQ_WORKER_TASKENV_H

#include <stdint.h>

#include "lib/net/msg.h"
#include "lib/sys/region.h"
#include "worker/probe.h"

struct taskenv_paths {
    const char *dir;  /* of the attempt */
    const char *work;
    const char *tmp;
    const char *in;
    const char *out;
    const char *with; /* NULL: no operator */
    const char *checkpoint;
    const char *control;
    const char *bin_dir;
};

/* "NAME=value" strings, ended by NULL. The spec's env comes last and wins; each name is there once.
 * `assignment` is one that assignment_copy made; `now_wall_us` dates MLQ_DEADLINE. */
const char **taskenv_build(const struct msg_assignment *assignment,
                           const struct taskenv_paths *paths,
                           const struct probe *probe,
                           int64_t now_wall_us,
                           struct mlq_region *region);

/* Where the input lies: <in>/<name>, and in it the file. */
const char *taskenv_input_path(const char *in, const struct msg_input *input, struct mlq_region *region);

#endif
