/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Every attempt but a task's first writes its number into the folder before it begins (".fence").
 * So a folder without one is used by nobody but the first attempt, and one in which it appears
 * while it is taken away is put back.
 */
#include "worker/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/prng.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "worker/folder.h"

#define FENCE           ".fence"
#define FENCE_BYTES_MAX 32
#define ENTER_TRIES     8

/* ---- The book ---- */

static const char *path_of(const struct checkpoint_spares *spares, uint32_t number,
                           struct mlq_region *region)
{
    return mlq_region_format(region, "%s%u", spares->prefix, (unsigned)number);
}

void checkpoint_spares_init(struct checkpoint_spares *spares, const char *store, const char *worker,
                            struct mlq_region *region)
{
    uint64_t hash = 0;
    for (const char *at = worker; *at != '\0'; at++) {
        hash = mlq_hash_u64(hash ^ (uint64_t)(unsigned char)*at);
    }
    *spares = (struct checkpoint_spares){
        .prefix = mlq_region_format(region, "%s/checkpoints/.spare-%016llx-", store,
                                    (unsigned long long)hash)};
    for (uint32_t i = 0; i < CHECKPOINT_SPARES_MAX; i++) {
        (void)rmdir(path_of(spares, i, region));
    }
}

static const char *use(struct checkpoint_spares *spares, uint32_t candidates, uint32_t *number,
                       struct mlq_region *region)
{
    if (candidates == 0) {
        *number = CHECKPOINT_NONE;
        return NULL;
    }
    *number = (uint32_t)__builtin_ctz(candidates);
    spares->busy |= UINT32_C(1) << *number;
    spares->waiting &= ~(UINT32_C(1) << *number);
    return path_of(spares, *number, region);
}

const char *checkpoint_take(struct checkpoint_spares *spares, uint32_t *number,
                            struct mlq_region *region)
{
    return use(spares, spares->waiting, number, region);
}

const char *checkpoint_place(struct checkpoint_spares *spares, uint32_t *number,
                             struct mlq_region *region)
{
    return use(spares, ~(spares->waiting | spares->busy), number, region);
}

void checkpoint_settle(struct checkpoint_spares *spares, uint32_t number, bool is_there)
{
    if (number == CHECKPOINT_NONE) {
        return;
    }
    spares->busy &= ~(UINT32_C(1) << number);
    spares->waiting |= (is_there ? UINT32_C(1) : 0) << number;
}

/* ---- The folder ---- */

/* The highest attempt that was let into a checkpoint folder: it keeps out a worker that comes late.
 * It is whole and not synced, since who could come late does not outlive the loss of power that it
 * would not outlive either (NFS has it on the server's disk once it is closed). What such a loss
 * may leave, an empty file or one of zeros, is no fence. */
static int read_fence(const char *fence, uint64_t *highest, struct mlq_err *err)
{
    char *data = NULL;
    size_t len;
    *highest = 0;
    int rc = mlq_fs_read(fence, FENCE_BYTES_MAX, &data, &len, err);
    if (rc == MLQ_OK) {
        struct mlq_str text = mlq_str_trim(mlq_str_from(data));
        if (text.len > 0 && !mlq_str_u64(text, highest)) {
            rc = mlq_fail(err, MLQ_ECORRUPT, "%s does not hold an attempt's number", fence);
        }
    }
    mlq_free(data);
    return rc == MLQ_ENOENT ? MLQ_OK : rc;
}

static int enter_once(const char *path, const struct msg_assignment *a, struct mlq_region *region,
                      struct mlq_err *err)
{
    const char *fence = mlq_region_format(region, "%s/" FENCE, path);
    uint64_t highest = 0;
    int rc = mlq_fs_make_dirs(path, FOLDER_MODE, err);
    rc = rc == MLQ_OK ? read_fence(fence, &highest, err) : rc;
    if (rc != MLQ_OK) {
        return rc;
    }
    if (highest > a->member.attempt) {
        return mlq_fail(err, MLQ_EFENCED, "attempt %llu has taken over from %llu",
                        (unsigned long long)highest, (unsigned long long)a->member.attempt);
    }
    if (highest == a->member.attempt) {
        return MLQ_OK; /* another rank of this gang was here first */
    }
    char text[FENCE_BYTES_MAX];
    (void)snprintf(text, sizeof text, "%llu\n", (unsigned long long)a->member.attempt);
    return mlq_fs_write_whole(fence, mlq_str_from(text), 0600, err);
}

/* Nobody takes it away once the fence is there, but an earlier attempt that ends may do so just
 * before: then it is made again. */
static int enter(const char *path, const struct msg_assignment *a, struct mlq_region *region,
                 struct mlq_err *err)
{
    int rc = enter_once(path, a, region, err);
    for (int again = 0; rc == MLQ_ENOENT && again < ENTER_TRIES; again++) {
        rc = enter_once(path, a, region, err);
    }
    return rc;
}

/* Who makes it as the task's first attempt needs no fence: there is no earlier one to keep out. */
int checkpoint_open(const char *store, const struct msg_assignment *assignment, const char *spare,
                    struct mlq_region *region, const char **path, bool *used_spare,
                    struct mlq_err *err)
{
    *path = mlq_region_format(region, "%s/checkpoints/%llu-%u-%u", store,
                              (unsigned long long)assignment->job, assignment->stage,
                              assignment->index);
    bool is_first = assignment->restart_count == 0;
    *used_spare = is_first && spare != NULL &&
                  renameat2(AT_FDCWD, spare, AT_FDCWD, *path, RENAME_NOREPLACE) == 0;
    if (*used_spare || (is_first && mkdir(*path, FOLDER_MODE) == 0)) {
        return MLQ_OK;
    }
    return enter(*path, assignment, region, err);
}

bool checkpoint_keep(const char *path, const char *place)
{
    if (!folder_is_fresh(path) ||
        renameat2(AT_FDCWD, path, AT_FDCWD, place, RENAME_NOREPLACE) != 0) {
        return false;
    }
    bool is_ours = folder_is_fresh(place); /* a fence, or the beginning of one, came with it */
    if (!is_ours) { /* it waits for nobody: whoever finds no folder makes one */
        (void)renameat2(AT_FDCWD, place, AT_FDCWD, path, RENAME_NOREPLACE);
    }
    return is_ours;
}
