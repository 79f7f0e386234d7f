/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/assignment.h"

#include <string.h>

#include "lib/sys/fs.h"

#define ARGS_MAX  10000
#define RANKS_MAX 4096

static bool has_nul(struct mlq_str text)
{
    return text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL;
}

static struct mlq_str keep(struct mlq_region *region, struct mlq_str text, bool *is_good)
{
    *is_good = *is_good && !has_nul(text);
    const char *copy = mlq_region_strndup(region, text);
    return (struct mlq_str){.ptr = copy, .len = text.len};
}

/* One part of a path: no slash. */
static bool is_single_name(struct mlq_str name)
{
    return name.len > 0 && memchr(name.ptr, '/', name.len) == NULL && mlq_fs_is_inner_path(name);
}

static bool is_env_name(struct mlq_str name)
{
    return name.len > 0 && memchr(name.ptr, '=', name.len) == NULL;
}

static bool keep_texts(const struct mlq_str *from, size_t count, struct mlq_region *region,
                       const struct mlq_str **to)
{
    bool is_good = true;
    struct mlq_str *copy = mlq_region_array(region, count + 1, sizeof *copy);
    for (size_t i = 0; i < count; i++) {
        copy[i] = keep(region, from[i], &is_good);
    }
    *to = copy;
    return is_good;
}

static bool keep_env(const struct msg_assignment *from, struct mlq_region *region,
                     struct msg_assignment *to)
{
    bool is_good = true;
    struct msg_env *env = mlq_region_array(region, from->env_count + 1, sizeof *env);
    for (size_t i = 0; i < from->env_count; i++) {
        env[i].name = keep(region, from->env[i].name, &is_good);
        env[i].value = keep(region, from->env[i].value, &is_good);
        is_good = is_good && is_env_name(env[i].name);
    }
    to->env = env;
    return is_good;
}

static bool keep_inputs(const struct msg_assignment *from, struct mlq_region *region,
                        struct msg_assignment *to)
{
    bool is_good = true;
    struct msg_input *inputs = mlq_region_array(region, from->input_count + 1, sizeof *inputs);
    for (size_t i = 0; i < from->input_count; i++) {
        inputs[i] = from->inputs[i];
        inputs[i].name = keep(region, from->inputs[i].name, &is_good);
        inputs[i].file = keep(region, from->inputs[i].file, &is_good);
        inputs[i].digest = keep(region, from->inputs[i].digest, &is_good);
        is_good = is_good && is_single_name(inputs[i].name) && mlq_fs_is_inner_path(inputs[i].file);
    }
    to->inputs = inputs;
    return is_good;
}

static const char *check_numbers(const struct msg_assignment *from)
{
    bool is_operator = from->uses.len > 0;
    return from->member.attempt == 0                                    ? "no attempt number"
           : from->ranks == 0 || from->ranks > RANKS_MAX                ? "number of ranks"
           : from->member.rank >= from->ranks                           ? "rank"
           : from->argc > ARGS_MAX || (from->argc == 0 && !is_operator) ? "no command"
           : from->rank_address_count > RANKS_MAX                       ? "rank addresses"
           : from->cpu_milli < 0 || from->mem_bytes < 0                 ? "resources"
           : from->timeout_ns < 0 || from->grace_ns < 0                 ? "time limit or grace"
           : is_operator && !is_single_name(from->uses)                 ? "operator's name"
                                                                        : NULL;
}

int assignment_copy(const struct msg_assignment *from, struct mlq_region *region,
                    struct msg_assignment *to, struct mlq_err *err)
{
    const char *wrong = check_numbers(from);
    if (wrong != NULL) {
        return mlq_fail(err, MLQ_EINVAL, "the scheduler's assignment is not usable: %s", wrong);
    }
    bool is_good = true;
    *to = *from;
    to->job_name = keep(region, from->job_name, &is_good);
    to->stage_name = keep(region, from->stage_name, &is_good);
    to->uses = keep(region, from->uses, &is_good);
    to->with = keep(region, from->with, &is_good);
    to->code = keep(region, from->code, &is_good);
    to->master_addr = keep(region, from->master_addr, &is_good);
    is_good = keep_texts(from->argv, from->argc, region, &to->argv) && is_good;
    is_good =
        keep_texts(from->rank_addresses, from->rank_address_count, region, &to->rank_addresses) &&
        is_good;
    is_good = keep_env(from, region, to) && is_good;
    is_good = keep_inputs(from, region, to) && is_good;
    return is_good ? MLQ_OK
                   : mlq_fail(err, MLQ_EINVAL,
                              "the scheduler's assignment is not usable: a name or a text in it");
}
