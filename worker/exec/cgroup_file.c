/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/cgroup_file.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define FILE_BYTES_MAX (1u << 20)

bool cgroup_file_write(const char *group, const char *file, const char *text)
{
    char *path = mlq_fs_join(group, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    mlq_free(path);
    if (fd < 0) {
        return false;
    }
    bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return good;
}

char *cgroup_file_read(const char *group, const char *file)
{
    char *path = mlq_fs_join(group, file);
    char *data = NULL;
    size_t len;
    if (mlq_fs_read(path, FILE_BYTES_MAX, &data, &len, NULL) != MLQ_OK) {
        data = NULL;
    }
    mlq_free(path);
    return data;
}

struct mlq_str cgroup_file_word(struct mlq_str *line)
{
    struct mlq_str head;
    struct mlq_str tail;
    (void)mlq_str_cut(*line, ' ', &head, &tail);
    *line = tail;
    return head;
}
