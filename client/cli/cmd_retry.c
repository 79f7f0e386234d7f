/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>

#include "client/cli/cmd.h"
#include "client/cli/session.h"

const char cmd_retry_help[] = "  mlq retry 12\n"
                              "  mlq retry state=failed\n"
                              "\n"
                              "usage: mlq retry JOB...\n"
                              "\n"
                              "Runs the stages of an ended job that did not succeed again, and what needs them. The job keeps "
    "its id:\n"
    "`mlq wait JOB` waits for it as before.\n";

int cmd_retry(int argc, char **argv)
{
    struct session session = {.verb = "retry"};
    uint64_t *jobs;
    size_t count = 0;
    int code = session_parse(&session, NULL, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK) {
        code = session_jobs(&session, 0, &jobs, &count);
    }
    for (size_t i = 0; i < count; i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        char id[24];
        (void)snprintf(id, sizeof id, "%llu", (unsigned long long)jobs[i]);
        if (mlq_client_retry(session.client, jobs[i], &err) != MLQ_OK) {
            code = session_fail(&session, id, &err);
        } else if (session.json) {
            printf("{\"schema\": \"mlq/v1\", \"id\": \"%s\"}\n", id);
        } else {
            printf("%s\n", id);
        }
    }
    code = session_finish(&session, code);
    session_close(&session);
    return code;
}
