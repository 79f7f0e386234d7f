/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/capture.h"
#include "client/cli/doctor.h"
#include "client/cli/pg.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/net/zsock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define VERSION_BYTES 4096

static void check_program(struct doctor *doctor, const char *name, bool has_version)
{
    char *path = mlq_fs_join(doctor->bin_dir, name);
    const char *wanted = mlq_region_format(doctor->region, "%s " MLQ_VERSION, name);
    const char *argv[] = {path, "--version", NULL};
    if (access(path, X_OK) != 0) {
        doctor_add(doctor, DOCTOR_WRONG, name, "sh deploy/quickstart.sh   # builds them all", "%s: %s", path,
                   strerror(errno));
    } else if (has_version) {
        struct capture said = capture_run(argv, VERSION_BYTES, true);
        struct mlq_str text = mlq_str_trim((struct mlq_str){said.text, said.len});
        if (mlq_str_eq_c(text, wanted)) {
            doctor_add(doctor, DOCTOR_OK, name, NULL, "%s", MLQ_VERSION);
        } else {
            doctor_add(doctor, DOCTOR_WRONG, name, "sh deploy/quickstart.sh   # builds them all, of one release",
                       "this is mlq " MLQ_VERSION ", it says: %.*s", text.len > 200 ? 200 : (int)text.len, text.ptr);
        }
        capture_clear(&said);
    } else {
        doctor_add(doctor, DOCTOR_OK, name, NULL, "is there");
    }
    mlq_free(path);
}

static void check_postgresql(struct doctor *doctor)
{
    static const char *const names[] = {"postgres", "initdb", "psql"};
    const char *missing = NULL;
    struct mlq_err err = MLQ_ERR_INIT;
    char *path = NULL;
    for (size_t i = 0; missing == NULL && i < MLQ_COUNT_OF(names); i++) {
        mlq_free(path);
        path = pg_program(NULL, names[i], &err);
        missing = path == NULL ? names[i] : NULL;
    }
    if (missing != NULL) {
        doctor_add(doctor, DOCTOR_WRONG, "postgresql", "apt-get install postgresql", "%s", err.text);
    } else if (geteuid() == 0 && getpwnam("postgres") == NULL) {
        doctor_add(doctor, DOCTOR_WRONG, "postgresql", "apt-get install postgresql",
                   "as root it runs as the user 'postgres', who does not exist");
    } else {
        doctor_add(doctor, DOCTOR_OK, "postgresql", NULL, "%s", path);
    }
    mlq_free(path);
}

void doctor_programs(struct doctor *doctor)
{
    struct mlq_err err = MLQ_ERR_INIT;
    check_program(doctor, "mlq-scheduler", true);
    check_program(doctor, "mlq-worker", true);
    check_program(doctor, "mlq-shim", false);
    check_program(doctor, "mlq-op", false);
    check_program(doctor, "mlq-task", false);
    if (zsock_check_library(&err) == MLQ_OK) {
        doctor_add(doctor, DOCTOR_OK, "zeromq", NULL, "new enough, with CURVE");
    } else {
        doctor_add(doctor, DOCTOR_WRONG, "zeromq", "apt-get install --only-upgrade libzmq5", "%s", err.text);
    }
    check_postgresql(doctor);
}
