/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/sys/fs.h"
#include "lib/sys/log.h"

const char *fuzz_file(unsigned slot, const void *data, size_t size)
{
    static struct {
        int fd;
        char path[64];
    } files[FUZZ_FILES_MAX];
    MLQ_ASSERT(slot < FUZZ_FILES_MAX);
    if (files[slot].path[0] == '\0') {
        files[slot].fd = memfd_create("fuzz", MFD_CLOEXEC);
        MLQ_ASSERT(files[slot].fd >= 0);
        (void)snprintf(files[slot].path, sizeof files[slot].path, "/proc/self/fd/%d",
                       files[slot].fd);
    }
    MLQ_ASSERT(ftruncate(files[slot].fd, 0) == 0);
    MLQ_ASSERT(pwrite(files[slot].fd, data, size, 0) == (ssize_t)size);
    return files[slot].path;
}

static char folder[64];

static void remove_folder(void)
{
    (void)mlq_fs_remove_tree(folder, NULL);
}

const char *fuzz_folder(void)
{
    if (folder[0] == '\0') {
        (void)snprintf(folder, sizeof folder, "%s/mlq-fuzz.XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ".");
        MLQ_ASSERT(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
        mlq_log_set_level(MLQ_LOG_ERROR);
    }
    return folder;
}
