/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/sys/mem.h"

bool unixsock_fits(const char *path)
{
    return strlen(path) < sizeof((struct sockaddr_un *)0)->sun_path;
}

static int fill(struct sockaddr_un *address, const char *path, int *folder_fd, struct mlq_err *err)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    *folder_fd = -1;
    if (unixsock_fits(path)) {
        memcpy(address->sun_path, path, strlen(path) + 1);
        return MLQ_OK;
    }
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mlq_fail(err, MLQ_EINVAL, "socket name %.120s is too long", path);
    }
    char *folder = mlq_strndup((struct mlq_str){.ptr = path, .len = (size_t)(slash - path) + 1});
    *folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int used = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s",
                        *folder_fd, slash + 1);
    int rc = *folder_fd >= 0 && used > 0 && (size_t)used < sizeof address->sun_path
                 ? MLQ_OK
                 : mlq_fail(err, MLQ_ENOENT, "open %s: %s", folder, strerror(errno));
    mlq_free(folder);
    return rc;
}

static int open_socket(const char *path, int backlog, int *fd, struct mlq_err *err)
{
    struct sockaddr_un address;
    int folder_fd;
    *fd = -1;
    int rc = fill(&address, path, &folder_fd, err);
    if (rc == MLQ_OK) {
        *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const struct sockaddr *name = (const struct sockaddr *)&address;
        bool good = *fd >= 0;
        if (backlog == 0) {
            good = good && connect(*fd, name, sizeof address) == 0;
        } else {
            (void)unlink(address.sun_path);
            good = good && bind(*fd, name, sizeof address) == 0 &&
                   chmod(address.sun_path, 0600) == 0 && listen(*fd, backlog) == 0;
        }
        rc = good ? MLQ_OK
                  : mlq_fail(err, MLQ_ECONN, "%s %s: %s", backlog == 0 ? "connect to" : "listen on",
                             path, strerror(errno));
    }
    if (rc != MLQ_OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    if (folder_fd >= 0) {
        close(folder_fd);
    }
    return rc;
}

int unixsock_connect(const char *path, int *fd, struct mlq_err *err)
{
    return open_socket(path, 0, fd, err);
}

int unixsock_listen(const char *path, int backlog, int *fd, struct mlq_err *err)
{
    return open_socket(path, backlog < 1 ? 1 : backlog, fd, err);
}
