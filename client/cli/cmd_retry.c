/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/cmd.h"
#include "client/cli/eachjob.h"

const char cmd_retry_help[] = "  mlq retry 12\n"
                              "  mlq retry state=failed\n"
                              "\n"
                              "usage: mlq retry JOB...\n"
                              "\n"
                              "Runs the stages of an ended job that did not succeed again, and what needs them. The job keeps "
    "its id:\n"
    "`mlq wait JOB` waits for it as before.\n";

static int ask(struct session *session, const void *context, uint64_t job, struct mlq_str *answer,
               struct mlq_err *err)
{
    (void)context;
    (void)answer;
    return mlq_client_retry(session->client, job, err);
}

int cmd_retry(int argc, char **argv)
{
    return eachjob_run(&(struct eachjob){.verb = "retry", .ask = ask}, argc, argv);
}
