/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/shimfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/panic.h"
#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/exec/kv.h"

#define PAGE     SHIMFILE_PAGE_BYTES
#define CONF_AT  ((off_t)PAGE)
#define END_ROOM (PAGE - sizeof(uint64_t))

/* Before the text of an end. All zeros: there is none, and nothing was started. */
struct end_head {
    uint32_t len;
    uint32_t check; /* of what follows: what is not whole is not there */
    uint32_t is_started;
};

#define END_BYTES_MAX (END_ROOM - sizeof(struct end_head))

/* Behind an end: how many bytes the description has. 0: there is none, or its writer died at it. */
#define CONF_LEN_AT ((off_t)END_ROOM)

static int open_state(const char *dir, int flags, int *fd, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, SHIMFILE_STATE);
    *fd = open(path, flags | O_CLOEXEC, 0600);
    int rc = *fd >= 0 ? MLQ_OK
                      : mlq_fail(err,
                                 errno == ENOENT                      ? MLQ_ENOENT
                                 : errno == ENOSPC || errno == EDQUOT ? MLQ_EFULL
                                                                      : MLQ_EIO,
                                 "open %s: %s", path, strerror(errno));
    mlq_free(path);
    return rc;
}

/* ---- The description ---- */

static int fail_write(struct mlq_err *err, const char *what, int code)
{
    return mlq_fail(err, code == ENOSPC || code == EDQUOT ? MLQ_EFULL : MLQ_EIO, "%s: %s", what,
                    strerror(code));
}

/* In whole pages, so that a file that serves again keeps its length and its blocks: to give them
 * back and to take them costs more than a small program. */
static int write_text(int fd, const struct kv *kv, struct mlq_err *err)
{
    static const char zeros[PAGE];
    const size_t pad = (PAGE - kv->len % PAGE) % PAGE;
    const off_t end = CONF_AT + (off_t)(kv->len + pad);
    struct stat status;
    if (lseek(fd, CONF_AT, SEEK_SET) != CONF_AT || fstat(fd, &status) != 0 ||
        (status.st_size > end && ftruncate(fd, end) != 0)) {
        return fail_write(err, "prepare", errno);
    }
    int rc = mlq_fs_write_all(fd, (struct mlq_str){.ptr = kv->data, .len = kv->len}, err);
    return rc == MLQ_OK ? mlq_fs_write_all(fd, (struct mlq_str){.ptr = zeros, .len = pad}, err)
                        : rc;
}

/* A task may fill the disk, and its end must be told all the same: so the room for it is taken
 * before. Nothing is synced: with the machine the task is gone too, see home_open. */
static int write_conf(int fd, const struct kv *kv, struct mlq_err *err)
{
    static const char none[PAGE];
    const uint64_t len = kv->len;
    int code = posix_fallocate(fd, 0, PAGE);
    if (code != 0) {
        return fail_write(err, "reserve the room of its end", code);
    }
    if (pwrite(fd, none, sizeof none, 0) != (ssize_t)sizeof none) {
        return fail_write(err, "clear its first page", errno);
    }
    int rc = write_text(fd, kv, err);
    if (rc == MLQ_OK && pwrite(fd, &len, sizeof len, CONF_LEN_AT) != (ssize_t)sizeof len) {
        rc = fail_write(err, "say that it is whole", errno);
    }
    return rc;
}

