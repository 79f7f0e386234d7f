/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A placed rank as the message that starts it: the stage's words, its inputs by digest, and for a gang where
 * the ranks find each other.
 */
#include <math.h>
#include <string.h>

#include "lib/base/prng.h"
#include "lib/sys/clock.h"
#include "scheduler/shell_state.h"

#define INPUTS_MAX 10000 /* LIMIT_REPEATED of lib/net/limits.h */

/* Of one message; a larger assignment could never be sent. */
#define ASSIGNMENT_BYTES_MAX (8 << 20)

struct composer {
    struct shell *shell;
    const struct catalog_job *job;
    const struct spec_stage *stage;
    const struct core_fact *fact;
    struct mlq_region *region;
    struct msg_assignment *out;
};

static bool find_stage(const struct spec *spec, struct mlq_str name, uint16_t *number)
{
    for (uint16_t i = 0; i < spec->stage_count; i++) {
        if (mlq_str_eq(spec->stages[i].name, name)) {
            *number = i;
            return true;
        }
    }
    return false;
}

/* "test" names test.safetensors too, as in `inputs:`. */
static bool names_artifact(struct mlq_str wanted, struct mlq_str name)
{
    struct mlq_str stem;
    struct mlq_str suffix;
    return mlq_str_eq(wanted, name) || (mlq_str_cut(name, '.', &stem, &suffix) && mlq_str_eq(wanted, stem));
}

static const struct catalog_artifact *find_artifact(const struct catalog_job *job, uint16_t stage, struct mlq_str name)
{
    for (size_t i = 0; i < job->artifact_count; i++) {
        if (job->artifacts[i].stage == stage && names_artifact(name, job->artifacts[i].name)) {
            return &job->artifacts[i];
        }
    }
    return NULL;
}

/* ---- Expressions ---- */

static bool resolve_metric(const struct composer *c, uint16_t stage, struct mlq_str name, struct mlq_str *value, struct mlq_err *err)
{
    for (size_t i = 0; i < c->job->metric_count; i++) {
        const struct catalog_metric *metric = &c->job->metrics[i];
        if (metric->stage == stage && mlq_str_eq(metric->name, name)) {
            *value = mlq_str_from(mlq_region_format(c->region, "%.17g", metric->value));
            return true;
        }
    }
    (void)mlq_fail(err, MLQ_ENOENT, "stage '%.*s' reported no metric '%.*s'",
                   MLQ_STR_ARG(c->job->spec->stages[stage].name), MLQ_STR_ARG(name));
    return false;
}

static bool resolve(void *context, struct mlq_str expression, struct mlq_region *region, struct mlq_str *value,
                    struct mlq_err *err)
{
    const struct composer *c = context;
    struct mlq_str head;
    struct mlq_str rest;
    struct mlq_str name;
    struct mlq_str what;
    struct mlq_str item;
    uint16_t stage;
    if (mlq_str_eq_c(expression, "job.id")) {
        *value = mlq_str_from(mlq_region_format(region, "%llu", (unsigned long long)c->job->id));
        return true;
    }
    if (mlq_str_eq_c(expression, "job.name")) {
        *value = c->job->spec->name;
        return true;
    }
    bool known = mlq_str_cut(expression, '.', &head, &rest) && mlq_str_cut(rest, '.', &name, &rest) &&
                 mlq_str_cut(rest, '.', &what, &item) && find_stage(c->job->spec, name, &stage);
    if (!known) {
        (void)mlq_fail(err, MLQ_EINVAL, "refers to nothing");
        return false;
    }
    if (mlq_str_eq_c(what, "metrics")) {
        return resolve_metric(c, stage, item, value, err);
    }
    const struct catalog_artifact *artifact = find_artifact(c->job, stage, item);
    if (artifact == NULL) {
        (void)mlq_fail(err, MLQ_ENOENT, "stage '%.*s' made no output '%.*s'", MLQ_STR_ARG(name), MLQ_STR_ARG(item));
        return false;
    }
    *value = artifact->digest;
    return true;
}

static int expand_words(struct composer *c, struct mlq_err *err)
{
    const struct spec_stage *stage = c->stage;
    struct mlq_str *argv = mlq_region_array(c->region, stage->argc, sizeof *argv);
    struct msg_env *env = mlq_region_array(c->region, stage->env_count, sizeof *env);
    for (size_t i = 0; i < stage->argc; i++) {
        int rc = spec_expand(stage->argv[i], resolve, c, c->region, &argv[i], err);
        if (rc != MLQ_OK) {
            return mlq_wrap(err, rc, "run");
        }
    }
    for (size_t i = 0; i < stage->env_count; i++) {
        env[i].name = stage->env[i].name;
        int rc = spec_expand(stage->env[i].value, resolve, c, c->region, &env[i].value, err);
        if (rc != MLQ_OK) {
            return mlq_wrap(err, rc, "env");
        }
    }
    c->out->argv = argv;
    c->out->argc = stage->argc;
    c->out->env = env;
    c->out->env_count = stage->env_count;
    if (stage->op == NULL) {
        return MLQ_OK;
    }
    c->out->uses = mlq_str_from(stage->op->name);
    int rc = spec_expand_json(stage->with, resolve, c, c->region, &c->out->with, err);
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "with");
}

