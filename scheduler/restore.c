/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * From the record back to memory: all live jobs when leadership is won, one ended job when a client
 * retries it. Facts go through core_restore, the same function that applied them live.
 */
#include <inttypes.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"

/* ---- Election ---- */

struct election {
    struct shell_errand errand;
    struct shell *shell;
    uint32_t epoch;
    size_t facts;
    struct mlq_err err; /* of the first thing that went wrong */
};

static void on_header(void *context, uint64_t highest_job, uint32_t highest_worker)
{
    struct election *e = context;
    struct shell *shell = e->shell;
    const struct core_limits *limits = &shell->options.limits;
    shell->core = core_init(limits, shell->core_memory, core_memory_need(limits), e->epoch, highest_job + 1,
                            (uint64_t)mlq_clock_wall_us());
    roster_set_highest(shell->roster, highest_worker);
}

static void on_worker(void *context, const struct store_worker *worker)
{
    struct election *e = context;
    roster_load(e->shell->roster, worker);
}

static void on_key(void *context, struct mlq_str key, uint64_t job)
{
    struct election *e = context;
    keybook_put(e->shell->keys, key, job);
}

static void on_job(void *context, const struct store_job *row)
{
    struct election *e = context;
    struct mlq_err err = MLQ_ERR_INIT;
    struct catalog_job *job = catalog_is_full(e->shell->catalog) ? NULL : catalog_job_create(e->shell->specs, row->spec, &err);
    if (job == NULL) {
        (void)mlq_fail(&e->err, MLQ_ECORRUPT,
                       "job %" PRIu64 " of the record cannot be taken up: %.200s (a newer version wrote it, or the limits are too small)",
                       row->id, err.text[0] == '\0' ? "too many live jobs" : err.text);
        return;
    }
    job->desc.retries = row->retries;
    catalog_add(e->shell->catalog, job, row->id);
}

static void load_artifact(struct catalog_job *job, const struct store_artifact *row)
{
    if (row->rank == 0 && row->stage < job->spec->stage_count && !mlq_str_starts(row->name, ".")) {
        catalog_put_artifact(job, &(struct catalog_artifact){.stage = row->stage,
                                                             .index = row->index,
                                                             .attempt = row->attempt,
                                                             .name = row->name,
                                                             .digest = row->digest,
                                                             .bytes = row->bytes,
                                                             .is_tree = row->is_tree});
    }
}

static void load_metric(struct catalog_job *job, const struct store_metric *row)
{
    if (row->stage < job->spec->stage_count) {
        (void)catalog_put_metric(job, &(struct catalog_metric){.stage = row->stage,
                                                               .index = row->index,
                                                               .attempt = row->attempt,
                                                               .name = row->name,
                                                               .step = row->step,
                                                               .value = row->value,
                                                               .at_us = row->at_us});
    }
}

static void on_artifact(void *context, const struct store_artifact *row)
{
    struct election *e = context;
    struct catalog_job *job = catalog_find(e->shell->catalog, row->job);
    if (job != NULL) {
        load_artifact(job, row);
    }
}

static void on_metric(void *context, const struct store_metric *row)
{
    struct election *e = context;
    struct catalog_job *job = catalog_find(e->shell->catalog, row->job);
    if (job != NULL) {
        load_metric(job, row);
    }
}

static bool restore_fact(struct shell *shell, const struct store_fact *row)
{
    struct core_fact fact = row->fact;
    const struct catalog_job *job = catalog_find(shell->catalog, fact.job);
    if (job == NULL || fact.stage >= job->spec->stage_count) {
        return false;
    }
    fact.at_ns = shell_line_ns(row->at_us);
    bool fits = core_restore(shell->core, &fact, fact.kind == FACT_JOB_SUBMITTED ? &job->desc : NULL);
    catalog_apply(shell->catalog, &fact);
    return fits;
}

static void on_fact(void *context, const struct store_fact *row)
{
    struct election *e = context;
    e->facts++;
    if (e->err.code == MLQ_OK && !restore_fact(e->shell, row)) {
        (void)mlq_fail(&e->err, MLQ_EFULL, "job %" PRIu64 " of the record does not fit into the tables: raise the limits",
                       row->fact.job);
    }
}

static void drop_election(struct shell_errand *errand)
{
    mlq_free(MLQ_CONTAINER_OF(errand, struct election, errand));
}

static void on_done(void *context, int rc, const struct mlq_err *err)
{
    struct election *e = context;
    struct shell *shell = e->shell;
    shell_errand_end(&e->errand);
    if (shell->phase == SHELL_LOADING && shell->epoch == e->epoch) {
        if (rc != MLQ_OK) {
            shell_give_up(shell, err);
        } else if (e->err.code != MLQ_OK) {
            shell_give_up(shell, &e->err);
        } else {
            log_info("leader.loaded", "epoch=%u facts=%zu workers=%zu", e->epoch, e->facts, roster_count(shell->roster));
            shell_serve(shell);
        }
    }
    drop_election(&e->errand);
}

void restore_begin(struct shell *shell, uint32_t epoch)
{
    struct election *e = mlq_alloc(sizeof *e);
    *e = (struct election){.shell = shell, .epoch = epoch};
    shell_errand_begin(shell, &e->errand, drop_election);
    struct store_loader loader = {
        .context = e,
        .header = on_header,
        .worker = on_worker,
        .key = on_key,
        .job = on_job,
        .artifact = on_artifact,
        .metric = on_metric,
        .fact = on_fact,
        .done = on_done,
    };
    shell->store->ops->load(shell->store, &loader);
}

