/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>
#include <unistd.h>

#include "client/cli/cmd.h"
#include "client/cli/eachjob.h"

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

struct cancel {
    const char *reason;
    bool is_sure;
};

static bool is_confirmed(const struct session *session, const void *context, size_t count)
{
    const struct cancel *cancel = context;
    char answer[16] = "";
    if (count <= ASK_ABOVE || cancel->is_sure) {
        return true;
    }
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "mlq %s: %zu jobs: without a terminal that needs -y\n", session->verb,
                count);
        return false;
    }
    fprintf(stderr, "Cancel %zu jobs? [y/N] ", count);
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

static int ask(struct session *session, const void *context, uint64_t job, struct mlq_str *answer,
               struct mlq_err *err)
{
    const struct cancel *cancel = context;
    (void)answer;
    return mlq_client_cancel(session->client, job, mlq_str_from(cancel->reason), err);
}

int cmd_cancel(int argc, char **argv)
{
    struct cancel cancel = {.reason = ""};
    const struct args_option own[] = {
        {.name = "reason", .kind = ARGS_TEXT, .value = &cancel.reason},
        {.name = "yes", .letter = 'y', .kind = ARGS_FLAG, .value = &cancel.is_sure},
        {0},
    };
    const struct eachjob verb = {
        .verb = "cancel", .own = own, .context = &cancel, .is_confirmed = is_confirmed, .ask = ask};
    return eachjob_run(&verb, argc, argv);
}