/* ---- Inputs ---- */

static struct msg_input as_input(struct mlq_str name, struct mlq_str file, const struct catalog_artifact *artifact, bool in_folder)
{
    return (struct msg_input){
        .name = name,
        .file = file,
        .digest = artifact->digest,
        .is_tree = artifact->is_tree,
        .in_folder = in_folder,
    };
}

/* All outputs of a stage as a folder; those of an array lie in folders by index. */
static void add_folder(struct composer *c, const struct spec_input *input, struct msg_input *inputs)
{
    bool is_array = c->job->spec->stages[input->stage].array_count > 1;
    for (size_t i = 0; i < c->job->artifact_count; i++) {
        const struct catalog_artifact *artifact = &c->job->artifacts[i];
        bool wanted = artifact->stage == input->stage &&
                      (mlq_str_eq_c(input->output, "*") || names_artifact(input->output, artifact->name));
        if (wanted) {
            struct mlq_str file = artifact->name;
            if (is_array) {
                file = mlq_str_from(mlq_region_format(c->region, "%u/%.*s", artifact->index, MLQ_STR_ARG(file)));
            }
            inputs[c->out->input_count++] = as_input(input->name, file, artifact, true);
        }
    }
}

static const char *outputs_of(const struct composer *c, uint16_t stage)
{
    const char *all = "";
    for (size_t i = 0; i < c->job->artifact_count; i++) {
        if (c->job->artifacts[i].stage == stage && strlen(all) < 200) {
            all = mlq_region_format(c->region, "%s%s%.*s", all, all[0] == '\0' ? "" : ", ",
                                    MLQ_STR_ARG(c->job->artifacts[i].name));
        }
    }
    return all[0] == '\0' ? "nothing" : all;
}

static int add_inputs(struct composer *c, struct mlq_err *err)
{
    const struct spec *spec = c->job->spec;
    size_t room = c->job->artifact_count * (c->stage->input_count + 1) + c->stage->input_count + spec->file_count;
    struct msg_input *inputs = mlq_region_array(c->region, room, sizeof *inputs);
    c->out->inputs = inputs;
    for (size_t i = 0; i < c->stage->input_count; i++) {
        const struct spec_input *input = &c->stage->inputs[i];
        if (mlq_str_eq_c(input->output, "*") || spec->stages[input->stage].array_count > 1) {
            add_folder(c, input, inputs);
            continue;
        }
        const struct catalog_artifact *artifact = find_artifact(c->job, input->stage, input->output);
        if (artifact == NULL) {
            return mlq_fail(err, MLQ_ENOENT, "input '%.*s': stage '%.*s' made no '%.*s' (it made %s)",
                            MLQ_STR_ARG(input->name), MLQ_STR_ARG(spec->stages[input->stage].name),
                            MLQ_STR_ARG(input->output), outputs_of(c, input->stage));
        }
        inputs[c->out->input_count++] = as_input(input->name, artifact->name, artifact, false);
    }
    for (size_t i = 0; i < spec->file_count; i++) {
        const struct spec_file *file = &spec->files[i];
        bool is_code = mlq_str_eq_c(file->param, "code");
        if (file->stage == c->fact->stage && is_code) {
            c->out->code = file->digest;
        } else if (file->stage == c->fact->stage) {
            inputs[c->out->input_count++] = (struct msg_input){.name = file->param, .file = file->name, .digest = file->digest};
        }
    }
    if (c->out->input_count > INPUTS_MAX) {
        return mlq_fail(err, MLQ_EFULL, "%zu inputs: a task can have %d; let the stage before gather them into one",
                        c->out->input_count, INPUTS_MAX);
    }
    return MLQ_OK;
}

/* ---- Gangs ---- */

/* Ranks of an elastic attempt learn of each other from its memberships. */
static void add_elastic(const struct composer *c)
{
    c->out->ranks = c->fact->ranks;
    c->out->ranks_min = c->stage->ranks_min;
    c->out->ranks_max = c->stage->ranks;
}

int assign_membership(struct shell *shell, const struct core_action *action, struct mlq_region *region,
                      struct msg_membership *membership)
{
    struct core_member_view members[CORE_RANKS_MAX];
    struct core_membership now = core_attempt_members(shell->core, action->attempt, members, CORE_RANKS_MAX);
    struct msg_peer *peers = mlq_region_array(region, now.count + 1, sizeof *peers);
    bool is_in = now.count == 0; /* the work is done: so is everybody's part in it */
    *membership = (struct msg_membership){
        .member = {.attempt = action->attempt, .rank = action->rank},
        .generation = now.generation,
        .peers = peers,
        .peer_count = now.count,
    };
    for (uint32_t i = 0; i < now.count; i++) {
        const struct roster_worker *worker = roster_find(shell->roster, members[i].worker);
        if (worker == NULL || worker->reachable == NULL) {
            return MLQ_ENOENT;
        }
        peers[i] = (struct msg_peer){.rank = members[i].rank,
                                     .address = mlq_str_from(mlq_region_strdup(region, worker->reachable)),
                                     .port = members[i].port};
        is_in = is_in || members[i].rank == action->rank;
    }
    return now.generation != 0 && is_in ? MLQ_OK : MLQ_ENOENT;
}

