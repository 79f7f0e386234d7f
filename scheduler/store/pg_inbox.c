/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "scheduler/store/pg_inbox.h"

#include "lib/base/list.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"

/* Of one commit: a row of mlq.inbox. */
struct put {
    struct mlq_list node;
    struct mlq_region *region; /* of all below */
    int64_t at_ns;
    struct store_job *jobs;
    bool *is_taken;
    size_t count;
    size_t left; /* not taken */
    size_t oldest; /* all before it are taken */
};

struct pg_inbox {
    struct mlq_list puts; /* by age, and so by id */
    size_t left;
    uint64_t highest; /* id that this epoch has put; 0: none */
};

static struct put *put_of(struct mlq_list *node)
{
    return MLQ_CONTAINER_OF(node, struct put, node);
}

static void forget(struct put *put)
{
    mlq_list_remove(&put->node);
    mlq_region_destroy(&put->region);
    mlq_free(put);
}

struct pg_inbox *pg_inbox_create(void)
{
    struct pg_inbox *inbox = mlq_alloc(sizeof *inbox);
    mlq_list_init(&inbox->puts);
    return inbox;
}

void pg_inbox_destroy(struct pg_inbox **inbox)
{
    if (*inbox != NULL) {
        pg_inbox_clear(*inbox);
        mlq_free(*inbox);
        *inbox = NULL;
    }
}

void pg_inbox_clear(struct pg_inbox *inbox)
{
    while (!mlq_list_empty(&inbox->puts)) {
        forget(put_of(inbox->puts.next));
    }
    inbox->left = 0;
    inbox->highest = 0;
}

static void copy_stages(struct mlq_region *region, struct store_job *job)
{
    struct store_stage *stages = mlq_region_array(region, job->stage_count, sizeof *stages);
    for (uint16_t i = 0; i < job->stage_count; i++) {
        uint16_t *needs = mlq_region_array(region, job->stages[i].needs_count, sizeof *needs);
        stages[i] = job->stages[i];
        stages[i].name = mlq_region_copy(region, stages[i].name);
        stages[i].uses = mlq_region_copy(region, stages[i].uses);
        for (uint16_t n = 0; n < stages[i].needs_count; n++) {
            needs[n] = stages[i].needs[n];
        }
        stages[i].needs = needs;
    }
    job->stages = stages;
}

bool pg_inbox_put(struct pg_inbox *inbox, const struct store_job *jobs, size_t count, int64_t now_ns)
{
    bool is_new = inbox->highest > 0;
    struct put *put = mlq_alloc(sizeof *put);
    *put = (struct put){.region = mlq_region_create(), .at_ns = now_ns, .count = count, .left = count};
    put->jobs = mlq_region_array(put->region, count, sizeof *put->jobs);
    put->is_taken = mlq_region_array(put->region, count, sizeof *put->is_taken);
    for (size_t i = 0; i < count; i++) {
        struct store_job *job = &put->jobs[i];
        *job = jobs[i];
        job->name = mlq_region_copy(put->region, job->name);
        job->kind = mlq_region_copy(put->region, job->kind);
        job->idempotency_key = mlq_region_copy(put->region, job->idempotency_key);
        job->submitter = mlq_region_copy(put->region, job->submitter);
        job->spec = mlq_region_copy(put->region, job->spec);
        job->labels = mlq_region_copy(put->region, job->labels);
        copy_stages(put->region, job);
        is_new = is_new && job->id > inbox->highest;
        inbox->highest = job->id > inbox->highest ? job->id : inbox->highest;
    }
    mlq_list_init(&put->node);
    mlq_list_push_back(&inbox->puts, &put->node);
    inbox->left += count;
    return is_new;
}

bool pg_inbox_is_empty(const struct pg_inbox *inbox)
{
    return inbox->left == 0;
}

/* The puts are few: those of a second at most. */
static struct put *find(const struct pg_inbox *inbox, uint64_t id, size_t *place)
{
    for (struct mlq_list *node = inbox->puts.prev; node != &inbox->puts; node = node->prev) {
        struct put *put = put_of(node);
        if (put->jobs[0].id > id) {
            continue;
        }
        size_t low = 0;
        size_t high = put->count;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (put->jobs[middle].id < id) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        *place = low;
        return low < put->count && put->jobs[low].id == id && !put->is_taken[low] ? put : NULL;
    }
    return NULL;
}

const struct store_job *pg_inbox_find(const struct pg_inbox *inbox, uint64_t id)
{
    size_t place;
    const struct put *put = find(inbox, id, &place);
    return put == NULL ? NULL : &put->jobs[place];
}

const struct store_job *pg_inbox_oldest(const struct pg_inbox *inbox, int64_t now_ns, bool all)
{
    for (struct mlq_list *node = inbox->puts.next; node != &inbox->puts; node = node->next) {
        struct put *put = put_of(node);
        if (!all && put->at_ns + PG_INBOX_AGE_NS > now_ns && inbox->left <= PG_INBOX_JOBS_MAX) {
            return NULL;
        }
        while (put->oldest < put->count && put->is_taken[put->oldest]) {
            put->oldest++;
        }
        if (put->oldest < put->count) {
            return &put->jobs[put->oldest];
        }
    }
    return NULL;
}

void pg_inbox_take(struct pg_inbox *inbox, const struct store_job *job)
{
    for (struct mlq_list *node = inbox->puts.next; node != &inbox->puts; node = node->next) {
        struct put *put = put_of(node);
        if (job >= put->jobs && job < put->jobs + put->count) {
            MLQ_ASSERT(!put->is_taken[job - put->jobs]);
            put->is_taken[job - put->jobs] = true;
            put->left--;
            inbox->left--;
            return;
        }
    }
    MLQ_UNREACHABLE("not a job of this inbox");
}

bool pg_inbox_sweep(struct pg_inbox *inbox, uint64_t *first)
{
    for (struct mlq_list *node = inbox->puts.next; node != &inbox->puts; node = node->next) {
        struct put *put = put_of(node);
        if (put->left == 0) {
            *first = put->jobs[0].id;
            forget(put);
            return true;
        }
    }
    return false;
}
