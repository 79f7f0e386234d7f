/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/collect.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/checkpoint.h"
#include "worker/exec/cgroup.h"
#include "worker/exec/joblog.h"
#include "worker/folder.h"
#include "worker/outputs.h"

#define LOG_NAME              ".log"
#define LOG_SMALL_BYTES       (64u << 10) /* goes to the store without a file in between */
#define METRICS_NAME          "metrics.json"
#define METRICS_BYTES_MAX     (4u << 20)
#define METRIC_NAME_BYTES_MAX 128

/* The first failure is told; the rest is still collected. */
static void fail(struct collect_job *job, const struct mlq_err *err)
{
    if (job->cause == WORKER_CAUSE_NONE) {
        job->cause = WORKER_CAUSE_OUTPUT;
        job->err = *err;
    }
}

static void add(struct collect_job *job, const char *name, const struct cas_digest *digest,
                uint64_t bytes, bool is_tree)
{
    char text[CAS_DIGEST_TEXT_BYTES];
    cas_digest_format(digest, text);
    job->artifacts[job->artifact_count++] = (struct msg_artifact){
        .name = mlq_str_from(mlq_region_strdup(job->region, name)),
        .digest = mlq_str_from(mlq_region_strdup(job->region, text)),
        .bytes = bytes,
        .is_tree = is_tree,
    };
}

/* A link to something inside the output folder stands for it; a link out of it could make any file
 * of this machine an artifact. */
static int resolve(const char *out, const char *path, char *real, struct mlq_err *err)
{
    char root[PATH_MAX];
    if (realpath(out, root) == NULL || realpath(path, real) == NULL) {
        return mlq_fail(err, MLQ_ENOENT, "output %s: %s", path, strerror(errno));
    }
    size_t len = strlen(root);
    if (strncmp(real, root, len) != 0 || real[len] != '/') {
        return mlq_fail(err, MLQ_EPERM, "output %s is a link that leads out of the output folder",
                        path);
    }
    return MLQ_OK;
}

/* Opened when there is something to put: mostly there is only a log, and that is empty. */
static int open_store(const struct collect_job *job, struct cas **cas, struct mlq_err *err)
{
    return *cas == NULL ? cas_open(job->store, cas, err) : MLQ_OK;
}