static int save_conf(const char *dir, const struct kv *kv, struct mlq_err *err)
{
    int fd;
    int rc = open_state(dir, O_WRONLY | O_CREAT, &fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    rc = write_conf(fd, kv, err);
    if (close(fd) != 0 && rc == MLQ_OK) {
        rc = mlq_fail(err, MLQ_EIO, "close: %s", strerror(errno));
    }
    return rc == MLQ_OK ? rc : mlq_wrap(err, rc, "write %s/%s", dir, SHIMFILE_STATE);
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
    kv_put(&kv, "control", mlq_str_from(conf->control));
    kv_put(&kv, "checkpoint", mlq_str_from(conf->checkpoint));
    for (size_t i = 0; conf->argv[i] != NULL; i++) {
        kv_put(&kv, "arg", mlq_str_from(conf->argv[i]));
    }
    for (size_t i = 0; conf->env[i] != NULL; i++) {
        kv_put(&kv, "env", mlq_str_from(conf->env[i]));
    }
    for (size_t i = 0; conf->cgroups[i] != NULL; i++) {
        kv_put(&kv, "cgroup", mlq_str_from(conf->cgroups[i]));
    }
    int rc = save_conf(dir, &kv, err);
    kv_fini(&kv);
    return rc;
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

/* Lists of texts and single ones; numbers are take_number's. */
struct conf_counts {
    size_t args;
    size_t envs;
    size_t cgroups;
};

static bool take_text(struct shimfile_conf *conf, struct conf_counts *counts,
                      struct mlq_region *region, struct mlq_str key, struct mlq_str value)
{
    if (mlq_str_eq_c(key, "env")) {
        conf->env[counts->envs++] = mlq_region_strndup(region, value);
    } else if (mlq_str_eq_c(key, "arg")) {
        conf->argv[counts->args++] = mlq_region_strndup(region, value);
    } else if (mlq_str_eq_c(key, "cgroup") && counts->cgroups < SHIMFILE_CGROUPS_MAX) {
        conf->cgroups[counts->cgroups++] = mlq_region_strndup(region, value);
    } else if (mlq_str_eq_c(key, "workdir")) {
        conf->workdir = mlq_region_strndup(region, value);
    } else if (mlq_str_eq_c(key, "control")) {
        conf->control = mlq_region_strndup(region, value);
    } else if (mlq_str_eq_c(key, "checkpoint")) {
        conf->checkpoint = mlq_region_strndup(region, value);
    } else {
        return false;
    }
    return true;
}

static bool parse_conf(struct mlq_str text, struct mlq_region *region, struct shimfile_conf *conf)
{
    size_t records = count_records(text);
    int64_t head = 0;
    int64_t tail = 0;
    *conf = (struct shimfile_conf){
        .workdir = "",
        .control = "",
        .checkpoint = "",
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
    struct conf_counts counts = {0};
    struct mlq_str key;
    struct mlq_str value;
    bool good = true;
    while (good && kv_next(&text, &key, &value)) {
        good = take_text(conf, &counts, region, key, value) ||
               take_number(fields, sizeof fields / sizeof fields[0], key, value);
    }
    conf->log_head_bytes = (uint64_t)head;
    conf->log_tail_bytes = (uint64_t)tail;
    return good && text.len == 0 && counts.args > 0 && conf->workdir[0] != '\0' && head >= 0 &&
           tail > 0;
}

/* All of the file, with as many bytes of text as it says. */
static bool cut_conf(struct mlq_str file, struct mlq_str *text)
{
    uint64_t len = 0;
    if (file.len > PAGE) {
        memcpy(&len, file.ptr + CONF_LEN_AT, sizeof len);
    }
    *text = (struct mlq_str){.ptr = file.ptr + CONF_AT, .len = len};
    return len > 0 && len <= file.len - PAGE;
}

int shimfile_load_conf(const char *dir, struct mlq_region *region, struct shimfile_conf *conf,
                       struct mlq_err *err)
{
    char *data = NULL;
    size_t len = 0;
    struct mlq_str text;
    char *path = mlq_fs_join(dir, SHIMFILE_STATE);
    int rc = mlq_fs_read(path, SHIMFILE_CONF_BYTES_MAX, &data, &len, err);
    if (rc == MLQ_OK && !(cut_conf((struct mlq_str){.ptr = data, .len = len}, &text) &&
                          parse_conf(text, region, conf))) {
        rc = mlq_fail(err, MLQ_ECORRUPT, "%s is not a complete description of a task", path);
    }
    mlq_free(path);
    mlq_free(data);
    return rc;
}

bool shimfile_clear(int fd)
{
    static const char zeros[PAGE];
    struct stat status;
    bool good = fstat(fd, &status) == 0 && status.st_size <= SHIMFILE_KEPT_BYTES_MAX;
    for (off_t at = 0; good && at < status.st_size; at += PAGE) {
        size_t part = status.st_size - at < (off_t)PAGE ? (size_t)(status.st_size - at) : PAGE;
        good = pwrite(fd, zeros, part, at) == (ssize_t)part;
    }
    return good;
}

/* ---- The end ---- */

static uint32_t checksum(const char *bytes, size_t len)
{
    uint64_t hash = len;
    for (size_t i = 0; i < len; i++) {
        hash = mlq_hash_u64(hash ^ (uint64_t)(unsigned char)bytes[i]);
    }
    return (uint32_t)hash;
}

/* One write within a page, into blocks that are there. */
static int put_end(const char *dir, const struct kv *kv, struct mlq_err *err)
{
    char page[END_ROOM] = {0}; /* all but the length of the description */
    const struct end_head head = {
        .len = (uint32_t)kv->len, .check = checksum(kv->data, kv->len), .is_started = 1};
    MLQ_ASSERT(kv->len <= END_BYTES_MAX);
    memcpy(page, &head, sizeof head);
    if (kv->len > 0) {
        memcpy(page + sizeof head, kv->data, kv->len);
    }
    int fd;
    int rc = open_state(dir, O_WRONLY, &fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    if (pwrite(fd, page, sizeof page, 0) != (ssize_t)sizeof page) {
        rc = mlq_fail(err, MLQ_EIO, "write %s/%s: %s", dir, SHIMFILE_STATE, strerror(errno));
    }
    close(fd);
    return rc;
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
    int rc = put_end(dir, &kv, err);
    kv_fini(&kv);
    return rc;
}

int shimfile_forget_end(const char *dir, struct mlq_err *err)
{
    struct shimfile_end end;
    const struct kv none = {0};
    int rc = shimfile_load_end(dir, &end, err);
    return rc == MLQ_ENOENT ? rc : put_end(dir, &none, err);
}

/* The text of an end, if there is one that is whole. */
static int get_end(const char *dir, char page[END_ROOM], struct mlq_str *text, struct mlq_err *err)
{
    struct end_head head;
    int fd;
    int rc = open_state(dir, O_RDONLY, &fd, err);
    if (rc != MLQ_OK) {
        return rc;
    }
    ssize_t got = pread(fd, page, END_ROOM, 0);
    close(fd);
    memcpy(&head, page, sizeof head);
    *text = (struct mlq_str){.ptr = page + sizeof head, .len = head.len};
    if (got != END_ROOM || head.len == 0 || head.len > END_BYTES_MAX ||
        head.check != checksum(text->ptr, text->len)) {
        return mlq_fail(err, MLQ_ENOENT, "%s/%s holds no end yet", dir, SHIMFILE_STATE);
    }
    return MLQ_OK;
}

bool shimfile_parse_end(struct mlq_str rest, struct shimfile_end *end)
{
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
    end->cause = good ? (enum worker_cause)cause : WORKER_CAUSE_NONE;
    end->exit_code = (int)exit_code;
    end->signal = (int)signal;
    end->log_lost_bytes = (uint64_t)lost;
    return good;
}

int shimfile_load_end(const char *dir, struct shimfile_end *end, struct mlq_err *err)
{
    char page[END_ROOM] = {0};
    struct mlq_str text;
    int rc = get_end(dir, page, &text, err);
    if (rc == MLQ_OK && !shimfile_parse_end(text, end)) {
        rc = mlq_fail(err, MLQ_ECORRUPT, "%s/%s does not hold the end of a task", dir,
                      SHIMFILE_STATE);
    }
    return rc;
}

/* ---- The start ---- */

static bool get_head(int fd, struct end_head *head)
{
    *head = (struct end_head){0};
    return pread(fd, head, sizeof *head, 0) == (ssize_t)sizeof *head;
}

int shimfile_note_start(int fd, struct mlq_err *err)
{
    struct end_head head;
    if (!get_head(fd, &head) || head.is_started != 0) {
        return mlq_fail(err, MLQ_EEXIST, "this attempt was started before, or is over");
    }
    head.is_started = 1;
    return pwrite(fd, &head, sizeof head, 0) == (ssize_t)sizeof head
               ? MLQ_OK
               : mlq_fail(err, MLQ_EIO, "write %s: %s", SHIMFILE_STATE, strerror(errno));
}

bool shimfile_was_started(const char *dir)
{
    struct end_head head = {0};
    int fd;
    if (open_state(dir, O_RDONLY, &fd, NULL) != MLQ_OK) {
        return false;
    }
    bool was = get_head(fd, &head) && head.is_started != 0;
    close(fd);
    return was;
}

/* ---- The lock ---- */

int shimfile_lock(const char *dir, int *fd, struct mlq_err *err)
{
    int rc = open_state(dir, O_RDWR | O_CREAT, fd, err);
    if (rc == MLQ_OK && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        close(*fd);
        *fd = -1;
        rc = mlq_fail(err, MLQ_EAGAIN, "%s/%s is held by a shim that lives", dir, SHIMFILE_STATE);
    }
    return rc;
}
