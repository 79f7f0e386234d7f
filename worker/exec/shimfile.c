/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/shimfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/kv.h"

#define END_BYTES_MAX 4096

static int save(const char *dir, const char *name, struct kv *kv, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, name);
    /* Not for a loss of power: then the task is gone too, see home_open. */
    int rc = mlq_fs_write_whole(path, (struct mlq_str){.ptr = kv->data, .len = kv->len}, 0600, err);
    mlq_free(path);
    kv_fini(kv);
    return rc;
}

static int load(const char *dir, const char *name, size_t bytes_max, char **data, size_t *len,
                struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, name);
    int rc = mlq_fs_read(path, bytes_max, data, len, err);
    mlq_free(path);
    return rc;
}

/* A task may fill the disk, and its end must be told all the same: so the room for it is taken before. */
static int reserve_end(const char *dir, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, SHIMFILE_ROOM);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int code = fd < 0 ? errno : posix_fallocate(fd, 0, END_BYTES_MAX);
    int rc = code == 0 ? MLQ_OK
                       : mlq_fail(err, code == ENOSPC || code == EDQUOT ? MLQ_EFULL : MLQ_EIO, "reserve %s: %s", path,
                                  strerror(code));
    if (fd >= 0) {
        close(fd);
    }
    mlq_free(path);
    return rc;
}

