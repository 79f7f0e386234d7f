/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/joblog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define POS_FILE       "log.pos"
#define COPY_BYTES     (256u << 10)
#define STEP_BYTES_MAX (64u << 10)
#define ROOM_BYTES     (64u << 10)

struct pos {
    uint64_t total;
    uint64_t head_bytes;
    uint64_t tail_bytes;
};

static int open_in(const char *dir, const char *name, int flags, struct mlq_err *err)
{
    char *path = mlq_fs_join(dir, name);
    int fd = open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) {
        (void)mlq_fail(err, errno == ENOENT ? MLQ_ENOENT : MLQ_EIO, "open %s: %s", path,
                       strerror(errno));
    }
    mlq_free(path);
    return fd;
}

static bool save_pos(const struct joblog *log)
{
    const struct pos pos = {
        .total = log->total, .head_bytes = log->head_bytes, .tail_bytes = log->tail_bytes};
    return pwrite(log->pos_fd, &pos, sizeof pos, 0) == (ssize_t)sizeof pos;
}

/* Before the first byte of the ring: until then the file is the stream, and says its length. */
static bool begin_ring(struct joblog *log)
{
    if (log->pos_fd < 0) {
        log->pos_fd = open_in(log->dir, POS_FILE, O_RDWR | O_CREAT | O_TRUNC, NULL);
        if (log->pos_fd >= 0 && !save_pos(log)) { /* the disk has no room for it */
            close(log->pos_fd);
            log->pos_fd = -1;
        }
    }
    return log->pos_fd >= 0;
}

int joblog_create(struct joblog *log, const char *dir, uint64_t head_bytes, uint64_t tail_bytes,
                  struct mlq_err *err)
{
    *log = (struct joblog){.fd = -1,
                           .pos_fd = -1,
                           .dir = dir,
                           .head_bytes = head_bytes,
                           .tail_bytes = tail_bytes};
    if (tail_bytes == 0) {
        return mlq_fail(err, MLQ_EINVAL, "a log needs room for its tail");
    }
    log->fd = open_in(dir, JOBLOG_FILE, O_RDWR | O_CREAT, err);
    if (log->fd < 0) {
        return err == NULL ? MLQ_EIO : err->code;
    }
    /* Mostly it is new, or empty with its room: to truncate it would give that back. */
    struct stat status;
    if ((fstat(log->fd, &status) != 0 || status.st_size > 0) && ftruncate(log->fd, 0) != 0) {
        int rc = mlq_fail(err, MLQ_EIO, "empty %s/%s: %s", dir, JOBLOG_FILE, strerror(errno));
        joblog_close(log);
        return rc;
    }
    (void)fallocate(log->fd, FALLOC_FL_KEEP_SIZE, 0, ROOM_BYTES); /* what a task says when it has filled the disk */
    return MLQ_OK;
}

void joblog_close(struct joblog *log)
{
    if (log->fd >= 0) {
        close(log->fd);
    }
    if (log->pos_fd >= 0) {
        close(log->pos_fd);
    }
    log->fd = -1;
    log->pos_fd = -1;
}

/* Where a byte of the stream lies in the file, and how many follow it there without a break. */
static uint64_t place(uint64_t head_bytes, uint64_t tail_bytes, uint64_t offset, uint64_t *run)
{
    if (offset < head_bytes) {
        *run = head_bytes - offset;
        return offset;
    }
    uint64_t in_ring = (offset - head_bytes) % tail_bytes;
    *run = tail_bytes - in_ring;
    return head_bytes + in_ring;
}

/* The writer overwrites the ring before it says so in log.pos, but never more than this at a time:
 * the oldest bytes of a full ring count as gone. */
static uint64_t step_bytes(uint64_t tail_bytes)
{
    uint64_t step = tail_bytes / 8;
    return step == 0 ? 1 : step < STEP_BYTES_MAX ? step : STEP_BYTES_MAX;
}

void joblog_append(struct joblog *log, const char *bytes, size_t len)
{
    const uint64_t step = step_bytes(log->tail_bytes);
    while (len > 0) {
        uint64_t run;
        uint64_t at = place(log->head_bytes, log->tail_bytes, log->total, &run);
        run = run < step ? run : step;
        size_t part = len < run ? len : (size_t)run;
        if (at >= log->head_bytes && !begin_ring(log)) {
            log->lost += len;
            break;
        }
        ssize_t put = pwrite(log->fd, bytes, part, (off_t)at);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            log->lost += len;
            break;
        }
        bytes += put;
        len -= (size_t)put;
        log->total += (uint64_t)put;
        if (log->pos_fd >= 0) {
            (void)save_pos(log); /* its block exists since begin_ring */
        }
    }
}