/* Whether the entry can be an artifact, and where it lies. */
static int look_at(struct collect_job *job, const char *out, struct output *output)
{
    char real[PATH_MAX];
    struct mlq_err *err = &output->err;
    const char *path = mlq_region_format(job->region, "%s/%s", out, output->name);
    if (!mlq_fs_is_inner_path(mlq_str_from(output->name)) ||
        !mlq_str_is_utf8(mlq_str_from(output->name)) || strcmp(output->name, LOG_NAME) == 0) {
        return mlq_fail(err, MLQ_EINVAL, "output '%.200s': an artifact cannot have that name",
                        output->name);
    }
    int rc = resolve(out, path, real, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    output->path = mlq_region_strdup(job->region, real);
    return stat(real, &output->status) == 0 &&
                   (S_ISREG(output->status.st_mode) || S_ISDIR(output->status.st_mode))
               ? MLQ_OK
               : mlq_fail(err, MLQ_EINVAL, "output %s is neither a file nor a folder", output->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in a folder, sorted. A folder that was never made has none. */
static int list_names(struct collect_job *job, const char *out, const char ***names, size_t *count,
                      struct mlq_err *err)
{
    size_t room = 0;
    *names = NULL;
    *count = 0;
    int rc = MLQ_OK;
    DIR *folder = opendir(out);
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder);
         entry != NULL && rc == MLQ_OK; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (*count == COLLECT_ARTIFACTS_MAX) {
            rc = mlq_fail(err, MLQ_EFULL,
                          "more than %d entries in MLQ_OUTPUT: put them into a folder there",
                          COLLECT_ARTIFACTS_MAX);
            continue;
        }
        if (*count == room) { /* mostly none or a few */
            room = room == 0 ? 16 : room * 2;
            *names = mlq_realloc_array(*names, room, sizeof **names);
        }
        (*names)[(*count)++] = mlq_region_strdup(job->region, entry->d_name);
    }
    if (folder != NULL) {
        closedir(folder);
    }
    if (*count > 0) {
        qsort(*names, *count, sizeof **names, compare_names);
    }
    return rc;
}

static void put_all(struct collect_job *job, struct cas **cas, struct output *outputs, size_t count)
{
    struct mlq_err err = MLQ_ERR_INIT;
    if (count > 0 && open_store(job, cas, &err) != MLQ_OK) {
        fail(job, &err);
        return;
    }
    outputs_put(*cas, job->store, outputs, count, job->threads);
    for (size_t i = 0; i < count; i++) {
        const struct output *output = &outputs[i];
        if (output->rc == MLQ_OK) {
            add(job, output->name, &output->digest, output->bytes, S_ISDIR(output->status.st_mode));
        } else {
            fail(job, &output->err);
        }
    }
}

/* Leaves room for the log, too. */
static void store_outputs(struct collect_job *job, struct cas **cas, const char *out)
{
    const char **names;
    size_t count;
    struct mlq_err err = MLQ_ERR_INIT;
    if (list_names(job, out, &names, &count, &err) != MLQ_OK) {
        fail(job, &err);
    }
    job->artifacts = mlq_region_array(job->region, count + 1, sizeof *job->artifacts);
    struct output *outputs = mlq_alloc_array(count + 1, sizeof *outputs);
    for (size_t i = 0; i < count; i++) {
        outputs[i].name = names[i];
        outputs[i].rc = look_at(job, out, &outputs[i]);
    }
    put_all(job, cas, outputs, count);
    mlq_free(outputs);
    mlq_free(names);
}

static int put_log(struct collect_job *job, struct cas **cas, uint64_t *bytes, struct mlq_err *err)
{
    uint64_t offset = 0;
    size_t len;
    char small[LOG_SMALL_BYTES];
    int rc = joblog_read(job->dir, &offset, small, sizeof small, &len, bytes, err);
    job->was_silent = rc == MLQ_OK && *bytes == 0;
    if (job->was_silent && job->silence != NULL) {
        job->log = *job->silence;
        return MLQ_OK;
    }
    rc = rc == MLQ_OK ? open_store(job, cas, err) : rc;
    if (rc != MLQ_OK) {
        return rc;
    }
    if (len == *bytes) {
        return cas_put_bytes(*cas, (struct mlq_str){.ptr = small, .len = len}, &job->log, err);
    }
    const char *flat = mlq_region_format(job->region, "%s/log.flat", job->dir);
    rc = joblog_flatten(job->dir, flat, err);
    return rc == MLQ_OK ? cas_put_own_file(*cas, flat, &job->log, bytes, err) : rc;
}

static void store_log(struct collect_job *job, struct cas **cas)
{
    struct mlq_err err = MLQ_ERR_INIT;
    uint64_t bytes;
    int rc = put_log(job, cas, &bytes, &err);
    if (rc == MLQ_OK) {
        add(job, LOG_NAME, &job->log, bytes, false);
    } else {
        job->was_silent = false;
        (void)mlq_wrap(&err, rc, "log");
        fail(job, &err);
    }
}

/* Top-level numbers count; everything else in the file is the task's own business. */
static void take_metrics(struct collect_job *job, const json_t *root)
{
    const char *name;
    json_t *value;
    int64_t now_us = mlq_clock_wall_us();
    json_object_foreach((json_t *)(uintptr_t)root, name, value)
    {
        size_t len = strlen(name);
        if (!json_is_number(value) || len == 0 || len > METRIC_NAME_BYTES_MAX ||
            job->metric_count == COLLECT_METRICS_MAX) {
            continue;
        }
        job->metrics[job->metric_count++] = (struct msg_metric){
            .name = mlq_str_from(mlq_region_strdup(job->region, name)),
            .step = INT64_MIN,
            .value = json_number_value(value),
            .at_us = now_us,
        };
    }
}

void collect_metrics(struct collect_job *job, struct mlq_str text)
{
    json_t *root = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    job->metrics = mlq_region_array(job->region, COLLECT_METRICS_MAX, sizeof *job->metrics);
    if (json_is_object(root)) {
        take_metrics(job, root);
    }
    json_decref(root);
}

static void read_metrics(struct collect_job *job, const char *out)
{
    char *data = NULL;
    size_t len;
    char real[PATH_MAX];
    const char *path = mlq_region_format(job->region, "%s/" METRICS_NAME, out);
    if (mlq_fs_exists(path) && resolve(out, path, real, NULL) == MLQ_OK &&
        mlq_fs_read(real, METRICS_BYTES_MAX, &data, &len, NULL) == MLQ_OK) {
        collect_metrics(job, (struct mlq_str){data, len});
    }
    mlq_free(data);
}

static void clear_inner(struct collect_job *job, const char *name)
{
    folder_clear(mlq_region_format(job->region, "%s/%s", job->dir, name));
}

static void leave_groups(struct collect_job *job)
{
    job->has_fresh_groups =
        job->may_keep_groups && *job->groups != NULL && cgroup_is_fresh(job->host, job->groups);
    for (int i = 0; !job->has_fresh_groups && job->groups[i] != NULL; i++) {
        (void)cgroup_remove(job->groups[i]);
    }
}

void collect_run(struct collect_job *job)
{
    leave_groups(job);
    struct cas *cas = NULL;
    const char *out = mlq_region_format(job->region, "%s/out", job->dir);
    job->cause = WORKER_CAUSE_NONE;
    clear_inner(job, "tmp"); /* room for what is kept: the task may have filled the disk */
    store_outputs(job, &cas, out);
    clear_inner(job, "work");
    clear_inner(job, "in");
    store_log(job, &cas);
    read_metrics(job, out);
    cas_close(&cas);
    job->is_checkpoint_kept =
        job->checkpoint_place != NULL && checkpoint_keep(job->checkpoint, job->checkpoint_place);
}
