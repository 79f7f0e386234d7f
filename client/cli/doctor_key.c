/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "client/cli/doctor.h"
#include "lib/net/net.h"

bool doctor_key(struct doctor *doctor, const char *path, struct net_keypair *pair, const char *mend)
{
    struct stat status;
    struct mlq_err err = MLQ_ERR_INIT;
    const char *slash = strrchr(path, '/');
    const char *name = mlq_region_format(doctor->region, "key %s", slash == NULL ? path : slash + 1);
    if (lstat(path, &status) != 0) {
        doctor_add(doctor, DOCTOR_WRONG, name, mend, "%s: %s", path, strerror(errno));
        return false;
    }
    if ((status.st_mode & 077) != 0) {
        doctor_add(doctor, DOCTOR_WRONG, name, mlq_region_format(doctor->region, "chmod 600 %s", path),
                   "mode %04o: others may read it", (unsigned)(status.st_mode & 07777));
        return false;
    }
    if (net_keys_load(path, pair, &err) != MLQ_OK) {
        doctor_add(doctor, DOCTOR_WRONG, name, mend, "%s", err.text);
        return false;
    }
    return true;
}
