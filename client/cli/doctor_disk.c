/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "client/cli/doctor.h"
#include "client/cli/text.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define LEAST_BYTES  (UINT64_C(64) << 20) /* below it `mlq up` gives up */
#define LITTLE_BYTES (UINT64_C(1) << 30)
#define LEAST_INODES 1000

/* The path itself, or what of it is there already. */
static char *existing_part(const char *path)
{
    char *part = mlq_strdup(path);
    while (!mlq_fs_exists(part) && strcmp(part, "/") != 0) {
        char *slash = strrchr(part, '/');
        slash[slash == part ? 1 : 0] = '\0';
    }
    return part;
}

void doctor_disk(struct doctor *doctor, const char *name, const char *path)
{
    char left[TEXT_BYTES];
    char *part = existing_part(path);
    struct statvfs disk;
    if (access(part, W_OK | X_OK) != 0) {
        int error = errno;
        doctor_add(doctor, DOCTOR_WRONG, name,
                   error == EROFS
                       ? mlq_region_format(doctor->region, "mount -o remount,rw \"$(df --output=target %s | tail -n 1)\"", part)
                       : mlq_region_format(doctor->region, "chown -R %s %s", geteuid() == 0 ? "root" : "$USER", part),
                   "%s cannot be written: %s", part, strerror(error));
    } else if (statvfs(part, &disk) != 0) {
        doctor_add(doctor, DOCTOR_WRONG, name, NULL, "%s: %s", part, strerror(errno));
    } else {
        uint64_t bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
        bool few = disk.f_files > 0 && disk.f_favail < LEAST_INODES;
        const char *mend = bytes < LITTLE_BYTES || few ? mlq_region_format(doctor->region, "du -xh %s | sort -h | tail   # shows where there is room to make", part) : NULL;
        doctor_add(doctor, bytes < LEAST_BYTES || few ? DOCTOR_WRONG : mend != NULL ? DOCTOR_NOTE : DOCTOR_OK, name, mend,
                   "%s: %s%s", path, few ? "no more files fit on its disk" : text_bytes(bytes, left), few ? "" : " free");
    }
    mlq_free(part);
}
