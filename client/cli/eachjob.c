/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/eachjob.h"

#include <stdio.h>

static void print_id(const struct session *session, const char *id)
{
    if (session->json) {
        printf("{\"schema\": \"mlq/v1\", \"id\": \"%s\"}\n", id);
    } else {
        printf("%s\n", id);
    }
}

static int ask_one(struct session *session, const struct eachjob *verb, uint64_t job)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct mlq_str answer = MLQ_STR("");
    char id[24];
    (void)snprintf(id, sizeof id, "%llu", (unsigned long long)job);
    if (verb->ask(session, verb->context, job, &answer, &err) != MLQ_OK) {
        return session_fail(session, id, &err);
    }
    if (verb->print == NULL) {
        print_id(session, id);
    } else {
        verb->print(session, id, answer);
    }
    return CMD_OK;
}

int eachjob_run(const struct eachjob *verb, int argc, char **argv)
{
    struct session session = {.verb = verb->verb};
    uint64_t *jobs = NULL;
    size_t count = 0;
    int code = session_parse(&session, verb->own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK) {
        code = session_jobs(&session, 0, &jobs, &count);
    }
    if (code == CMD_OK && verb->is_confirmed != NULL &&
        !verb->is_confirmed(&session, verb->context, count)) {
        code = CMD_REFUSED;
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        int failed = ask_one(&session, verb, jobs[i]);
        code = failed != CMD_OK ? failed : code;
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
