/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <jansson.h>
#include <stdio.h>

#include "client/cli/cmd.h"
#include "client/cli/daemon.h"
#include "client/cli/doc.h"
#include "client/cli/home.h"
#include "client/cli/session.h"
#include "client/cli/text.h"

const char cmd_status_help[] =
    "  mlq status            exit code 0 when the cluster answers, 6 when it does not\n"
    "  mlq status --json\n"
    "\n"
    "usage: mlq status [--json]\n"
    "\n"
    "Who leads, what runs, what was refused at the door; for a cluster of `mlq up` also which of "
    "its processes are\n"
    "alive.\n";

static void print_process(const struct home *home, const char *name)
{
    pid_t pid = daemon_pid(home, name);
    if (pid == 0) {
        printf("  %-10s not running\n", name);
    } else {
        printf("  %-10s pid %d\n", name, (int)pid);
    }
}

/* Of a cluster on this machine; what is not alive is what `mlq up` would start. */
static void print_processes(const struct session *session)
{
    struct home home = {0};
    if (session->home == NULL || home_load(session->home, &home, NULL) != MLQ_OK) {
        return;
    }
    printf("processes  (%s)\n", home.dir);
    print_process(&home, "postgres");
    print_process(&home, "scheduler");
    for (int i = 1; i <= home.workers; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "w%d", i);
        print_process(&home, name);
    }
    home_clear(&home);
}

static void print_cluster(const json_t *cluster)
{
    const json_t *refused = json_object_get(cluster, "refused");
    char ago[TEXT_BYTES];
    printf("cluster    %s at %s\n", doc_text(cluster, "name"), doc_text(cluster, "endpoint"));
    printf("leader     %s, epoch %lld, serving since %s (%s)\n", doc_text(cluster, "leader"),
           (long long)doc_int(cluster, "epoch"), doc_text(cluster, "started"),
           text_ago(doc_text(cluster, "started"), ago));
    printf("jobs       %lld unfinished, %lld stages ready, %lld tasks running\n",
           (long long)doc_int(cluster, "jobs"), (long long)doc_int(cluster, "stages_ready"),
           (long long)doc_int(cluster, "running"));
    printf("workers    %lld\n", (long long)doc_int(cluster, "workers"));
    long long all = (long long)(doc_int(refused, "handshakes") + doc_int(refused, "not_enrolled") +
                                doc_int(refused, "malformed") + doc_int(refused, "version") +
                                doc_int(refused, "wrong_role") + doc_int(refused, "untrue"));
    if (all > 0) {
        printf("refused    %lld times: %lld in the handshake, %lld not enrolled, %lld malformed, %lld of another "
               "version, %lld not their role, %lld untrue\n",
               all, (long long)doc_int(refused, "handshakes"), (long long)doc_int(refused, "not_enrolled"),
               (long long)doc_int(refused, "malformed"), (long long)doc_int(refused, "version"),
               (long long)doc_int(refused, "wrong_role"),
               (long long)doc_int(refused, "untrue"));
    }
}

static int show(struct session *session, struct mlq_err *err)
{
    struct mlq_str json;
    json_t *document = NULL;
    int rc = mlq_client_status(session->client, session->region, &json, err);
    if (rc == MLQ_OK && session->json) {
        doc_print(stdout, json);
        return MLQ_OK;
    }
    if (rc == MLQ_OK) {
        rc = doc_parse(json, &document, err);
    }
    if (rc == MLQ_OK && session->jsonl) {
        doc_print_line(stdout, document);
    } else if (rc == MLQ_OK && !session->quiet) {
        print_cluster(json_object_get(document, "cluster"));
    }
    if (rc == MLQ_OK) {
        json_decref(document);
    }
    if (!session->jsonl && !session->quiet && !session->json) {
        print_processes(session);
    }
    return rc;
}

int cmd_status(int argc, char **argv)
{
    struct session session = {.verb = "status", .timeout_ns = 3000000000};
    struct mlq_err err = MLQ_ERR_INIT;
    int code = session_parse(&session, NULL, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK && show(&session, &err) != MLQ_OK) {
        code = session_fail(&session, NULL, &err);
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
