/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What a task prints, kept within a bound from both ends: the first `head` bytes for ever, and of
 * the rest the last `tail` bytes, in a ring behind them in the same file. Up to head + tail bytes
 * the file is simply the output.
 *
 * Offsets are those of the whole stream, so that a reader can follow it and is told what it missed.
 * One writer (the shim), any number of readers. Once the ring begins, `log.pos` holds the length of
 * the stream and the two bounds, and a reader checks after it has read that the ring did not pass it
 * meanwhile. Most logs never come that far and are one file.
 */
#ifndef MLQ_WORKER_EXEC_JOBLOG_H
#define MLQ_WORKER_EXEC_JOBLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define JOBLOG_FILE               "log"
#define JOBLOG_HEAD_BYTES_DEFAULT (UINT64_C(16) << 20)
#define JOBLOG_TAIL_BYTES_DEFAULT (UINT64_C(48) << 20)

struct joblog {
    int fd;
    int pos_fd;      /* -1: the ring has not begun */
    const char *dir; /* borrowed */
    uint64_t head_bytes;
    uint64_t tail_bytes;
    uint64_t total; /* length of the stream */
    uint64_t lost;  /* bytes that the disk refused; they are not part of the stream */
};

/* In a folder without one; `dir` must outlive the log. */
int joblog_create(struct joblog *log, const char *dir, uint64_t head_bytes, uint64_t tail_bytes,
                  struct mlq_err *err);
/* Never fails the task: what cannot be written is counted. */
void joblog_append(struct joblog *log, const char *bytes, size_t len);
void joblog_close(struct joblog *log);

/* Up to room bytes of the stream from *offset, which moves on to the first byte still kept.
 * *len 0: there is nothing (yet) from there. *total is the length of the stream. A log that does
 * not exist yet is empty. */
int joblog_read(const char *dir, uint64_t *offset, char *bytes, size_t room, size_t *len,
                uint64_t *total, struct mlq_err *err);

/* The whole log as one plain file `path`, with a line in place of what was dropped. */
int joblog_flatten(const char *dir, const char *path, struct mlq_err *err);

#endif