/* Where the stream stands. Without a ring the file is all of it. */
static bool read_pos(const char *dir, int fd, struct pos *pos)
{
    struct stat status;
    int pos_fd = open_in(dir, POS_FILE, O_RDONLY, NULL);
    bool good = pos_fd >= 0 && pread(pos_fd, pos, sizeof *pos, 0) == (ssize_t)sizeof *pos &&
                pos->tail_bytes > 0;
    if (pos_fd >= 0) {
        close(pos_fd);
    }
    if (!good && fstat(fd, &status) == 0) { /* absent, or begun this moment */
        *pos = (struct pos){.total = (uint64_t)status.st_size,
                            .head_bytes = (uint64_t)status.st_size,
                            .tail_bytes = 1};
        good = true;
    }
    return good;
}

/* The first byte at or after `offset` that the file still holds. */
static uint64_t first_kept(const struct pos *pos, uint64_t offset)
{
    uint64_t sure = pos->tail_bytes - step_bytes(pos->tail_bytes);
    bool wraps = pos->total > pos->head_bytes + sure;
    uint64_t ring_first = wraps ? pos->total - sure : pos->head_bytes;
    return offset >= pos->head_bytes && offset < ring_first ? ring_first : offset;
}

static ssize_t read_run(int fd, const struct pos *pos, uint64_t offset, char *bytes, size_t room)
{
    uint64_t run;
    uint64_t at = place(pos->head_bytes, pos->tail_bytes, offset, &run);
    uint64_t there = pos->total > offset ? pos->total - offset : 0;
    size_t part = run < there ? (size_t)run : (size_t)there;
    return pread(fd, bytes, part < room ? part : room, (off_t)at);
}

int joblog_read(const char *dir, uint64_t *offset, char *bytes, size_t room, size_t *len,
                uint64_t *total, struct mlq_err *err)
{
    *len = 0;
    *total = 0;
    struct pos before;
    struct pos after;
    int fd = open_in(dir, JOBLOG_FILE, O_RDONLY, err);
    int rc = fd >= 0 || err == NULL || err->code == MLQ_ENOENT ? MLQ_OK : err->code;
    /* A ring that is overwritten while it is read gives torn lines; try again further on. */
    while (fd >= 0 && read_pos(dir, fd, &before)) {
        *total = before.total;
        *offset = first_kept(&before, *offset);
        ssize_t got = read_run(fd, &before, *offset, bytes, room);
        if (got < 0) {
            rc = mlq_fail(err, MLQ_EIO, "read %s/%s: %s", dir, JOBLOG_FILE, strerror(errno));
            break;
        }
        if (!read_pos(dir, fd, &after) || first_kept(&after, *offset) == *offset) {
            *len = (size_t)got;
            break;
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

static int copy_out(const char *dir, int out, char *buffer, struct mlq_err *err)
{
    uint64_t offset = 0;
    for (;;) {
        uint64_t from = offset;
        uint64_t total;
        size_t len;
        int rc = joblog_read(dir, &from, buffer, COPY_BYTES, &len, &total, err);
        if (rc == MLQ_OK && from > offset) {
            char *marker = mlq_format("\n[mlq: %llu bytes of output were dropped here]\n",
                                      (unsigned long long)(from - offset));
            rc = mlq_fs_write_all(out, mlq_str_from(marker), err);
            mlq_free(marker);
        }
        if (rc == MLQ_OK) {
            rc = mlq_fs_write_all(out, (struct mlq_str){.ptr = buffer, .len = len}, err);
        }
        if (rc != MLQ_OK || len == 0) {
            return rc;
        }
        offset = from + len;
    }
}

int joblog_flatten(const char *dir, const char *path, struct mlq_err *err)
{
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0) {
        return mlq_fail(err, MLQ_EIO, "create %s: %s", path, strerror(errno));
    }
    char *buffer = mlq_alloc(COPY_BYTES);
    int rc = copy_out(dir, out, buffer, err);
    mlq_free(buffer);
    if (close(out) != 0 && rc == MLQ_OK) {
        rc = mlq_fail(err, MLQ_EIO, "close %s: %s", path, strerror(errno));
    }
    return rc;
}
