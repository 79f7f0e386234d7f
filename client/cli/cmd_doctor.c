/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cmd.h"
#include "client/cli/daemon.h"
#include "client/cli/doc.h"
#include "client/cli/doctor.h"
#include "client/cli/home.h"
#include "client/cli/session.h"
#include "client/cli/text.h"
#include "lib/net/net.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"

const char cmd_doctor_help[] =
    "  mlq doctor            exit code 1 when something is wrong\n"
    "  mlq doctor --json | jq -r '.checks[] | select(.state == \"wrong\") | .mend'\n"
    "\n"
    "usage: mlq doctor [--home DIR] [--json | -q]\n"
    "\n"
    "Looks at programs, disk, keys, port, processes, database, clocks, control groups and GPUs, and "
    "tells what is\n"
    "wrong and the command that mends it. With and without a running cluster; it changes nothing. "
    "-q prints only the\n"
    "names of what is wrong.\n";

/* The scheduler's own word: does it answer this key, and is its clock ours? */
static void ask_scheduler(struct session *session, struct doctor *doctor)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str json;
    json_t *document = NULL;
    int rc = mlq_client_status(session->client, session->region, &json, &err);
    int64_t asked_us = mlq_clock_wall_us();
    if (rc == MLQ_OK) {
        rc = doc_parse(json, &document, &err);
    }
    if (rc != MLQ_OK) {
        doctor_add(doctor, DOCTOR_WRONG, "scheduler",
                   session->home == NULL ? NULL : mlq_region_format(doctor->region, "tail %s/logs/scheduler.log", session->home),
                   "%s", err.text);
        return;
    }
    const json_t *cluster = json_object_get(document, "cluster");
    const char *now = doc_text(cluster, "now");
    doctor_add(doctor, DOCTOR_OK, "scheduler", NULL, "answers at %s, epoch %lld, %lld workers", doc_text(cluster, "endpoint"),
               (long long)doc_int(cluster, "epoch"), (long long)doc_int(cluster, "workers"));
    if (now[0] != '\0') {
        doctor_machine_clock_of(doctor, "the scheduler", (int64_t)(text_time(now) * 1e6), asked_us);
    }
    json_decref(document);
}

static void check_here(struct session *session, struct doctor *doctor)
{
    struct home home = {0};
    struct mlq_err err = MLQ_ERR_INIT;
    char *dir = home_path(session->home_flag);
    int rc = home_load(dir, &home, &err);
    doctor_programs(doctor);
    if (rc != MLQ_OK && rc != MLQ_ENOENT) {
        doctor_add(doctor, DOCTOR_WRONG, "cluster.json", NULL, "%s", err.text);
    }
    size_t before = doctor_count(doctor, DOCTOR_WRONG);
    (void)doctor_home(doctor, dir, rc == MLQ_OK ? &home : NULL);
    bool may_ask = rc == MLQ_OK && daemon_pid(&home, "scheduler") != 0 && doctor_count(doctor, DOCTOR_WRONG) == before;
    if (may_ask && session_open(session) == CMD_OK) {
        ask_scheduler(session, doctor);
    }
    if (rc == MLQ_OK) {
        doctor_database(doctor, &home);
    }
    home_clear(&home);
    mlq_free(dir);
}

/* A cluster elsewhere: what this machine needs to be its client. CMD_OK, or usage after a message. */
static int check_remote(struct session *session, struct doctor *doctor)
{
    struct net_keypair pair;
    const char *key = session->key_flag != NULL ? session->key_flag : getenv("MLQ_KEY");
    if (key == NULL || doctor_key(doctor, key, &pair, NULL)) {
        int code = session_open(session); /* it says what is missing */
        if (code != CMD_OK) {
            return code;
        }
        ask_scheduler(session, doctor);
    }
    explicit_bzero(&pair, sizeof pair);
    if (session->store != NULL) {
        doctor_disk(doctor, "store", session->store);
    }
    return CMD_OK;
}

int cmd_doctor(int argc, char **argv)
{
    struct session session = {.verb = "doctor", .timeout_ns = 3 * MLQ_NS_PER_S};
    int code = session_parse(&session, NULL, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    session.region = mlq_region_create();
    char *bin_dir = daemon_bin_dir();
    struct doctor doctor = {.region = session.region, .bin_dir = bin_dir};
    const char *endpoint = session.endpoint_flag != NULL ? session.endpoint_flag
                           : session.home_flag == NULL   ? getenv("MLQ_ENDPOINT")
                                                         : NULL;
    if (endpoint != NULL && endpoint[0] != '\0') {
        code = check_remote(&session, &doctor);
    } else {
        check_here(&session, &doctor);
    }
    if (code == CMD_OK) {
        doctor_machine(&doctor);
        for (size_t i = 0; session.quiet && i < doctor.count; i++) {
            if (doctor.checks[i].state == DOCTOR_WRONG) {
                printf("%s\n", doctor.checks[i].name);
            }
        }
        if (session.json || session.jsonl) {
            doctor_print_json(&doctor);
        } else if (!session.quiet) {
            doctor_print(&doctor, !session.no_header);
        }
        code = session_finish(&session, doctor_count(&doctor, DOCTOR_WRONG) > 0 ? CMD_JOB_FAILED : CMD_OK);
    }
    mlq_free(bin_dir);
    session_close(&session);
    return code;
}
