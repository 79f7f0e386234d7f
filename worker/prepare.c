/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/artifact/cas.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/checkpoint.h"
#include "worker/exec/joblog.h"
#include "worker/exec/shimfile.h"
#include "worker/folder.h"
#include "worker/taskenv.h"

#define PIDS_MAX        4096  /* processes and threads of one task, where a cgroup counts them */
#define NPROC_MAX       16384 /* of the whole user, where none does */

static int make_dirs(struct prepare_job *job, struct taskenv_paths *paths)
{
    paths->dir = job->dir;
    paths->bin_dir = job->bin_dir;
    paths->control = job->control;
    paths->in = mlq_region_format(job->region, "%s/in", job->dir); /* the first input makes it */
    paths->work = mlq_region_format(job->region, "%s/work", job->dir);
    paths->out = mlq_region_format(job->region, "%s/out", job->dir);
    paths->tmp = mlq_region_format(job->region, "%s/tmp", job->dir);
    return folder_make(job->dir, job->spare, &job->err);
}

/* ---- Inputs ---- */

static int parse(struct prepare_job *job, struct mlq_str text, struct cas_digest *digest)
{
    return cas_digest_parse(text, digest) ? MLQ_OK
                                          : mlq_fail(&job->err, MLQ_EINVAL, "'%.*s' is not a digest",
                                                     MLQ_STR_ARG(text));
}

/* Our own operators only read what they are given. A command may do anything to it. */
static int fetch_input(struct prepare_job *job, struct cas *cas, const struct msg_input *input,
                       const char *path)
{
    struct cas_digest digest;
    int rc = parse(job, input->digest, &digest);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (input->is_tree) {
        return cas_fetch_tree(cas, &digest, path, false, &job->err);
    }
    return job->assignment->uses.len > 0 ? cas_fetch_link(cas, &digest, path, &job->err)
                                         : cas_fetch(cas, &digest, path, &job->err);
}

static int fetch_code(struct prepare_job *job, struct cas *cas, const char *path)
{
    struct cas_digest digest;
    int rc = parse(job, job->assignment->code, &digest);
    return rc == MLQ_OK ? cas_fetch_tree(cas, &digest, path, true, &job->err) : rc;
}

static int make_parent(struct prepare_job *job, const char *path)
{
    char *parent = mlq_strdup(path);
    *strrchr(parent, '/') = '\0';
    int rc = mlq_fs_make_dirs(parent, 0700, &job->err);
    mlq_free(parent);
    return rc;
}

static int fetch_all(struct prepare_job *job, struct cas *cas, const struct taskenv_paths *paths)
{
    const struct msg_assignment *a = job->assignment;
    int rc = MLQ_OK;
    if (a->code.len > 0) {
        rc = fetch_code(job, cas, paths->work);
        rc = rc == MLQ_OK ? rc : mlq_wrap(&job->err, rc, "code");
    }
    for (size_t i = 0; rc == MLQ_OK && i < a->input_count; i++) {
        const struct msg_input *input = &a->inputs[i];
        const char *path = taskenv_input_path(paths->in, input, job->region);
        rc = make_parent(job, path);
        rc = rc == MLQ_OK ? fetch_input(job, cas, input, path) : rc;
        rc = rc == MLQ_OK ? rc : mlq_wrap(&job->err, rc, "input '%.*s'", MLQ_STR_ARG(input->name));
    }
    return rc;
}

/* Most tasks of a large array have none, and then the store is not even opened. */
static int fetch_inputs(struct prepare_job *job, const struct taskenv_paths *paths)
{
    struct cas *cas = NULL;
    if (job->assignment->code.len == 0 && job->assignment->input_count == 0) {
        return MLQ_OK;
    }
    int rc = cas_open(job->store, &cas, &job->err);
    rc = rc == MLQ_OK ? fetch_all(job, cas, paths) : rc;
    cas_close(&cas);
    return rc;
}

/* ---- What the shim is told ---- */

static const char **build_argv(struct prepare_job *job)
{
    const struct msg_assignment *a = job->assignment;
    const char **argv = mlq_region_array(job->region, a->argc + 3, sizeof *argv);
    if (a->uses.len > 0) {
        argv[0] = mlq_region_format(job->region, "%s/mlq-op", job->bin_dir);
        argv[1] = a->uses.ptr;
        return argv;
    }
    for (size_t i = 0; i < a->argc; i++) {
        argv[i] = a->argv[i].ptr;
    }
    return argv;
}

struct cgroup_bounds prepare_bounds(const struct msg_assignment *assignment)
{
    return (struct cgroup_bounds){.mem_bytes = assignment->mem_bytes,
                                  .cpu_milli = assignment->cpu_milli,
                                  .pids_max = PIDS_MAX};
}

static int describe(struct prepare_job *job, const struct taskenv_paths *paths)
{
    const struct msg_assignment *a = job->assignment;
    bool is_mem_bounded;
    struct shimfile_conf conf = {
        .timeout_ns = a->timeout_ns,
        .grace_ns = a->grace_ns,
        .nproc_max = job->cgroups->parents[CGROUP_PIDS][0] == '\0' ? NPROC_MAX : 0,
        .log_head_bytes = JOBLOG_HEAD_BYTES_DEFAULT,
        .log_tail_bytes = JOBLOG_TAIL_BYTES_DEFAULT,
        .workdir = paths->work,
        .control = job->control,
        .checkpoint = job->checkpoint,
        .argv = build_argv(job),
        .env = taskenv_build(a, paths, job->probe, mlq_clock_wall_us(), job->region),
    };
    cgroup_make(job->cgroups, job->group, &job->bounds, job->region, conf.cgroups, &is_mem_bounded);
    memcpy(job->group_paths, conf.cgroups, sizeof conf.cgroups);
    conf.mem_bytes = is_mem_bounded ? 0 : a->mem_bytes;
    return shimfile_save_conf(job->dir, &conf, &job->err);
}

static int write_with(struct prepare_job *job, struct taskenv_paths *paths)
{
    if (job->assignment->uses.len == 0) {
        return MLQ_OK;
    }
    struct mlq_str with = job->assignment->with;
    paths->with = mlq_region_format(job->region, "%s/with.json", job->dir);
    return mlq_fs_write_whole(paths->with, with.len > 0 ? with : MLQ_STR("{}"), 0600, &job->err);
}

void prepare_run(struct prepare_job *job)
{
    struct taskenv_paths paths = {0};
    job->cause = WORKER_CAUSE_NODE;
    if (make_dirs(job, &paths) != MLQ_OK) {
        return;
    }
    if (fetch_inputs(job, &paths) != MLQ_OK) {
        job->cause = WORKER_CAUSE_INPUT;
        return;
    }
    if (checkpoint_open(job->store, job->assignment, job->spare_checkpoint, job->region,
                        &job->checkpoint, &job->used_spare_checkpoint, &job->err) != MLQ_OK) {
        return;
    }
    paths.checkpoint = job->checkpoint;
    if (write_with(job, &paths) != MLQ_OK || describe(job, &paths) != MLQ_OK) {
        return;
    }
    job->cause = WORKER_CAUSE_NONE;
}
