/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/session.h"

#define ASK_ABOVE 10

const char cmd_cancel_help[] =
    "  mlq cancel 12\n"
    "  mlq cancel 12-40 --reason \"wrong data\"\n"
    "  mlq cancel team=vision -y\n"
    "\n"
    "usage: mlq cancel JOB... [--reason TEXT] [-y]\n"
    "\n"
    "Running tasks get SIGTERM and their grace, then SIGKILL. What has ended stays as it is.\n"
    "\n"
    "  --reason TEXT  is recorded with it\n"
    "  -y, --yes      do not ask when there are more than 10 jobs\n";

static bool is_sure(const struct session *session, size_t count)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "mlq %s: %zu jobs: without a terminal that needs -y\n", session->verb,
                count);
        return false;
    }
    fprintf(stderr, "Cancel %zu jobs? [y/N] ", count);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

int cmd_cancel(int argc, char **argv)
{
    struct session session = {.verb = "cancel"};
    const char *reason = "";
    bool sure = false;
    const struct args_option own[] = {
        {.name = "reason", .kind = ARGS_TEXT, .value = &reason},
        {.name = "yes", .letter = 'y', .kind = ARGS_FLAG, .value = &sure},
        {0},
    };
    uint64_t *jobs;
    size_t count = 0;
    int code = session_parse(&session, own, argc, argv);
    if (code != CMD_OK) {
        return code;
    }
    code = session_open(&session);
    if (code == CMD_OK) {
        code = session_jobs(&session, 0, &jobs, &count);
    }
    if (code == CMD_OK && count > ASK_ABOVE && !sure && !is_sure(&session, count)) {
        code = CMD_REFUSED;
        count = 0;
    }
    for (size_t i = 0; code != CMD_USAGE && i < count; i++) {
        struct mlq_err err = MLQ_ERR_INIT;
        char id[24];
        (void)snprintf(id, sizeof id, "%llu", (unsigned long long)jobs[i]);
        if (mlq_client_cancel(session.client, jobs[i], mlq_str_from(reason), &err) != MLQ_OK) {
            code = session_fail(&session, id, &err); /* the others are cancelled all the same */
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
