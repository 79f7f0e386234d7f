/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/home.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/prng.h"
#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/log.h"
#include "lib/sys/mem.h"
#include "worker/exec/control.h"
#include "worker/exec/shimfile.h"
#include "worker/exec/unixsock.h"

#define SESSIONS_PER_RUN_BITS 24 /* hellos of one run of the worker */
#define NUMBER_BYTES_MAX      32
#define BOOT_ID               "/proc/sys/kernel/random/boot_id"
#define BOOT_BYTES_MAX        64

static int load_number(const char *base, const char *name, uint64_t *value, struct mlq_err *err)
{
    char *path = mlq_fs_join(base, name);
    char *data = NULL;
    size_t len;
    *value = 0;
    int rc = mlq_fs_read(path, NUMBER_BYTES_MAX, &data, &len, err);
    if (rc == MLQ_OK && !mlq_str_u64(mlq_str_trim(mlq_str_from(data)), value)) {
        rc = mlq_fail(err, MLQ_ECORRUPT,
                      "%s does not hold a number: restore it, or use another --home", path);
    }
    mlq_free(data);
    mlq_free(path);
    return rc == MLQ_ENOENT ? MLQ_OK : rc;
}

static int save_number(const char *base, const char *name, uint64_t value, struct mlq_err *err)
{
    char *path = mlq_fs_join(base, name);
    char text[NUMBER_BYTES_MAX];
    (void)snprintf(text, sizeof text, "%llu\n", (unsigned long long)value);
    int rc = mlq_fs_write_durable(path, mlq_str_from(text), 0600, err);
    mlq_free(path);
    return rc;
}

