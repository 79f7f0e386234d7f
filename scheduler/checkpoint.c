/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A client asks what runs of a job to save its state and go on. It is a request to the tasks, not a
 * change of the job: nothing is recorded, and who misses the message misses one checkpoint.
 */
#include <stdlib.h>

#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"

#define MEMBERS_PER_MESSAGE 1024

static int by_worker(const void *a, const void *b)
{
    uint32_t x = ((const struct core_rank_view *)a)->worker;
    uint32_t y = ((const struct core_rank_view *)b)->worker;
    return (x > y) - (x < y);
}

/* From `first` on, as many as go to the same worker in one message. */
static uint32_t send_some(struct shell *shell, const struct core_rank_view *ranks, uint32_t count)
{
    struct msg_member members[MEMBERS_PER_MESSAGE];
    uint32_t n = 0;
    while (n < count && n < MEMBERS_PER_MESSAGE && ranks[n].worker == ranks[0].worker) {
        members[n] = (struct msg_member){.attempt = ranks[n].attempt, .rank = ranks[n].rank};
        n++;
    }
    struct roster_worker *worker = roster_find(shell->roster, ranks[0].worker);
    if (worker != NULL) {
        outbound_worker(shell, worker,
                        &(struct msg){.kind = MSG_CHECKPOINT,
                                      .checkpoint = {.items = members, .count = n}});
    }
    return n;
}

static uint32_t ask_ranks(struct shell *shell, uint64_t job, uint32_t stage)
{
    uint32_t count = core_job_ranks(shell->core, job, stage, NULL, 0);
    struct core_rank_view *ranks = mlq_alloc_array(count, sizeof *ranks);
    (void)core_job_ranks(shell->core, job, stage, ranks, count);
    qsort(ranks, count, sizeof *ranks, by_worker);
    for (uint32_t at = 0; at < count;) {
        at += send_some(shell, ranks + at, count - at);
    }
    mlq_free(ranks);
    return count;
}

/* False when the job has no such stage. An empty name: all. */
static bool find_stage(const struct catalog_job *job, struct mlq_str name, uint32_t *stage)
{
    *stage = UINT32_MAX;
    for (uint16_t i = 0; name.len > 0 && i < job->spec->stage_count; i++) {
        if (mlq_str_eq(job->spec->stages[i].name, name)) {
            *stage = i;
        }
    }
    return name.len == 0 || *stage != UINT32_MAX;
}

void checkpoint_ask(struct shell *shell, const struct net_address *to, const struct msg_request *request)
{
    const struct catalog_job *job = catalog_find(shell->catalog, request->job);
    struct msg_reply reply = {.id = request->id, .job = request->job, .end = true};
    struct mlq_region *region = mlq_region_create();
    uint32_t stage;
    if (job == NULL) {
        reply.code = MLQ_EEXIST;
        reply.text = MLQ_STR("the job has ended: nothing of it runs");
    } else if (!find_stage(job, request->stage, &stage)) {
        reply.code = MLQ_ENOENT;
        reply.text = mlq_str_from(mlq_region_format(region, "the job has no stage '%.*s'", MLQ_STR_ARG(request->stage)));
    } else {
        reply.blob = mlq_str_from(mlq_region_format(
            region, "{\"schema\": \"mlq/v1\", \"id\": \"%llu\", \"asked\": %u}", (unsigned long long)request->job,
            ask_ranks(shell, request->job, stage)));
    }
    outbound_reply(shell, to, &reply);
    mlq_region_destroy(&region);
}
