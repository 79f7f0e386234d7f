/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/taskenv.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

#define OWN_MAX 64 /* variables of ours beside inputs and the spec's */

struct builder {
    struct mlq_region *region;
    const char **items;
    size_t count;
    size_t room;
};

/* A later value of a name replaces the earlier one. */
static void put(struct builder *env, const char *text)
{
    size_t name_len = (size_t)(strchr(text, '=') - text) + 1;
    for (size_t i = 0; i < env->count; i++) {
        if (strncmp(env->items[i], text, name_len) == 0) {
            env->items[i] = text;
            return;
        }
    }
    MLQ_ASSERT(env->count < env->room);
    env->items[env->count++] = text;
}

__attribute__((format(printf, 2, 3))) static void set(struct builder *env, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = mlq_vformat(fmt, args);
    va_end(args);
    put(env, mlq_region_strdup(env->region, text));
    mlq_free(text);
}

const char *taskenv_input_path(const char *in, const struct msg_input *input,
                               struct mlq_region *region)
{
    return mlq_region_format(region, "%s/%.*s/%.*s", in, MLQ_STR_ARG(input->name),
                             MLQ_STR_ARG(input->file));
}

static void set_inputs(struct builder *env, const struct msg_assignment *a, const char *in)
{
    for (size_t i = 0; i < a->input_count; i++) {
        const struct msg_input *input = &a->inputs[i];
        char *name = mlq_strndup(input->name);
        for (char *at = name; *at != '\0'; at++) {
            *at = (char)(*at == '-' || *at == '.' ? '_' : toupper((unsigned char)*at));
        }
        if (input->in_folder) {
            set(env, "MLQ_INPUT_%s=%s/%.*s", name, in, MLQ_STR_ARG(input->name));
        } else {
            set(env, "MLQ_INPUT_%s=%s", name, taskenv_input_path(in, input, env->region));
            set(env, "MLQ_DIGEST_%s=%.*s", name, MLQ_STR_ARG(input->digest));
        }
        mlq_free(name);
    }
}

/* The earlier of the task's limit and the job's deadline. */
static void set_deadline(struct builder *env, const struct msg_assignment *a, int64_t now_us)
{
    int64_t limit_us = a->timeout_ns > 0 ? now_us + a->timeout_ns / 1000 : INT64_MAX;
    int64_t deadline_us = a->deadline_wall_us > 0 ? a->deadline_wall_us : INT64_MAX;
    deadline_us = limit_us < deadline_us ? limit_us : deadline_us;
    if (deadline_us != INT64_MAX) {
        set(env, "MLQ_DEADLINE=%lld", (long long)(deadline_us / 1000000));
    }
}

/* By UUID, so that it means the same GPU whatever else is hidden; "" hides all. */
static void set_gpus(struct builder *env, const struct msg_assignment *a, const struct probe *probe)
{
    char list[PROBE_GPUS_MAX * 65];
    size_t used = 0;
    list[0] = '\0';
    for (uint32_t i = 0; i < probe->gpu_count; i++) {
        if ((a->gpu_mask >> i & 1) != 0) {
            int put_len = snprintf(list + used, sizeof list - used, "%s%.*s", used == 0 ? "" : ",",
                                   MLQ_STR_ARG(probe->gpu_uuids[i]));
            used += (size_t)put_len;
        }
    }
    set(env, "CUDA_VISIBLE_DEVICES=%s", list);
}

static void set_torchrun(struct builder *env, const struct msg_assignment *a,
                         const struct taskenv_paths *paths)
{
    set(env, "RANK=%u", a->member.rank);
    set(env, "LOCAL_RANK=%u", a->local_rank);
    set(env, "WORLD_SIZE=%u", a->ranks);
    set(env, "LOCAL_WORLD_SIZE=%u", a->local_ranks);
    set(env, "GROUP_RANK=%u", a->group_rank);
    set(env, "GROUP_WORLD_SIZE=%u", a->group_count);
    set(env, "ROLE_NAME=default");
    set(env, "ROLE_RANK=%u", a->member.rank);
    set(env, "ROLE_WORLD_SIZE=%u", a->ranks);
    set(env, "MASTER_ADDR=%.*s", MLQ_STR_ARG(a->master_addr));
    set(env, "MASTER_PORT=%u", (unsigned)a->master_port);
    set(env, "TORCHELASTIC_RESTART_COUNT=%u", a->restart_count);
    set(env, "TORCHELASTIC_MAX_RESTARTS=%u", a->restart_limit);
    set(env, "TORCHELASTIC_RUN_ID=%llu", (unsigned long long)a->member.attempt);
    /* We host no store: rank 0 must. With True it would wait for one for ever. */
    set(env, "TORCHELASTIC_USE_AGENT_STORE=False");
    set(env, "TORCHELASTIC_ERROR_FILE=%s/error.json", paths->dir);
    set(env, "TORCH_NCCL_ASYNC_ERROR_HANDLING=1");
    set(env, "PYTHON_EXEC=python3");
}