static int take_lock(struct home *home, struct mlq_err *err)
{
    char *path = mlq_fs_join(home->base, "lock");
    home->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int rc = MLQ_OK;
    if (home->lock_fd < 0) {
        rc = mlq_fail(err, MLQ_EIO, "open %s: %s", path, strerror(errno));
    } else if (flock(home->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        rc = mlq_fail(err, MLQ_EEXIST, "another worker runs in %s", home->base);
    }
    mlq_free(path);
    return rc;
}

static void forget_end(void *context, uint64_t attempt, uint32_t rank)
{
    const struct home *home = context;
    char *dir = mlq_format("%s/%llu-%u", home->attempts, (unsigned long long)attempt, (unsigned)rank);
    struct mlq_err err = MLQ_ERR_INIT;
    int rc = shimfile_forget_end(dir, &err);
    if (rc == MLQ_OK) {
        log_info("home.forgotten", "attempt=%llu rank=%u", (unsigned long long)attempt,
                 (unsigned)rank);
    } else if (rc != MLQ_ENOENT) {
        log_error("home.unforgotten", "error=\"%s\"", err.text);
    }
    mlq_free(dir);
}

/* What tasks wrote is not synced to the disk, so after a start of the machine an attempt's folder
 * proves nothing: its "exit 0" may be there, its outputs cut short. Ends of an earlier boot are
 * dropped; their tasks are reported as lost and run again. */
static int forget_earlier_boot(struct home *home, struct mlq_err *err)
{
    char *path = mlq_fs_join(home->base, "boot");
    char *now = NULL;
    char *then = NULL;
    size_t len;
    struct mlq_err ignored = MLQ_ERR_INIT;
    int rc = MLQ_OK;
    if (mlq_fs_read(BOOT_ID, BOOT_BYTES_MAX, &now, &len, &ignored) != MLQ_OK) {
        log_warn("home.boot_unknown", "reason=\"%s\"", ignored.text);
    } else if (mlq_fs_read(path, BOOT_BYTES_MAX, &then, &len, &ignored) != MLQ_OK ||
               strcmp(now, then) != 0) {
        rc = then == NULL ? MLQ_OK : home_each_attempt(home, forget_end, home, err);
        rc = rc == MLQ_OK ? mlq_fs_write_durable(path, mlq_str_from(now), 0600, err) : rc;
    }
    mlq_free(then);
    mlq_free(now);
    mlq_free(path);
    return rc;
}

/* The same for every run in this folder, since tasks keep the path in their environment. */
static const char *run_dir_for(const char *base, struct mlq_region *region)
{
    uint64_t hash = 0;
    for (const char *at = base; *at != '\0'; at++) {
        hash = mlq_hash_u64(hash ^ (uint64_t)(unsigned char)*at);
    }
    return mlq_region_format(region, "/tmp/mlq-%u-%016llx", (unsigned)geteuid(),
                             (unsigned long long)hash);
}

int home_open(struct home *home, const char *base, struct mlq_region *region, struct mlq_err *err)
{
    uint64_t runs = 0;
    uint64_t epoch = 0;
    *home = (struct home){
        .base = mlq_region_strdup(region, base),
        .attempts = mlq_region_format(region, "%s/attempts", base),
        .run_dir = run_dir_for(base, region),
        .lock_fd = -1,
    };
    int rc = mlq_fs_make_dirs(home->attempts, 0700, err);
    rc = rc == MLQ_OK ? take_lock(home, err) : rc;
    rc = rc == MLQ_OK ? forget_earlier_boot(home, err) : rc;
    rc = rc == MLQ_OK ? load_number(base, "session", &runs, err) : rc;
    rc = rc == MLQ_OK ? load_number(base, "epoch", &epoch, err) : rc;
    rc = rc == MLQ_OK ? save_number(base, "session", runs + 1, err) : rc;
    home->session = (runs + 1) << SESSIONS_PER_RUN_BITS;
    home->epoch = (uint32_t)epoch;
    if (rc == MLQ_OK && (epoch > UINT32_MAX || runs >= UINT64_C(1) << 38)) {
        rc = mlq_fail(err, MLQ_ECORRUPT, "session or epoch in %s is out of range", base);
    }
    if (rc != MLQ_OK) {
        home_close(home);
    }
    return rc;
}

void home_close(struct home *home)
{
    if (home->lock_fd >= 0) {
        close(home->lock_fd);
    }
    home->lock_fd = -1;
}

int home_save_epoch(struct home *home, uint32_t epoch, struct mlq_err *err)
{
    home->epoch = epoch;
    return save_number(home->base, "epoch", epoch, err);
}

const char *home_attempt_dir(const struct home *home, struct mlq_region *region, uint64_t attempt,
                             uint32_t rank)
{
    return mlq_region_format(region, "%s/%llu-%u", home->attempts, (unsigned long long)attempt,
                             (unsigned)rank);
}

static bool parse_member(const char *name, uint64_t *attempt, uint32_t *rank)
{
    struct mlq_str head;
    struct mlq_str tail;
    uint64_t number;
    if (!mlq_str_cut(mlq_str_from(name), '-', &head, &tail) || !mlq_str_u64(head, attempt) ||
        !mlq_str_u64(tail, &number) || *attempt == 0 || number > UINT32_MAX) {
        return false;
    }
    *rank = (uint32_t)number;
    return true;
}

int home_each_attempt(const struct home *home, home_attempt_cb call, void *context,
                      struct mlq_err *err)
{
    DIR *folder = opendir(home->attempts);
    if (folder == NULL) {
        return mlq_fail(err, MLQ_EIO, "open %s: %s", home->attempts, strerror(errno));
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        uint64_t attempt;
        uint32_t rank;
        if (parse_member(entry->d_name, &attempt, &rank)) {
            call(context, attempt, rank);
        }
    }
    closedir(folder);
    return MLQ_OK;
}

/* Somebody else may have made that name in /tmp before: then it is not used. */
static int make_run_dir(const char *path, struct mlq_err *err)
{
    struct stat status;
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return mlq_fail(err, MLQ_EIO, "make folder %s: %s", path, strerror(errno));
    }
    if (lstat(path, &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid() ||
        (status.st_mode & 077) != 0) {
        return mlq_fail(
            err, MLQ_EPERM,
            "%s is not a private folder of this user: remove it, or use a shorter --home", path);
    }
    return MLQ_OK;
}

int home_control_path(const struct home *home, struct mlq_region *region, const char *dir,
                      uint64_t attempt, uint32_t rank, const char **path, struct mlq_err *err)
{
    *path = mlq_region_format(region, "%s/" CONTROL_FILE, dir);
    if (unixsock_fits(*path)) {
        return MLQ_OK;
    }
    *path = mlq_region_format(region, "%s/%llu-%u.sock", home->run_dir, (unsigned long long)attempt,
                              (unsigned)rank);
    return make_run_dir(home->run_dir, err);
}