/* Into the room that was kept, whole for every reader by its rename. */
static int save_in_room(const char *dir, const struct kv *kv, struct mlq_err *err)
{
    char *room = mlq_fs_join(dir, SHIMFILE_ROOM);
    char *path = mlq_fs_join(dir, SHIMFILE_EXIT);
    int fd = open(room, O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 ? mlq_fail(err, MLQ_ENOENT, "open %s: %s", room, strerror(errno))
                    : mlq_fs_write_all(fd, (struct mlq_str){.ptr = kv->data, .len = kv->len}, err);
    if (rc == MLQ_OK && (ftruncate(fd, (off_t)kv->len) != 0 || rename(room, path) != 0)) {
        rc = mlq_fail(err, MLQ_EIO, "write %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    mlq_free(path);
    mlq_free(room);
    return rc;
}

int shimfile_save_conf(const char *dir, const struct shimfile_conf *conf, struct mlq_err *err)
{
    struct kv kv = {0};
    kv_put_i64(&kv, "lease_deadline_ns", conf->lease_deadline_ns);
    kv_put_i64(&kv, "timeout_ns", conf->timeout_ns);
    kv_put_i64(&kv, "grace_ns", conf->grace_ns);
    kv_put_i64(&kv, "mem_bytes", conf->mem_bytes);
    kv_put_i64(&kv, "nproc_max", conf->nproc_max);
    kv_put_i64(&kv, "log_head_bytes", (int64_t)conf->log_head_bytes);
    kv_put_i64(&kv, "log_tail_bytes", (int64_t)conf->log_tail_bytes);
    kv_put(&kv, "workdir", mlq_str_from(conf->workdir));
    for (size_t i = 0; conf->argv[i] != NULL; i++) {
        kv_put(&kv, "arg", mlq_str_from(conf->argv[i]));
    }
    for (size_t i = 0; conf->env[i] != NULL; i++) {
        kv_put(&kv, "env", mlq_str_from(conf->env[i]));
    }
    for (size_t i = 0; conf->cgroups[i] != NULL; i++) {
        kv_put(&kv, "cgroup", mlq_str_from(conf->cgroups[i]));
    }
    int rc = save(dir, SHIMFILE_CONF, &kv, err);
    return rc == MLQ_OK ? reserve_end(dir, err) : rc;
}

static size_t count_records(struct mlq_str text)
{
    struct mlq_str key;
    struct mlq_str value;
    size_t count = 0;
    while (kv_next(&text, &key, &value)) {
        count++;
    }
    return count;
}

struct number_field {
    const char *key;
    int64_t *value;
};

static bool take_number(const struct number_field *fields, size_t count, struct mlq_str key,
                        struct mlq_str value)
{
    for (size_t i = 0; i < count; i++) {
        if (mlq_str_eq_c(key, fields[i].key)) {
            return mlq_str_i64(value, fields[i].value);
        }
    }
    return true; /* a key of a newer version */
}

int shimfile_load_conf(const char *dir, struct mlq_region *region, struct shimfile_conf *conf,
                       struct mlq_err *err)
{
    char *data = NULL;
    size_t len = 0;
    int rc = load(dir, SHIMFILE_CONF, SHIMFILE_CONF_BYTES_MAX, &data, &len, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    struct mlq_str rest = mlq_region_copy(region, (struct mlq_str){.ptr = data, .len = len});
    mlq_free(data);
    size_t records = count_records(rest);
    int64_t head = 0;
    int64_t tail = 0;
    *conf = (struct shimfile_conf){
        .workdir = "",
        .argv = mlq_region_array(region, records + 1, sizeof(char *)),
        .env = mlq_region_array(region, records + 1, sizeof(char *)),
    };
    const struct number_field fields[] = {
        {"lease_deadline_ns", &conf->lease_deadline_ns},
        {"timeout_ns", &conf->timeout_ns},
        {"grace_ns", &conf->grace_ns},
        {"mem_bytes", &conf->mem_bytes},
        {"nproc_max", &conf->nproc_max},
        {"log_head_bytes", &head},
        {"log_tail_bytes", &tail},
    };
    size_t args = 0;
    size_t envs = 0;
    size_t cgroups = 0;
    struct mlq_str key;
    struct mlq_str value;
    bool good = true;
    while (good && kv_next(&rest, &key, &value)) {
        if (mlq_str_eq_c(key, "arg")) {
            conf->argv[args++] = mlq_region_strndup(region, value);
        } else if (mlq_str_eq_c(key, "env")) {
            conf->env[envs++] = mlq_region_strndup(region, value);
        } else if (mlq_str_eq_c(key, "cgroup") && cgroups < SHIMFILE_CGROUPS_MAX) {
            conf->cgroups[cgroups++] = mlq_region_strndup(region, value);
        } else if (mlq_str_eq_c(key, "workdir")) {
            conf->workdir = mlq_region_strndup(region, value);
        } else {
            good = take_number(fields, sizeof fields / sizeof fields[0], key, value);
        }
    }
    conf->log_head_bytes = (uint64_t)head;
    conf->log_tail_bytes = (uint64_t)tail;
    if (!good || rest.len != 0 || args == 0 || conf->workdir[0] == '\0' || head < 0 || tail <= 0) {
        return mlq_fail(err, MLQ_ECORRUPT, "%s/%s is not a complete description of a task", dir,
                        SHIMFILE_CONF);
    }
    return MLQ_OK;
}

int shimfile_save_end(const char *dir, const struct shimfile_end *end, struct mlq_err *err)
{
    struct kv kv = {0};
    kv_put_i64(&kv, "cause", (int64_t)end->cause);
    kv_put_i64(&kv, "exit_code", end->exit_code);
    kv_put_i64(&kv, "signal", end->signal);
    kv_put_i64(&kv, "started_us", end->started_us);
    kv_put_i64(&kv, "ended_us", end->ended_us);
    kv_put_i64(&kv, "user_us", end->user_us);
    kv_put_i64(&kv, "system_us", end->system_us);
    kv_put_i64(&kv, "rss_max_bytes", end->rss_max_bytes);
    kv_put_i64(&kv, "log_lost_bytes", (int64_t)end->log_lost_bytes);
    kv_put(&kv, "detail", mlq_str_from(end->detail));
    if (save_in_room(dir, &kv, NULL) == MLQ_OK) {
        kv_fini(&kv);
        return MLQ_OK;
    }
    return save(dir, SHIMFILE_EXIT, &kv, err);
}

int shimfile_load_end(const char *dir, struct shimfile_end *end, struct mlq_err *err)
{
    char *data = NULL;
    size_t len = 0;
    int rc = load(dir, SHIMFILE_EXIT, END_BYTES_MAX, &data, &len, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    *end = (struct shimfile_end){0};
    int64_t cause = -1;
    int64_t exit_code = -1;
    int64_t signal = 0;
    int64_t lost = 0;
    const struct number_field fields[] = {
        {"cause", &cause},
        {"exit_code", &exit_code},
        {"signal", &signal},
        {"started_us", &end->started_us},
        {"ended_us", &end->ended_us},
        {"user_us", &end->user_us},
        {"system_us", &end->system_us},
        {"rss_max_bytes", &end->rss_max_bytes},
        {"log_lost_bytes", &lost},
    };
    struct mlq_str rest = {.ptr = data, .len = len};
    struct mlq_str key;
    struct mlq_str value;
    bool good = true;
    while (good && kv_next(&rest, &key, &value)) {
        if (mlq_str_eq_c(key, "detail")) {
            (void)snprintf(end->detail, sizeof end->detail, "%.*s", MLQ_STR_ARG(value));
        } else {
            good = take_number(fields, sizeof fields / sizeof fields[0], key, value);
        }
    }
    good = good && rest.len == 0 && cause >= 0 && cause < WORKER_CAUSE_COUNT && exit_code >= -1 &&
           exit_code <= 255 && signal >= 0 && signal <= 64;
    mlq_free(data);
    if (!good) {
        return mlq_fail(err, MLQ_ECORRUPT, "%s/%s is not the end of a task", dir, SHIMFILE_EXIT);
    }
    end->cause = (enum worker_cause)cause;
    end->exit_code = (int)exit_code;
    end->signal = (int)signal;
    end->log_lost_bytes = (uint64_t)lost;
    return MLQ_OK;
}

int shimfile_lock(const char *dir, int *fd, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, SHIMFILE_LOCK);
    int rc = MLQ_OK;
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0) {
        rc = mlq_fail(err, errno == ENOENT ? MLQ_ENOENT : MLQ_EIO, "open %s: %s", path,
                      strerror(errno));
    } else if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        rc = mlq_fail(err, MLQ_EAGAIN, "%s is held by a shim that lives", path);
        close(*fd);
        *fd = -1;
    }
    mlq_free(path);
    return rc;
}