static void set_tensorflow(struct builder *env, const struct msg_assignment *a)
{
    char *list = mlq_strdup("");
    for (size_t i = 0; i < a->rank_address_count; i++) {
        char *longer =
            mlq_format("%s%s\"%.*s\"", list, i == 0 ? "" : ",", MLQ_STR_ARG(a->rank_addresses[i]));
        mlq_free(list);
        list = longer;
    }
    set(env,
        "TF_CONFIG={\"cluster\":{\"worker\":[%s]},\"task\":{\"type\":\"worker\",\"index\":%u}}",
        list, a->member.rank);
    mlq_free(list);
}

static void set_gang(struct builder *env, const struct msg_assignment *a,
                     const struct taskenv_paths *paths)
{
    set_torchrun(env, a, paths);
    if (a->rank_address_count == a->ranks) {
        set_tensorflow(env, a);
    }
    set(env, "JAX_COORDINATOR_ADDRESS=%.*s:%u", MLQ_STR_ARG(a->master_addr),
        (unsigned)a->master_port);
    set(env, "JAX_NUM_PROCESSES=%u", a->ranks);
    set(env, "JAX_PROCESS_ID=%u", a->member.rank);
}

static void set_basics(struct builder *env, const struct msg_assignment *a,
                       const struct taskenv_paths *paths)
{
    const char *path = getenv("PATH");
    const char *user = getenv("USER");
    long long threads = (a->cpu_milli + 999) / 1000;
    set(env, "PATH=%s:%s", paths->bin_dir, path != NULL ? path : "/usr/local/bin:/usr/bin:/bin");
    set(env, "HOME=%s", paths->work);
    set(env, "TMPDIR=%s", paths->tmp);
    set(env, "LANG=C.UTF-8");
    set(env, "PYTHONUNBUFFERED=1"); /* else `mlq logs -f` shows nothing for minutes */
    if (user != NULL) {
        set(env, "USER=%s", user);
    }
    set(env, "OMP_NUM_THREADS=%lld", threads < 1 ? 1 : threads);
    set(env, "OPENBLAS_NUM_THREADS=%lld", threads < 1 ? 1 : threads);
    set(env, "MLQ_JOB=%llu", (unsigned long long)a->job);
    set(env, "MLQ_STAGE=%.*s", MLQ_STR_ARG(a->stage_name));
    set(env, "MLQ_INDEX=%u", a->index);
    set(env, "MLQ_ATTEMPT=%llu", (unsigned long long)a->member.attempt);
    set(env, "MLQ_FENCE=%llu", (unsigned long long)a->member.attempt);
    set(env, "MLQ_RETRY=%u", a->restart_count);
    set(env, "MLQ_OUTPUT=%s", paths->out);
    set(env, "MLQ_CHECKPOINT=%s", paths->checkpoint);
    set(env, "MLQ_CONTROL=%s", paths->control);
    if (a->mem_bytes > 0) {
        set(env, "MLQ_MEMORY=%lld", (long long)a->mem_bytes);
    }
    if (paths->with != NULL) {
        set(env, "MLQ_WITH=%s", paths->with);
    }
}

/* A PATH of the spec keeps mlq's own programs within reach. */
static void set_users(struct builder *env, const struct msg_assignment *a, const char *bin_dir)
{
    for (size_t i = 0; i < a->env_count; i++) {
        bool is_path = mlq_str_eq_c(a->env[i].name, "PATH");
        set(env, "%.*s=%.*s%s%s", MLQ_STR_ARG(a->env[i].name), MLQ_STR_ARG(a->env[i].value),
            is_path ? ":" : "", is_path ? bin_dir : "");
    }
}

const char **taskenv_build(const struct msg_assignment *assignment,
                           const struct taskenv_paths *paths, const struct probe *probe,
                           int64_t now_wall_us, struct mlq_region *region)
{
    struct builder env = {.region = region};
    env.room = OWN_MAX + 2 * assignment->input_count + assignment->env_count;
    env.items = mlq_region_array(region, env.room + 1, sizeof *env.items);
    set_basics(&env, assignment, paths);
    set_inputs(&env, assignment, paths->in);
    set_deadline(&env, assignment, now_wall_us);
    set_gpus(&env, assignment, probe);
    if (assignment->ranks_max > 0) {
        set(&env, "RANK=%u", assignment->member.rank);
        set(&env, "MLQ_ELASTIC=%u..%u", assignment->ranks_min, assignment->ranks_max);
    } else if (assignment->ranks > 1) {
        set_gang(&env, assignment, paths);
    }
    set_users(&env, assignment, paths->bin_dir);
    return env.items;
}
