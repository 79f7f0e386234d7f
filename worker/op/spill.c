/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/sys/mem.h"

struct spill {
    const char *what;
    int fd;
};

static const char *folder(void)
{
    const char *dir = getenv("TMPDIR");
    return dir == NULL || dir[0] == '\0' ? "/tmp" : dir;
}

static int fail(const char *what, const char *did, uint64_t at, uint64_t bytes, int error,
                struct mlq_err *err)
{
    return mlq_fail(err, error == ENOSPC ? MLQ_EFULL : MLQ_EIO,
                    "%s in %s: %s %" PRIu64 " bytes at %" PRIu64 ": %s", what, folder(), did, bytes,
                    at, error == 0 ? "the file ends before" : strerror(error));
}

/* A file without a name, of that size. */
static int open_nameless(const char *what, uint64_t bytes, int *fd, struct mlq_err *err)
{
    *fd = open(folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd < 0) { /* a file system without O_TMPFILE */
        char *path = mlq_format("%s/mlq-spill-XXXXXX", folder());
        *fd = mkostemp(path, O_CLOEXEC);
        if (*fd >= 0) {
            (void)unlink(path);
        }
        mlq_free(path);
    }
    if (*fd < 0) {
        return mlq_fail(err, MLQ_EIO, "%s in %s: create: %s", what, folder(), strerror(errno));
    }
    int error = bytes == 0 ? 0 : posix_fallocate(*fd, 0, (off_t)bytes);
    if (error != 0) {
        (void)close(*fd);
        *fd = -1;
        (void)fail(what, "reserve", 0, bytes, error, err);
        return mlq_wrap(err, error == ENOSPC ? MLQ_EFULL : MLQ_EIO,
                        "what does not fit into memory needs %" PRIu64 " MiB of disk", bytes >> 20);
    }
    return 0;
}

int spill_create(const char *what, uint64_t bytes, struct spill **result, struct mlq_err *err)
{
    struct spill *spill = mlq_alloc(sizeof(*spill));
    spill->what = what;
    int rc = open_nameless(what, bytes, &spill->fd, err);
    if (rc != 0) {
        mlq_free(spill);
        return rc;
    }
    *result = spill;
    return 0;
}

void spill_destroy(struct spill **spill)
{
    if (*spill != NULL) {
        (void)close((*spill)->fd);
        mlq_free(*spill);
        *spill = NULL;
    }
}

int spill_write(struct spill *spill, uint64_t at, const void *data, uint64_t bytes,
                struct mlq_err *err)
{
    const char *from = data;
    for (uint64_t done = 0; done < bytes;) {
        ssize_t put = pwrite(spill->fd, from + done, bytes - done, (off_t)(at + done));
        if (put < 0 && errno != EINTR) {
            return fail(spill->what, "write", at + done, bytes - done, errno, err);
        }
        done += put > 0 ? (uint64_t)put : 0;
    }
    return 0;
}

int spill_read(struct spill *spill, uint64_t at, void *data, uint64_t bytes, struct mlq_err *err)
{
    char *to = data;
    for (uint64_t done = 0; done < bytes;) {
        ssize_t got = pread(spill->fd, to + done, bytes - done, (off_t)(at + done));
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return fail(spill->what, "read", at + done, bytes - done, got == 0 ? 0 : errno, err);
        }
        done += got > 0 ? (uint64_t)got : 0;
    }
    return 0;
}

int spill_array_create(const char *what, uint64_t count, uint64_t bytes, void **array,
                       struct mlq_err *err)
{
    int fd = -1;
    *array = NULL;
    if (count == 0) {
        return 0;
    }
    int rc = open_nameless(what, count * bytes, &fd, err);
    if (rc != 0) {
        return rc;
    }
    void *map = mmap(NULL, count * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rc = fail(what, "map", 0, count * bytes, errno, err);
    } else {
        *array = map;
    }
    (void)close(fd);
    return rc;
}

void spill_array_destroy(void *array, uint64_t count, uint64_t bytes)
{
    if (array != NULL) {
        (void)munmap(array, count * bytes);
    }
}