/* ---- Retry of an ended job: collected first, then given to the core in one go ---- */

struct revival {
    struct shell_errand errand;
    struct shell *shell;
    uint32_t epoch;
    uint64_t id;
    struct net_address to;
    uint64_t request_id;
    struct catalog_job *job; /* NULL until its row came, or when it cannot be read */
    struct store_fact *facts;
    size_t fact_count;
    size_t fact_room;
};

static void revive_header(void *context, uint64_t highest_job, uint32_t highest_worker)
{
    (void)context;
    (void)highest_job;
    (void)highest_worker;
}

static void revive_worker(void *context, const struct store_worker *worker)
{
    (void)context;
    (void)worker;
}

static void revive_key(void *context, struct mlq_str key, uint64_t job)
{
    (void)context;
    (void)key;
    (void)job;
}

static void revive_job(void *context, const struct store_job *row)
{
    struct revival *r = context;
    r->job = catalog_job_create(r->shell->specs, row->spec, NULL);
    if (r->job != NULL) {
        r->job->desc.retries = row->retries;
    }
}

static void revive_artifact(void *context, const struct store_artifact *row)
{
    struct revival *r = context;
    if (r->job != NULL) {
        load_artifact(r->job, row);
    }
}

static void revive_metric(void *context, const struct store_metric *row)
{
    struct revival *r = context;
    if (r->job != NULL) {
        load_metric(r->job, row);
    }
}

static void revive_fact(void *context, const struct store_fact *row)
{
    struct revival *r = context;
    if (r->fact_count == r->fact_room) {
        r->fact_room = r->fact_room == 0 ? 64 : r->fact_room * 2;
        r->facts = mlq_realloc_array(r->facts, r->fact_room, sizeof *r->facts);
    }
    r->facts[r->fact_count] = *row;
    r->facts[r->fact_count++].detail = (struct mlq_str){0}; /* lives only during this call */
}

/* What stands against it, or MLQ_OK when the core has been asked. */
static int revive(struct revival *r, const struct mlq_err *err, int rc, struct mlq_err *why)
{
    struct shell *shell = r->shell;
    if (rc != MLQ_OK || r->job == NULL) {
        return mlq_fail(why, rc == MLQ_OK ? MLQ_ENOENT : rc, "%s",
                        rc == MLQ_OK || rc == MLQ_ENOENT ? "no such job" : err->text);
    }
    if (catalog_find(shell->catalog, r->id) != NULL) {
        return mlq_fail(why, MLQ_EEXIST, "the job is being retried already");
    }
    if (catalog_is_full(shell->catalog)) {
        return mlq_fail(why, MLQ_EFULL, "the scheduler holds as many jobs as its limit allows");
    }
    catalog_add(shell->catalog, r->job, r->id);
    r->job = NULL;
    bool fits = true;
    for (size_t i = 0; i < r->fact_count && fits; i++) {
        fits = restore_fact(shell, &r->facts[i]);
    }
    struct msg_request request = {.id = r->request_id, .op = MSG_OP_RETRY, .job = r->id};
    shell->request = &request;
    shell->asker = r->to;
    size_t ended_before = shell->open->ended_count;
    shell_step(shell, &(struct core_event){.kind = EV_RETRY, .request = 1, .job = r->id});
    shell->request = NULL;
    /* Refused: the core has answered and let it go. A job that was taken up and ended in this same step (all
     * its stages had succeeded) is forgotten when that is durable, as always. */
    bool ended_here = shell->open->ended_count > ended_before;
    if (!core_job_is_live(shell->core, r->id) && !ended_here) {
        catalog_remove(shell->catalog, r->id);
    }
    shell_turn_end(shell);
    return MLQ_OK;
}

static void drop_revival(struct shell_errand *errand)
{
    struct revival *r = MLQ_CONTAINER_OF(errand, struct revival, errand);
    catalog_job_destroy(&r->job);
    mlq_free(r->facts);
    mlq_free(r);
}

static void revive_done(void *context, int rc, const struct mlq_err *err)
{
    struct revival *r = context;
    struct shell *shell = r->shell;
    shell_errand_end(&r->errand);
    struct mlq_err why = MLQ_ERR_INIT;
    if (shell->phase == SHELL_SERVING && shell->epoch == r->epoch && revive(r, err, rc, &why) != MLQ_OK) {
        outbound_reply(shell, &r->to, &(struct msg_reply){.id = r->request_id, .code = why.code, .text = mlq_str_from(why.text), .job = r->id});
    }
    drop_revival(&r->errand);
}

void restore_job(struct shell *shell, uint64_t job, const struct net_address *to, uint64_t request_id)
{
    struct revival *r = mlq_alloc(sizeof *r);
    *r = (struct revival){.shell = shell, .epoch = shell->epoch, .id = job, .to = *to, .request_id = request_id};
    shell_errand_begin(shell, &r->errand, drop_revival);
    struct store_loader loader = {
        .context = r,
        .header = revive_header,
        .worker = revive_worker,
        .key = revive_key,
        .job = revive_job,
        .artifact = revive_artifact,
        .metric = revive_metric,
        .fact = revive_fact,
        .done = revive_done,
    };
    shell->store->ops->load_job(shell->store, job, &loader);
}
