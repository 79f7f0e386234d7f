/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The private PostgreSQL of a home: what keeps an accepted job from being lost is on. Asked of the
 * server when it runs, else of its files.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/capture.h"
#include "client/cli/daemon.h"
#include "client/cli/doctor.h"
#include "client/cli/pg.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

#define ANSWER_BYTES_MAX 65536
#define PATIENCE         "10" /* seconds, for timeout(1) */

static const char *const safe_settings[] = {"fsync", "full_page_writes", "synchronous_commit"};

static void check_setting(struct doctor *doctor, const struct home *home, const char *name, struct mlq_str value,
                          const char *psql)
{
    const char *said = mlq_region_strndup(doctor->region, value);
    if (!mlq_str_eq_c(value, "off")) {
        doctor_add(doctor, DOCTOR_OK, name, NULL, "%s", said);
        return;
    }
    char *conninfo = pg_conninfo(home);
    const char *mend =
        psql == NULL ? mlq_region_format(doctor->region, "sed -i '/^%s *=/d' %s/postgresql.conf %s/postgresql.auto.conf",
                                         name, home->pg_data, home->pg_data)
                     : mlq_region_format(doctor->region,
                                         "%s '%s' -c 'ALTER SYSTEM SET %s = on' -c 'SELECT pg_reload_conf()'", psql,
                                         conninfo, name);
    doctor_add(doctor, DOCTOR_WRONG, name, mend, "off: a crash could lose accepted jobs, so no scheduler serves with it");
    mlq_free(conninfo);
}

/* Lines "name|value"; the first is the server's time in microseconds. */
static void check_answer(struct doctor *doctor, const struct home *home, struct mlq_str text, const char *psql,
                         int64_t asked_us)
{
    while (text.len > 0) {
        struct mlq_str line;
        struct mlq_str tail;
        struct mlq_str name;
        struct mlq_str value;
        int64_t now_us;
        (void)mlq_str_cut(text, '\n', &line, &tail);
        text = tail;
        if (!mlq_str_cut(line, '|', &name, &value)) {
            continue;
        }
        if (mlq_str_eq_c(name, "now") && mlq_str_i64(value, &now_us)) {
            doctor_machine_clock_of(doctor, "the database", now_us, asked_us);
        } else if (mlq_str_eq_c(name, "server_version")) {
            doctor_add(doctor, DOCTOR_OK, "database", NULL, "PostgreSQL %.*s answers at %s", MLQ_STR_ARG(value),
                       home->pg_socket_dir);
        } else {
            check_setting(doctor, home, mlq_region_strndup(doctor->region, name), value, psql);
        }
    }
}

static void ask_server(struct doctor *doctor, const struct home *home, const char *psql)
{
    static const char question[] =
        "SELECT 'now|' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint UNION ALL "
        "(SELECT name || '|' || setting FROM pg_settings WHERE name IN "
        "('server_version', 'fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name <> 'server_version', name)";
    char *conninfo = pg_conninfo(home);
    const char *argv[] = {"timeout", PATIENCE, psql, conninfo, "-XAtqc", question, NULL};
    int64_t asked_us = mlq_clock_wall_us();
    struct capture said = capture_run(argv, ANSWER_BYTES_MAX, true);
    if (said.status == 0) {
        check_answer(doctor, home, (struct mlq_str){said.text, said.len}, psql, asked_us);
    } else {
        doctor_add(doctor, DOCTOR_WRONG, "database", mlq_region_format(doctor->region, "tail %s/logs/postgres.log", home->dir),
                   "it does not answer at %s: %.300s", home->pg_socket_dir,
                   said.status == 124 ? "no word in " PATIENCE " s" : said.text);
    }
    capture_clear(&said);
    mlq_free(conninfo);
}

/* `postgres -C NAME` reads the files as the server would. */
static void ask_files(struct doctor *doctor, const struct home *home)
{
    struct mlq_err err = MLQ_ERR_INIT;
    char *postgres = pg_program(home, "postgres", &err);
    for (size_t i = 0; postgres != NULL && i < MLQ_COUNT_OF(safe_settings); i++) {
        const char *argv[] = {PG_AS_SERVER_USER, postgres, "-D", home->pg_data, "-C", safe_settings[i], NULL};
        struct capture said = capture_run(pg_as_server_user(argv), ANSWER_BYTES_MAX, true);
        struct mlq_str value = mlq_str_trim((struct mlq_str){said.text, said.len});
        if (said.status == 0) {
            check_setting(doctor, home, safe_settings[i], value, NULL);
        } else {
            doctor_add(doctor, DOCTOR_WRONG, safe_settings[i], NULL, "the settings cannot be read: %.300s", said.text);
        }
        capture_clear(&said);
    }
    if (postgres == NULL) {
        doctor_add(doctor, DOCTOR_WRONG, "database", "apt-get install postgresql", "%s", err.text);
    }
    mlq_free(postgres);
}

void doctor_database(struct doctor *doctor, const struct home *home)
{
    if (home->pg_data == NULL || home->pg_socket_dir == NULL) {
        doctor_add(doctor, DOCTOR_WRONG, "database", mlq_region_format(doctor->region, "mlq up --home %s", home->dir),
                   "cluster.json does not say where it is");
        return;
    }
    doctor_disk(doctor, "disk of the database", home->pg_data);
    char *made = mlq_fs_join(home->pg_data, "mlq.ready");
    char *psql = pg_program(home, "psql", NULL);
    if (daemon_pid(home, "postgres") != 0 && psql != NULL) {
        ask_server(doctor, home, psql);
    } else if (mlq_fs_exists(made)) {
        ask_files(doctor, home);
    } else {
        doctor_add(doctor, DOCTOR_NOTE, "database", mlq_region_format(doctor->region, "mlq up --home %s", home->dir),
                   "not made yet in %s", home->pg_data);
    }
    mlq_free(psql);
    mlq_free(made);
}