/* A port of the worker's range, from the attempt's number alone: every rank computes the same, and another
 * attempt most likely another one. */
static uint16_t port_of(const struct roster_worker *worker, uint64_t attempt, uint32_t rank)
{
    if (worker->port_count == 0) {
        return 0;
    }
    uint64_t place = (mlq_hash_u64(attempt) + rank) % worker->port_count;
    return (uint16_t)(worker->port_first + place);
}

static int add_gang(struct composer *c, struct mlq_err *err)
{
    uint32_t workers[CORE_RANKS_MAX];
    uint32_t ranks = core_attempt_workers(c->shell->core, c->fact->attempt, workers, CORE_RANKS_MAX);
    struct mlq_str *addresses = mlq_region_array(c->region, ranks, sizeof *addresses);
    uint32_t group_of[CORE_RANKS_MAX];
    c->out->ranks = ranks;
    for (uint32_t rank = 0; rank < ranks; rank++) {
        const struct roster_worker *worker = roster_find(c->shell->roster, workers[rank]);
        if (worker == NULL || worker->reachable == NULL) {
            return mlq_fail(err, MLQ_ECONN, "rank %u has no worker", rank);
        }
        uint16_t port = port_of(worker, c->fact->attempt, rank);
        addresses[rank] = mlq_str_from(mlq_region_format(c->region, "%s:%u", worker->reachable, port));
        uint32_t first = 0;
        while (workers[first] != workers[rank]) {
            first++;
        }
        group_of[rank] = first == rank ? c->out->group_count++ : group_of[first];
        if (rank == 0) {
            c->out->master_addr = mlq_str_from(worker->reachable);
            c->out->master_port = port;
        }
        if (workers[rank] == c->fact->worker) {
            c->out->local_rank += rank < c->fact->rank ? 1 : 0;
            c->out->local_ranks++;
        }
    }
    c->out->group_rank = group_of[c->fact->rank];
    c->out->rank_addresses = addresses;
    c->out->rank_address_count = ranks;
    return MLQ_OK;
}

int assign_compose(struct shell *shell, const struct core_fact *fact, struct mlq_region *region,
                   struct msg_assignment *assignment, struct mlq_err *err)
{
    const struct catalog_job *job = catalog_find(shell->catalog, fact->job);
    if (job == NULL) {
        return mlq_fail(err, MLQ_ENOENT, "job %llu is not known", (unsigned long long)fact->job);
    }
    const struct spec_stage *stage = &job->spec->stages[fact->stage];
    struct composer c = {.shell = shell, .job = job, .stage = stage, .fact = fact, .region = region, .out = assignment};
    *assignment = (struct msg_assignment){
        .member = {.attempt = fact->attempt, .rank = fact->rank},
        .job = fact->job,
        .stage = fact->stage,
        .index = fact->index,
        .array_count = stage->array_count,
        .job_name = job->spec->name,
        .stage_name = stage->name,
        .cpu_milli = stage->cpu_milli,
        .mem_bytes = stage->mem_bytes,
        .gpu_mask = fact->gpu_mask,
        .timeout_ns = stage->timeout_ns,
        .grace_ns = stage->grace_ns,
        .restart_count = catalog_restarts(job, fact->stage, fact->index),
        .restart_limit = stage->retry.limit,
    };
    if (job->spec->deadline_ns > 0) {
        assignment->deadline_wall_us = shell_wall_us(shell, job->since_ns + job->spec->deadline_ns);
    }
    int rc = expand_words(&c, err);
    if (rc == MLQ_OK) {
        rc = add_inputs(&c, err);
    }
    if (rc == MLQ_OK && stage->is_live_resize) {
        add_elastic(&c);
    } else if (rc == MLQ_OK) {
        rc = add_gang(&c, err);
    }
    size_t bytes = assign_bytes(assignment);
    if (rc == MLQ_OK && bytes > ASSIGNMENT_BYTES_MAX) {
        rc = mlq_fail(err, MLQ_EFULL, "what starts the task takes %zu bytes: %d are possible", bytes, ASSIGNMENT_BYTES_MAX);
    }
    return rc;
}

size_t assign_bytes(const struct msg_assignment *assignment)
{
    size_t bytes = 512 + assignment->with.len;
    for (size_t i = 0; i < assignment->argc; i++) {
        bytes += 8 + assignment->argv[i].len;
    }
    for (size_t i = 0; i < assignment->env_count; i++) {
        bytes += 16 + assignment->env[i].name.len + assignment->env[i].value.len;
    }
    for (size_t i = 0; i < assignment->input_count; i++) {
        const struct msg_input *input = &assignment->inputs[i];
        bytes += 32 + input->name.len + input->file.len + input->digest.len;
    }
    for (size_t i = 0; i < assignment->rank_address_count; i++) {
        bytes += 8 + assignment->rank_addresses[i].len;
    }
    return bytes;
}
