/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/array_gunzip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define WINDOW_BYTES 65536u
#define GZIP_ONLY                                                                                  \
    (15 + 16) /* of inflateInit2: the largest window, with gzip's header and trailer */

struct array_gunzip {
    int in;
    int out;
    z_stream stream;
    bool ended; /* all members are unpacked */
    uint64_t bytes;
    uint8_t packed[WINDOW_BYTES];
    uint8_t plain[WINDOW_BYTES];
};

static int make_nameless_file(int *fd, struct mlq_err *err)
{
    const char *folder = getenv("TMPDIR");
    char *path = mlq_format("%s/mlq-unpacked-XXXXXX", folder == NULL ? "/tmp" : folder);
    int rc = 0;
    *fd = mkstemp(path);
    if (*fd < 0) {
        rc = mlq_fail(err, MLQ_EIO, "%s: %s", path, strerror(errno));
    } else {
        (void)unlink(path);
    }
    mlq_free(path);
    return rc;
}

int array_gunzip_open(int fd, struct array_gunzip **gunzip, struct mlq_err *err)
{
    struct array_gunzip *g = mlq_alloc(sizeof(*g));
    g->in = fd;
    g->out = -1;
    int rc = make_nameless_file(&g->out, err);
    if (rc == 0 && inflateInit2(&g->stream, GZIP_ONLY) != Z_OK) {
        rc =
            mlq_fail(err, MLQ_EIO, "zlib: %s", g->stream.msg == NULL ? "no memory" : g->stream.msg);
    }
    if (rc != 0) {
        array_gunzip_close(&g);
    }
    *gunzip = g;
    return rc;
}

void array_gunzip_close(struct array_gunzip **gunzip)
{
    struct array_gunzip *g = *gunzip;
    if (g == NULL) {
        return;
    }
    (void)inflateEnd(&g->stream); /* of a stream that never began: an error that changes nothing */
    (void)close(g->in);
    if (g->out >= 0) {
        (void)close(g->out);
    }
    mlq_free(g);
    *gunzip = NULL;
}

uint64_t array_gunzip_bytes(const struct array_gunzip *gunzip)
{
    return gunzip->bytes;
}

int array_gunzip_fd(const struct array_gunzip *gunzip)
{
    return gunzip->out;
}

/* More input when there is none left; *left says whether there is some now. */
static int refill(struct array_gunzip *g, bool *left, struct mlq_err *err)
{
    if (g->stream.avail_in == 0) {
        ssize_t got = 0;
        do {
            got = read(g->in, g->packed, sizeof(g->packed));
        } while (got < 0 && errno == EINTR);
        if (got < 0) {
            return mlq_fail(err, MLQ_EIO, "%s", strerror(errno));
        }
        g->stream.next_in = g->packed;
        g->stream.avail_in = (uInt)got;
    }
    *left = g->stream.avail_in > 0;
    return 0;
}

static int inflate_window(struct array_gunzip *g, struct mlq_err *err)
{
    g->stream.next_out = g->plain;
    g->stream.avail_out = sizeof(g->plain);
    int done = inflate(&g->stream, Z_NO_FLUSH);
    size_t made = sizeof(g->plain) - g->stream.avail_out;
    if (done != Z_OK && done != Z_STREAM_END && done != Z_BUF_ERROR) {
        return mlq_fail(err, MLQ_ECORRUPT, "its compressed data are damaged (%s)",
                        g->stream.msg == NULL ? "zlib" : g->stream.msg);
    }
    int rc =
        mlq_fs_write_all(g->out, (struct mlq_str){.ptr = (const char *)g->plain, .len = made}, err);
    g->bytes += made;
    if (rc != 0 || done != Z_STREAM_END) {
        return rc;
    }
    /* Files may be put one behind the other; what is not one is damage, by inflate's judgement. */
    bool left = false;
    rc = refill(g, &left, err);
    g->ended = !left;
    if (rc == 0 && left && inflateReset(&g->stream) != Z_OK) {
        rc = mlq_fail(err, MLQ_EIO, "zlib cannot begin anew");
    }
    return rc;
}

int array_gunzip_until(struct array_gunzip *g, uint64_t bytes, struct mlq_err *err)
{
    int rc = 0;
    while (rc == 0 && !g->ended && g->bytes < bytes) {
        bool left = false;
        rc = refill(g, &left, err);
        if (rc == 0 && !left) {
            rc = mlq_fail(err, MLQ_ECORRUPT, "its compressed data are cut off");
        }
        rc = rc != 0 ? rc : inflate_window(g, err);
    }
    return rc;
}
